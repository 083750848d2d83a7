"""Pins to two-pin connections: a minimum spanning tree over each net's tiles, nets of long half-perimeter first."""

from __future__ import annotations

import numpy as np

from routing_env._kernel import kernel
from routing_env.grid import Ints, grid_of
from routing_env.problem import Net, Problem
from routing_env.solution import needs_route

__all__ = ["connections", "half_perimeter", "net_order", "spanning_tree"]


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


def connections(problem: Problem) -> Ints:
    """All two-pin connections in routing order.

    Returns:
        (connections, 3): net, source node, target node; the connections of a net stand together.
    """
    grid = grid_of(problem)
    rows: list[tuple[int, int, int]] = []
    for net in net_order(problem):
        tiles = problem.tiles(problem.nets[net])
        nodes = [grid.node(tile) for tile in tiles]
        rows += [(net, nodes[a], nodes[b]) for a, b in spanning_tree(np.array(tiles, np.int32)).tolist()]
    return np.array(rows, np.int32).reshape(-1, 3)
