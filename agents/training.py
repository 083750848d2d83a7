"""One training run in one folder: rows, checkpoints, the best pass, and going on after a stop.

config.json command.txt   what was asked for
rows.jsonl                one row a pass
checkpoint.pt             everything needed to go on with the same result
best.route best.json      the best pass as a contest solution, and its score: most connections, then least
                          overflow, then (all made) the shortest, then fewest moves
tensorboard/              curves
"""

from __future__ import annotations

import dataclasses
import json
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.logger import Logger
from tqdm import tqdm

from agents import checkpoint, records
from agents.config import TrainConfig, problem_of
from agents.demonstrations import demonstrate
from agents.double_dqn import DoubleDQN
from agents.processor import without_subnormals
from agents.sb3_vec_env import RoutingVecEnv
from routing_env import Problem, Solution, official_score, rules, write_problem, write_solution

__all__ = ["RunError", "best_solution", "build", "read_config", "train"]


class RunError(ValueError):
    """A run folder that cannot be used as asked."""


def read_config(folder: Path) -> TrainConfig:
    """The settings of a run folder.

    Raises:
        RunError: there is no run in the folder, it was made by another version, or config.json is damaged.
    """
    path = folder / "config.json"
    if not path.is_file():
        raise RunError(f"{folder}: no config.json; this is not a run folder")
    try:
        values: dict[str, Any] = json.loads(path.read_text())
    except ValueError as error:
        raise RunError(f"{path}: {error}") from None
    if not isinstance(values, dict):
        raise RunError(f"{path}: not a table of settings")
    known = {field.name for field in dataclasses.fields(TrainConfig)}
    if unknown := sorted(set(values) - known):
        raise RunError(f"{path}: unknown settings {', '.join(unknown)}")
    values = {name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}
    try:
        return TrainConfig(**values)
    except (ValueError, TypeError) as error:
        raise RunError(f"{path}: {error}") from None


def build(config: TrainConfig, problem: Problem) -> DoubleDQN:
    """The environment and the agent of a run, before its first move."""
    env = RoutingVecEnv([problem] * config.environments, **config.env_options())
    rate = config.learning_rate
    agent = DoubleDQN(
        "MlpPolicy", env, rate,
        optimizer=config.optimizer, optimizer_options=config.optimizer_options, masked=config.masked,
        reward_scale=config.reward_scale, loss=config.loss, initialisation=config.initialisation,
        net_arch=config.hidden, dueling=config.dueling, n_step=config.n_step, priority=config.priority,
        passes=config.passes, target_connections=config.target_connections,
        buffer_size=config.replay, learning_starts=config.learning_starts, batch_size=config.batch, tau=config.tau,
        gamma=config.gamma, train_freq=config.train_every, gradient_steps=config.updates,
        target_update_interval=config.target_every, max_grad_norm=config.max_grad_norm,
        exploration_initial_eps=config.epsilon_start, exploration_final_eps=config.epsilon_end,
        exploration_fraction=config.epsilon_fraction, seed=config.seed, device="cpu",
    )  # fmt: skip
    first = agent.lr_schedule(1.0)
    agent.lr_schedule = lambda left: first * (config.final_rate + (1 - config.final_rate) * left)
    agent.set_logger(Logger(folder=None, output_formats=[]))
    return agent


@without_subnormals()
def train(config: TrainConfig, folder: Path, *, resume: bool = False, quiet: bool = False) -> dict[str, Any]:
    """Train an agent, or go on with one that was stopped.

    Returns:
        The content of best.json.

    Raises:
        RunError: the folder holds a run already, or none to resume.
        KeyboardInterrupt: the run was interrupted; its checkpoint is written.
    """
    torch.set_num_threads(1)  # the networks are tiny; more threads only wait for each other
    saved = folder / "checkpoint.pt"
    if (folder / "config.json").exists() and not resume:
        raise RunError(f"{folder}: there is a run already; resume it or choose another folder")
    config = read_config(folder) if resume else config
    kept = folder / "netlist.gr"
    problem = problem_of(str(kept) if resume and kept.exists() else config.netlist)
    agent = build(config, problem)
    if resume and saved.exists():
        checkpoint.load(agent, saved)
    else:
        folder.mkdir(parents=True, exist_ok=True)
        write_problem(problem, folder / "netlist.gr")
        records.write_atomically(folder / "command.txt", (" ".join(sys.argv) + "\n").encode())
        settings = json.dumps(dataclasses.asdict(config), indent=1)
        records.write_atomically(folder / "config.json", settings.encode())
        if config.demonstrations:
            demonstrate(agent, problem, config.demonstrations, config.env_options())
    run = _Run(config, problem, folder, quiet)
    run.continue_rows(agent)
    if len(agent.history) < config.passes:
        with run.interruptible():
            agent.learn(2**60, callback=run, reset_num_timesteps=agent._last_obs is None)
    return run.finish(agent)


def best_solution(agent: DoubleDQN, problem: Problem) -> Solution:
    """The best pass of all environments: in the order of ``rules.close_pass``."""
    env = agent.env
    assert isinstance(env, RoutingVecEnv)
    columns = [rules.BEST_ROUTED, rules.BEST_OVERFLOW, rules.BEST_LOGGED, rules.BEST_MOVES, rules.COUNT]

    def order(b: int) -> tuple[int, ...]:
        routed, overflow, wires, moves, count = env.venv.state.state[b, columns].tolist()
        return -routed, overflow, wires if routed == count else 0, moves

    best = min(range(len(env.venv.problems)), key=order)
    solution = env.venv.solution(best)
    own = [passed["pass"] for passed in agent.history if passed["environment"] == best]
    number = solution.info["pass"]  # counted in its environment
    return dataclasses.replace(solution, info=solution.info | {"pass": own[number - 1] if number else 0})


class _Run(BaseCallback):
    """Rows, progress, checkpoints and the end of a run."""

    def __init__(self, config: TrainConfig, problem: Problem, folder: Path, quiet: bool) -> None:
        super().__init__()
        self.config, self.problem, self.folder, self.quiet = config, problem, folder, quiet
        self.settings = dataclasses.asdict(config)
        self.stop = False
        self.saved_at = time.perf_counter()
        self.started = time.perf_counter(), time.process_time()
        self.spent = 0.0, 0.0
        self.written = 0
        self.best = (-1, 0, 0)
        self.bar: Any = None
        self.curves: Any = None

    def continue_rows(self, agent: DoubleDQN) -> None:
        """Keep the rows up to the checkpoint, drop what was written after it."""
        path = self.folder / "rows.jsonl"
        rows = records.read_rows(path)[: len(agent.history)]
        records.write_rows(path, rows)
        self.written = len(rows)
        if rows:
            self.spent = rows[-1]["wall_seconds"], rows[-1]["cpu_seconds"]
        for passed in agent.history:
            self.best = max(self.best, (passed["routed"], -passed["overflow"], -passed["wirelength"]))

    def interruptible(self) -> _Signals:
        """While open, the first Ctrl-C or SIGTERM asks for a checkpoint and a stop, the second stops at once."""
        return _Signals(self)

    def _on_training_start(self) -> None:
        self.bar = tqdm(total=self.config.passes, initial=self.written, unit="pass", disable=self.quiet)
        if self.config.tensorboard:
            from torch.utils.tensorboard import SummaryWriter

            self.curves = SummaryWriter(str(self.folder / "tensorboard"), purge_step=self.written + 1)

    def _on_rollout_start(self) -> None:
        agent = self.model
        assert isinstance(agent, DoubleDQN)
        due = time.perf_counter() - self.saved_at > self.config.checkpoint_seconds
        if due or self.stop or not (self.folder / "checkpoint.pt").exists():
            self.save(agent)
        if self.stop:
            raise KeyboardInterrupt

    def _on_step(self) -> bool:
        agent = self.model
        assert isinstance(agent, DoubleDQN)
        while self.written < min(len(agent.history), self.config.passes):
            self._write(agent, agent.history[self.written])
        return len(agent.history) < self.config.passes

    def _write(self, agent: DoubleDQN, passed: dict[str, Any]) -> None:
        self.written += 1
        wall = self.spent[0] + time.perf_counter() - self.started[0]
        cpu = self.spent[1] + time.process_time() - self.started[1]
        records.append_row(self.folder / "rows.jsonl", records.row(
            task="routing", method=self.config.optimizer, settings=self.settings, seed=self.config.seed,
            step=agent.num_timesteps, epoch=passed["pass"], evaluations={"gradients": agent._n_updates},
            metrics={name: value for name, value in passed.items() if name != "pass"},
            wall_seconds=round(wall, 3), cpu_seconds=round(cpu, 3),
        ))  # fmt: skip
        self.best = max(self.best, (passed["routed"], -passed["overflow"], -passed["wirelength"]))
        self.bar.update()
        self.bar.set_postfix_str(f"connected {passed['routed']}, best {self.best[0]} with wirelength {-self.best[2]}")
        if self.curves is not None:
            for name in ("routed", "wirelength", "overflow", "reward"):
                self.curves.add_scalar(f"pass/{name}", passed[name], passed["pass"])

    def save(self, agent: DoubleDQN) -> None:
        """Write the checkpoint."""
        checkpoint.save(agent, self.folder / "checkpoint.pt")
        self.saved_at = time.perf_counter()

    def _on_training_end(self) -> None:
        self.close()

    def close(self) -> None:
        """Close the bar and the curves."""
        if self.bar is not None:
            self.bar.close()
        if self.curves is not None:
            self.curves.close()

    def finish(self, agent: DoubleDQN) -> dict[str, Any]:
        """Write the last checkpoint, the best pass and its score."""
        self.save(agent)
        solution = best_solution(agent, self.problem)
        write_solution(self.problem, solution, self.folder / "best.route")
        score = official_score(self.problem, self.folder / "best.route")
        passes = min(len(agent.history), self.config.passes)
        content = solution.info | {"passes": passes, "official": dataclasses.asdict(score)}
        text = json.dumps(content, indent=1)
        records.write_atomically(self.folder / "best.json", text.encode())
        kept: dict[str, Any] = json.loads(text)
        return kept


class _Signals:
    """Ctrl-C and SIGTERM as a wish to stop."""

    def __init__(self, run: _Run) -> None:
        self.run = run
        self.before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> None:
        def ask(number: int, frame: FrameType | None) -> None:
            if self.run.stop:
                raise KeyboardInterrupt
            self.run.stop = True

        handler: Callable[[int, FrameType | None], None] = ask
        try:
            for number in (signal.SIGINT, signal.SIGTERM):
                self.before[number] = signal.signal(number, handler)
        except ValueError:  # not the main thread: whoever owns it handles signals
            self.before = {}

    def __exit__(self, *error: object) -> None:
        for number, handler in self.before.items():
            signal.signal(number, handler)
        self.run.close()
