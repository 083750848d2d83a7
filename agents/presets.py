"""Settings by name: the published study's, point by point, and ours."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from agents.config import TrainConfig
from routing_env.plugins import nearest

__all__ = ["CONSTANT", "PRESETS", "chosen_preset", "preset"]

PUBLISHED: dict[str, Any] = {
    "observation": "published",  # twelve numbers in grid units
    "reward": "published",  # 100 on reaching the target, else -1, blocked moves too
    "reward_scale": 1.0,
    "max_steps": 50,  # moves of a connection
    "via_capacity": 10,
    "keep_failed": True,  # capacities come back at the start of a pass only
    "decomposition": "spanning",
    "hidden": (32, 64, 32),
    "initialisation": "published",  # U(-0.5, 0.5), biases 0
    "loss": "published",  # squared error over the whole matrix of targets
    "gamma": 0.9,
    "batch": 32,
    "replay": 50_000,
    "demonstrations": 30,  # A* routes, repeated: about 10,000 transitions before the first move
    "learning_starts": 0,
    "train_every": 1,
    "target_connections": 10,
    "tau": 0.05,
    "max_grad_norm": float("inf"),
    "masked": False,  # blocked moves can be chosen
    "epsilon_start": 0.05,
    "epsilon_end": 0.05,
    "final_rate": 1.0,  # constant learning rate
    "passes": 500,
}
"""the study of 2019 to 2021 as its program runs it (Liao et al.; Indrapriyadarsini et al.)"""

PUBLISHED_OPTIMIZERS: dict[str, dict[str, Any]] = {
    "adam": {"learning_rate": 1e-4},
    "rmsprop": {"learning_rate": 1e-4},
    "asnaq": {
        "learning_rate": 0.01,
        "option": ("L=5", "mL=8", "mF=100", "mu=0.1", "mu_min=0.1", "mu_max=0.95", "phi=1.1", "gamma=1.01", "eps=1e-4"),
    },
}
"""settings of its optimizers; others take their own defaults"""

BEST: dict[str, Any] = {"demonstrations": 20, "train_every": 2, "decomposition": "steiner"}
"""ours: the defaults of ``TrainConfig``, A* routes in the replay, connections that meet where a cheapest tree branches;
docs/results.md has the ablations"""

CONSTANT = ("schedule=constant",)
"""for methods with a schedule of their own: the run's multiplies their rate"""
SCHEDULED = ("olbfgs", "olnaq", "olmoq", "obfgs", "onaq", "omoq", "sqn")
BEST_OPTIMIZERS: dict[str, dict[str, Any]] = {name: {"learning_rate": 0.1, "option": CONSTANT} for name in SCHEDULED}
"""0.1 was chosen for oLNAQ and oLMoQ; others take their own defaults"""

PRESETS = {"published": PUBLISHED, "best": BEST}


def preset(name: str, optimizer: str | None = None, **changes: Any) -> TrainConfig:
    """The settings of a name, for an optimizer, with changes.

    Raises:
        ValueError: no such preset; the text names the nearest one.
    """
    if name not in PRESETS:
        raise ValueError(f"no preset {name!r}{nearest(name, PRESETS)}; there are: {', '.join(PRESETS)}")
    chosen = dict(PRESETS[name])
    if optimizer is not None:
        chosen["optimizer"] = optimizer
        own = PUBLISHED_OPTIMIZERS if name == "published" else BEST_OPTIMIZERS
        chosen |= own.get(optimizer.removeprefix("torch."), {})
    return TrainConfig(**(chosen | changes))


def chosen_preset(arguments: Sequence[str]) -> TrainConfig | None:
    """What ``--preset NAME`` on a command line names, for its ``--optimizer``; other arguments change it.

    Raises:
        ValueError: no such preset.
    """
    found: dict[str, str] = {}
    for name in ("--preset", "--optimizer"):
        for place, argument in enumerate(arguments):
            if argument == name and place + 1 < len(arguments):
                found[name] = arguments[place + 1]
            elif argument.startswith(f"{name}="):
                found[name] = argument.partition("=")[2]
    if "--preset" not in found:
        return None
    return preset(found["--preset"], found.get("--optimizer"))
