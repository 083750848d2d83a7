"""Test functions of optimization: losses of a point, with their usual starts and known minima.

Every `f` takes points (..., n) and returns values (...), in the dtype and on the device of the points; it is twice
differentiable by torch at the start and wherever the formula is.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["Function", "functions", "names", "quadratic"]

_MGH = "More, Garbow, Hillstrom 1981"
_SURJANOVIC = "Surjanovic, Bingham: Virtual Library of Simulation Experiments"


@dataclass(frozen=True)
class Function:
    """A loss with its start, and a minimum where it is known in closed form."""

    name: str
    f: Callable[[Tensor], Tensor]  # (..., n) -> (...)
    start: tuple[float, ...]
    minimum: tuple[float, ...] | None  # one of them; None where only the value is known
    value: float  # the smallest value
    box: tuple[float, float]  # every coordinate's range, for random starts and pictures
    source: str

    @property
    def n(self) -> int:
        """The number of coordinates."""
        return len(self.start)


def _count(x: Tensor, first: int = 1) -> Tensor:
    """first, first + 1, ... along the last axis of x."""
    return torch.arange(first, first + x.shape[-1], dtype=x.dtype, device=x.device)


def _rosenbrock(steepness: float) -> Callable[[Tensor], Tensor]:
    def f(x: Tensor) -> Tensor:
        return (1 - x[..., 0]) ** 2 + steepness * (x[..., 1] - x[..., 0] ** 2) ** 2

    return f


def _rosenbrock_extended(x: Tensor) -> Tensor:
    odd, even = x[..., 0::2], x[..., 1::2]
    return ((1 - odd) ** 2 + 100 * (even - odd**2) ** 2).sum(-1)


def _rosenbrock_chained(x: Tensor) -> Tensor:
    here, after = x[..., :-1], x[..., 1:]
    return ((1 - here) ** 2 + 100 * (after - here**2) ** 2).sum(-1)


def _beale(x: Tensor) -> Tensor:
    a, b = x[..., 0], x[..., 1]
    return (1.5 - a * (1 - b)) ** 2 + (2.25 - a * (1 - b**2)) ** 2 + (2.625 - a * (1 - b**3)) ** 2


def _levy(x: Tensor) -> Tensor:
    w = 1 + (x - 1) / 4
    body, last = w[..., :-1], w[..., -1]
    inner = ((body - 1) ** 2 * (1 + 10 * torch.sin(math.pi * body + 1) ** 2)).sum(-1)
    ends = torch.sin(math.pi * w[..., 0]) ** 2 + (last - 1) ** 2 * (1 + torch.sin(2 * math.pi * last) ** 2)
    return inner + ends


def _booth(x: Tensor) -> Tensor:
    a, b = x[..., 0], x[..., 1]
    return (a + 2 * b - 7) ** 2 + (2 * a + b - 5) ** 2


def _himmelblau(x: Tensor) -> Tensor:
    a, b = x[..., 0], x[..., 1]
    return (a**2 + b - 11) ** 2 + (a + b**2 - 7) ** 2


def _ackley(x: Tensor) -> Tensor:
    """A cone at its minimum: the gradient given there is 0, one of its subgradients."""
    square = (x**2).mean(-1)
    away = square > 0
    root = torch.where(away, torch.sqrt(torch.where(away, square, 1)), 0)  # no 0 / 0 in the gradient
    return 20 - 20 * torch.exp(-0.2 * root) + math.e - torch.exp(torch.cos(2 * math.pi * x).mean(-1))


def _rastrigin(x: Tensor) -> Tensor:
    return (x**2 + 10 - 10 * torch.cos(2 * math.pi * x)).sum(-1)


def _powell_singular(x: Tensor) -> Tensor:
    a, b, c, d = x.unbind(-1)
    return (a + 10 * b) ** 2 + 5 * (c - d) ** 2 + (b - 2 * c) ** 4 + 10 * (a - d) ** 4


def _wood(x: Tensor) -> Tensor:
    a, b, c, d = x.unbind(-1)
    valleys = 100 * (b - a**2) ** 2 + (1 - a) ** 2 + 90 * (d - c**2) ** 2 + (1 - c) ** 2
    return valleys + 10 * (b + d - 2) ** 2 + (b - d) ** 2 / 10


def _styblinski_tang(x: Tensor) -> Tensor:
    return (x**4 - 16 * x**2 + 5 * x).sum(-1) / 2


def _dixon_price(x: Tensor) -> Tensor:
    weights = _count(x[..., 1:], 2)
    return (x[..., 0] - 1) ** 2 + (weights * (2 * x[..., 1:] ** 2 - x[..., :-1]) ** 2).sum(-1)


def _helical_valley(x: Tensor) -> Tensor:
    """The angle is counted in turns from -1/4 to 3/4: it jumps on the negative second axis."""
    a, b, c = x.unbind(-1)
    turns = torch.atan2(b, a) / (2 * math.pi)
    turns = torch.where((a < 0) & (turns < 0), turns + 1, turns)
    return 100 * ((c - 10 * turns) ** 2 + (torch.hypot(a, b) - 1) ** 2) + c**2


def _brown_badly_scaled(x: Tensor) -> Tensor:
    a, b = x[..., 0], x[..., 1]
    return (a - 1e6) ** 2 + (b - 2e-6) ** 2 + (a * b - 2) ** 2


def _trigonometric(x: Tensor) -> Tensor:
    cosines = torch.cos(x)
    missing = (1 - cosines).sum(-1, keepdim=True)
    return ((missing + _count(x) * (1 - cosines) - torch.sin(x)) ** 2).sum(-1)


def _variably_dimensioned(x: Tensor) -> Tensor:
    weighted = (_count(x) * (x - 1)).sum(-1)
    return ((x - 1) ** 2).sum(-1) + weighted**2 + weighted**4


def _broyden_tridiagonal(x: Tensor) -> Tensor:
    padded = torch.nn.functional.pad(x, (1, 1))
    return (((3 - 2 * x) * x - padded[..., :-2] - 2 * padded[..., 2:] + 1) ** 2).sum(-1)


def _saddle(x: Tensor) -> Tensor:
    a, b = x[..., 0], x[..., 1]
    return a**2 / 2 - b**2 / 2 + b**4 / 4


def _plateau(x: Tensor) -> Tensor:
    return -torch.expm1(-(x**2).sum(-1) / 2)


def quadratic(n: int, condition: float, seed: int = 0) -> Function:
    """A bowl (x - minimum)'A(x - minimum) / 2, the eigenvalues of A spread geometrically from 1 to `condition`.

    Axes and minimum are drawn from the seed; the start is 0.

    Raises:
        ValueError: fewer than one coordinate, or a condition number below 1.
    """
    if n < 1 or condition < 1:
        raise ValueError(f"a bowl of {n} coordinates and condition {condition}: needs at least 1 and 1")
    draw = torch.Generator().manual_seed(seed)
    axes, _ = torch.linalg.qr(torch.randn(n, n, dtype=torch.float64, generator=draw))
    scales = torch.logspace(0, math.log10(condition), n, dtype=torch.float64)
    lowest = torch.randn(n, dtype=torch.float64, generator=draw)

    def f(x: Tensor) -> Tensor:
        along = (x - lowest.to(x)) @ axes.to(x)
        return (scales.to(x) * along**2).sum(-1) / 2

    name = f"quadratic_{condition:g}".replace("+0", "").replace("+", "")
    return Function(name, f, (0.0,) * n, tuple(lowest.tolist()), 0.0, (-5, 5), "textbook")


def _planar() -> list[Function]:
    return [
        Function("rosenbrock", _rosenbrock(1), (-1.2, 1.0), (1.0, 1.0), 0.0, (-2, 2), "coefficient 1 instead of 100"),
        Function("rosenbrock_100", _rosenbrock(100), (-1.2, 1.0), (1.0, 1.0), 0.0, (-2, 2), f"{_MGH}, 1"),
        Function("beale", _beale, (1.0, 1.0), (3.0, 0.5), 0.0, (-4.5, 4.5), f"{_MGH}, 5"),
        Function("booth", _booth, (0.0, 0.0), (1.0, 3.0), 0.0, (-10, 10), _SURJANOVIC),
        Function("himmelblau", _himmelblau, (0.0, 0.0), (3.0, 2.0), 0.0, (-5, 5), "Himmelblau 1972"),
        Function("brown_badly_scaled", _brown_badly_scaled, (1.0, 1.0), (1e6, 2e-6), 0.0, (-1e6, 1e6), f"{_MGH}, 4"),
        Function("saddle", _saddle, (1.0, 1e-3), (0.0, 1.0), -0.25, (-2, 2), "saddle at 0, minima at (0, +-1)"),
        Function("plateau", _plateau, (3.0, 3.0), (0.0, 0.0), 0.0, (-4, 4), "almost flat away from 0"),
    ]


def _few() -> list[Function]:
    wood = (-3.0, -1.0, -3.0, -1.0)
    return [
        Function("helical_valley", _helical_valley, (-1.0, 0.0, 0.0), (1.0, 0.0, 0.0), 0.0, (-5, 5), f"{_MGH}, 7"),
        Function("powell_singular", _powell_singular, (3.0, -1.0, 0.0, 1.0), (0.0,) * 4, 0.0, (-4, 5), f"{_MGH}, 13"),
        Function("wood", _wood, wood, (1.0,) * 4, 0.0, (-10, 10), f"{_MGH}, 14"),
    ]


def _many(n: int) -> list[Function]:
    ones, zeros, valley = (1.0,) * n, (0.0,) * n, (-1.2, 1.0) * (n // 2)
    low = -2.9035340277711771  # the lowest root of 4 x^3 - 32 x + 5
    tang = n * (low**4 - 16 * low**2 + 5 * low) / 2
    price = tuple(2.0 ** (2.0 ** (1 - i) - 1) for i in range(1, n + 1))
    ramp = tuple(1 - j / n for j in range(1, n + 1))
    return [
        Function("rosenbrock_extended", _rosenbrock_extended, valley, ones, 0.0, (-2, 2), f"{_MGH}, 21"),
        Function("rosenbrock_chained", _rosenbrock_chained, valley, ones, 0.0, (-2, 2), "Toint 1978"),
        Function("levy", _levy, (-4.0,) * n, ones, 0.0, (-10, 10), _SURJANOVIC),
        Function("ackley", _ackley, (2.5,) * n, zeros, 0.0, (-32.768, 32.768), "Ackley 1987"),
        Function("rastrigin", _rastrigin, (2.2,) * n, zeros, 0.0, (-5.12, 5.12), "Rastrigin 1974"),
        Function("styblinski_tang", _styblinski_tang, (-1.0,) * n, (low,) * n, tang, (-5, 5), _SURJANOVIC),
        Function("dixon_price", _dixon_price, ones, price, 0.0, (-10, 10), _SURJANOVIC),
        Function("trigonometric", _trigonometric, (1 / n,) * n, zeros, 0.0, (-1, 1), f"{_MGH}, 26"),
        Function("variably_dimensioned", _variably_dimensioned, ramp, ones, 0.0, (-2, 2), f"{_MGH}, 25"),
        Function("broyden_tridiagonal", _broyden_tridiagonal, (-1.0,) * n, None, 0.0, (-1, 1), f"{_MGH}, 30"),
        quadratic(n, 1),
        quadratic(n, 1e2),
        quadratic(n, 1e6),
    ]


def functions(n: int = 10) -> dict[str, Function]:
    """Every test function by name; those of any dimension have `n` coordinates.

    Raises:
        ValueError: n is odd or less than 2.
    """
    if n < 2 or n % 2:
        raise ValueError(f"test functions of {n} coordinates: an even number, at least 2")
    return {function.name: function for function in [*_planar(), *_few(), *_many(n)]}


def names() -> list[str]:
    """The names of all test functions."""
    return list(functions())
