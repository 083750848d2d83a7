"""The scaled twelve numbers, and how much room the two L-shaped ways to the target have.

    room along this row to the target's column, then along that column; room along this column to the target's row,
    then along that row: each the least room of the run, on the layer where that is largest, as min(wires, 4) / 4

Four numbers tell an agent what lies ahead, on grids of any size. A run of no length has full room.

Source: pattern routing, which tries the same two ways first. Differs: nothing is routed, only seen.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from routing_env.observations.scaled import WIRES
from routing_env.observations.scaled import write as write_scaled
from routing_env.problem import Problem
from routing_env.rules import (
    CONNECTION,
    HEIGHT,
    LAYERS,
    NODE,
    TARGET,
    TARGET_X,
    TARGET_Y,
    TARGET_Z,
    WIDTH,
    X,
    Y,
    Z,
)

__all__ = ["Corridors"]


def write(b, row, room, connections, state, out):
    """Fill ``out[row]`` (16,) for problem ``b``."""
    write_scaled(b, row, room, connections, state, out)
    width, layers = state[b, WIDTH], state[b, LAYERS]
    plane = width * state[b, HEIGHT]
    right, above = state[b, TARGET_X] - state[b, X], state[b, TARGET_Y] - state[b, Y]
    here, there = state[b, NODE] - state[b, Z] * plane, state[b, TARGET] - state[b, TARGET_Z] * plane
    for run in range(4):
        # runs 0 and 2 start here, 1 and 3 end at the target; runs 0 and 3 go along x, 1 and 2 along y
        along_x = run == 0 or run == 3
        length = right if along_x else above
        move = (0 if along_x else 2) + (1 if length < 0 else 0)
        gap = (1 if along_x else width) * (1 if length > 0 else -1)
        steps = abs(length)
        start = here if run == 0 or run == 2 else there - steps * gap
        most = 0.0
        for layer in range(layers):
            wire = 1.0 / (WIRES * max(1, connections[b, state[b, CONNECTION], 3 + layer]))
            least = 1.0
            for step in range(steps):
                least = min(least, room[b, layer * plane + start + step * gap, move] * wire)
            most = max(most, least)
        out[row, 12 + run] = most


@dataclass(frozen=True)
class Corridors:
    """Sixteen numbers within [-1, 1]."""

    write = staticmethod(write)

    def bounds(self, problem: Problem) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Least and largest value of each entry, (16,) each."""
        low = np.array([-1.0] * 3 + [0.0] * 6 + [-1.0] * 3 + [0.0] * 4, np.float32)
        return low, np.ones(16, np.float32)
