"""Problems with a known legal routing: routes are drawn first, then every edge gets what they use plus a slack.

    capacity of a planar edge = nets that use it + slack

A route joins each pin to an earlier one of its net by a walk with up to four bends: up to a random horizontal layer, on
to a random column (up to ``detour`` tiles outside the two pins' columns), over to a random vertical layer, on to the
other's row, over to a horizontal layer again, on to the other's column, and down. With slack 0 the hidden routing fills
every edge, so the smallest overflow is known to be 0 where a router may well fail to reach it. Layers alternate; all
pins lie on layer 1.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from routing_env.generators._ingredients import TILE, Pins, check_whole, named, stack
from routing_env.grid import grid_of
from routing_env.problem import Adjustment, Problem, Tile
from routing_env.solution import Solution, usage

__all__ = ["solvable", "solvable_with_solution"]


def solvable(
    *,
    seed: int,
    width: int = 8,
    height: int = 8,
    layers: int = 2,
    nets: int = 40,
    max_pins: int = 2,
    slack: int = 0,
    detour: int = 1,
) -> Problem:
    """A problem that has a routing without overflow; arguments as in ``solvable_with_solution``.

    Raises:
        ValueError: an argument has no such value.
    """
    return solvable_with_solution(seed=seed, width=width, height=height, layers=layers, nets=nets, max_pins=max_pins,
                                  slack=slack, detour=detour)[0]  # fmt: skip


def solvable_with_solution(
    *,
    seed: int,
    width: int = 8,
    height: int = 8,
    layers: int = 2,
    nets: int = 40,
    max_pins: int = 2,
    slack: int = 0,
    detour: int = 1,
) -> tuple[Problem, Solution]:
    """A problem and one of its routings without overflow.

    Args:
        seed: of numpy's default generator.
        width: columns.
        height: rows.
        layers: alternating ones; a single one allows both directions.
        nets: number of nets.
        max_pins: a net has 2 .. ``max_pins``, uniformly.
        slack: wires that every planar edge has room for beyond those of the hidden routing.
        detour: tiles by which a walk may leave the columns of its two pins.

    Raises:
        ValueError: an argument has no such value.
    """
    check_whole(1, width=width, height=height)
    check_whole(0, seed=seed, nets=nets, slack=slack, detour=detour)
    check_whole(2, max_pins=max_pins)
    rng = np.random.default_rng(seed)
    pins = [_pins(rng, width, height, max_pins) for _ in range(nets)]
    drawn = Problem(width, height, stack(layers, 1), named(pins), tile_size=(TILE, TILE), name=f"solvable{seed}")
    grid = grid_of(drawn)
    routes: list[set[int]] = []
    for net in drawn.nets:
        tiles = [drawn.tile_of(pin) for pin in net.pins]
        route: set[int] = set()
        for i in range(1, len(tiles)):
            walk = _walk(rng, drawn.shape, tiles[i], tiles[int(rng.integers(i))], detour)
            route |= {grid.edge(grid.node(a), grid.node(b)) for a, b in pairwise(walk)}
        routes.append(route)
    problem = _with_room(drawn, usage(Solution.of(drawn, routes)) + slack)
    return problem, Solution.of(problem, routes, {"router": "hidden"})


def _pins(rng: np.random.Generator, width: int, height: int, max_pins: int) -> Pins:
    """Pins in the middle of tiles, which they may share."""
    at = rng.integers(0, (width, height), (int(rng.integers(2, max_pins + 1)), 2))
    return [(TILE * x + TILE // 2, TILE * y + TILE // 2, 1) for x, y in at.tolist()]


def _walk(rng: np.random.Generator, shape: tuple[int, int, int], a: Tile, b: Tile, detour: int) -> list[Tile]:
    """Neighbouring tiles from a to b, both on the lowest layer."""
    width, _, layers = shape
    flat = range(0, layers, 2) if layers > 1 else range(1)
    steep = range(1, layers, 2) if layers > 1 else range(1)
    first, last = (int(rng.choice(flat)) for _ in range(2))
    low, high = max(0, min(a[0], b[0]) - detour), min(width - 1, max(a[0], b[0]) + detour)
    column, level = int(rng.integers(low, high + 1)), int(rng.choice(steep))
    if a[1] == b[1]:  # a walk that goes out and back over the same edges would only waste capacity
        column, level, last = b[0], first, first
    bends = [a, (a[0], a[1], first), (column, a[1], first), (column, a[1], level),
             (column, b[1], level), (column, b[1], last), (b[0], b[1], last), b]  # fmt: skip
    walk = [a]
    for bend in bends[1:]:
        while walk[-1] != bend:
            x, y, z = (at + (to > at) - (to < at) for at, to in zip(walk[-1], bend, strict=True))
            walk.append((x, y, z))
    return walk


def _with_room(problem: Problem, room: NDArray[np.int64]) -> Problem:
    """Give every edge its room: a layer's capacity is the commonest one, the others are adjustments."""
    grid = grid_of(problem)
    planar = np.flatnonzero(grid.exists & (np.arange(grid.edges) % 3 != 2))
    level = planar // 3 // (problem.width * problem.height)
    layers, changes = [], []
    for z, layer in enumerate(problem.layers):
        own = planar[level == z]
        values, counts = np.unique(room[own][room[own] > 0], return_counts=True)
        common = int(values[counts.argmax()]) if len(values) else 1  # 0 would forbid the direction
        layers.append(replace(layer, horizontal_capacity=common if layer.horizontal_capacity else 0,
                              vertical_capacity=common if layer.vertical_capacity else 0))  # fmt: skip
        for edge in own[room[own] != common].tolist():
            first, second = (grid.tile(node) for node in grid.ends(edge))
            changes.append(Adjustment(first, second, int(room[edge])))
    return replace(problem, layers=tuple(layers), adjustments=tuple(changes))
