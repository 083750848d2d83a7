"""Shapes of one coordinate, put together from pieces so that value and slope run on from one to the next.

A shape S has S(0) = 0, S'(0) = 1 and equally wide pieces on [0, 1]; its first and last piece go on outside. A test is
f + g S(x) with a start value f and a start slope g: with g below 0 the pieces of the table run downhill.

    line               straight on                     quad_bowl      parabola, back up to the slope -1
    quad_convex        parabola, slope to a tenth      exponential    slope falls by the factor 1000
    gauss_nonconvex    tail of a Gaussian, steeper     gauss_convex   from its steepest point towards its middle
    gauss_bowl         the middle of a Gaussian        laplace_bowl   exponential towards a kink and away
    laplace_nonconvex  exponential, steeper by e^7     laplace_convex exponential, steeper by e^0.9
    abs                kink, slope to its negative     relu           kink, then flat
    bend               flat, then the slope before     cliff          kink, ten times as steep uphill
    ridge              kink, ten times as steep on

Uphill, quad_convex, gauss_* and laplace_* are mirrored, so that what was convex stays so.

Source: Schaul, Antonoglou, Silver 2013, section 2, and the authors' program.
Differs: kinks lie in the middle of their piece, which makes every test linear in g.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache
from typing import NamedTuple

import torch
from torch import Tensor

from routing_env.plugins import nearest

__all__ = ["PIECES", "Segment", "evaluate", "shape", "stacked"]


class Segment(NamedTuple):
    """c + s u + q u^2 + a exp(-k u) + b exp(-(u / h)^2) with u = x - origin, from x = at on."""

    at: float
    origin: float
    c: float
    s: float = 0.0
    q: float = 0.0
    a: float = 0.0
    k: float = 0.0
    b: float = 0.0
    h: float = 1.0

    def value(self, x: float) -> float:
        """At one point."""
        u = x - self.origin
        return (
            self.c
            + self.s * u
            + self.q * u * u
            + self.a * math.exp(-self.k * u)
            + self.b * math.exp(-((u / self.h) ** 2))
        )

    def slope(self, x: float) -> float:
        """At one point."""
        u = x - self.origin
        bell = -2 * u / self.h**2 * self.b * math.exp(-((u / self.h) ** 2))
        return self.s + 2 * self.q * u - self.k * self.a * math.exp(-self.k * u) + bell

    def scaled(self, at: float, width: float, value: float, slope: float) -> Segment:
        """The same on [at, at + width], with a value and a slope at its piece's start."""
        by = slope * width
        return Segment(
            at + width * self.at, at + width * self.origin, value + by * self.c, slope * self.s, slope * self.q / width,
            by * self.a, self.k / width, by * self.b, width * self.h,
        )  # fmt: skip


def _line(slope: float = 1.0, at: float = 0.0, value: float = 0.0) -> Segment:
    return Segment(at, at, value, slope)


def _parabola(last: float) -> list[Segment]:
    """The slope runs from 1 to last."""
    return [Segment(0, 0, 0, 1, (last - 1) / 2)]


def _exponential(rate: float, slope: float = 1.0, at: float = 0.0, value: float = 0.0) -> Segment:
    """The slope falls as exp(-rate u)."""
    return Segment(at, at, value + slope / rate, a=-slope / rate, k=rate)


def _bell(middle: float, width: float) -> list[Segment]:
    height = width**2 * math.exp((middle / width) ** 2) / (2 * middle)  # slope 1 at 0
    return [Segment(0, middle, -height * math.exp(-((middle / width) ** 2)), b=height, h=width)]


def _kink(slope: float) -> list[Segment]:
    return [_line(), _line(slope, 0.5, 0.5)]


FAR = 2 / (8 - math.sqrt(2))  # bandwidth: 4 of them from the middle at the start, the steepest point at the end
NEAR = 10 / (5 * math.sqrt(2) - 1)  # the steepest point at the start, a tenth from the middle at the end
TO_KINK = (math.exp(0.1), 5 * (math.exp(0.1) - 1))  # slope and value after half a piece of rate -1/5
DOWN: dict[str, list[Segment]] = {
    "line": [_line()],
    "quad_convex": _parabola(0.1),
    "quad_bowl": _parabola(-1.0),
    "exponential": [_exponential(math.log(1000))],
    "gauss_nonconvex": _bell(4 * FAR, FAR),
    "gauss_convex": _bell(1 + 0.1 * NEAR, NEAR),
    "gauss_bowl": _bell(0.5, 5.0),
    "laplace_nonconvex": [_exponential(-7.0)],
    "laplace_convex": [_exponential(-0.9)],
    "laplace_bowl": [_exponential(-0.2), _exponential(0.2, -TO_KINK[0], 0.5, TO_KINK[1])],
    "abs": _kink(-1.0),
    "relu": _kink(0.0),
    "bend": [_line(0.0), _line(1.0, 0.5)],
    "cliff": _kink(-10.0),
    "ridge": _kink(10.0),
}
UP: dict[str, list[Segment]] = {
    "quad_convex": _parabola(10.0),
    "gauss_nonconvex": _bell(1 - 4 * FAR, FAR),
    "gauss_convex": _bell(-0.1 * NEAR, NEAR),
    "laplace_nonconvex": [_exponential(7.0)],
    "laplace_convex": [_exponential(0.9)],
}
"""where they differ uphill"""
PIECES = tuple(DOWN)


@cache
def shape(name: str) -> tuple[Segment, ...]:
    """The segments of a shape, named by its pieces with hyphens between them.

    Raises:
        ValueError: no such piece; the text names the nearest.
    """
    pieces = name.split("-")
    width, value, slope, before = 1 / len(pieces), 0.0, 1.0, 1.0
    found: list[Segment] = []
    for number, piece in enumerate(pieces):
        if piece not in DOWN:
            raise ValueError(f"no piece {piece!r} of a shape{nearest(piece, DOWN)}; there are: {', '.join(DOWN)}")
        kind = UP.get(piece, DOWN[piece]) if slope < 0 else DOWN[piece]
        own = before if piece == "bend" else slope
        found += [one.scaled(number * width, width, value, own) for one in kind]
        end = (number + 1) * width
        value, slope = found[-1].value(end), found[-1].slope(end)
        before = slope or before
    return tuple(found)


def stacked(shapes: Sequence[Sequence[Segment]]) -> Tensor:
    """The segments of many shapes (shapes, most segments, 9), float64; what a shape lacks begins at infinity."""
    most = max(len(one) for one in shapes)
    missing = Segment(math.inf, 0.0, 0.0)
    return torch.tensor([[*one, *[missing] * (most - len(one))] for one in shapes], dtype=torch.float64)


def evaluate(table: Tensor, x: Tensor) -> Tensor:
    """Shapes (..., segments, 9) at points (...)."""
    place = (x.detach().unsqueeze(-1) >= table[..., 1:, 0]).sum(-1)  # NaN lies in the first segment
    found = table.gather(-2, place[..., None, None].expand(*place.shape, 1, table.shape[-1])).squeeze(-2)
    _, origin, c, s, q, a, k, b, h = found.unbind(-1)
    u = x - origin
    return c + s * u + q * u**2 + a * torch.exp(-k * u) + b * torch.exp(-((u / h) ** 2))
