"""One net's tree at given prices: grown pin by pin, then improved branch by branch.

    grow    from the wires so far to the cheapest pin not reached
    refine  take out a branch (a path between pins or forks) and join the two halves by the cheapest path between any
            two of their tiles, until no branch gets cheaper

Refining finds forks (Steiner points) by itself: the cheapest path may start and end anywhere on the halves.

Source: key-path exchange, Verhoeven, Severens, Aarts 1996.
Differs: on priced grid edges with room, the searches are A* between the halves.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from routing_env._kernel import kernel
from routing_env.grid import Ints
from routing_env.routers._search import Board, Longs, Prices, Scratch, search, trace
from routing_env.routers._wires import Wires, charge

__all__ = ["Desk", "Job", "cost_of", "desk_of", "grow", "mark", "refine"]


CLOSED = 2**30
"""price of a closed edge that a tree holds already"""


class Desk(NamedTuple):
    """Work space for one tree."""

    tree: Ints  # edges of the tree being made
    branch: Ints  # edges between two keys
    spare: Ints  # edges of another tree
    old: Ints  # edges of the net's tree before
    walk: Ints  # nodes of a path
    one: Ints  # nodes of a half
    two: Ints
    pin: Ints  # (nodes,): the net whose pin the node is, when last marked
    visit: Longs  # (nodes,): stamp of the last flood
    place: Ints  # (edges,): where the edge stands in ``tree``
    tried: Longs  # (edges,): stamp of the last refinement that tried it
    stamp: Longs  # (1,)


class Job(NamedTuple):
    """All that a tree is made with."""

    board: Board
    scratch: Scratch
    desk: Desk
    wires: Wires
    layer_edges: int  # edges of one layer


def desk_of(nodes: int) -> Desk:
    """Work space on a grid of that many nodes."""
    ints = np.full((6, nodes), -1, np.int32)
    edges = np.empty((4, 3 * nodes), np.int32)
    return Desk(edges[0], edges[1], edges[2], edges[3], ints[0], ints[1], ints[2], ints[3],
                np.zeros(nodes, np.int64), np.empty(3 * nodes, np.int32), np.zeros(3 * nodes, np.int64),
                np.zeros(1, np.int64))  # fmt: skip


@kernel
def mark(prices: Prices, edges: Ints, net: int) -> None:
    """Write the net as owner of edges; -1 wipes the mark."""
    for edge in edges:
        prices.owner[edge] = net


@kernel
def cost_of(job: Job, prices: Prices, net: int, edges: Ints) -> int:
    """What edges without wires of the net would cost it now, closed ones at ``CLOSED``."""
    total = 0
    for edge in edges:
        missing = charge(job.wires, job.layer_edges, net, edge) - prices.room[edge]
        total += int(prices.price[edge])
        if missing > 0:
            total += prices.full + prices.slope * int(missing) if prices.full >= 0 else CLOSED
    return total


@kernel
def _take(job: Job, prices: Prices, net: int, found: int, count: int) -> tuple[int, int]:
    """Add the path to ``found`` to the tree, marked; return the number of edges and of the path's nodes."""
    desk, came = job.desk, job.scratch.came
    steps = trace(job.board, job.scratch, found, desk.walk)
    for i in range(steps - 1):
        a, b = desk.walk[i], desk.walk[i + 1]  # ``came`` of a is the move from b to a
        edge = 3 * min(a, b) + (came[a] >> 1)
        desk.tree[count] = edge
        desk.place[edge] = count
        prices.owner[edge] = net
        count += 1
    return count, steps


@kernel
def _join(job: Job, prices: Prices, net: int, sources: Ints, targets: Ints, limit: int) -> int:
    need = job.wires.need[net]
    return int(search(job.board, job.scratch, prices, net, need, sources, targets, job.board.whole, limit))


@kernel
def grow(job: Job, prices: Prices, net: int, start: int, limit: int) -> int:
    """Grow a tree from pin number ``start`` of the net; its edges are marked and stand in ``desk.tree``.

    Returns:
        The number of edges; -1, nothing marked, where the pins cannot be joined within ``limit``.
    """
    wires, desk = job.wires, job.desk
    pins = wires.pins[wires.pin_first[net] : wires.pin_first[net + 1]]
    missing = len(pins) - 1
    for i in range(len(pins)):
        desk.two[i] = pins[i]
    desk.one[0], desk.two[start] = pins[start], pins[missing]
    nodes, count = 1, 0
    while missing:
        found = _join(job, prices, net, desk.one[:nodes], desk.two[:missing], limit)
        if found < 0:
            mark(prices, desk.tree[:count], -1)
            return -1
        limit -= job.scratch.g[found]
        count, steps = _take(job, prices, net, found, count)
        for i in range(steps - 1):
            desk.one[nodes + i] = desk.walk[i]
        nodes += steps - 1
        kept = 0
        for i in range(missing):
            if desk.two[i] != found:
                desk.two[kept] = desk.two[i]
                kept += 1
        missing = kept
    return count


@kernel
def _own_moves(board: Board, prices: Prices, net: int, node: int) -> tuple[int, int]:
    """How many of the tree's edges meet at a node, and their moves as bits."""
    count, bits = 0, 0
    for move in range(6):
        after = board.neighbour[node, move]
        if after >= 0 and prices.owner[3 * min(node, after) + (move >> 1)] == net:
            count += 1
            bits |= 1 << move
    return count, bits


@kernel
def _to_key(board: Board, prices: Prices, desk: Desk, net: int, node: int, edge: int, branch: Ints, size: int,
            ) -> tuple[int, int]:  # fmt: skip
    """Follow a branch that enters ``node`` over ``edge`` up to a pin or fork; return it and the edges in ``branch``."""
    while desk.pin[node] != net:
        count, bits = _own_moves(board, prices, net, node)
        if count != 2:
            break
        for move in range(6):
            if bits >> move & 1:
                after = 0 + board.neighbour[node, move]
                way = 3 * min(node, after) + (move >> 1)
                if way != edge:
                    node, edge = after, way
                    break
        branch[size] = edge
        size += 1
    return node, size


@kernel
def _flood(board: Board, prices: Prices, desk: Desk, net: int, start: int, half: Ints) -> int:
    """Write all nodes that the tree joins to ``start``; return their number."""
    desk.stamp[0] += 1
    stamp = desk.stamp[0]
    desk.visit[start] = stamp
    half[0] = start
    size, done = 1, 0
    while done < size:
        node = half[done]
        done += 1
        for move in range(6):
            after = board.neighbour[node, move]
            if after >= 0 and desk.visit[after] != stamp and prices.owner[3 * min(node, after) + (move >> 1)] == net:
                desk.visit[after] = stamp
                half[size] = after
                size += 1
    return size


@kernel
def _drop(prices: Prices, desk: Desk, edge: int, count: int) -> int:
    last = desk.tree[count - 1]
    at = desk.place[edge]
    desk.tree[at] = last
    desk.place[last] = at
    prices.owner[edge] = -1
    return count - 1


@kernel
def _put(prices: Prices, desk: Desk, net: int, edges: Ints, count: int) -> int:
    for edge in edges:
        desk.tree[count] = edge
        desk.place[edge] = count
        prices.owner[edge] = net
        count += 1
    return count


@kernel
def _prepare(job: Job, net: int, count: int, only: int) -> int:
    """Mark pins, places and, but for ``only``, edges not to be tried; return the stamp of tried edges."""
    desk, wires = job.desk, job.wires
    for i in range(wires.pin_first[net], wires.pin_first[net + 1]):
        desk.pin[wires.pins[i]] = net
    desk.stamp[0] += 1
    for i in range(count):
        desk.place[desk.tree[i]] = i
        if only >= 0 and desk.tree[i] != only:
            desk.tried[desk.tree[i]] = desk.stamp[0]
    return int(desk.stamp[0])


@kernel
def refine(job: Job, prices: Prices, net: int, count: int, only: int) -> tuple[int, int]:
    """Exchange branches of the marked tree in ``desk.tree`` until each has been tried; return (edges, cost saved).

    With ``only``, an edge of the tree, nothing but its branch is tried; -1 for all.
    """
    board, desk = job.board, job.desk
    round_stamp = _prepare(job, net, count, only)
    saved = 0
    branch = desk.branch
    i = 0
    while i < count:
        edge = 0 + desk.tree[i]  # 64 bits, so that callees are compiled once
        if desk.tried[edge] == round_stamp:
            i += 1
            continue
        low = edge // 3
        high = 0 + board.neighbour[low, 2 * (edge % 3)]
        branch[0] = edge
        a, size = _to_key(board, prices, desk, net, low, edge, branch, 1)
        b, size = _to_key(board, prices, desk, net, high, edge, branch, size)
        for k in range(size):
            i = min(i, desk.place[branch[k]])
            count = _drop(prices, desk, branch[k], count)
        old = cost_of(job, prices, net, branch[:size])
        ones = _flood(board, prices, desk, net, a, desk.one)
        twos = _flood(board, prices, desk, net, b, desk.two)
        if ones >= twos:
            found = _join(job, prices, net, desk.one[:ones], desk.two[:twos], old)
        else:
            found = _join(job, prices, net, desk.two[:twos], desk.one[:ones], old)
        first = count
        if found < 0:  # the branch itself is closed: it stays
            count = _put(prices, desk, net, branch[:size], count)
        else:
            count, _ = _take(job, prices, net, found, count)
            saved += old - int(job.scratch.g[found])
        for k in range(first, count):
            desk.tried[desk.tree[k]] = round_stamp
    return count, saved
