"""What a line search is, and how those of many members run side by side.

A search minimises f(alpha) = E(w + alpha p) over alpha > 0, slope = f'(alpha), on host floats. It is a generator that
yields ``(alpha, best)``, the next trial and the number of the best acceptable trial so far, is sent ``(f, slope)`` and
returns an ``Outcome``. The searches are ``_strong_wolfe.strong_wolfe``, ``_brent.exact`` and ``_armijo.backtracking``;
``_armijo`` also has one for all members by tensors alone.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass
from math import inf, isfinite

import torch
from torch import Tensor

__all__ = ["NOTHING", "Asked", "Outcome", "Search", "Searched", "Told", "descends", "lockstep"]


@dataclass(frozen=True, slots=True)
class Outcome:
    """The end of one search.

    Where ``ok`` is false, ``alpha`` is the acceptable trial of lowest loss (strong Wolfe: it decreases the loss enough;
    exact: it decreases the loss), or 0 and ``trial`` None where there was none.
    """

    alpha: float
    ok: bool
    trial: int | None  # number of the accepted trial, from 0


Asked = tuple[float, int | None]  # the next trial, the number of the best acceptable one so far
Told = tuple[float, float | None]  # loss and slope at the trial
Search = Generator[Asked, Told, Outcome]
NOTHING = Outcome(0.0, False, None)


def descends(f0: float, slope0: float, alpha: float) -> bool:
    """Whether there is anything to search: a slope downwards from a finite loss, and a first trial."""
    return isfinite(f0) and -inf < slope0 < 0.0 < alpha < inf


Evaluated = tuple[Tensor, Tensor | None, tuple[Tensor, ...]]


@dataclass(frozen=True, slots=True)
class Searched:
    """The end of the searches of all members.

    ``alpha`` is 0 where a member found no acceptable trial; its ``loss`` is then f0 and its ``payload`` that of the
    first trial, which is alpha = 0 for a member that was not searched.
    """

    alpha: Tensor  # (*members,)
    ok: Tensor  # (*members,) bool
    loss: Tensor  # (*members,) at alpha
    payload: tuple[Tensor, ...]  # each (*members, ...), of the evaluation at alpha
    trials: int  # calls of evaluate


class _Run:
    """One member's search: the step to evaluate next, and its outcome once there is one."""

    __slots__ = ("alpha", "outcome", "search")

    def __init__(self, search: Search) -> None:
        self.search, self.alpha = search, 0.0
        self.outcome: Outcome | None = None
        try:
            self.alpha, _ = next(search)
        except StopIteration as end:
            self.outcome = end.value

    def tell(self, trial: int, f: float, slope: float | None = None) -> bool:
        """Go on after one evaluation; whether it is the best acceptable trial so far."""
        try:
            self.alpha, best = self.search.send((f, slope))
        except StopIteration as end:
            outcome: Outcome = end.value
            self.outcome, self.alpha, best = outcome, outcome.alpha, outcome.trial
        return best == trial


def lockstep(
    search: Callable[[float, float, float], Search],
    evaluate: Callable[[Tensor], Evaluated],
    f0: Tensor,
    slope0: Tensor,
    alpha0: Tensor,
) -> Searched:
    """Run one search a member side by side, every member evaluated at its own step in each trial.

    Args:
        search: ``strong_wolfe``, ``backtracking`` or ``exact``, options bound by ``functools.partial``.
        evaluate: alpha (*members,) -> loss (*members,), slope (*members,) or None, payload: tensors (*members, ...)
            that later evaluations do not overwrite. Called at least once; members that are done stay at their
            outcome's alpha.
        f0: losses at alpha = 0, (*members,), at most one member axis.
        slope0: slopes there. A member whose f0 or slope0 is not finite, or that does not descend, is not searched.
        alpha0: first trials, positive.

    Raises:
        ValueError: more than one member axis.
    """
    if f0.dim() > 1:
        raise ValueError(f"f0 has shape {tuple(f0.shape)}; a line search takes at most one member axis")
    runs = [_Run(search(*start)) for start in _rows(f0, slope0, alpha0)]
    waiting = [i for i, run in enumerate(runs) if run.outcome is None]
    kept: tuple[Tensor, ...] | None = None
    steps = [run.alpha for run in runs]
    alpha, trials = _like(alpha0, steps), 0
    while waiting or kept is None:
        loss, slope, payload = evaluate(alpha)
        rows = _rows(loss) if slope is None else _rows(loss, slope)
        better = [False] * len(runs)
        for i in waiting:
            better[i] = runs[i].tell(trials, *rows[i])
        kept = _select(better, (loss, *payload), kept or (f0, *payload))
        trials += 1
        waiting = [i for i in waiting if runs[i].outcome is None]
        evaluated, steps = steps, [run.alpha for run in runs]
        if steps != evaluated:  # mostly equal at the end: the last trial is the accepted one
            alpha = _like(alpha0, steps)
    ok = [run.outcome is not None and run.outcome.ok for run in runs]
    return Searched(alpha, _like(alpha0, ok, torch.bool), kept[0], kept[1:], trials)


def _rows(*columns: Tensor) -> list[tuple[float, ...]]:
    """A tuple of host floats a member, in one read of the device."""
    if not columns[0].dim() and columns[0].is_cpu:  # nothing to wait for, and a stack costs ten times as much
        return [tuple(column.item() for column in columns)]
    read = (torch.stack(columns) if len(columns) > 1 else columns[0].unsqueeze(0)).tolist()
    return list(zip(*read, strict=True)) if columns[0].dim() else [tuple(read)]


def _like(tensor: Tensor, values: list[float] | list[bool], dtype: torch.dtype | None = None) -> Tensor:
    """Values of the members as a tensor of this one's shape and device, and dtype unless another is given."""
    if not tensor.dim():
        return tensor.new_full((), values[0], dtype=dtype)
    return torch.tensor(values, dtype=dtype or tensor.dtype, device=tensor.device)


def _select(mask: list[bool], new: tuple[Tensor, ...], old: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    if all(mask):
        return new
    if not any(mask):
        return old
    chosen = torch.tensor(mask, device=new[0].device)
    return tuple(torch.where(chosen.view(-1, *[1] * (n.dim() - 1)), n, o) for n, o in zip(new, old, strict=True))
