"""The rules in plain Python, as the yardstick that the compiled ones are measured against.

It makes the published twelve numbers, the published reward and the mask with dictionaries and tuples; nets of width 1,
vias without limit, full edges closed.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from routing_env.decompose import connections
from routing_env.grid import grid_of
from routing_env.problem import Problem

__all__ = ["PlainRouting"]

STEPS = ((1, 0, 0), (-1, 0, 0), (0, 1, 0), (0, -1, 0), (0, 0, 1), (0, 0, -1))
Tile = tuple[int, int, int]


class PlainRouting:
    """One netlist, one move at a time."""

    def __init__(self, problem: Problem, max_steps: int = 50) -> None:
        grid = grid_of(problem)
        self.max_steps = max_steps
        self.pairs = [(net, grid.tile(a), grid.tile(b)) for net, a, b in connections(problem).tolist()]
        self.full: dict[tuple[Tile, Tile], int] = {}
        for edge in np.flatnonzero(grid.exists).tolist():
            low, high = grid.ends(edge)
            self.full[grid.tile(low), grid.tile(high)] = int(grid.capacity[edge])
        self.largest = max(capacity for (a, b), capacity in self.full.items() if a[2] == b[2])

    def reset(self) -> tuple[NDArray[np.float32], NDArray[np.int8]]:
        """Nothing routed, at the first source."""
        self.room = dict(self.full)
        self.own: set[tuple[Tile, Tile]] = set()
        self.fresh: set[tuple[Tile, Tile]] = set()
        self.number, self.steps = 0, 0
        _, self.at, self.target = self.pairs[0]
        return self._observe()

    def step(self, move: int) -> tuple[NDArray[np.float32], float, bool, NDArray[np.int8]]:
        """Observation, reward, end of the pass, mask."""
        to = self._to(move)
        edge = (min(self.at, to), max(self.at, to))
        if edge in self.own:
            self.at = to
        elif self.room.get(edge, 0) >= 1:
            self.room[edge] -= 1
            self.own.add(edge)
            self.fresh.add(edge)
            self.at = to
        self.steps += 1
        arrived = self.at == self.target
        over = False
        if arrived or self.steps >= self.max_steps:
            if not arrived:  # wires of a failed connection belong to nobody
                self.own -= self.fresh
            self.fresh = set()
            over = self.number + 1 == len(self.pairs)
            if not over:
                self._next()
        obs, mask = self._observe()
        return obs, 100.0 if arrived else -1.0, over, mask

    def _next(self) -> None:
        net = self.pairs[self.number][0]
        self.number, self.steps = self.number + 1, 0
        following, self.at, self.target = self.pairs[self.number]
        if following != net:
            self.own = set()

    def _to(self, move: int) -> Tile:
        step = STEPS[move]
        return self.at[0] + step[0], self.at[1] + step[1], self.at[2] + step[2]

    def _observe(self) -> tuple[NDArray[np.float32], NDArray[np.int8]]:
        rooms, mask = [], []
        for move in range(6):
            to = self._to(move)
            edge = (min(self.at, to), max(self.at, to))
            room = self.room.get(edge, 0)
            rooms.append(min(room, 10 if move >= 4 else self.largest))
            mask.append(edge in self.own or room >= 1)
        ahead = [b - a for a, b in zip(self.at, self.target, strict=True)]
        masks = np.array(mask if any(mask) else [True] * 6, np.int8)
        return np.array([*self.at, *rooms, *ahead], np.float32), masks
