"""LeNet: convolutional networks read pictures from mini-batches; which online methods collapse, and on what terms.

LeNet-5 (61,706 weights), or with ``network=notebook`` the authors' smaller network (26,068 weights, sigmoids, first
weights N(0, 1)); cross entropy, batches of 128 in a new order every epoch, float32. ``full`` is 10 epochs of MNIST. An
epoch is a number of steps, 469 but in ``fast``: once through MNIST. The digits, which stand in where nothing was
fetched, are enlarged: every pixel becomes 3 x 3, with a border of 2.

Dense methods (oNAQ, oMoQ) would take n^2 numbers, 15 GB for LeNet-5 and 2.7 GB for the notebook's network, so they
refuse; ``network=small`` (1,378 weights) is for them: ``--optimizers obfgs onaq omoq --option network=small``.

Settings of NAME, NAME-0.85, NAME-rsqrt and NAME-halving are published ones: 1 / sqrt(k), halved every epoch, or
tau / (tau + k). Those of NAME-falling are ours, as are aSNAQ's: the rate falls by a factor of 100 from the first to the
last step. They were found in tries of one epoch of LeNet-5 on seeds 100 and 101, some on the first alone, for the best
mean accuracy without a collapse: Adam 6 (rates 0.001 to 0.016), aSNAQ 5 (0.01 to 0.1, falling and not), oLNAQ 8 (0.1 to
1, lam 0.1 to 1000), oLMoQ-mb 4, oLMoQ 15 (0.1 to 3, mu 0.5 to 0.95, lam 0.1 to 1000), because most of its settings
learnt slowly; its best was a rate of 1, and half of it was taken, because 3 collapsed. NAME-falling-flat is the same
with a lam of a million, which leaves H a multiple of the identity: no curvature.

Source: notebook of oLMoQ's authors (m = 10, mu = 0.95, Adam 1e-3; with mu = 0.85 and m = 4), their program of oSR1-N on
LeNet-5 (m = 8, mu = 0.85, Adam 1e-4; Indrapriyadarsini et al. 2022).
Differs: they train on 55,000 of the 60,000 pictures, in one order; the notebook's seeds are not known, and its last
batch is whole. Pairs are guarded, see each optimizer. oLMoQ-mb's sub-batches are of 42 pictures, and its window moves
by one of them a step, so that a step costs what it costs the others, not three times as many steps an epoch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.bases.accuracy import accuracy_table, draw_accuracies, said_of
from benchmarks.bases.image_networks import NETWORKS
from benchmarks.bases.images import AUTO, chosen_data, enlarged, images
from benchmarks.bases.module_task import ModuleTask
from benchmarks.harness.experiment import Size
from benchmarks.harness.race import Method
from routing_env.plugins import nearest

__all__ = ["LeNet"]

BATCH, EPOCH = 128, 469
TRAINING_SAMPLE = 5000
"""training pictures on which the loss is measured"""
RSQRT = {"lr": 1.0, "schedule": "rsqrt"}
HALVED = {"lr": 0.5, "schedule": "constant"}
NOTEBOOK = {"mu": 0.95, "m": 10}
PROGRAM = {"mu": 0.85, "m": 8}
FALLING = {"mu": 0.85, "m": 8, "lam": 10.0, "schedule": "constant"}
FLAT = {"lam": 1e6}
"""what is left is momentum with steps of given length"""

PUBLISHED = {
    "adam": "95.3", "olbfgs": "86.4", "olbfgs-rsqrt": "89.3", "olbfgs-halving": "93.1",
    "olnaq": "97.3", "olnaq-halving": "97.4", "olmoq": "collapsed, best 91.0",
    "olmoq-halving": "96.8, 97.1, 97.2, collapsed 66.9",
}  # fmt: skip
"""last test accuracy in %, one run each"""
AS_PUBLISHED = {"epochs": 10, "data": "mnist", "network": "notebook"}


class LeNet(ModuleTask):
    """One network of a trial.

    Args:
        seeds: one, or more of one network each.
        steps: the last step.
        epochs: into which the steps are cut; the rates of methods named -halving fall from one to the next.
        data, network: see the options.
        pictures: of training and of testing at most; 0 for all.
    """

    name = "lenet"
    title = "LeNet: convolutional networks on mini-batches"
    batch = BATCH
    stacked = False  # grouped convolutions take twice the time of one network after the other
    sizes: ClassVar[dict[str, Size]] = {
        "fast": Size(10, 2, {"epochs": 2, "pictures": 640}),
        "default": Size(3 * EPOCH, 3, {"epochs": 3}),
        "full": Size(10 * EPOCH, 10, {"epochs": 10}),
    }
    options: ClassVar[dict[str, Any]] = {"data": AUTO, "network": "lenet5"}
    methods: ClassVar[dict[str, Method]] = {
        "adam": Method("torch.adam", {"lr": 1e-3}),
        "adam-1e-4": Method("torch.adam", {"lr": 1e-4}),
        "adam-falling": Method("torch.adam", {"lr": 8e-3}, end=0.01),
        "olbfgs": Method("olbfgs", {"lr": BATCH / (BATCH + 2), "schedule": "robbins-monro", "tau": 10.0, "m": 10}),
        "olbfgs-rsqrt": Method("olbfgs", RSQRT | {"m": 10}),
        "olbfgs-halving": Method("olbfgs", HALVED | {"m": 10}, decay=0.5),
        "olnaq": Method("olnaq", RSQRT | NOTEBOOK),
        "olnaq-halving": Method("olnaq", HALVED | NOTEBOOK, decay=0.5),
        "olnaq-0.85": Method("olnaq", RSQRT | PROGRAM),
        "olmoq": Method("olmoq", RSQRT | NOTEBOOK),
        "olmoq-halving": Method("olmoq", HALVED | NOTEBOOK, decay=0.5),
        "olmoq-0.85": Method("olmoq", RSQRT | {"mu": 0.85, "m": 4}),
        "olmoq-mb-halving": Method("olmoq_mb", HALVED | {"mu": 0.85, "m": 4}, decay=0.5),
        "osr1": Method("osr1", {"m": 8}),
        "osr1n": Method("osr1n", {"m": 8}),
        "omosr1": Method("omosr1", {"m": 8}),
        "asnaq": Method("asnaq", {"lr": 0.1}),
        "olnaq-falling": Method("olnaq", FALLING | {"lr": 0.3}, end=0.01),
        "olmoq-falling": Method("olmoq", FALLING | {"lr": 0.5}, end=0.01),
        "olmoq-mb-falling": Method("olmoq_mb", FALLING | {"lr": 0.5}, end=0.01),
        "olnaq-falling-flat": Method("olnaq", FALLING | FLAT | {"lr": 0.3}, end=0.01),
        "olmoq-falling-flat": Method("olmoq", FALLING | FLAT | {"lr": 0.5}, end=0.01),
        "olbfgs-rsqrt-plain": Method("olbfgs", RSQRT | {"m": 10, "normalize": False}),
        "olnaq-0.85-plain": Method("olnaq", RSQRT | PROGRAM | {"normalize": False}),
        "olmoq-0.85-plain": Method("olmoq", RSQRT | {"mu": 0.85, "m": 4, "normalize": False}),
    }
    dense: ClassVar[dict[str, Method]] = {
        "obfgs": Method("obfgs", {"lr": BATCH / (BATCH + 2), "schedule": "robbins-monro", "tau": 10.0}),
        "onaq": Method("onaq", RSQRT | {"mu": 0.85}),
        "omoq": Method("omoq", RSQRT | {"mu": 0.85}),
    }
    """methods with n^2 numbers, for the small network"""

    def __init__(
        self, seeds: Sequence[int], steps: int, *, epochs: int, data: str, network: str, pictures: int = 0
    ) -> None:
        self.network = network
        x, t, test_x, self.test_t = images(data, pictures)
        x, self.test_x = enlarged(x), enlarged(test_x)
        self.channels, self.side = x.shape[1:3]
        super().__init__(seeds, steps, x, t)
        self.batches = max(1, steps // epochs)
        self.best = torch.zeros(len(seeds), dtype=torch.float64)

    @classmethod
    def chosen(cls, options: Mapping[str, Any]) -> dict[str, Any]:
        """All options; ``data`` names a data set that is there, ``network`` a network.

        Raises:
            ValueError: no such option, data set or network; the text names the nearest.
            FileNotFoundError: the data set was not fetched; the text names the command.
        """
        found = super().chosen(options)
        if (network := found["network"]) not in NETWORKS:
            raise ValueError(f"no network {network!r}{nearest(network, NETWORKS)}; there are: {', '.join(NETWORKS)}")
        return chosen_data(found)

    @classmethod
    def method(cls, label: str) -> Method:
        """A method by label, dense ones too."""
        return cls.dense[label] if label in cls.dense else super().method(label)

    def module(self) -> nn.Module:
        """The network."""
        return NETWORKS[self.network](self.channels, self.side)

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Cross entropy."""
        return functional.cross_entropy(outputs, targets)

    def measure(self) -> dict[str, Tensor]:
        """Mean loss on the first 5,000 training pictures; mean loss and accuracy in % on the test pictures."""
        loss, _ = self.accuracy(self.x[:TRAINING_SAMPLE], self.t[:TRAINING_SAMPLE])
        test_loss, accuracy = self.accuracy(self.test_x, self.test_t)
        self.best = torch.maximum(self.best, accuracy)
        return {"loss": loss, "test_loss": test_loss, "accuracy": accuracy, "best_accuracy": self.best}

    def marks(self) -> set[int]:
        """Every half epoch, and the last step."""
        halves = range(1, 2 * self.steps // self.batches + 1)
        return {half * self.batches // 2 for half in halves} - {0} | {self.steps}

    @classmethod
    def table(cls, rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        """Last test accuracy with the lowest and highest, collapsed runs; beside the published."""
        as_published = all(row["settings"]["task"] == AS_PUBLISHED for row in rows)
        return accuracy_table(rows, PUBLISHED if as_published else {})

    @classmethod
    def findings(cls, rows: Sequence[dict[str, Any]]) -> list[str]:
        """Who won on what terms, who collapsed, what curvature and normalised directions brought."""
        return said_of(rows, goal=97.0)

    @classmethod
    def draw(cls, rows: Sequence[dict[str, Any]], folder: Path) -> list[Path]:
        """Test error by epoch and by gradients; with and without normalised directions."""
        return draw_accuracies(rows, folder, cls.name)
