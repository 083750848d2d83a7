"""SR1 for the inverse matrix, with a line search.

    p = -H g,   w+ = w + a p,   s = a p,   y = g+ - g
    H+ = H + u u' / (u'y),   u = s - H y

Source: Broyden 1967; Davidon 1968; Nocedal and Wright, Numerical Optimization, section 6.2.
Differs: where p does not descend the step is along -g and H is cleared; a pair is left out where
|u'y| < eps ||u|| ||y||.
Closure: full batch, as many calls as the search makes. Storage n^2.
"""

from __future__ import annotations

from typing import Unpack

import torch
from torch import Tensor

from optimizers._options import Params, Rate, given
from optimizers._vector import dot
from optimizers.quasi_newton._bfgs import DenseInverse, sr1
from optimizers.quasi_newton._full_batch import FullBatch, Search
from optimizers.quasi_newton._pairs import Pair

__all__ = ["SR1Inverse"]


class SR1Inverse(FullBatch):
    """SR1 on H. Source: Broyden 1967; Davidon 1968. Differs: falls back to -g, see the module's docstring.

    Args:
        params: parameters or groups; lr: factor of directions.
        eps: least cosine of u and y; rescale: H = (s'y / y'y) I before the first pair, which that makes useless.
        max_numel: refuse more parameters than this.
        common: line search (see ``_full_batch``) and common options.
    """

    matrix = DenseInverse(sr1, "lsr1")

    def __init__(
        self, params: Params, lr: Rate = 1.0, *, eps: float = 1e-8, rescale: bool = False, max_numel: int = 10_000,
        **common: Unpack[Search],
    ) -> None:  # fmt: skip
        super().__init__(params, given(locals()))

    def pair_rule(self, s: Tensor, y: Tensor, g1: Tensor) -> Pair:
        """Every finite pair: the update itself judges."""
        yy = dot(y, y)
        return s, y, torch.isfinite(yy) & (yy > 0), dot(s, y), yy
