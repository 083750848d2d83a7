"""Proven bounds from edge prices: weak duality, checked in integers.

For prices p >= 0 on the planar edges, and any routing without overflow,

    wirelength >= sum over nets of (cheapest route at 1 + p[e] * demand)  -  sum over edges of p[e] * capacity[e]

because each route costs at least the cheapest one, and the routes together pay at most p * capacity. It holds for all
prices, so a solver that is slightly off cannot make it wrong. Prices are fixed-point integers, the cheapest routes are
exact (Dreyfus-Wagner), the sums are exact: the bound is a proof. With base cost b in place of 1 and L the largest
wirelength possible, a value above b * L proves that no routing without overflow exists (Farkas).

Source: Held and Karp (1970); Ahuja, Magnanti, Orlin, "Network Flows", chapter 16.
Differs: a net with more than ``Model.most`` tiles (MOST_TERMINALS, fewer where that takes too long) is bounded by
the cheapest tree over that many of its tiles, or by its half-perimeter.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from routing_env._steiner import FAR, Longs, arc_costs, edge_costs, routes
from routing_env.grid import Grid, Ints, grid_of
from routing_env.metrics import net_bound
from routing_env.problem import Problem
from routing_env.routers._protocol import Clock
from routing_env.solution import needs_route

__all__ = ["MOST_TERMINALS", "ONE", "Model", "Priced", "cheapest", "fixed_point", "model_of", "surviving_arcs"]

ONE = 2**28
"""the fixed-point number 1: cost of one edge, unit of the prices"""
MOST_TERMINALS = 9
MOST_WORK = 6e9
"""steps (of a few nanoseconds) of one look at all nets; where more are needed, the trees join fewer terminals"""
CHUNK_WORK = 1e7
"""steps between two looks at the clock"""
DIJKSTRA_STEPS = 100
"""a node's part of Dijkstra's algorithm, in steps of merging two labels"""


@dataclass(frozen=True, eq=False)
class Model:
    """The nets that need a route, and what each may take of the grid."""

    grid: Grid
    move_edge: Ints  # (nodes, 6)
    capacity: Longs  # (edges,): rounded down to what wires can add up to
    nets: Longs  # (nets,): numbers in the problem
    demand: Longs  # (nets, layers)
    terminals: Longs  # nodes of all nets, one after the other; the first ones of a net lie far apart
    first: Longs  # (nets + 1,)
    most: int  # terminals of a net that its exact tree joins
    floor: Longs  # (nets,): half-perimeter bound of the nets that have more; else 0

    @property
    def layer_edges(self) -> int:
        """Edge numbers a layer."""
        return 3 * self.grid.shape[0] * self.grid.shape[1]

    @property
    def longest(self) -> int:
        """More edges than any routing without redundant ones has."""
        return len(self.nets) * (self.grid.nodes - 1)

    def ends(self, net: int) -> Longs:
        """The terminals of the net at a position of ``nets``."""
        return self.terminals[self.first[net] : self.first[net + 1]]

    def need(self, net: int, edges: Longs) -> Longs:
        """What a wire of the net takes of each edge; 0 of vias."""
        return np.where(edges % 3 == 2, 0, self.demand[net, edges // self.layer_edges])

    def cost(self, net: int, prices: Longs, base: int = ONE) -> Longs:
        """(edges,): what each edge costs the net."""
        return edge_costs(base, prices, self.demand[net], self.capacity, self.grid.exists, self.layer_edges)


@dataclass(frozen=True, eq=False)
class Priced:
    """The cheapest routes under prices and what they prove. Fixed-point integers."""

    prices: Longs  # (edges,)
    bound: int
    least: Longs  # (nets,)
    routes: list[Longs]  # per net: sorted edges
    infeasible: bool


def model_of(problem: Problem) -> Model:
    """Collect what is to be routed."""
    grid = grid_of(problem)
    nets = [i for i, net in enumerate(problem.nets) if needs_route(problem, net)]
    tiles = [np.array([grid.node(tile) for tile in problem.tiles(problem.nets[net])]) for net in nets]
    spread = [_far_first(grid, nodes) for nodes in tiles]
    demand = grid.demand[nets].astype(np.int64).reshape(-1, grid.shape[2])
    capacity = grid.capacity.astype(np.int64)
    step = np.gcd.reduce(demand, axis=0) if nets else np.ones(grid.shape[2], np.int64)
    step = np.maximum(step, 1).repeat(grid.edges // grid.shape[2])
    planar = np.arange(grid.edges) % 3 != 2
    capacity[planar] -= capacity[planar] % step[planar]
    size = np.array([len(nodes) for nodes in tiles], np.int64)
    most = next((k for k in range(MOST_TERMINALS, 2, -1) if _work(grid.nodes, size, k).sum() <= MOST_WORK), 2)
    floor = [net_bound(problem, problem.nets[net]) if n > most else 0 for net, n in zip(nets, size, strict=True)]
    return Model(grid, grid.edge_of_move(), capacity, np.array(nets, np.int64), demand,
                 np.concatenate([*spread, np.empty(0, np.int64)]).astype(np.int64),
                 np.concatenate([[0], np.cumsum(size)]), most, np.array(floor, np.int64))  # fmt: skip


def _work(nodes: int, size: Longs, most: int) -> NDArray[np.float64]:
    """(nets,): steps of the exact tree of each net of ``size`` terminals, and of growing it to all of them."""
    k = np.minimum(size, most) - 1.0
    return nodes * (3**k / 2 + 2**k * DIJKSTRA_STEPS + np.where(size > most, size * DIJKSTRA_STEPS, 0))


def _far_first(grid: Grid, nodes: Longs) -> Longs:
    """The same nodes, each next one farthest from those before: the first few bound a big net best."""
    if len(nodes) <= MOST_TERMINALS:
        return nodes
    at = np.array([grid.tile(int(node)) for node in nodes])
    order = [0]
    gap = np.abs(at - at[0]).sum(axis=1)
    for _ in range(len(nodes) - 1):
        gap[order] = -1
        order.append(int(gap.argmax()))
        gap = np.minimum(gap, np.abs(at - at[order[-1]]).sum(axis=1))
    return nodes[order]


def fixed_point(prices: NDArray[np.float64]) -> Longs:
    """Prices as fixed-point integers; negative and undefined ones become 0."""
    return np.rint(np.clip(np.nan_to_num(prices, posinf=0.0), 0, 2**16) * ONE).astype(np.int64)


def cheapest(model: Model, prices: Longs, base: int = ONE, clock: Clock | None = None) -> Priced | None:
    """Route every net by itself under prices, and state the bound that follows; None where the time is over.

    Args:
        prices: (edges,) fixed-point; those of vias and negative ones count as 0.
        base: cost of an edge before its price, fixed-point, positive.
    """
    prices = np.where(model.grid.exists, np.maximum(prices, 0), 0)
    prices[2::3] = 0
    least: list[int] = []
    found: list[Longs] = []
    work = _work(model.grid.nodes, np.diff(model.first), model.most)
    chunk = (np.cumsum(work) // CHUNK_WORK).astype(np.int64)
    starts = np.unique(chunk, return_index=True)[1].tolist()
    for at, end in pairwise([*starts, len(model.nets)]):
        if clock and clock.over:
            return None
        costs, flat, begin = routes(
            model.grid.neighbour, model.move_edge, base, prices, model.capacity, model.grid.exists, model.layer_edges,
            model.demand[at:end], model.terminals, model.first[at : end + 1], model.most,
        )  # fmt: skip
        edges = np.array(flat, np.int64)
        least += np.maximum(costs, base * model.floor[at:end]).tolist()
        found += [np.unique(edges[a:b]) for a, b in pairwise(begin)]
    priced = np.flatnonzero(prices)
    pay = sum(p * c for p, c in zip(prices[priced].tolist(), model.capacity[priced].tolist(), strict=True))
    bound = sum(least) - pay
    blocked = max(least, default=0) >= FAR
    return Priced(prices, bound, np.array(least, np.int64), found, blocked or bound > base * model.longest)


def surviving_arcs(model: Model, priced: Priced, net: int, slack: int) -> NDArray[np.bool_]:
    """(nodes, 6): the moves of a net, away from its first terminal, that a routing within ``slack`` may use.

    A routing that uses a move costs at least bound + (cheapest route through the move - cheapest route); where that
    exceeds bound + slack (fixed-point) the move is out. Only valid for ``priced`` at base ONE.
    """
    ends = model.ends(net)
    through = arc_costs(
        model.grid.neighbour, model.move_edge, model.cost(net, priced.prices), ends[: model.most],
        len(ends) > model.most,
    )  # fmt: skip
    return (through < FAR) & (through - priced.least[net] <= slack)
