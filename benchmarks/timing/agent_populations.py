"""Speed of populations of agents: updates a second with all that belongs to them, and how they grow with the members.

    python -m benchmarks.timing.agent_populations        the picture of the rows

An update is one gradient step of one agent on a batch of 32, with the move before it: choice of the move, environment,
replay and target network. Times are processor times of one process with one thread, so that other processes beside it
spoil less.

"In shards" is the population as `scripts.train_population` runs it: a process for every core, all at the same time,
each with its share of the agents; their updates in a second of their own processor time are added up.

Two limits of the core are measured beside them, both for a method with one gradient an update (aSNAQ takes two): the
rate of large matrix products divided by the operations of an update, and the rate of the products of an update
themselves, shape by shape with all members at once, which also has to move the members' weights.
"""

from __future__ import annotations

import contextlib
import dataclasses
import multiprocessing
import os
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import gymnasium as gym
import matplotlib.pyplot as plt
import torch
from matplotlib.axes import Axes
from stable_baselines3 import DQN

from agents import records
from agents.config import TrainConfig
from agents.memory import check_memory
from agents.population import Population
from agents.presets import preset
from agents.processor import keep_freed_memory, without_subnormals
from agents.training import build
from benchmarks.reporting.tables import text_table
from benchmarks.timing.measure import RESULTS, Measure, machine
from routing_env.generators.published import published
from routing_env.wrappers import ConnectionEpisodes

__all__ = ["draw", "flops", "limit", "points", "population_agents"]

METHODS = ("adam", "asnaq", "olmoq")
MEMBERS = (1, 4, 16, 64, 256, 1024, 4096)
MEMBERS_OF_ROUND = 4096
"""updates of a round of the growing population, at least"""
WARM = 32


def settings(method: str) -> TrainConfig:
    """The published network, an update a move on a batch of 32, and a replay that thousands of members can have."""
    return preset(
        "published", method, demonstrations=0, replay=2_000, learning_starts=WARM, loss="huber", max_grad_norm=10.0,
        target_connections=None, target_every=100, tau=1.0,
    )  # fmt: skip


def population_agents() -> Iterator[Measure]:
    """Populations against stock SB3 DQN and the single DoubleDQN; then their growth, with the core's limit."""
    torch.set_num_threads(1)
    for method in METHODS:
        for against, other in (("stock SB3 DQN, torch Adam", stock()), ("DoubleDQN, torch.adam", single())):
            yield Measure(
                f"{method}, 64 agents as a population", "updates/s", population(method, 64), other, against,
                {"kind": "population-agents", "method": method, "members": 64, "against": against},
            )  # fmt: skip
    cores = len(os.sched_getaffinity(0))
    for method in METHODS if cores > 1 else ():
        yield Measure(
            f"{method}, 64 agents in {cores} shards, a core each", "updates/s", shards(method, 64, cores), stock(),
            "stock SB3 DQN, torch Adam, one core",
            {"kind": "population-shards", "method": method, "members": 64, "cores": cores},
        )  # fmt: skip
    yield Measure(
        "matrix products of 512 x 512, in updates", "updates/s", core, None, "-",
        {"kind": "population-core", "flops": flops(settings("adam"), 12)},
    )  # fmt: skip
    for members in MEMBERS:
        for method in METHODS if members <= 1024 else METHODS[:1]:
            config = settings(method)
            try:
                check_memory(members, published(seed=0), config)
            except ValueError as error:
                print(f"skipped: {error}")
                continue
            told = {"kind": "population-growth", "method": method, "members": members, "flops": flops(config, 12)}
            yield Measure(
                f"{method}, {members:,} agents", "updates/s", population(method, members), limit(members),
                "the matrix products alone", told,
            )  # fmt: skip


def population(method: str, members: int) -> Callable[[], float]:
    """Updates a second of all members together; the population is built when it is first asked."""
    made: list[Population] = []
    moves = max(8, MEMBERS_OF_ROUND // members) if members > 1 else 400

    def rate() -> float:
        if not made:
            problems = [published(seed=seed) for seed in range(16)]
            made.append(Population([problems[i % 16] for i in range(members)], settings(method), range(members)))
            for _ in range(WARM + 8):
                made[0].advance()
        found = made[0]
        start, before = time.process_time(), found.updates
        for move in range(moves):
            found.advance()
            if move % found.stride == 0:
                found.poll()
        return members * (found.updates - before) / (time.process_time() - start)

    return rate


def shards(method: str, members: int, cores: int) -> Callable[[], float]:
    """Updates a second of all members together, a share of them in each of as many processes as there are cores."""
    ends: list[Connection] = []

    def rate() -> float:
        if not ends:
            context = multiprocessing.get_context("spawn")
            for place in range(cores):
                mine, theirs = context.Pipe()
                share = members // cores + (place < members % cores)
                context.Process(target=_shard, args=(theirs, method, share), daemon=True).start()
                ends.append(mine)
            for end in ends:
                end.recv()  # it is built
        for end in ends:
            end.send(None)
        return sum(end.recv() for end in ends)

    return rate


def _shard(end: Connection, method: str, members: int) -> None:
    """A process of `shards`: says when it is ready, and at every word measures."""
    torch.set_num_threads(1)
    keep_freed_memory()
    rate = population(method, members)
    with without_subnormals(), contextlib.suppress(EOFError):  # who asked has ended
        rate()
        end.send(None)
        while True:
            end.recv()
            end.send(rate())


def single() -> Callable[[], float]:
    """Updates a second of one agent of this project."""
    config = dataclasses.replace(settings("adam"), optimizer="torch.adam", option=("fused=True",))
    agent = build(config, published(seed=0))
    return _learning(agent)


def stock() -> Callable[[], float]:
    """Updates a second of one agent of Stable-Baselines3, on the same environment with the same network."""
    config = settings("adam")
    env = ConnectionEpisodes(
        gym.make("GlobalRouting-v0", problem=published(seed=0), observation="published", reward="published")
    )
    return _learning(DQN(
        "MlpPolicy", env, learning_rate=1e-4, buffer_size=config.replay, learning_starts=WARM, batch_size=config.batch,
        train_freq=1, gradient_steps=1, gamma=config.gamma, target_update_interval=100, device="cpu",
        policy_kwargs={"net_arch": list(config.hidden), "optimizer_kwargs": {"fused": True}},
    ))  # fmt: skip


def _learning(agent: Any) -> Callable[[], float]:
    agent.learn(2 * WARM)

    def rate() -> float:
        start = time.process_time()
        agent.learn(300, reset_num_timesteps=False)
        return 300 / (time.process_time() - start)

    return rate


def _shapes(config: TrainConfig, inputs: int) -> list[tuple[int, int, int]]:
    """Rows, inputs and outputs of the products of an update: three forward passes, one backward, and that of a move."""
    sizes = (inputs, *config.hidden, 6)
    layers = list(pairwise(sizes))
    found = []
    for place, (a, b) in enumerate(layers):
        found += [(config.batch, a, b)] * 3 + [(1, a, b)]  # next values of both networks, values, the move's values
        found.append((a, config.batch, b))  # gradient of the weights
        if place:
            found.append((config.batch, b, a))  # gradient of the layer before
    return found


def flops(config: TrainConfig, inputs: int) -> int:
    """Additions and multiplications of the products of one update, and of the move before it."""
    return sum(2 * rows * a * b for rows, a, b in _shapes(config, inputs))


def limit(members: int) -> Callable[[], float]:
    """Updates a second if there were only the products: FLOP/s of them divided by the FLOPs of an update."""
    config = settings("adam")
    work: list[tuple[torch.Tensor, torch.Tensor, torch.Tensor]] = []
    times = max(1, MEMBERS_OF_ROUND // members)

    def rate() -> float:
        if not work:
            for rows, a, b in _shapes(config, 12):
                work.append((torch.rand(members, rows, a), torch.rand(members, a, b), torch.empty(members, rows, b)))
        start = time.process_time()
        for _ in range(times):
            for x, y, out in work:
                torch.bmm(x, y, out=out)
        return members * times / (time.process_time() - start)

    return rate


def core() -> float:
    """Updates a second at the rate of large matrix products."""
    x, out = torch.rand(512, 512), torch.empty(512, 512)
    start = time.process_time()
    for _ in range(20):
        torch.mm(x, x, out=out)
    rate = 20 * 2 * 512**3 / (time.process_time() - start)
    return rate / flops(settings("adam"), 12)


def points(rows: Sequence[dict[str, Any]]) -> dict[str, list[tuple[int, float, float]]]:
    """(members, updates a second, those of the products alone) by method, members rising; the last row of a point."""
    found: dict[str, dict[int, tuple[float, float]]] = {}
    for row in rows:
        told = row["settings"]
        if told.get("kind") == "population-growth":
            measured = row["metrics"]["ours"], row["metrics"]["other"]
            found.setdefault(told["method"], {})[told["members"]] = measured
    return {method: [(members, *both) for members, both in sorted(line.items())] for method, line in found.items()}


def draw(rows: Sequence[dict[str, Any]], ax: Axes) -> None:
    """Updates a second by members, one line a method, and the products alone."""
    found = points(rows)
    for method, line in found.items():
        ax.plot([one[0] for one in line], [one[1] for one in line], marker="o", markersize=4, label=method)
    if found:
        line = next(iter(found.values()))
        ax.plot([one[0] for one in line], [one[2] for one in line], "k--", label="the matrix products alone")
    cores = [row["metrics"]["ours"] for row in rows if row["settings"].get("kind") == "population-core"]
    if cores:
        ax.axhline(cores[-1], color="black", linestyle=":", label="matrix products of 512 x 512")
    ax.set(xscale="log", yscale="log", xlabel="agents of a population", ylabel="updates a second on one core")
    ax.grid(alpha=0.3)
    ax.legend(frameon=False)


def main() -> None:
    """Draw the rows of this kind of machine and print the shares of the limit."""
    rows = records.read_rows(RESULTS / f"speed-{machine()}.jsonl")
    figure, ax = plt.subplots(figsize=(5.5, 3.6), layout="constrained")
    draw(rows, ax)
    figure.savefig(Path(__file__).parents[2] / "docs/pictures/population-growth.png", dpi=150)
    print(text_table([
        {"method": method, "agents": members, "updates/s": ours, "products alone": other, "share": ours / other}
        for method, line in points(rows).items() for members, ours, other in line
    ]))  # fmt: skip


if __name__ == "__main__":
    main()
