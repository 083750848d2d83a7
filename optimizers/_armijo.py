"""The line search for Armijo's condition: one member on host floats, or all at once by masked tensors.

    f(alpha) <= f(0) + eta alpha f'(0),   the largest such alpha in {alpha0 tau^j}

Source: L. Armijo, 1966. Differs: a trial that is not finite is too large.
"""

from __future__ import annotations

from collections.abc import Callable
from math import isfinite
from typing import NamedTuple

import torch
from torch import Tensor

from optimizers._linesearch import NOTHING, Outcome, Search, descends

__all__ = ["Backtracked", "armijo_masked", "backtracking"]


def backtracking(
    f0: float, slope0: float, alpha: float, *, eta: float = 1e-3, tau: float = 0.5, max_trials: int = 10
) -> Search:
    """Search the largest Armijo step of ``alpha tau^j``, j < max_trials, by losses alone."""
    if not descends(f0, slope0, alpha):
        return NOTHING
    for trial in range(max_trials):
        f, _ = yield alpha, None
        if isfinite(f) and f <= f0 + eta * alpha * slope0:
            return Outcome(alpha, True, trial)
        alpha *= tau
    return NOTHING


class Backtracked(NamedTuple):
    """The end of a masked search: alpha is 0 and loss is f0 where no trial was accepted."""

    alpha: Tensor  # (*members,)
    ok: Tensor  # (*members,) bool
    loss: Tensor  # (*members,) at alpha
    last: Tensor  # (*members,) the last trial, accepted or not; 0 for a member that was not searched
    last_loss: Tensor  # (*members,) there


def armijo_masked(
    evaluate_loss: Callable[[Tensor], Tensor],
    f0: Tensor,
    slope0: Tensor,
    alpha0: Tensor,
    *,
    eta: float = 1e-3,
    tau: float = 0.5,
    max_trials: int = 10,
    early_exit: bool = True,
) -> Backtracked:
    """The largest Armijo step of ``alpha0 tau^j``, j < max_trials, for each member, by tensors alone.

    ``evaluate_loss``: alpha (*members,) -> losses (*members,). With ``early_exit`` one flag is read from the device
    each trial; without it nothing is, and there are always ``max_trials`` evaluations, as a CUDA graph needs. Members
    are searched under the conditions of ``lockstep``.
    """
    searched = torch.isfinite(f0) & torch.isfinite(slope0) & (slope0 < 0) & torch.isfinite(alpha0) & (alpha0 > 0)
    alpha, ok, loss = torch.where(searched, alpha0, 0.0), ~searched, f0
    for trial in range(max_trials):
        if trial:
            alpha = torch.where(ok, alpha, alpha * tau)
        new = evaluate_loss(alpha)
        accepted = ~ok & torch.isfinite(new) & (new <= f0 + eta * alpha * slope0)
        loss, ok = torch.where(accepted, new, loss), ok | accepted
        if early_exit and bool(ok.all()):
            break
    return Backtracked(torch.where(ok, alpha, 0.0), ok & searched, loss, alpha, new)
