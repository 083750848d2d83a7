"""Newton's method in a trust region, by Hessian products alone.

    p ~ argmin g'p + p'Hp / 2 over ||p|| <= Delta,   by conjugate gradients (Steihaug) to ||g + Hp|| <= tol ||g||,
    ratio = (E(w) - E(w + p)) / -(g'p + p'Hp / 2),   w <- w + p where ratio > eta
    ratio < 1/4: Delta <- ||p|| / 4;   ratio > 3/4 and p on the boundary: Delta <- min(2 Delta, Delta_max)

Source: Pearlmutter 1994 (products); Steihaug 1983; Nocedal and Wright, Numerical Optimization, 2nd ed., algorithm 4.1.
Differs: the radius shrinks to ||p|| / 4, not Delta / 4, so that a rejected step is never tried again; ten roundings of
the loss are added to both reductions of the ratio.
"""

from __future__ import annotations

from typing import Any, Unpack

import torch
from torch import Tensor

from optimizers._base import VectorOptimizer
from optimizers._options import Common, Params, Rate, given, require
from optimizers._products import Differentiated
from optimizers._vector import blend, nonzero, norm
from optimizers.quasi_newton._steihaug import Truncated, steihaug
from optimizers.quasi_newton._trust_region import rescaled
from optimizers.second_order._cg import superlinear
from optimizers.second_order._curvature import reduction_ratio

__all__ = ["NewtonCG"]


class NewtonCG(VectorOptimizer):
    """Newton-CG trust region; see the module. Goes down directions of negative curvature, needs no matrix.

    Args:
        params: parameters.
        lr: factor of the step; 1 is the method. Otherwise one product more, for the ratio of the shorter step.
        Delta: first radius, in the unit of the weights.
        Delta_max: largest radius.
        eta: least ratio of an accepted step, in [0, 1/4).
        cg_max: most products a step; None: min(n, 250).
        cg_tol: relative residual at which conjugate gradients stop; None: min(1/2, sqrt(||g||)).
        common: weight_decay, maximize, member_dims.

    The closure is called twice a step, with ``backward=False``: for loss and gradient (it returns the loss on its
    graph), and for the loss of the trial. Cost of a step: one gradient, one loss, up to cg_max products, each of about
    two gradients. Remembers the radius. A rejected step leaves the weights as they are. A member whose loss or gradient
    is not finite stands still (n_nonfinite). Whole batch, or a large one that is fixed within a step.
    """

    def __init__(
        self,
        params: Params,
        lr: Rate = 1.0,
        *,
        Delta: float = 1.0,
        Delta_max: float = 1000.0,
        eta: float = 0.15,
        cg_max: int | None = None,
        cg_tol: float | None = None,
        **common: Unpack[Common],
    ) -> None:
        require(0 < Delta <= Delta_max, "Delta", Delta, f"0 < Delta <= Delta_max = {Delta_max}")
        require(0 <= eta < 0.25, "eta", eta, "0 <= eta < 1/4")
        require(cg_max is None or cg_max >= 1, "cg_max", cg_max, "1 or more, or None")
        require(cg_tol is None or 0 <= cg_tol < 1, "cg_tol", cg_tol, "0 <= cg_tol < 1, or None")
        super().__init__(params, given(locals()))

    def initial(self, w: Tensor) -> dict[str, Any]:
        """Delta: the radius, (*members,)."""
        return {"Delta": torch.full_like(w[..., 0], self.option("Delta"))}

    def move(self, w: Tensor) -> Tensor:
        """One step."""
        at = Differentiated(self, w)
        g = at.gradient
        ok = torch.isfinite(at.loss) & torch.isfinite(g).all(-1)
        step = self._inside(at, blend(ok, g, 0.0))
        p, predicted, _ = rescaled(step, self.rate(), g, at.product)
        after = self.loss(w + p)
        ratio = reduction_ratio(at.loss, after, predicted)
        moved = ok & nonzero(p)  # a step of length zero leaves nothing to judge
        accepted = moved & (ratio > self.option("eta"))
        Delta, length = self.memory["Delta"], norm(step.p)
        smaller = torch.where(torch.isfinite(length) & (length > 0), 0.25 * length, 0.25 * Delta)
        larger = (2 * Delta).clamp(max=self.option("Delta_max"))
        new = torch.where(ratio < 0.25, smaller, torch.where((ratio > 0.75) & step.boundary, larger, Delta))
        Delta.copy_(torch.where(moved, new, Delta))
        self.count("n_accepted", accepted)
        self.count("n_rejected", moved & ~accepted)
        return self.stand_still(ok, blend(accepted, w + p, w), w)

    def _inside(self, at: Differentiated, g: Tensor) -> Truncated:
        cg_tol, cg_max = self.option("cg_tol"), self.option("cg_max")
        return steihaug(
            at.product,
            g,
            self.memory["Delta"],
            norm(g) * (superlinear(g) if cg_tol is None else cg_tol),
            min(g.shape[-1], 250) if cg_max is None else cg_max,
        )
