"""Run an experiment of the optimizers and print its results beside the published ones.

python -m scripts.benchmark function_modelling --optimizers mnaq-0.8 mnaq-0.95 adam --processes 2

python -m scripts.benchmark digits --trials 3 --fast

Rows are appended to a file. What is there already is not run again: an interrupted run goes on with the same command.
"""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path
from typing import Any

import tyro

from agents.config import parse_options
from benchmarks.harness.experiment import Experiment, carry_out, pick
from benchmarks.reporting.tables import text_table


@dataclasses.dataclass(frozen=True)
class Arguments:
    """Run an experiment."""

    task: tyro.conf.Positional[str]
    """a file or folder of benchmarks/tasks, such as function_modelling or digits"""
    optimizers: tuple[str, ...] = ()
    """methods of the experiment with their settings, or any optimizer's name; none for all the experiment's methods"""
    trials: int | None = None
    """seeds 0 to TRIALS - 1; none for the number of the size"""
    fast: bool = False
    """seconds, to see that it works"""
    full: bool = False
    """the published size; without this and --fast at most 30 minutes on two cores"""
    steps: int | None = None
    """steps of a trial; none for those of the size"""
    scale: tuple[str, ...] = ()
    """other arguments of the size as NAME=VALUE, such as pictures=1000; the command prints those of the experiment"""
    option: tuple[str, ...] = ()
    """options of the experiment as NAME=VALUE"""
    file: Path | None = None
    """file of rows; none for runs/TASK.jsonl"""
    pictures: Path | None = None
    """folder for the pictures; none for no pictures"""
    processes: int = 1
    """units (a method's seeds) at a time, one a core"""
    engine: str = "local"
    """local or ray"""
    address: str | None = None
    """of the Ray cluster"""
    quiet: bool = False
    """no progress bar"""


def main() -> int:
    """Run the command line."""
    asked = tyro.cli(Arguments, description=__doc__)
    try:
        kind, rows, path = _rows(asked)
        pictures = []
        if asked.pictures is not None:
            asked.pictures.mkdir(parents=True, exist_ok=True)
            pictures = kind.draw(rows, asked.pictures)
    except (ValueError, TypeError, OSError, ModuleNotFoundError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted; the same command goes on", file=sys.stderr)
        return 130
    print(text_table(kind.table(rows)))
    for sentence in kind.findings(rows):
        print(f"\n{sentence}")
    print(f"\nrows: {path}")
    for picture in pictures:
        print(f"picture: {picture}")
    return 0


def _rows(asked: Arguments) -> tuple[type[Experiment], list[dict[str, Any]], Path]:
    if asked.fast and asked.full:
        raise ValueError("--fast and --full exclude each other")
    kind = pick(asked.task)
    name = "fast" if asked.fast else "full" if asked.full else "default"
    size = kind.sized(name, steps=asked.steps, trials=asked.trials, scale=parse_options(asked.scale))
    labels = [label for text in asked.optimizers for label in text.split(",")] or kind.labels()
    print(f"{kind.name}: {size}; the published size is {kind.sizes['full']}")
    path = asked.file or Path("runs") / f"{kind.name}.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = carry_out(
        kind, labels, range(size.trials), path, size=size, options=parse_options(asked.option),
        processes=asked.processes, engine=asked.engine, address=asked.address, quiet=asked.quiet,
    )  # fmt: skip
    return kind, rows, path


if __name__ == "__main__":
    sys.exit(main())
