"""Ejection chains: a net takes a shorter way over full edges, those it drives out look for others; kept if no longer.

    trial   net n moves at ``full`` a full edge; while an edge is overfull: of some nets on it the one that leaves at
            the least loss moves, and the edge's price rises for the rest of the trial
    keep    no edge overfull and the total length not larger; else every net gets its old wires back

Source: ejection chains, Glover 1996; negotiation inside a trial as in PathFinder, McMurchie and Ebeling 1995.
Differs: the chain is driven by congestion prices that live for one trial.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from routing_env._kernel import kernel
from routing_env.grid import Ints
from routing_env.routers._rounds import best_tree
from routing_env.routers._search import ANY, Longs, Prices
from routing_env.routers._trees import Job, cost_of
from routing_env.routers._wires import lay, rip

__all__ = ["Log", "log_of", "trials"]

STEPS = 24
"""moves of a chain before it is given up"""
CANDIDATES = 4
"""nets on an overfull edge that are looked at"""


class Log(NamedTuple):
    """What a trial changed, to take it back."""

    nets: Ints  # nets moved, in order
    first: Longs  # where a moved net's old edges begin in ``edges``
    edges: Ints
    touched: Longs  # (nets,): the last trial that moved the net
    overfull: Ints  # edges to look at
    raised: Ints  # edges whose price was raised
    by: Ints  # by how much
    best: Ints  # edges of the best candidate's tree
    random: NDArray[np.uint64]  # (1,): state of the generator
    tally: Longs  # (4,): trial number, nets moved, edges waiting, edges raised


def log_of(nets: int, nodes: int, seed: int) -> Log:
    """An empty log; the seed fixes all choices."""
    state = np.random.default_rng(seed).integers(1, 2**63, 1, dtype=np.uint64)
    size = 3 * nodes + 1
    return Log(np.empty(STEPS + 2, np.int32), np.zeros(STEPS + 3, np.int64), np.empty(8 * size, np.int32),
               np.zeros(nets, np.int64), np.empty((STEPS + 2) * size if nodes < 10**5 else 4 * size, np.int32),
               np.empty(STEPS + 2, np.int32), np.empty(STEPS + 2, np.int32), np.empty(size, np.int32), state,
               np.zeros(4, np.int64))  # fmt: skip


@kernel
def draw(log: Log, below: int) -> int:
    """A random number in 0..below - 1 (xorshift)."""
    x = log.random[0]
    x ^= x << np.uint64(13)
    x ^= x >> np.uint64(7)
    x ^= x << np.uint64(17)
    log.random[0] = x
    return int(x >> np.uint64(20)) % below


@kernel
def _length(edges: Ints, unit: int, via: int) -> int:
    total = 0
    for edge in edges:
        total += via if edge % 3 == 2 else unit
    return total


@kernel
def _propose(job: Job, prices: Prices, log: Log, net: int, only: int) -> tuple[int, int]:
    """A better tree of the net in ``desk.tree`` while its wires stay; return its edges and what it saves.

    With ``only``, an edge of the net, nothing but its branch moves; -1 for all.
    """
    desk = job.desk
    pins = job.wires.pin_first[net + 1] - job.wires.pin_first[net]
    olds = rip(job.wires, prices.room, job.layer_edges, net, desk.old)
    old = cost_of(job, prices, net, desk.old[:olds])
    count = best_tree(job, prices, net, olds, draw(log, pins), only < 0, only)
    saved = -ANY
    if count >= 0:
        saved = old - cost_of(job, prices, net, desk.tree[:count])
    lay(job.wires, prices.room, job.layer_edges, net, desk.old[:olds])
    return count, saved


@kernel
def _move(job: Job, prices: Prices, log: Log, net: int, tree: Ints) -> int:
    """Give the net other wires, logged; return the change of length. -2**60: no space, nothing done."""
    desk, count = job.desk, log.tally
    olds = rip(job.wires, prices.room, job.layer_edges, net, desk.old)
    first = log.first[count[1]]
    new = log.touched[net] != count[0]
    fits = not new or first + olds <= len(log.edges)
    if not fits or job.wires.free[1] < len(tree) or count[2] + len(tree) > len(log.overfull):
        lay(job.wires, prices.room, job.layer_edges, net, desk.old[:olds])
        return -(2**60)
    if new:
        log.touched[net] = count[0]
        log.nets[count[1]] = net
        log.edges[first : first + olds] = desk.old[:olds]
        log.first[count[1] + 1] = first + olds
        count[1] += 1
    lay(job.wires, prices.room, job.layer_edges, net, tree)
    for edge in tree:
        if prices.room[edge] < 0:
            log.overfull[count[2]] = edge
            count[2] += 1
    return _length(tree, prices.unit, prices.via) - _length(desk.old[:olds], prices.unit, prices.via)


@kernel
def _eject(job: Job, prices: Prices, log: Log, edge: int, mover: int) -> tuple[int, int]:
    """The net on the edge that leaves it at the least loss, and the number of edges of its new tree in ``log.best``."""
    users = 0
    entry = job.wires.users[edge]
    while entry >= 0:
        users += 1
        entry = job.wires.after[entry]
    # nets are laid and ripped while we look, which reorders the edge's list: choose first
    chosen = np.full(CANDIDATES, -1, np.int64)
    left = CANDIDATES
    entry = job.wires.users[edge]
    while entry >= 0:
        if job.wires.holder[entry] != mover and draw(log, users) < left:
            left -= 1
            chosen[left] = job.wires.holder[entry]
        users -= 1
        entry = job.wires.after[entry]
    best, best_saved, size = -1, -ANY, 0
    for net in chosen[left:]:
        count, saved = _propose(job, prices, log, net, edge)
        if count >= 0 and saved > best_saved:
            best, best_saved, size = int(net), saved, count
            log.best[:count] = job.desk.tree[:count]
    return best, size


@kernel
def _take_back(job: Job, prices: Prices, log: Log) -> None:
    moved = log.tally[1]
    for i in range(moved):
        rip(job.wires, prices.room, job.layer_edges, 0 + log.nets[i], job.desk.old)
    for i in range(moved):
        lay(job.wires, prices.room, job.layer_edges, 0 + log.nets[i], log.edges[log.first[i] : log.first[i + 1]])


@kernel
def _trial(job: Job, prices: Prices, log: Log, net: int, first_full: int, later_full: int, slack: int) -> int:
    """One chain from a net; return the change of length, 0 when taken back."""
    count = log.tally
    count[0] += 1
    count[1:] = 0
    easy = Prices(prices.price, prices.room, prices.owner, first_full, 0, 0, prices.unit, prices.via)
    hard = Prices(prices.price, prices.room, prices.owner, later_full, 0, 0, prices.unit, prices.via)
    size, _ = _propose(job, easy, log, net, -1)
    log.best[: max(size, 0)] = job.desk.tree[: max(size, 0)]
    change, failed, steps = 0, size < 0, 0
    if not failed:
        change = _move(job, easy, log, net, log.best[:size])
        failed = change <= -(2**60)
    while not failed and count[2] > 0:
        edge = 0 + log.overfull[count[2] - 1]
        if prices.room[edge] >= 0:
            count[2] -= 1
            continue
        steps += 1
        net, size = _eject(job, hard, log, edge, net)
        if net < 0 or steps > STEPS or change > slack:
            failed = True
            break
        rise = prices.unit // 2
        prices.price[edge] += rise
        log.raised[count[3]], log.by[count[3]] = edge, rise
        count[3] += 1
        step = _move(job, hard, log, net, log.best[:size])
        change += step
        failed = step <= -(2**60)
    for i in range(count[3]):
        prices.price[log.raised[i]] -= log.by[i]
    if failed or change > 0:
        _take_back(job, prices, log)
        return 0
    return change


@kernel
def trials(job: Job, prices: Prices, log: Log, nets: Ints, number: int) -> int:
    """Chains from randomly drawn nets; return the change of the total length (never positive)."""
    total = 0
    for _ in range(number):
        net = 0 + nets[draw(log, len(nets))]
        first_full = prices.unit * (1 + draw(log, 8)) // 4
        later_full = prices.unit * (4 + draw(log, 13)) // 4
        total += _trial(job, prices, log, net, first_full, later_full, 4 * prices.unit)
    return total
