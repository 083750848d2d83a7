"""L-SR1: SR1 from the last m pairs, in a trust region.

    s minimises g's + s'Bs / 2 within ||s|| <= delta,   y = g(w + s) - g
    B from m pairs and gamma I

Source: Brust, Erway and Marcia 2017; Byrd, Nocedal and Schnabel 1994.
Differs: nothing; B also takes pairs of refused steps.
Closure: full batch; one gradient a step. Storage (2 m + 2) n.
"""

from __future__ import annotations

from typing import Unpack

from optimizers._options import Params, Rate, given
from optimizers.quasi_newton._sr1 import LimitedSR1
from optimizers.quasi_newton._trust import Region, TrustRegion

__all__ = ["LSR1"]


class LSR1(TrustRegion):
    """L-SR1. Source: Brust, Erway and Marcia 2017. Differs: nothing.

    Args:
        params: parameters or groups; lr: factor of the step.
        m: pairs kept; b0: factor of B0, "newest" y'y / s'y, or "below" the smallest curvature of pairs.
        common: trust region (see ``_trust.Region``) and common options.
    """

    matrix = LimitedSR1()

    def __init__(
        self, params: Params, lr: Rate = 1.0, *, m: int = 10, b0: str = "newest",
        **common: Unpack[Region],
    ) -> None:  # fmt: skip
        super().__init__(params, given(locals()))
