"""Sequential A*: connection after connection on its cheapest path, never taken back.

    price of an edge = 1, or 1000 where the net's wire has no room (``full="priced"``), or closed (``full="closed"``)

Connections come in the order of ``decompose.connections``: nets of long half-perimeter first. ``sharing="none"`` is
the published baseline without its defects: each connection alone, own edges cost as much as empty ones and take no
capacity twice. ``sharing="net"`` grows one tree a net: from all its wires to the nearest pin not reached.

Ties: among equally priced paths the one with the least sum of use / capacity, then the order of ``_search``.

Source: Liao et al. 2019 (baseline); Hart, Nilsson, Raphael 1968 (A*).
Differs: capacity is updated after every connection, ties are deterministic, own edges are known by net.
"""

from __future__ import annotations

from functools import cache
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from routing_env._kernel import kernel
from routing_env.decompose import Decomposition, connections
from routing_env.grid import NO_LIMIT, Grid, Ints, grid_of
from routing_env.problem import Problem
from routing_env.routers._protocol import SAMPLE, Clock, Progress
from routing_env.routers._search import ANY, Board, Prices, Scratch, board_of, scratch_of, search, trace
from routing_env.solution import Solution

__all__ = ["paths", "route"]

Sharing = Literal["net", "none"]
Full = Literal["priced", "closed"]

UNIT = 1 << 20
"""price of an edge; what lies below it breaks ties"""
FULL = 999 * UNIT
TIE = 1 << 8
CHUNK = 256
"""connections between two looks at the clock"""


def route(
    problem: Problem,
    *,
    sharing: Sharing = "net",
    full: Full = "priced",
    seed: int = 0,
    time_limit: float | None = None,
    progress: Progress | None = None,
    via_capacity: int | None = None,
) -> Solution:
    """Route every net by sequential A*.

    Args:
        problem: what to route.
        sharing: "net" grows a tree a net, "none" searches each two-pin connection alone.
        full: "priced" overfills an edge at 1000 times the price, "closed" leaves the connection unrouted.
        seed: without effect, the router draws no random numbers.
        time_limit: seconds, those of compiling aside; what is not routed by then stays unrouted.
        progress: called with (connections done, all, message).
        via_capacity: wires on one via edge; None for no limit.

    Returns:
        A solution; ``info`` holds router, sharing, full, seconds, failed (names of nets not wholly routed), stopped.

    Raises:
        ValueError: an argument has no such value.
    """
    clock = Clock(time_limit, _compile)
    rows, walks, done = _run(problem, sharing, full, via_capacity, clock, progress)
    grid = grid_of(problem)
    edges: list[list[int]] = [[] for _ in problem.nets]
    for net, walk in zip(rows[:, 0].tolist(), walks, strict=False):
        edges[net] += _edges(grid, walk).tolist()
    routed = np.array([len(walk) > 0 for walk in walks] + [False] * (len(rows) - done), np.bool_)
    failed = dict.fromkeys(problem.nets[net].name for net in rows[~routed, 0].tolist())
    info = {"router": "astar", "sharing": sharing, "full": full, "seconds": clock.seconds, "failed": list(failed),
            "stopped": done < len(rows)}  # fmt: skip
    return Solution.of(problem, edges, info)


def paths(
    problem: Problem, *, full: Full = "priced", time_limit: float | None = None, via_capacity: int | None = None,
    decomposition: Decomposition = "spanning",
) -> list[list[int]]:  # fmt: skip
    """The nodes of each connection's path from source to target under ``sharing="none"``.

    Returns:
        One list a row of ``decompose.connections``; empty where no path was found or time ran out.

    Raises:
        ValueError: an argument has no such value.
    """
    rows, walks, _ = _run(problem, "none", full, via_capacity, Clock(time_limit, _compile), None, decomposition)
    return [walk.tolist() for walk in walks] + [[] for _ in range(len(rows) - len(walks))]


@cache
def _compile() -> None:
    """Run every kernel once."""
    _run(SAMPLE, "net", "priced", None, Clock(), None)
    connections(SAMPLE, "steiner")


def _edges(grid: Grid, walk: Ints) -> Ints:
    """The edges between consecutive nodes of a path."""
    low, gap = np.minimum(walk[1:], walk[:-1]), np.abs(np.diff(walk))
    axis = np.where(gap == grid.shape[0] * grid.shape[1], 2, np.where(gap == grid.shape[0], 1, 0))
    return np.asarray(3 * low + axis, np.int32)


def _run(
    problem: Problem,
    sharing: Sharing,
    full: Full,
    via_capacity: int | None,
    clock: Clock,
    progress: Progress | None,
    decomposition: Decomposition = "spanning",
) -> tuple[Ints, list[Ints], int]:
    """Rows of ``connections``, a path for each of the first rows (empty: none found), and how many those are."""
    for name, value, known in (("sharing", sharing, ("net", "none")), ("full", full, ("priced", "closed"))):
        if value not in known:
            raise ValueError(f"{name} {value!r} is none of {', '.join(map(repr, known))}")
    if via_capacity is not None and via_capacity < 0:
        raise ValueError(f"via_capacity must not be negative, got {via_capacity}")
    grid, rows = grid_of(problem), connections(problem, decomposition)
    capacity = grid.capacity.copy()
    capacity[2::3] = NO_LIMIT if via_capacity is None else via_capacity
    need = np.hstack([grid.demand, np.ones((len(grid.demand), 1), np.int32)])
    prices = Prices(np.full(grid.edges, UNIT, np.int32), capacity.copy(), np.full(grid.edges, -1, np.int32),
                    -1 if full == "closed" else FULL, 0, -1 if sharing == "none" else 0, UNIT, UNIT)  # fmt: skip
    board, scratch = board_of(grid), scratch_of(grid.nodes)
    space = np.empty(4 * grid.nodes + 2**16, np.int32)
    sizes = np.zeros(len(rows), np.int64)
    walks: list[Ints] = []
    while len(walks) < len(rows) and not clock.over:
        done = len(walks)
        end = _chunk(board, scratch, prices, capacity, need, rows, sharing == "net", done, space, sizes)
        walks += np.split(space[: sizes[done:end].sum()].copy(), np.cumsum(sizes[done : end - 1]))
        if progress is not None:
            progress(end, len(rows), "connections routed")
    return rows, walks, len(walks)


@kernel
def _chunk(board: Board, scratch: Scratch, prices: Prices, capacity: Ints, need: Ints, rows: Ints, tree: bool,
           first: int, space: Ints, sizes: NDArray[np.int64]) -> int:  # fmt: skip
    """Route whole nets from row ``first`` on, paths one after the other in ``space``; return the row after the last."""
    nodes = len(board.neighbour)
    row, filled = first, 0
    while row < len(rows) and row - first < CHUNK and filled + nodes < len(space):
        end = row
        while end < len(rows) and rows[end, 0] == rows[row, 0]:
            end += 1
        if tree:
            filled = _grow(board, scratch, prices, capacity, need, rows[row:end], space, filled, sizes[row:end])
            row = end
        else:
            filled = _pair(board, scratch, prices, capacity, need, rows[row], space, filled, sizes[row : row + 1])
            row += 1
    return row


@kernel
def _pair(board: Board, scratch: Scratch, prices: Prices, capacity: Ints, need: Ints, row: Ints, space: Ints,
          filled: int, size: NDArray[np.int64]) -> int:  # fmt: skip
    """Route one connection alone and charge it."""
    net = 0 + row[0]
    found = search(board, scratch, prices, net, need[net], row[1:2], row[2:3], board.whole, ANY)
    size[0] = 0
    if found < 0:
        return filled
    walk = space[filled:]
    size[0] = trace(board, scratch, found, walk)
    for i in range(size[0] // 2):
        walk[i], walk[size[0] - 1 - i] = walk[size[0] - 1 - i], walk[i]
    _charge(board, prices, capacity, net, need[net], walk[: size[0]])
    return filled + size[0]


@kernel
def _grow(board: Board, scratch: Scratch, prices: Prices, capacity: Ints, need: Ints, rows: Ints, space: Ints,
          filled: int, sizes: NDArray[np.int64]) -> int:  # fmt: skip
    """Route a net as a tree from its first pin, always on to the cheapest pin not reached, and charge it."""
    net = 0 + rows[0, 0]
    open_pins = rows[:, 2].copy()
    pins_left = len(open_pins)
    start = filled
    tree = rows[0, 1:2].copy()
    sizes[:] = 0
    for k in range(len(rows)):
        found = search(board, scratch, prices, net, need[net], tree, open_pins[:pins_left], board.whole, ANY)
        if found < 0:
            break
        walk = space[filled:]
        sizes[k] = trace(board, scratch, found, walk)
        _charge(board, prices, capacity, net, need[net], walk[: sizes[k]])
        filled += sizes[k]
        tree = space[start:filled]
        kept = 0
        for node in open_pins[:pins_left]:
            if not np.any(walk[: sizes[k]] == node):
                open_pins[kept] = node
                kept += 1
        pins_left = kept
        if pins_left == 0:
            for j in range(k + 1, len(rows)):  # the last path met these pins on its way
                space[filled] = rows[0, 1]
                sizes[j] = 1
                filled += 1
            break
    return filled


@kernel
def _charge(board: Board, prices: Prices, capacity: Ints, net: int, need: Ints, walk: Ints) -> None:
    """Take the room that a path needs on edges that the net does not own yet, and price their use as a tie-break."""
    width, height = board.whole[1] + 1, board.whole[3] + 1
    for i in range(len(walk) - 1):
        low, gap = min(walk[i], walk[i + 1]), abs(walk[i] - walk[i + 1])
        axis = 2 if gap == width * height else (1 if gap == width else 0)
        edge = 3 * low + axis
        if prices.owner[edge] != net:
            prices.owner[edge] = net
            prices.room[edge] -= need[-1] if axis == 2 else need[board.at[low, 2]]
            if axis < 2:
                used = np.int64(capacity[edge]) - prices.room[edge]
                prices.price[edge] = UNIT + min(TIE, TIE * used // max(capacity[edge], 1))
