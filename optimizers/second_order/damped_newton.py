"""Newton's method that descends: the Hessian made positive definite, and a line search.

    (H + tau I) p = -g                              indefinite="damp"
    V max(|Lambda|, floor max|Lambda|) V' p = -g    indefinite="abs" (saddle-free), H = V Lambda V'
    w <- w + alpha lr p,    the largest alpha in {1, 1/2, ...} with E(w + alpha lr p) <= E(w) + eta alpha lr g'p

Source: Nocedal and Wright, Numerical Optimization, 2nd ed., section 3.4 (damped); Dauphin et al. 2014 (saddle-free).
Differs: tau is 0 where H is positive definite, else starts at -lambda_min + shift max|lambda| and is raised tenfold
until the Cholesky factorisation succeeds. A failed search raises the least tau of the next step, a successful one
lowers it. The line search forgives ten roundings of the loss.
"""

from __future__ import annotations

from typing import Any, Unpack

import torch
from torch import Tensor

from optimizers._armijo import armijo_masked
from optimizers._base import VectorOptimizer
from optimizers._options import Common, Params, Rate, given, require
from optimizers._products import Differentiated, dense_hessian
from optimizers._vector import blend, col, dot
from optimizers.quasi_newton._bfgs import refuse_large
from optimizers.second_order._curvature import hold_unused, rounding, shifted

__all__ = ["DampedNewton"]


class DampedNewton(VectorOptimizer):
    """Newton steps with a positive definite matrix and Armijo's line search; see the module.

    Args:
        params: parameters.
        lr: factor of the step before the line search.
        indefinite: "damp" adds tau I where H is not positive definite; "abs" takes absolute values of H's eigenvalues
            everywhere (saddle-free Newton), which leaves plateaus and saddle points of networks much sooner.
        shift: with "damp", the least eigenvalue of H + tau I relative to the largest |eigenvalue| of H, where H is not
            positive definite. Steps grow with 1 / shift, and so do the trials of the line search.
        floor: least |eigenvalue| with "abs", relative to the largest.
        eta: share of the predicted decrease that the line search asks for, in (0, 1/2).
        max_trials: halvings of the line search; after that the member stays where it is (n_rejected).
        max_numel: refuse more weights than this a member; H takes n^2 numbers.
        common: weight_decay, maximize, member_dims.

    The closure is called once a step with ``backward=False`` for loss and curvature (it returns the loss on its graph)
    and once for each trial. Cost of a step: one gradient, n Hessian products (batched), some factorisations of n^3 / 3
    (eigenvalues, about 10 n^3, with "abs" and where H is indefinite), the trials. Remembers tau. A member whose loss,
    gradient or step is not finite stands still (n_nonfinite). Whole batch.
    """

    def __init__(
        self,
        params: Params,
        lr: Rate = 1.0,
        *,
        indefinite: str = "damp",
        shift: float = 1e-3,
        floor: float = 1e-8,
        eta: float = 1e-4,
        max_trials: int = 20,
        max_numel: int = 10_000,
        **common: Unpack[Common],
    ) -> None:
        require(indefinite in ("damp", "abs"), "indefinite", indefinite, "'damp' or 'abs'")
        require(shift > 0, "shift", shift, "larger than 0")
        require(0 < floor <= 1, "floor", floor, "0 < floor <= 1")
        require(0 < eta < 0.5, "eta", eta, "0 < eta < 1/2")
        require(max_trials >= 1, "max_trials", max_trials, "1 or more")
        super().__init__(params, given(locals()))

    def initial(self, w: Tensor) -> dict[str, Any]:
        """tau: the least shift of the next step, raised by failed searches, (*members,)."""
        return {"tau": torch.zeros_like(w[..., 0])}

    def move(self, w: Tensor) -> Tensor:
        """One step."""
        refuse_large(self, w, "newton_cg")
        at = Differentiated(self, w)
        loss, g = at.loss, at.gradient
        H = hold_unused(dense_hessian(at), g)
        p, scale = self._direction(H, g)
        p = p * self.rate()
        p = blend(dot(g, p) < 0, p, -g * self.rate())  # lr that differs between groups may turn p uphill
        ok = torch.isfinite(loss) & torch.isfinite(p).all(-1)
        p = blend(ok, p, 0.0)
        found = armijo_masked(
            lambda alpha: self.loss(w + col(alpha) * p),
            loss + rounding(loss),
            dot(g, p),
            torch.ones_like(loss),
            eta=self.option("eta"),
            max_trials=self.option("max_trials"),
        )
        still = (g == 0).all(-1)
        failed = ok & ~found.ok & ~still
        tau = self.memory["tau"]
        tau.copy_(
            torch.where(
                failed, torch.maximum(10 * tau, self.option("shift") * scale), torch.where(found.ok, 0.1 * tau, tau)
            )
        )
        tau.mul_(tau > 1e-5 * self.option("shift") * scale)
        self.count("n_accepted", found.ok)
        self.count("n_rejected", failed)
        return self.stand_still(ok, w + col(found.alpha) * p, w)

    def _direction(self, H: Tensor, g: Tensor) -> tuple[Tensor, Tensor]:
        """(p (*members, n), largest |eigenvalue| of H or a bound on it (*members,))."""
        tau = self.memory["tau"]
        if self.option("indefinite") == "damp":
            p, scale = shifted(H, g, tau, self.option("shift"))
            return -p, scale
        finite = torch.isfinite(H).all(-1).all(-1)
        values, vectors = torch.linalg.eigh(blend(finite, H, 0.0))
        scale = values.abs().amax(-1)
        least = (self.option("floor") * scale).clamp(min=torch.finfo(H.dtype).tiny)
        values = torch.maximum(values.abs(), col(least)) + col(tau)
        p = -(vectors @ ((vectors.mT @ g.unsqueeze(-1)) / values.unsqueeze(-1))).squeeze(-1)
        return blend(finite, p, torch.nan), scale
