"""A* routes of a netlist as replay transitions.

The routes come from the pair-by-pair A* alone and are played through the environment, so that observations, rewards
and masks are the environment's; a connection ends early where its route meets a full edge.

Source: the published agent fills its replay with A* routes first. Differs: nothing.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from agents.config import TrainConfig
from agents.double_dqn import DoubleDQN, MaskedReplay
from agents.replay import Replay
from routing_env import rules
from routing_env.device_env import TensorRouting
from routing_env.grid import Grid, grid_of
from routing_env.problem import Problem
from routing_env.routers import astar

__all__ = ["Transition", "demonstrate", "demonstration_rows", "moves_of", "transitions"]


def moves_of(grid: Grid, walk: list[int]) -> list[int]:
    """The moves along a walk over neighbouring nodes."""
    return [2 * (grid.edge(a, b) % 3) + (b < a) for a, b in pairwise(walk)]


class Transition(NamedTuple):
    """One move of an A* route."""

    obs: NDArray[np.float32]  # (entries,)
    move: int
    reward: float
    next_obs: NDArray[np.float32]  # (entries,)
    next_mask: NDArray[np.int8]  # (6,)
    made: bool
    ended: bool  # whether it is the last one of its connection


def transitions(problem: Problem, options: dict[str, Any]) -> list[Transition]:
    """The moves of the A* routes of a netlist, played through an environment with these options."""
    env = TensorRouting([problem], **options)
    env.begin()
    grid, found = grid_of(problem), []
    for walk in astar.paths(problem, decomposition=options.get("decomposition", "spanning")):
        ended = False
        if not walk:  # A* found no path: the connection is given up, for which a move has to be made in it
            env.step(env.mask.argmin(1))
        moves = moves_of(grid, walk)
        for number, move in enumerate(moves, 1):
            obs, blocked = env.obs[0].numpy().copy(), not env.mask[0, move]
            env.step(torch.tensor([move]))
            flags = int(env.flags[0])
            ended, made = flags > rules.BLOCKED, bool(flags & rules.ARRIVED)
            after, mask = (env.final, env.final_mask) if ended else (env.obs, env.mask)
            last = blocked or ended or number == len(moves)
            row = (obs, move, float(env.gains[0]), after[0].numpy().copy(), mask[0].numpy().copy(), made, last)
            found.append(Transition(*row))
            if last:
                break
        if not ended:
            env.begin(restart=False)
    return found


def demonstrate(agent: DoubleDQN, problem: Problem, times: int, options: dict[str, Any]) -> int:
    """Put the transitions of the A* routes into the agent's replay ``times`` over.

    Args:
        agent: its replay must take one environment's transitions at a time or be filled with copies.
        problem: the netlist.
        times: how often each transition is put in.
        options: the environment's options.

    Returns:
        Number of transitions put in.
    """
    replay = agent.replay_buffer
    assert isinstance(replay, MaskedReplay)
    many, found = replay.n_envs, transitions(problem, options)
    for one in found * times:
        info = {"action_mask": one.next_mask, "TimeLimit.truncated": one.ended and not one.made}
        replay.add(
            one.obs[None].repeat(many, 0), one.next_obs[None].repeat(many, 0), np.array([one.move]).repeat(many),
            np.array([one.reward]).repeat(many), np.array([one.ended]).repeat(many), [info] * many,
        )  # fmt: skip
    return len(found) * times


def demonstration_rows(problem: Problem, config: TrainConfig, dtype: torch.dtype = torch.float32) -> Tensor:
    """The transitions of the A* routes as rows of ``agents.replay``, once: (count, width)."""
    found = transitions(problem, config.env_options())
    replay = Replay(1, max(1, len(found), config.n_step), len(found[0].obs) if found else 0, gamma=config.gamma,
                    n_step=config.n_step, dtype=dtype)  # fmt: skip
    for one in found:
        replay.add(
            torch.from_numpy(one.obs)[None], torch.tensor([one.move]),
            torch.tensor([one.reward * config.reward_scale]), torch.from_numpy(one.next_obs)[None],
            torch.from_numpy(one.next_mask)[None], torch.tensor([one.made]), torch.tensor([one.ended]),
        )  # fmt: skip
    return replay.rows[0, : len(found)]
