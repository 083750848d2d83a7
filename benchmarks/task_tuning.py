"""Learning rates of optimizers on a task, found with one budget for all on seeds that no table uses.

python -m benchmarks.task_tuning digits --optimizers adam olnaq olmoq --trials 8

A trial runs three seeds from 1,000 on with a learning rate that optuna proposes, within a factor of 30 of the
method's own; the least mean score wins, one that is not finite loses. ``NAME-tuned`` is then a method of the task, with
rows of its own beside those of the published settings. Needs the extra ``tune``.
"""

from __future__ import annotations

import dataclasses
import math
import statistics
import sys
from pathlib import Path
from typing import Any

import torch
import tyro
from tqdm import tqdm

import optimizers
from agents import records
from agents.config import parse_options
from benchmarks.experiment import Size, pick
from benchmarks.race import Method, Task, numbers, run
from benchmarks.tuning import sampled_study

__all__ = ["RESULTS", "SEEDS", "SPAN", "tune", "tuned"]

RESULTS = Path(__file__).parent / "results" / "tuning"
SEEDS = (1000, 1001, 1002)
SPAN = 30.0
"""how far from a method's own rate the search goes"""


def tune(
    kind: type[Task], label: str, *, trials: int, size: Size, options: dict[str, Any], path: Path, quiet: bool = True
) -> list[dict[str, Any]]:
    """Try learning rates of a method; trials that have rows are told to the sampler again and not run.

    Returns:
        The rows, one a trial.

    Raises:
        ValueError: the task has no such method, or the method no learning rate.
    """
    method = kind.method(label)
    own = method.options.get("lr", optimizers.default_options(method.optimizer).get("lr"))
    if not isinstance(own, float | int):
        raise ValueError(f"{method.optimizer} has no learning rate to be tuned: lr is {own!r}")
    settings = kind.settings(label, size, options)
    known = {row["trial"]: row for row in records.read_rows(path)
             if row["method"] == label and row["settings"]["of"] == settings}  # fmt: skip
    study = sampled_study()
    for number in tqdm(range(trials), desc=label, disable=quiet):
        trial = study.ask()
        rate = float(f"{trial.suggest_float('lr', own / SPAN, own * SPAN, log=True):.3g}")
        if number not in known:
            known[number] = _tried(kind, label, rate, number, size, options)
            records.append_row(path, known[number])
        score = known[number]["metrics"]["score"]
        study.tell(trial, math.inf if score is None else score)
    return [known[number] for number in range(trials)]


def _tried(
    kind: type[Task], label: str, rate: float, number: int, size: Size, options: dict[str, Any]
) -> dict[str, Any]:
    method = kind.method(label)
    changed = dataclasses.replace(method, options=method.options | {"lr": rate})
    parts = [SEEDS] if kind.together(label) else [(seed,) for seed in SEEDS]
    steps = kind.length(label, size)
    rows = [row for part in parts for row in run(kind(part, steps, **size.scale, **options), changed)]
    score = statistics.fmean(numbers(rows, kind.score))
    return records.row(
        task=f"{kind.name}-tuning", method=label, seed=SEEDS[0], trial=number,
        settings={"of": kind.settings(label, size, options), "lr": rate, "seeds": list(SEEDS)},
        metrics={"score": score if math.isfinite(score) else None},
        wall_seconds=round(max(row["wall_seconds"] for row in rows), 1),
        cpu_seconds=round(max(row["cpu_seconds"] for row in rows), 1),
    )  # fmt: skip


def tuned(kind: type[Task], label: str, path: Path | None = None) -> Method:
    """A method of a task with the learning rate of its best trial.

    Raises:
        ValueError: there are no trials of it.
    """
    path = path or RESULTS / f"{kind.name}.jsonl"
    rows = [row for row in records.read_rows(path) if row["method"] == label and row["metrics"]["score"] is not None]
    if not rows:
        command = f"python -m benchmarks.task_tuning {kind.name.replace('-', '_')} --optimizers {label}"
        raise ValueError(f"{path}: no trials of {label!r}; run {command}")
    best = min(rows, key=lambda row: float(row["metrics"]["score"]))
    method = kind.method(label)
    return dataclasses.replace(method, options=method.options | {"lr": best["settings"]["lr"]})


@dataclasses.dataclass(frozen=True)
class Arguments:
    """Search learning rates on a task."""

    task: tyro.conf.Positional[str]
    """a file of benchmarks/tasks"""
    optimizers: tuple[str, ...] = ()
    """methods of the task or names of optimizers; none for all its methods"""
    trials: int = 8
    """rates tried of each"""
    fast: bool = False
    """at the task's fast size, else at its default one"""
    option: tuple[str, ...] = ()
    """options of the task as NAME=VALUE"""
    results: Path = RESULTS
    """folder of the rows"""
    quiet: bool = False
    """no progress bar"""


def main() -> int:
    """Run the command line."""
    asked = tyro.cli(Arguments, description=__doc__)
    torch.set_num_threads(1)
    try:
        kind = pick(asked.task)
        if not issubclass(kind, Task):
            raise ValueError(f"{kind.name} is no race of optimizers: there is nothing to tune")
        size, options = kind.sizes["fast" if asked.fast else "default"], kind.chosen(parse_options(asked.option))
        asked.results.mkdir(parents=True, exist_ok=True)
        path = asked.results / f"{kind.name}.jsonl"
        for label in asked.optimizers or kind.labels():
            tune(kind, label, trials=asked.trials, size=size, options=options, path=path, quiet=asked.quiet)
            print(f"{label}: lr {tuned(kind, label, path).options['lr']:g}", flush=True)
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted; the same command goes on where it stopped", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
