"""Schedules of the learning rate that the theory asks for, on top of ``torch.optim.lr_scheduler``."""

from __future__ import annotations

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from optimizers._options import require

__all__ = ["robbins_monro"]


class _Harmonic:
    """k -> tau / (tau + k); an object with attributes, so that the scheduler's checkpoint holds tau."""

    def __init__(self, tau: float) -> None:
        self.tau = tau

    def __call__(self, k: int) -> float:
        return self.tau / (self.tau + k)


def robbins_monro(optimizer: Optimizer, tau: float) -> LambdaLR:
    """Lower every group's lr as lr_k = lr_0 tau / (tau + k), k the number of ``scheduler.step()`` so far.

    The sum of lr_k diverges, that of its squares does not: with unbiased gradients of bounded variance stochastic
    gradient descent then converges.

    Source: H. Robbins, S. Monro, 1951.

    Args:
        optimizer: any ``torch.optim.Optimizer``.
        tau: steps after which lr is halved, positive.

    Raises:
        ValueError: tau out of its range.
    """
    require(tau > 0, "tau", tau, "larger than 0")
    return LambdaLR(optimizer, _Harmonic(tau))
