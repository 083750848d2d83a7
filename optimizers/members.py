"""Populations: which of their loops are compiled; some members go on with all that their optimizer remembers."""

from __future__ import annotations

import inspect
from typing import Any

import torch
from torch import Tensor

__all__ = ["SUMS", "arrays", "at_hand", "compilable", "each", "keep_members", "one_a_member"]

SUMS = {"reassoc", "contract", "nsz"}
"""what a compiler may do to sums of compiled loops, so that they take the processor's vector instructions"""


def arrays(*tensors: Tensor) -> list[Any]:
    """Tensors as numpy sees them, for compiled loops."""
    return [one.numpy() for one in tensors]


def each(factor: float | Tensor, w: Tensor) -> Any:
    """A factor of the vectors w (P, n), a number or one a member, as an array (P, 1) of their number type."""
    return torch.as_tensor(factor, dtype=w.dtype).expand(len(w), 1).numpy()


def one_a_member(factor: float | Tensor, w: Tensor) -> bool:
    """Whether a factor of the vectors w (P, n) is the same for all coordinates of a member."""
    return not isinstance(factor, Tensor) or factor.ndim < w.ndim or factor.shape[-1] == 1


def compilable(x: Tensor) -> bool:
    """Whether what populations do with numbers like x (P, ...) is compiled: on the processor, in one thread.

    Elsewhere, and for other number types than float32 and float64, torch does it, with the same values up to rounding.
    """
    return at_hand(x) and x.ndim > 1 and x.dtype in (torch.float32, torch.float64)


def at_hand(x: Tensor) -> bool:
    """Whether a tensor is a real one on the processor, and torch computes in one thread."""
    return type(x) is Tensor and x.is_cpu and torch.get_num_threads() == 1


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
    accepted = {name: value for name, value in options.items() if name in _options(optimizer)}
    if "phi" in vars(optimizer):  # its options hold but a digest of a learned optimizer's weights
        accepted["weights"] = vars(optimizer)["phi"]
    found: torch.optim.Optimizer = made(params, **accepted)
    found.load_state_dict({"state": memory, "param_groups": [state["param_groups"][0] | options]})
    if "monitor" in vars(optimizer):
        vars(found)["monitor"] = vars(optimizer)["monitor"]
    return found


def _options(optimizer: torch.optim.Optimizer) -> set[str]:
    """What its class takes, of what its groups hold: a scheduler adds others, and torch's AdamW one of its base."""
    found = inspect.signature(type(optimizer)).parameters
    open_ended = any(one.kind is one.VAR_KEYWORD for one in found.values())
    return {name for name in optimizer.defaults if open_ended or name in found}


def _of(memory: Any, many: int, places: Tensor) -> Any:
    """What is remembered about some of the members, who lie along axis 0 of a tensor."""
    if isinstance(memory, dict):
        return {name: one if _shared(name, one) else _of(one, many, places) for name, one in memory.items()}
    if not isinstance(memory, Tensor) or not memory.ndim or memory.shape[0] != many:
        return memory
    return memory.index_select(0, places)


def _shared(name: Any, one: Any) -> bool:
    """The turn of a ring, and the state of one generator for all: they have an axis that is not the members'."""
    return name == "turn" or (name == "generator" and one.ndim == 1)
