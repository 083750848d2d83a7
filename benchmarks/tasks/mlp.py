"""MLP: a network with batch norm reads pictures from mini-batches.

784-100-50-10 on MNIST, each hidden layer followed by batch norm and ReLU, cross entropy; batches of 128 in a new order
every epoch; ``full`` is 10 epochs, Adam's published run 50. Float32; first weights are distributed as those of
``torch.nn.Linear``; batch norm as in the experiment ``digits``. Other pictures change the first layer alone: 64 entries
of a digit, which stand in where nothing was fetched, 3,072 of CIFAR-10. An epoch is a number of steps, 469 but in
``fast``: once through MNIST. With 84,360 weights dense methods would take 28 GB and refuse.

``adam-1e-3``, ``asnaq`` and NAME-falling are ours; in NAME-falling the rate falls by a factor of 100 from the first to
the last step. Each of the others had six tries of three epochs on seeds 100 and 101: rates 0.0005 to 0.016 by twos for
Adam; 0.1, 0.3 and 1 with a lam of 1 and 10 for oLNAQ and oLMoQ; 0.01, 0.03 and 0.1, falling and not, for aSNAQ.
NAME-falling-flat is the same with a lam of a million, which leaves H a multiple of the identity: no curvature.

Source: the notebook of oLMoQ's authors (Indrapriyadarsini et al.), logged runs.
Differs: they train on 55,000 of the 60,000 pictures; their batch norm has no gain and tests with the statistics of the
test pictures; their seeds are not known.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from benchmarks.bases.accuracy import accuracy_table, draw_accuracies, said_of
from benchmarks.bases.batch_norm_mlp import BatchNormMLP
from benchmarks.bases.images import AUTO, chosen_data, images
from benchmarks.harness.experiment import Size
from benchmarks.harness.race import Method

__all__ = ["MLP"]

BATCH, EPOCH = 128, 469
HIDDEN = (100, 50)
RSQRT = {"lr": 1.0, "mu": 0.8, "m": 4, "schedule": "rsqrt"}
FALLING = {"mu": 0.8, "m": 4, "lam": 10.0, "schedule": "constant"}
FLAT = {"lam": 1e6}
ROBBINS_MONRO = {"lr": BATCH / (BATCH + 2), "m": 4, "schedule": "robbins-monro", "tau": 10.0}
PUBLISHED = {"adam": "97.7", "olbfgs": "96.4", "olnaq": "97.9", "olmoq": "97.7"}
"""last test accuracy in % on MNIST, one run each; Adam's log ends before its last epoch"""


class MLP(BatchNormMLP):
    """The population of trials.

    Args:
        seeds: one a member.
        steps: the last step.
        epochs: into which the steps are cut.
        data: see the options; pictures: of training and of testing at most; 0 for all.
    """

    name = "mlp"
    title = "MLP: batch norm and pictures from mini-batches"
    batch = BATCH
    sizes: ClassVar[dict[str, Size]] = {
        "fast": Size(20, 2, {"epochs": 2, "pictures": 1280}),
        "default": Size(10 * EPOCH, 3, {"epochs": 10}),
        "full": Size(10 * EPOCH, 10, {"epochs": 10}),
    }
    options: ClassVar[dict[str, Any]] = {"data": AUTO}
    methods: ClassVar[dict[str, Method]] = {
        "adam": Method("torch.adam", {"lr": 1e-4}, length=5),
        "adam-1e-3": Method("torch.adam", {"lr": 1e-3}),
        "adam-falling": Method("torch.adam", {"lr": 8e-3}, end=0.01),
        "olbfgs": Method("olbfgs", ROBBINS_MONRO),
        "olnaq": Method("olnaq", RSQRT),
        "olmoq": Method("olmoq", RSQRT),
        "asnaq": Method("asnaq", {"lr": 0.1}),
        "olnaq-falling": Method("olnaq", FALLING | {"lr": 0.3}, end=0.01),
        "olmoq-falling": Method("olmoq", FALLING | {"lr": 1.0}, end=0.01),
        "olnaq-falling-flat": Method("olnaq", FALLING | FLAT | {"lr": 0.3}, end=0.01),
        "olmoq-falling-flat": Method("olmoq", FALLING | FLAT | {"lr": 1.0}, end=0.01),
        "olbfgs-plain": Method("olbfgs", ROBBINS_MONRO | {"normalize": False}),
        "olnaq-plain": Method("olnaq", RSQRT | {"normalize": False}),
        "olmoq-plain": Method("olmoq", RSQRT | {"normalize": False}),
    }

    def __init__(self, seeds: Sequence[int], steps: int, *, epochs: int, data: str, pictures: int = 0) -> None:
        x, t, test_x, test_t = images(data, pictures)
        split = (x.flatten(1), t, test_x.flatten(1), test_t)
        super().__init__(seeds, steps, split, (split[0].shape[1], *HIDDEN, 10))
        self.batches = max(1, steps // epochs)

    @classmethod
    def chosen(cls, options: Mapping[str, Any]) -> dict[str, Any]:
        """All options; ``data`` names a data set that is there.

        Raises:
            ValueError: no such option or data set; the text names the nearest.
            FileNotFoundError: the data set was not fetched; the text names the command.
        """
        return chosen_data(super().chosen(options))

    def marks(self) -> set[int]:
        """Every half epoch."""
        return {half * self.batches // 2 for half in range(1, 2 * self.steps // self.batches + 1)} - {0}

    @classmethod
    def table(cls, rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        """Last test accuracy with the lowest and highest, collapsed runs; beside the published."""
        as_published = all(row["settings"]["task"] == {"epochs": 10, "data": "mnist"} for row in rows)
        return accuracy_table(rows, PUBLISHED if as_published else {})

    @classmethod
    def findings(cls, rows: Sequence[dict[str, Any]]) -> list[str]:
        """Who won on what terms, who collapsed, what normalised directions brought."""
        return said_of(rows, goal=97.5)

    @classmethod
    def draw(cls, rows: Sequence[dict[str, Any]], folder: Path) -> list[Path]:
        """Test error by epoch and by gradients; with and without normalised directions."""
        return draw_accuracies(rows, folder, cls.name)
