"""The routers over a folder of netlists: official scores, means, and a row for every routing.

python -m benchmarks.baselines FOLDER [--routers astar-none negotiated exact] [--write NAME]
"""

from __future__ import annotations

import dataclasses
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import tyro
from tqdm import tqdm

from agents import records
from benchmarks.reporting.tables import text_table
from routing_env import Problem, Solution, official_score, read_problem, write_solution
from routing_env.metrics import summary
from routing_env.routers import astar, exact, negotiated

__all__ = ["ROUTERS", "measure"]

ROUTERS: dict[str, Callable[[Problem], Solution]] = {
    "astar-none": lambda problem: astar.route(problem, sharing="none"),
    "astar-none-closed": lambda problem: astar.route(problem, sharing="none", full="closed"),
    "astar-net": lambda problem: astar.route(problem, sharing="net"),
    "negotiated": negotiated.route,
    "exact": lambda problem: exact.route(problem, time_limit=60.0),
}


def measure(name: str, paths: Sequence[Path]) -> list[dict[str, Any]]:
    """Route every netlist with one router.

    Returns:
        One row a netlist; metrics by the official score of the written file.
    """
    rows = []
    ROUTERS[name](read_problem(paths[0]))  # compilation is not part of the times
    with tempfile.TemporaryDirectory() as folder:
        for path in tqdm(paths, desc=name):
            problem = read_problem(path)
            start = time.perf_counter()
            solution = ROUTERS[name](problem)
            seconds = time.perf_counter() - start
            file = Path(folder) / "solution.route"
            write_solution(problem, solution, file)
            score, totals = official_score(problem, file), summary(problem, solution)
            metrics = {
                "netlist": f"{path.parent.name}/{path.name}",
                "overflow": score.total_overflow,
                "max_overflow": score.max_overflow,
                "wirelength": score.wirelength,
                "planar_wirelength": totals.planar_wirelength,
                "unrouted": len(totals.unrouted),
                "bound": solution.info["bound"]["value"] if name == "exact" else None,
                "status": solution.info.get("status"),
            }
            rows.append(
                records.row(task="baselines", method=name, settings={}, seed=0, metrics=metrics, wall_seconds=seconds)
            )
    return rows


def summarise(name: str, rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Totals and means over the netlists of one router."""
    found = [row["metrics"] for row in rows]
    return {
        "router": name,
        "netlists": len(found),
        "overflow": sum(one["overflow"] for one in found),
        "without overflow": sum(one["overflow"] == 0 for one in found),
        "fully routed": sum(one["unrouted"] == 0 for one in found),
        "mean wirelength": statistics.fmean(one["wirelength"] for one in found),
        "mean planar": statistics.fmean(one["planar_wirelength"] for one in found),
        "mean seconds": round(statistics.fmean(row["wall_seconds"] for row in rows), 4),
    }


@dataclasses.dataclass(frozen=True)
class Arguments:
    """Run the routers over netlists."""

    netlists: tyro.conf.Positional[tuple[Path, ...]]
    """netlist files, or folders of .gr files"""
    routers: tuple[str, ...] = ("astar-none", "astar-net", "negotiated", "exact")
    """astar-none, astar-none-closed, astar-net, negotiated, exact"""
    write: str | None = None
    """append the rows to benchmarks/results/NAME.jsonl"""


def main() -> int:
    """Run the command line."""
    asked = tyro.cli(Arguments, description=__doc__)
    if unknown := set(asked.routers) - set(ROUTERS):
        print(f"error: no router {', '.join(sorted(unknown))}; there are: {', '.join(ROUTERS)}", file=sys.stderr)
        return 2
    paths = [file for path in asked.netlists for file in (sorted(path.glob("*.gr")) if path.is_dir() else [path])]
    if not paths:
        print(f"error: no netlist in {', '.join(map(str, asked.netlists))}", file=sys.stderr)
        return 2
    means = []
    for name in asked.routers:
        rows = measure(name, paths)
        means.append(summarise(name, rows))
        if asked.write:
            path = Path(__file__).parent / "results" / f"{asked.write}.jsonl"
            path.parent.mkdir(exist_ok=True)
            for row in rows:
                records.append_row(path, row)
    print(text_table(means))
    return 0


if __name__ == "__main__":
    sys.exit(main())
