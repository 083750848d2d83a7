"""Which parts of the preset ``best`` matter: each switched alone, on netlists that no other table uses.

python -m benchmarks.ablation --seeds 2 --passes 150

An arm differs from the preset in the settings of its name. The preset was chosen by this table.
"""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path
from typing import Any

import tyro

from agents.jobs import JobError
from agents.presets import preset
from benchmarks.routing import RESULTS, study

__all__ = ["ARMS"]

ARMS: dict[str, dict[str, Any]] = {
    "best": {},
    "no-demonstrations": {"demonstrations": 0},
    "observation-published": {"observation": "published"},
    "observation-scaled": {"observation": "scaled"},
    "observation-window": {"observation": "window"},
    "reward-published": {"reward": "published"},
    "reward-shaped": {"reward": "shaped"},
    "unmasked": {"masked": False},
    "n-step-3": {"n_step": 3},
    "n-step-5": {"n_step": 5},
    "priority-0.6": {"priority": 0.6},
    "dueling": {"dueling": True},
    "batch-32": {"batch": 32},
    "batch-64": {"batch": 64},
    "batch-256": {"batch": 256},
    "train-every-1": {"train_every": 1},
    "train-every-4": {"train_every": 4},
    "train-every-8": {"train_every": 8},
    "target-every-30": {"target_every": 30},
    "target-every-300": {"target_every": 300},
    "hidden-32-64-32": {"hidden": (32, 64, 32)},
    "hidden-128-128": {"hidden": (128, 128)},
    "rate-5e-4": {"learning_rate": 5e-4},
    "rate-2e-3": {"learning_rate": 2e-3},
    "rate-constant": {"final_rate": 1.0},
    "gamma-0.95": {"gamma": 0.95},
    "gamma-0.8": {"gamma": 0.8},
    "epsilon-0.03": {"epsilon_end": 0.03},
    "epsilon-0": {"epsilon_end": 0.0},
    "squared-loss": {"loss": "squared"},
    "reward-scale-1": {"reward_scale": 1.0},
    "published-weights": {"initialisation": "published"},
    "replay-10000": {"replay": 10_000},
}


@dataclasses.dataclass(frozen=True)
class Arguments:
    """Switch the parts of the preset best."""

    arms: tuple[str, ...] = tuple(ARMS)
    """which of them"""
    optimizer: str = "adam"
    """of all arms"""
    seeds: int = 2
    """agents a netlist and arm"""
    passes: int = 150
    """over each netlist"""
    processes: int = 2
    """populations at a time"""
    folder: Path = Path("runs/ablation")
    """where the runs lie while they are made"""
    results: Path = RESULTS
    """where rows are kept"""


def main() -> int:
    """Run the command line."""
    asked = tyro.cli(Arguments, description=__doc__)
    if unknown := sorted(set(asked.arms) - set(ARMS)):
        print(f"error: no arm {', '.join(unknown)}; there are: {', '.join(ARMS)}", file=sys.stderr)
        return 2
    own = "" if asked.optimizer == "adam" else f"{asked.optimizer}-"
    arms = {
        f"ablation-{own}{name}": preset("best", asked.optimizer, passes=asked.passes, **ARMS[name])
        for name in asked.arms
    }
    try:
        study("tuning", arms, range(asked.seeds), asked.folder, results=asked.results, processes=asked.processes)
    except (ValueError, JobError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted; the same command goes on where it stopped", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
