"""Autoencoder: cubic regularisation and trust regions against line search, Adam and SGD.

784-64-16-64-784, tanh, sigmoids at the output, mean square error of all pixels; the first 2,000 pictures of MNIST
train, the first 2,000 test. Methods see all training pictures at every step, those named -mini a batch in a new order
every epoch: 100 pictures, ARCs-LSR1 500. ``full`` has all 60,000 pictures and 784-256-32-256-784, 419,120 weights.
Newton-CG makes a sixth of the steps of the others, each of which costs several passes.

SR1 matrices start from gamma I with gamma below all curvatures of the pairs, as published; -newest is the optimizers'
default, y'y / |s'y| of the newest pair. Tries on seed 100, four a method, a third to half as long, the least training
loss: rates 0.001, 0.003, 0.01, 0.03 for Adam; 3, 10, 30, 100 for SGD with momentum 0.9; with batches 0.0005, 0.001,
0.002, 0.005 and 1, 3, 10, 30; first sigma 0.01, 0.1, 1, 10 for ARCs-LSR1; first radius 0.1, 1, 10, 100 for L-SR1 and
Newton-CG. L-BFGS, which has no such number, keeps ten pairs like the others.

Source: Ranganath, Singhal, Marcia 2025, and Ranganath's talk of it: MNIST autoencoder, training and testing responses,
times; figures without numbers.
Differs: the published network (about 400,000 weights), batches and settings are not known; fewer pictures.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from matplotlib.figure import Figure
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.bases.images import AUTO, chosen_data, images
from benchmarks.bases.lone_report import by_method, cost_table, draw_metrics, draw_times, said_at, wins
from benchmarks.bases.lone_task import Lone, LoneTask
from benchmarks.harness.experiment import Size
from benchmarks.harness.race import Method
from benchmarks.reporting.pictures import save
from routing_env.plugins import nearest

__all__ = ["Autoencoder"]

SHOWN = 10
"""test pictures whose reconstruction the row of seed 0 keeps"""
GREY = ("mnist", "fashion-mnist", "digits")
"""data sets; the digits, 8 x 8, need no download"""
METRICS = {"loss": "training loss", "test_loss": "test loss"}


class Autoencoder(LoneTask):
    """One network of a trial.

    Args:
        seeds: one.
        steps: the last step.
        data: see the options.
        pictures: of training and of testing at most; 0 for all.
        widths: of the encoder's layers; the decoder has the same in the other order.
        batch: pictures of a step; 0 for all.
    """

    name = "autoencoder"
    title = "Autoencoder: cubic regularisation and trust regions"
    sizes: ClassVar[dict[str, Size]] = {
        "fast": Size(12, 2, {"pictures": 200, "widths": [32, 8]}),
        "default": Size(300, 3, {"pictures": 2000, "widths": [64, 16]}),
        "full": Size(5000, 5, {"pictures": 0, "widths": [256, 32]}),
    }
    options: ClassVar[dict[str, Any]] = {"data": AUTO}
    methods: ClassVar[dict[str, Method]] = {
        "arclsr1": Method("arclsr1", {"gamma": "below", "sigma": 0.1, "full_batch": True}),
        "lsr1": Method("lsr1", {"b0": "below", "delta0": 0.1}),
        "lbfgs": Method("lbfgs"),
        "newton_cg": Method("newton_cg", length=1 / 6),
        "adam": Method("torch.adam", {"lr": 0.01}),
        "sgd": Method("torch.sgd", {"lr": 30.0, "momentum": 0.9}),
        "adam-mini": Lone("torch.adam", {"lr": 0.005}, length=10, own={"batch": 100}),
        "sgd-mini": Lone("torch.sgd", {"lr": 30.0, "momentum": 0.9}, length=10, own={"batch": 100}),
        "arclsr1-mini": Lone("arclsr1", {"gamma": "below", "sigma": 0.1}, length=2, own={"batch": 500}),
        "arclsr1-newest": Method("arclsr1", {"sigma": 0.1, "full_batch": True}),
        "lsr1-newest": Method("lsr1"),
    }

    def __init__(
        self, seeds: Sequence[int], steps: int, *, data: str, pictures: int, widths: Sequence[int], batch: int = 0
    ) -> None:
        x, _, test_x, _ = images(data, pictures)
        self.widths, self.test_x = (x[0].numel(), *widths), test_x.flatten(1)
        super().__init__(seeds, steps, x.flatten(1), x.flatten(1), batch)

    @classmethod
    def chosen(cls, options: Mapping[str, Any]) -> dict[str, Any]:
        """All options; ``data`` names a data set of grey pictures that is there.

        Raises:
            ValueError: no such option or data set; the text names the nearest.
            FileNotFoundError: the data set was not fetched; the text names the command.
        """
        found = super().chosen(options)
        if found["data"] not in (AUTO, *GREY):
            raise ValueError(f"data {found['data']!r}{nearest(found['data'], GREY)} is none of auto, {', '.join(GREY)}")
        return chosen_data(found, *GREY)

    def module(self) -> nn.Module:
        """Encoder and decoder."""
        widths = [*self.widths, *self.widths[-2::-1]]
        layers: list[nn.Module] = []
        for inputs, outputs in pairwise(widths):
            layers += [nn.Linear(inputs, outputs), nn.Tanh()]
        return nn.Sequential(*layers[:-1], nn.Sigmoid())

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Mean square error of all pixels."""
        return functional.mse_loss(outputs, targets)

    def metrics(self) -> dict[str, Tensor]:
        """Mean square error on the training and on the test pictures."""
        return {name: (self.outputs(x) - x).square().mean((1, 2))
                for name, x in (("loss", self.x), ("test_loss", self.test_x))}  # fmt: skip

    def notes(self) -> list[dict[str, Any]]:
        """Of seed 0 some test pictures and their reconstructions, a hexadecimal digit a pixel."""
        if self.seeds != (0,):
            return super().notes()
        shown = self.test_x[:SHOWN]
        return [{"originals": _digits(shown), "reconstructions": _digits(self.outputs(shown)[0])}]

    @classmethod
    def table(cls, rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        """Costs, losses at the end, and training loss at equal passes and seconds; nothing is published."""
        return cost_table(rows, METRICS, "loss")

    @classmethod
    def draw(cls, rows: Sequence[dict[str, Any]], folder: Path) -> list[Path]:
        """Losses by steps, passes and seconds; the time of a step; reconstructions."""
        drawn = [
            draw_metrics(rows, folder / f"{cls.name}-responses.png", METRICS, logarithmic=tuple(METRICS), top=0.08),
            draw_times(rows, folder / f"{cls.name}-times.png"),
        ]
        kept = {label: mine[0]["metrics"] for label, mine in by_method(rows).items()
                if "reconstructions" in mine[0]["metrics"]}  # fmt: skip
        return drawn + ([_draw_pictures(kept, folder / f"{cls.name}-pictures.png")] if kept else [])

    @classmethod
    def findings(cls, rows: Sequence[dict[str, Any]]) -> list[str]:
        """The published claims, then who won at equal passes and at equal seconds."""
        whole = [row for row in rows if "own" not in row["settings"]]
        cheap = [row for row in whole if row["method"] != "newton_cg"]
        peers = ("arclsr1", "newton_cg", "lsr1", "lbfgs", "adam")
        said = [
            "Published: ARCs-LSR1 takes the fewest steps. Of the methods that see all pictures here: "
            + said_at(whole, "loss", "training loss", "step", peers),
            "Of those with one gradient a step or little more: "
            + said_at(cheap, "loss", "training loss", "step", peers),
            "Published: it generalises better. " + said_at(rows, "test_loss", "test loss", "passes", peers),
        ]
        said += [said_at(rows, "loss", "training loss", cost, ("arclsr1", "newton_cg", "lbfgs", "adam", "adam-mini"))
                 for cost in ("passes", "seconds")]  # fmt: skip
        pairs = [("arclsr1", "adam"), ("arclsr1", "lbfgs"), ("lbfgs", "adam"), ("newton_cg", "adam-mini")]
        found = [wins(rows, ours, other, "loss", "seconds") for ours, other in pairs]
        return said + [f"{one}." for one in found if one]


def _digits(pictures: Tensor) -> list[str]:
    """Pixels (n, pixels) in [0, 1] as texts of hexadecimal digits."""
    return ["".join(f"{value:x}" for value in one) for one in (15 * pictures).round().int().tolist()]


def _draw_pictures(kept: Mapping[str, Mapping[str, Any]], path: Path) -> Path:
    """The originals above, a line of reconstructions a method below."""
    lines = {"original": next(iter(kept.values()))["originals"]}
    lines |= {label: one["reconstructions"] for label, one in kept.items()}
    figure = Figure(figsize=(7, 0.6 * len(lines)), layout="constrained", dpi=80)
    for ax, (label, texts) in zip(figure.subplots(len(lines)), lines.items(), strict=True):
        side = round(len(texts[0]) ** 0.5)
        shown = [np.array([int(digit, 16) for digit in text]).reshape(side, side) for text in texts]
        ax.imshow(np.concatenate(shown, 1), cmap="gray_r", vmin=0, vmax=15)
        ax.set(xticks=[], yticks=[])
        ax.set_ylabel(label, rotation=0, ha="right", va="center", fontsize=8)
    return save(figure, path)
