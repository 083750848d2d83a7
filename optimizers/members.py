"""Some members of a population go on, with all that their optimizer remembers about them."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

__all__ = ["keep_members"]


def keep_members(optimizer: torch.optim.Optimizer, params: list[Tensor], places: Tensor) -> torch.optim.Optimizer:
    """An optimizer of the same kind and settings for the members at ``places``, which goes on where this one stands.

    Args:
        optimizer: of a population, one parameter group: this package's with ``member_dims=1``, or one of torch's that
            treat every coordinate alone.
        params: the parameters of the members that go on, (members kept, ...).
        places: (members kept,) their places in the population so far.

    Raises:
        ValueError: several parameter groups.
    """
    if len(optimizer.param_groups) != 1:
        raise ValueError(f"one parameter group expected, found {len(optimizer.param_groups)}")
    many = optimizer.param_groups[0]["params"][0].shape[0]
    state = optimizer.state_dict()
    memory = _of(state["state"], many, places)
    memory.get("global", {}).pop("shape", None)
    options = {name: _of(value, many, places) for name, value in optimizer.param_groups[0].items() if name != "params"}
    made: Any = type(optimizer)
    accepted = {name: value for name, value in options.items() if name in optimizer.defaults}  # a scheduler adds others
    found: torch.optim.Optimizer = made(params, **accepted)
    found.load_state_dict({"state": memory, "param_groups": [state["param_groups"][0] | options]})
    if "monitor" in vars(optimizer):
        vars(found)["monitor"] = vars(optimizer)["monitor"]
    return found


def _of(memory: Any, many: int, places: Tensor) -> Any:
    """What is remembered about some of the members, who lie along axis 0 of a tensor."""
    if isinstance(memory, dict):
        return {name: one if name == "turn" else _of(one, many, places) for name, one in memory.items()}
    if not isinstance(memory, Tensor) or not memory.ndim or memory.shape[0] != many:
        return memory
    return memory.index_select(0, places)
