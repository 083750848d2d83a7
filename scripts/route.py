"""Route a netlist and write the contest solution, its official score and the report.

python -m scripts.route FILE.gr --router negotiated

python -m scripts.route FILE.gr --router runs/mine        (a trained agent)
"""

from __future__ import annotations

import dataclasses
import json
import sys
from pathlib import Path

import tyro
from tqdm import tqdm

import agents.router
from agents import records
from agents.config import problem_of
from routing_env import Problem, Solution, official_score, write_solution
from routing_env.plugins import names, nearest, pick
from routing_env.report import report


@dataclasses.dataclass(frozen=True)
class Arguments:
    """Route a netlist."""

    netlist: tyro.conf.Positional[str]
    """a netlist file (.gr or Labyrinth, plain, .gz or .bz2), or published:SEED"""
    router: str = "negotiated"
    """astar, negotiated, exact, or the run folder of a trained agent"""
    out: Path | None = None
    """solution file; none for NETLIST.ROUTER.route in this folder"""
    time_limit: float | None = None
    """seconds; then the best routing so far is written"""
    seed: int = 0
    """of routers that draw random numbers"""
    quiet: bool = False
    """no progress bar, no report on the screen"""


def main() -> int:
    """Run the command line. Exit status 0 where the solution is legal, 1 where it is not, 2 on an error."""
    asked = tyro.cli(Arguments, description=__doc__)
    try:
        out = asked.out or Path(f"{_stem(asked.netlist)}.{Path(asked.router).name}.route")
        if out.suffix == ".json":
            raise ValueError(f"{out}: .json is the ending of the report; give the solution another")
        problem = problem_of(asked.netlist)
        solution = _route(problem, asked)
        write_solution(problem, solution, out)
        score = official_score(problem, out)
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted; nothing was written", file=sys.stderr)
        return 130
    found = report(problem, solution)
    content = {"official": dataclasses.asdict(score), "report": found.to_dict()}
    records.write_atomically(out.with_suffix(".json"), json.dumps(content, indent=1, default=str).encode())
    if not asked.quiet:
        print(found.text())
    over = f"overflow {score.total_overflow} (largest {score.max_overflow})"
    print(f"official score: {over}, wirelength {score.wirelength}")
    print(f"solution: {out}   score and report: {out.with_suffix('.json')}")
    return 0 if score.legal else 1


def _stem(netlist: str) -> str:
    """The netlist's name without the endings of its format."""
    name = Path(netlist).name.replace(":", "")
    for ending in (".gz", ".bz2", ".gr", ".txt"):
        name = name.removesuffix(ending)
    return name


def _route(problem: Problem, asked: Arguments) -> Solution:
    with tqdm(total=1, disable=asked.quiet) as bar:

        def progress(done: int, total: int, message: str) -> None:
            bar.total = total
            bar.set_postfix_str(message, refresh=False)
            bar.update(done - bar.n)

        if asked.router in names("routers"):
            solution: Solution = pick("routers", asked.router)(
                problem, seed=asked.seed, time_limit=asked.time_limit, progress=progress
            )
            return solution
        folder = Path(asked.router)
        if not folder.is_dir():
            known = ", ".join(names("routers"))
            hint = nearest(asked.router, names("routers"))
            raise ValueError(f"router {asked.router!r} is none of {known} and no run folder{hint}")
        return agents.router.route(problem, folder, seed=asked.seed, time_limit=asked.time_limit, progress=progress)


if __name__ == "__main__":
    sys.exit(main())
