"""Trust regions: a network learns to sort pictures; cubic regularisation and Newton-CG against line search and Adam.

784-64-32-10, tanh, cross entropy; the first 2,000 pictures of Fashion-MNIST train, the first 2,000 test. Methods see
all training pictures at every step, those named -mini a batch in a new order every epoch: 100 pictures, ARCs-LSR1 500.
``full`` has all 60,000 pictures and 784-400-100-10, 355,110 weights. Newton-CG makes a sixth of the steps of the
others, each of which costs several passes.

gamma and tries as in the experiment `autoencoder`: seed 100, four a method, half as long, the least training loss;
rates 0.001, 0.003, 0.01, 0.03 for Adam; 0.03, 0.1, 0.3, 1 for SGD with momentum 0.9; with batches 0.0005, 0.001, 0.002,
0.005 and 0.01, 0.03, 0.1, 0.3.

Source: Ranganath, Singhal, Marcia 2025, and Ranganath's talk of it: classification with a multi-layer perceptron and
of CIFAR-10; figures without numbers.
Differs: the published networks, batches and settings are not known; fewer pictures, and CIFAR-10 only with
``data=cifar10``, where its files were put by hand.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, ClassVar

from torch import Tensor, nn
from torch.nn import functional

from benchmarks.bases.images import AUTO, chosen_data, images
from benchmarks.bases.lone_report import cost_table, draw_metrics, draw_times, said_at, wins
from benchmarks.bases.lone_task import Lone, LoneTask
from benchmarks.harness.experiment import Size
from benchmarks.harness.race import Method

__all__ = ["TrustRegions"]

METRICS = {"loss": "training loss", "accuracy": "test accuracy, %"}
PEERS = ("arclsr1", "newton_cg", "lsr1", "lbfgs", "adam", "adam-mini")


class TrustRegions(LoneTask):
    """One network of a trial.

    Args:
        seeds: one.
        steps: the last step.
        data: see the options.
        pictures: of training and of testing at most; 0 for all.
        widths: of the hidden layers.
        batch: pictures of a step; 0 for all.
    """

    name = "trust-regions"
    title = "Trust regions: pictures are sorted"
    sizes: ClassVar[dict[str, Size]] = {
        "fast": Size(12, 2, {"pictures": 200, "widths": [16, 16]}),
        "default": Size(300, 3, {"pictures": 2000, "widths": [64, 32]}),
        "full": Size(5000, 5, {"pictures": 0, "widths": [400, 100]}),
    }
    options: ClassVar[dict[str, Any]] = {"data": AUTO}
    methods: ClassVar[dict[str, Method]] = {
        "arclsr1": Method("arclsr1", {"gamma": "below", "sigma": 0.1, "full_batch": True}),
        "lsr1": Method("lsr1", {"b0": "below", "delta0": 0.1}),
        "lbfgs": Method("lbfgs"),
        "newton_cg": Method("newton_cg", length=1 / 6),
        "adam": Method("torch.adam", {"lr": 0.03}),
        "sgd": Method("torch.sgd", {"lr": 0.1, "momentum": 0.9}),
        "adam-mini": Lone("torch.adam", {"lr": 0.002}, length=10, own={"batch": 100}),
        "sgd-mini": Lone("torch.sgd", {"lr": 0.03, "momentum": 0.9}, length=10, own={"batch": 100}),
        "arclsr1-mini": Lone("arclsr1", {"gamma": "below", "sigma": 10.0}, length=2, own={"batch": 500}),
        "arclsr1-newest": Method("arclsr1", {"sigma": 0.01, "full_batch": True}),
        "lsr1-newest": Method("lsr1"),
    }

    def __init__(
        self, seeds: Sequence[int], steps: int, *, data: str, pictures: int, widths: Sequence[int], batch: int = 0
    ) -> None:
        x, t, test_x, self.test_t = images(data, pictures)
        self.widths, self.test_x = (x[0].numel(), *widths, 10), test_x.flatten(1)
        super().__init__(seeds, steps, x.flatten(1), t, batch)

    @classmethod
    def chosen(cls, options: Mapping[str, Any]) -> dict[str, Any]:
        """All options; ``data`` names a data set that is there; auto is Fashion-MNIST, else MNIST, else the digits.

        Raises:
            ValueError: no such option or data set; the text names the nearest.
            FileNotFoundError: the data set was not fetched; the text names the command.
        """
        return chosen_data(super().chosen(options), "fashion-mnist", "mnist", "digits")

    def module(self) -> nn.Module:
        """The network."""
        layers: list[nn.Module] = []
        for inputs, outputs in pairwise(self.widths):
            layers += [nn.Linear(inputs, outputs), nn.Tanh()]
        return nn.Sequential(*layers[:-1])

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Cross entropy."""
        return functional.cross_entropy(outputs, targets)

    def metrics(self) -> dict[str, Tensor]:
        """Mean loss on the training pictures; mean loss and accuracy in % on the test pictures."""
        loss, _ = self.accuracy(self.x, self.t)
        test_loss, accuracy = self.accuracy(self.test_x, self.test_t)
        return {"loss": loss, "test_loss": test_loss, "accuracy": accuracy}

    @classmethod
    def table(cls, rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        """Costs, training loss and test accuracy at the end, training loss at equal passes and seconds."""
        return cost_table(rows, METRICS, "loss")

    @classmethod
    def draw(cls, rows: Sequence[dict[str, Any]], folder: Path) -> list[Path]:
        """Training loss and test accuracy by steps, passes and seconds; the time of a step."""
        return [
            draw_metrics(rows, folder / f"{cls.name}-responses.png", METRICS, logarithmic=("loss",)),
            draw_times(rows, folder / f"{cls.name}-times.png"),
        ]

    @classmethod
    def findings(cls, rows: Sequence[dict[str, Any]]) -> list[str]:
        """Who won at equal steps, passes and seconds; the claim that ARCs-LSR1 classifies better than most."""
        whole = [row for row in rows if "own" not in row["settings"]]
        cheap = [row for row in whole if row["method"] != "newton_cg"]
        said = [
            "Of the methods that see all pictures: " + said_at(whole, "loss", "training loss", "step", PEERS),
            "Of those with one gradient a step or little more: "
            + said_at(cheap, "loss", "training loss", "step", PEERS),
            *(said_at(rows, "loss", "training loss", cost, PEERS) for cost in ("passes", "seconds")),
            "Published: ARCs-LSR1 classifies better than most. "
            + said_at(rows, "accuracy", "test accuracy", "passes", PEERS, most=True),
        ]
        pairs = [("arclsr1", "adam"), ("arclsr1", "lbfgs"), ("lbfgs", "adam-mini"), ("newton_cg", "adam-mini")]
        found = [wins(rows, ours, other, "loss", "seconds") for ours, other in pairs]
        return said + [f"{one}." for one in found if one]
