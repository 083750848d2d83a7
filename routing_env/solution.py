"""A routing: the edges of each net, what they use of the grid, and whether every net is connected."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from routing_env.grid import Grid, Ints, grid_of
from routing_env.problem import Net, Problem

__all__ = ["NO_ROUTE_PINS", "Solution", "components", "needs_route", "usage"]

NO_ROUTE_PINS = 1000
"""nets with more pins than this need no route (a rule of the contest)"""


@dataclass(frozen=True, eq=False)
class Solution:
    """The distinct edges of every net, in the problem's net order.

    ``info`` says how the routing came about (router, seconds, rounds, bound ...); it holds plain JSON values.
    """

    problem: Problem
    edges: tuple[Ints, ...]  # per net: sorted distinct edge numbers of the grid
    info: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, problem: Problem, edges: Sequence[Iterable[int]], info: dict[str, Any] | None = None) -> Solution:
        """Make a solution from any collections of edge numbers, one a net.

        Raises:
            ValueError: the number of nets differs, or a number is no edge of the grid.
        """
        if len(edges) != len(problem.nets):
            raise ValueError(f"{len(edges)} routes for {len(problem.nets)} nets")
        grid = grid_of(problem)
        arrays = tuple(np.unique(np.fromiter(net, np.int32)) for net in edges)
        for net, array in zip(problem.nets, arrays, strict=True):
            wrong = array[(array < 0) | (array >= grid.edges)]
            wrong = wrong if len(wrong) else array[~_on_grid(grid, array)]
            if len(wrong):
                raise ValueError(f"net {net.name!r}: {wrong[0]} is not an edge of the {problem.shape} grid")
        return cls(problem, arrays, info or {})

    def connected(self, net: int) -> bool:
        """Whether the edges of a net join the tiles of all its pins."""
        return not needs_route(self.problem, self.problem.nets[net]) or len(self.pieces(net)) == 1

    def pieces(self, net: int) -> list[set[int]]:
        """The pins' nodes of a net, grouped by what its edges join."""
        grid = grid_of(self.problem)
        pins = {grid.node(tile) for tile in self.problem.tiles(self.problem.nets[net])}
        joined = components(grid, self.edges[net].tolist(), pins)
        return [piece for piece in (group & pins for group in joined) if piece]

    def unrouted(self) -> list[str]:
        """Names of the nets that are not connected."""
        return [net.name for i, net in enumerate(self.problem.nets) if not self.connected(i)]


def _on_grid(grid: Grid, edges: Ints) -> NDArray[np.bool_]:
    width, height, layers = grid.shape
    node, axis = edges // 3, edges % 3
    at = np.stack([node % width, node // width % height, node // (width * height)])
    side = np.array([width, height, layers])
    return at[axis, np.arange(len(edges))] < side[axis] - 1


def needs_route(problem: Problem, net: Net) -> bool:
    """False for a net inside one tile and for one with more pins than the contest routes."""
    return len(net.pins) <= NO_ROUTE_PINS and len(problem.tiles(net)) > 1


def components(grid: Grid, edges: Iterable[int], nodes: Iterable[int]) -> list[set[int]]:
    """The connected groups of nodes under a set of edges; each of ``nodes`` is in one of them."""
    parent: dict[int, int] = {node: node for node in nodes}

    def root(node: int) -> int:
        parent.setdefault(node, node)
        while parent[node] != node:
            parent[node] = parent[parent[node]]
            node = parent[node]
        return node

    for edge in edges:
        a, b = grid.ends(edge)
        parent[root(a)] = root(b)
    groups: dict[int, set[int]] = {}
    for node in list(parent):
        groups.setdefault(root(node), set()).add(node)
    return list(groups.values())


def usage(solution: Solution) -> NDArray[np.int64]:
    """(edges,): length units used of each planar edge; number of wires on each via edge."""
    grid = grid_of(solution.problem)
    layer_nodes = grid.shape[0] * grid.shape[1]
    used = np.zeros(grid.edges, np.int64)
    for net, edges in enumerate(solution.edges):
        planar = edges[edges % 3 != 2]
        used[planar] += grid.demand[net, planar // (3 * layer_nodes)]
        used[edges[edges % 3 == 2]] += 1
    return used
