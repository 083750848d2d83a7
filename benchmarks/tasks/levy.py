"""Levy function: a network fits a function of several variables with many ripples, all points at every step.

pi / p (sum (x_i - 1)^2 (1 + 10 sin^2(pi x_{i+1})) + 10 sin^2(pi x_1) + (x_p - 1)^2), the sum over i = 1 ... p - 1, on
[-4, 4]^p. p-50-1 with p = 5 variables (351 weights), sigmoids, linear output; points drawn evenly, the same for all
trials; points and targets scaled so that the training data fills [-1, 1]. E = 1/2 mean (output - target)^2; first
weights U(-0.5, 0.5). A trial ends where the gradient's norm is at most 1e-6. m = 10; momentum follows Nesterov's
schedule in SR1-N and L-SR1-N and is 0.85 in LNAQ and LMoQ.

Source: Indrapriyadarsini et al. 2022 (SR1-N), figure of average results with m = 10, full batch.
Differs: the source at hand gives the function's name, m and full batch, no more: the formula (Levy and Montalvo's), how
many variables, points, hidden units, steps and trials, the first weights, the scale and the momentum of LNAQ and LMoQ
are ours.
"""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar

import torch
from matplotlib.figure import Figure
from torch import Tensor

from benchmarks.bases.regression import Points, Regression, three
from benchmarks.harness.experiment import Size
from benchmarks.harness.race import Method, numbers
from benchmarks.reporting.intervals import wilson
from benchmarks.reporting.pictures import draw_band, finish, save, styles

__all__ = ["Levy", "drawn_points", "levy"]

SAMPLE = 20_220_000
"""seed of the points"""
TEST = 2_000
"""points of testing"""
ORDER = (("L-SR1-N", "L-SR1"), ("LNAQ", "L-BFGS"), ("LMoQ", "L-BFGS"))
"""each method beside the one that it accelerates"""


def levy(x: Tensor) -> Tensor:
    """The function at points (p, points): (points,)."""
    waves = torch.sin(math.pi * x) ** 2
    pairs = ((x[:-1] - 1) ** 2 * (1 + 10 * waves[1:])).sum(0)
    return math.pi / len(x) * (pairs + 10 * waves[0] + (x[-1] - 1) ** 2)


@lru_cache(maxsize=4)
def drawn_points(variables: int, count: int) -> tuple[Points, Points]:
    """Training and test points: inputs (p, points) and targets (1, points), scaled by the training data."""
    draw = torch.Generator().manual_seed(SAMPLE)
    x, other = (8 * torch.rand(variables, many, generator=draw, dtype=torch.float64) - 4 for many in (count, TEST))
    low, high = levy(x).min(), levy(x).max()
    lows, highs = x.amin(1, keepdim=True), x.amax(1, keepdim=True)

    def scaled(at: Tensor) -> Points:
        return 2 * (at - lows) / (highs - lows) - 1, (2 * (levy(at) - low) / (high - low) - 1)[None]

    return scaled(x), scaled(other)


class Levy(Regression):
    """The population of trials.

    Args:
        seeds: one a member.
        steps: the last step.
        points: of training.
        hidden: sigmoids.
        variables: of the function.
    """

    name = "levy"
    title = "Levy function: SR1 with Nesterov's gradient"
    tolerance = 1e-6
    sizes: ClassVar[dict[str, Size]] = {
        "fast": Size(20, 2, {"points": 200, "hidden": 10}),
        "default": Size(1_000, 10, {"points": 1_000, "hidden": 50}),
        "full": Size(10_000, 30, {"points": 5_000, "hidden": 50}),
    }
    options: ClassVar[dict[str, Any]] = {"variables": 5}
    methods: ClassVar[dict[str, Method]] = {
        "SR1-N": Method("sr1n", {"subproblem": "steihaug"}),
        "L-SR1-N": Method("lsr1n", {"m": 10}),
        "L-SR1": Method("lsr1", {"m": 10}),
        "L-BFGS": Method("lbfgs", {"m": 10}),
        "LNAQ": Method("lnaq", {"m": 10, "mu": 0.85}),
        "LMoQ": Method("lmoq", {"m": 10, "mu": 0.85}),
    }

    def __init__(self, seeds: Sequence[int], steps: int, *, points: int, hidden: int, variables: int) -> None:
        self.hidden = hidden
        super().__init__(seeds, steps, *drawn_points(variables, points))
        self.begun = time.process_time()

    def measure(self) -> dict[str, Tensor]:
        """E on training and test points; seconds of the processor so far, a member's share of the population's."""
        found = super().measure()
        spent = (time.process_time() - self.begun) / len(self.seeds)
        return found | {"seconds": torch.full_like(found["loss"], round(spent, 3))}

    def marks(self) -> set[int]:
        """Eight a decade."""
        return {round(10 ** (i / 8)) for i in range(33)} | {self.steps}

    @classmethod
    def table(cls, rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        """Mean, best and worst E times 1000 on training and test points; what it cost."""
        lines = []
        for label in dict.fromkeys(row["method"] for row in rows):
            mine = [row for row in rows if row["method"] == label]
            steps = statistics.fmean(row["step"] for row in mine)
            calls = statistics.fmean(sum(row["evaluations"].values()) for row in mine)
            lines.append({
                "method": label, "E x 1000": three(numbers(mine, "loss")),
                "test x 1000": three(numbers(mine, "test_loss")), "steps": round(steps),
                "calls a step": calls / steps, "CPU seconds": statistics.fmean(numbers(mine, "seconds")),
            })  # fmt: skip
        return lines

    @classmethod
    def findings(cls, rows: Sequence[dict[str, Any]]) -> list[str]:
        """The least mean E; each method beside the one that it accelerates; the least at equal time."""
        losses: dict[str, dict[int, float]] = {}
        for row, loss in zip(rows, numbers(rows, "loss"), strict=True):
            losses.setdefault(row["method"], {})[row["seed"]] = loss
        means = {label: statistics.fmean(found.values()) for label, found in losses.items()}
        best = min(means, key=lambda label: means[label])
        steps = max(row["step"] for row in rows)
        said = [f"`{best}` ends at the least mean E x 1000, {1000 * means[best]:.3g}, after at most {steps:,} steps."]
        for faster, plain in ORDER:
            if faster in losses and plain in losses:
                said.append(_beside(faster, plain, losses))
        return [*said, *_at_equal_time(rows)]

    @classmethod
    def draw(cls, rows: Sequence[dict[str, Any]], folder: Path) -> list[Path]:
        """E on the training points over steps and over seconds of the processor."""
        figure = Figure(figsize=(9, 3.6), layout="constrained", dpi=90)
        left, right = figure.subplots(1, 2, sharey=True)
        for label, look in styles(row["method"] for row in rows).items():
            curves = [row["metrics"]["curve"] for row in rows if row["method"] == label]
            longest = max(curves, key=lambda curve: len(curve["step"]))
            for ax, name in ((left, "step"), (right, "seconds")):
                draw_band(
                    ax, [max(one, 1e-3) for one in longest[name]], [curve["loss"] for curve in curves], look, label
                )
        left.set(xscale="log", yscale="log", xlabel="step", ylabel="E on the training points, mean of trials")
        right.set(xscale="log", xlabel="seconds of the processor, a trial's share")
        finish(left)
        finish(right, legend=False)
        return [save(figure, folder / f"{cls.name}-curves.png")]


def _beside(faster: str, plain: str, losses: dict[str, dict[int, float]]) -> str:
    shared = sorted(set(losses[faster]) & set(losses[plain]))
    won = sum(losses[faster][seed] < losses[plain][seed] for seed in shared)
    low, high = wilson(won, len(shared))
    holds = "holds" if low > 0.5 else "does not hold" if high < 0.5 else "is open"
    return (
        f"That Nesterov's gradient or momentum accelerates `{plain}` {holds} here: `{faster}` ends lower in {won} of "
        f"{len(shared)} trials ({100 * low:.0f} to {100 * high:.0f} %)."
    )


def _at_equal_time(rows: Sequence[dict[str, Any]]) -> list[str]:
    """The least mean E at the time at which the quickest method had made all its steps."""
    curves: dict[str, list[dict[str, list[float]]]] = {}
    for row in rows:
        curves.setdefault(row["method"], []).append(row["metrics"]["curve"])
    ends = {label: statistics.fmean(one["seconds"][-1] for one in mine) for label, mine in curves.items()}
    limit = min(ends.values())
    reached = {}
    for label, mine in curves.items():
        last = [
            [loss for loss, spent in zip(one["loss"], one["seconds"], strict=True) if spent <= limit] for one in mine
        ]
        if all(last):
            reached[label] = statistics.fmean(one[-1] for one in last)
    if not reached:
        return []
    best = min(reached, key=lambda label: reached[label])
    return [
        f"After {limit:.2g} seconds of the processor a trial, when the quickest has made all its steps, `{best}` is "
        f"lowest: E x 1000 {1000 * reached[best]:.3g}."
    ]
