"""DFP with a line search: BFGS with the roles of s and y, and of H and its inverse, exchanged.

    p = -H g,   w+ = w + a p,   s = a p,   y = g+ - g
    H+ = H + s s' / s'y - H y y'H / y'H y

Source: Davidon 1959; Fletcher and Powell 1963.
Differs: nothing; the search is closer to exact than BFGS needs (c2 = 0.1), because DFP recovers slowly from poor steps.
Closure: full batch, as many calls as the search makes. Storage n^2.
"""

from __future__ import annotations

from typing import Unpack

from optimizers._options import Params, Rate, given
from optimizers.quasi_newton._bfgs import DenseInverse, dfp
from optimizers.quasi_newton._full_batch import FullBatch, Search

__all__ = ["DFP"]


class DFP(FullBatch):
    """DFP. Source: Davidon 1959; Fletcher and Powell 1963. Differs: nothing.

    Args:
        params: parameters or groups; lr: factor of directions.
        eps: least cosine of a pair; rescale: H = (s'y / y'y) I before the first pair.
        max_numel: refuse more parameters than this.
        common: line search (see ``_full_batch``) and common options.
    """

    matrix = DenseInverse(dfp, "lbfgs")
    c2 = 0.1

    def __init__(
        self, params: Params, lr: Rate = 1.0, *, eps: float = 1e-8, rescale: bool = True, max_numel: int = 10_000,
        **common: Unpack[Search],
    ) -> None:  # fmt: skip
        super().__init__(params, given(locals()))
