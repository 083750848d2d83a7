"""What a step costs: bytes kept and bytes in use, evaluations, and time besides the closure or with it.

Bytes and evaluations are exact. Bytes kept are those of the storages behind the tensors of the optimizer's state and 8
for each Python number in its lists; bytes in use are those that a step allocates besides, at its fullest, without what
the closure allocates. Times are of the thread.
"""

from __future__ import annotations

import dataclasses
import time
import weakref
from collections.abc import Callable, Iterator
from fractions import Fraction
from functools import cache
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

import optimizers
from benchmarks.speed_optimizers import Apart
from benchmarks.tasks._cost_methods import Memory, costed, memory_of

__all__ = [
    "EVALUATIONS",
    "FEATURES",
    "UNIT",
    "Measured",
    "Problem",
    "Trial",
    "bowl",
    "kept",
    "regression",
    "storage",
    "working",
]

FEATURES = 100
"""weights of the regression whose examples grow"""
UNIT = 4
"""bytes of a weight: float32"""
EVALUATIONS = ("gradients", "losses", "products")


@dataclasses.dataclass(frozen=True)
class Problem:
    """Weights (d,) and the closure of a loss; ``gradient`` is one plain gradient."""

    w: Tensor
    closure: Callable[..., Any]
    gradient: Callable[[], Any]


def _problem(kind: str, w: Tensor, residuals: Callable[[], Tensor]) -> Problem:
    """The loss ||r||^2 / 2 of residuals, as a method's closure wants it."""

    def loss() -> Tensor:
        r = residuals()
        return 0.5 * torch.dot(r, r)

    def closure(backward: bool = True) -> Tensor:
        w.grad = None
        if kind == "residuals":
            return residuals()
        if kind == "plain" and not backward:
            with torch.no_grad():
                return loss()
        found = loss()
        if backward:
            found.backward()
        return found

    def gradient() -> None:
        w.grad = None
        loss().backward()

    return Problem(w, closure, gradient)


def bowl(kind: str, d: int, seed: int = 0) -> Problem:
    """r_i = (a_i (u_i + u_i^3 / 3) - c_i) / sqrt(d), u = sqrt(d) w, as many as weights; a_i^2 from 1/1000 to 1.

    Whatever d is, weights, gradients and curvatures are about 1 in size, so that every method makes ordinary steps.
    """
    draw = torch.Generator().manual_seed(seed)
    a, c = torch.logspace(-1.5, 0, d), torch.randn(d, generator=draw)
    w = torch.full((d,), d**-0.5, requires_grad=True)

    def residuals() -> Tensor:
        u = d**0.5 * w
        return (a * (u + u**3 / 3) - c) * d**-0.5

    return _problem(kind, w, residuals)


def regression(kind: str, n: int, seed: int = 0) -> Problem:
    """r_i = (tanh(x_i'w) - t_i) / sqrt(n) over n examples of 100 features, whose scales go from 1 to 1/30."""
    draw = torch.Generator().manual_seed(seed)
    x = torch.randn(n, FEATURES, generator=draw) * torch.logspace(0, -1.5, FEATURES)
    t = torch.tanh(x @ torch.randn(FEATURES, generator=draw)) + 0.3 * torch.randn(n, generator=draw)
    w = torch.zeros(FEATURES, requires_grad=True)
    return _problem(kind, w, lambda: (torch.tanh(x @ w) - t) * n**-0.5)


class Measured(NamedTuple):
    """Microseconds of a step besides its closure and with it; evaluations, and calls of the closure, a step."""

    besides: float
    whole: float
    evaluations: dict[str, float]


class Trial:
    """An optimizer on a problem, its memory full.

    Args:
        label: the optimizer.
        problem: fresh.
        options: of m, mL and mF those that differ from the defaults.
    """

    def __init__(self, label: str, problem: Problem, **options: int) -> None:
        self.label, self.problem = label, problem
        self.apart = Apart(problem.closure)
        self.optimizer: Any = optimizers.make(label, [problem.w], **costed(label).options, **options)
        sizes = memory_of(label) | options
        self.steps = costed(label).steps
        pairs, gradients = max(sizes.get("m", 0), sizes.get("mL", 0)), sizes.get("mF", 0)
        if costed(label).family == "sampled":
            pairs = 0  # nothing has to fill
        full = costed(label).warm + max(pairs, gradients)
        self.full = full + -full % sizes.get("L", 1)  # a measurement begins after an aggregation

    def fill(self) -> Trial:
        """Make the first steps."""
        for _ in range(self.full):
            self.optimizer.step(self.apart)
        return self

    def measured(self) -> Measured:
        """Times and evaluations of a step.

        Raises:
            RuntimeError: the steps were not ordinary ones: without evaluations, or with some that were not finite.
        """
        start, before = time.thread_time(), self.optimizer.counters()
        besides = self.apart.besides(self._some)
        whole = time.thread_time() - start
        after = self.optimizer.counters()
        if after["n_gradients"] - before["n_gradients"] < self.steps // 2 or after["n_nonfinite"]:
            raise RuntimeError(f"{self.label} with {len(self.problem.w)} weights makes no ordinary steps: {after}")
        made = {name: (after[f"n_{name}"] - before[f"n_{name}"]) / self.steps for name in EVALUATIONS}
        made["calls"] = self.apart.calls / self.steps
        return Measured(besides / self.steps * 1e6, whole / self.steps * 1e6, made)

    def _some(self) -> None:
        for _ in range(self.steps):
            self.optimizer.step(self.apart)


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


class _Live(TorchDispatchMode):
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
    live = _Live()

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
