"""Make netlists by seed and write them as contest files.

python -m scripts.make_problems published --seed 0 --count 5 --folder problems

python -m scripts.make_problems clustered --option nets=500 width=32 height=32
"""

from __future__ import annotations

import dataclasses
import inspect
import sys
from pathlib import Path
from typing import Any

import tyro

from agents.config import parse_options
from routing_env import Problem, write_problem
from routing_env.generators.published import published_set
from routing_env.plugins import nearest, pick
from routing_env.routers import exact


@dataclasses.dataclass(frozen=True)
class Arguments:
    """Make netlists."""

    generator: tyro.conf.Positional[str]
    """published, clustered or solvable"""
    seed: int = 0
    """of the first netlist; the others follow"""
    count: int = 1
    """number of netlists"""
    folder: Path = Path("problems")
    """where the files go"""
    option: tuple[str, ...] = ()
    """arguments of the generator as NAME=VALUE"""
    as_set: bool = False
    """one published set: the reduced edges are those most used over all netlists, not by each alone"""
    routable: bool = False
    """leave out netlists that are proven unroutable and take the next seeds instead"""


def main() -> int:
    """Run the command line."""
    asked = tyro.cli(Arguments, description=__doc__)
    try:
        made, left_out = _make(asked)
        asked.folder.mkdir(parents=True, exist_ok=True)
        for name, problem in made.items():
            write_problem(problem, asked.folder / f"{name}.gr")
            print(asked.folder / f"{name}.gr")
    except (ValueError, TypeError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    if left_out:
        print(f"{len(left_out)} left out as proven unroutable")
    return 0


def _make(asked: Arguments) -> tuple[dict[str, Problem], list[str]]:
    if asked.count < 1:
        raise ValueError(f"count must be at least 1, got {asked.count}")
    generate, options = pick("generators", asked.generator), parse_options(asked.option)
    known = [name for name in inspect.signature(generate).parameters if name != "seed"]
    for name in options:
        if name not in known:
            raise ValueError(f"{asked.generator} has no argument {name!r}{nearest(name, known)}; it has: {known}")
    if asked.as_set:
        if asked.generator != "published" or asked.routable:
            raise ValueError("--as-set goes with the published generator, without --routable")
        problems = published_set(asked.count, seed=asked.seed, **options)
        return {f"published{asked.seed}_{i + 1}": problem for i, problem in enumerate(problems)}, []
    return _one_by_one(asked, generate, options)


def _one_by_one(asked: Arguments, generate: Any, options: dict[str, Any]) -> tuple[dict[str, Problem], list[str]]:
    made: dict[str, Problem] = {}
    left_out: list[str] = []
    seed = asked.seed
    while len(made) < asked.count:
        name, problem = f"{asked.generator}{seed}", generate(seed=seed, **options)
        if asked.routable and exact.proves_unroutable(problem, time_limit=60.0):
            left_out.append(name)
            print(f"left out as proven unroutable: {name}", flush=True)
            if len(left_out) > 20 * asked.count:
                raise ValueError(f"{len(left_out)} of {len(left_out) + len(made)} netlists are unroutable; giving up")
        else:
            made[name] = problem
        seed += 1
    return made, left_out


if __name__ == "__main__":
    sys.exit(main())
