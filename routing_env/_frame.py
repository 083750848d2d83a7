"""A picture of an unfinished routing as pixels, drawn in numpy alone: an environment may ask for one a move."""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray

from routing_env._drawing import CLOSED, FAINT, INK, OVER, REDUCED, changed, lanes, layer_colours, pins, wires
from routing_env.grid import grid_of
from routing_env.problem import Problem, Tile
from routing_env.solution import Solution, usage

__all__ = ["frame"]

Pixels = NDArray[np.uint8]

HERE, GOAL, FULL = "#111111", "#d4006a", "#c9c9c9"
ROOMY = 16
"""pixels a tile from which vias are drawn and pins are rings"""
SEEN = 9
"""pixels that the radius of a ring around an agent or target has at least"""


def frame(
    problem: Problem, solution: Solution, position: Tile | None = None, target: Tile | None = None, *, size: int = 512
) -> Pixels:
    """Draw wires in their layer's colour, vias, pins, and bars across edges that are reduced, full or over-full.

    Args:
        problem: what is routed.
        solution: the routing so far.
        position: tile of the agent: a disc in the colour of its layer, ringed in black.
        target: tile it wants to reach: a ring.
        size: the longer side in pixels, at least 2 a tile.

    Returns:
        (height, width, 3) uint8; rows of tiles upwards, as in the other pictures.

    Raises:
        ValueError: ``size`` is too small.
    """
    longest = max(problem.width, problem.height)
    if size < 2 * longest:
        raise ValueError(f"size {size} is too small for {longest} tiles; it must be at least {2 * longest}")
    canvas = _Canvas(problem, size / longest)
    canvas.walls()
    colours = layer_colours(len(problem.layers))
    _bars(canvas, problem, solution)
    _routes(canvas, problem, solution, colours)
    if target is not None:
        canvas.disc(
            target[0], target[1], max(0.40, SEEN / canvas.scale), GOAL, hole=max(0.28, 0.7 * SEEN / canvas.scale)
        )
    if position is not None:
        canvas.disc(position[0], position[1], max(0.30, 0.8 * SEEN / canvas.scale), HERE)
        canvas.disc(position[0], position[1], max(0.22, 0.55 * SEEN / canvas.scale), colours[position[2]])
    return canvas.pixels


class _Canvas:
    """Pixels that are addressed in tiles: the middle of tile (column, row) is at (column, row)."""

    def __init__(self, problem: Problem, scale: float) -> None:
        self.scale = scale
        self.columns, self.rows = problem.width, problem.height
        self.pixels = np.full((round(scale * problem.height), round(scale * problem.width), 3), 255, np.uint8)

    def _pixel(self, x: float, y: float) -> tuple[int, int]:
        return round((x + 0.5) * self.scale), len(self.pixels) - round((y + 0.5) * self.scale)

    def box(self, x: float, y: float, right: float, top: float, half: float, colour: str) -> None:
        """Fill the segment from (x, y) to (right, top), ``half`` pixels to each side and beyond its ends."""
        (a, d), (b, c) = self._pixel(x, y), self._pixel(right, top)
        low = int(half)
        high = max(1, round(2 * half) - low)
        self.pixels[max(c - low, 0) : d + high, max(a - low, 0) : b + high] = _rgb(colour)

    def walls(self) -> None:
        """Faint lines between the tiles, where they are large enough to leave room for anything else."""
        if self.scale < 6:
            return
        for i in range(self.columns + 1):
            self.box(i - 0.5, -0.5, i - 0.5, self.rows - 0.5, 0.5, FAINT)
        for i in range(self.rows + 1):
            self.box(-0.5, i - 0.5, self.columns - 0.5, i - 0.5, 0.5, FAINT)

    def disc(self, x: float, y: float, radius: float, colour: str, hole: float = 0.0) -> None:
        """A smooth disc or ring; radii in tiles."""
        column, row = self._pixel(x, y)
        reach = int(radius * self.scale) + 2
        top, left = max(row - reach, 0), max(column - reach, 0)
        part = self.pixels[top : row + reach + 1, left : column + reach + 1]
        rows, columns = np.ogrid[top : top + part.shape[0], left : left + part.shape[1]]
        far = np.hypot(rows - row, columns - column)
        cover = np.clip(radius * self.scale - far + 0.5, 0, 1)
        if hole:
            cover *= np.clip(far - hole * self.scale + 0.5, 0, 1)
        part[...] = np.rint(part + cover[..., None] * (_rgb(colour) - part.astype(np.float64)))


@cache
def _rgb(colour: str) -> NDArray[np.float64]:
    return np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)], np.float64)


def _bars(canvas: _Canvas, problem: Problem, solution: Solution) -> None:
    """A bar across an edge: reduced, closed, full, or over-full on any layer; the last of these that holds shows."""
    every = list(range(len(problem.layers)))
    bars = {edge: REDUCED if now else CLOSED for edge, now in changed(problem, every).items()}
    grid, used = grid_of(problem), usage(solution)
    used[2::3] = 0
    busy = np.flatnonzero(used >= np.maximum(grid.capacity, 1))
    for edge in busy[np.argsort(used[busy] > grid.capacity[busy], kind="stable")].tolist():
        x, y, _ = grid.tile(edge // 3)
        bars[x, y, edge % 3] = OVER if used[edge] > grid.capacity[edge] else FULL
    half = max(0.5, 0.045 * canvas.scale)
    for (x, y, axis), colour in bars.items():
        a, b = x + 0.5 * (axis == 0), y + 0.5 * (axis == 1)
        dx, dy = 0.4 * (axis == 1), 0.4 * (axis == 0)
        canvas.box(a - dx, b - dy, a + dx, b + dy, half, colour)


def _routes(canvas: _Canvas, problem: Problem, solution: Solution, colours: list[str]) -> None:
    half = max(0.5, 0.018 * canvas.scale)
    x, y, z, axis, net = wires(problem, solution)
    order = np.lexsort((z, axis == 2))  # vias over wires, upper layers over lower ones
    if canvas.scale < ROOMY:
        order = order[axis[order] < 2]
    offset = lanes(len(problem.nets))[net]
    rows = (part[order].tolist() for part in (x + offset[:, 0], y + offset[:, 1], z, axis))
    for a, b, level, way in zip(*rows, strict=True):
        if way == 2:
            canvas.box(a, b, a, b, 2.2 * half, INK)
        else:
            canvas.box(a, b, a + (way == 0), b + (way == 1), half, colours[level])
    for a, b in pins(problem, list(range(len(problem.layers))))[0].tolist():
        if canvas.scale < ROOMY:
            canvas.box(a, b, a, b, half, INK)
        else:
            canvas.disc(a, b, 0.075, INK)
            canvas.disc(a, b, 0.045, "#ffffff")
