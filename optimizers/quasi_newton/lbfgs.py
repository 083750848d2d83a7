"""L-BFGS: BFGS from the last m pairs, with a line search.

    p = -H g,   w+ = w + a p,   s = a p,   y = g+ - g,   H from m pairs, H0 = (s'y / y'y) I of the newest

Source: Liu and Nocedal 1989; Nocedal 1980.
Differs: H g by the compact form (Byrd, Nocedal and Schnabel 1994) instead of the two-loop recursion, equal to
rounding; a pair is taken where s'y > eps ||s|| ||y||.
Closure: full batch, as many calls as the search makes. One step is one iteration. Storage (2 m + 2) n.
"""

from __future__ import annotations

from typing import Unpack

from torch import Tensor

from optimizers._options import Params, Rate, given
from optimizers.quasi_newton._full_batch import FullBatch, Search
from optimizers.quasi_newton._lone import FullBatchMemory, lone_step

__all__ = ["LBFGS"]


class LBFGS(FullBatch):
    """L-BFGS. Source: Liu and Nocedal 1989. Differs: compact form, see the module's docstring.

    Args:
        params: parameters or groups; lr: factor of directions.
        m: pairs kept; eps: least cosine of a pair; h0: factor of H0, of the "newest" pair, "mean" or "identity".
        common: line search (see ``_full_batch``) and common options.
    """

    matrix = FullBatchMemory()

    def __init__(
        self, params: Params, lr: Rate = 1.0, *, m: int = 10, eps: float = 1e-8, h0: str = "newest",
        **common: Unpack[Search],
    ) -> None:  # fmt: skip
        super().__init__(params, given(locals()))

    def move(self, w: Tensor) -> Tensor:
        """One step; of one network with the usual search on host numbers."""
        done = None
        if self.lone and self.reuses and self.option("line_search") == "strong_wolfe":
            done = lone_step(self, w)
        return super().move(w) if done is None else done
