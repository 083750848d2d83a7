"""Pixel sequences: a recurrent network reads a digit row by row or pixel by pixel and says which it is at the end.

100 tanh units (torch's RNN), a linear layer, cross entropy; batches of 50. ``sequence=rows``: 28 steps of 28 numbers.
``sequence=pixels``: a step a pixel; in the default size the pictures are averaged down to 7 x 7, 49 steps, in the
full size they are whole, 784 steps. ``data=digits`` are scikit-learn's 8 x 8 digits: 8 rows, or 64 pixels; ``auto`` is
MNIST where it lies on this machine, else the digits. Losses and accuracy are those of as many first training and test
pictures as the size says.

Source: Indrapriyadarsini et al., NOLTA 2019, 2020 (aSNAQ), figures of MNIST row by row and pixel by pixel.
Differs: the published figures come without numbers, and the network's size, batches and settings are not known to us.
mL = 10, mF = 100 and L = 5 are those of aSNAQ's description; learning rates are searched alike for all methods: seven,
each 10^(1/2) apart, on MNIST with two seeds from 1,000 on and a third of the default steps, and the least training loss
counts (benchmarks/results/tuning/pixel-sequences.jsonl). Digits and the full size get the same rates.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, ClassVar

from torch import Tensor, nn
from torch.nn import functional

from benchmarks.datasets import Pictures, first_available, load
from benchmarks.experiment import Size
from benchmarks.recurrent_networks import Recurrent
from benchmarks.sequence_race import SequenceTask
from routing_env.plugins import nearest

__all__ = ["PixelSequences", "as_sequences"]

HIDDEN = 100
DATA = ("auto", "mnist", "digits")


def as_sequences(x: Tensor, sequence: str, side: int) -> Tensor:
    """Pictures (n, 1, height, width) as sequences (n, time, numbers).

    Args:
        x: the pictures.
        sequence: rows or pixels.
        side: pictures with a longer side are averaged down to it before they are read pixel by pixel.
    """
    if sequence == "rows":
        return x[:, 0]
    if x.shape[-1] > side:
        x = functional.adaptive_avg_pool2d(x, side)
    return x.flatten(1).unsqueeze(-1)


@lru_cache(maxsize=1)
def _pictures(data: str) -> Pictures:
    return load(data)  # once, not once a trial


class PixelSequences(SequenceTask):
    """One trial."""

    name = "pixel-sequences"
    title = "Pixel sequences: a recurrent network reads digits"
    batch = 50
    sizes: ClassVar[dict[str, Size]] = {
        "fast": Size(8, 1, {"side": 8, "measured": 100}), "default": Size(600, 3, {"side": 7, "measured": 1000}),
        "full": Size(12_000, 5, {"side": 28, "measured": 10_000}),
    }  # fmt: skip
    options: ClassVar[dict[str, Any]] = {"sequence": "rows", "data": "auto"}
    choice = "sequence"
    rates: ClassVar[dict[str, dict[str, float]]] = {
        "rows": {"asnaq": 0.3, "adaqn": 0.00316, "adagrad": 0.01, "adam": 0.00316},
        "pixels": {"asnaq": 0.0949, "adaqn": 0.01, "adagrad": 0.00316, "adam": 0.00316},
    }
    other = ("accuracy", "test accuracy, %", True)

    def __init__(self, seeds: Sequence[int], steps: int, *, side: int, measured: int, sequence: str, data: str) -> None:
        found = _pictures(data)
        self.test_x, self.test_t = as_sequences(found.test_x[:measured], sequence, side), found.test_t[:measured]
        self.measured = measured
        super().__init__(seeds, steps, as_sequences(found.train_x, sequence, side), found.train_t)

    @classmethod
    def chosen(cls, options: Mapping[str, Any]) -> dict[str, Any]:
        """All options; ``auto`` becomes the data that is there."""
        found = super().chosen(options)
        if found["data"] not in DATA:
            raise ValueError(
                f"data = {found['data']!r} is none of {', '.join(DATA)}{nearest(str(found['data']), DATA)}"
            )
        if found["data"] == "auto":
            found["data"] = first_available("mnist", "digits")
        return found

    def module(self) -> nn.Module:
        """One layer of tanh units and a linear layer."""
        return Recurrent(self.x.shape[-1], HIDDEN, 1, 10)

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Cross entropy in nats."""
        return functional.cross_entropy(outputs, targets)

    def measure(self) -> dict[str, Tensor]:
        """Loss on the first training pictures, loss and accuracy in % on the first test pictures."""
        loss, train_accuracy = self.accuracy(self.x[: self.measured], self.t[: self.measured])
        test_loss, accuracy = self.accuracy(self.test_x, self.test_t)
        return {"loss": loss, "train_accuracy": train_accuracy, "test_loss": test_loss, "accuracy": accuracy}
