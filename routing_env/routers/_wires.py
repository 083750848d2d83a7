"""The wires of all nets as linked lists: those of a net, and those on an edge, laid and ripped in constant time each.

An entry is one edge of one net. It stands in two lists: singly linked ``along`` its net, doubly linked ``after`` and
``before`` the others on its edge. Free entries are linked ``along`` too.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from routing_env._kernel import kernel
from routing_env.grid import Grid, Ints
from routing_env.problem import Problem
from routing_env.routers._search import Longs
from routing_env.solution import needs_route

__all__ = ["Wires", "charge", "lay", "rip", "routes", "wider", "wires_of"]


class Wires(NamedTuple):
    """Nets, their pins and their wires."""

    pin_first: Longs  # (nets + 1,): where the net's pins begin in ``pins``; none for a net that needs no route
    pins: Ints  # nodes
    need: Ints  # (nets, layers + 1): room that a wire takes of a planar edge of each layer; last, of a via
    head: Ints  # (nets,): first entry of the net, -1 without wires
    users: Ints  # (edges,): first entry of the edge
    edge: Ints  # (entries,)
    holder: Ints  # (entries,): the net
    along: Ints  # (entries,): next entry of the net
    after: Ints  # (entries,): next entry of the edge
    before: Ints  # (entries,): previous entry of the edge
    free: Longs  # (2,): first free entry, number of free ones


def wires_of(problem: Problem, grid: Grid, entries: int) -> Wires:
    """No wires yet, and room for that many."""
    pins = [[grid.node(tile) for tile in problem.tiles(net)] if needs_route(problem, net) else []
            for net in problem.nets]  # fmt: skip
    need = np.hstack([grid.demand, np.ones((len(pins), 1), np.int32)])
    first = np.concatenate([[0], np.cumsum([len(net) for net in pins])]).astype(np.int64)
    flat = np.array([node for net in pins for node in net], np.int32)
    table = np.full((5, entries), -1, np.int32)
    table[2] = np.arange(1, entries + 1)
    return Wires(first, flat, need, np.full(len(pins), -1, np.int32), np.full(grid.edges, -1, np.int32),
                 table[0], table[1], table[2], table[3], table[4], np.array([0, entries], np.int64))  # fmt: skip


def wider(wires: Wires) -> Wires:
    """The same wires with room for twice as many."""
    entries = len(wires.edge)
    more = np.full((5, 2 * entries), -1, np.int32)
    for row, old in zip(more, (wires.edge, wires.holder, wires.along, wires.after, wires.before), strict=True):
        row[:entries] = old
    more[2, entries:] = np.arange(entries + 1, 2 * entries + 1)
    more[2, -1] = wires.free[0]
    edge, holder, along, after, before = more
    free = np.array([entries, wires.free[1] + entries], np.int64)
    return wires._replace(edge=edge, holder=holder, along=along, after=after, before=before, free=free)


def routes(wires: Wires) -> tuple[Longs, Ints]:
    """Where each net's edges begin (nets + 1,), and all edges."""
    sizes, edges = _routes(wires)
    return np.concatenate([[0], np.cumsum(sizes)]), edges


@kernel
def _routes(wires: Wires) -> tuple[Longs, Ints]:
    sizes = np.zeros(len(wires.head), np.int64)
    edges = np.empty(len(wires.edge) - wires.free[1], np.int32)
    filled = 0
    for net in range(len(wires.head)):
        entry = wires.head[net]
        while entry >= 0:
            edges[filled] = wires.edge[entry]
            filled += 1
            sizes[net] += 1
            entry = wires.along[entry]
    return sizes, edges


@kernel
def charge(wires: Wires, layer_edges: int, net: int, edge: int) -> int:
    """Room that a wire of the net takes of an edge; ``layer_edges`` is the number of edges of a layer."""
    return wires.need[net, -1] if edge % 3 == 2 else wires.need[net, edge // layer_edges]


@kernel
def lay(wires: Wires, room: Ints, layer_edges: int, net: int, edges: Ints) -> None:
    """Lay wires of a net on edges that it does not use yet; there must be as many free entries."""
    for at in range(len(edges)):
        edge = 0 + edges[at]
        entry = wires.free[0]
        wires.free[0] = wires.along[entry]
        wires.free[1] -= 1
        first = wires.users[edge]
        wires.edge[entry] = edge
        wires.holder[entry] = net
        wires.along[entry] = wires.head[net]
        wires.head[net] = entry
        wires.after[entry] = first
        wires.before[entry] = -1
        if first >= 0:
            wires.before[first] = entry
        wires.users[edge] = entry
        room[edge] -= charge(wires, layer_edges, net, edge)


@kernel
def rip(wires: Wires, room: Ints, layer_edges: int, net: int, edges: Ints) -> int:
    """Take up all wires of a net; their edges are written to ``edges``, their number returned."""
    count = 0
    entry = wires.head[net]
    while entry >= 0:
        edge = 0 + wires.edge[entry]
        edges[count] = edge
        count += 1
        before, after = wires.before[entry], wires.after[entry]
        if before >= 0:
            wires.after[before] = after
        else:
            wires.users[edge] = after
        if after >= 0:
            wires.before[after] = before
        room[edge] += charge(wires, layer_edges, net, edge)
        following = wires.along[entry]
        wires.along[entry] = wires.free[0]
        wires.free[0] = entry
        wires.free[1] += 1
        entry = following
    wires.head[net] = -1
    return count
