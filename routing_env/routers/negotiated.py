"""Negotiated congestion: all nets bid for edges until no edge is overfull, then the routing is shortened.

    cost of edge e to net n = 0 where n has a wire already
                              1 + history_e + slope * max(0, used_e + demand_n - capacity_e)  elsewhere (vias: via_cost)

First every net takes its cheapest tree in rounds whose prices follow use minus capacity up and down, the subgradient
of the capacities' multipliers, so that the detours fall to the nets for which they are short. Then only overfull
edges rise until none is left. Then full edges are closed and nets are ripped up and rerouted for length, alone and
in ejection chains. No search before that closes an edge, so every net is always connected.

Source: McMurchie, Ebeling 1995 (PathFinder); Held, Wolfe, Crowder 1974 (subgradients).
Differs: history falls on edges with room to spare; trees are improved by exchanging branches; the last two stages.
"""

from __future__ import annotations

from functools import cache

import numpy as np

from routing_env.grid import Ints, grid_of
from routing_env.problem import Problem
from routing_env.routers._negotiation import UNIT, Negotiation, OutOfTime
from routing_env.routers._protocol import SAMPLE, Clock, Progress
from routing_env.solution import Solution

__all__ = ["route"]

LEGAL_ROUNDS = 300
PATIENCE = 60
"""legalising rounds without a smaller overflow before giving up"""
FEW = 0.01
"""overflow a pin, below which a large problem needs no more rounds of all nets"""
CLEAN_ROUNDS = 10
CHAINS = 512
"""ejection chains a round at most"""
SMALL = 4000
"""pins; what is smaller is started several times"""


def route(
    problem: Problem,
    *,
    seed: int = 0,
    rounds: int = 15,
    time_limit: float | None = None,
    progress: Progress | None = None,
    via_cost: float = 1.0,
    via_capacity: int | None = None,
    starts: int | None = None,
    effort: float = 1.0,
) -> Solution:
    """Route every net without overflow if that can be found, then as short as can be found.

    Args:
        problem: what to route.
        seed: fixes the orders, ties and chains that are drawn at random.
        rounds: rounds of all nets with prices in both directions, before only overfull edges rise.
        time_limit: seconds, those of compiling aside; then the best so far is returned.
        progress: called with (steps done, all, message).
        via_cost: price of a via in planar edges; what is made small is planar length + via_cost * vias.
        via_capacity: wires on one via edge; None for no limit.
        starts: routings begun from other orders of the nets, of which the best is taken; None: 1 to 8, by size.
        effort: factor on the number of ejection chains; 0 for none.

    Returns:
        A solution; ``info`` holds router, seconds, overflow (also of limited vias), rounds (as many as were run),
        starts, stopped, failed (names of nets without a route: their pins cannot be joined, or time ran out).

    Raises:
        ValueError: a number is out of its range.
    """
    clock = Clock(time_limit, _compile)
    for name, value in (("via_cost", via_cost), ("via_capacity", via_capacity or 0), ("effort", effort)):
        if not 0 <= value <= 10**6:
            raise ValueError(f"{name} must lie in 0..1,000,000, got {value}")
    if rounds < 0 or (starts is not None and starts < 1):
        raise ValueError(f"rounds must be at least 0 and starts at least 1, got {rounds} and {starts}")
    work = Negotiation(problem, grid_of(problem), seed, clock, via_cost, via_capacity)
    if starts is None:
        starts = max(1, min(8, SMALL // max(1, len(work.job.wires.pins))))
    steps = _Steps(work, progress, starts * (1 + rounds + LEGAL_ROUNDS) + 2 * CLEAN_ROUNDS)
    stopped = False
    try:
        _run(work, steps, rounds, starts, effort)
    except OutOfTime:
        stopped = True
        work.keep()
    best = work.best
    assert best is not None
    edges = [best.edges[a:b] for a, b in zip(best.first, best.first[1:], strict=False)]
    failed = [problem.nets[net].name for net in sorted(work.order.tolist()) if not len(edges[net])]
    info = {"router": "negotiated", "seconds": clock.seconds, "overflow": best.overflow, "rounds": steps.rounds,
            "starts": starts, "stopped": stopped, "failed": failed}  # fmt: skip
    return Solution.of(problem, edges, info)


@cache
def _compile() -> None:
    """Run every kernel once."""
    work = Negotiation(SAMPLE, grid_of(SAMPLE), 0, Clock(), 1.0, None)
    work.settle(work.order, 0)
    work.legalise(work.order, 0)
    work.clean(work.order)
    work.keep()
    work.go_back()
    work.shortest[:] = 0  # every net counts as too long
    work.escape(1)


class _Steps:
    """Counts steps and reports them."""

    def __init__(self, work: Negotiation, progress: Progress | None, total: int) -> None:
        self.work, self.progress, self.total = work, progress, total
        self.done = self.rounds = 0

    def __call__(self, stage: str, done: int | None = None) -> None:
        self.done = self.done + 1 if done is None else done
        self.rounds += done is None
        if self.progress is not None and self.work.best is not None:
            best = self.work.best
            message = f"{stage}: overflow {self.work.overflow}; best {best.overflow}, length {best.length / UNIT:g}"
            self.progress(min(self.done, self.total), self.total, message)


def _run(work: Negotiation, steps: _Steps, rounds: int, starts: int, effort: float) -> None:
    for start in range(starts):
        work.clear()
        work.history[:] = 0
        work.price[:] = work.base
        order = work.order if start == 0 else work.random.permutation(work.order)
        _negotiate(work, steps, order, rounds)
        steps("start ended", (start + 1) * (1 + rounds + LEGAL_ROUNDS))
    work.go_back()
    if work.overflow == 0:
        _shorten(work, steps, effort)
    steps("routed", steps.total)


def _negotiate(work: Negotiation, steps: _Steps, order: Ints, rounds: int) -> None:
    for number in range(rounds + 1):
        work.settle(order, number)
        work.keep()
        steps("settling")
        few = len(work.job.wires.pins) > SMALL and work.overflow < FEW * len(work.job.wires.pins)
        if few or (work.overflow == 0 and not work.history.any()):
            break
    least, since = work.overflow, 0
    for number in range(LEGAL_ROUNDS):
        if work.overflow == 0 or since == PATIENCE:
            break
        work.legalise(order, number)
        work.keep()
        steps("legalising")
        least, since = (work.overflow, 0) if work.overflow < least else (least, since + 1)
    if work.overflow == 0:
        for _ in range(3):
            work.clean(order)
            work.keep()
            steps("cleaning")


def _shorten(work: Negotiation, steps: _Steps, effort: float) -> None:
    """Clean and escape by turns until neither gains."""
    for _ in range(CLEAN_ROUNDS):
        before = work.best.length if work.best is not None else 0
        work.clean(work.random.permutation(work.order))
        work.keep()
        steps("cleaning")
        lengths = work.lengths()
        number = int((lengths[work.order] > work.shortest[work.order]).sum())
        work.escape(round(effort * min(2 * number, CHAINS)))
        work.keep()
        steps("escaping")
        if work.best is not None and work.best.length > before - np.int64(UNIT) * max(1, before // UNIT // 10000):
            break
