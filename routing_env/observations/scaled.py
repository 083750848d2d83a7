"""The published twelve numbers brought to about [-1, 1], with room counted in wires of the net at hand.

    2 x / (columns - 1) - 1 and so on; min(room / demand, 4) / 4; (target - position) / (side - 1)

Source: the published observation. Differs: the scale; networks with common initialisations learn from it much faster.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from routing_env.problem import Problem
from routing_env.rules import CONNECTION, HEIGHT, LAYERS, NODE, TARGET_X, TARGET_Y, TARGET_Z, WIDTH, X, Y, Z

__all__ = ["Scaled"]

WIRES = 4


def write(b, row, room, connections, state, out):
    """Fill ``out[row]`` (12,) for problem ``b``."""
    node = state[b, NODE]
    width, height, layers = state[b, WIDTH], state[b, HEIGHT], state[b, LAYERS]
    x, y, z = state[b, X], state[b, Y], state[b, Z]
    across, up, through = 1.0 / max(1, width - 1), 1.0 / max(1, height - 1), 1.0 / max(1, layers - 1)
    out[row, 0] = 2.0 * x * across - 1.0
    out[row, 1] = 2.0 * y * up - 1.0
    out[row, 2] = 2.0 * z * through - 1.0
    wire = 1.0 / (WIRES * max(1, connections[b, state[b, CONNECTION], 3 + z]))
    for move in range(6):
        share = room[b, node, move] * (wire if move < 4 else 1.0 / WIRES)
        out[row, 3 + move] = max(0.0, min(share, 1.0))
    out[row, 9] = (state[b, TARGET_X] - x) * across
    out[row, 10] = (state[b, TARGET_Y] - y) * up
    out[row, 11] = (state[b, TARGET_Z] - z) * through


@dataclass(frozen=True)
class Scaled:
    """Twelve numbers within [-1, 1]."""

    write = staticmethod(write)

    def bounds(self, problem: Problem) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Least and largest value of each entry, (12,) each."""
        low = np.array([-1.0] * 3 + [0.0] * 6 + [-1.0] * 3, np.float32)
        return low, np.ones(12, np.float32)
