"""Pictures for the tasks that sort them: which data set, how many, in which shape."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from torch import Tensor
from torch.nn import functional

from benchmarks.datasets import available, first_available, load

__all__ = ["AUTO", "chosen_data", "enlarged", "images"]

AUTO = "auto"
"""the first data set that is there: mnist, fashion-mnist, cifar10, else the digits, which need no download"""

Split = tuple[Tensor, Tensor, Tensor, Tensor]


def chosen_data(options: Mapping[str, Any], *order: str) -> dict[str, Any]:
    """Options whose ``data`` names a data set that is there; ``order`` is where ``auto`` looks instead of everywhere.

    Raises:
        ValueError: there is no such data set; the text names the nearest.
        FileNotFoundError: a file is missing; the text names the command that fetches it.
        ModuleNotFoundError: the digits need scikit-learn.
    """
    name = options["data"]
    name = first_available(*order) if name == AUTO else name
    if not available(name):
        load(name)  # raises with the reason
    return {**options, "data": name}


@lru_cache(maxsize=1)
def images(name: str, count: int = 0) -> Split:
    """The first ``count`` training pictures (n, channels, height, width) in [0, 1], their classes, the same of testing.

    All pictures where count is 0. Callers share the tensors and leave them as they are.
    """
    found = load(name)
    kept = slice(count or None)
    return found.train_x[kept], found.train_t[kept], found.test_x[kept], found.test_t[kept]


def enlarged(x: Tensor) -> Tensor:
    """8 x 8 pictures at 28 x 28: every pixel becomes 3 x 3, with a border of 2; others as they are."""
    if x.shape[-2:] != (8, 8):
        return x
    return functional.pad(x.repeat_interleave(3, -2).repeat_interleave(3, -1), (2, 2, 2, 2))
