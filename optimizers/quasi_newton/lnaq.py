"""LNAQ: NAQ from the last m pairs.

    g1 = g(w + mu v),   p = -H g1,   Armijo from the look-ahead point w + mu v
    v+ = mu v + a p,   w+ = w + v+,   s = a p,   y = g(w+) - g1,   H from m pairs, H0 = mean(s'y / y'y) I

Source: Mahboubi and Ninomiya 2018.
Differs: the velocity is zeroed after a step that made the loss larger (restart=False as in the paper), without which
a constant mu need not converge; the first step has length min(1, 1 / ||g||_1) instead of 1e-10 ||g||; a pair is taken
where s'y > eps ||s|| ||y||. mu = 0 is L-BFGS with Armijo's rule.
Closure: full batch; two gradients a step and the losses of the search. Storage (2 m + 3) n.
"""

from __future__ import annotations

from typing import Unpack

from optimizers._options import Params, Rate, given
from optimizers.quasi_newton._full_batch import FullBatch, Search
from optimizers.quasi_newton._lone import FullBatchMemory

__all__ = ["LNAQ"]


class LNAQ(FullBatch):
    """LNAQ. Source: Mahboubi and Ninomiya 2018. Differs: first step, see the module's docstring.

    Args:
        params: parameters or groups; lr: factor of directions.
        mu: momentum, a number or one of each member (P,).
        m: pairs kept; eps: least cosine of a pair; h0: factor of H0, "mean" over pairs, "newest" or "identity".
        common: line search (see ``_full_batch``; "armijo" by default) and common options.
    """

    estimate = "lookahead"
    default_search = "armijo"
    restarts = True
    matrix = FullBatchMemory()

    def __init__(
        self, params: Params, lr: Rate = 1.0, *, mu: Rate = 0.8, m: int = 10, eps: float = 1e-8, h0: str = "mean",
        **common: Unpack[Search],
    ) -> None:  # fmt: skip
        super().__init__(params, given(locals()))
