"""A population in one folder, cut into shards: one job a core and grid shape.

rows.jsonl        one row a member, in the order of the netlists
routes/           the best pass of each member as a contest solution
shard-K/          checkpoint, progress and TensorBoard curves of a part
config.json       what was asked for
"""

from __future__ import annotations

import dataclasses
import json
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from agents import records
from agents.config import TrainConfig, problem_of
from agents.graphs import use_graphs
from agents.jobs import Job, run_jobs
from agents.members import Member
from agents.memory import check_device, check_memory
from agents.stopping import alone
from routing_env import Problem
from routing_env.routers import exact

__all__ = ["read_netlists", "train_population"]


def read_netlists(names: Sequence[str]) -> list[tuple[str, Problem]]:
    """Label and problem of each netlist: files, folders of ``.gr`` files, ``published:SEED``, ``published:FIRST-LAST``.

    Raises:
        ValueError: a folder without netlists, a name that is given twice, or no name at all.
        FormatError, OSError: a file cannot be read.
    """
    found: list[tuple[str, Problem]] = []
    for name in names:
        kind, colon, seeds = name.partition(":")
        if kind == "published" and colon and "-" in seeds:
            first, _, last = seeds.partition("-")
            if not (first.isdigit() and last.isdigit() and int(first) <= int(last)):
                raise ValueError(f"netlists {name!r}: expected published:FIRST-LAST, two whole numbers")
            found += [
                (f"published{seed}", problem_of(f"published:{seed}")) for seed in range(int(first), int(last) + 1)
            ]
        elif Path(name).is_dir():
            paths = sorted(Path(name).glob("*.gr"), key=lambda path: (len(path.stem), path.stem))
            if not paths:
                raise ValueError(f"{name}: no .gr file in this folder")
            found += [(f"{path.parent.name}-{path.stem}", problem_of(str(path))) for path in paths]
        else:
            found.append((Path(name).stem.replace(":", ""), problem_of(name)))
    labels = [label for label, _ in found]
    if not labels:
        raise ValueError("no netlist given")
    if twice := sorted({label for label in labels if labels.count(label) > 1}):
        raise ValueError(f"netlists of the same name: {', '.join(twice)}")
    return found


def train_population(
    names: Sequence[str],
    config: TrainConfig,
    folder: Path,
    *,
    seeds: int = 1,
    learning_rates: Sequence[float] = (),
    processes: int = 1,
    shard: int = 64,
    bounds: bool = False,
    engine: str = "local",
    address: str | None = None,
    device: str = "cpu",
    graphs: str = "off",
    quiet: bool = False,
) -> list[dict[str, Any]]:
    """Train one agent a netlist, seed and learning rate, or go on where the folder stands.

    Returns:
        The rows, also in ``rows.jsonl``; routes are in ``routes/``.

    Raises:
        ValueError: the folder is of other settings, the population does not fit into memory, graphs cannot be, or a
            value has no sense.
    """
    _check(config, seeds, learning_rates, processes, shard)
    if address is None:  # a cluster has devices and memory of its own
        check_device(device)
    use_graphs(graphs, config, device)
    netlists = read_netlists(names)
    asked = json.loads(
        json.dumps(
            {
                "netlists": [label for label, _ in netlists], "seeds": seeds, "learning_rates": list(learning_rates),
                "processes": processes, "shard": shard, "bounds": bounds, "config": dataclasses.asdict(config),
            }
        )
    )  # fmt: skip
    kept = folder / "config.json"
    begun = kept.exists()
    if begun and (other := _differing(json.loads(kept.read_text()), asked)):
        raise ValueError(f"{folder}: there is a population of other {', '.join(other)}; choose another folder")
    members = _members(netlists, seeds, learning_rates, {})
    at_once = sorted(map(len, parts(members, processes, shard)), reverse=True)[:processes]
    if address is None:
        largest = max((problem for _, problem in netlists), key=lambda one: (math.prod(one.shape), len(one.nets)))
        check_memory(sum(at_once), largest, config, device)
    if not begun:
        folder.mkdir(parents=True, exist_ok=True)
        records.write_atomically(folder / "command.txt", (" ".join(sys.argv) + "\n").encode())
        records.write_atomically(kept, json.dumps(asked, indent=1).encode())
    proven = {label: _bound(problem) if bounds else None for label, problem in netlists}
    members = _members(netlists, seeds, learning_rates, proven)
    jobs: list[Job] = []
    for part in parts(members, processes, shard):
        chosen = tuple(members[place] for place in part)
        jobs.append(Job(folder / f"shard-{len(jobs)}", chosen, config, stop_at_bound=bounds, device=device,
                        graphs=graphs, checkpoint_seconds=config.checkpoint_seconds,
                        tensorboard=config.tensorboard))  # fmt: skip
    found = run_jobs(jobs, processes=processes, engine=engine, address=address, quiet=quiet)
    places = [place for part in parts(members, processes, shard) for place in part]
    rows: list[dict[str, Any]] = [{}] * len(members)
    for place, row in zip(places, [row for one in found for row in one], strict=True):
        rows[place] = row
    with alone(folder):
        (folder / "routes").mkdir(exist_ok=True)
        for job in jobs:
            for path in (job.folder / "routes").glob("*.route"):
                records.write_atomically(folder / "routes" / path.name, path.read_bytes())
        records.write_rows(folder / "rows.jsonl", rows)
    return rows


def _check(config: TrainConfig, seeds: int, learning_rates: Sequence[float], processes: int, shard: int) -> None:
    for name, number in (("seeds", seeds), ("processes", processes), ("shard", shard)):
        if number < 1:
            raise ValueError(f"{name} must be at least 1, got {number}")
    if any(not rate > 0 for rate in learning_rates):
        raise ValueError(f"learning rates must be positive, got {', '.join(map(str, learning_rates))}")
    if len({f"{rate:g}" for rate in learning_rates}) < len(learning_rates):
        raise ValueError(f"learning rates that are alike: {', '.join(map(str, learning_rates))}")
    own = {"netlist": "the netlists come first", "seed": "take --seeds", "environments": "take --seeds"}
    for name, instead in own.items():
        if getattr(config, name) != getattr(TrainConfig(), name):
            raise ValueError(f"--{name} is of a single agent; {instead}")


def _differing(kept: dict[str, Any], asked: dict[str, Any]) -> list[str]:
    """Names of what differs, settings of the agents by their own names."""
    one, other = (found | found["config"] for found in (kept, asked))
    return sorted(name for name in one.keys() | other.keys() if name != "config" and one.get(name) != other.get(name))


def _members(
    netlists: Sequence[tuple[str, Problem]], seeds: int, rates: Sequence[float], bounds: dict[str, int | None]
) -> list[Member]:
    return [
        Member(problem, label if not rates else f"{label}-{rate:g}", seed, rate, bounds.get(label))
        for label, problem in netlists
        for seed in range(seeds)
        for rate in (rates or (None,))
    ]


def _bound(problem: Problem) -> int:
    return exact.bound(problem).value


def parts(members: Sequence[Member], processes: int, shard: int) -> list[list[int]]:
    """Places of members, cut into shards of one grid shape, as many as there are processes or more."""
    shapes: dict[Any, list[int]] = {}
    for place, member in enumerate(members):
        shapes.setdefault(member.problem.shape, []).append(place)
    found = []
    for places in shapes.values():
        size = max(1, min(shard, -(-len(places) // processes)))
        found += [places[k : k + size] for k in range(0, len(places), size)]
    return found
