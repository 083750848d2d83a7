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
from typing import Any, ClassVar

import torch

from benchmarks.bases.batch_norm_mlp import BatchNormMLP, Split
from benchmarks.harness.experiment import Size
from benchmarks.harness.race import Method, numbers

__all__ = ["Digits", "pictures"]

WIDTHS = (64, 20, 10, 10)
BATCH, EPOCHS = 64, 25


@lru_cache(maxsize=1)
def pictures() -> Split:
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


class Digits(BatchNormMLP):
    """The population of trials."""

    name = "digits"
    title = "Digits: mini-batches of 8 x 8 pictures"
    batch = BATCH
    batches = math.ceil(1198 / BATCH)
    published: ClassVar[dict[str, tuple[float, float]]] = {
        "adam": (92.0, 92.3), "obfgs": (92.5, 92.7), "onaq": (92.5, 93.2), "omoq": (92.8, 93.2),
    }  # fmt: skip
    """one run each"""
    shown = (80, 97)
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
        super().__init__(seeds, steps, pictures(), WIDTHS)

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
