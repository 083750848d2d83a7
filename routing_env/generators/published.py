"""The published generator of small two-layer problems with a few edges of reduced capacity.

    pins of a net ~ uniform 2 .. max_pins,  x ~ uniform 1 .. 10 width - 1,  y ~ uniform 1 .. 10 height - 1,  layer 1
    reduced edges = the k planar edges that most nets use when A* routes every netlist of the set unreduced

Layer 1 is horizontal, layer 2 vertical; wires take 1 of a capacity. All pins of a net may fall into one tile: such a
net stays in the file and needs no route.

Source: Liao et al. 2019, https://arxiv.org/abs/1906.08809, and its program's problem generator.
Differs: A* breaks ties by a fixed rule (and equal traffic by the lower edge), so that a seed gives one set.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from routing_env.generators._ingredients import TILE, Pins, check_whole, named, stack
from routing_env.grid import grid_of
from routing_env.problem import Adjustment, Problem
from routing_env.routers import astar

__all__ = ["published", "published_set"]


def published(
    *,
    seed: int,
    width: int = 8,
    height: int = 8,
    nets: int = 50,
    max_pins: int = 2,
    capacity: int = 5,
    reduced_edges: int = 3,
    reduced_capacity: int = 3,
) -> Problem:
    """One netlist: the published set of one, its reduced edges chosen by its own A* traffic.

    Raises:
        ValueError: an argument has no such value.
    """
    (problem,) = published_set(1, seed=seed, width=width, height=height, nets=nets, max_pins=max_pins,
                               capacity=capacity, reduced_edges=reduced_edges,
                               reduced_capacity=reduced_capacity)  # fmt: skip
    return replace(problem, name=f"published{seed}")


def published_set(
    count: int,
    *,
    seed: int,
    width: int = 8,
    height: int = 8,
    nets: int = 50,
    max_pins: int = 2,
    capacity: int = 5,
    reduced_edges: int = 3,
    reduced_capacity: int = 3,
) -> list[Problem]:
    """A set of netlists with the same reduced edges.

    Args:
        count: number of netlists; the pins of the first ones do not depend on it.
        seed: of numpy's default generator.
        width: columns.
        height: rows.
        nets: in each netlist.
        max_pins: a net has 2 .. ``max_pins``.
        capacity: of every planar edge, in wires.
        reduced_edges: how many edges get ``reduced_capacity`` instead.
        reduced_capacity: in wires; 0 closes the edges.

    Raises:
        ValueError: an argument has no such value.
    """
    check_whole(1, count=count, width=width, height=height, capacity=capacity)
    check_whole(0, seed=seed, nets=nets, reduced_capacity=reduced_capacity)
    check_whole(2, max_pins=max_pins)
    most = (width - 1) * height + width * (height - 1)
    check_whole(0, most, reduced_edges=reduced_edges)
    rng = np.random.default_rng(seed)
    problems = []
    for i in range(count):
        pins = [_net(rng, width, height, max_pins) for _ in range(nets)]
        problems.append(Problem(width, height, stack(2, capacity), named(pins), tile_size=(TILE, TILE),
                                name=f"published{seed}-{i + 1}"))  # fmt: skip
    changes = _busiest(problems, reduced_edges, reduced_capacity) if reduced_edges else ()
    return [replace(problem, adjustments=changes) for problem in problems]


def _net(rng: np.random.Generator, width: int, height: int, max_pins: int) -> Pins:
    count = int(rng.integers(2, max_pins + 1))
    at = rng.integers(1, (TILE * width, TILE * height), (count, 2))
    return [(x, y, 1) for x, y in at.tolist()]


def _busiest(problems: list[Problem], count: int, capacity: int) -> tuple[Adjustment, ...]:
    """The planar edges with most A* traffic over all problems, busiest first."""
    grid = grid_of(problems[0])
    traffic = np.zeros(grid.edges, np.int64)
    for problem in problems:
        for edges in astar.route(problem, sharing="none").edges:
            traffic[edges] += 1
    planar = np.flatnonzero(grid.exists & (np.arange(grid.edges) % 3 != 2))
    busiest = planar[np.argsort(-traffic[planar], kind="stable")[:count]]
    ends = [[grid.tile(node) for node in grid.ends(edge)] for edge in busiest.tolist()]
    return tuple(Adjustment(a, b, capacity) for a, b in ends)
