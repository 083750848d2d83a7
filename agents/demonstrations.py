"""A* routes of a netlist as replay transitions.

The routes come from the pair-by-pair A* alone and are played through the environment, so that observations, rewards
and masks are the environment's; a connection ends early where its route meets a full edge.

Source: the published agent fills its replay with A* routes first. Differs: nothing.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np

from agents.double_dqn import DoubleDQN, MaskedReplay
from agents.sb3_vec_env import RoutingVecEnv
from routing_env.grid import Grid, grid_of
from routing_env.problem import Problem
from routing_env.routers import astar

__all__ = ["demonstrate", "moves_of"]


def moves_of(grid: Grid, walk: list[int]) -> list[int]:
    """The moves along a walk over neighbouring nodes."""
    return [2 * (grid.edge(a, b) % 3) + (b < a) for a, b in pairwise(walk)]


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
    env = RoutingVecEnv([problem], **options)
    obs: Any = env.reset()
    rows: list[tuple[Any, ...]] = []
    grid = grid_of(problem)
    for walk in astar.paths(problem):
        done: Any = [False]
        if not walk:  # A* found no path: the connection is given up, for which a move has to be made in it
            env.step(env.action_masks().argmin(1))
        for move in moves_of(grid, walk):
            seen = obs
            blocked = not env.action_masks()[0, move]
            obs, reward, done, infos = env.step(np.array([move]))
            after = infos[0]["terminal_observation"][None] if done[0] else obs
            rows.append((seen, after, np.array([move]), reward, done, infos))
            if blocked or done[0]:
                break
        if not done[0]:
            obs = env.reset()
    env.close()
    for _ in range(times):
        for seen, after, played, reward, done, infos in rows:
            many = replay.n_envs
            replay.add(seen.repeat(many, 0), after.repeat(many, 0), played.repeat(many), reward, done, infos * many)
    return len(rows) * times
