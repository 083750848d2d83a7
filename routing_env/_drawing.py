"""What the pictures share, whatever draws them: colours, the nets' offsets, wires, pins, changed edges."""

from __future__ import annotations

import colorsys

import numpy as np
from numpy.typing import NDArray

from routing_env.grid import grid_of
from routing_env.problem import Problem
from routing_env.solution import Solution

__all__ = [
    "CLOSED",
    "FAINT",
    "FEW",
    "INK",
    "OVER",
    "REDUCED",
    "Floats",
    "changed",
    "lanes",
    "layer_colours",
    "pins",
    "wires",
]

Floats = NDArray[np.float64]

FEW = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00")
"""colours that colour-blind readers tell apart; more layers take theirs from the rainbow"""
INK, FAINT, REDUCED, CLOSED, OVER = "#222222", "#e4e4e4", "#e0a800", "#6b6b6b", "#d4006a"
LANES = 0.62
"""share of a tile over which the nets' offsets spread"""


def layer_colours(layers: int) -> list[str]:
    """A colour for each layer, from the lowest."""
    if layers <= len(FEW):
        return list(FEW[:layers])
    colours = []
    for z in range(layers):
        # from blue to red, every other one darker, so that neighbouring layers differ
        red, green, blue = colorsys.hls_to_rgb(0.66 * (1 - z / (layers - 1)), 0.33 + 0.17 * (z % 2), 0.85)
        colours.append(f"#{round(255 * red):02x}{round(255 * green):02x}{round(255 * blue):02x}")
    return colours


def lanes(nets: int) -> Floats:
    """(nets, 2): each net's offset along columns and rows in every tile.

    The points fill a square evenly however many there are, so nets that are neighbours in the file lie far apart.

    Source: the additive recurrence by powers of the plastic number (M. Roberts, the R2 sequence).
    """
    steps = np.array([0.7548776662466927, 0.5698402909980532])
    return np.asarray(LANES * ((0.5 + (np.arange(nets)[:, None] + 1) * steps) % 1 - 0.5), np.float64)


def wires(problem: Problem, solution: Solution) -> tuple[NDArray[np.int64], ...]:
    """Column, row, layer of the lower end of every net's every edge, its axis, and the net."""
    counts = [len(edges) for edges in solution.edges]
    node, axis = np.divmod(np.concatenate([*solution.edges, np.empty(0, np.int32)]).astype(np.int64), 3)
    x, y, z = node % problem.width, node // problem.width % problem.height, node // (problem.width * problem.height)
    return x, y, z, axis, np.repeat(np.arange(len(counts)), counts)


def pins(problem: Problem, shown: list[int]) -> tuple[Floats, NDArray[np.int64]]:
    """(pins, 2) where the pins on some layers (from 0) are drawn, and (pins,) their nets."""
    lane = lanes(len(problem.nets))
    tiles = [(i, tile) for i, net in enumerate(problem.nets) for tile in problem.tiles(net) if tile[2] in shown]
    at = [(x + lane[i, 0], y + lane[i, 1]) for i, (x, y, _) in tiles]
    return np.array(at, np.float64).reshape(-1, 2), np.array([i for i, _ in tiles], np.int64)


def changed(problem: Problem, shown: list[int]) -> dict[tuple[int, int, int], int]:
    """Planar edges (column, row, axis) with less capacity than their layer's, and the least they have."""
    grid = grid_of(problem)
    found: dict[tuple[int, int, int], int] = {}
    for change in problem.adjustments:
        (x, y, z), (x2, _, _) = sorted((change.first, change.second))
        axis = 0 if x2 > x else 1
        layer = problem.layers[z]
        usual = (layer.horizontal_capacity, layer.vertical_capacity)[axis]
        now = int(grid.capacity[3 * grid.node((x, y, z)) + axis])
        if z in shown and now < usual:
            found[x, y, axis] = min(now, found.get((x, y, axis), now))
    return found
