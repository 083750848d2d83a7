"""What a move of a population takes beside the networks and the rules, compiled, on one thread of the processor.

Random numbers, the choice of moves and the rows of the replay are some forty operations in torch, each a call that
takes longer than its few numbers. Values are those of ``agents.draws``, ``agents.td`` and ``agents.replay`` to the bit;
those stay the form of everything else.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from optimizers.members import arrays
from routing_env import rules
from routing_env._kernel import kernel

__all__ = ["best_move", "choose", "drawn", "progress", "rows", "uniform"]

GOLDEN, FIRST, SECOND = (np.uint64(x) for x in (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB))
BY_30, BY_27, BY_31, BY_11, ONE = (np.uint64(x) for x in (30, 27, 31, 11, 1))
ENDED, ARRIVED, PASSES = int(rules.BLOCKED), int(rules.ARRIVED), int(rules.PASSES)


def uniform(keys: Tensor, counter: Tensor, count: int) -> Tensor:
    """``Draws.uniform``: numbers (members, count) behind those that ``counter`` counts."""
    out = torch.empty(len(keys), count, dtype=torch.float64)
    _uniform(*arrays(keys, counter, out))
    return out


def choose(q: Tensor, mask: Tensor | None, explore: Tensor, draws: Tensor) -> Tensor:
    """``td.choose``: moves (members,) from q, mask (members, moves), explore and draws (members,)."""
    moves = torch.empty(len(q), dtype=torch.int64)
    _choose(mask is not None, *arrays(q, q if mask is None else mask, explore, draws, moves))
    return moves


def rows(
    obs: Tensor, moves: Tensor, gains: Tensor, scale: float, gamma: float, flags: Tensor, next_obs: Tensor,
    next_mask: Tensor, final_obs: Tensor, final_mask: Tensor,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """Transitions (members, width) as ``Replay.add`` lays them out, and whether each connection ended (members,).

    Args:
        obs: before the move, (members, entries), of the replay's number type.
        gains, scale: rewards of the moves (members,), and their factor.
        flags: what the rules tell of the move, (members,).
        next_obs, next_mask: after it, where the connection goes on; else final_obs, final_mask.
    """
    out = obs.new_empty(len(obs), 2 * obs.shape[1] + next_mask.shape[1] + 3)
    ended = torch.empty(len(obs), dtype=torch.bool)
    _rows(scale, gamma, *arrays(obs, moves, gains, flags, next_obs, next_mask, final_obs, final_mask, out, ended))
    return out, ended


def drawn(rows: Tensor, places: Tensor, entries: int, choices: int) -> tuple[Tensor, ...]:
    """The rows (members, capacity, width) of a replay at places (members, B), in the parts of ``Replay.batch``."""
    shape = places.shape
    obs, next_obs, mask = (rows.new_empty(*shape, width) for width in (entries, entries, choices))
    moves, returns, discount = torch.empty_like(places), rows.new_empty(shape), rows.new_empty(shape)
    _drawn_rows(*arrays(rows, places, obs, next_obs, mask, moves, returns, discount))
    return obs, next_obs, mask, moves, returns, discount


def progress(state: Tensor, passes: int, dtype: torch.dtype) -> Tensor:
    """``Population.progress`` from the members' states (members, columns): share of the passes made, (members,)."""
    out = torch.empty(len(state), dtype=dtype)
    _progress(passes, *arrays(state, out))
    return out


@kernel
def _progress(passes: int, state: Any, out: Any) -> None:
    number = out.dtype.type
    for p in range(len(out)):
        out[p] = min(number(state[p, PASSES]) / number(passes), number(1))


@kernel
def _uniform(keys: Any, counter: Any, out: Any) -> None:
    many, count = out.shape
    before = np.uint64(counter[()])
    for p in range(many):
        key = np.uint64(keys[p])
        for i in range(count):
            x = key + (before + np.uint64(i) + ONE) * GOLDEN
            x = (x ^ (x >> BY_30)) * FIRST
            x = (x ^ (x >> BY_27)) * SECOND
            x = x ^ (x >> BY_31)
            out[p, i] = np.float64(x >> BY_11) * 2.0**-53


@kernel
def _choose(masked: bool, q: Any, mask: Any, explore: Any, draws: Any, moves: Any) -> None:
    for p in range(len(moves)):
        moves[p] = _one_of(masked, mask[p], draws[p]) if explore[p] else best_move(masked, q[p], mask[p])


@kernel
def _one_of(masked: bool, mask: Any, draw: float) -> int:
    """One of the allowed moves; 0 where there is none."""
    allowed = 0
    for one in mask:
        allowed += not masked or one > 0
    wanted = int(draw * allowed)
    for k in range(len(mask)):
        if not masked or mask[k] > 0:
            if wanted == 0:
                return k
            wanted -= 1
    return 0


@kernel
def best_move(masked: bool, q: Any, mask: Any) -> int:
    """The first allowed move of the highest value, or of one that is not a number; 0 where none is above -inf."""
    best, highest = 0, -np.inf
    for k in range(len(q)):
        if masked and mask[k] == 0:
            continue
        if q[k] != q[k]:
            return k
        if q[k] > highest:
            best, highest = k, q[k]
    return best


@kernel
def _rows(
    scale: float, gamma: float, obs: Any, moves: Any, gains: Any, flags: Any, next_obs: Any, next_mask: Any,
    final_obs: Any, final_mask: Any, out: Any, ended: Any,
) -> None:  # fmt: skip
    many, entries = obs.shape
    choices = next_mask.shape[1]
    for p in range(many):
        over = flags[p] > ENDED
        ended[p] = over
        row = out[p]
        for j in range(entries):
            row[j] = obs[p, j]
            row[entries + j] = final_obs[p, j] if over else next_obs[p, j]
        for k in range(choices):
            row[2 * entries + k] = final_mask[p, k] if over else next_mask[p, k]
        row[-3] = moves[p]
        row[-2] = gains[p] * scale
        row[-1] = 0.0 if flags[p] & ARRIVED else gamma


@kernel
def _drawn_rows(
    rows: Any, places: Any, obs: Any, next_obs: Any, mask: Any, moves: Any, returns: Any, discount: Any
) -> None:
    many, batch, entries = obs.shape
    choices = mask.shape[2]
    for p in range(many):
        for b in range(batch):
            row = rows[p, places[p, b]]
            for j in range(entries):
                obs[p, b, j], next_obs[p, b, j] = row[j], row[entries + j]
            for k in range(choices):
                mask[p, b, k] = row[2 * entries + k]
            moves[p, b], returns[p, b], discount[p, b] = int(row[-3]), row[-2], row[-1]
