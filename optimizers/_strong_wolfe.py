"""The line search for the strong Wolfe conditions.

    f(alpha) <= f(0) + c1 alpha f'(0),   |f'(alpha)| <= c2 |f'(0)|

Source: J. J. More and D. J. Thuente, 1994. Differs: psi(alpha) = f(alpha) - f(0) - c1 alpha f'(0) replaces f in the
first stage only while the loss falls but not enough, as in the authors' program; a trial that is not finite is too
large.
"""

from __future__ import annotations

from math import copysign, inf, isfinite, nan, sqrt
from typing import NamedTuple

from optimizers._linesearch import NOTHING, Outcome, Search, descends

__all__ = ["strong_wolfe"]

_COLLAPSED = 1e-14  # an interval this narrow, relative to its ends, holds no further trial


class _Point(NamedTuple):
    alpha: float
    f: float
    slope: float

    def tilted(self, slope: float) -> _Point:
        """The point on the function less a line of this slope through the origin."""
        return _Point(self.alpha, self.f - slope * self.alpha, self.slope - slope) if slope else self


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
    if not descends(f0, slope0, alpha):
        return NOTHING
    interval, fallback, alpha = _Interval(f0, slope0, c1, alpha_max), NOTHING, min(alpha, alpha_max)
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
