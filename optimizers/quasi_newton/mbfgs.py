"""mBFGS: BFGS with the modified secant condition of mNAQ, that is mNAQ with mu = 0.

    p = -H g,   w+ = w + a p,   s = a p
    y = g+ - g + xi s,   xi = omega ||g|| + max(-(g+ - g)'s / ||s||^2, 0),   omega = 2 or 100

Source: Indrapriyadarsini, Mahboubi, Ninomiya and Asai 2018.
Differs: backtracking by default, the explicit step of mNAQ by step="explicit"; the 2-norm in xi as printed.
Closure: full batch; one gradient a step and the losses of the search. Storage n^2.
"""

from __future__ import annotations

from typing import Unpack

from optimizers._options import Params, Rate, given
from optimizers.quasi_newton._bfgs import DenseInverse, bfgs
from optimizers.quasi_newton._modified import Descents, Modified

__all__ = ["MBFGS"]


class MBFGS(Modified):
    """mBFGS. Source: Indrapriyadarsini et al. 2018. Differs: backtracking, see the module's docstring.

    Args:
        params: parameters or groups; lr: factor of directions.
        step: "backtracking" (Armijo's rule) or "explicit".
        secant_norm: of the gradient in xi, "2" as printed or "inf" as in the authors' program.
        rescale: H = (s'y / y'y) I before the first pair; max_numel: refuse more parameters than this.
        common: line search of the first step (see ``_full_batch``; "armijo"), descents and the gradient where one
            ends (see ``_modified``; 1, 1e-6), and common options.
    """

    estimate = "weights"
    matrix = DenseInverse(bfgs, "lbfgs")

    def __init__(
        self, params: Params, lr: Rate = 1.0, *, step: str = "backtracking", secant_norm: str = "2",
        rescale: bool = True, max_numel: int = 10_000, **common: Unpack[Descents],
    ) -> None:  # fmt: skip
        super().__init__(params, given(locals()))
