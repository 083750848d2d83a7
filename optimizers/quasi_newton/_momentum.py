"""The adaptive momentum of amNAQ and of the accelerated SR1 methods, and Nesterov's gradient from two ordinary ones.

    theta_{k+1} = ((gamma - theta_k^2) + sqrt((gamma - theta_k^2)^2 + 4 theta_k^2)) / 2,   theta_0 = 1
    mu_k = min(theta_k (1 - theta_k) / (theta_k^2 + theta_{k+1}), mu_max)

so mu = 0, 0.28, 0.43, 0.53, 0.60, ... up to (1 - sqrt(gamma)) / (1 + sqrt(gamma)).

Source: Nesterov 2004; Indrapriyadarsini et al. 2020. Differs: nothing.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from optimizers._vector import blend, nowhere, plus

__all__ = ["advance", "estimated", "first_memory"]


def advance(theta: Tensor, gamma: float, mu_max: float) -> tuple[Tensor, Tensor]:
    """(mu, next theta) of each member, (*members,)."""
    square = theta.square()
    bend = gamma - square
    following = 0.5 * (bend + (bend.square() + 4 * square).sqrt())
    return (theta * (1 - theta) / (square + following)).clamp(max=mu_max), torch.as_tensor(following)


def first_memory(estimate: str, w: Tensor) -> dict[str, Tensor]:
    """What a gradient rule remembers: the velocity, the last gradient and which members have none.

    Args:
        estimate: "weights", "lookahead" or "momentum", see ``_engine``.
        w: weights (*members, n).
    """
    found = {} if estimate == "weights" else {"v": torch.zeros_like(w)}
    if estimate == "momentum":
        found["g_before"] = torch.zeros_like(w)
        found["fresh"] = torch.ones(w.shape[:-1], dtype=torch.bool, device=w.device)
    return found


def estimated(memory: dict[str, Any], g: Tensor, mu: float | Tensor) -> Tensor:
    """(1 + mu) g - mu g_before (*members, n), and g becomes the gradient before; g itself where there is none yet."""
    before, fresh = memory["g_before"], memory["fresh"]
    found = plus(g, mu, g - (before if nowhere(fresh) else blend(fresh, g, before)))
    before.copy_(g)
    fresh.zero_()
    return found
