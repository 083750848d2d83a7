"""The problems of the experiment `surfaces`: a function of the table and a start."""

from __future__ import annotations

import torch
from torch import Tensor

from benchmarks.bases.functions import Function, functions

__all__ = ["MANY_VALLEYS", "chosen_functions", "start_of"]

PLANAR = ("rosenbrock", "rosenbrock_100", "beale", "booth", "himmelblau", "saddle", "plateau")
FOLDED = ("levy", "ackley", "rastrigin", "styblinski_tang")
"""with many local minima; in two coordinates too"""
OTHERS = (
    "powell_singular", "wood", "rosenbrock_extended", "rosenbrock_chained", "dixon_price", "quadratic_1",
    "quadratic_100", "quadratic_1e6",
)  # fmt: skip
MANY_VALLEYS = {*FOLDED, *(f"{name}_2" for name in FOLDED), "rosenbrock_chained", "dixon_price"}
"""functions with other local minima, or a flat floor above the smallest value (dixon_price)"""


def chosen_functions(n: int) -> dict[str, Function]:
    """The functions of the experiment by name, those of any dimension with n coordinates."""
    many, two = functions(n), functions(2)
    return {
        **{name: many[name] for name in PLANAR},
        **{f"{name}_2": two[name] for name in FOLDED},
        **{name: many[name] for name in (*OTHERS, *FOLDED)},
    }


def start_of(function: Function, seed: int) -> Tensor:
    """The usual start (n,) at seed 0, else a point of the box that the seed and the function's name decide."""
    if not seed:
        return torch.tensor(function.start, dtype=torch.float64)
    low, high = function.box
    own = sum(256 * place + ord(letter) for place, letter in enumerate(function.name))
    draw = torch.Generator().manual_seed(seed * 1_000_003 + own)
    return low + (high - low) * torch.rand(function.n, generator=draw, dtype=torch.float64)
