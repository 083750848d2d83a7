"""The state of a negotiation and its stages; ``negotiated`` puts them in order.

price of edge e = base + history_e,   and ``slope`` more for each unit of room that a wire lacks there

settle    history += step * clip((used - capacity) / demand, -2, 4) after each round of all nets, never below 0
legalise  history += step * overflow, slope rising, only nets on overfull edges
clean     full edges closed, ties drawn at random: a net moves to what is not longer
escape    ejection chains from nets that are longer than they have ever been seen
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from routing_env.decompose import net_order
from routing_env.grid import NO_LIMIT, Grid, Ints
from routing_env.metrics import lower_bound
from routing_env.problem import Problem
from routing_env.routers._escape import log_of, trials
from routing_env.routers._protocol import Clock
from routing_env.routers._rounds import lengths, sweep
from routing_env.routers._search import Longs, Prices, board_of, scratch_of
from routing_env.routers._trees import Job, desk_of
from routing_env.routers._wires import lay, rip, routes, wider, wires_of

__all__ = ["Kept", "Negotiation", "OutOfTime"]

UNIT = 1 << 12
"""price of a planar edge; history and ties are finer than that"""
CHUNK = 512
"""nets between two looks at the clock"""
SETTLE_STEP = 0.05
SETTLE_SLOPE = 0.5
LEGAL_STEP = 0.1
TIES = 1 << 7
BATCH = 64
"""chains between two looks at the clock"""


class OutOfTime(Exception):
    """The time limit has passed."""


class Kept(NamedTuple):
    """A routing set aside; the smaller, the better."""

    missing: int  # pins' nets without wires
    overflow: int  # units
    length: int  # in prices
    first: Longs  # (nets + 1,)
    edges: Ints


class Negotiation:
    """Wires on a grid, prices, and the best routing so far."""

    def __init__(
        self, problem: Problem, grid: Grid, seed: int, clock: Clock, via_cost: float, via_capacity: int | None
    ) -> None:
        """No wires yet."""
        self.clock, self.grid = clock, grid
        self.random = np.random.default_rng(seed)
        self.via = round(via_cost * UNIT)
        self.capacity = grid.capacity.copy()
        self.capacity[2::3] = NO_LIMIT if via_capacity is None else via_capacity
        self.room = self.capacity.copy()
        self.base = np.full(grid.edges, UNIT, np.int32)
        self.base[2::3] = self.via
        self.price = self.base.copy()
        self.owner = np.full(grid.edges, -1, np.int32)
        self.history = np.zeros(grid.edges)
        self.demand = max(int(grid.demand.min(initial=NO_LIMIT)), 1)
        self.order = np.array(net_order(problem), np.int32)
        wires = wires_of(problem, grid, 2 * lower_bound(problem) + 4 * grid.nodes + 64)
        self.job = Job(board_of(grid), scratch_of(grid.nodes), desk_of(grid.nodes), wires,
                       3 * grid.shape[0] * grid.shape[1])  # fmt: skip
        self.log = log_of(len(problem.nets), grid.nodes, seed)
        self.shortest = np.full(len(problem.nets), np.iinfo(np.int64).max)
        self.turn = 0
        self.best: Kept | None = None

    @property
    def overflow(self) -> int:
        """Units beyond capacity, on all edges."""
        return int(np.maximum(-self.room, 0).sum(dtype=np.int64))

    def lengths(self) -> Longs:
        """(nets,): price of each net's wires on an empty grid; kept in mind is the least ever seen."""
        total = np.zeros(len(self.shortest), np.int64)
        lengths(self.job, UNIT, self.via, total)
        laid = total > 0
        self.shortest[laid] = np.minimum(self.shortest[laid], total[laid])
        return total

    def keep(self) -> bool:
        """Set the routing aside if it is better than the best so far; return whether it is."""
        missing = int((self.job.wires.head[self.order] < 0).sum())
        now = (missing, self.overflow, int(self.lengths().sum()))
        if self.best is not None and now >= self.best[:3]:
            return False
        self.best = Kept(*now, *routes(self.job.wires))
        return True

    def go_back(self) -> None:
        """Lay the best routing so far."""
        assert self.best is not None
        self.clear()
        wires = self._space(len(self.best.edges))
        for net in self.order.tolist():
            edges = self.best.edges[self.best.first[net] : self.best.first[net + 1]]
            lay(wires, self.room, self.job.layer_edges, net, edges)

    def clear(self) -> None:
        """Take up all wires."""
        for net in self.order.tolist():
            rip(self.job.wires, self.room, self.job.layer_edges, net, self.job.desk.old)

    def settle(self, order: Ints, number: int) -> None:
        """One round of all nets; the ``number``-th adjusts prices by a step that shrinks."""
        if number:
            step = SETTLE_STEP * UNIT / (1 + (number - 1) / 10)
            self._adjust(step * np.clip(self.room / -self.demand, -2, 4))
        self._sweep(order, SETTLE_SLOPE if number else LEGAL_STEP, False)
        self.lengths()

    def legalise(self, order: Ints, number: int) -> None:
        """One round of the nets on overfull edges."""
        self._adjust(LEGAL_STEP * UNIT * (1 + number / 40) * np.clip(self.room / -self.demand, 0, 4))
        self._sweep(order, 1 + 0.3 * number, True)

    def clean(self, order: Ints) -> None:
        """One round of all nets with full edges closed."""
        self._break_ties()
        self._sweep(order, -1, False)

    def escape(self, number: int) -> int:
        """That many ejection chains; return by how much they shortened the routing."""
        lengths = self.lengths()
        long = self.order[lengths[self.order] > self.shortest[self.order]]
        if not len(long):
            return 0
        self._break_ties()
        gained = 0
        for done in range(0, number, BATCH):
            if self.clock.over:
                raise OutOfTime
            self._space(2 * self.grid.nodes)
            gained -= trials(self.job, self._prices(0, 0), self.log, long, min(BATCH, number - done))
        return gained

    def _adjust(self, change: np.ndarray) -> None:
        np.clip(self.history + change, 0, 2**28, out=self.history)
        self.price[:] = self.base + self.history.astype(np.int32)

    def _break_ties(self) -> None:
        """Between ways of one length: away from edges that were wanted, then at random."""
        wanted = np.minimum(self.history / 64, TIES).astype(np.int32)
        self.price[:] = self.base + wanted + self.random.integers(0, TIES, len(wanted), dtype=np.int32)

    def _prices(self, full: int, slope: int) -> Prices:
        return Prices(self.price, self.room, self.owner, full, slope, 0, UNIT, self.via)

    def _space(self, entries: int):  # type: ignore[no-untyped-def]
        while self.job.wires.free[1] < entries:
            self.job = self.job._replace(wires=wider(self.job.wires))
        return self.job.wires

    def _sweep(self, order: Ints, slope: float, only_overfull: bool) -> None:
        """Reroute nets; ``slope`` in edge lengths for each wire too many, negative: full edges are closed."""
        closed = slope < 0
        prices = self._prices(-1 if closed else 0, 0 if closed else max(1, round(slope * UNIT / self.demand)))
        at = 0
        while at < len(order):
            if self.clock.over:
                raise OutOfTime
            self._space(self.grid.nodes)
            at = sweep(self.job, prices, order, at, min(at + CHUNK, len(order)), only_overfull, self.turn)
        self.turn += 1
