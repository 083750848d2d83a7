"""mNAQ: NAQ with a modified secant condition, which keeps H positive definite, and a step without a search.

    g1 = g(w + mu v),   p = -H g1,   v+ = mu v + a p,   w+ = w + v+,   s = a p
    y = g(w+) - g1 + xi s,   xi = omega ||g1|| + max(-(g(w+) - g1)'s / ||s||^2, 0),   omega = 2 or 100
    a = 1 where that decreases enough, else explicitly from L = 100 ||y|| / ||s|| of the step before

Source: Indrapriyadarsini, Mahboubi, Ninomiya and Asai 2018.
Differs: the 2-norm in xi as printed; secant_norm="inf" is the authors' program. mu = 0 is mbfgs. descents above 1 go
on from stationary points (see ``_modified``), which the paper does not.
Closure: full batch; two gradients and one loss a step. Storage n^2.
"""

from __future__ import annotations

from typing import Unpack

from optimizers._options import Params, Rate, given
from optimizers.quasi_newton._modified import Descents, Modified

__all__ = ["MNAQ"]


class MNAQ(Modified):
    """mNAQ. Source: Indrapriyadarsini, Mahboubi, Ninomiya and Asai 2018. Differs: norm, see the module's docstring.

    Args:
        params: parameters or groups; lr: factor of directions.
        mu: momentum, a number or one of each member (P,).
        step: "explicit", or "backtracking" for Armijo's rule at every step.
        secant_norm: of the gradient in xi, "2" as printed or "inf" as in the authors' program.
        rescale: H = (s'y / y'y) I before the first pair; max_numel: refuse more parameters than this.
        common: line search of the first step (see ``_full_batch``; "armijo"), descents and the gradient where one
            ends (see ``_modified``; 1, 1e-6), and common options.
    """

    def __init__(
        self, params: Params, lr: Rate = 1.0, *, mu: Rate = 0.8, step: str = "explicit", secant_norm: str = "2",
        rescale: bool = True, max_numel: int = 10_000, **common: Unpack[Descents],
    ) -> None:  # fmt: skip
        super().__init__(params, given(locals()))
