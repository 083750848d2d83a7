"""Broyden's family between BFGS and DFP, with a line search.

    p = -H g,   w+ = w + a p,   s = a p,   y = g+ - g
    B+ = (1 - phi) B_BFGS + phi B_DFP                         phi in [0, 1]: 0 is BFGS, 1 is DFP
    H+ = H_DFP + phi_h (y'Hy) u u',   u = s / s'y - Hy / y'Hy,
    phi_h = (1 - phi) / (1 - phi + phi nu),   nu = (s'Bs)(y'Hy) / (s'y)^2,   s'Bs = -a g's because p = -H g

so that B is never formed.

Source: Broyden 1967; Nocedal and Wright, Numerical Optimization, section 6.3. Differs: nothing.
Closure: full batch, as many calls as the search makes. Storage n^2.
"""

from __future__ import annotations

from typing import Any, Unpack

import torch
from torch import Tensor

from optimizers._options import Params, Rate, given, require
from optimizers._vector import dot, norm
from optimizers.quasi_newton import _pairs
from optimizers.quasi_newton._bfgs import DenseInverse, family
from optimizers.quasi_newton._full_batch import FullBatch, Search
from optimizers.quasi_newton._pairs import Pair

__all__ = ["BroydenFamily"]


class BroydenFamily(FullBatch):
    """Broyden's family. Source: Broyden 1967. Differs: nothing.

    Args:
        params: parameters or groups; lr: factor of directions.
        phi: place in the family, 0 BFGS to 1 DFP; inverse_form: phi is the coefficient phi_h itself (1 BFGS, 0 DFP).
        eps: least cosine of a pair; rescale: H = (s'y / y'y) I before the first pair.
        max_numel: refuse more parameters than this.
        common: line search (see ``_full_batch``) and common options.
    """

    matrix = DenseInverse(family, "lbfgs")

    def __init__(
        self, params: Params, lr: Rate = 1.0, *, phi: float = 0.5, inverse_form: bool = False, eps: float = 1e-8,
        rescale: bool = True, max_numel: int = 10_000, **common: Unpack[Search],
    ) -> None:  # fmt: skip
        require(0 <= phi <= 1, "phi", phi, "0 <= phi <= 1")
        super().__init__(params, given(locals()))

    def initial(self, w: Tensor) -> dict[str, Any]:
        """Besides: s'Bs of the last step."""
        return {**super().initial(w), "sBs": torch.ones_like(w[..., 0])}

    def pair_rule(self, s: Tensor, y: Tensor, g1: Tensor) -> Pair:
        """Plain pairs; keeps s'Bs for the conversion of phi."""
        # s = a p with p = -H g1, so B s = -a g1 and s'Bs = -a g1's; a = ||s|| / ||p||
        p = self.matrix.times(self, g1)
        self.memory["sBs"].copy_(-dot(g1, s) * norm(s) / norm(p).clamp(min=torch.finfo(s.dtype).tiny))
        return _pairs.plain(self, s, y, g1)

    def inverse_phi(self, s: Tensor, sy: Tensor, yh: Tensor) -> Tensor:
        """phi_h of each member (*members,)."""
        phi = self.option("phi")
        if self.option("inverse_form"):
            return torch.full_like(sy, phi)
        nu = self.memory["sBs"] * yh / torch.where(sy > 0, sy.square(), 1.0)
        return (1 - phi) / (1 - phi + phi * nu).clamp(min=torch.finfo(s.dtype).tiny)
