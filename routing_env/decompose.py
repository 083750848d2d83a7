"""Pins to two-pin connections, nets of long half-perimeter first: along a minimum spanning tree or a Steiner tree.

``spanning`` joins a net's pins with each other, as published. ``steiner`` takes a cheapest tree on the empty grid, each
edge and via counting 1, and cuts it where it branches: whoever makes its connections one after the other can reach the
tree's length, which pins joined among themselves may not. Both are the same for nets of two pins.

Source: Prim 1957; Dreyfus and Wagner 1971. Differs: a net of more than 8 pins gets a tree grown pin by pin; one whose
pins the empty grid does not connect within their box is joined as by ``spanning``.
"""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from routing_env._kernel import kernel
from routing_env._steiner import FAR, edge_costs, grown_tree, labels, tree
from routing_env.grid import Grid, Ints, grid_of
from routing_env.problem import Net, Problem
from routing_env.solution import needs_route

__all__ = ["Decomposition", "connections", "half_perimeter", "net_order", "spanning_tree"]

Decomposition = Literal["spanning", "steiner"]
EXACT = 8
"""pins of a net up to which its Steiner tree is a cheapest one"""


def half_perimeter(problem: Problem, net: Net) -> int:
    """Width plus height of the box around the net's tiles, in tile steps."""
    tiles = problem.tiles(net)
    xs, ys = [tile[0] for tile in tiles], [tile[1] for tile in tiles]
    return max(xs) - min(xs) + max(ys) - min(ys) if tiles else 0


def net_order(problem: Problem) -> list[int]:
    """The nets that need a route, longest half-perimeter first; equal ones in file order."""
    lengths = [(-half_perimeter(problem, net), i) for i, net in enumerate(problem.nets) if needs_route(problem, net)]
    return [i for _, i in sorted(lengths)]


@kernel
def spanning_tree(tiles: Ints) -> Ints:
    """Minimum spanning tree by Prim's rule from row 0, ties to the earlier row.

    Args:
        tiles: (pins, 3) columns, rows, layers.

    Returns:
        (pins - 1, 2) rows: one already in the tree, the one that joins.
    """
    n = len(tiles)
    tree = np.empty((max(n - 1, 0), 2), np.int32)
    nearest = np.zeros(n, np.int32)
    far = np.int64(2**62)
    distance = np.full(n, far)
    joined = np.zeros(n, np.bool_)
    last = 0
    for k in range(n - 1):
        joined[last] = True
        best, best_distance = -1, far
        for i in range(n):
            if joined[i]:
                continue
            d = np.int64(0)
            for axis in range(3):
                d += abs(np.int64(tiles[i, axis]) - tiles[last, axis])
            if d < distance[i]:
                distance[i] = d
                nearest[i] = last
            if distance[i] < best_distance:
                best, best_distance = i, distance[i]
        tree[k, 0] = nearest[best]
        tree[k, 1] = best
        last = best
    return tree


def connections(problem: Problem, decomposition: Decomposition = "spanning") -> Ints:
    """All two-pin connections in routing order.

    Returns:
        (connections, 3): net, source node, target node; the connections of a net stand together.

    Raises:
        ValueError: there is no such decomposition.
    """
    if decomposition not in get_args(Decomposition):
        raise ValueError(f"decomposition {decomposition!r} is none of {', '.join(get_args(Decomposition))}")
    grid = grid_of(problem)
    trees = _Trees(grid)
    rows: list[tuple[int, int, int]] = []
    for net in net_order(problem):
        tiles = problem.tiles(problem.nets[net])
        nodes = [grid.node(tile) for tile in tiles]
        found = trees.branches(net, nodes) if decomposition == "steiner" and len(nodes) > 2 else []
        if not found:
            found = [(nodes[a], nodes[b]) for a, b in spanning_tree(np.array(tiles, np.int32)).tolist()]
        rows += [(net, a, b) for a, b in found]
    return np.array(rows, np.int32).reshape(-1, 3)


class _Trees:
    """Cheapest trees on the empty grid."""

    def __init__(self, grid: Grid) -> None:
        self.grid = grid
        self.moves: Ints = grid.edge_of_move()
        self.capacity = grid.capacity.astype(np.int64)
        self.costs: dict[tuple[int, ...], NDArray[np.int64]] = {}  # by demand

    def branches(self, net: int, pins: list[int]) -> list[tuple[int, int]]:
        """Pairs of pins and branching nodes that a cheapest tree over the pins joins, nearer to the first pin first."""
        around: dict[int, list[int]] = {}
        for edge in sorted(self._wires(net, pins)):
            a, b = self.grid.ends(edge)
            around.setdefault(a, []).append(b)
            around.setdefault(b, []).append(a)
        keys = {*pins, *(node for node, others in around.items() if len(others) > 2)}
        found, stack = [], [(pins[0], pins[0], other) for other in reversed(around.get(pins[0], []))]
        while stack:
            start, before, node = stack.pop()
            if node in keys:
                found.append((start, node))
                start = node
            stack += [(start, node, other) for other in reversed(around[node]) if other != before]
        return found

    def _wires(self, net: int, pins: list[int]) -> list[int]:
        """Edges of a tree; none where the pins are not connected within their box."""
        neighbour, moves, ends = self._box(pins)
        cost = self._cost(net)
        if len(pins) > EXACT:
            return list(map(int, grown_tree(neighbour, moves, cost, ends)))
        label = labels(neighbour, moves, cost, ends[1:], ends[0])
        return list(map(int, tree(neighbour, moves, cost, label, ends[0]))) if label[-1, ends[0]] < FAR else []

    def _cost(self, net: int) -> NDArray[np.int64]:
        """(edges,): 1 where a wire of the net fits, FAR elsewhere."""
        demand = self.grid.demand[net]
        key = tuple(demand.tolist())
        if key not in self.costs:
            self.costs[key] = edge_costs(1, np.zeros(self.grid.edges, np.int64), demand.astype(np.int64), self.capacity,
                                         self.grid.exists, self.grid.edges // self.grid.shape[2])  # fmt: skip
        return self.costs[key]

    def _box(self, pins: list[int]) -> tuple[Ints, Ints, NDArray[np.int64]]:
        """The grid over the box around pins, all layers: neighbours, edges of moves, the pins' nodes in it."""
        width, height, layers = self.grid.shape
        x, y = np.array(pins) % width, np.array(pins) // width % height
        columns, rows = np.arange(x.min(), x.max() + 1), np.arange(y.min(), y.max() + 1)
        nodes = ((np.arange(layers)[:, None, None] * height + rows[:, None]) * width + columns).ravel()
        place = np.full(self.grid.nodes + 1, -1, np.int32)  # the last one stands for no neighbour
        place[nodes] = np.arange(len(nodes))
        return place[self.grid.neighbour[nodes]], self.moves[nodes], place[pins].astype(np.int64)
