"""NAQ: BFGS with Nesterov's accelerated gradient, full batch.

    g1 = g(w + mu v),   p = -H g1,   Armijo from the look-ahead point w + mu v
    v+ = mu v + a p,   w+ = w + v+,   s = a p,   y = g(w+) - g1,   H by BFGS

Source: Ninomiya 2017.
Differs: the velocity is zeroed after a step that made the loss larger (restart=False as in the paper), without which
a constant mu need not converge; a pair is taken where s'y > eps ||s|| ||y||. mu = 0 is BFGS with Armijo's rule.
Closure: full batch; two gradients a step and the losses of the search. Storage n^2.
"""

from __future__ import annotations

from typing import Unpack

from optimizers._options import Params, Rate, given
from optimizers.quasi_newton._bfgs import DenseInverse, bfgs
from optimizers.quasi_newton._full_batch import FullBatch, Search

__all__ = ["NAQ"]


class NAQ(FullBatch):
    """NAQ. Source: Ninomiya 2017. Differs: a pair test.

    Args:
        params: parameters or groups; lr: factor of directions.
        mu: momentum, a number or one of each member (P,).
        eps: least cosine of a pair; rescale: H = (s'y / y'y) I before the first pair.
        max_numel: refuse more parameters than this.
        common: line search (see ``_full_batch``; "armijo" by default) and common options.
    """

    estimate = "lookahead"
    default_search = "armijo"
    restarts = True
    matrix = DenseInverse(bfgs, "lnaq")

    def __init__(
        self, params: Params, lr: Rate = 1.0, *, mu: Rate = 0.8, eps: float = 1e-8, rescale: bool = True,
        max_numel: int = 10_000,
        **common: Unpack[Search],
    ) -> None:  # fmt: skip
        super().__init__(params, given(locals()))
