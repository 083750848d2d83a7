"""Regression: networks with one hidden layer of sigmoids, float64, all trials stacked, full batch.

outputs   V sigmoid(W x + b) + c
E         1/2 mean over points and outputs of (output - target)^2

First weights W, b, V, c of a seed are U(-0.5, 0.5), drawn in this order.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence

import torch
from torch import Tensor

from benchmarks.harness.race import Task

__all__ = ["Points", "Regression", "first_weights", "joined", "three"]

Points = tuple[Tensor, Tensor]
"""inputs (inputs, points) and targets (outputs, points)"""


class Regression(Task):
    """The population of trials; metrics ``loss`` and ``test_loss`` are E on training and test points.

    Args:
        seeds: one a member.
        steps: the last step.
        train: points of the loss, float64.
        test: other points, on the scale of the training points.
    """

    hidden: int
    """sigmoids of a network"""

    def __init__(self, seeds: Sequence[int], steps: int, train: Points, test: Points) -> None:
        super().__init__(seeds, steps)
        self.train, self.test = train, test
        inputs, outputs = len(train[0]), len(train[1])
        shapes = [(self.hidden, inputs), (self.hidden, 1), (outputs, self.hidden), (outputs, 1)]
        sizes = [a * b for a, b in shapes]
        parts = torch.stack([first_weights(seed, sum(sizes)) for seed in seeds]).split(sizes, 1)
        # (members, hidden, inputs), (members, hidden, 1), (members, outputs, hidden), (members, outputs, 1)
        self.params = [
            part.reshape(-1, *shape).clone().requires_grad_() for part, shape in zip(parts, shapes, strict=True)
        ]

    def outputs(self, x: Tensor) -> Tensor:
        """Of every member, (members, outputs, points), for inputs (inputs, points)."""
        weight, bias, out_weight, out_bias = self.params
        if len(x) == 1:  # an outer product is faster without a matrix product
            inner = torch.addcmul(bias, weight, x)
        else:
            inner = torch.baddbmm(bias, weight, x.expand(len(weight), -1, -1))
        return out_weight @ torch.sigmoid(inner) + out_bias

    def errors(self, x: Tensor, t: Tensor) -> Tensor:
        """E of every member on points: (members,)."""
        return 0.5 * (self.outputs(x) - t).square().mean((-2, -1))

    def losses(self, step: int, call: int) -> Tensor:
        """E on the training points."""
        return self.errors(*self.train)

    def measure(self) -> dict[str, Tensor]:
        """E on training and test points."""
        with torch.no_grad():
            return {"loss": self.errors(*self.train), "test_loss": self.errors(*self.test)}


def first_weights(seed: int, count: int) -> Tensor:
    """Weights (count,) of a trial, U(-0.5, 0.5)."""
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(count, generator=generator, dtype=torch.float64) - 0.5


def three(losses: Sequence[float]) -> str:
    """Mean, best and worst times 1000."""
    found = (statistics.fmean(losses), min(losses), max(losses))
    return " / ".join(f"{1000 * one:.3g}" for one in found)


def joined(published: Sequence[float] | None) -> str:
    """Numbers of a published table as ``three`` shows measured ones, a dash where there are none."""
    return "-" if published is None else " / ".join(f"{one:.4g}" for one in published)
