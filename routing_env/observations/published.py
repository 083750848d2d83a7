"""The published twelve numbers: position, remaining capacity of the six moves, target minus position.

    x, y, layer, room +x -x +y -y +z -z, target x - x, target y - y, target layer - layer

Source: Liao et al. 2019. Differs: capacities are cut at 0 and at the largest one, so that
the bounds are finite; a via without a limit shows 10, the published via capacity.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from routing_env.grid import grid_of
from routing_env.problem import Problem
from routing_env.rules import LARGEST, NODE, TARGET_X, TARGET_Y, TARGET_Z, X, Y, Z

__all__ = ["Published"]

VIA_CAPACITY = 10


def write(b, row, room, connections, state, out):
    """Fill ``out[row]`` (12,) for problem ``b``."""
    node = state[b, NODE]
    x, y, z = state[b, X], state[b, Y], state[b, Z]
    out[row, 0] = x
    out[row, 1] = y
    out[row, 2] = z
    for move in range(6):
        most = VIA_CAPACITY if move >= 4 else state[b, LARGEST]
        out[row, 3 + move] = max(0, min(room[b, node, move], most))
    out[row, 9] = state[b, TARGET_X] - x
    out[row, 10] = state[b, TARGET_Y] - y
    out[row, 11] = state[b, TARGET_Z] - z


@dataclass(frozen=True)
class Published:
    """Twelve numbers in grid and capacity units."""

    write = staticmethod(write)

    def bounds(self, problem: Problem) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Least and largest value of each entry, (12,) each."""
        side = np.array(problem.shape) - 1
        largest = max(1, int(grid_of(problem).capacity.reshape(-1, 3)[:, :2].max()))
        capacity = [largest] * 4 + [VIA_CAPACITY] * 2
        low = np.array([0] * 9 + list(-side), np.float32)
        return low, np.array([*side, *capacity, *side], np.float32)
