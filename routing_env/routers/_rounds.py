"""Rounds of negotiation: rip up and reroute nets one after the other at prices that everyone sees."""

from __future__ import annotations

from routing_env._kernel import kernel
from routing_env.grid import Ints
from routing_env.routers._search import ANY, Longs, Prices
from routing_env.routers._trees import Job, cost_of, grow, mark, refine
from routing_env.routers._wires import lay, rip

__all__ = ["overfull", "reroute", "sweep"]


@kernel
def overfull(job: Job, room: Ints, net: int) -> bool:
    """Whether a wire of the net lies on an edge beyond its capacity."""
    entry = job.wires.head[net]
    while entry >= 0:
        if room[job.wires.edge[entry]] < 0:
            return True
        entry = job.wires.along[entry]
    return False


@kernel
def best_tree(job: Job, prices: Prices, net: int, olds: int, start: int, both: bool, only: int) -> int:
    """The improved old tree (its ``olds`` edges are in ``desk.old``) or, if ``both``, a grown one where it is cheaper.

    With ``only``, an edge, nothing but its branch of the old tree is improved; -1 for all of the tree.

    Without old edges, and for two pins, the tree is grown.

    Returns:
        The number of edges, which stand unmarked in ``desk.tree``; -1 where the pins cannot be joined.
    """
    desk = job.desk
    if job.wires.pin_first[net + 1] - job.wires.pin_first[net] == 2:
        count = grow(job, prices, net, start, ANY)
        mark(prices, desk.tree[: max(count, 0)], -1)
        return count
    count, cost = -1, ANY
    if both or olds == 0:
        count = grow(job, prices, net, start, ANY)
    if count >= 0:
        count, _ = refine(job, prices, net, count, -1)
        mark(prices, desk.tree[:count], -1)
        cost = cost_of(job, prices, net, desk.tree[:count])
    if olds == 0:
        return count
    desk.spare[: max(count, 0)] = desk.tree[: max(count, 0)]
    desk.tree[:olds] = desk.old[:olds]
    mark(prices, desk.tree[:olds], net)
    kept, _ = refine(job, prices, net, olds, only)
    mark(prices, desk.tree[:kept], -1)
    if cost < cost_of(job, prices, net, desk.tree[:kept]):
        desk.tree[:count] = desk.spare[:count]
        return count
    return kept


@kernel
def reroute(job: Job, prices: Prices, net: int, start: int, both: bool) -> None:
    """Rip up a net and lay its cheapest tree found; what cannot be joined keeps its old wires."""
    desk = job.desk
    olds = rip(job.wires, prices.room, job.layer_edges, net, desk.old)
    count = best_tree(job, prices, net, olds, start, both, -1)
    if count < 0:
        lay(job.wires, prices.room, job.layer_edges, net, desk.old[:olds])
    else:
        lay(job.wires, prices.room, job.layer_edges, net, desk.tree[:count])


@kernel
def sweep(job: Job, prices: Prices, order: Ints, first: int, last: int, only_overfull: bool, turn: int) -> int:
    """Reroute the nets of ``order[first:last]``, or those of them with overfull edges; grown trees on even turns.

    Returns:
        The index after the last net looked at; less than ``last`` when entries run short.
    """
    for i in range(first, last):
        net = 0 + order[i]  # 64 bits from here on, so that callees are compiled once
        if job.wires.free[1] < len(job.board.neighbour):
            return i
        if only_overfull and not overfull(job, prices.room, net):
            continue
        pins = job.wires.pin_first[net + 1] - job.wires.pin_first[net]
        reroute(job, prices, net, turn % pins, turn % 2 == 0)
    return last


@kernel
def lengths(job: Job, unit: int, via: int, total: Longs) -> None:
    """Write what each net's wires would cost on an empty grid."""
    for net in range(len(total)):
        total[net] = 0
        entry = job.wires.head[net]
        while entry >= 0:
            total[net] += via if job.wires.edge[entry] % 3 == 2 else unit
            entry = job.wires.along[entry]
