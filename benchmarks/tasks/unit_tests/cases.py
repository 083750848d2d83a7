"""Unit tests of stochastic optimizers: shape, scale, noise, motion and number of coordinates, and the list of them.

A test of d coordinates starts at 0. Its loss is the sum over coordinates of F_i(z_i) = f + g S_i(z_i), where z = x, or
z is x turned, or bent: z_i = x_i + 1/2 - 2 x_{i-1}^2, a curved valley. Noise is drawn once a step and coordinate:

    additive e       F + e n x                    n normal             what is still    nothing moves
    multiplicative e F exp(e n)                   n normal             offset    x - sum of 0.1 n
    masked p         F, or nothing                nothing: p           scale     g exp(sum of 0.1 n)
    cauchy           F + n x                      n Cauchy             noise     e exp(sum of 0.5 n)
                                                                       flip      -x in every other 25 steps

Sums grow every 10 steps. Curl adds R x, with a turned R, to the gradient and nothing to the loss.

Source: Schaul, Antonoglou, Silver 2013, section 2, and the authors' program, which this list of tests and its numbers
follow; flip stands for its abrupt switching.
Differs: motions are random walks; coordinates are added up without absolute values; the curved valley is ours.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

__all__ = ["MOTIONS", "NOISES", "SCALES", "SHAPES", "Case", "cases"]

SCALES = {"normal": (200.0, -1.0), "steep": (200.0, -10.0), "hill": (200.0, 1.0), "flat": (2.0, -0.1)}
"""start value f and start slope g; a hill is upside down"""

NOISES: dict[str, tuple[str, float]] = {
    "none": ("none", 0.0),
    "additive 0.01": ("additive", 0.01), "additive 0.1": ("additive", 0.1), "additive 10": ("additive", 10.0),
    "multiplicative 0.1": ("multiplicative", 0.1), "multiplicative 1": ("multiplicative", 1.0),
    "multiplicative 10": ("multiplicative", 10.0),
    "masked 0.1": ("masked", 0.1), "masked 0.9": ("masked", 0.9), "cauchy": ("cauchy", 1.0),
}  # fmt: skip
MOTIONS = ("still", "offset", "scale", "noise", "flip")

BASE = ("line", "quad_bowl", "abs", "bend", "relu", "gauss_bowl", "cliff", "ridge")
CHAINS = (
    "exponential", "quad_convex-line", "gauss_nonconvex-line", "gauss_convex-line", "laplace_nonconvex-line",
    "laplace_convex-line", "line-exponential", "quad_convex-exponential", "gauss_nonconvex-exponential",
    "laplace_nonconvex-exponential", "quad_convex-relu", "line-quad_bowl-line", "cliff-quad_bowl",
    "quad_bowl-cliff-exponential", "quad_convex-abs-quad_convex", "quad_convex-cliff-quad_convex",
    "quad_convex-quad_bowl-gauss_nonconvex", "relu-bend-line", "relu-bend-quad_bowl", "quad_convex-relu-bend-quad_bowl",
    "gauss_nonconvex-relu-bend-exponential",
    "gauss_nonconvex-gauss_convex-gauss_bowl-gauss_convex-gauss_nonconvex",
    "laplace_nonconvex-laplace_convex-laplace_bowl-laplace_convex-laplace_nonconvex",
)  # fmt: skip
SHAPES = (*BASE, *CHAINS)

COMPOSED: tuple[tuple[str, str, str, str, str], ...] = (
    ("quad_bowl", "quad_bowl", "normal", "normal", "straight"),
    ("quad_bowl", "quad_bowl", "steep", "flat", "turned"),
    ("quad_bowl", "quad_bowl", "normal", "steep", "bent"),
    ("abs", "quad_bowl", "normal", "normal", "straight"),
    ("abs", "abs", "normal", "normal", "turned"),
    ("quad_bowl", "line", "steep", "normal", "straight"),
    ("relu", "line", "normal", "normal", "straight"),
    ("exponential", "line", "normal", "normal", "straight"),
    ("exponential", "quad_bowl", "normal", "normal", "straight"),
    ("cliff", "abs", "steep", "normal", "straight"),
    ("cliff", "quad_bowl", "normal", "normal", "turned"),
    ("cliff", "line", "normal", "normal", "curled"),
    ("quad_bowl", "quad_bowl", "hill", "normal", "straight"),
    (CHAINS[-1], CHAINS[-1], "normal", "normal", "straight"),
)
"""shape of the first coordinate, of the others, their scales, and how coordinates are mixed"""
COMPOSED_NOISES = ("none", "additive 0.1", "additive 10", "multiplicative 1", "masked 0.9", "cauchy")


@dataclasses.dataclass(frozen=True)
class Case:
    """One test.

    Attributes:
        shapes, scales: of the first coordinate and of all others.
        noise: of ``NOISES``; motion: of ``MOTIONS``; mixing: straight, turned, bent or curled.
        n: coordinates.
    """

    shapes: tuple[str, str]
    scales: tuple[str, str]
    noise: str
    motion: str = "still"
    mixing: str = "straight"
    n: int = 1

    @property
    def name(self) -> str:
        """All that tells it from others; its random numbers depend on this and the seed."""
        return "|".join([*self.shapes, *self.scales, self.noise, self.motion, self.mixing, str(self.n)])

    def coordinate(self, place: int) -> tuple[str, str]:
        """Shape and scale of a coordinate."""
        return self.shapes[min(place, 1)], self.scales[min(place, 1)]


def _single() -> Iterator[Case]:
    for shape in SHAPES:
        for scale in SCALES:
            noises = list(NOISES) if shape in BASE else ["none", "additive 0.01", "additive 0.1", "additive 10"]
            for noise in noises:
                yield Case((shape, shape), (scale, scale), noise)
    for shape in BASE:
        for motion in MOTIONS[1:]:
            for noise in ["additive 0.1", "cauchy"] + (["none"] if motion != "noise" else []):
                yield Case((shape, shape), ("normal", "normal"), noise, motion)


def _composed(n: int) -> Iterator[Case]:
    for first, others, scale, scales, mixing in COMPOSED:
        for noise in COMPOSED_NOISES:
            yield Case((first, others), (scale, scales), noise, "still", mixing, n)


def cases(every: int = 1) -> dict[int, list[Case]]:
    """Number of coordinates -> its tests; of these, every so manieth.

    Raises:
        ValueError: every is below 1.
    """
    if every < 1:
        raise ValueError(f"every must be at least 1, got {every}")
    found: dict[int, list[Any]] = {1: list(_single()), 2: list(_composed(2)), 10: list(_composed(10))}
    return {n: mine[::every] for n, mine in found.items()}
