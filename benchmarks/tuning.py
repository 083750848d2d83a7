"""Settings of each optimizer for the routing study, found with one budget for all on netlists that no table uses.

python -m benchmarks.tuning --optimizers adam rmsprop olnaq olmoq asnaq --trials 10

A trial trains ten netlists over the first passes of the preset ``best`` with a learning rate and one more setting that
optuna proposes; its score is the mean number of connections missing per pass. Needs the extra ``tune``.
"""

from __future__ import annotations

import dataclasses
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import tyro
from tqdm import tqdm

from agents import records
from agents.config import TrainConfig
from agents.population import Population
from agents.presets import CONSTANT, preset
from benchmarks.routing import RESULTS, problem_set
from routing_env import Problem, rules

__all__ = ["SPACES", "Space", "best_trial", "missing_connections", "sampled_study", "tune", "tuned"]

BOUND_MOVES = 60_000
"""moves after which a trial ends that does not learn"""


@dataclasses.dataclass(frozen=True)
class Space:
    """What is searched: a range of learning rates and the choices of one option."""

    low: float
    high: float
    option: str
    choices: tuple[Any, ...]
    fixed: tuple[str, ...] = ()
    """options that stay"""


MOMENTA = (0.5, 0.8, 0.9, 0.95)
SPACES: dict[str, Space] = {
    "adam": Space(1e-4, 1e-2, "betas", ((0.9, 0.999), (0.8, 0.999), (0.95, 0.999), (0.9, 0.99))),
    "rmsprop": Space(1e-4, 1e-2, "rho", (0.9, 0.95, 0.99, 0.999)),
    "sgd": Space(1e-3, 1.0, "weight_decay", (0.0, 1e-6, 1e-5, 1e-4)),
    "momentum": Space(1e-3, 1.0, "mu", MOMENTA),
    "nag": Space(1e-3, 1.0, "mu", MOMENTA),
    "olbfgs": Space(1e-2, 0.5, "lam", (1.0, 0.1, 0.01, 0.001), CONSTANT),
    "olnaq": Space(1e-2, 0.5, "mu", MOMENTA, CONSTANT),
    "olmoq": Space(1e-2, 0.5, "mu", MOMENTA, CONSTANT),
    "asnaq": Space(2e-3, 0.1, "mu_max", MOMENTA),
    "sqn": Space(1e-2, 0.5, "L", (5, 10, 20, 40), CONSTANT),
    "adaqn": Space(1e-4, 0.1, "L", (2, 5, 10, 20)),
}


def missing_connections(config: TrainConfig, problems: Sequence[Problem], passes: int, seed: int = 0) -> float:
    """Mean connections missing per pass over the first passes; passes that were not reached count as missing all."""
    population = Population(problems, config, [seed + place for place in range(len(problems))])
    counts = population.env.tables["state"][:, rules.COUNT].tolist()
    while population.moves < BOUND_MOVES and min(len(one["routed"]) for one in population.history) < passes:
        for _ in range(population.stride):
            population.advance()
        population.poll()
    missing = 0.0
    for count, one in zip(counts, population.history, strict=True):
        routed = one["routed"][:passes]
        missing += sum(count - made for made in routed) + count * (passes - len(routed))
    return missing / passes / len(problems)


def settings(optimizer: str, rate: float, choice: Any) -> dict[str, Any]:
    """Changes of the preset for a point of an optimizer's space."""
    space = SPACES[optimizer]
    return {"learning_rate": rate, "option": (*space.fixed, f"{space.option}={choice}")}


def tune(
    optimizer: str, problems: Sequence[Problem], *, trials: int, passes: int, path: Path, quiet: bool = False
) -> list[dict[str, Any]]:
    """Try settings of an optimizer; trials that have rows are told to the sampler again and not run.

    Returns:
        The rows, one a trial.

    Raises:
        ValueError: there is no space to search for this optimizer.
    """
    if optimizer not in SPACES:
        raise ValueError(f"no space to search for {optimizer!r}; there are: {', '.join(SPACES)}")
    space, task = SPACES[optimizer], "routing-tuning"
    known = {row["trial"]: row for row in records.read_rows(path) if row["method"] == optimizer}
    study = sampled_study()
    for number in tqdm(range(trials), desc=optimizer, disable=quiet):
        trial = study.ask()
        rate = trial.suggest_float("learning_rate", space.low, space.high, log=True)
        choice = space.choices[trial.suggest_int("choice", 0, len(space.choices) - 1)]
        rate = float(f"{rate:.4g}")
        found = settings(optimizer, rate, choice)
        if number not in known:
            start = time.perf_counter(), time.process_time()
            score = missing_connections(preset("best", optimizer, **found), problems, passes)
            known[number] = records.row(
                task=task, method=optimizer, settings=found | {"passes": passes}, seed=0, trial=number,
                metrics={"missing": score}, wall_seconds=round(time.perf_counter() - start[0], 1),
                cpu_seconds=round(time.process_time() - start[1], 1),
            )  # fmt: skip
            records.append_row(path, known[number])
        study.tell(trial, known[number]["metrics"]["missing"])
    return [known[number] for number in range(trials)]


def sampled_study() -> Any:
    """A study of optuna to be minimised, whose proposals depend on what it is told alone.

    Raises:
        ValueError: optuna is not installed.
    """
    try:
        import optuna
    except ImportError:
        raise ValueError("tuning needs the extra: pip install 'quasiroute[tune]'") from None
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna.create_study(sampler=optuna.samplers.TPESampler(seed=0, n_startup_trials=5))


def best_trial(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The row of the trial with the fewest connections missing; the first of equals."""
    return min(rows, key=lambda row: float(row["metrics"]["missing"]))


def tuned(optimizer: str, path: Path = RESULTS / "tuning.jsonl", **changes: Any) -> TrainConfig:
    """The preset ``best`` with the settings of an optimizer's best trial.

    Raises:
        ValueError: there are no trials of this optimizer.
    """
    rows = [row for row in records.read_rows(path) if row["method"] == optimizer]
    if not rows:
        raise ValueError(
            f"{path}: no trials of {optimizer!r}; run python -m benchmarks.tuning --optimizers {optimizer}"
        )
    found = best_trial(rows)["settings"]
    own = {"learning_rate": found["learning_rate"], "option": tuple(found["option"])}
    return preset("best", optimizer, **(own | changes))


@dataclasses.dataclass(frozen=True)
class Arguments:
    """Search settings of optimizers."""

    optimizers: tuple[str, ...] = ("adam", "rmsprop", "olnaq", "olmoq", "asnaq")
    """which of them"""
    trials: int = 10
    """settings tried of each"""
    passes: int = 20
    """passes of a trial"""
    results: Path = RESULTS
    """where rows are kept"""
    quiet: bool = False
    """no progress bar"""


def main() -> int:
    """Run the command line."""
    asked = tyro.cli(Arguments, description=__doc__)
    torch.set_num_threads(1)
    problems, _ = problem_set("tuning")
    asked.results.mkdir(parents=True, exist_ok=True)
    try:
        for name in asked.optimizers:
            rows = tune(name, problems, trials=asked.trials, passes=asked.passes, path=asked.results / "tuning.jsonl",
                        quiet=asked.quiet)  # fmt: skip
            best = best_trial(rows)
            print(f"{name}: {best['metrics']['missing']:.2f} missing with {best['settings']}", flush=True)
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted; the same command goes on where it stopped", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
