"""What a routing costs: one definition for rewards, routers and reports.

wirelength = distinct planar edges + distinct via edges, summed over the nets
overflow   = max(0, used - capacity) of a planar edge, in length units
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from routing_env.decompose import half_perimeter
from routing_env.grid import Grid, grid_of
from routing_env.problem import Net, Problem
from routing_env.solution import Solution, needs_route, usage

__all__ = ["Summary", "lower_bound", "net_bound", "overflow", "summary"]


@dataclass(frozen=True)
class Summary:
    """Totals of a routing. Overflow in length units, the rest in edges or nets."""

    total_overflow: int
    max_overflow: int
    overflowed_edges: int
    wirelength: int
    planar_wirelength: int
    vias: int
    nets: int
    """nets that need a route"""
    routed: int
    """of these, connected ones"""
    unrouted: tuple[str, ...]


def overflow(grid: Grid, used: NDArray[np.int64]) -> NDArray[np.int64]:
    """(edges,): use beyond capacity of each planar edge, in length units; 0 on vias."""
    over = np.maximum(used - grid.capacity, 0)
    over[2::3] = 0
    return over


def summary(problem: Problem, solution: Solution) -> Summary:
    """Measure a routing."""
    over = overflow(grid_of(problem), usage(solution))
    length = sum(len(edges) for edges in solution.edges)
    vias = sum(int((edges % 3 == 2).sum()) for edges in solution.edges)
    needed = sum(needs_route(problem, net) for net in problem.nets)
    unrouted = tuple(solution.unrouted())
    return Summary(
        total_overflow=int(over.sum()),
        max_overflow=int(over.max(initial=0)),
        overflowed_edges=int((over > 0).sum()),
        wirelength=length,
        planar_wirelength=length - vias,
        vias=vias,
        nets=needed,
        routed=needed - len(unrouted),
        unrouted=unrouted,
    )


def net_bound(problem: Problem, net: Net) -> int:
    """A lower bound on the wirelength of one net: half-perimeter plus the layer changes it cannot avoid.

    The layers of the pins must be joined. Where none of them allows a direction that the net needs, a wire has to
    leave for the nearest layer that does, and come back.
    """
    if not needs_route(problem, net):
        return 0
    tiles = problem.tiles(net)
    floors = [tile[2] for tile in tiles]
    low, high = min(floors), max(floors)
    away = 0
    for axis in (0, 1):
        if len({tile[axis] for tile in tiles}) == 1:
            continue
        allowed = _layers_that_allow(problem, axis)
        away = max(away, min((max(low - z, z - high, 0) for z in allowed), default=0))
    return half_perimeter(problem, net) + high - low + 2 * away


def _layers_that_allow(problem: Problem, axis: int) -> list[int]:
    changed = {change.first[2] for change in problem.adjustments if change.first[axis] != change.second[axis]}
    name = ("horizontal_capacity", "vertical_capacity")[axis]
    return [z for z, layer in enumerate(problem.layers) if getattr(layer, name) > 0 or z in changed]


def lower_bound(problem: Problem) -> int:
    """The sum of ``net_bound``: the half-perimeter (for two-pin nets: Manhattan) bound."""
    return sum(net_bound(problem, net) for net in problem.nets)
