"""Race optimizers on a task and print the results beside the published ones.

python -m scripts.benchmark function_modelling --optimizers mnaq-0.8 mnaq-0.95 adam

python -m scripts.benchmark digits --trials 3 --fast

Rows are appended to a file. What is there already is not run again: an interrupted race goes on with the same command.
"""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path

import tyro

from benchmarks.race import pick, race
from benchmarks.tables import text_table


@dataclasses.dataclass(frozen=True)
class Arguments:
    """Race optimizers on a task."""

    task: tyro.conf.Positional[str]
    """function_modelling or digits"""
    optimizers: tuple[str, ...] = ()
    """methods of the task with their published settings, or any optimizer's name; none for all the task's methods"""
    trials: int | None = None
    """seeds 0 to TRIALS - 1; none for the task's own number"""
    fast: bool = False
    """a short run, to see that it works; --full, the published length, is the default"""
    full: bool = False
    """the published length"""
    file: Path | None = None
    """file of rows; none for runs/TASK.jsonl"""
    quiet: bool = False
    """no progress bar"""


def main() -> int:
    """Run the command line."""
    asked = tyro.cli(Arguments, description=__doc__)
    try:
        if asked.fast and asked.full:
            raise ValueError("--fast and --full exclude each other")
        kind = pick(asked.task)
        trials = kind.trials if asked.trials is None else asked.trials
        if trials < 1:
            raise ValueError(f"--trials must be at least 1, got {trials}")
        labels = [label for text in asked.optimizers for label in text.split(",")] or list(kind.methods)
        path = asked.file or Path("runs") / f"{kind.name}.jsonl"
        path.parent.mkdir(parents=True, exist_ok=True)
        rows = race(kind, labels, range(trials), path, fast=asked.fast, quiet=asked.quiet)
    except (ValueError, TypeError, OSError, ModuleNotFoundError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted; the same command goes on", file=sys.stderr)
        return 130
    print(text_table(kind.table(rows)))
    print(f"\nrows: {path}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
