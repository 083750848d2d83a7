"""Which parts of the preset ``best`` matter: each switched alone, on netlists that no other table uses.

python -m benchmarks.ablation --seeds 2 --passes 150
python -m benchmarks.ablation --part second-order --seeds 1 --passes 30

An arm differs from the preset in the settings of its name. The preset was chosen by the first table. The second asks
what makes second-order methods work in this problem: each is tried without its pairs, resets or schedule, with other
batches, and on the published reward as it is.
"""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path
from typing import Any, Literal

import tyro

from agents.config import TrainConfig
from agents.jobs import JobError
from agents.presets import CONSTANT, preset
from benchmarks.routing import RESULTS, study

__all__ = ["ARMS", "PREFIXES", "SECOND_ORDER"]

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

AS_PUBLISHED = {"reward": "published", "reward_scale": 1.0, "loss": "squared", "max_grad_norm": float("inf")}
"""the published reward as it is: 100 on reaching the target, and what its size is damped by switched off"""
NO_SCHEDULE = {"final_rate": 1.0}
SECOND_ORDER: dict[str, dict[str, Any]] = {
    "adam": {},
    "adam-batch-32": {"batch": 32},
    "adam-batch-512": {"batch": 512},
    "adam-published-reward": AS_PUBLISHED,
    "rmsprop": {},
    "asnaq": {},
    "asnaq-constant": NO_SCHEDULE,
    "asnaq-first-order": {"option": ("L=1_000_000_000", "mu=0.9")},  # no aggregation: no pairs, no resets
    "asnaq-first-order-not-normalized": {
        "option": ("L=1_000_000_000", "mu=0.9", "normalize=False"), "learning_rate": 0.001
    },
    "asnaq-never-resets": {"option": ("gamma=1e9",)},
    "asnaq-resets-at-1.5": {"option": ("gamma=1.5",)},
    "asnaq-angle-test": {"option": ("pair_test=angle",)},
    "asnaq-not-normalized": {"option": ("normalize=False",), "learning_rate": 0.001},
    "asnaq-batch-32": {"batch": 32},
    "asnaq-batch-512": {"batch": 512},
    "asnaq-rate-0.05": {"learning_rate": 0.05},
    "asnaq-published-reward": AS_PUBLISHED,
    "olnaq": {},
    "olnaq-constant": NO_SCHEDULE,
    "olnaq-own-schedule": {"learning_rate": None, "option": (), **NO_SCHEDULE},
    "olnaq-no-curvature": {"option": (*CONSTANT, "lam=1e6")},  # y + lam s is lam s: H is a multiple of the identity
    "olnaq-lam-0.01": {"option": (*CONSTANT, "lam=0.01")},
    "olnaq-lam-0": {"option": (*CONSTANT, "lam=0")},
    "olnaq-not-normalized": {"option": (*CONSTANT, "normalize=False")},
    "olnaq-batch-32": {"batch": 32},
    "olnaq-batch-512": {"batch": 512},
    "olnaq-published-reward": AS_PUBLISHED,
    "olmoq": {},
    "olmoq-own-schedule": {"learning_rate": None, "option": (), **NO_SCHEDULE},
    "olmoq-no-curvature": {"option": (*CONSTANT, "lam=1e6")},
    "olmoq-lam-0.01": {"option": (*CONSTANT, "lam=0.01")},
    "olmoq-published-reward": AS_PUBLISHED,
}  # fmt: skip
"""by name, which begins with the optimizer's"""
PREFIXES = {"preset": "ablation-", "second-order": "second-order-"}
"""of the labels of each part"""


def chosen(part: str, name: str, optimizer: str, passes: int) -> TrainConfig:
    """The settings of an arm."""
    if part == "preset":
        return preset("best", optimizer, passes=passes, **ARMS[name])
    return preset("best", name.partition("-")[0], passes=passes, **SECOND_ORDER[name])


@dataclasses.dataclass(frozen=True)
class Arguments:
    """Switch the parts of the preset best."""

    part: Literal["preset", "second-order"] = "preset"
    """of the question: the preset's parts, or those of second-order methods in it"""
    arms: tuple[str, ...] = ()
    """which of the part's arms; none for all"""
    optimizer: str = "adam"
    """of all arms of the preset's parts"""
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
    known = ARMS if asked.part == "preset" else SECOND_ORDER
    if unknown := sorted(set(asked.arms) - set(known)):
        print(f"error: no arm {', '.join(unknown)}; there are: {', '.join(known)}", file=sys.stderr)
        return 2
    if asked.part != "preset" and asked.optimizer != "adam":
        print("error: arms of second-order name their optimizer; --optimizer is of the preset's parts", file=sys.stderr)
        return 2
    own = "" if asked.optimizer == "adam" else f"{asked.optimizer}-"
    arms = {
        f"{PREFIXES[asked.part]}{own}{name}": chosen(asked.part, name, asked.optimizer, asked.passes)
        for name in asked.arms or known
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
