"""SR1: symmetric rank-one updates in a trust region, dense.

    s minimises g's + s'Bs / 2 within ||s|| <= delta,   y = g(w + s) - g
    B+ = B + u u' / (u's),   u = y - B s

Source: Nocedal and Wright, Numerical Optimization, algorithm 6.2; Conn, Gould and Toint 1991.
Differs: nothing; B is also updated by refused steps. The inverse form with a line search is sr1_inverse.
Closure: full batch; one gradient a step. Storage n^2.
"""

from __future__ import annotations

from typing import Unpack

from optimizers._options import Params, Rate, given
from optimizers.quasi_newton._sr1 import DenseSR1
from optimizers.quasi_newton._trust import Region, TrustRegion

__all__ = ["SR1"]


class SR1(TrustRegion):
    """SR1. Source: Nocedal and Wright, Numerical Optimization, algorithm 6.2. Differs: nothing.

    Args:
        params: parameters or groups; lr: factor of the step.
        max_numel: refuse more parameters than this.
        common: trust region (see ``_trust.Region``) and common options.
    """

    matrix = DenseSR1("lsr1")

    def __init__(
        self, params: Params, lr: Rate = 1.0, *, max_numel: int = 10_000,
        **common: Unpack[Region],
    ) -> None:  # fmt: skip
        super().__init__(params, given(locals()))
