"""Shortest paths on the grid's tables, compiled: A* from many sources to the nearest of many targets.

    f = g + h,  h = unit * (steps to the box around the targets) + via * (layer changes that cannot be avoided)

``h`` never exceeds what is left (every edge costs at least its unit) and never falls by more than an edge costs, so
a node is settled once. Ties: smaller f, then fewer steps left, then the smaller node number; among equal ways to one
node the first found stays. Nothing depends on memory order or time, so the same input gives the same path.

Source: Hart, Nilsson, Raphael 1968.
Differs: many sources and targets; the order of ties is fixed.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from routing_env._kernel import kernel
from routing_env.grid import Grid, Ints

__all__ = ["ANY", "Board", "Prices", "Scratch", "board_of", "pop", "push", "scratch_of", "search", "trace"]

Longs = NDArray[np.int64]
ANY: int = np.int64(2**48)  # type: ignore[assignment]
"""a limit that no path reaches; 64 bits, and no literal, for which numba would compile every callee once more"""


class Board(NamedTuple):
    """What a search reads of the grid."""

    neighbour: Ints  # (nodes, 6)
    at: Ints  # (nodes, 3) column, row, layer
    climb: Ints  # (layers, layers, 4): layer changes from, to; bit 0: passing a layer with x edges, bit 1: with y
    whole: Ints  # (4,): the box first column, last column, first row, last row


class Scratch(NamedTuple):
    """What searches write; made once, never cleared: an entry counts only when its stamp is the current search."""

    stamp: Longs  # (1,): number of the last search
    seen: Longs  # (nodes,): 2 * search, + 1 once settled
    target: Longs  # (nodes,): the last search that had the node as target
    g: Longs  # (nodes,)
    came: NDArray[np.int8]  # (nodes,): the move that led here, -1 at a source
    keys: Longs  # heap: f and the steps left
    heap: Ints  # heap: nodes


class Prices(NamedTuple):
    """What an edge costs: its price; ``own`` where ``owner`` is the net itself; more where it has no room.

    Without room for what the net needs, an edge costs ``full + slope * (units missing)`` more, or is closed where
    ``full`` is negative. Prices are at least ``unit`` (planar) and ``via``.
    """

    price: Ints  # (edges,)
    room: Ints  # (edges,): capacity left
    owner: Ints  # (edges,): the net whose wire was marked last
    full: int
    slope: int
    own: int  # negative: own edges cost their price, however full
    unit: int
    via: int


def board_of(grid: Grid) -> Board:
    """The tables of a grid in the form that searches read."""
    width, height, layers = grid.shape
    node = np.arange(grid.nodes)
    at = np.stack([node % width, node // width % height, node // (width * height)], axis=1).astype(np.int32)
    exists = np.asarray(grid.exists.reshape(layers, -1, 3).any(axis=1), np.bool_).reshape(layers, 3)
    climb = np.zeros((layers, layers, 4), np.int32)
    stops = [[[z for z in range(layers) if exists[z, axis]] if need >> axis & 1 else [] for axis in (0, 1)]
             for need in range(4)]  # fmt: skip
    for a in range(layers):
        for b in range(layers):
            for need in range(4):
                climb[a, b, need] = _climb(a, b, *stops[need])
    return Board(grid.neighbour, at, climb, np.array([0, width - 1, 0, height - 1], np.int32))


def _climb(a: int, b: int, xs: list[int], ys: list[int]) -> int:
    """Fewest layer changes from a to b by way of one of ``xs`` and one of ``ys`` (an empty list asks for nothing)."""
    best = 2**20
    for x in xs or [a]:
        for y in ys or [a]:
            low, top = min(a, b, x, y), max(a, b, x, y)
            best = min(best, top - low + min(a - low + top - b, top - a + b - low))
    return best


def scratch_of(nodes: int) -> Scratch:
    """Memory for searches on that many nodes; a node enters the heap at most once from each of six sides."""
    longs = np.zeros((3, nodes), np.int64)
    return Scratch(np.zeros(1, np.int64), longs[0], longs[1], longs[2], np.zeros(nodes, np.int8),
                   np.empty(6 * nodes + 2, np.int64), np.empty(6 * nodes + 2, np.int32))  # fmt: skip


@kernel(inline="always")
def push(keys: Longs, heap: Ints, size: int, key: int, node: int) -> None:
    """Put (key, node) into a binary heap of ``size`` entries."""
    i = size
    while i > 0:
        up = (i - 1) >> 1
        if keys[up] < key or (keys[up] == key and heap[up] <= node):
            break
        keys[i] = keys[up]
        heap[i] = heap[up]
        i = up
    keys[i] = key
    heap[i] = node


@kernel(inline="always")
def pop(keys: Longs, heap: Ints, size: int) -> None:
    """Take the first entry out of a heap of ``size`` entries; the caller has read it at index 0."""
    last = size - 1
    key, node = keys[last], heap[last]
    i = 0
    while True:
        down = 2 * i + 1
        if down >= last:
            break
        right = down + 1
        if right < last and (keys[right] < keys[down] or (keys[right] == keys[down] and heap[right] < heap[down])):
            down = right
        if keys[down] > key or (keys[down] == key and heap[down] >= node):
            break
        keys[i] = keys[down]
        heap[i] = heap[down]
        i = down
    keys[i] = key
    heap[i] = node


@kernel
def _target_box(board: Board, scratch: Scratch, targets: Ints, search_id: int) -> tuple[int, int, int, int, int, int]:
    x0 = y0 = z0 = 2**30
    x1 = y1 = z1 = -1
    for node in targets:
        scratch.target[node] = search_id
        x, y, z = board.at[node, 0], board.at[node, 1], board.at[node, 2]
        x0, x1 = min(x0, x), max(x1, x)
        y0, y1 = min(y0, y), max(y1, y)
        z0, z1 = min(z0, z), max(z1, z)
    return x0, x1, y0, y1, z0, z1


@kernel
def _sow(board: Board, scratch: Scratch, prices: Prices, sources: Ints, around: tuple[int, int, int, int, int, int],
         limit: int, shift: int) -> int:  # fmt: skip
    """Put the sources into the heap; return its size."""
    x0, x1, y0, y1, z0, z1 = around
    size = 0
    for node in sources:
        scratch.seen[node] = 2 * scratch.stamp[0]
        scratch.g[node] = 0
        scratch.came[node] = -1
        h, left = _left(board.at, board.climb, node, x0, x1, y0, y1, z0, z1, prices.unit, prices.via)
        if h <= limit:
            push(scratch.keys, scratch.heap, size, (h << shift) | left, node)
            size += 1
    return size


@kernel
def search(board: Board, scratch: Scratch, prices: Prices, net: int, need: Ints, sources: Ints, targets: Ints,
           box: Ints, limit: int) -> int:  # fmt: skip
    """Settle nodes from the sources until one is a target.

    Args:
        board, scratch, prices: tables of the grid.
        net: the number whose wires are its own in ``prices.owner``.
        need: (layers + 1,) room that a wire of the net takes of a planar edge; last, of a via.
        sources: distinct nodes at distance 0; repeated ones are harmless but fill the heap.
        targets: nodes to reach, at least one.
        box: (4,) columns and rows that the search keeps to; it holds sources and targets.
        limit: dearer paths are not looked for.

    Returns:
        The target reached, -1 for none; ``scratch.g`` of it is its distance, ``trace`` its path.
    """
    at, climb, neighbour = board.at, board.climb, board.neighbour
    seen, g, came, keys, heap = scratch.seen, scratch.g, scratch.came, scratch.keys, scratch.heap
    scratch.stamp[0] += 1
    stamp = scratch.stamp[0]
    x0, x1, y0, y1, z0, z1 = _target_box(board, scratch, targets, stamp)
    shift = 1  # bits of a key below f: they hold the fewest steps left
    while (2 * np.int64(at[-1, 0]) + 2 * at[-1, 1] + 4 * len(climb) + 2) >> shift:
        shift += 1
    size = _sow(board, scratch, prices, sources, (x0, x1, y0, y1, z0, z1), limit, shift)
    while size:
        node = heap[0]
        pop(keys, heap, size)
        size -= 1
        if seen[node] == 2 * stamp + 1:
            continue
        seen[node] = 2 * stamp + 1
        if scratch.target[node] == stamp:
            return node
        for move in range(6):
            after = neighbour[node, move]
            if after < 0 or seen[after] == 2 * stamp + 1 or _outside(at, after, box):
                continue
            edge = 3 * min(node, after) + (move >> 1)
            cost = _cost(prices, net, edge, need[at[node, 2]] if move < 4 else need[-1])
            if cost < 0:
                continue
            total = g[node] + cost
            if seen[after] == 2 * stamp and g[after] <= total:
                continue
            h, left = _left(at, climb, after, x0, x1, y0, y1, z0, z1, prices.unit, prices.via)
            if total + h > limit:
                continue
            seen[after] = 2 * stamp
            g[after] = total
            came[after] = move
            push(keys, heap, size, ((total + h) << shift) | left, after)
            size += 1
    return -1


@kernel(inline="always")
def _outside(at: Ints, node: int, box: Ints) -> bool:
    x, y = at[node, 0], at[node, 1]
    return bool(x < box[0] or x > box[1] or y < box[2] or y > box[3])


@kernel(inline="always")
def _cost(prices: Prices, net: int, edge: int, need: int) -> int:
    """What the edge costs the net, -1 where it is closed."""
    if prices.owner[edge] == net:
        return int(prices.price[edge]) if prices.own < 0 else int(prices.own)
    missing = need - prices.room[edge]
    if missing <= 0:
        return int(prices.price[edge])
    if prices.full < 0:
        return -1
    return int(prices.price[edge]) + prices.full + prices.slope * int(missing)


@kernel(inline="always")
def _left(at, climb, node, x0, x1, y0, y1, z0, z1, unit, via):  # type: ignore[no-untyped-def]
    x, y, z = at[node, 0], at[node, 1], at[node, 2]
    dx = max(x0 - x, x - x1, 0)
    dy = max(y0 - y, y - y1, 0)
    kind = (1 if dx > 0 else 0) + (2 if dy > 0 else 0)
    up = climb[z, z0, kind]
    for to in range(z0 + 1, z1 + 1):
        up = min(up, climb[z, to, kind])
    return np.int64(unit) * (dx + dy) + np.int64(via) * up, dx + dy + up


@kernel
def trace(board: Board, scratch: Scratch, node: int, path: Ints) -> int:
    """Write the nodes from the target ``node`` back to its source into ``path``; return their number."""
    width, height = board.whole[1] + 1, board.whole[3] + 1
    gap = (1, width, width * height)
    count = 1
    path[0] = node
    while scratch.came[node] >= 0:
        move = scratch.came[node]
        node = node - gap[move >> 1] if move % 2 == 0 else node + gap[move >> 1]
        path[count] = node
        count += 1
    return count
