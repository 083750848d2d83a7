"""Bytes of an optimizer: what it keeps between steps, and what a step has in use at its fullest. Both are exact.

Kept are the storages behind the tensors of the optimizer's state, and 8 bytes for each Python number in its lists. In
use is what a step allocates besides, without what the closure allocates.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from fractions import Fraction
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from benchmarks.tasks.costs.measures import Trial, bowl
from benchmarks.tasks.costs.methods import Memory, costed, memory_of

__all__ = ["UNIT", "Live", "kept", "storage", "working"]

UNIT = 4
"""bytes of a weight: float32"""


def kept(optimizer: torch.optim.Optimizer) -> dict[str, int]:
    """Bytes of each part of an optimizer's memory by name; a storage that two tensors share counts once."""
    found: dict[str, int] = {}
    seen = {one.untyped_storage().data_ptr() for group in optimizer.param_groups for one in group["params"]}
    for name, one in _parts(dict(optimizer.state)):
        if isinstance(one, Tensor):
            storage = one.untyped_storage()
            if storage.data_ptr() not in seen:
                seen.add(storage.data_ptr())
                found[name] = found.get(name, 0) + storage.nbytes()
        elif isinstance(one, float):
            found[name] = found.get(name, 0) + 8
    return found


def _parts(memory: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(memory, dict):
        for key, one in memory.items():
            yield from _parts(one, name if name and not isinstance(key, str) else str(key))
    elif isinstance(memory, list | tuple):
        for one in memory:
            yield from _parts(one, name)
    else:
        yield name, memory


@cache
def storage(label: str) -> dict[str, Memory]:
    """How the bytes of each part of a memory grow, in weights' bytes; exact, without what does not grow with d."""
    sizes = memory_of(label)
    pairs = next((name for name in ("m", "mL") if name in sizes), None)
    least = {name: value for name, value in ((pairs, 3), ("mF" if "mF" in sizes else None, 9)) if name}
    first = _in_d(label, least)
    found = {}
    more_pairs = _in_d(label, least | {pairs: 5}) if pairs else first
    more_gradients = _in_d(label, least | {"mF": 13}) if "mF" in sizes else first
    for name, (square, line) in first.items():
        md = (more_pairs[name][1] - line) / 2
        mFd = (more_gradients[name][1] - line) / 4
        rest = line - 3 * md - 9 * mFd
        if any((square, md, mFd, rest)):
            found[name] = Memory(*(float(one) / UNIT for one in (square, md, mFd, rest)))
    return found


@cache
def working(label: str) -> dict[str, float]:
    """Bytes in use within a step besides what is kept: ``factor`` d^``power`` weights' bytes, with default memories.

    A search along a line holds some more vectors or fewer by where it goes, so this is a measurement, not a formula.
    """
    d = {1: 4000, 2: 1000, 3: 200}[costed(label).growth]
    vectors = _in_use(_stepped(label, d, {})) / UNIT / d
    power = 2 if vectors > d / 4 else 1
    return {"factor": round(vectors / d ** (power - 1), 1), "power": power}


def _stepped(label: str, d: int, options: dict[str, int]) -> Trial:
    return Trial(label, bowl(costed(label).kind, d), **options).fill()


def _in_d(label: str, options: dict[str, int]) -> dict[str, tuple[Fraction, Fraction]]:
    """By part (a, b) of bytes = a d^2 + b d + c, through three d."""
    x = [60, 120, 180]
    found = [kept(_stepped(label, d, options).optimizer) for d in x]
    parts = {}
    for name in found[-1]:
        y = [Fraction(one.get(name, 0)) for one in found]
        square = (y[2] - 2 * y[1] + y[0]) / (2 * x[0] ** 2)
        parts[name] = square, (y[1] - y[0]) / x[0] - square * (x[0] + x[1])
    return parts


class Live(TorchDispatchMode):
    """Bytes of the storages that have come up since it was entered and are still there; the most of them at a time."""

    def __init__(self) -> None:
        super().__init__()
        self.now = self.most = 0
        self.foreign = False
        self._seen: dict[int, int] = {}

    def ignore(self, one: Tensor) -> None:
        """A tensor that was there before."""
        self._note(one, 0)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Call and note what came up."""
        found = func(*args, **(kwargs or {}))
        for one in tree_leaves(found):
            if isinstance(one, Tensor):
                self._note(one, 0 if self.foreign else one.untyped_storage().nbytes())
        return found

    def _note(self, one: Tensor, size: int) -> None:
        storage = one.untyped_storage()
        key = storage._cdata
        if key not in self._seen:
            self._seen[key] = size
            self.now += size
            self.most = max(self.most, self.now)
            weakref.finalize(storage, self._gone, key)

    def _gone(self, key: int) -> None:
        self.now -= self._seen.pop(key)


def _in_use(trial: Trial) -> int:
    """The most bytes that the step with the most of them (of as many as are measured) allocates besides the closure."""
    live = Live()

    def closure(backward: bool = True) -> Any:
        live.foreign = True
        try:
            return trial.problem.closure(backward)
        finally:
            live.foreign = False

    found = []
    with live:
        for _ in range(1 + trial.steps):
            live.most = live.now = 0
            trial.optimizer.step(closure)
            found.append(live.most)
    return max(found[1:])  # the first step frees vectors that were not seen to come up
