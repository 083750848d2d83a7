"""amNAQ: mNAQ whose momentum grows by Nesterov's schedule.

    theta_{k+1}^2 = (1 - theta_{k+1}) theta_k^2 + gamma theta_{k+1}
    mu_k = min(theta_k (1 - theta_k) / (theta_k^2 + theta_{k+1}), mu_max)

and everything else as in mNAQ: mu = 0, 0.28, 0.43, 0.53, ... up to mu_max.

Source: Indrapriyadarsini, Mahboubi, Ninomiya and Asai 2020. Differs: the 2-norm in xi, as in mNAQ.
Closure: full batch; two gradients and one loss a step. Storage n^2.
"""

from __future__ import annotations

from typing import Any, Unpack

import torch
from torch import Tensor

from optimizers._options import Params, Rate, given, require
from optimizers._vector import col
from optimizers.quasi_newton._modified import Descents, Modified
from optimizers.quasi_newton._momentum import advance

__all__ = ["AMNAQ"]


class AMNAQ(Modified):
    """amNAQ. Source: Indrapriyadarsini et al. 2020. Differs: norm, see mNAQ.

    Args:
        params: parameters or groups; lr: factor of directions.
        gamma_theta: end of the schedule; mu_max: largest momentum.
        step: "explicit", or "backtracking" for Armijo's rule at every step.
        secant_norm: of the gradient in xi, "2" as printed or "inf" as in the authors' program.
        rescale: H = (s'y / y'y) I before the first pair; max_numel: refuse more parameters than this.
        common: line search of the first step (see ``_full_batch``; "armijo"), descents and the gradient where one
            ends (see ``_modified``; 1, 1e-6), and common options.
    """

    def __init__(
        self, params: Params, lr: Rate = 1.0, *, gamma_theta: float = 1e-5, mu_max: float = 0.95,
        step: str = "explicit",
        secant_norm: str = "2", rescale: bool = True, max_numel: int = 10_000, **common: Unpack[Descents],
    ) -> None:  # fmt: skip
        require(0 < gamma_theta < 1, "gamma_theta", gamma_theta, "between 0 and 1")
        require(0 <= mu_max < 1, "mu_max", mu_max, "0 <= mu_max < 1")
        super().__init__(params, given(locals()))

    def initial(self, w: Tensor) -> dict[str, Any]:
        """Besides: theta."""
        return {**super().initial(w), "theta": torch.ones_like(w[..., 0])}

    def momentum(self) -> Tensor:
        """mu of this step, (*members, 1); theta goes on."""
        mu, theta = advance(self.memory["theta"], self.option("gamma_theta"), self.option("mu_max"))
        self.memory["theta"].copy_(theta)
        return col(mu)
