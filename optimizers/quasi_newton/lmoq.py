"""LMoQ: MoQ from the last m pairs.

    g1 = (1 + mu) g(w) - mu g(w_before),   p = -H g1,   Armijo with slope g1'p from the look-ahead point w + mu v
    v+ = mu v + a p,   w+ = w + v+,   s = a p,   y = g(w+) - g1,   H from m pairs, H0 = mean(s'y / y'y) I

Source: Mahboubi, Indrapriyadarsini, Ninomiya and Asai 2021.
Differs: after a refused step the next gradient is not extrapolated; a pair is taken where s'y > eps ||s|| ||y||.
Closure: full batch; one gradient a step and the losses of the search. Storage (2 m + 4) n.
"""

from __future__ import annotations

from typing import Unpack

from optimizers._options import Params, Rate, given
from optimizers.quasi_newton._full_batch import FullBatch, Search
from optimizers.quasi_newton._lone import FullBatchMemory

__all__ = ["LMoQ"]


class LMoQ(FullBatch):
    """LMoQ. Source: Mahboubi et al. 2021. Differs: restarts after a refused step, see the module's docstring.

    Args:
        params: parameters or groups; lr: factor of directions.
        mu: momentum, a number or one of each member (P,).
        m: pairs kept; eps: least cosine of a pair; h0: factor of H0, "mean" over pairs, "newest" or "identity".
        common: line search (see ``_full_batch``; "armijo" by default) and common options.
    """

    estimate = "momentum"
    default_search = "armijo"
    matrix = FullBatchMemory()

    def __init__(
        self, params: Params, lr: Rate = 1.0, *, mu: Rate = 0.8, m: int = 10, eps: float = 1e-8, h0: str = "mean",
        **common: Unpack[Search],
    ) -> None:  # fmt: skip
        super().__init__(params, given(locals()))
