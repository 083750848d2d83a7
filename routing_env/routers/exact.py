"""Exact routing: a proven lower bound on wirelength at zero overflow, and the shortest such routing.

    bound   linear relaxation over all routes of all nets, by column generation; the number reported is recomputed
            from its prices alone, in integers, by weak duality (``_lagrange``)
    route   shortest choice among the routes of the relaxation; where it does not meet the bound, among those of dives
            (``_dive``) too; then a mixed-integer program over the moves that the prices leave (``_flow_model``)

Wirelength is the official one: distinct planar edges and distinct via edges; vias are not limited. Overflow has to be
zero. Beyond the memory limit both refuse, say the figure, and give the half-perimeter bound by name.

Source: Dantzig and Wolfe (1960); Wong (1984); HiGHS through scipy solves the linear and integer programs.
Differs: nets of more than nine tiles are bounded by nine of them or their half-perimeter (the routes still join all).
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from functools import cache
from typing import Any

import numpy as np

from routing_env import metrics
from routing_env._steiner import Longs
from routing_env.problem import Problem
from routing_env.routers import _flow_model
from routing_env.routers._columns import STAGES, Relaxation, choose, relax
from routing_env.routers._dive import dive
from routing_env.routers._lagrange import ONE, Model, model_of
from routing_env.routers._protocol import SAMPLE, Clock, Progress
from routing_env.solution import Solution

__all__ = ["MEMORY_LIMIT", "Bound", "bound", "proves_unroutable", "route"]

MEMORY_LIMIT = 4 * 2**30
"""bytes"""
ROUTES_A_NET = 40
"""columns that a net is expected to need, for the memory estimate"""
DIVES = 3
"""searches for further routes, where those of the relaxation do not meet the bound"""
CHOICE_SECONDS = 30.0
"""of one step without a time limit"""


@dataclass(frozen=True)
class Bound:
    """A proven lower bound on the wirelength of any routing without overflow."""

    value: int
    """``lp`` rounded up: wirelength is whole"""
    lp: float
    """the bound that the prices prove"""
    kind: str
    """"linear relaxation", or where that was refused or not reached "half-perimeter", for two-pin nets "Manhattan" """
    proven_infeasible: bool
    """no routing without overflow exists: ``value`` then says nothing"""
    seconds: float
    memory_bytes: int
    """estimate made beforehand"""
    message: str


def bound(
    problem: Problem, *, time_limit: float | None = None, memory_limit: int = MEMORY_LIMIT,
    progress: Progress | None = None,
) -> Bound:  # fmt: skip
    """Prove a lower bound on the wirelength at zero overflow.

    Args:
        time_limit: seconds, those of compiling aside; at the limit the best bound so far is given, ``message`` says so.
        memory_limit: bytes; where the estimate is above, the half-perimeter bound is given, ``message`` says so.

    Raises:
        ValueError: the time limit is not positive.
    """
    return _Search(problem, Clock(time_limit, _compile), memory_limit, progress).bound


def route(
    problem: Problem, *, seed: int = 0, time_limit: float | None = None, progress: Progress | None = None,
    memory_limit: int = MEMORY_LIMIT,
) -> Solution:  # fmt: skip
    """Find the shortest routing without overflow, or the best one in the time given.

    ``info`` holds router, seconds, bound (the fields of ``Bound``), optimal, gap (wirelength - bound, None without a
    routing) and status: "optimal"; "feasible" (time or memory ended first, not proven shortest); "infeasible" (proven;
    no routes); "time limit" and "refused" (no routes, nothing proven). ``proof`` says what proves an optimum or an
    infeasibility: "prices", checked in integers, or "branch and bound", the solver's word.

    Args:
        seed: of the random prices that make further routes to choose from; optimal wirelength does not depend on it.

    Raises:
        ValueError: the time limit is not positive.
    """
    search = _Search(problem, Clock(time_limit, _compile), memory_limit, progress)
    if not search.bound.proven_infeasible and search.relaxation:
        search.choose(seed)
        search.finish()
    return search.solution()


def proves_unroutable(
    problem: Problem, *, time_limit: float | None = None, memory_limit: int = MEMORY_LIMIT
) -> bool | None:
    """Whether no routing without overflow exists: True proven, False refuted by a routing, None undecided."""
    search = _Search(problem, Clock(time_limit, _compile), memory_limit, None)
    if not search.bound.proven_infeasible and search.relaxation:
        search.choose(seed=0)
        if search.best is None:
            search.finish(any_will_do=True)
    if search.best is not None:
        return False
    return True if search.status == "infeasible" else None


@cache
def _compile() -> None:
    """Run every kernel once."""
    search = _Search(SAMPLE, Clock(), MEMORY_LIMIT, None)
    search.choose(seed=0)
    assert search.relaxation is not None
    assert search.relaxation.best is not None
    dive(search.relaxation.pool, search.relaxation.best, np.random.default_rng(0), Clock())
    _flow_model.allowed_moves(search.model, search.relaxation.best, None, Clock())


class _Search:
    """One search: its bound, its best routing so far, and what is proven."""

    def __init__(self, problem: Problem, clock: Clock, memory_limit: int, progress: Progress | None) -> None:
        self.problem, self.clock, self.memory_limit, self.progress = problem, clock, memory_limit, progress
        self.model = model_of(problem)
        self.relaxation: Relaxation | None = None
        self.best: list[Longs] | None = None
        self.status = "time limit"
        self.proof = ""
        self.note = ""
        self.bound = self._bound()

    def _bound(self) -> Bound:
        memory = _memory(self.problem, self.model)
        if memory > self.memory_limit:
            self.status = "refused"
            why = f"refused: about {memory:,} bytes needed, memory_limit is {self.memory_limit:,}"
            return self._plain_bound(memory, why)
        found = relax(self.model, self.clock, self.progress)
        if found.best is None:
            return self._plain_bound(memory, "time limit before the first prices")
        self.relaxation = found
        lp, value = found.best.bound / ONE, -(-found.best.bound // ONE)
        message = f"{found.rounds} rounds, {len(found.pool.net)} routes" + ("" if found.converged else "; time limit")
        if self.model.floor.any():
            message += f"; nets of more than {self.model.most} tiles are bounded by that many of them"
        if found.infeasible:
            self.status, self.proof = "infeasible", "prices"
            lp = min(lp, float(self.model.longest))
            value = math.ceil(lp)
            message += "; the prices prove that no routing without overflow exists"
        return Bound(value, lp, "linear relaxation", found.infeasible, self.clock.seconds, memory, message)

    def _plain_bound(self, memory: int, message: str) -> Bound:
        value = metrics.lower_bound(self.problem)
        kind = "Manhattan" if (np.diff(self.model.first) == 2).all() else "half-perimeter"
        return Bound(value, float(value), kind, False, self.clock.seconds, memory, f"{message}; {kind} bound instead")

    @property
    def wirelength(self) -> int | None:
        """Of the best routing so far."""
        return None if self.best is None else sum(len(edges) for edges in self.best)

    def _take(self, routes: list[Longs] | None) -> None:
        if routes is not None and (self.wirelength is None or sum(map(len, routes)) < self.wirelength):
            self.best, self.status = routes, "feasible"
        if self.wirelength == self.bound.value:
            self.status, self.proof = "optimal", "prices"

    def choose(self, seed: int) -> None:
        """Look for the shortest routing among the routes of the relaxation, and among further ones."""
        if self.relaxation is None or self.relaxation.best is None:
            return
        pool, prices = self.relaxation.pool, self.relaxation.best
        if not len(self.model.nets):
            self._take([])
            return
        rng = np.random.default_rng(seed)
        for attempt in range(DIVES + 1):
            if self.status == "optimal" or self.clock.over:
                return
            if attempt:
                self._take(dive(pool, prices, rng, self._part()))
            self._take(choose(pool, prices, self.wirelength, self._part()))
            if self.progress:
                self.progress(1, STAGES, f"bound {self.bound.value}, wirelength {self.wirelength}")

    def _part(self) -> Clock:
        """The clock of a step that must leave time for others."""
        return Clock(CHOICE_SECONDS if self.clock.left == float("inf") else max(self.clock.left / 3, 0.01))

    def finish(self, any_will_do: bool = False) -> None:
        """Close the gap by the flow model, where memory and time allow."""
        prices = self.relaxation.best if self.relaxation else None
        if self.status == "optimal" or self.clock.over or prices is None:
            return
        slack = None if self.wirelength is None else (self.wirelength - 1) * ONE - prices.bound
        moves = _flow_model.allowed_moves(self.model, prices, slack, self.clock)
        memory = _flow_model.entries(self.model, moves) * _flow_model.BYTES_AN_ENTRY
        if memory > self.memory_limit:
            self.status = "refused" if self.best is None else "feasible"
            self.note = f"flow model refused: about {memory:,} bytes needed, memory_limit is {self.memory_limit:,}"
            return
        if self.progress:
            self.progress(2, STAGES, f"flow model, about {memory:,} bytes")
        found = _flow_model.solve(self.model, moves, self.wirelength, self.clock, any_will_do)
        self._take(found.routes)
        if found.complete and self.status != "optimal" and not (any_will_do and self.best):
            self.status = "infeasible" if self.best is None else "optimal"
            self.proof = "branch and bound"

    def solution(self) -> Solution:
        """The best routing so far, or one without routes."""
        edges: list[Any] = [()] * len(self.problem.nets)
        for net, found in zip(self.model.nets.tolist(), self.best or [], strict=False):
            edges[net] = found
        gap = None if self.wirelength is None else self.wirelength - self.bound.value
        optimal = self.status == "optimal"
        info = {
            "router": "exact",
            "seconds": self.clock.seconds,
            "bound": asdict(self.bound),
            "optimal": optimal,
            "status": self.status,
            "proof": self.proof,
            "gap": 0 if optimal else gap,
            "message": self.note or self.bound.message,
        }
        if self.progress:
            self.progress(STAGES, STAGES, f"{self.status}: bound {self.bound.value}, wirelength {self.wirelength}")
        return Solution.of(self.problem, edges, info)


def _memory(problem: Problem, model: Model) -> int:
    """Bytes that the relaxation is expected to take: the labels of the biggest tree, and the routes."""
    biggest = min(int(np.diff(model.first).max(initial=2)), model.most)
    labels = 8 * model.grid.nodes * 2**biggest
    length = metrics.lower_bound(problem) + 2 * len(model.nets)
    return labels + ROUTES_A_NET * (100 * length + 500 * len(model.nets)) + 200 * model.grid.edges
