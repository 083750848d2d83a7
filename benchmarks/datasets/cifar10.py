"""CIFAR-10: 60,000 colour pictures, 32 x 32, from its binary files, which are put there by hand.

A record is the class, one byte, and 3 x 32 x 32 bytes: the red plane, the green, the blue, each row by row.

Source: Krizhevsky 2009, https://www.cs.toronto.edu/~kriz/cifar.html.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from benchmarks.datasets._cache import read, root
from benchmarks.datasets._kinds import Pictures
from routing_env.formats import FormatError

__all__ = ["CIFAR10", "Cifar10"]

TRAIN = tuple(f"data_batch_{number}.bin" for number in range(1, 6))
TEST = ("test_batch.bin",)
RECORD = 1 + 3 * 32 * 32
CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


@dataclasses.dataclass(frozen=True)
class Cifar10:
    """The binary files in the folder that their archive makes."""

    name: str = "cifar10"
    records: int = 10_000
    """in each file"""

    @property
    def folder(self) -> Path:
        """Where the files are kept."""
        return root() / "cifar-10-batches-bin"

    def missing(self) -> str:
        """What is missing and what brings it; an empty text where nothing is."""
        absent = [name for name in TRAIN + TEST if not (self.folder / name).is_file()]
        if not absent:
            return ""
        return (
            f"{self.name}: {self.folder} has no {', '.join(absent)}; `make data` does not fetch these files; by hand: "
            f"unpack cifar-10-binary.tar.gz of https://www.cs.toronto.edu/~kriz/cifar.html in {root()}"
        )

    def load(self) -> Pictures:
        """Read and check all files.

        Raises:
            FileNotFoundError: a file is missing; the text names it, ``make data`` and the way by hand.
            FormatError: a file has another size, or a class is not one of ten.
        """
        if missing := self.missing():
            raise FileNotFoundError(missing)
        train_x, train_t = self._part(TRAIN)
        test_x, test_t = self._part(TEST)
        return Pictures(train_x, train_t, test_x, test_t, self.name, CLASSES)

    def _part(self, names: tuple[str, ...]) -> tuple[Tensor, Tensor]:
        records = np.concatenate([self._records(self.folder / name) for name in names])  # (n, 3073)
        pictures = records[:, 1:].reshape(-1, 3, 32, 32).astype(np.float32)
        return torch.from_numpy(pictures).div_(255), torch.from_numpy(records[:, 0].astype(np.int64))

    def _records(self, path: Path) -> np.ndarray:
        data = read(path)
        if len(data) != self.records * RECORD:
            rule = f"must be {self.records} records of {RECORD} = {self.records * RECORD}"
            raise FormatError(f"{path}: {len(data)} bytes, {rule}")
        records = np.frombuffer(data, np.uint8).reshape(-1, RECORD)
        wrong = np.flatnonzero(records[:, 0] >= len(CLASSES))
        if len(wrong):
            offset, found = wrong[0] * RECORD, records[wrong[0], 0]
            raise FormatError(f"{path}: offset {offset}: class {found}, must be 0 to {len(CLASSES) - 1}")
        return records


CIFAR10 = Cifar10()
