"""Classifiers with batch norm as members of a task: layers stacked, every hidden one followed by batch norm and ReLU.

Batch norm and closures that are called several times a step: every evaluation normalises by the statistics of its own
batch at its own weights, so the loss is a function of weights and batch alone; the running statistics, which only
testing reads, move once a step, at the step's first evaluation, as they do with a first-order method. Where batches
are windows of sub-batches, each sub-batch is normalised by its own statistics.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, ClassVar

import torch
from matplotlib.figure import Figure
from torch import Tensor
from torch.nn import functional

from benchmarks.harness.race import Task, numbers
from benchmarks.reporting.pictures import draw_band, finish, save, styles

__all__ = ["BatchNormMLP", "Split"]

MOMENTUM, EPSILON = 0.1, 1e-5  # of batch norm, torch's own

Split = tuple[Tensor, Tensor, Tensor, Tensor]
"""training pictures (n, entries), their classes (n,), test pictures (tests, entries), their classes (tests,)"""


class BatchNormMLP(Task):
    """A population of classifiers, in the dtype of their pictures; an epoch goes once through them in a new order.

    Args:
        seeds: one a member.
        steps: the last step.
        data: pictures; widths: of the layers, from a picture's entries to the classes.
    """

    batch: ClassVar[int]
    """pictures of a step; the last batch of an epoch may be smaller"""
    published: ClassVar[dict[str, tuple[float, float]]]
    """method -> last and best test accuracy in %"""
    shown: ClassVar[tuple[float, float]]
    """range of test accuracies in pictures"""

    def __init__(self, seeds: Sequence[int], steps: int, data: Split, widths: Sequence[int]) -> None:
        super().__init__(seeds, steps)
        self.x, self.t, self.test_x, self.test_t = data
        if self.x.shape[1] != widths[0]:
            raise ValueError(f"pictures of {self.x.shape[1]} entries for a first layer of {widths[0]}")
        like = self.x.new_empty(0)
        self.members = [_Member(seed, len(self.x), self.batch, widths, like) for seed in seeds]
        self.params = [
            torch.stack(one).requires_grad_() for one in zip(*(m.weights for m in self.members), strict=True)
        ]
        self.means = [like.new_zeros(len(seeds), 1, width) for width in widths[1:-1]]
        self.variances = [torch.ones_like(mean) for mean in self.means]
        self.best = torch.zeros(len(seeds), dtype=torch.float64)

    def keep(self, places: list[int]) -> None:
        """Go on with some of the members."""
        super().keep(places)
        self.members = [self.members[place] for place in places]
        self.means, self.variances = ([one[places] for one in kept] for kept in (self.means, self.variances))
        self.best = self.best[places]

    def losses(self, step: int, call: int) -> Tensor:
        """Cross entropy of each member's batch; the first call of a step moves the running statistics."""
        return self._losses(torch.stack([member.batch(step) for member in self.members]), moving=call == 0)

    def part_losses(self, step: int, part: int) -> Tensor:
        """Cross entropy of the sub-batch step + part; the first one of a step moves the running statistics."""
        return self._losses(torch.stack([member.part(step + part) for member in self.members]), moving=part == 0)

    def _losses(self, drawn: Tensor, moving: bool) -> Tensor:
        scores = self.scores(self.x[drawn], training=True, moving=moving)
        return functional.cross_entropy(scores.movedim(-1, 1), self.t[drawn], reduction="none").mean(1)

    def scores(self, x: Tensor, *, training: bool, moving: bool = False) -> Tensor:
        """Scores (members, batch, classes) of pictures (members, batch, entries) or (1, batch, entries)."""
        for layer in range(len(self.means)):
            weight, bias, gain, offset = self.params[4 * layer : 4 * layer + 4]
            x = torch.baddbmm(bias, x.expand(len(bias), -1, -1), weight.mT)
            mean, variance = self.means[layer], self.variances[layer]
            if training:
                variance, mean = torch.var_mean(x, 1, correction=0, keepdim=True)  # (members, 1, width)
                if moving:
                    self._move(layer, mean, variance * x.shape[1] / (x.shape[1] - 1))
            x = torch.relu((x - mean) * (variance + EPSILON).rsqrt() * gain + offset)
        weight, bias = self.params[-2:]
        return torch.baddbmm(bias, x, weight.mT)

    def _move(self, layer: int, mean: Tensor, variance: Tensor) -> None:
        self.means[layer].lerp_(mean.detach(), MOMENTUM)
        self.variances[layer].lerp_(variance.detach(), MOMENTUM)

    def measure(self) -> dict[str, Tensor]:
        """Mean loss on all training pictures and accuracy in % on the test pictures, with running statistics."""
        with torch.no_grad():
            scores = self.scores(self.x[None], training=False).movedim(-1, 1)
            loss = functional.cross_entropy(scores, self.t.expand(len(scores), -1), reduction="none").mean(1)
            right = self.scores(self.test_x[None], training=False).argmax(-1) == self.test_t
            accuracy = 100 * right.double().mean(1)
            self.best = torch.maximum(self.best, accuracy)
        return {"loss": loss, "accuracy": accuracy, "best_accuracy": self.best}

    def marks(self) -> set[int]:
        """The end of every epoch."""
        return set(range(self.batches, self.steps + 1, self.batches))

    @classmethod
    def table(cls, rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        """Mean last and best test accuracy with the lowest and highest last one; beside the published."""
        lines = []
        for label in dict.fromkeys(row["method"] for row in rows):
            mine = [row for row in rows if row["method"] == label]
            last = numbers(mine, "accuracy")
            published = cls.published.get(label)
            lines.append(
                {
                    "method": label,
                    "trials": len(mine),
                    "last": statistics.fmean(last),
                    "lowest": min(last),
                    "highest": max(last),
                    "best": statistics.fmean(numbers(mine, "best_accuracy")),
                    "published last / best": "-" if published is None else f"{published[0]} / {published[1]}",
                    "train loss": statistics.fmean(numbers(mine, "loss")),
                    "seconds": max(row["wall_seconds"] for row in mine),
                }
            )
        return lines

    @classmethod
    def draw(cls, rows: Sequence[dict[str, Any]], folder: Path) -> list[Path]:
        """Test accuracy by epoch."""
        figure = Figure(figsize=(6, 4), layout="constrained", dpi=90)
        ax = figure.subplots()
        for label, look in styles(row["method"] for row in rows).items():
            curves = [row["metrics"]["curve"] for row in rows if row["method"] == label]
            epochs = [step / cls.batches for step in curves[0]["step"]]
            draw_band(ax, epochs, [curve["accuracy"] for curve in curves], look, label)
        ax.set(xlabel="epoch", ylabel="test accuracy, %", ylim=cls.shown)
        finish(ax)
        return [save(figure, folder / f"{cls.name}-accuracy.png")]


class _Member:
    """First weights and the order of batches of one seed."""

    def __init__(self, seed: int, count: int, batch: int, widths: Sequence[int], like: Tensor) -> None:
        generator = torch.Generator().manual_seed(seed)
        self.weights: list[Tensor] = []  # weight (to, from), bias (1, to), and of hidden layers gain, offset (1, to)
        for layer, (n_from, n_to) in enumerate(pairwise(widths)):
            bound = n_from**-0.5
            drawn = torch.rand(n_to, n_from + 1, generator=generator, dtype=like.dtype) * 2 * bound - bound
            self.weights += [drawn[:, :-1].clone(), drawn[:, -1].clone()[None]]
            if layer < len(widths) - 2:
                self.weights += [like.new_ones(1, n_to), like.new_zeros(1, n_to)]
        self.seed, self.count, self.size, self.epoch = seed, count, batch, -1

    def batch(self, step: int) -> Tensor:
        """Indices (batch,) of a step's pictures; an epoch's order depends on seed and epoch alone."""
        return self._slice(step, self.size)

    def part(self, number: int) -> Tensor:
        """Indices (batch // 3,) of a sub-batch."""
        return self._slice(number, self.size // 3)

    def _slice(self, number: int, size: int) -> Tensor:
        epoch, number = divmod(number, math.ceil(self.count / size))
        if epoch != self.epoch:
            generator = torch.Generator().manual_seed((self.seed + 1 << 20) + epoch)
            self.order, self.epoch = torch.randperm(self.count, generator=generator), epoch
        return self.order[number * size : (number + 1) * size]
