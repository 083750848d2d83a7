"""Pictures in four IDX files of a package: fetched once, checked by SHA-256 whenever they are read."""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from agents.records import write_atomically
from benchmarks.datasets import _idx
from benchmarks.datasets._cache import digest, find, read, root
from benchmarks.datasets._clients import FetchError, Package
from benchmarks.datasets._kinds import Pictures
from routing_env.formats import FormatError

__all__ = ["PackagedPictures"]


@dataclasses.dataclass(frozen=True)
class PackagedPictures:
    """A data set in the layout of MNIST."""

    name: str
    """of the data set and of its folder"""
    classes: tuple[str, ...]
    package: Package
    digests: Mapping[str, str]
    """by file name, SHA-256 of what is in it: pictures and labels for training, pictures and labels for tests"""

    @property
    def folder(self) -> Path:
        """Where the files are kept."""
        return root() / self.name

    def missing(self) -> str:
        """What is missing and what brings it; an empty text where nothing is."""
        absent = [name for name in self.digests if find(self.folder / name) is None]
        if not absent:
            return ""
        return f"{self.name}: {self.folder} has no {', '.join(absent)}; `make data` fetches them; {self.by_hand()}"

    def by_hand(self) -> str:
        """What to put where without the package's client."""
        names = ", ".join(self.digests)
        return f"by hand: put {names} (plain or .gz), in {self.package.told()}, into {self.folder}"

    def load(self) -> Pictures:
        """Read and check all files.

        Raises:
            FileNotFoundError: a file is missing; the text names it and ``make data``.
            FormatError: a file has another SHA-256 than the data set's.
        """
        if missing := self.missing():
            raise FileNotFoundError(missing)
        train_x, train_t, test_x, test_t = (
            self._array(name, dimensions) for name, dimensions in zip(self.digests, (3, 1, 3, 1), strict=True)
        )
        return Pictures(_scaled(train_x), _classes(train_t), _scaled(test_x), _classes(test_t), self.name, self.classes)

    def _array(self, name: str, dimensions: int) -> np.ndarray:
        path = find(self.folder / name) or self.folder / name
        data = read(path)
        if wrong := self._wrong(name, data):
            raise FormatError(f"{path}: {wrong}; `make data` replaces it")
        return _idx.parse(data, path, dimensions)

    def _wrong(self, name: str, data: bytes) -> str:
        found, right = digest(data), self.digests[name]
        return "" if found == right else f"{len(data)} bytes with SHA-256 {found}, must be {right}"

    def stale(self) -> list[str]:
        """Why the files have to be fetched, a line each; empty where all are as they should be."""
        lines = []
        for name in self.digests:
            path = find(self.folder / name)
            try:
                wrong = "not there" if path is None else self._wrong(name, read(path))
            except FormatError as error:
                wrong = str(error)
            if wrong:
                lines.append(f"{path or self.folder / name}: {wrong}")
        return lines

    def fetch(self) -> None:
        """Fetch the package and keep its files, each whole or not at all.

        Raises:
            FetchError: its client is missing or failed, or the package holds other files; the text says what to put
                where by hand.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        # a folder of its own beside the files: runs at the same time do not meet, and a move cannot be half done
        with tempfile.TemporaryDirectory(prefix="fetch-", dir=self.folder) as scratch:
            try:
                found = self.package.files(list(self.digests), Path(scratch))
                for name, data in found.items():
                    if wrong := self._wrong(name, data):
                        raise FetchError(f"{name} of {self.package.told()}: {wrong}")
            except FetchError as error:
                raise FetchError(f"{self.name}: {error}\n{self.by_hand()}") from error
            for name, data in found.items():
                write_atomically(Path(scratch) / name, data)
                (Path(scratch) / name).replace(self.folder / name)


def _scaled(pictures: np.ndarray) -> Tensor:
    """Bytes (n, height, width) as numbers (n, 1, height, width) in [0, 1]."""
    return torch.from_numpy(pictures.astype(np.float32)).div_(255).unsqueeze(1)


def _classes(labels: np.ndarray) -> Tensor:
    return torch.from_numpy(labels.astype(np.int64))
