"""Learning rates of optimizers on a task, found with one budget for all on seeds that no table uses.

python -m benchmarks.task_tuning digits --optimizers adam olnaq olmoq --trials 8

python -m benchmarks.task_tuning pixel_sequences --grid --trials 7 --seeds 1 --steps 300 --option sequence=pixels

A trial runs three seeds from 1,000 on with a learning rate that optuna (the extra ``tune``) proposes, within a factor
of 30 of the method's own; the least mean score wins, one that is not finite loses. ``NAME-tuned`` is then a method of
the task, with rows of its own beside those of the published settings. With ``--grid`` the rates are the method's own
times 10^(k/2), as many below it as above, which needs no extra.
"""

from __future__ import annotations

import dataclasses
import math
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import tyro
from tqdm import tqdm

import optimizers
from agents import records
from agents.config import parse_options
from benchmarks.harness.experiment import Size, pick
from benchmarks.harness.race import Method, Task, numbers, run
from benchmarks.tuning import sampled_study

__all__ = ["RESULTS", "SEEDS", "SPAN", "tune", "tuned"]

RESULTS = Path(__file__).parent / "results" / "tuning"
SEEDS = (1000, 1001, 1002)
SPAN = 30.0
"""how far from a method's own rate the search goes"""


def tune(
    kind: type[Task], label: str, *, trials: int, size: Size, options: dict[str, Any], path: Path, grid: bool = False,
    seeds: tuple[int, ...] = SEEDS, quiet: bool = True,
) -> list[dict[str, Any]]:  # fmt: skip
    """Try learning rates of a method; trials that have rows are told to the sampler again and not run.

    Args:
        kind: the task.
        label: the method.
        trials: how many rates.
        size: how much of the task.
        options: of the task.
        path: file of the rows.
        grid: the rates of the grid instead of optuna's.
        seeds: that every rate is tried on.
        quiet: no progress bar.

    Returns:
        The rows, one a trial.

    Raises:
        ValueError: the task has no such method, or the method no learning rate.
    """
    method = kind.method(label)
    own = method.options.get("lr", optimizers.default_options(method.optimizer).get("lr"))
    if not isinstance(own, float | int):
        raise ValueError(f"{method.optimizer} has no learning rate to be tuned: lr is {own!r}")
    # a task may have a rate from such trials among its settings: what they are trials of is the method as it was before
    of = kind.settings(label, size, options) | {"options": method.options}
    told = {"of": of, "seeds": list(seeds)} | ({"grid": True} if grid else {})
    known = {row["settings"]["lr"]: row for row in records.read_rows(path)
             if row["method"] == label and row["settings"] == told | {"lr": row["settings"]["lr"]}}  # fmt: skip
    found = []
    study = None if grid else sampled_study()
    for number in tqdm(range(trials), desc=label, disable=quiet):
        if study is None:
            trial, rate = None, own * 10 ** ((number - (trials - 1) / 2) / 2)
        else:
            trial = study.ask()
            rate = trial.suggest_float("lr", own / SPAN, own * SPAN, log=True)
        rate = float(f"{rate:.3g}")
        if rate not in known:
            known[rate] = _tried(kind, label, number, size, options, told | {"lr": rate})
            records.append_row(path, known[rate])
        found.append(known[rate])
        if study is not None:
            score = known[rate]["metrics"]["score"]
            study.tell(trial, math.inf if score is None else score)
    return found


def _tried(
    kind: type[Task], label: str, number: int, size: Size, options: dict[str, Any], told: dict[str, Any]
) -> dict[str, Any]:
    method, seeds = kind.method(label), told["seeds"]
    changed = dataclasses.replace(method, options=method.options | {"lr": told["lr"]})
    parts = [seeds] if kind.together(label) else [(seed,) for seed in seeds]
    steps = kind.length(label, size)
    rows = [row for part in parts for row in run(kind(part, steps, **size.scale, **options), changed)]
    score = statistics.fmean(numbers(rows, kind.score))
    return records.row(
        task=f"{kind.name}-tuning", method=label, seed=seeds[0], trial=number, settings=told,
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
    best = _best([row for row in records.read_rows(path) if row["method"] == label], path, kind, label)
    method = kind.method(label)
    return dataclasses.replace(method, options=method.options | {"lr": best["settings"]["lr"]})


def _best(rows: Sequence[dict[str, Any]], path: Path, kind: type[Task], label: str) -> dict[str, Any]:
    finite = [row for row in rows if row["metrics"]["score"] is not None]
    if not finite:
        command = f"python -m benchmarks.task_tuning {kind.name.replace('-', '_')} --optimizers {label}"
        raise ValueError(f"{path}: no trials of {label!r}; run {command}")
    return min(finite, key=lambda row: float(row["metrics"]["score"]))


@dataclasses.dataclass(frozen=True)
class Arguments:
    """Search learning rates on a task."""

    task: tyro.conf.Positional[str]
    """a file or folder of benchmarks/tasks"""
    optimizers: tuple[str, ...] = ()
    """methods of the task or names of optimizers; none for all its methods"""
    trials: int = 8
    """rates tried of each"""
    fast: bool = False
    """at the task's fast size, else at its default one"""
    steps: int | None = None
    """other steps than the size's"""
    grid: bool = False
    """rates 10^(1/2) apart, the method's own in the middle, instead of optuna's"""
    seeds: int = len(SEEDS)
    """how many seeds every rate is tried on"""
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
        size = size if asked.steps is None else dataclasses.replace(size, steps=asked.steps)
        seeds = tuple(range(SEEDS[0], SEEDS[0] + asked.seeds))
        asked.results.mkdir(parents=True, exist_ok=True)
        path = asked.results / f"{kind.name}.jsonl"
        for label in asked.optimizers or kind.labels():
            rows = tune(kind, label, trials=asked.trials, size=size, options=options, path=path, grid=asked.grid,
                        seeds=seeds, quiet=asked.quiet)  # fmt: skip
            scores = ", ".join(f"{row['settings']['lr']:g} ({row['metrics']['score']})" for row in rows)
            print(f"{label}: lr {_best(rows, path, kind, label)['settings']['lr']:g} of {scores}", flush=True)
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted; the same command goes on where it stopped", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
