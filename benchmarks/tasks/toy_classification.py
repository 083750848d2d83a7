"""Toy classification: networks of 36, 176 or 908 weights tell two sine waves apart, all points at every step.

Two classes of 50 points each, (x, sin(8 x) + 0.8) and (x, sin(8 x) - 0.8) for x = 0, 0.02, ... 0.98. ``network`` is
small (2-2-2-2-2-2), medium (2-4-8-8-4-2) or large (2-10-20-20-10-2) behind a first layer of two more units, without
which they would have 6 weights less; sigmoids, softmax and cross entropy, float64. First weights are N(0, 1), those of
a seed as NumPy's legacy generator gives them in the order W1, b1, ..., so that seed 67 of the small network is the
authors' published start. GD and Adam, whose steps are cheap, make ten times as many.

Source: Berahas, Jahani, Takac 2019, figures of accuracy and loss; data, small network, its first weights and the
settings of the sampled methods (m = 10, r = 1, first radius and step 1, eta 1e-6) are those of the authors' program.
Differs: how many trials, steps and pairs the figures have is not known, nor are the rates of GD and Adam. Those here
are, of nine each by factors of about three, the one with which most of the seeds 100 to 104 of all three networks sort
all points within 2,000 steps, then the one that is soonest; the five that did worst on the medium network were not
tried on the others. The line search of BFGS and L-BFGS is a strong Wolfe search, the published one is not known. SR1
and L-SR1 have the trust region of the sampled program. All trials of a sampled method draw the same directions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.bases.full_batch import CLASSICAL, SAMPLED, FullBatch, draw_costs, network, said_of, summary
from benchmarks.harness.experiment import Size
from benchmarks.harness.race import Method
from routing_env.plugins import nearest

__all__ = ["ToyClassification", "first_weights", "waves"]

NETWORKS = {
    "small": (2, 2, 2, 2, 2, 2, 2),
    "medium": (2, 2, 4, 8, 8, 4, 2),
    "large": (2, 2, 10, 20, 20, 10, 2),
}
"""inputs, five layers of sigmoids, scores; the published names leave out the first two, the published 36, 176 and 908
weights do not"""


def waves(points: int = 50) -> tuple[Tensor, Tensor]:
    """Points (2 points, 2) of both waves and their classes (2 points,), 1 for the upper one."""
    x = torch.arange(points, dtype=torch.float64) / points
    wave = torch.sin(8 * x)
    both = torch.cat([torch.stack([x, wave + 0.8], -1), torch.stack([x, wave - 0.8], -1)])
    return both, (torch.arange(2 * points) < points).long()


def first_weights(seed: int, sizes: Sequence[int]) -> list[Tensor]:
    """Weight (outputs, inputs) and bias (outputs,) of each layer, N(0, 1)."""
    random, found = np.random.RandomState(seed), []
    for inputs, outputs in pairwise(sizes):
        found += [torch.from_numpy(random.randn(inputs, outputs).T.copy()), torch.from_numpy(random.randn(outputs))]
    return found


class ToyClassification(FullBatch):
    """One network of a trial."""

    name = "toy-classification"
    title = "Toy classification: sampled curvature against remembered"
    goal = 100.0
    tolerance = 1e-8
    sizes: ClassVar[dict[str, Size]] = {"fast": Size(20, 2), "default": Size(300, 10), "full": Size(1000, 20)}
    options: ClassVar[dict[str, Any]] = {"network": "small"}
    methods: ClassVar[dict[str, Method]] = {
        "GD": Method("torch.sgd", {"lr": 1.0}, length=10),
        "Adam": Method("torch.adam", {"lr": 0.01}, length=10),
        **CLASSICAL,
        **SAMPLED,
    }

    def __init__(self, seeds: Sequence[int], steps: int = 1000, network: str = "small") -> None:
        self.widths = NETWORKS[network]
        super().__init__(seeds, steps, *waves())
        drawn = zip(*(first_weights(seed, self.widths) for seed in seeds), strict=True)
        self.params = [torch.stack(one).requires_grad_() for one in drawn]

    @classmethod
    def chosen(cls, options: Mapping[str, Any]) -> dict[str, Any]:
        """All options.

        Raises:
            ValueError: no such option or network; the text names the nearest.
        """
        found = super().chosen(options)
        if (name := found["network"]) not in NETWORKS:
            raise ValueError(f"no network {name!r}{nearest(name, NETWORKS)}; there are: {', '.join(NETWORKS)}")
        return found

    def module(self) -> nn.Module:
        """The network."""
        return network(self.widths).double()

    @classmethod
    def table(cls, rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        """Trials that sort all points, medians of what it cost them, ends of all trials."""
        return summary(rows, cls.goal)

    @classmethod
    def findings(cls, rows: Sequence[dict[str, Any]]) -> list[str]:
        """Who sorts all points, at what cost; the poster's claims."""
        return said_of(rows, cls.goal)

    @classmethod
    def draw(cls, rows: Sequence[dict[str, Any]], folder: Path) -> list[Path]:
        """A picture for each network."""
        names = dict.fromkeys(row["settings"]["task"]["network"] for row in rows)
        return [draw_costs([row for row in rows if row["settings"]["task"]["network"] == name],
                           folder / f"{cls.name}-{name}.png") for name in names]  # fmt: skip
