"""Rounds of negotiation: rip up and reroute nets one after the other at prices that everyone sees."""

from __future__ import annotations

import numpy as np
from numba import njit

from routing_env.grid import Ints
from routing_env.routers._search import ANY, Longs, Prices
from routing_env.routers._trees import Job, cost_of, grow, mark, refine
from routing_env.routers._wires import lay, rip

__all__ = ["overfull", "reroute", "sweep"]


@njit(cache=True)
def overfull(job: Job, room: Ints, net: int) -> bool:
    """Whether a wire of the net lies on an edge beyond its capacity."""
    entry = job.wires.head[net]
    while entry >= 0:
        if room[job.wires.edge[entry]] < 0:
            return True
        entry = job.wires.along[entry]
    return False


@njit(cache=True)
def best_tree(job: Job, prices: Prices, net: int, olds: int, start: int, limit: int) -> int:
    """The cheaper of a grown tree and the improved old one, in ``desk.tree`` and unmarked; -1 for none."""
    desk = job.desk
    two_pins = job.wires.pin_first[net + 1] - job.wires.pin_first[net] == 2
    count = grow(job, prices, net, start, limit)
    if two_pins:
        mark(prices, desk.tree[: max(count, 0)], -1)
        return count
    grown = np.int64(ANY)
    if count >= 0:
        count, _ = refine(job, prices, net, count)
        mark(prices, desk.tree[:count], -1)
        grown = cost_of(job, prices, net, desk.tree[:count])
    if olds == 0:
        return count
    fresh = desk.tree[: max(count, 0)].copy()
    desk.tree[:olds] = desk.old[:olds]
    mark(prices, desk.tree[:olds], net)
    kept, _ = refine(job, prices, net, olds)
    mark(prices, desk.tree[:kept], -1)
    if grown < cost_of(job, prices, net, desk.tree[:kept]):
        desk.tree[:count] = fresh
        return count
    return kept


@njit(cache=True)
def reroute(job: Job, prices: Prices, net: int, start: int) -> None:
    """Rip up a net and lay its cheapest tree found; what cannot be joined keeps its old wires."""
    desk = job.desk
    olds = rip(job.wires, prices.room, job.layer_edges, net, desk.old)
    count = best_tree(job, prices, net, olds, start, ANY)
    if count < 0:
        lay(job.wires, prices.room, job.layer_edges, net, desk.old[:olds])
    else:
        lay(job.wires, prices.room, job.layer_edges, net, desk.tree[:count])


@njit(cache=True)
def sweep(job: Job, prices: Prices, order: Ints, first: int, last: int, only_overfull: bool, turn: int) -> int:
    """Reroute the nets of ``order[first:last]``, or those of them with overfull edges.

    Returns:
        The index after the last net looked at; less than ``last`` when entries run short.
    """
    for i in range(first, last):
        net = order[i]
        if job.wires.free[1] < len(job.board.neighbour):
            return i
        if only_overfull and not overfull(job, prices.room, net):
            continue
        pins = job.wires.pin_first[net + 1] - job.wires.pin_first[net]
        reroute(job, prices, net, turn % pins)
    return last


@njit(cache=True)
def lengths(job: Job, unit: int, via: int, total: Longs) -> None:
    """Write what each net's wires would cost on an empty grid."""
    for net in range(len(total)):
        total[net] = 0
        entry = job.wires.head[net]
        while entry >= 0:
            total[net] += via if job.wires.edge[entry] % 3 == 2 else unit
            entry = job.wires.along[entry]
