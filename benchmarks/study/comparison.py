"""Routers side by side on one netlist: A*, negotiated congestion, the exact optimum, trained agents, and the bound."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

import agents.router
from agents import records
from agents.training import RunError, read_config
from benchmarks.reporting.tables import text_table
from routing_env import Problem, Solution, official_score, write_solution
from routing_env.generators.published import published
from routing_env.metrics import summary
from routing_env.render import draw_congestion, draw_side_by_side, draw_training
from routing_env.routers import astar, exact, negotiated

__all__ = ["Comparison", "Entry", "compare"]

COLUMNS = ("router", "wirelength", "planar", "vias", "overflow", "unrouted", "gap %", "seconds")


@dataclass(frozen=True)
class Entry:
    """One router's result; overflow in length units by the official score, gap in % of the bound."""

    router: str
    wirelength: int
    planar: int
    vias: int
    overflow: int
    unrouted: int
    gap: float | None
    """None where nets are unrouted, or the routing is not legal"""
    seconds: float


@dataclass(frozen=True)
class Comparison:
    """What ``compare`` found."""

    problem: Problem
    bound: exact.Bound
    entries: tuple[Entry, ...]
    solutions: dict[str, Solution]

    def text(self) -> str:
        """The table."""
        rows = [asdict(entry) for entry in self.entries]
        for row in rows:
            row["gap %"] = row.pop("gap")
        last = dict.fromkeys(COLUMNS) | {"router": f"bound ({self.bound.kind})", "seconds": self.bound.seconds}
        infeasible = self.bound.proven_infeasible
        last |= {} if infeasible else {"wirelength": self.bound.value}
        table = text_table([*rows, last], COLUMNS)
        return table + ("\nNo routing without overflow exists (proven)." if infeasible else "")

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        entries = [asdict(entry) for entry in self.entries]
        return {"problem": self.problem.name, "bound": asdict(self.bound), "routers": entries}


def compare(
    problem: Problem, runs: Sequence[Path], folder: Path, *, time_limit: float | None = 60.0, seed: int = 0
) -> Comparison:
    """Route with every router and write solutions, ``comparison.json`` and pictures into a folder.

    Args:
        problem: the netlist.
        runs: run folders of trained agents.
        folder: where the files go.
        time_limit: seconds for each router.
        seed: of the routers that draw random numbers.
    """
    labels = _labels(runs)
    folder.mkdir(parents=True, exist_ok=True)
    _warm_up()
    bound = exact.bound(problem, time_limit=time_limit)
    routers: dict[str, Callable[[], Solution]] = {
        "A* (pair by pair)": lambda: astar.route(problem, sharing="none", time_limit=time_limit),
        "A* (net trees)": lambda: astar.route(problem, sharing="net", time_limit=time_limit),
        "negotiated": lambda: negotiated.route(problem, seed=seed, time_limit=time_limit),
        "exact": lambda: exact.route(problem, seed=seed, time_limit=time_limit),
    }
    for run, label in zip(runs, labels, strict=True):
        name = f"agent {label} ({read_config(run).optimizer})"
        routers[name] = lambda run=run: agents.router.route(  # type: ignore[misc]
            problem, run, seed=seed, time_limit=time_limit
        )
    solutions: dict[str, Solution] = {}
    entries = []
    for name, route in routers.items():
        start = time.perf_counter()
        solution = route()
        seconds = time.perf_counter() - start
        if name == "exact" and not any(map(len, solution.edges)):
            continue
        solutions[name] = solution
        entries.append(_entry(problem, name, solution, bound, seconds, folder))
    found = Comparison(problem, bound, tuple(entries), solutions)
    records.write_atomically(folder / "comparison.json", json.dumps(found.to_dict(), indent=1).encode())
    _pictures(found, dict(zip(labels, runs, strict=True)), folder)
    return found


def _labels(runs: Sequence[Path]) -> list[str]:
    """What each run is called: its folder's name, or the whole path where names coincide.

    Raises:
        RunError: a folder holds no run that can route, or is given twice.
    """
    for run in runs:
        read_config(run)
        if not (run / "checkpoint.pt").exists():
            raise RunError(f"{run}: no checkpoint.pt; the run has not got that far")
    if len({run.resolve() for run in runs}) < len(runs):
        raise RunError("the same run folder is given twice")
    folders = [run.name for run in runs]
    return [str(run) if folders.count(run.name) > 1 else run.name for run in runs]


def _warm_up() -> None:
    """Compile what the routers need, so that their times do not hold it."""
    tiny = published(seed=0, nets=4)
    for route in (astar.route, negotiated.route, exact.route):
        route(tiny)


def _entry(problem: Problem, name: str, solution: Solution, bound: exact.Bound, seconds: float, folder: Path) -> Entry:
    path = folder / f"{_slug(name)}.route"
    write_solution(problem, solution, path)
    score, totals = official_score(problem, path), summary(problem, solution)
    gap = 100 * (score.wirelength / bound.value - 1) if score.legal and bound.value else None
    return Entry(name, score.wirelength, totals.planar_wirelength, totals.vias, score.total_overflow,
                 len(totals.unrouted), gap, seconds)  # fmt: skip


def _slug(name: str) -> str:
    return "".join(c if c.isalnum() else "-" for c in name.lower().replace("*", "star")).strip("-").replace("--", "-")


def _pictures(found: Comparison, runs: dict[str, Path], folder: Path) -> None:
    shown = {name: found.solutions[name] for name in found.solutions if name not in ("A* (net trees)", "exact")}
    figure = Figure(figsize=(5 * len(shown), 9))
    draw_side_by_side(figure, found.problem, shown)
    figure.savefig(folder / "routes.png", dpi=110)
    figure = Figure(figsize=(7, 6), layout="constrained")
    name, last = list(shown.items())[-1]
    ax = figure.subplots()
    draw_congestion(ax, found.problem, last)
    ax.set_title(f"congestion, {name}")
    figure.savefig(folder / "congestion.png", dpi=110)
    for label, run in runs.items():
        rows = [{"pass": row["epoch"], **row["metrics"]} for row in records.read_rows(run / "rows.jsonl")]
        if rows:
            figure = Figure(figsize=(8, 4.5), layout="constrained")
            draw_training(figure.subplots(), rows)
            figure.savefig(folder / f"training-{_slug(label)}.png", dpi=110)
