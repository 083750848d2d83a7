"""Speed, measured side by side in one run and given as ratios.

    python -m benchmarks.speed [--only NAME ...] [--rounds 5]

Each measure runs its two sides in turn, several rounds, and reports the median of the rounds' ratios beside the
medians of both sides; of counts one round. One core, one thread; rows go to ``benchmarks/results/speed-DEVICE.jsonl``
when ``--write`` is given.
"""

from __future__ import annotations

import dataclasses
import os
import time
import warnings
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import gymnasium as gym
import networkx as nx
import numpy as np
import torch
import tyro
from stable_baselines3 import DQN

from agents.config import TrainConfig
from agents.processor import keep_freed_memory, without_subnormals
from agents.training import build
from benchmarks.closure_calls import closure_calls
from benchmarks.growth import growths
from benchmarks.reporting.tables import text_table
from benchmarks.timing.agent_populations import population_agents
from benchmarks.timing.measure import Measure, measured, write
from benchmarks.timing.optimizer_steps import lbfgs_iterations, populations, stochastic_steps
from benchmarks.timing.plain_env import PlainRouting
from routing_env import Problem, read_problem
from routing_env.generators.published import published
from routing_env.grid import grid_of
from routing_env.metrics import lower_bound, summary
from routing_env.routers import astar, negotiated
from routing_env.routers._search import ANY, Prices, board_of, scratch_of, search
from routing_env.wrappers import ConnectionEpisodes

__all__ = ["MEASURES", "Measure"]

DATA = Path(os.environ.get("QUASIROUTE_DATA", "../shared/data")) / "ispd98"
"""where the circuits lie that do not come with the project"""


def moves_single() -> Iterator[Measure]:
    """Single environment by gymnasium.make with default wrappers, observation and mask every move."""
    problem = published(seed=0)
    env = gym.make("GlobalRouting-v0", problem=problem)
    moves = np.random.default_rng(0).integers(0, 6, 20_000).tolist()

    def ours() -> float:
        env.reset(seed=0)
        start = time.perf_counter()
        for move in moves:
            _, _, terminated, truncated, info = env.step(move)
            info["action_mask"]
            if terminated or truncated:
                env.reset()
        return len(moves) / (time.perf_counter() - start)

    yield Measure("single environment", "moves/s", ours, _plain_moves(problem), "the same rules in plain Python")


def _plain_moves(problem: Problem) -> Callable[[], float]:
    plain = PlainRouting(problem)
    moves = np.random.default_rng(0).integers(0, 6, 4_000).tolist()

    def other() -> float:
        plain.reset()
        start = time.perf_counter()
        for move in moves:
            if plain.step(move)[2]:
                plain.reset()
        return len(moves) / (time.perf_counter() - start)

    return other


def moves_vector() -> Iterator[Measure]:
    """Vector environment, 1, 64 and 1,024 problems, one thread, against as many single ones by SyncVectorEnv."""
    problems = [published(seed=seed) for seed in range(16)]
    for many in (1, 64, 1024):
        chosen = [problems[i % 16] for i in range(many)]
        venv = gym.make_vec("GlobalRouting-v0", num_envs=many, problem=chosen, copy=False)
        venv.reset(seed=0)
        moves = np.random.default_rng(0).integers(0, 6, (64, many))
        calls = max(64, 2_000_000 // many if many > 1 else 20_000)

        def ours(venv: Any = venv, moves: Any = moves, calls: int = calls, many: int = many) -> float:
            start = time.perf_counter()
            for call in range(calls):
                venv.step(moves[call % 64])
            return calls * many / (time.perf_counter() - start)

        few = min(many, 64)
        sync = gym.vector.SyncVectorEnv(
            [lambda p=p: gym.make("GlobalRouting-v0", problem=p) for p in chosen[:few]],  # type: ignore[misc]
            autoreset_mode=gym.vector.AutoresetMode.SAME_STEP,
        )
        sync.reset(seed=0)

        def other(sync: Any = sync, moves: Any = moves, few: int = few) -> float:
            start = time.perf_counter()
            for call in range(max(8, 2_000 // few)):
                sync.step(moves[call % 64, :few])
            return max(8, 2_000 // few) * few / (time.perf_counter() - start)

        yield Measure(f"vector environment, {many} problems", "moves/s", ours, other, f"SyncVectorEnv of {few}")


def astar_queries() -> Iterator[Measure]:
    """Two-pin queries on 16 x 16 x 2 against networkx's A* with the same heuristic."""
    problem = published(seed=0, width=16, height=16, nets=200)
    grid = grid_of(problem)
    graph = grid.to_networkx()
    rng = np.random.default_rng(0)
    pairs = rng.integers(0, 256, (200, 2)).astype(np.int32)
    board, scratch = board_of(grid), scratch_of(grid.nodes)
    unit = 1 << 20
    prices = Prices(np.full(grid.edges, unit, np.int32), grid.capacity.copy(), np.full(grid.edges, -1, np.int32),
                    -1, 0, -1, unit, unit)  # fmt: skip
    need = np.ones(3, np.int32)

    def ours() -> float:
        start = time.perf_counter()
        for a, b in pairs:
            search(board, scratch, prices, 0, need, np.array([a]), np.array([b]), board.whole, ANY)
        return len(pairs) / (time.perf_counter() - start)

    def left(a: int, b: int) -> int:
        return sum(abs(p - q) for p, q in zip(grid.tile(a), grid.tile(b), strict=True))

    def other() -> float:
        start = time.perf_counter()
        for a, b in pairs[:40].tolist():
            nx.astar_path(graph, a, b, left)
        return 40 / (time.perf_counter() - start)

    yield Measure("A*, two-pin queries, 16 x 16 x 2", "queries/s", ours, other, "networkx astar_path")


def astar_netlists() -> Iterator[Measure]:
    """A* of a whole 8 x 8 netlist against the same loop over networkx's A*."""
    problem = published(seed=0)

    def ours() -> float:
        start = time.perf_counter()
        for _ in range(20):
            astar.route(problem, sharing="none")
        return 20 / (time.perf_counter() - start)

    def other() -> float:
        start = time.perf_counter()
        _networkx_route(problem)
        return 1 / (time.perf_counter() - start)

    yield Measure("A*, netlist of 50 nets, 8 x 8 x 2", "netlists/s", ours, other, "networkx, same loop")


def _networkx_route(problem: Problem) -> int:
    from routing_env.decompose import connections

    grid = grid_of(problem)
    graph = grid.to_networkx()
    used = 0

    def left(a: int, b: int) -> int:
        return sum(abs(p - q) for p, q in zip(grid.tile(a), grid.tile(b), strict=True))

    def price(a: int, b: int, edge: dict[str, int]) -> int:
        return 1 if edge["capacity"] >= 1 else 1000

    for _, a, b in connections(problem).tolist():
        path = nx.astar_path(graph, a, b, left, price)
        for u, v in pairwise(path):
            graph[u][v]["capacity"] -= 1
        used += len(path) - 1
    return used


def negotiated_ispd() -> Iterator[Measure]:
    """Negotiated routing of ISPD-98 circuits: nets a second and how close to the Manhattan bound, no peer at hand."""
    for name in ("ibm01.modified.txt", "ibm02.modified.txt", "ibm01_multipin.gr"):
        if not (DATA / name).exists():
            print(f"skipped: no {DATA / name}")
            continue
        problem = read_problem(DATA / name)
        found: dict[str, int] = {}

        def ours(problem: Problem = problem, found: dict[str, int] = found) -> float:
            start = time.perf_counter()
            totals = summary(problem, negotiated.route(problem))
            found |= {"overflow": totals.total_overflow, "planar": totals.planar_wirelength, "vias": totals.vias}
            return len(problem.nets) / (time.perf_counter() - start)

        ours()
        lengths = f"planar {found['planar']} + vias {found['vias']}"
        quality = f"overflow {found['overflow']}, {lengths}, half-perimeter bound {lower_bound(problem)}"
        yield Measure(f"negotiated, {name.split('.')[0]} ({quality})", "nets/s", ours, None, "-")


def agent_updates() -> Iterator[Measure]:
    """DoubleDQN and stock SB3 DQN: an update every move, same network, batch and optimizer."""
    torch.set_num_threads(1)
    config = TrainConfig(
        train_every=1, updates=1, batch=32, learning_starts=100, hidden=(32, 64, 32), observation="scaled",
        reward="published", option=("fused=True",),
    )  # fmt: skip
    problem = published(seed=0)
    agent = build(config, problem)
    env = ConnectionEpisodes(gym.make("GlobalRouting-v0", problem=problem, observation="scaled"))
    stock = DQN(
        "MlpPolicy", env, learning_rate=1e-3, buffer_size=50_000, learning_starts=100, batch_size=32, train_freq=1,
        gamma=0.9, target_update_interval=100, device="cpu",
        policy_kwargs={"net_arch": [32, 64, 32], "optimizer_kwargs": {"fused": True}},
    )  # fmt: skip
    agent.learn(200)
    stock.learn(200)

    def updates(model: Any) -> float:
        start = time.perf_counter()
        model.learn(400, reset_num_timesteps=False)
        return 400 / (time.perf_counter() - start)

    yield Measure("DoubleDQN, torch.adam, batch 32", "updates/s", lambda: updates(agent), lambda: updates(stock),
                  "stock SB3 DQN, torch Adam")  # fmt: skip


MEASURES: dict[str, Callable[[], Iterator[Measure]]] = {
    "single": moves_single,
    "vector": moves_vector,
    "astar": astar_queries,
    "astar-netlist": astar_netlists,
    "negotiated": negotiated_ispd,
    "agent": agent_updates,
    "lbfgs": lbfgs_iterations,
    "stochastic": stochastic_steps,
    "population": populations,
    "population-agents": population_agents,
    "growth": growths,
    "calls": closure_calls,
}


@dataclasses.dataclass(frozen=True)
class Arguments:
    """Measure speed."""

    only: tuple[str, ...] = ()
    """names of measures; none for all"""
    rounds: int = 5
    """how often both sides are run in turn"""
    write: bool = False
    """append the rows to benchmarks/results"""


@without_subnormals()  # for both sides of every ratio
def main() -> None:
    """Run the command line."""
    asked = tyro.cli(Arguments, description=__doc__)
    keep_freed_memory()  # both sides of every ratio
    warnings.filterwarnings("ignore", message=".*target network.*")
    if unknown := set(asked.only) - set(MEASURES):
        raise SystemExit(f"no measure {', '.join(sorted(unknown))}; there are: {', '.join(MEASURES)}")
    rows = []
    for name in asked.only or MEASURES:
        for measure in MEASURES[name]():
            row = measured(measure, asked.rounds)
            rows.append(row)
            print(text_table([row]).split("\n")[-1], flush=True)
            if asked.write:
                write(measure, row, asked.rounds)
    print()
    print(text_table(rows))


if __name__ == "__main__":
    main()
