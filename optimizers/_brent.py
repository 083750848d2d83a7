"""The line search for a minimiser, alpha = argmin f, by losses alone.

Source: R. P. Brent, 1973. Differs: the bracket is found first, back towards 0 by parabolas with the slope there, forth
by golden sections; a trial that is not finite is too large.
"""

from __future__ import annotations

from collections.abc import Generator
from math import copysign, inf, isfinite, nan, sqrt

from optimizers._linesearch import NOTHING, Asked, Outcome, Search, Told, descends

__all__ = ["exact"]

_GOLDEN = (3.0 - sqrt(5.0)) / 2.0


def exact(f0: float, slope0: float, alpha: float, rel_tol: float = 1e-6, max_trials: int = 50) -> Search:
    """Search a minimiser by losses alone, first trial ``alpha``: a bracket, then Brent's method.

    ``rel_tol`` is relative to the step. Losses of precision eps tell steps apart to about sqrt(eps) only.
    """
    if not descends(f0, slope0, alpha):
        return NOTHING
    seen = _Seen(f0, max_trials)
    bracket = yield from _bracket(f0, slope0, alpha, seen)
    converged = bool(bracket) and (yield from _brent(bracket, rel_tol, seen))
    return Outcome(seen.alpha, converged, seen.best) if seen.best is not None else NOTHING


class _Seen:
    """The trials so far: their number, and the one of lowest loss below f0."""

    __slots__ = ("alpha", "best", "count", "f", "max_trials")

    def __init__(self, f0: float, max_trials: int) -> None:
        self.f, self.alpha, self.max_trials, self.count = f0, 0.0, max_trials, 0
        self.best: int | None = None

    def at(self, alpha: float) -> Generator[Asked, Told, float]:
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


def _bracket(f0: float, slope0: float, alpha: float, seen: _Seen) -> Generator[Asked, Told, _Points]:
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


def _brent(bracket: _Points, rel_tol: float, seen: _Seen) -> Generator[Asked, Told, bool]:
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
