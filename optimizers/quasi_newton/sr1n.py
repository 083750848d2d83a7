"""SR1-N: SR1 with Nesterov's accelerated gradient, in a trust region, dense.

    g1 = g(w + mu v),   s minimises g1's + s'Bs / 2 within ||s|| <= delta
    v+ = mu v + s,   w+ = w + v+,   y = g(w+) - g1,   B by SR1

Source: Indrapriyadarsini, Mahboubi, Ninomiya, Kamio and Asai 2022.
Differs: ared from the look-ahead point, pairs of points that belong together, an empty first memory (the authors'
program: from the iterate, mixed, sampled); the velocity is zeroed after a step that made the loss larger.
Closure: full batch; two gradients a step. Storage n^2. mu = 0 is sr1.
"""

from __future__ import annotations

from typing import Unpack

from optimizers._options import Params, Rate, given
from optimizers.quasi_newton._sr1 import DenseSR1
from optimizers.quasi_newton._trust import Region, TrustRegion

__all__ = ["SR1N"]


class SR1N(TrustRegion):
    """SR1-N. Source: Indrapriyadarsini, Mahboubi, Ninomiya, Kamio and Asai 2022. Differs: see the module's docstring.

    Args:
        params: parameters or groups; lr: factor of the step.
        mu: momentum, a number or one of each member (P,); None: Nesterov's schedule,
            with gamma_theta its end and mu_max its largest value.
        max_numel: refuse more parameters than this.
        common: trust region (see ``_trust.Region``) and common options.
    """

    estimate = "lookahead"
    restarts = True
    matrix = DenseSR1("lsr1n")

    def __init__(
        self, params: Params, lr: Rate = 1.0, *, mu: Rate | None = None, gamma_theta: float = 1e-5,
        mu_max: float = 0.95, max_numel: int = 10_000, **common: Unpack[Region],
    ) -> None:  # fmt: skip
        super().__init__(params, given(locals()))
