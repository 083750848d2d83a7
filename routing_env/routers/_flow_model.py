"""The whole routing as one mixed-integer program over directed moves; the bound's prices take most moves out first.

    minimise   sum of y[n, a]                             y[n, a] = 1: net n uses move a, away from its root terminal
    subject to f[n, t, .] carries one unit from the root of n to its terminal t
               f[n, t, a] <= y[n, a]                      (for a two-pin net f is y)
               sum over n of demand[n] * (y[n, a] + y[n, reverse of a]) <= capacity[e]     a, reverse of a on edge e

Source: the directed single-source formulation of the Steiner tree, Wong (1984); fixing by reduced cost.
Differs: the reduced cost of a move is exact, by the cheapest tree that uses it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import LinearConstraint
from scipy.sparse import csr_array

from routing_env._steiner import FAR, Longs, grown_tree
from routing_env.routers._integer_program import INFEASIBLE, integer_program
from routing_env.routers._lagrange import Model, Priced, surviving_arcs
from routing_env.routers._protocol import Clock

__all__ = ["BYTES_AN_ENTRY", "Outcome", "allowed_moves", "entries", "solve"]

BYTES_AN_ENTRY = 250
"""of the solver, for each non-zero entry of the program, as measured, with reserve"""

Moves = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Outcome:
    """What the solver found: edges per net or None, and whether its search is complete."""

    routes: list[Longs] | None
    complete: bool


class _Rows:
    """Sparse rows in the making, with lower and upper limits."""

    def __init__(self) -> None:
        self.row: list[Longs] = []
        self.column: list[Longs] = []
        self.value: list[NDArray[np.float64]] = []
        self.low: list[float] = []
        self.high: list[float] = []

    def put(self, row: Longs, column: Longs, value: float | NDArray[np.float64]) -> None:
        self.row.append(row)
        self.column.append(column)
        self.value.append(np.broadcast_to(np.asarray(value, float), row.shape))

    def new(self, low: NDArray[np.float64], high: NDArray[np.float64]) -> Longs:
        start = len(self.low)
        self.low += low.tolist()
        self.high += high.tolist()
        return np.arange(start, len(self.low))

    def constraint(self, columns: int) -> LinearConstraint:
        entries = (np.concatenate(self.value), (np.concatenate(self.row), np.concatenate(self.column)))
        return LinearConstraint(csr_array(entries, shape=(len(self.low), columns)), self.low, self.high)


def allowed_moves(model: Model, priced: Priced | None, slack: int | None, clock: Clock) -> list[Moves]:
    """(nodes, 6) per net: the moves it may use; all that fit where there are no prices or no slack to go by."""
    moves = []
    for net in range(len(model.nets)):
        fits = model.cost(net, np.zeros(model.grid.edges, np.int64)) < FAR
        allowed = (model.grid.neighbour >= 0) & fits[model.move_edge]
        if priced is not None and slack is not None and not clock.over:
            allowed &= surviving_arcs(model, priced, net, slack)
        allowed[:, :] &= model.grid.neighbour != model.ends(net)[0]  # nothing enters the root
        moves.append(allowed)
    return moves


def entries(model: Model, moves: list[Moves]) -> int:
    """Non-zero entries of the program."""
    total = 0
    for net, allowed in enumerate(moves):
        others = len(model.ends(net)) - 1
        total += int(allowed.sum()) * (4 if others == 1 else 3 + 3 * others)
    return total


def solve(model: Model, moves: list[Moves], below: int | None, clock: Clock, any_will_do: bool = False) -> Outcome:
    """Solve the program.

    Args:
        below: only routings shorter than this are wanted.
        any_will_do: stop at the first routing without overflow, however long.
    """
    rows, owner, arcs = _Rows(), [], []
    binaries, columns = [], 0
    for net, allowed in enumerate(moves):
        arc = np.flatnonzero(allowed)
        use = columns + np.arange(len(arc))
        columns = _net_rows(model, net, arc, use, rows)
        owner.append(np.full(len(arc), net))
        arcs.append(arc)
        binaries.append(use)
    net_of, arc_of, binary = np.concatenate(owner), np.concatenate(arcs), np.concatenate(binaries)
    edge = model.move_edge.reshape(-1)[arc_of].astype(np.int64)
    need = np.where(edge % 3 == 2, 0, model.demand[net_of, edge // model.layer_edges])
    tight = np.flatnonzero(np.bincount(edge, need, model.grid.edges) > model.capacity)
    keep = np.isin(edge, tight)
    at = rows.new(np.full(len(tight), -np.inf), model.capacity[tight].astype(float))
    rows.put(at[np.searchsorted(tight, edge[keep])], binary[keep], need[keep].astype(float))
    if below is not None:
        rows.put(rows.new(np.array([-np.inf]), np.array([below - 1.0])).repeat(len(binary)), binary, 1.0)
    cost, whole = np.zeros(columns), np.zeros(columns, np.int64)
    cost[binary] = 0.0 if any_will_do else 1.0
    whole[binary] = 1
    x, status = integer_program(cost, whole, [rows.constraint(columns)], clock)
    if x is None:
        return Outcome(None, status == INFEASIBLE)
    taken = x[binary] > 0.5
    routes = [_tree_of(model, net, edge[taken & (net_of == net)]) for net in range(len(moves))]
    return Outcome(routes, status == 0)


def _net_rows(model: Model, net: int, arc: Longs, use: Longs, rows: _Rows) -> int:
    """Add the flows of one net; returns the number of columns so far."""
    ends = model.ends(net)
    tail, head = arc // 6, model.grid.neighbour.reshape(-1)[arc].astype(np.int64)
    columns = int(use[-1]) + 1 if len(use) else 0
    for end in ends[1:]:
        flow = use
        if len(ends) > 2:
            flow = columns + np.arange(len(arc))
            columns += len(arc)
            link = rows.new(np.full(len(arc), -np.inf), np.zeros(len(arc)))
            rows.put(link, flow, 1.0)
            rows.put(link, use, -1.0)
        supply = np.zeros(model.grid.nodes)
        supply[ends[0]], supply[end] = 1, -1
        node = rows.new(supply, supply)
        rows.put(node[tail], flow, 1.0)
        rows.put(node[head], flow, -1.0)
    return columns


def _tree_of(model: Model, net: int, edges: Longs) -> Longs:
    """A tree inside the chosen edges: what an unfinished search uses needlessly is left out."""
    cost = np.full(model.grid.edges, FAR, np.int64)
    cost[edges] = 1
    return np.unique(np.array(grown_tree(model.grid.neighbour, model.move_edge, cost, model.ends(net)), np.int64))
