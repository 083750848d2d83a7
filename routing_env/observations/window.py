"""A window of capacities around the position, size x size x layers, with position and target direction.

    position and target - position as in ``scaled``, six numbers; then for each layer, row and column of the window
    min(room / demand, 4) / 4 of the two moves +x and +y; 0 off the grid and where there is no edge

An agent with a window sees congestion before it stands in it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from routing_env.problem import Problem
from routing_env.rules import CONNECTION, HEIGHT, LAYERS, TARGET_X, TARGET_Y, TARGET_Z, WIDTH, X, Y, Z

__all__ = ["Window"]

WIRES = 4


@lru_cache
def _writer(reach: int) -> Callable[..., None]:
    def write(b, row, room, connections, state, out):
        width, height, layers = state[b, WIDTH], state[b, HEIGHT], state[b, LAYERS]
        plane = width * height
        x, y, z = state[b, X], state[b, Y], state[b, Z]
        across, up, through = max(1, width - 1), max(1, height - 1), max(1, layers - 1)
        out[row, 0] = 2.0 * x / across - 1.0
        out[row, 1] = 2.0 * y / up - 1.0
        out[row, 2] = 2.0 * z / through - 1.0
        out[row, 3] = (state[b, TARGET_X] - x) / across
        out[row, 4] = (state[b, TARGET_Y] - y) / up
        out[row, 5] = (state[b, TARGET_Z] - z) / through
        at = 6
        for layer in range(layers):
            demand = max(1, connections[b, state[b, CONNECTION], 3 + layer])
            for v in range(y - reach, y + reach + 1):
                for u in range(x - reach, x + reach + 1):
                    for move in (0, 2):
                        wires = 0.0
                        if 0 <= u < width and 0 <= v < height:
                            wires = room[b, layer * plane + v * width + u, move] / demand
                        out[row, at] = max(0.0, min(wires, WIRES)) / WIRES
                        at += 1

    return write


@dataclass(frozen=True)
class Window:
    """Six numbers of place and direction, then the window; all within [-1, 1]."""

    size: int = 5
    """tiles along a side of the window, odd"""

    def __post_init__(self) -> None:
        """Check the size."""
        if self.size < 1 or self.size % 2 == 0:
            raise ValueError(f"the window's size must be odd and at least 1, got {self.size}")

    @property
    def write(self) -> Callable[..., None]:
        """The plain function that fills ``out[row]``."""
        return _writer(self.size // 2)

    def bounds(self, problem: Problem) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Least and largest value of each entry, (6 + 2 size^2 layers,) each."""
        cells = 2 * self.size**2 * len(problem.layers)
        low = np.array([-1.0] * 6 + [0.0] * cells, np.float32)
        return low, np.ones(6 + cells, np.float32)
