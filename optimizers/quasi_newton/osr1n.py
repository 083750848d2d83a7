"""oSR1-N: stochastic limited-memory SR1-N in a trust region.

    g1 = g(w_k + mu v_k, X_k),   s minimises g1's + s'Bs / 2 within ||s|| <= delta
    v_{k+1} = mu v_k + s,   w_{k+1} = w_k + v_{k+1},   y = g(w_{k+1}, X_k) - g1,   B from m pairs and gamma I

Source: Indrapriyadarsini, Mahboubi, Ninomiya, Kamio and Asai 2022.
Differs: ared from the look-ahead point, pairs of points that belong together, an empty first memory (the authors'
program: from the iterate, mixed, sampled).
Closure: two calls a step, both on the mini-batch X_k. Storage (2 m + 1) n. mu = 0 is osr1.
"""

from __future__ import annotations

from typing import Unpack

from optimizers._options import Params, Rate, given
from optimizers.quasi_newton._sr1 import LimitedSR1
from optimizers.quasi_newton._trust import Region, TrustRegion

__all__ = ["OSR1N"]


class OSR1N(TrustRegion):
    """oSR1-N. Source: Indrapriyadarsini, Mahboubi, Ninomiya, Kamio and Asai 2022. Differs: see the module's docstring.

    Args:
        params: parameters or groups; lr: factor of the step.
        mu: momentum, a number or one of each member (P,); None: Nesterov's schedule,
            with gamma_theta its end and mu_max its largest value.
        m: pairs kept; b0: factor of B0, "newest" y'y / s'y, or "below" the smallest curvature of pairs.
        common: trust region (see ``_trust.Region``) and common options.
    """

    estimate = "lookahead"
    stochastic = True
    matrix = LimitedSR1()

    def __init__(
        self, params: Params, lr: Rate = 1.0, *, mu: Rate | None = None, gamma_theta: float = 1e-5, mu_max: float = 0.9,
        m: int = 8, b0: str = "newest",
        **common: Unpack[Region],
    ) -> None:  # fmt: skip
        super().__init__(params, given(locals()))
