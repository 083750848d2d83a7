"""MoQ: NAQ with Nesterov's gradient estimated from the last two, full batch.

    g1 = (1 + mu) g(w) - mu g(w_before),   p = -H g1,   Armijo with slope g1'p from the look-ahead point w + mu v
    v+ = mu v + a p,   w+ = w + v+,   s = a p,   y = g(w+) - g1,   H by BFGS

    Equal to NAQ on quadratics, because v is the last displacement.

Source: Mahboubi, Indrapriyadarsini, Ninomiya and Asai 2021.
Differs: after a refused step the next gradient is not extrapolated; a pair is taken where s'y > eps ||s|| ||y||.
Closure: full batch; one gradient a step and the losses of the search. Storage n^2.
"""

from __future__ import annotations

from typing import Unpack

from optimizers._options import Params, Rate, given
from optimizers.quasi_newton._bfgs import DenseInverse, bfgs
from optimizers.quasi_newton._full_batch import FullBatch, Search

__all__ = ["MoQ"]


class MoQ(FullBatch):
    """MoQ. Source: Mahboubi et al. 2021. Differs: restarts after a refused step, see the module's docstring.

    Args:
        params: parameters or groups; lr: factor of directions.
        mu: momentum, a number or one of each member (P,).
        eps: least cosine of a pair; rescale: H = (s'y / y'y) I before the first pair.
        max_numel: refuse more parameters than this.
        common: line search (see ``_full_batch``; "armijo" by default) and common options.
    """

    estimate = "momentum"
    default_search = "armijo"
    matrix = DenseInverse(bfgs, "lmoq")

    def __init__(
        self, params: Params, lr: Rate = 1.0, *, mu: Rate = 0.8, eps: float = 1e-8, rescale: bool = True,
        max_numel: int = 10_000,
        **common: Unpack[Search],
    ) -> None:  # fmt: skip
        super().__init__(params, given(locals()))
