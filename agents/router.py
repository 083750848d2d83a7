"""A trained Q-network as a router: its own moves, pass after pass, and nothing else.

On the netlist it was trained on, the best pass of the training counts too; on another one the network plays greedily
first and then, if asked, with a few random moves.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch

from agents import checkpoint
from agents.networks import q_values
from agents.sb3_vec_env import RoutingVecEnv
from agents.td import choose
from agents.training import RunError, build, read_config
from routing_env import Problem, Solution, read_problem, read_solution, rules
from routing_env.routers._protocol import Clock, Progress

__all__ = ["route"]


def route(
    problem: Problem,
    folder: Path,
    *,
    passes: int = 1,
    epsilon: float = 0.02,
    seed: int = 0,
    time_limit: float | None = None,
    progress: Progress | None = None,
) -> Solution:
    """Route with the agent of a run folder.

    Args:
        problem: any netlist; the observation must have the size the network was trained on.
        folder: a run of ``agents.training``.
        passes: passes to play on a netlist other than the run's; the first is greedy.
        epsilon: share of random moves in the others.
        seed: of those random moves.
        time_limit: seconds; at least the connection under way is finished.
        progress: called with (passes done, all, message).

    Returns:
        The best pass; ``info`` holds router, optimizer, pass, connected, connections, reward, seconds and ``trained``,
        whether the pass is from the training on this very netlist.

    Raises:
        RunError: no finished run in the folder, or the observation has another size.
    """
    clock = Clock(time_limit)
    config = read_config(folder)
    if not (folder / "checkpoint.pt").exists():
        raise RunError(f"{folder}: no checkpoint.pt; the run has not got that far")
    info: dict[str, Any] = {"router": "double DQN", "optimizer": config.optimizer, "seed": config.seed}
    own = read_problem(folder / "netlist.gr")
    if (folder / "best.json").exists() and own == problem:
        try:
            best = json.loads((folder / "best.json").read_text())
        except ValueError as error:
            raise RunError(f"{folder / 'best.json'}: {error}") from None
        solution = read_solution(problem, folder / "best.route")
        kept = {name: best[name] for name in ("pass", "connections", "connected", "reward")}
        return Solution(problem, solution.edges, info | kept | {"trained": True, "seconds": clock.seconds})
    env = RoutingVecEnv([problem], **config.env_options())
    agent = build(config, own)
    if env.observation_space.shape != agent.observation_space.shape:
        sizes = f"{env.observation_space.shape} on this netlist, {agent.observation_space.shape} in training"
        raise RunError(f"{folder}: observation of size {sizes}")
    agent.policy.load_state_dict(checkpoint.load_weights(folder / "checkpoint.pt"))
    rng = np.random.default_rng(seed)
    obs: Any = env.reset()
    state = env.venv.state.state[0]
    while state[rules.PASSES] < passes:
        coins = torch.from_numpy(rng.random((2, 1)))
        explore = (coins[0] < epsilon) & bool(state[rules.PASSES])
        with torch.no_grad():
            q = q_values(agent.policy.q_net, torch.from_numpy(obs))
        mask = torch.from_numpy(env.action_masks()) if config.masked else None
        obs, _, done, _ = env.step(choose(q, mask, explore, coins[1]).numpy())
        if done[0]:
            if progress is not None:
                progress(int(state[rules.PASSES]), passes, f"connected {state[rules.ROUTED]}")
            if clock.over:
                break
    finished = state[rules.PASSES] > 0
    solution = env.venv.solution(0, best=bool(finished))
    trained = {"trained": False, "seconds": clock.seconds, "stopped": bool(state[rules.PASSES] < passes)}
    return Solution(problem, solution.edges, solution.info | info | trained)
