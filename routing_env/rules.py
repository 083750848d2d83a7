"""The rules: what one move means in one problem. The only place where it is said.

Plain functions of integers and arrays, axis 0 = problem ``b``; ``program.py`` compiles them for the CPU, environments
and routers call the compiled form. Arrays of ``state.py`` (B problems of one grid shape, n nodes, C connections):

    room         (B, n, 6)      length units left in the direction of each move; ABSENT where there is no edge
    stamp        (B, 3n)        per edge: 1 + the net that last used it in this pass
    connections  (B, C, 3 + L)  net, source node, target node, length units a wire takes on each layer
    state        (B, STATE)     integers by the names below
    totals       (B, TOTALS)    floats by the names below
    log          (B, 2, S, 2)   [this pass, best pass]: node * 8 + move, connection (~connection if it failed)

A wire of a net takes room on an edge once; edges that the net already uses stay open to it and cost nothing more.

Source: the published environment of Liao et al. 2019: one pass = all connections of a netlist, capacities restored at
its start.
Differs: own edges are remembered for exactly the net that owns them, and wires of a connection that failed keep their
room but belong to nobody; vias are unlimited unless a capacity is given.
"""

from __future__ import annotations

from typing import Any

__all__ = ["ABSENT", "ARRIVED", "BLOCKED", "PASS_OVER", "STATE", "TIMED_OUT", "TOTALS"]

ABSENT = -(2**31) + 1

# columns of ``state``: position and target
NODE, X, Y, Z, TARGET, TARGET_X, TARGET_Y, TARGET_Z = 0, 1, 2, 3, 4, 5, 6, 7
# columns of ``state``: the connection and the pass so far
CONNECTION, STEPS, LOGGED, LOGGED_BEFORE, ROUTED, OVERFLOW, MOVES, PASSES = 8, 9, 10, 11, 12, 13, 14, 15
# columns of ``state``: the best pass
BEST_ROUTED, BEST_OVERFLOW, BEST_MOVES, BEST_LOGGED, BEST_PASS = 16, 17, 18, 19, 20
# columns of ``state``: the last finished pass
LAST_ROUTED, LAST_LOGGED, LAST_OVERFLOW = 21, 22, 23
# columns of ``state``: settings
COUNT, MAX_STEPS, WIDTH, HEIGHT, LAYERS, CLOSED, RELEASE, LARGEST = 24, 25, 26, 27, 28, 29, 30, 31
# columns of ``state``: moves since the beginning, and at the end of the last finished pass
PLAYED, LAST_PLAYED = 32, 33
STATE = 34

# columns of ``totals``; from PRICES on: the reward's own numbers
REWARD, BEST_REWARD, LAST_REWARD, PRICES = 0, 1, 2, 3
TOTALS = 11

# supplied by the program that the rules are compiled into; cuda only where they are compiled for it
observe: Any = None
reward: Any = None
cuda: Any = None

# what a move did, as bits
BLOCKED, ARRIVED, TIMED_OUT, PASS_OVER = 1, 2, 4, 8


def gap_of(b, move, state):
    """How far the node number changes with a move."""
    axis = move >> 1
    step = 1
    if axis == 1:
        step = state[b, WIDTH]
    elif axis == 2:
        step = state[b, WIDTH] * state[b, HEIGHT]
    return step if move & 1 == 0 else -step


def edge_of(node, to, move):
    """The edge that a move crosses."""
    return 3 * min(node, to) + (move >> 1)


def demand_of(b, connection, layer, move, connections):
    """Length units that a wire of the connection takes on the edge of a move; 1 on a via."""
    return 1 if move >= 4 else connections[b, connection, 3 + layer]


def undo(b, down_to, room, stamp, connections, state, log):
    """Take up the wires logged last, until ``down_to`` are left."""
    plane = state[b, WIDTH] * state[b, HEIGHT]
    for k in range(down_to, state[b, LOGGED]):
        node, move = log[b, 0, k, 0] >> 3, log[b, 0, k, 0] & 7
        connection = log[b, 0, k, 1]
        if connection < 0:
            connection = ~connection
        to = node + gap_of(b, move, state)
        demand = demand_of(b, connection, node // plane, move, connections)
        state[b, OVERFLOW] -= min(demand, max(0, -room[b, node, move]))
        room[b, node, move] += demand
        room[b, to, move ^ 1] += demand
        stamp[b, edge_of(node, to, move)] = 0
    state[b, LOGGED] = down_to


def open_connection(b, connection, connections, state):
    """Stand on the source of a connection."""
    width, height = state[b, WIDTH], state[b, HEIGHT]
    node, target = connections[b, connection, 1], connections[b, connection, 2]
    state[b, CONNECTION] = connection
    state[b, NODE], state[b, TARGET] = node, target
    state[b, X], state[b, Y], state[b, Z] = node % width, node // width % height, node // (width * height)
    state[b, TARGET_X], state[b, TARGET_Y] = target % width, target // width % height
    state[b, TARGET_Z] = target // (width * height)
    state[b, STEPS] = 0
    state[b, LOGGED_BEFORE] = state[b, LOGGED]


def open_pass(b, room, stamp, connections, state, totals, log):
    """Take up all wires and stand on the source of the first connection."""
    undo(b, 0, room, stamp, connections, state, log)
    state[b, ROUTED] = 0
    state[b, OVERFLOW] = 0
    state[b, MOVES] = 0
    totals[b, REWARD] = 0.0
    open_connection(b, 0, connections, state)


def close_connection(b, arrived, room, stamp, connections, state, log):
    """Count a connection that was made; mark, or take up, the wires of one that was not."""
    if arrived:
        state[b, ROUTED] += 1
    elif state[b, RELEASE] != 0:
        undo(b, state[b, LOGGED_BEFORE], room, stamp, connections, state, log)
    else:
        for k in range(state[b, LOGGED_BEFORE], state[b, LOGGED]):
            log[b, 0, k, 1] = ~log[b, 0, k, 1]
            node, move = log[b, 0, k, 0] >> 3, log[b, 0, k, 0] & 7
            stamp[b, edge_of(node, node + gap_of(b, move, state), move)] = 0


def close_pass(b, state, totals, log):
    """Keep the pass if it is the best so far: most connections, then least overflow, then shortest, then fewest moves.

    Length decides between passes that made all connections; between others, which hold wires that lead nowhere, moves
    do. Under the published reward that is "most connections, then largest reward", but for passes in which a wire is
    walked twice.
    """
    state[b, PASSES] += 1
    state[b, LAST_ROUTED] = state[b, ROUTED]
    state[b, LAST_LOGGED] = state[b, LOGGED]
    state[b, LAST_OVERFLOW] = state[b, OVERFLOW]
    state[b, LAST_PLAYED] = state[b, PLAYED]
    totals[b, LAST_REWARD] = totals[b, REWARD]
    better = state[b, BEST_ROUTED] - state[b, ROUTED]
    if better == 0:
        better = state[b, OVERFLOW] - state[b, BEST_OVERFLOW]
    if (better == 0) & (state[b, ROUTED] == state[b, COUNT]):
        better = state[b, LOGGED] - state[b, BEST_LOGGED]
    if better == 0:
        better = state[b, MOVES] - state[b, BEST_MOVES]
    if better < 0:
        state[b, BEST_MOVES] = state[b, MOVES]
        state[b, BEST_ROUTED] = state[b, ROUTED]
        state[b, BEST_OVERFLOW] = state[b, OVERFLOW]
        state[b, BEST_LOGGED] = state[b, LOGGED]
        state[b, BEST_PASS] = state[b, PASSES]
        totals[b, BEST_REWARD] = totals[b, REWARD]
        for k in range(state[b, LOGGED]):
            log[b, 1, k, 0] = log[b, 0, k, 0]
            log[b, 1, k, 1] = log[b, 0, k, 1]


def play(b, move, room, stamp, connections, state, totals, log):
    """Play one move; at the end of a connection the position stays until the next is opened.

    Returns:
        reward, and what happened as bits BLOCKED, ARRIVED, TIMED_OUT, PASS_OVER.
    """
    node, connection = state[b, NODE], state[b, CONNECTION]
    left = room[b, node, move]
    flags, own, excess, closer, share = 0, 0, 0, 0, 0.0
    if left == ABSENT:
        flags = BLOCKED
    else:
        to = node + gap_of(b, move, state)
        edge = edge_of(node, to, move)
        mark = connections[b, connection, 0] + 1
        demand = demand_of(b, connection, state[b, Z], move, connections)
        if stamp[b, edge] == mark:
            own = 1
        elif left < demand and state[b, CLOSED] != 0:
            flags = BLOCKED
        else:
            excess = max(0, demand - max(0, left))
            share = min(1.0, demand / max(1, left))
            state[b, OVERFLOW] += excess
            room[b, node, move] -= demand
            room[b, to, move ^ 1] -= demand
            stamp[b, edge] = mark
            log[b, 0, state[b, LOGGED], 0] = (node << 3) + move
            log[b, 0, state[b, LOGGED], 1] = connection
            state[b, LOGGED] += 1
        if flags == 0:
            axis, forward = move >> 1, 1 - 2 * (move & 1)
            closer = 1 if forward * (state[b, TARGET_X + axis] - state[b, X + axis]) > 0 else -1
            state[b, X + axis] += forward
            state[b, NODE] = to
    state[b, STEPS] += 1
    state[b, MOVES] += 1
    state[b, PLAYED] += 1
    arrived = state[b, NODE] == state[b, TARGET]
    if arrived:
        flags |= ARRIVED
    elif state[b, STEPS] >= state[b, MAX_STEPS]:
        flags |= TIMED_OUT
    gained = reward(b, flags, own, excess, closer, share, totals)
    totals[b, REWARD] += gained
    if flags & (ARRIVED | TIMED_OUT):
        close_connection(b, arrived, room, stamp, connections, state, log)
        if connection + 1 == state[b, COUNT]:
            flags |= PASS_OVER
            close_pass(b, state, totals, log)
    return gained, flags


def write_mask(b, row, room, stamp, connections, state, mask):
    """Write which moves change the state: 1 or 0 each; all 1 where no move does, so that one can be drawn."""
    node, connection = state[b, NODE], state[b, CONNECTION]
    planar, via = ABSENT + 1, ABSENT + 1
    if state[b, CLOSED] != 0:
        planar, via = connections[b, connection, 3 + state[b, Z]], 1
    count = 0
    for move in range(6):
        left = room[b, node, move]
        allowed = 1 if left >= (via if move >= 4 else planar) else 0
        if (left != ABSENT) & (allowed == 0):  # one condition, rarely true, costs less than two that are often
            edge = edge_of(node, node + gap_of(b, move, state), move)
            allowed = 1 if stamp[b, edge] == connections[b, connection, 0] + 1 else 0
        mask[row, move] = allowed
        count += allowed
    if count == 0:
        for move in range(6):
            mask[row, move] = 1


def leave_connection(b, room, stamp, connections, state, totals, log):
    """Give up the connection under way if a move was made in it, and open the next one or the next pass."""
    if state[b, STEPS] == 0:
        return
    close_connection(b, False, room, stamp, connections, state, log)
    if state[b, CONNECTION] + 1 == state[b, COUNT]:
        close_pass(b, state, totals, log)
        open_pass(b, room, stamp, connections, state, totals, log)
    else:
        open_connection(b, state[b, CONNECTION] + 1, connections, state)


def step_one(move, room, stamp, connections, state, totals, log, out, mask):
    """Play one move in problem 0 and open its next connection.

    Writes observation and mask after the move to row 0 and, where another connection begins, its first to row 1.
    """
    gained, flags = play(0, move, room, stamp, connections, state, totals, log)
    observe(0, 0, room, connections, state, out)
    write_mask(0, 0, room, stamp, connections, state, mask)
    if flags & (ARRIVED | TIMED_OUT) and not flags & PASS_OVER:
        open_connection(0, state[0, CONNECTION] + 1, connections, state)
        observe(0, 1, room, connections, state, out)
        write_mask(0, 1, room, stamp, connections, state, mask)
    return gained, flags


def step_many(
    first, last, moves, room, stamp, connections, state, totals, log, out, mask, final, final_mask, gains, flags
):
    """Play one move in each problem ``first`` to ``last - 1`` and go on to the next connection or pass.

    ``out`` and ``mask`` say what to act on; where a connection ended, ``final`` and ``final_mask`` are those after the
    move.
    """
    for b in range(first, last):
        gains[b], flags[b] = play(b, moves[b], room, stamp, connections, state, totals, log)
        if flags[b] & (ARRIVED | TIMED_OUT):
            observe(b, b, room, connections, state, final)
            write_mask(b, b, room, stamp, connections, state, final_mask)
            if flags[b] & PASS_OVER:
                open_pass(b, room, stamp, connections, state, totals, log)
            else:
                open_connection(b, state[b, CONNECTION] + 1, connections, state)
        observe(b, b, room, connections, state, out)
        write_mask(b, b, room, stamp, connections, state, mask)


def begin_many(first, last, restart, room, stamp, connections, state, totals, log, out, mask):
    """Begin a new pass (``restart``), or else the next connection where one was under way."""
    for b in range(first, last):
        if restart:
            open_pass(b, room, stamp, connections, state, totals, log)
        else:
            leave_connection(b, room, stamp, connections, state, totals, log)
        observe(b, b, room, connections, state, out)
        write_mask(b, b, room, stamp, connections, state, mask)


def step_thread(many, moves, room, stamp, connections, state, totals, log, out, mask, final, final_mask, gains, flags):
    """``step_many`` for the problem whose number this thread has, if it is one of ``many``."""
    b = cuda.grid(1)
    if b < many:
        step_many(
            b, b + 1, moves, room, stamp, connections, state, totals, log, out, mask, final, final_mask, gains, flags
        )


def begin_thread(many, restart, room, stamp, connections, state, totals, log, out, mask):
    """``begin_many`` for the problem whose number this thread has, if it is one of ``many``."""
    b = cuda.grid(1)
    if b < many:
        begin_many(b, b + 1, restart, room, stamp, connections, state, totals, log, out, mask)
