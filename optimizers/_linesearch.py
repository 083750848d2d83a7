"""Line searches as pure functions: a member as a generator on host floats, members side by side, masked tensors.

A search minimises f(alpha) = E(w + alpha p) over alpha > 0, slope = f'(alpha). A generator yields ``(alpha, best)``,
the next trial and the number of the best acceptable trial so far, is sent ``(f, slope)`` and returns an ``Outcome``.

strong Wolfe     f(alpha) <= f(0) + c1 alpha f'(0),  |f'(alpha)| <= c2 |f'(0)|
Armijo           f(alpha) <= f(0) + eta alpha f'(0),  the largest such alpha in {alpha0 tau^j}
exact            alpha = argmin f

Source: J. J. More and D. J. Thuente, 1994 (strong Wolfe); R. P. Brent, 1973 (exact); L. Armijo, 1966.
Differs: psi(alpha) = f(alpha) - f(0) - c1 alpha f'(0) replaces f in the first stage only while the loss falls but not
enough, as in the authors' program; a trial that is not finite is too large.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass
from math import copysign, inf, isfinite, nan, sqrt
from typing import NamedTuple

import torch
from torch import Tensor

__all__ = [
    "Backtracked",
    "Outcome",
    "Search",
    "Searched",
    "armijo_masked",
    "backtracking",
    "exact",
    "lockstep",
    "quadratic_exact",
    "strong_wolfe",
]

_GOLDEN = (3.0 - sqrt(5.0)) / 2.0
_COLLAPSED = 1e-14  # an interval this narrow, relative to its ends, holds no further trial


@dataclass(frozen=True, slots=True)
class Outcome:
    """The end of one search.

    Where ``ok`` is false, ``alpha`` is the acceptable trial of lowest loss (strong Wolfe: it decreases the loss enough;
    exact: it decreases the loss), or 0 and ``trial`` None where there was none.
    """

    alpha: float
    ok: bool
    trial: int | None  # number of the accepted trial, from 0


_Asked = tuple[float, int | None]  # the next trial, the number of the best acceptable one so far
_Told = tuple[float, float | None]  # loss and slope at the trial
Search = Generator[_Asked, _Told, Outcome]
_NOTHING = Outcome(0.0, False, None)


class _Point(NamedTuple):
    alpha: float
    f: float
    slope: float

    def tilted(self, slope: float) -> _Point:
        """The point on the function less a line of this slope through the origin."""
        return _Point(self.alpha, self.f - slope * self.alpha, self.slope - slope) if slope else self


def _descends(f0: float, slope0: float, alpha: float) -> bool:
    return isfinite(f0) and -inf < slope0 < 0.0 < alpha < inf


def strong_wolfe(
    f0: float,
    slope0: float,
    alpha: float,
    *,
    c1: float = 1e-4,
    c2: float = 0.9,
    max_trials: int = 25,
    alpha_max: float = 1e10,
) -> Search:
    """Search a step that satisfies the strong Wolfe conditions, first trial ``alpha``; needs slopes."""
    if not _descends(f0, slope0, alpha):
        return _NOTHING
    interval, fallback, alpha = _Interval(f0, slope0, c1, alpha_max), _NOTHING, min(alpha, alpha_max)
    lowest = inf
    for trial in range(max_trials):
        f, slope = yield alpha, fallback.trial
        assert slope is not None, "strong_wolfe needs the slope at every trial"
        if not (isfinite(f) and isfinite(slope)):
            alpha = interval.before(alpha)
        else:
            enough = f <= f0 + c1 * alpha * slope0
            if enough and abs(slope) <= -c2 * slope0:
                return Outcome(alpha, True, trial)
            if enough and f < lowest:
                fallback, lowest = Outcome(alpha, False, trial), f
            alpha = interval.after(_Point(alpha, f, slope), enough)
        if not isfinite(alpha):
            break
    return fallback


class _Interval:
    """Where the step lies: between ``low``, the end of lower loss, and ``up``, None until a minimiser is bracketed."""

    low: _Point
    up: _Point | None

    def __init__(self, f0: float, slope0: float, c1: float, alpha_max: float) -> None:
        self.low, self.up = _Point(0.0, f0, slope0), None
        self.c1_slope0, self.alpha_max = c1 * slope0, alpha_max
        self.wall = inf  # the nearest trial that was not finite
        self.widths = (inf, inf)  # of the last two brackets
        self.first_stage = True

    def before(self, alpha: float) -> float:
        """The next trial after one that was not finite, nan where there is none."""
        start = self.low.alpha
        if self.up is None:
            self.wall = alpha
        following = start + 0.25 * (alpha - start)
        return following if abs(following - start) > _COLLAPSED * alpha else nan

    def after(self, t: _Point, enough: bool) -> float:
        """The next trial after t, nan where there is none."""
        if enough and t.slope >= 0.0:
            self.first_stage = False
        tilt = self.c1_slope0 if self.first_stage and not enough and t.f <= self.low.f else 0.0
        low, at, up = self.low.tilted(tilt), t.tilted(tilt), self.up and self.up.tilted(tilt)
        alpha = _trial(low, at, up)
        if at.f > low.f:
            self.up = t
        else:
            if _opposite(at, low):
                self.up = self.low
            self.low = t
        return self._extend(alpha) if self.up is None else self._inside(alpha, self.up)

    def _extend(self, alpha: float) -> float:
        start = self.low.alpha
        alpha = min(alpha, self.alpha_max)
        if alpha >= self.wall:
            alpha = 0.5 * (start + self.wall)
        return alpha if alpha > start * (1.0 + _COLLAPSED) else nan

    def _inside(self, alpha: float, up: _Point) -> float:
        left, right = sorted((self.low.alpha, up.alpha))
        width = right - left
        if width <= _COLLAPSED * right:
            return nan
        # two trials that do not shrink the bracket by a third are followed by its middle
        slow, self.widths = width >= 0.66 * self.widths[0], (self.widths[1], width)
        return 0.5 * (left + right) if slow or not left < alpha < right else alpha


def _opposite(a: _Point, b: _Point) -> bool:
    return (a.slope < 0.0 < b.slope) or (b.slope < 0.0 < a.slope)


def _trial(low: _Point, t: _Point, up: _Point | None) -> float:
    """The minimiser of a cubic, a parabola or the secant through low, t and up: the four cases of the paper."""
    cubic = _cubic(low, t)
    if t.f > low.f:  # 1: a higher loss
        step = t.alpha - low.alpha
        parabola = low.alpha + 0.5 * step * low.slope / (low.slope + (low.f - t.f) / step)
        return cubic if abs(cubic - low.alpha) < abs(parabola - low.alpha) else _middle(cubic, parabola)
    if _opposite(t, low):  # 2: a lower loss, slopes of opposite sign
        secant = _secant(low, t)
        return secant if abs(secant - t.alpha) > abs(cubic - t.alpha) else cubic
    if abs(t.slope) <= abs(low.slope):  # 3: a lower loss, a flatter slope
        return _beyond(low, t, up, cubic)
    return _reach(low, t)[1] if up is None else _cubic(up, t)  # 4: a lower loss, a slope no flatter


def _beyond(low: _Point, t: _Point, up: _Point | None, cubic: float) -> float:
    """The trial past t, seen from low."""
    secant = _secant(low, t)
    has_minimiser = (cubic - t.alpha) * (t.alpha - low.alpha) > 0.0
    if up is None:
        first, last = _reach(low, t)
        return min(max(secant, cubic if has_minimiser else last, first), last)
    nearest = cubic if has_minimiser and abs(cubic - t.alpha) < abs(secant - t.alpha) else secant
    limit = t.alpha + 0.66 * (up.alpha - t.alpha)
    return min(nearest, limit) if t.alpha > low.alpha else max(nearest, limit)


def _reach(low: _Point, t: _Point) -> tuple[float, float]:
    """The first and last step to try next where nothing is bracketed."""
    step = t.alpha - low.alpha
    return t.alpha + (1.1 * step if low.alpha > 0.0 else 0.0), t.alpha + 4.0 * step


def _secant(a: _Point, b: _Point) -> float:
    return b.alpha + (b.slope / (b.slope - a.slope) * (a.alpha - b.alpha) if a.slope != b.slope else inf)


def _middle(cubic: float, parabola: float) -> float:
    return parabola + 0.5 * (cubic - parabola) if isfinite(cubic) else parabola


def _cubic(a: _Point, b: _Point) -> float:
    """The minimiser of the cubic with the losses and slopes of a and b, nan where it has none."""
    step = b.alpha - a.alpha
    theta = 3.0 * (a.f - b.f) / step + a.slope + b.slope
    scale = max(abs(theta), abs(a.slope), abs(b.slope))
    if not 0.0 < scale < inf:
        return nan
    squared = (theta / scale) * (theta / scale) - (a.slope / scale) * (b.slope / scale)
    if not squared >= 0.0:
        return nan
    gamma = copysign(scale * sqrt(squared), step)
    below = b.slope - a.slope + 2.0 * gamma
    return b.alpha - step * ((b.slope + gamma - theta) / below) if below else nan


def backtracking(
    f0: float, slope0: float, alpha: float, *, eta: float = 1e-3, tau: float = 0.5, max_trials: int = 10
) -> Search:
    """Search the largest Armijo step of ``alpha tau^j``, j < max_trials, by losses alone."""
    if not _descends(f0, slope0, alpha):
        return _NOTHING
    for trial in range(max_trials):
        f, _ = yield alpha, None
        if isfinite(f) and f <= f0 + eta * alpha * slope0:
            return Outcome(alpha, True, trial)
        alpha *= tau
    return _NOTHING


def exact(f0: float, slope0: float, alpha: float, rel_tol: float = 1e-6, max_trials: int = 50) -> Search:
    """Search a minimiser by losses alone, first trial ``alpha``: a bracket, then Brent's method.

    ``rel_tol`` is relative to the step. Losses of precision eps tell steps apart to about sqrt(eps) only.
    """
    if not _descends(f0, slope0, alpha):
        return _NOTHING
    seen = _Seen(f0, max_trials)
    bracket = yield from _bracket(f0, slope0, alpha, seen)
    converged = bool(bracket) and (yield from _brent(bracket, rel_tol, seen))
    return Outcome(seen.alpha, converged, seen.best) if seen.best is not None else _NOTHING


class _Seen:
    """The trials so far: their number, and the one of lowest loss below f0."""

    __slots__ = ("alpha", "best", "count", "f", "max_trials")

    def __init__(self, f0: float, max_trials: int) -> None:
        self.f, self.alpha, self.max_trials, self.count = f0, 0.0, max_trials, 0
        self.best: int | None = None

    def at(self, alpha: float) -> Generator[_Asked, _Told, float]:
        """The loss at alpha, inf where it is not finite."""
        f, _ = yield alpha, self.best
        f = f if isfinite(f) else inf
        if f < self.f:
            self.f, self.alpha, self.best = f, alpha, self.count
        self.count += 1
        return f

    def spent(self) -> bool:
        return self.count >= self.max_trials


_Points = list[tuple[float, float]]  # (loss, alpha)


def _bracket(f0: float, slope0: float, alpha: float, seen: _Seen) -> Generator[_Asked, _Told, _Points]:
    """Three points, by alpha, of which the middle one is the lowest; none where the trials were spent."""
    left, middle, right = (f0, 0.0), (inf, alpha), None
    while not middle[0] < f0:  # back towards 0, to the vertex of the parabola with this loss and slope0
        if seen.spent() or not alpha:  # a step underflows where every trial is worse than f0
            return []
        if seen.count:
            right = middle
            above = (right[0] - f0) / alpha - slope0  # of the loss at alpha over the tangent, by alpha
            alpha *= min(0.5, max(0.1, -0.5 * slope0 / above))
        middle = ((yield from seen.at(alpha)), alpha)
    while right is None or right[0] < middle[0]:  # forth while the loss falls
        if right is not None:
            left, middle = middle, right
        if seen.spent():
            return []
        alpha = middle[1] + (middle[1] - left[1]) / (1.0 - _GOLDEN)
        right = ((yield from seen.at(alpha)), alpha)
    return [left, middle, right]


def _brent(bracket: _Points, rel_tol: float, seen: _Seen) -> Generator[_Asked, _Told, bool]:
    """Narrow a bracket until its middle is a minimiser to rel_tol; false where the trials were spent."""
    (_, a), lowest, (_, b) = bracket
    points = [lowest, *sorted((bracket[0], bracket[2]))]  # the lowest loss, the second lowest, the one before it
    step = before = b - a  # the last step and the one before it
    while True:
        x, middle = points[0][1], 0.5 * (a + b)
        tol = rel_tol * x
        if abs(x - middle) <= 2.0 * tol - 0.5 * (b - a):
            return True
        if seen.spent():
            return False
        to_vertex = _to_vertex(points)
        if abs(to_vertex) < 0.5 * abs(before) and a < x + to_vertex < b:
            close = min(x + to_vertex - a, b - x - to_vertex) < 2.0 * tol
            step, before = copysign(tol, middle - x) if close else to_vertex, step
        else:
            before = (a if x >= middle else b) - x
            step = _GOLDEN * before
        alpha = x + (step if abs(step) >= tol else copysign(tol, step))
        new = ((yield from seen.at(alpha)), alpha)
        outer = x if new[0] <= points[0][0] else alpha  # this point becomes an end
        inner = alpha + x - outer
        a, b = (outer, b) if outer < inner else (a, outer)
        points = _ordered(new, points)


def _ordered(new: tuple[float, float], points: _Points) -> _Points:
    """The points of Brent's method after a new one."""
    lowest, second, third = points
    if new[0] <= lowest[0]:
        return [new, lowest, second]
    if new[0] <= second[0]:
        return [lowest, new, second]
    return [lowest, second, new if new[0] <= third[0] else third]


def _to_vertex(points: _Points) -> float:
    """From the first of three points to the vertex of the parabola through them, nan where it has none."""
    (fx, x), (fw, w), (fv, v) = points
    r, q = (x - w) * (fx - fv), (x - v) * (fx - fw)
    below = 2.0 * (q - r)
    return -((x - v) * q - (x - w) * r) / below if isfinite(below) and below else nan


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


class Backtracked(NamedTuple):
    """The end of a masked search: alpha is 0 and loss is f0 where no trial was accepted."""

    alpha: Tensor  # (*members,)
    ok: Tensor  # (*members,) bool
    loss: Tensor  # (*members,) at alpha
    last: Tensor  # (*members,) the last trial, accepted or not; 0 for a member that was not searched
    last_loss: Tensor  # (*members,) there


def armijo_masked(
    evaluate_loss: Callable[[Tensor], Tensor],
    f0: Tensor,
    slope0: Tensor,
    alpha0: Tensor,
    *,
    eta: float = 1e-3,
    tau: float = 0.5,
    max_trials: int = 10,
    early_exit: bool = True,
) -> Backtracked:
    """The largest Armijo step of ``alpha0 tau^j``, j < max_trials, for each member, by tensors alone.

    ``evaluate_loss``: alpha (*members,) -> losses (*members,). With ``early_exit`` one flag is read from the device
    each trial; without it nothing is, and there are always ``max_trials`` evaluations, as a CUDA graph needs. Members
    are searched under the conditions of ``lockstep``.
    """
    searched = torch.isfinite(f0) & torch.isfinite(slope0) & (slope0 < 0) & torch.isfinite(alpha0) & (alpha0 > 0)
    alpha, ok, loss = torch.where(searched, alpha0, 0.0), ~searched, f0
    for trial in range(max_trials):
        if trial:
            alpha = torch.where(ok, alpha, alpha * tau)
        new = evaluate_loss(alpha)
        accepted = ~ok & torch.isfinite(new) & (new <= f0 + eta * alpha * slope0)
        loss, ok = torch.where(accepted, new, loss), ok | accepted
        if early_exit and bool(ok.all()):
            break
    return Backtracked(torch.where(ok, alpha, 0.0), ok & searched, loss, alpha, new)


def quadratic_exact(g: Tensor, Hg: Tensor) -> Tensor:
    """The exact step along -g on a quadratic, g'g / g'Hg, 0 where the curvature g'Hg is not positive or not finite.

    Shapes (*members, n) -> (*members,).
    """
    gg, gHg = torch.linalg.vecdot(g, g), torch.linalg.vecdot(g, Hg)
    curved = (gHg > 0) & torch.isfinite(gHg) & torch.isfinite(gg)
    return torch.where(curved, gg / torch.where(curved, gHg, 1.0), 0.0)
