"""The op-amps on the scale of the networks that find their sizes, where the training designs fill [-1, 1]."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from benchmarks.circuits.opamp import BEHAVIOUR, SIZES, Array, shipped
from routing_env.plugins import nearest

__all__ = ["SCALES", "TRAIN", "Designs", "enough", "scaled_designs"]

TRAIN = 1000
"""designs that train, the first of the file"""
LOGARITHMIC = ("ugb", "power")
"""of the behaviour"""
SCALES = ("logarithms", "lengths")
"""of the sizes: logarithms, or um and pF as they are"""


class Designs(NamedTuple):
    """Designs on the scale of the network, and the way back."""

    x: Tensor
    """behaviour (designs, 4)"""
    t: Tensor
    """sizes (designs, 6)"""
    ends: dict[str, tuple[float, float]]
    """name -> least and largest of the training designs, of its logarithm where it is one"""
    logarithmic: frozenset[str]
    """which are"""

    def scaled(self, values: dict[str, Array], names: Sequence[str] = BEHAVIOUR) -> Tensor:
        """Numbers in their units, each (designs,), as the network knows them, (designs, names)."""
        columns = [np.log(values[name]) if name in self.logarithmic else values[name] for name in names]
        lows, highs = np.array([self.ends[name] for name in names]).T
        return torch.from_numpy(2 * (np.stack(columns, 1) - lows) / (highs - lows) - 1)

    def sizes(self, outputs: Tensor) -> dict[str, Array]:
        """``SIZES``, each (designs,), from outputs (6, designs); lengths no less than half the least known one."""
        found = {}
        for name, one in zip(SIZES, outputs.numpy(), strict=True):
            low, high = self.ends[name]
            value = low + (one + 1) / 2 * (high - low)
            found[name] = np.exp(value) if name in self.logarithmic else np.maximum(value, low / 2)
        return found


@lru_cache(maxsize=2)
def scaled_designs(scale: str = "logarithms") -> Designs:
    """All shipped designs.

    Args:
        scale: of the sizes, "logarithms" or "lengths".

    Raises:
        ValueError: no such scale.
        FileNotFoundError: the data file is missing.
    """
    if scale not in SCALES:
        raise ValueError(f"scale {scale!r}{nearest(scale, SCALES)}; there are: {', '.join(SCALES)}")
    designs = shipped()
    logarithmic = frozenset((*LOGARITHMIC, *(SIZES if scale == "logarithms" else ())))
    ends = {}
    for name, values in designs.items():
        known = np.log(values[:TRAIN]) if name in logarithmic else values[:TRAIN]
        ends[name] = (float(known.min()), float(known.max()))
    empty = Designs(torch.empty(0), torch.empty(0), ends, logarithmic)
    return empty._replace(x=empty.scaled(designs), t=empty.scaled(designs, SIZES))


def enough() -> float:
    """E at which a trial has converged: a quarter of the training error of the best constant outputs."""
    return float(scaled_designs().t[:TRAIN].var(0, correction=0).mean()) / 8
