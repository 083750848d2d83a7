"""Sampled methods on MNIST: a network with one hidden layer reads pictures, all of them at every step.

Pixels-20-10, sigmoids, cross entropy, float64; first weights as torch's layers draw them. ``data`` is digits
(scikit-learn's 1,198 training pictures of 8 x 8, 1,510 weights), or mnist, of which ``pictures`` are taken (28 x 28,
15,910 weights). GD and Adam, whose steps are cheap, make ten times as many.

Source: Berahas, Jahani, Takac 2019, figure of MNIST.
Differs: the published network, batch and settings are not known, and the digits stand in where MNIST was not fetched.
Rates of GD and Adam are, of eight and seven by factors of about three, those with the least mean loss after 300 steps
on the digits with seeds 100 to 102. The other settings are those of the toy classification.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar

from torch import Tensor, nn

from benchmarks.bases.full_batch import CLASSICAL, SAMPLED, FullBatch, draw_costs, network, said_of, summary
from benchmarks.datasets import available, load
from benchmarks.harness.experiment import Size
from benchmarks.harness.race import Method

__all__ = ["SampledMnist"]

HIDDEN = 20


@lru_cache(maxsize=2)
def flat_pictures(data: str, count: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Training pictures (count, pixels) and classes, the same of testing; float64, all where count is 0."""
    found, kept = load(data), slice(count or None)
    train, test = (one[kept].flatten(1).double() for one in (found.train_x, found.test_x))
    return train, found.train_t[kept], test, found.test_t[kept]


class SampledMnist(FullBatch):
    """One network of a trial.

    Args:
        seeds: one.
        steps: the last step.
        data: of `benchmarks.datasets`.
        pictures: of training and of testing at most; 0 for all.
    """

    name = "sampled-mnist"
    title = "MNIST: sampled curvature on all pictures"
    goal = 99.0
    tolerance = 1e-8
    sizes: ClassVar[dict[str, Size]] = {
        "fast": Size(5, 2, {"pictures": 200}),
        "default": Size(100, 5, {"pictures": 2_000}),
        "full": Size(1_000, 10, {"pictures": 0}),
    }
    options: ClassVar[dict[str, Any]] = {"data": "digits"}
    methods: ClassVar[dict[str, Method]] = {
        "GD": Method("torch.sgd", {"lr": 10.0}, length=10),
        "Adam": Method("torch.adam", {"lr": 0.1}, length=10),
        **{label: method for label, method in CLASSICAL.items() if label.startswith("L-")},
        **SAMPLED,
    }

    def __init__(self, seeds: Sequence[int], steps: int, data: str, pictures: int) -> None:
        x, t, self.test_x, self.test_t = flat_pictures(data, pictures)
        super().__init__(seeds, steps, x, t)

    @classmethod
    def chosen(cls, options: Mapping[str, Any]) -> dict[str, Any]:
        """All options.

        Raises:
            ValueError: no such option or data set; the text names the nearest.
            FileNotFoundError: the data set was not fetched; the text names the command.
            ModuleNotFoundError: the digits need scikit-learn.
        """
        found = super().chosen(options)
        if not available(found["data"]):
            load(found["data"])  # raises with the reason
        return found

    def module(self) -> nn.Module:
        """The network."""
        return network((self.x.shape[1], HIDDEN, 10)).double()

    def measure(self) -> dict[str, Tensor]:
        """Besides: accuracy in % on the test pictures."""
        return super().measure() | {"test_accuracy": self.accuracy(self.test_x, self.test_t)[1]}

    @classmethod
    def table(cls, rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        """Trials that reach the goal, medians of what it cost them, ends of all trials."""
        return [line | {"test accuracy, mean": _mean([row for row in rows if row["method"] == line["method"]])}
                for line in summary(rows, cls.goal)]  # fmt: skip

    @classmethod
    def findings(cls, rows: Sequence[dict[str, Any]]) -> list[str]:
        """Who reaches the goal, at what cost; the poster's claims."""
        return said_of(rows, cls.goal)

    @classmethod
    def draw(cls, rows: Sequence[dict[str, Any]], folder: Path) -> list[Path]:
        """A picture for each data set."""
        names = dict.fromkeys(row["settings"]["task"]["data"] for row in rows)
        return [draw_costs([row for row in rows if row["settings"]["task"]["data"] == name],
                           folder / f"{cls.name}-{name}.png") for name in names]  # fmt: skip


def _mean(rows: Sequence[dict[str, Any]]) -> float:
    return statistics.fmean(row["metrics"]["test_accuracy"] for row in rows)
