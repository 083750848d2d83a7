"""Column generation: the linear relaxation over all routes of all nets, solved with the routes that matter.

    minimise   sum of length[r] x[r]  +  penalty * overflow        x[r] = share of a net on its route r
    subject to sum of x[r] over the routes of a net    = 1                        for each net
               sum of demand x[r] over routes on e    <= capacity + overflow[e]   for each planar edge e

A round solves this over the routes at hand, takes the prices of the capacity rows, and adds the cheapest route of each
net under them. The bound that the prices prove (``_lagrange``) meets the objective at the optimum. Columns are whole
Steiner trees, so the relaxation is at least as strong as any flow or cut formulation of the single net.

Source: Dantzig and Wolfe (1960); smoothed prices as in Wentges (1997).
Differs: overflow is allowed at a penalty; where it stays, a second phase minimises overflow alone, whose prices are the
proof that no routing without overflow exists, or whose routes show the relaxation feasible.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import LinearConstraint, linprog
from scipy.sparse import csr_array, hstack

from routing_env._steiner import Longs
from routing_env.routers._integer_program import integer_program
from routing_env.routers._lagrange import ONE, Model, Priced, cheapest, fixed_point
from routing_env.routers._protocol import Clock, Progress

__all__ = ["NONE", "PENALTIES", "STAGES", "Master", "Pool", "Relaxation", "choose", "relax", "solve"]

Reals = NDArray[np.float64]

PENALTIES = (8.0, 1e4)
"""per wire; the second where the relaxation is feasible but the first did not forbid overflow"""
CLOSE = 1e-5
NONE = 1e-7
"""overflow below this is rounding"""
SMOOTH = 0.5
STAGES = 3
"""of the exact router: relaxation, choice among its routes, flow model"""


@dataclass(eq=False)
class Pool:
    """The routes at hand."""

    model: Model
    net: list[int] = field(default_factory=list)
    edges: list[Longs] = field(default_factory=list)
    _known: set[tuple[int, bytes]] = field(default_factory=set)

    def add(self, routes: list[Longs], nets: Iterable[int] | None = None) -> int:
        """Take routes, of ``nets`` or one of every net in turn; returns how many were new."""
        before = len(self.net)
        for net, edges in zip(range(len(routes)) if nets is None else nets, routes, strict=True):
            key = (net, edges.tobytes())
            if key not in self._known:
                self._known.add(key)
                self.net.append(net)
                self.edges.append(edges)
        return len(self.net) - before

    @property
    def lengths(self) -> Reals:
        """(routes,): edges of each."""
        return np.array([len(edges) for edges in self.edges], float)

    def rows(self) -> tuple[csr_array, csr_array, Longs]:
        """One-route-a-net rows, capacity rows of the edges that could overflow, and those edges."""
        count, nets = len(self.net), len(self.model.nets)
        one = csr_array((np.ones(count), (self.net, np.arange(count))), shape=(nets, count))
        column = np.repeat(np.arange(count), [len(edges) for edges in self.edges])
        edge = np.concatenate(self.edges)
        owner = np.array(self.net)[column]
        need = np.where(edge % 3 == 2, 0, self.model.demand[owner, edge // self.model.layer_edges])
        pair, where = np.unique(owner * self.model.grid.edges + edge, return_index=True)
        most = np.bincount(pair % self.model.grid.edges, need[where], self.model.grid.edges)
        tight = np.flatnonzero(most > self.model.capacity)
        keep = np.isin(edge, tight)
        at = np.searchsorted(tight, edge[keep])
        use = csr_array((need[keep].astype(float), (at, column[keep])), shape=(len(tight), count))
        return one, use, tight


@dataclass(frozen=True, eq=False)
class Relaxation:
    """What the rounds ended with."""

    best: Priced | None
    """the prices with the largest checked bound, at base ONE; None where the time was over before the first"""
    pool: Pool
    infeasible: bool
    converged: bool
    rounds: int


@dataclass(frozen=True, eq=False)
class Master:
    """An optimum over the routes at hand."""

    value: float
    prices: Reals  # (edges,)
    shares: Reals  # (routes,)
    overflow: float
    """in wires"""


def solve(pool: Pool, length: float, penalty: float, clock: Clock) -> Master | None:
    """The relaxation over the pool; None where the solver stopped without an answer."""
    model = pool.model
    one, use, tight = pool.rows()
    unit = np.array([max(model.demand[:, e // model.layer_edges].max(), 1) for e in tight], float)
    cost = np.concatenate([length * pool.lengths, penalty / unit])
    over = csr_array((-np.ones(len(tight)), (np.arange(len(tight)), np.arange(len(tight)))), shape=(len(tight),) * 2)
    rows: Any = {"A_eq": hstack([one, csr_array((len(model.nets), len(tight)))]), "b_eq": np.ones(len(model.nets))}
    if len(tight):
        rows |= {"A_ub": hstack([use, over]), "b_ub": model.capacity[tight].astype(float)}
    found = linprog(cost, method="highs", options={"time_limit": max(min(clock.left, 1e7), 0.01)}, **rows)
    if found.status != 0 or found.fun is None:
        return None
    value = float(found.fun)
    prices = np.zeros(model.grid.edges)
    if len(tight):
        prices[tight] = -found.ineqlin.marginals
    shares, over_use = np.split(np.asarray(found.x), [len(pool.net)])
    return Master(value, prices, shares, float((over_use / unit).sum()))


def relax(model: Model, clock: Clock, progress: Progress | None = None) -> Relaxation:
    """Solve the relaxation, or stop at the time limit with the best bound so far."""
    pool = Pool(model)
    best = cheapest(model, np.zeros(model.grid.edges, np.int64), clock=clock)
    if best is None or best.infeasible or not len(model.nets):
        return Relaxation(best, pool, best is not None and best.infeasible, best is not None, 0)
    pool.add(best.routes)
    best, overflow, converged, rounds = _rounds(pool, best, ONE, PENALTIES[0], clock, progress, 0)
    if overflow <= NONE or not converged or best.infeasible:
        return Relaxation(best, pool, best.infeasible, converged, rounds)
    start = cheapest(model, best.prices, base=1, clock=clock)
    if start is None:
        return Relaxation(best, pool, False, False, rounds)
    proof, overflow, converged, rounds = _rounds(pool, start, 1, 1.0, clock, progress, rounds)
    if proof.infeasible or not converged:
        return Relaxation(best, pool, proof.infeasible, converged, rounds)
    best, overflow, converged, rounds = _rounds(pool, best, ONE, PENALTIES[1], clock, progress, rounds)
    return Relaxation(best, pool, best.infeasible, converged and overflow <= NONE, rounds)


def _rounds(
    pool: Pool, best: Priced, base: int, penalty: float, clock: Clock, progress: Progress | None, done: int
) -> tuple[Priced, float, bool, int]:
    """Price and solve in turn until bound and objective meet.

    Returns:
        the best prices, the overflow left (in wires), whether it converged, rounds in all.
    """
    length, overflow, smooth = (1.0 if base == ONE else 0.0), float("inf"), SMOOTH
    while not clock.over:
        master = solve(pool, length, penalty, clock)
        if master is None:
            break
        done, overflow = done + 1, master.overflow
        if progress:
            progress(0, STAGES, f"round {done}: bound {best.bound / ONE:.3f}, relaxation {master.value:.3f}")
        new = 0
        for share in (smooth, 0.0):
            prices = fixed_point(share * best.prices / ONE + (1 - share) * master.prices)
            priced = cheapest(pool.model, prices, base, clock)
            if priced is None:
                return best, overflow, False, done
            new += pool.add(priced.routes)
            best = max(best, priced, key=lambda p: (p.infeasible, p.bound))
            if new or best.infeasible or not share:
                break
        closed = master.value - best.bound / ONE <= CLOSE
        if closed or not new or best.infeasible or (length == 0 and overflow <= NONE):
            return best, overflow, True, done
        smooth = SMOOTH if master.value - best.bound / ONE > 0.5 else 0.0
    return best, overflow, False, done


def choose(pool: Pool, best: Priced, below: int | None, clock: Clock) -> list[Longs] | None:
    """The shortest routing without overflow that takes one route a net from the pool.

    Args:
        best: prices at base ONE; routes that they prove too long are left out.
        below: only routings shorter than this are wanted.

    Returns:
        edges per net, or None where none was found.
    """
    if below is not None:
        pool = _within(pool, best, (below - 1) * ONE - best.bound)
    if len(set(pool.net)) < len(pool.model.nets):
        return None
    one, use, tight = pool.rows()
    lengths = pool.lengths
    limits = [LinearConstraint(one, 1, 1)]
    if len(tight):
        limits.append(LinearConstraint(use, -np.inf, pool.model.capacity[tight]))
    if below is not None:
        limits.append(LinearConstraint(lengths[None, :], -np.inf, below - 1))
    x, _ = integer_program(lengths, np.ones(len(lengths), np.int64), limits, clock)
    if x is None:
        return None
    taken = np.flatnonzero(x > 0.5)
    return [pool.edges[i] for i in taken[np.argsort(np.array(pool.net)[taken])]]


def _within(pool: Pool, best: Priced, slack: int) -> Pool:
    """The routes whose reduced cost is at most ``slack``, fixed-point."""
    kept = Pool(pool.model)
    costs = [pool.model.cost(net, best.prices) for net in range(len(pool.model.nets))]
    for net, edges in zip(pool.net, pool.edges, strict=True):
        if costs[net][edges].sum() - best.least[net] <= slack:
            kept.add([edges], [net])
    return kept
