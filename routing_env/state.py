"""The arrays that the rules move on: one row a problem."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from routing_env import rules
from routing_env.decompose import Decomposition
from routing_env.decompose import connections as two_pin_connections
from routing_env.grid import NO_LIMIT, Ints, grid_of
from routing_env.problem import Problem
from routing_env.solution import Solution

__all__ = ["State", "default_max_steps", "make_state", "solution_of"]


class State(NamedTuple):
    """B problems of one grid shape; the columns are described in ``rules.py``."""

    room: Ints  # (B, nodes, 6)
    stamp: Ints  # (B, edges)
    connections: Ints  # (B, C, 3 + layers)
    state: Ints  # (B, STATE)
    totals: NDArray[np.float64]  # (B, TOTALS)
    log: Ints  # (B, 2, S, 2)


def default_max_steps(problem: Problem) -> int:
    """Steps a connection may take: 50 on 8 x 8 tiles (as published), 3 (width + height) on larger grids."""
    return max(50, 3 * (problem.width + problem.height))


def make_state(
    problems: Sequence[Problem],
    prices: Sequence[float],
    *,
    closed: bool,
    max_steps: int | None = None,
    via_capacity: int | None = None,
    keep_failed: bool = True,
    decomposition: Decomposition = "spanning",
) -> State:
    """Lay out problems of one shape, ready for ``begin_many``.

    Args:
        problems: same columns, rows and layers; each with at least one connection to make.
        prices: the reward's numbers.
        closed: whether an edge without room is closed (else it may be overfilled).
        max_steps: moves a connection may take.
        via_capacity: wires on one via edge; None for no limit.
        keep_failed: whether the wires of a failed connection stay until the pass ends.
        decomposition: of nets of more than two pins, see ``decompose``.

    Raises:
        ValueError: shapes differ, a problem has nothing to route, or a setting is out of range.
    """
    if not problems:
        raise ValueError("no problem given")
    shape = problems[0].shape
    for problem in problems:
        if problem.shape != shape:
            raise ValueError(f"problems of one grid shape only: {shape} and {problem.shape}")
    if max_steps is not None and max_steps < 1:
        raise ValueError(f"max_steps must be at least 1, got {max_steps}")
    if via_capacity is not None and not 1 <= via_capacity <= NO_LIMIT:
        raise ValueError(f"via_capacity must be at least 1, got {via_capacity}")
    if len(prices) > rules.TOTALS - rules.PRICES:
        raise ValueError(f"a reward has at most {rules.TOTALS - rules.PRICES} numbers, got {len(prices)}")
    tables = [_connections(problem, decomposition) for problem in problems]
    steps = max_steps or default_max_steps(problems[0])
    longest = max(map(len, tables))
    grid = grid_of(problems[0])
    many = len(problems)
    made = State(
        room=np.empty((many, grid.nodes, 6), np.int32),
        stamp=np.zeros((many, grid.edges), np.int32),
        connections=np.zeros((many, longest, 3 + shape[2]), np.int32),
        state=np.zeros((many, rules.STATE), np.int32),
        totals=np.zeros((many, rules.TOTALS)),
        log=np.zeros((many, 2, longest * steps, 2), np.int32),
    )
    for b, (problem, table) in enumerate(zip(problems, tables, strict=True)):
        made.room[b] = _room(problem, via_capacity)
        made.connections[b, : len(table)] = table
        made.state[b, rules.COUNT] = len(table)
        made.state[b, rules.LARGEST] = max(1, int(_planar(problem).max()))
    made.state[:, rules.MAX_STEPS] = steps
    made.state[:, rules.WIDTH : rules.LAYERS + 1] = shape
    made.state[:, rules.CLOSED] = closed
    made.state[:, rules.RELEASE] = not keep_failed
    made.state[:, rules.BEST_ROUTED] = -1
    made.totals[:, rules.PRICES : rules.PRICES + len(prices)] = prices
    return made


def _connections(problem: Problem, decomposition: Decomposition) -> Ints:
    table = two_pin_connections(problem, decomposition)
    if not len(table):
        raise ValueError(f"{problem.name}: no net needs a route")
    return np.hstack([table, grid_of(problem).demand[table[:, 0]]])


def _planar(problem: Problem) -> Ints:
    return grid_of(problem).capacity.reshape(-1, 3)[:, :2]


def _room(problem: Problem, via_capacity: int | None) -> Ints:
    """(nodes, 6): capacity in the direction of each move, ABSENT where there is no edge."""
    grid = grid_of(problem)
    capacity = grid.capacity.copy()
    capacity[2::3] = NO_LIMIT if via_capacity is None else via_capacity
    edge = grid.edge_of_move()
    return np.where((edge >= 0) & grid.exists[edge], capacity[edge], rules.ABSENT).astype(np.int32)


def solution_of(problem: Problem, state: State, b: int = 0, *, best: bool = True) -> Solution:
    """The wires of the best pass so far (or of the pass under way) of problem ``b``.

    Wires of connections that failed are left out. ``info`` holds the pass's number, connections made and reward.
    """
    grid = grid_of(problem)
    row = state.state[b]
    logged = row[rules.BEST_LOGGED if best else rules.LOGGED]
    entries = state.log[b, 1 if best else 0, :logged]
    edge = grid.edge_of_move()
    edges: list[list[int]] = [[] for _ in problem.nets]
    for crossing, connection in entries[entries[:, 1] >= 0].tolist():
        edges[state.connections[b, connection, 0]].append(int(edge[crossing >> 3, crossing & 7]))
    info = {
        "pass": int(row[rules.BEST_PASS] if best else row[rules.PASSES] + 1),
        "connections": int(row[rules.COUNT]),
        "connected": max(0, int(row[rules.BEST_ROUTED] if best else row[rules.ROUTED])),
        "reward": float(state.totals[b, rules.BEST_REWARD if best else rules.REWARD]),
    }
    return Solution.of(problem, edges, info)
