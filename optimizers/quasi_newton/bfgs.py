"""BFGS with a line search.

    p = -H g,   w+ = w + a p,   s = a p,   y = g+ - g
    H+ = (I - rho s y') H (I - rho y s') + rho s s',   rho = 1 / s'y

Source: Broyden, Fletcher, Goldfarb, Shanno 1970; Nocedal and Wright, Numerical Optimization, algorithm 6.1.
Differs: nothing; a pair is taken where s'y > eps ||s|| ||y||, or damped as Powell proposed.
Closure: full batch, as many calls as the search makes. Storage n^2.
"""

from __future__ import annotations

from typing import Unpack

from torch import Tensor

from optimizers._options import Params, Rate, given
from optimizers.quasi_newton import _pairs
from optimizers.quasi_newton._bfgs import DenseInverse, bfgs
from optimizers.quasi_newton._full_batch import FullBatch, Search
from optimizers.quasi_newton._pairs import Pair

__all__ = ["BFGS"]


class BFGS(FullBatch):
    """BFGS. Source: Broyden, Fletcher, Goldfarb, Shanno 1970. Differs: nothing.

    Args:
        params: parameters or groups; lr: factor of directions.
        eps: least cosine of a pair; damping: Powell's instead of leaving a pair out.
        rescale: H = (s'y / y'y) I before the first pair; max_numel: refuse more parameters than this.
        common: line search (see ``_full_batch``) and common options.
    """

    matrix = DenseInverse(bfgs, "lbfgs")

    def __init__(
        self, params: Params, lr: Rate = 1.0, *, eps: float = 1e-8, damping: bool = False, rescale: bool = True,
        max_numel: int = 10_000, **common: Unpack[Search],
    ) -> None:  # fmt: skip
        super().__init__(params, given(locals()))

    def pair_rule(self, s: Tensor, y: Tensor, g1: Tensor) -> Pair:
        """Plain pairs, or damped ones."""
        return (_pairs.damped if self.option("damping") else _pairs.plain)(self, s, y, g1)
