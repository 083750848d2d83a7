"""ProxProp: proximal backpropagation against Nesterov's momentum, SGD and Adam, on a perceptron and a ConvNet.

Labels begin with the network. mlp: 784-400-100-400-10, ReLU; conv: three layers of 16, 20 and 20 channels, 5 x 5, ReLU,
maxima of 2 x 2 after the first two, then one linear layer, on pictures of half the width and height. Cross entropy;
batches of 500 in a new order every epoch; the first 5,000 pictures of Fashion-MNIST, the last tenth of which validate,
and 5,000 test. -exact and -cgN are proximal backpropagation, its systems solved exactly or by N steps of conjugate
gradients, on top of Nesterov's momentum for mlp and of Adam for conv; the last layer takes plain gradients.

Published settings: mlp-exact, -cg3, -cg5, -cg10 (rate 1, tau 0.05, momentum 0.95), mlp-nesterov (rate 0.05), conv-cg3,
-cg10 (rate 0.001, tau 1), conv-adam (rate 0.001). The others had four tries on seed 100, ten epochs each, five for
conv-cg3-ours, and keep the least training loss: rates 0.03, 0.1, 0.3, 1 for mlp-sgd; 0.0003, 0.001, 0.003, 0.01 for
mlp-adam; rate and tau 1 and 0.05, 0.3 and 0.5, 1 and 0.5, 3 and 0.05 for mlp-exact-ours; rates 0.005, 0.02, 0.05, 0.1
for conv-nesterov; 0.001, 0.003, 0.01, 0.03 for conv-adam-ours and conv-cg3-ours.

Source: Frerix, Moellenhoff, Moeller, Cremers 2018, and their program: CIFAR-10, 3072-4000-1000-4000-10 and the ConvNet;
curves without numbers. Claims: fewer epochs, smoother, higher validation accuracy, no better time.
Differs: data and sizes; ``full`` has the published ones with ``data=cifar10``, where its files were put by hand.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, ClassVar

from torch import Tensor, nn
from torch.nn import functional

from benchmarks.bases.images import AUTO, chosen_data, images
from benchmarks.bases.lone_report import by_method, cost_table, draw_metrics, draw_times, said_at, wins
from benchmarks.bases.lone_task import Lone, LoneTask
from benchmarks.bases.module_task import ModuleTask
from benchmarks.harness.experiment import Size
from benchmarks.harness.race import Method

__all__ = ["ProxPropRace"]

BATCH = 500
NESTEROV = {"momentum": 0.95, "nesterov": True}
IMPLICIT = {"lr": 1.0, "tau": 0.05}
ON_ADAM = {"lr": 1e-3, "tau": 1.0, "base": "torch.adam"}
MLP, CONV = {"network": "mlp"}, {"network": "conv"}
METRICS = {"loss": "training loss", "validation": "validation accuracy, %", "accuracy": "test accuracy, %"}
DRAWN = {"loss": "training loss", "validation": "validation accuracy, %"}
PAIRS = (
    ("mlp-exact", "mlp-nesterov"), ("mlp-exact-ours", "mlp-adam"), ("conv-cg3", "conv-adam"),
    ("conv-cg3-ours", "conv-adam-ours"),
)  # fmt: skip
"""implicit and plain methods that are compared trial by trial: with published settings, then with ours"""
COSTS = {"passes": "epochs", "seconds": "processor seconds"}


class ProxPropRace(LoneTask):
    """One network of a trial.

    Args:
        seeds: one.
        steps: the last step.
        data: see the options.
        pictures: of training with validation, and of testing at most; 0 for all.
        widths: of mlp's hidden layers.
        shrink: conv sees the means of so many times so many pixels.
        network: mlp or conv.
    """

    name = "proxprop"
    title = "Proximal backpropagation"
    sizes: ClassVar[dict[str, Size]] = {
        "fast": Size(4, 2, {"pictures": 1112, "widths": [40, 20, 40], "shrink": 2}),
        "default": Size(180, 3, {"pictures": 5000, "widths": [400, 100, 400], "shrink": 2}),
        "full": Size(4500, 5, {"pictures": 0, "widths": [4000, 1000, 4000], "shrink": 1}),
    }
    options: ClassVar[dict[str, Any]] = {"data": AUTO}
    methods: ClassVar[dict[str, Method]] = {
        "mlp-exact": Lone("proxprop", IMPLICIT | {"mode": "exact"}, own=MLP),
        "mlp-cg3": Lone("proxprop", IMPLICIT | {"mode": "cg3"}, own=MLP),
        "mlp-cg5": Lone("proxprop", IMPLICIT | {"mode": "cg5"}, own=MLP),
        "mlp-cg10": Lone("proxprop", IMPLICIT | {"mode": "cg10"}, own=MLP),
        "mlp-exact-ours": Lone("proxprop", {"lr": 3.0, "tau": 0.05, "mode": "exact"}, own=MLP),
        "mlp-nesterov": Lone("torch.sgd", {"lr": 0.05} | NESTEROV, own=MLP),
        "mlp-sgd": Lone("torch.sgd", {"lr": 0.3}, own=MLP),
        "mlp-adam": Lone("torch.adam", {"lr": 3e-3}, own=MLP),
        "conv-cg3": Lone("proxprop", ON_ADAM | {"mode": "cg3"}, own=CONV),
        "conv-cg10": Lone("proxprop", ON_ADAM | {"mode": "cg10"}, own=CONV),
        "conv-cg3-ours": Lone("proxprop", ON_ADAM | {"mode": "cg3", "lr": 0.03}, own=CONV),
        "conv-adam": Lone("torch.adam", {"lr": 1e-3}, own=CONV),
        "conv-adam-ours": Lone("torch.adam", {"lr": 0.03}, own=CONV),
        "conv-nesterov": Lone("torch.sgd", {"lr": 0.05} | NESTEROV, own=CONV),
    }

    def __init__(
        self, seeds: Sequence[int], steps: int, *, data: str, pictures: int, widths: Sequence[int], shrink: int,
        network: str = "mlp",
    ) -> None:  # fmt: skip
        x, t, test_x, self.test_t = images(data, pictures)
        if network == "conv":
            x, test_x = (functional.avg_pool2d(one, shrink) for one in (x, test_x))
        self.network, self.widths, self.test_x = network, tuple(widths), test_x
        train = len(x) - len(x) // 10
        self.valid_x, self.valid_t = x[train:], t[train:]
        super().__init__(seeds, steps, x[:train], t[:train], BATCH)

    @classmethod
    def chosen(cls, options: Mapping[str, Any]) -> dict[str, Any]:
        """All options; ``data`` names a data set that is there; auto is CIFAR-10, Fashion-MNIST, MNIST or the digits.

        Raises:
            ValueError: no such option or data set; the text names the nearest.
            FileNotFoundError: the data set was not fetched; the text names the command.
        """
        return chosen_data(super().chosen(options), "cifar10", "fashion-mnist", "mnist", "digits")

    def module(self) -> nn.Module:
        """The network."""
        channels, side, _ = self.x.shape[1:]
        return mlp(channels * side**2, self.widths) if self.network == "mlp" else conv(channels, side)

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Cross entropy."""
        return functional.cross_entropy(outputs, targets)

    def metrics(self) -> dict[str, Tensor]:
        """Mean loss on the training pictures; accuracy in % on those of validation and test."""
        loss, _ = self.accuracy(self.x, self.t)
        _, validation = self.accuracy(self.valid_x, self.valid_t)
        return {"loss": loss, "validation": validation, "accuracy": self.accuracy(self.test_x, self.test_t)[1]}

    def marks(self) -> set[int]:
        """The end of every epoch, and the last step."""
        return ModuleTask.marks(self)

    @classmethod
    def table(cls, rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        """Costs, loss and accuracies at the end, training loss at equal epochs and seconds of a network's methods."""
        return [line | {"rises": f"{rises(by_method(mine)[line['method']]):.1f} %"}
                for mine in networks(rows).values() for line in cost_table(mine, METRICS, "loss")]  # fmt: skip

    @classmethod
    def draw(cls, rows: Sequence[dict[str, Any]], folder: Path) -> list[Path]:
        """Training loss and validation accuracy by epochs and seconds, a picture a network; the time of a step."""
        return [
            *(draw_metrics(mine, folder / f"{cls.name}-{network}.png", DRAWN, logarithmic=("loss",), costs=COSTS,
                           scale="linear") for network, mine in networks(rows).items()),
            draw_times(rows, folder / f"{cls.name}-times.png"),
        ]  # fmt: skip

    @classmethod
    def findings(cls, rows: Sequence[dict[str, Any]]) -> list[str]:
        """The four published claims, network by network."""
        return [sentence for network, mine in networks(rows).items() for sentence in _findings(network, mine)]


def mlp(inputs: int, widths: Sequence[int]) -> nn.Module:
    """Linear layers with ReLU between them, ten outputs."""
    layers: list[nn.Module] = [nn.Flatten()]
    for n_from, n_to in pairwise((inputs, *widths, 10)):
        layers += [nn.Linear(n_from, n_to), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def conv(channels: int, side: int) -> nn.Module:
    """Three convolutions, which keep the sides of what they see, and a linear layer with ten outputs."""
    layers: list[nn.Module] = []
    for n_from, n_to in ((channels, 16), (16, 20), (20, 20)):
        layers += [nn.Conv2d(n_from, n_to, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2)]
    return nn.Sequential(*layers[:-1], nn.Flatten(), nn.Linear(20 * (side // 2 // 2) ** 2, 10))


def networks(rows: Sequence[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    """The rows of each network; those of optimizers by name are mlp's."""
    found: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        found.setdefault(row["settings"].get("own", MLP)["network"], []).append(row)
    return found


def rises(rows: Sequence[dict[str, Any]]) -> float:
    """At how many epochs of 100 the training loss is larger than an epoch before."""
    pairs = [pair for row in rows for pair in pairwise(row["metrics"]["curve"]["loss"])]
    worse = [after is None or (before is not None and after > before) for before, after in pairs]
    return 100 * statistics.fmean(worse) if worse else math.nan


def _findings(network: str, rows: Sequence[dict[str, Any]]) -> list[str]:
    methods = by_method(rows)
    implicit = [label for label, mine in methods.items() if mine[0]["settings"]["optimizer"] == "proxprop"]
    plain = [label for label in methods if label not in implicit]
    said = [
        f"{network}, published: fewer epochs. " + said_at(rows, "loss", "training loss", "passes", methods),
        f"{network}, published: no better time. " + said_at(rows, "loss", "training loss", "seconds", methods),
        f"{network}, published: higher validation accuracy. "
        + said_at(rows, "validation", "validation accuracy", "passes", methods, most=True),
    ]
    if implicit and plain:
        parts = [f"`{label}` {rises(methods[label]):.0f} %" for label in (*implicit, *plain)]
        said.append(
            f"{network}, published: smoother. Epochs after which the training loss is larger: {', '.join(parts)}."
        )
    found = [wins(rows, ours, other, "loss", cost) for ours, other in PAIRS for cost in COSTS]
    return said + [f"{one}." for one in found if one]
