"""Compare A*, negotiated congestion, the exact optimum, the proven bound and trained agents on a netlist.

python -m scripts.compare FILE.gr --agents runs/mine runs/other --folder comparison
"""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path

import tyro

from agents.config import problem_of
from benchmarks.study.comparison import compare


@dataclasses.dataclass(frozen=True)
class Arguments:
    """Compare routers on a netlist."""

    netlist: tyro.conf.Positional[str]
    """a netlist file, or published:SEED"""
    agents: tuple[Path, ...] = ()
    """run folders of trained agents"""
    folder: Path = Path("comparison")
    """where solutions, comparison.json and pictures go"""
    time_limit: float = 60.0
    """seconds for each router"""
    seed: int = 0
    """of the routers that draw random numbers"""


def main() -> int:
    """Run the command line."""
    asked = tyro.cli(Arguments, description=__doc__)
    try:
        problem = problem_of(asked.netlist)
        found = compare(problem, asked.agents, asked.folder, time_limit=asked.time_limit, seed=asked.seed)
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(found.text())
    print(f"\nsolutions, comparison.json and pictures: {asked.folder}/")
    return 0


if __name__ == "__main__":
    sys.exit(main())
