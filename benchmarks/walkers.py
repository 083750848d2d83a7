"""The floor of the routing study: walkers that learn nothing, over as many passes, with the best pass counted.

python -m benchmarks.walkers nets50 --seeds 1

random   any move that changes something, all equally likely
greedy   a move towards the target if there is one, else a change of layer, else any; one move in 20 at random

Rows have the form of the study's, so that its tables hold them.
"""

from __future__ import annotations

import dataclasses
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import tyro
from torch import Tensor
from tqdm import tqdm

from agents import records
from agents.draws import Draws
from agents.population import CURVES, note_passes
from benchmarks.routing import RESULTS, netlists, problem_set, read, write
from routing_env import Problem, official_score, rules, write_solution
from routing_env.device_env import TensorRouting

__all__ = ["KINDS", "choose", "walk"]

KINDS = ("random", "greedy")
ASTRAY = 0.05
"""share of random moves of the greedy walker: without them it stands before the same full edge in every pass"""


def choose(kind: str, env: TensorRouting, uniform: Tensor) -> Tensor:
    """Moves (B,) of a kind of walker, by numbers (B, 7) in [0, 1): one a move to break ties, and the coin."""
    state, allowed = env.tables["state"], env.action_masks()
    merit = uniform[:, :6].clone()
    if kind == "greedy":
        gap = state[:, rules.TARGET_X : rules.TARGET_Z + 1] - state[:, rules.X : rules.Z + 1]
        towards = torch.stack([gap > 0, gap < 0], -1).flatten(1)  # (B, 6) in the order of the moves
        arrived = (gap[:, :2] == 0).all(1, keepdim=True)
        planar = torch.arange(6) < 4
        first = towards & torch.where(planar, True, arrived)
        steady = (uniform[:, 6:] >= ASTRAY).double()
        merit += steady * (2.0 * first + 1.0 * ~planar)
    return torch.where(allowed, merit, -1.0).argmax(1)


def walk(
    problems: Sequence[Problem], kind: str, passes: int, seeds: Sequence[int], quiet: bool = True
) -> tuple[TensorRouting, list[dict[str, list[float]]]]:
    """Walk every netlist for so many passes under the published rules.

    Returns:
        The environment, which holds the best passes, and the curves of each netlist.

    Raises:
        ValueError: no such kind of walker.
    """
    if kind not in KINDS:
        raise ValueError(f"walker {kind!r} is none of {', '.join(KINDS)}")
    env = TensorRouting(problems, observation="scaled", reward="published", max_steps=50)
    env.begin()
    draws = Draws(seeds)
    history: list[dict[str, list[float]]] = [{name: [] for name in CURVES} for _ in problems]
    stride = int(env.tables["state"][:, rules.COUNT].min())
    with tqdm(total=passes, desc=kind, disable=quiet) as bar:
        while (made := min(len(one["routed"]) for one in history)) < passes:
            bar.update(made - bar.n)
            for _ in range(stride):
                env.step(choose(kind, env, draws.uniform(7)))
            note_passes(env, history)
    return env, [{name: one[name][:passes] for name in CURVES} for one in history]


def rows_of(
    name: str, kind: str, passes: int, seeds: Sequence[int], results: Path, quiet: bool
) -> list[dict[str, Any]]:
    """A row a netlist and seed; the best of the first ``passes`` passes counts."""
    problems, _ = problem_set(name)
    bounds = {row["metrics"]["netlist"]: row["metrics"]["bound"] for row in netlists(name, results)}
    start, found = (time.perf_counter(), time.process_time()), []
    for seed in seeds:
        # a netlist that ends its passes early walks on: its best pass is looked up in its curves
        env, history = walk(problems, kind, passes, [1000 * seed + place for place in range(len(problems))], quiet)
        counts = env.tables["state"][:, rules.COUNT].tolist()
        for place, (problem, curves, count) in enumerate(zip(problems, history, counts, strict=True)):
            order = [
                (-routed, overflow, length if routed == count else 0, step)
                for routed, overflow, length, step in zip(
                    curves["routed"], curves["overflow"], curves["wirelength"],
                    [b - a for a, b in zip([0, *curves["step"]], curves["step"], strict=False)], strict=True,
                )
            ]  # fmt: skip
            best = min(range(passes), key=lambda i: order[i])
            full = [i for i, routed in enumerate(curves["routed"], 1) if routed == count]
            solution = env.solution(place)
            legal = len(full) > 0 and solution.info["pass"] == best + 1
            metrics = {
                "pass": best + 1, "connections": count, "connected": int(curves["routed"][best]),
                "reward": curves["reward"][best], "netlist": problem.name, "bound": bounds[problem.name],
                "wirelength": _official(problem, solution) if legal else int(curves["wirelength"][best]),
                "overflow": int(curves["overflow"][best]), "legal": bool(full), "first_full": full[0] if full else None,
                "full_passes": len(full), "passes": passes, "learning_rate": 0.0, "population": len(problems),
                "curve": {key: [int(one) for one in values] for key, values in curves.items()},
            }  # fmt: skip
            wall, cpu = time.perf_counter() - start[0], time.process_time() - start[1]
            found.append(records.row(
                task="routing", method=f"walker-{kind}", settings={"passes": passes, "max_steps": 50}, seed=seed,
                step=int(curves["step"][-1]), epoch=passes, metrics=metrics,
                evaluations={"losses": 0, "gradients": 0, "products": 0, "updates": 0},
                wall_seconds=round(wall, 1), cpu_seconds=round(cpu, 1),
            ))  # fmt: skip
    return found


def _official(problem: Problem, solution: Any) -> int:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "walk.route"
        write_solution(problem, solution, path)
        return official_score(problem, path).wirelength


@dataclasses.dataclass(frozen=True)
class Arguments:
    """Walk a set of netlists without learning."""

    set: tyro.conf.Positional[str]
    """a set of ``benchmarks.routing``, or a folder of .gr files"""
    seeds: int = 1
    """walks a netlist"""
    passes: int = 500
    """over each netlist"""
    results: Path = RESULTS
    """where rows are kept"""
    quiet: bool = False
    """no progress bar"""


def main() -> int:
    """Run the command line."""
    asked = tyro.cli(Arguments, description=__doc__)
    torch.set_num_threads(1)
    try:
        for kind in KINDS:
            path = asked.results / f"{Path(asked.set).name}-walker-{kind}.jsonl.gz"
            if read(path):
                continue
            rows = rows_of(asked.set, kind, asked.passes, range(asked.seeds), asked.results, asked.quiet)
            write(path, rows)
            full = sum(row["metrics"]["first_full"] is not None for row in rows)
            connected = sum(row["metrics"]["connected"] for row in rows) / len(rows)
            print(f"{kind}: {full} of {len(rows)} fully routed, {connected:.1f} connections in the best pass")
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
