"""A step of one of torch's optimizers that moves nothing where the loss or a gradient is not finite."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from optimizers._vector import blend

__all__ = ["guarded_step"]

MOMENTA = ("momentum_buffer", "exp_avg")


def guarded_step(base: torch.optim.Optimizer, loss: Any) -> Tensor | None:
    """Make the step along the gradients that are there, or take it back; nothing is read from the device.

    A step that is taken back zeroes momenta and leaves the rest of the state as it was.

    Args:
        base: one of torch's optimizers that needs no closure; its gradients are overwritten with zeros where not ok.
        loss: of the gradients; other things than tensors are not looked at.

    Returns:
        ok, shape (): whether the step stands; None where there are no gradients.
    """
    moved = [one for group in base.param_groups for one in group["params"] if one.grad is not None]
    if not moved:
        return None
    ok = torch.stack([torch.isfinite(one.grad).all() for one in moved]).all()
    if isinstance(loss, Tensor):
        ok = ok & torch.isfinite(loss).all()
    before = [(one, _clones({**base.state[one], "w": one})) for one in moved]
    for one in moved:
        one.grad = blend(ok, one.grad, 0.0)
    base.step()
    for one, kept in before:
        one.copy_(blend(ok, one, kept.pop("w")))
        for name, old in kept.items():
            now = base.state[one][name]
            now.copy_(blend(ok, now, torch.zeros_like(old) if name in MOMENTA else old))
    return ok


def _clones(found: dict[str, Any]) -> dict[str, Tensor]:
    """Copies of the tensors that lie with the weights; Adam's number of steps may lie on the host and goes on."""
    device = found["w"].device
    return {name: one.clone() for name, one in found.items() if isinstance(one, Tensor) and one.device == device}
