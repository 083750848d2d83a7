"""The grid as tables of integers: who neighbours whom, over which edge, with what capacity.

Everything that moves on the grid (environments, A*, negotiation, the integer program, the scorer) reads these tables.

    node = (layer * height + row) * width + column
    edge = 3 * node + axis      of its lower end; axis 0, 1, 2 = x, y, layer; not every such number is an edge

Moves are numbered +x, -x, +y, -y, +z, -z.
"""

from __future__ import annotations

from dataclasses import dataclass

import networkx as nx
import numpy as np
from numpy.typing import NDArray

from routing_env.problem import Problem, Tile

__all__ = ["MOVES", "NO_LIMIT", "Grid", "Ints", "grid_of"]

Ints = NDArray[np.int32]

MOVES = ("+x", "-x", "+y", "-y", "+z", "-z")
NO_LIMIT = 2**30
"""capacity of a via edge when vias are not limited"""


@dataclass(frozen=True, eq=False)
class Grid:
    """The tables of one problem. Arrays are shared: do not write to them."""

    shape: tuple[int, int, int]  # columns, rows, layers
    neighbour: Ints  # (nodes, 6): node after the move, -1 off the grid or where the layer forbids the direction
    capacity: Ints  # (3 nodes,): length units; vias NO_LIMIT; 0 where there is no edge
    exists: NDArray[np.bool_]  # (3 nodes,): an edge that may be used
    demand: Ints  # (nets, layers): what one wire of the net takes of a planar edge

    @property
    def nodes(self) -> int:
        """Number of tiles."""
        return len(self.neighbour)

    @property
    def edges(self) -> int:
        """Length of every per-edge array: 3 * nodes."""
        return len(self.capacity)

    def node(self, tile: Tile) -> int:
        """The number of a tile."""
        width, height, _ = self.shape
        return (tile[2] * height + tile[1]) * width + tile[0]

    def tile(self, node: int) -> Tile:
        """The tile of a number."""
        width, height, _ = self.shape
        return node % width, node // width % height, node // (width * height)

    def edge(self, a: int, b: int) -> int:
        """The edge between two neighbouring nodes.

        Raises:
            ValueError: the nodes are not neighbours.
        """
        width, height, _ = self.shape
        low, gap = min(a, b), abs(a - b)
        if gap == width * height:
            return 3 * low + 2
        if gap == width:
            return 3 * low + 1
        if gap == 1 and low % width != width - 1:
            return 3 * low
        raise ValueError(f"tiles {self.tile(a)} and {self.tile(b)} are not neighbours")

    def ends(self, edge: int) -> tuple[int, int]:
        """The two nodes of an edge."""
        width, height, _ = self.shape
        low, axis = divmod(edge, 3)
        return low, low + (1, width, width * height)[axis]

    def edge_of_move(self) -> Ints:
        """(nodes, 6): the edge of each move, also of those that the layer forbids; -1 off the grid."""
        width, height, layers = self.shape
        node = np.arange(self.nodes)
        x, y, z = node % width, node // width % height, node // (width * height)
        table = np.full((self.nodes, 6), -1, np.int32)
        for axis, (at, side, gap) in enumerate(((x, width, 1), (y, height, width), (z, layers, width * height))):
            up, down = at < side - 1, at > 0
            table[up, 2 * axis] = 3 * node[up] + axis
            table[down, 2 * axis + 1] = 3 * (node[down] - gap) + axis
        return table

    def to_networkx(self) -> nx.Graph:
        """The usable edges as a networkx graph on node numbers, with ``edge`` and ``capacity`` attributes."""
        graph = nx.Graph()
        graph.add_nodes_from(range(self.nodes))
        for edge in np.flatnonzero(self.exists).tolist():
            graph.add_edge(*self.ends(edge), edge=edge, capacity=int(self.capacity[edge]))
        return graph


def _tables(problem: Problem) -> Grid:
    width, height, depth = problem.shape
    nodes = width * height * depth
    layout = np.zeros((depth, height, width, 3), np.int64)
    for z, layer in enumerate(problem.layers):
        layout[z, :, :-1, 0] = layer.horizontal_capacity
        layout[z, :-1, :, 1] = layer.vertical_capacity
    layout[:-1, :, :, 2] = NO_LIMIT
    exists = layout.reshape(-1) > 0
    capacity = layout.reshape(-1)
    for change in problem.adjustments:
        (x, y, z), (x2, _, _) = sorted((change.first, change.second))
        edge = 3 * ((z * height + y) * width + x) + (0 if x2 > x else 1)
        capacity[edge] = change.capacity
        exists[edge] |= change.capacity > 0
    width_of = np.array([net.min_width for net in problem.nets], np.int64).reshape(-1, 1)
    least = np.array([[layer.min_width for layer in problem.layers]])
    spacing = np.array([[layer.min_spacing for layer in problem.layers]])
    demand = np.maximum(width_of, least) + spacing
    grid = Grid(problem.shape, np.full((nodes, 6), -1, np.int32), capacity.astype(np.int32), exists,
                demand.astype(np.int32))  # fmt: skip
    crossed = grid.edge_of_move()
    gaps = np.array([1, -1, width, -width, width * height, -width * height])
    usable = (crossed >= 0) & exists[crossed]
    grid.neighbour[...] = np.where(usable, np.arange(nodes)[:, None] + gaps, -1)
    for table in (grid.neighbour, grid.capacity, grid.exists, grid.demand):
        table.setflags(write=False)
    return grid


def grid_of(problem: Problem) -> Grid:
    """The tables of a problem, made once and kept with it."""
    kept = problem.__dict__
    if "_grid" not in kept:
        kept["_grid"] = _tables(problem)
    grid: Grid = kept["_grid"]
    return grid
