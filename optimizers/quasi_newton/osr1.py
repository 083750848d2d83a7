"""oSR1: stochastic limited-memory SR1 in a trust region.

    g1 = g(w_k, X_k),   s minimises g1's + s'Bs / 2 within ||s|| <= delta,   y = g(w_k + s, X_k) - g1
    B from m pairs and gamma I

Source: Indrapriyadarsini, Mahboubi, Ninomiya, Kamio and Asai 2022.
Differs: pairs of refused steps are taken too, because their gradient is at hand.
Closure: two calls a step, both on the mini-batch X_k. Storage 2 m n.
"""

from __future__ import annotations

from typing import Unpack

from optimizers._options import Params, Rate, given
from optimizers.quasi_newton._sr1 import LimitedSR1
from optimizers.quasi_newton._trust import Region, TrustRegion

__all__ = ["OSR1"]


class OSR1(TrustRegion):
    """oSR1. Source: Indrapriyadarsini, Mahboubi, Ninomiya, Kamio and Asai 2022. Differs: pairs of refused steps.

    Args:
        params: parameters or groups; lr: factor of the step.
        m: pairs kept; b0: factor of B0, "newest" y'y / s'y, or "below" the smallest curvature of pairs.
        common: trust region (see ``_trust.Region``) and common options.
    """

    stochastic = True
    matrix = LimitedSR1()

    def __init__(
        self, params: Params, lr: Rate = 1.0, *, m: int = 8, b0: str = "newest",
        **common: Unpack[Region],
    ) -> None:  # fmt: skip
        super().__init__(params, given(locals()))
