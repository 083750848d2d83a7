"""Unit tests judged: an optimizer's gain in units of what SGD gains with its best fixed rate.

    gain      loss at the start minus loss at the end, without noise; minus infinity where the end is lost
    r         median gain of the repetitions / the best median gain of SGD over 34 rates from 1e-10 to 1
    score     log10 of r, cut off at -1 and 1: 0 is as good as the best SGD, 0.3 twice as good

    red     diverged   at least half of the repetitions are lost          orange  slow       r is at most 0.1
    violet  unstable   some are lost                                      yellow  variable   over a quarter below 0.1
    green   good       none of these                                      blue    excellent  good, and r above 2

Tests on which no rate of SGD gains anything are left out.

Source: Schaul, Antonoglou, Silver 2013, and the authors' program (experiment_entry.lua, algorithms_list.lua).
Differs: losses are compared without noise instead of by their expectation, which differs by a constant factor for
multiplicative noise and does not exist for Cauchy noise; a single lost repetition counts here from 1e10 on.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

import optimizers
from benchmarks.tasks.unit_tests.cases import cases
from benchmarks.tasks.unit_tests.population import Population

__all__ = ["CATEGORIES", "RATES", "SGD_RATES", "category", "gains", "judged", "score"]

RATES = (1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0)
SGD_RATES = tuple(10 ** (-10 + 10 * k / 33) for k in range(34))
CATEGORIES = {
    "E": ("excellent", "#2b6cc4"), "G": ("good", "#3f9b46"), "V": ("variable", "#f2e34c"), "S": ("slow", "#f19a38"),
    "U": ("unstable", "#8e4bb5"), "D": ("diverged", "#cf2e2e"), "-": ("left out", "#ffffff"),
}  # fmt: skip
"""letter -> name and colour"""
SLOW, EXCELLENT, POOR = 0.1, 2.0, 0.25


def category(found: Tensor, best: float) -> str:
    """The letter of one test.

    Args:
        found: gains (repetitions,), minus infinity where lost.
        best: what SGD gains.
    """
    if not best > 0:
        return "-"
    lost = int((found == -math.inf).sum())
    if 2 * lost >= len(found):
        return "D"
    if ratio(found, best) <= SLOW:
        return "S"
    if lost:
        return "U"
    if int((found / best < SLOW).sum()) > POOR * len(found):
        return "V"
    return "E" if ratio(found, best) > EXCELLENT else "G"


def ratio(found: Tensor, best: float) -> float:
    """r of gains (repetitions,)."""
    return float(_medians(found[None])) / best


def score(r: float) -> float:
    """log10 of r, between -1 and 1."""
    return math.log10(min(10.0, max(0.1, r)))


def _medians(found: Tensor) -> Tensor:
    """Of (tests, repetitions): (tests,); the mean of the middle two of an even number."""
    ordered, half = found.sort(-1).values, found.shape[-1] // 2
    return ordered[:, half] if found.shape[-1] % 2 else (ordered[:, half - 1] + ordered[:, half]) / 2


def gains(population: Population, name: str, options: Mapping[str, Any], lr: float) -> Tensor:
    """Run an optimizer on a population: gains (tests, repetitions)."""
    x = population.x.clone().requires_grad_()
    kind = optimizers.pick(name)
    stacked = {"member_dims": 1} if hasattr(kind, "populations") else {}
    optimizer = optimizers.make(name, [x], lr=lr, **options, **stacked)
    step: Callable[[Any], Any] = optimizer.step
    for number in range(population.steps):

        def closure(backward: bool = True, part: int = 0, number: int = number) -> Tensor:
            x.grad = None
            losses = population.losses(x, number, part)
            if backward:
                losses.sum().backward()
            return losses

        def plain(backward: bool = True, closure: Callable[..., Tensor] = closure) -> Tensor:
            return closure(backward)

        step(closure if getattr(kind, "needs_parts", False) else plain)
    return population.gains(x.detach())


@lru_cache(maxsize=2)
def tests(every: int, repetitions: int, steps: int, seed: int) -> list[tuple[Population, Tensor]]:
    """The population of each number of coordinates with the gains (tests,) of the best SGD."""
    found = []
    for mine in cases(every).values():
        population = Population(mine, repetitions, steps, seed)
        medians = torch.stack([_medians(gains(population, "sgd", {}, lr)) for lr in SGD_RATES])
        found.append((population, medians.amax(0)))
    return found


def judged(
    name: str, options: Mapping[str, Any], *, every: int, repetitions: int, steps: int, seed: int, rates: int
) -> dict[str, Any]:
    """Letters and 100 r of every test, a line a rate; rates are the largest so many of ``RATES``.

    Raises:
        ValueError: more rates than there are, or none.
    """
    if not 1 <= rates <= len(RATES):
        raise ValueError(f"rates must be 1 to {len(RATES)}, got {rates}")
    letters: dict[str, str] = {}
    percent: dict[str, list[int | None]] = {}
    for lr in RATES[-rates:]:
        lines, ratios = "", []
        for population, best in tests(every, repetitions, steps, seed):
            found = gains(population, name, options, lr)
            for mine, low in zip(found, best.tolist(), strict=True):
                lines += category(mine, low)
                ratios.append(_percent(ratio(mine, low)) if lines[-1] not in "-D" else None)
        letters[f"{lr:g}"], percent[f"{lr:g}"] = lines, ratios
    return {"letters": letters, "percent": percent}


def _percent(r: float) -> int:
    """100 r, cut off so that it stays short."""
    return round(max(-999.0, min(9999.0, 100 * r)))
