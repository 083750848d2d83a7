"""Digits: a network with batch norm reads scikit-learn's 8 x 8 digits from mini-batches.

64-20-10-10, each hidden layer followed by batch norm and ReLU, cross entropy; the first two thirds of the 1,797
pictures train, the others test; batches of 64 in a new order every epoch, the last one smaller; 25 epochs. Pixels are
divided by 16. First weights are distributed as those of ``torch.nn.Linear``.

Batch norm and closures that are called several times a step: every evaluation normalises by the statistics of its own
batch at its own weights, so the loss is a function of weights and batch alone; the running statistics, which only
testing reads, move once a step, at the step's first evaluation, as they do with a first-order method.

Source: the notebook of oNAQ's and oMoQ's authors (Indrapriyadarsini et al.), logged runs.
Differs: the notebook's seeds, its scale of the pixels and its first weights are not known; its running statistics move
at every evaluation. Arithmetic here is float64.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Any, ClassVar

import torch
from matplotlib.figure import Figure
from torch import Tensor
from torch.nn import functional

from benchmarks.experiment import Size
from benchmarks.pictures import draw_band, finish, save, styles
from benchmarks.race import Method, Task, numbers

__all__ = ["Digits", "pictures"]

SIZES = (64, 20, 10, 10)
BATCH, EPOCHS = 64, 25
MOMENTUM, EPSILON = 0.1, 1e-5  # of batch norm, torch's own

PUBLISHED = {"adam": (92.0, 92.3), "obfgs": (92.5, 92.7), "onaq": (92.5, 93.2), "omoq": (92.8, 93.2)}
"""last and best test accuracy in %, one run each"""


@lru_cache(maxsize=1)
def pictures() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Training pictures (1198, 64) in [0, 1], their digits (1198,), test pictures (599, 64), their digits (599,).

    Raises:
        ModuleNotFoundError: scikit-learn is not installed.
    """
    try:
        from sklearn.datasets import load_digits
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError("the digits come with scikit-learn: pip install 'quasiroute[data]'") from error
    found = load_digits()
    x, t = torch.from_numpy(found.data) / 16, torch.from_numpy(found.target).long()
    split = 2 * len(x) // 3
    return x[:split], t[:split], x[split:], t[split:]


class Digits(Task):
    """The population of trials."""

    name = "digits"
    title = "Digits: mini-batches of 8 x 8 pictures"
    batches = math.ceil(1198 / BATCH)
    sizes: ClassVar[dict[str, Size]] = {
        "fast": Size(2 * batches, 2), "default": Size(EPOCHS * batches, 5), "full": Size(EPOCHS * batches, 5),
    }  # fmt: skip
    methods: ClassVar[dict[str, Method]] = {
        "adam": Method("torch.adam", {"lr": 1e-3}, length=2),
        "obfgs": Method("obfgs", {"lr": BATCH / (BATCH + 2), "schedule": "robbins-monro", "tau": 10.0}),
        "onaq": Method("onaq", {"lr": 1.0, "mu": 0.8, "schedule": "rsqrt"}),
        "omoq": Method("omoq", {"lr": 1.0, "mu": 0.8, "schedule": "rsqrt"}),
        "olbfgs": Method("olbfgs", {"lr": BATCH / (BATCH + 2), "m": 4, "schedule": "robbins-monro", "tau": 10.0}),
        "olnaq": Method("olnaq", {"lr": 1.0, "mu": 0.8, "m": 4, "schedule": "rsqrt"}),
        "olmoq": Method("olmoq", {"lr": 1.0, "mu": 0.8, "m": 4, "schedule": "rsqrt"}),
    }

    def __init__(self, seeds: Sequence[int], steps: int = EPOCHS * batches) -> None:
        super().__init__(seeds, steps)
        self.x, self.t, self.test_x, self.test_t = pictures()
        members = [_Member(seed, len(self.x)) for seed in seeds]
        self.params = [torch.stack(one).requires_grad_() for one in zip(*(m.weights for m in members), strict=True)]
        self.members = members
        widths = SIZES[1:-1]
        self.means = [torch.zeros(len(seeds), 1, width, dtype=torch.float64) for width in widths]
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
        drawn = torch.stack([member.batch(step) for member in self.members])  # (members, batch)
        scores = self.scores(self.x[drawn], training=True, moving=call == 0)
        return functional.cross_entropy(scores.movedim(-1, 1), self.t[drawn], reduction="none").mean(1)

    def scores(self, x: Tensor, *, training: bool, moving: bool = False) -> Tensor:
        """Scores (members, batch, 10) of pictures (members, batch, 64) or (1, batch, 64)."""
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
            published = PUBLISHED.get(label)
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
        ax.set(xlabel="epoch", ylabel="test accuracy, %", ylim=(80, 97))
        finish(ax)
        return [save(figure, folder / f"{cls.name}-accuracy.png")]

    @classmethod
    def findings(cls, rows: Sequence[dict[str, Any]]) -> list[str]:
        """The best method, and its distance to Adam."""
        means = {
            label: statistics.fmean(numbers([row for row in rows if row["method"] == label], "accuracy"))
            for label in dict.fromkeys(row["method"] for row in rows)
        }
        best = max(means, key=lambda label: means[label])
        said = f"`{best}` ends at the highest mean test accuracy, {means[best]:.1f} %"
        return [f"{said}, Adam at {means['adam']:.1f} %." if "adam" in means else f"{said}."]


class _Member:
    """First weights and the order of batches of one seed."""

    def __init__(self, seed: int, count: int) -> None:
        generator = torch.Generator().manual_seed(seed)
        self.weights: list[Tensor] = []  # weight (to, from), bias (1, to), and of hidden layers gain, offset (1, to)
        for layer, (n_from, n_to) in enumerate(pairwise(SIZES)):
            bound = n_from**-0.5
            drawn = torch.rand(n_to, n_from + 1, generator=generator, dtype=torch.float64) * 2 * bound - bound
            self.weights += [drawn[:, :-1].clone(), drawn[:, -1].clone()[None]]
            if layer < len(SIZES) - 2:
                self.weights += [torch.ones(1, n_to, dtype=torch.float64), torch.zeros(1, n_to, dtype=torch.float64)]
        self.seed, self.count, self.epoch = seed, count, -1

    def batch(self, step: int) -> Tensor:
        """Indices (batch,) of a step's pictures; an epoch's order depends on seed and epoch alone."""
        epoch, number = divmod(step, math.ceil(self.count / BATCH))
        if epoch != self.epoch:
            generator = torch.Generator().manual_seed((self.seed + 1 << 20) + epoch)
            self.order, self.epoch = torch.randperm(self.count, generator=generator), epoch
        return self.order[number * BATCH : (number + 1) * BATCH]
