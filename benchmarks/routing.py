"""The published routing study as one command: netlists x optimizers x seeds, rows, and what the routers reach.

python -m benchmarks.routing nets50 --preset published --optimizers adam rmsprop asnaq --seeds 1 --processes 2

A set is made by the published generator from one seed; netlists that the exact router proves unroutable are replaced
by the next of the generator and counted, undecided ones stay. The optimizers of one call share netlists and seeds, so
that their results are paired. What has rows is not run again.
"""

from __future__ import annotations

import dataclasses
import gzip
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import tyro

from agents import records
from agents.config import TrainConfig, parse_options
from agents.jobs import Job, JobError, run_jobs
from agents.members import Member, same_settings
from agents.memory import check_device, check_memory
from agents.presets import preset
from benchmarks.baselines import ROUTERS
from routing_env import Problem, official_score, read_problem, write_solution
from routing_env.generators.published import published_set
from routing_env.metrics import summary
from routing_env.plugins import nearest
from routing_env.routers import exact

__all__ = ["RESULTS", "SETS", "netlists", "problem_set", "read", "settings_of", "study"]

RESULTS = Path(__file__).parent / "results" / "routing"
SETS = {"nets10": (25, 10, 10), "nets50x30": (30, 30, 50), "nets50": (50, 50, 50), "tuning": (10, 999, 50)}
"""netlists, seed of the generator, nets of each"""
TIME_LIMIT = 60.0
"""seconds for the exact router on one netlist"""
BASELINES = ("astar-none", "astar-none-closed", "astar-net", "negotiated")


def problem_set(name: str) -> tuple[list[Problem], int]:
    """The netlists of a set, or of a folder of ``.gr`` files, and how many proved unroutable and were replaced.

    Raises:
        ValueError: no such set or folder.
    """
    if name not in SETS:
        paths = sorted(Path(name).glob("*.gr"), key=lambda path: (len(path.stem), path.stem))
        if not paths:
            raise ValueError(f"no set or folder of .gr files {name!r}{nearest(name, SETS)}; sets: {', '.join(SETS)}")
        return [dataclasses.replace(read_problem(path), name=path.stem) for path in paths], 0
    count, seed, nets = SETS[name]
    # the busiest edges of the set are reduced: spares, of a seed of their own, get the same ones
    found = published_set(count, seed=seed, nets=nets)
    reduced = found[0].adjustments
    spares = iter(published_set(count, seed=seed + 10_000, nets=nets))
    replaced = 0
    for place, problem in enumerate(found):
        while _unroutable(problem):
            spare = next(spares)
            problem = dataclasses.replace(spare, adjustments=reduced, name=f"{problem.name}-replaced")
            replaced += 1
        found[place] = problem
    return found, replaced


def _unroutable(problem: Problem) -> bool:
    return exact.proves_unroutable(problem, time_limit=TIME_LIMIT) is True


def netlists(name: str, folder: Path) -> list[dict[str, Any]]:
    """A row a netlist of a set: what the routers reach and what is proven; made once and kept."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{Path(name).name}-netlists.jsonl"
    if path.exists():
        return records.read_rows(path)
    problems, replaced = problem_set(name)
    rows = []
    for problem in problems:
        metrics: dict[str, Any] = {"netlist": problem.name, "replaced_in_set": replaced}
        solution = exact.route(problem, time_limit=TIME_LIMIT)
        metrics |= {"bound": solution.info["bound"]["value"], "status": solution.info.get("status")}
        for router in BASELINES:
            metrics[router] = _score(problem, router, folder)
        metrics["exact"] = _scored(problem, solution, folder)
        rows.append(records.row(task="routing-netlists", method="routers", settings={"set": name}, seed=0,
                                metrics=metrics))  # fmt: skip
    records.write_rows(path, rows)
    return rows


def _score(problem: Problem, router: str, folder: Path) -> dict[str, Any]:
    return _scored(problem, ROUTERS[router](problem), folder)


def _scored(problem: Problem, solution: Any, folder: Path) -> dict[str, Any]:
    path = folder / "scored.route"
    write_solution(problem, solution, path)
    score, totals = official_score(problem, path), summary(problem, solution)
    path.unlink()
    return {"wirelength": score.wirelength, "overflow": score.total_overflow, "unrouted": len(totals.unrouted)}


def study(
    name: str,
    arms: dict[str, TrainConfig],
    seeds: Sequence[int],
    folder: Path,
    *,
    results: Path = RESULTS,
    count: int | None = None,
    processes: int = 1,
    engine: str = "local",
    address: str | None = None,
    stop_at_bound: bool = False,
    shard: int = 50,
    device: str = "cpu",
    quiet: bool = False,
) -> dict[str, list[dict[str, Any]]]:
    """Run every arm on the netlists of a set with every seed.

    Args:
        name: of the set.
        arms: settings by label; a label names the file of rows.
        seeds: of the agents.
        folder: where the runs lie while they are made.
        results: where rows are kept.
        count: take only so many netlists of the set.
        processes, engine, address: see ``agents.jobs``.
        stop_at_bound: whether a run ends where it cannot get better.
        shard: members of a population at most.
        device: of the populations.
        quiet: no progress bar.

    Returns:
        The rows of each arm, netlist by netlist and seed by seed.

    Raises:
        ValueError: no such set or device, kept rows of other settings, or no memory for the populations.
        JobError: a run ended with an error.
    """
    if address is None:  # a cluster has devices and memory of its own
        check_device(device)
    results.mkdir(parents=True, exist_ok=True)
    problems, _ = problem_set(name)
    bounds = {row["metrics"]["netlist"]: row["metrics"]["bound"] for row in netlists(name, results)}
    if list(bounds) != [one.name for one in problems]:
        kept = results / f"{Path(name).name}-netlists.jsonl"
        raise ValueError(f"{kept}: bounds of other netlists than those of {name}; choose another folder of results")
    order = {one.name: place for place, one in enumerate(problems)}
    problems = problems[:count]
    members = [Member(one, one.name, seed, bound=bounds[one.name]) for seed in seeds for one in problems]
    jobs: list[Job] = []
    known = {label: read(results / f"{Path(name).name}-{label}.jsonl.gz") for label in arms}
    for label, config in arms.items():
        if any(not same_settings(row["settings"], config) for row in known[label]):
            raise ValueError(
                f"{results / Path(name).name}-{label}.jsonl.gz: rows of other settings; take another label"
            )
        have = {(row["metrics"]["netlist"], row["seed"]) for row in known[label]}
        missing = [one for one in members if (one.netlist, one.seed) not in have]
        for k in range(0, len(missing), shard):
            part = tuple(missing[k : k + shard])
            where = folder / f"{Path(name).name}-{label}-{part[0].netlist}-{part[0].seed}-{len(part)}"
            jobs.append(Job(where, part, config, label=label, stop_at_bound=stop_at_bound, device=device))
    for job in jobs if address is None else ():
        check_memory(min(processes, len(jobs)) * len(job.members), job.members[0].problem, job.config, device)

    def keep(job: Job, rows: list[dict[str, Any]]) -> None:
        label = job.label or ""
        known[label] = sorted([*known[label], *rows], key=lambda row: (row["seed"], order[row["metrics"]["netlist"]]))
        write(results / f"{Path(name).name}-{label}.jsonl.gz", known[label])

    run_jobs(jobs, processes=processes, engine=engine, address=address, quiet=quiet, finished=keep)
    return known


def read(path: Path) -> list[dict[str, Any]]:
    """Rows of a compressed file; none where there is no file."""
    if not path.exists():
        return []
    with gzip.open(path, "rt") as file:
        return [json.loads(line) for line in file]


def write(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    """Write rows compressed, whole or not at all; equal rows give equal bytes."""
    data = "".join(json.dumps(one, separators=(",", ":")) + "\n" for one in rows).encode()
    records.write_atomically(path, gzip.compress(data, 9, mtime=0))


@dataclasses.dataclass(frozen=True)
class Arguments:
    """Run the routing study, or a part of it."""

    set: tyro.conf.Positional[str]
    """nets10, nets50x30, nets50, tuning, or a folder of .gr files"""
    optimizers: tuple[str, ...] = ("adam", "rmsprop", "asnaq")
    """names of optimizers with a form for populations"""
    preset: str = "published"
    """published, best, or tuned: best with the settings that ``benchmarks.tuning`` found for the optimizer"""
    seeds: int = 1
    """agents a netlist and optimizer: seeds 0 to this - 1"""
    first_seed: int = 0
    """first of the seeds"""
    passes: int | None = None
    """passes over each netlist; none for the preset's 500"""
    count: int | None = None
    """only so many netlists of the set"""
    processes: int = 2
    """populations at a time, one a core"""
    shard: int = 50
    """agents of a population"""
    stop_at_bound: bool = False
    """end a run where its wirelength has reached the proven bound"""
    engine: str = "local"
    """local or ray"""
    address: str | None = None
    """of the Ray cluster"""
    device: str = "cpu"
    """where populations lie"""
    folder: Path = Path("runs/study")
    """where the runs lie while they are made"""
    results: Path = RESULTS
    """where rows are kept"""
    label: str = ""
    """added to the names of the arms"""
    option: tuple[str, ...] = ()
    """options of the optimizer as NAME=VALUE"""
    setting: tuple[str, ...] = ()
    """other settings of the agent as NAME=VALUE"""
    quiet: bool = False
    """no progress bar"""


def settings_of(name: str, optimizer: str, results: Path = RESULTS, **changes: Any) -> TrainConfig:
    """Settings by the name of a preset, or ``tuned`` ones from the trials in a folder of results.

    Raises:
        ValueError: no such preset, or no trials of this optimizer.
    """
    if name == "tuned":
        from benchmarks.tuning import tuned

        return tuned(optimizer, results / "tuning.jsonl", **changes)
    return preset(name, optimizer, **changes)


def main() -> int:
    """Run the command line."""
    asked = tyro.cli(Arguments, description=__doc__)
    changes: dict[str, Any] = dict(parse_options(asked.setting))
    if asked.option:
        changes["option"] = asked.option
    if asked.passes is not None:
        changes["passes"] = asked.passes
    try:
        arms = {
            f"{asked.preset}-{name}{asked.label}": settings_of(asked.preset, name, asked.results, **changes)
            for name in asked.optimizers
        }
        seeds = range(asked.first_seed, asked.first_seed + asked.seeds)
        found = study(
            asked.set, arms, seeds, asked.folder, results=asked.results, count=asked.count, processes=asked.processes,
            engine=asked.engine, address=asked.address, stop_at_bound=asked.stop_at_bound, shard=asked.shard,
            device=asked.device, quiet=asked.quiet,
        )  # fmt: skip
    except (ValueError, TypeError, OSError, JobError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted; the same command goes on where it stopped", file=sys.stderr)
        return 130
    for label, rows in found.items():
        full = sum(row["metrics"]["first_full"] is not None for row in rows)
        print(f"{label}: {full} of {len(rows)} fully routed")
    return 0


if __name__ == "__main__":
    sys.exit(main())
