"""Newton's method: the step to the stationary point of the quadratic model.

    H = Hessian of E at w,  g = gradient,    H p = g,    w <- w - lr p

Source: Isaac Newton, Joseph Raphson; Nocedal and Wright, Numerical Optimization, 2nd ed., section 3.3.
Differs: a weight that the loss does not depend on (zero row of H, zero gradient) is left alone.
"""

from __future__ import annotations

from typing import Unpack

import torch
from torch import Tensor

from optimizers._base import VectorOptimizer
from optimizers._options import Common, Params, Rate, given, require
from optimizers._products import Differentiated, dense_hessian
from optimizers._vector import blend, norm
from optimizers.quasi_newton._bfgs import refuse_large
from optimizers.second_order._curvature import factored, hold_unused, shifted

__all__ = ["Newton"]


class Newton(VectorOptimizer):
    """w <- w - lr H^-1 g, with the dense Hessian H.

    Without a line search: from far away it may climb, or walk to a saddle point or a maximum. ``DampedNewton`` and
    ``NewtonCG`` do neither.

    Args:
        params: parameters.
        lr: factor of the step; 1 reaches the minimum of a quadratic in one step.
        indefinite: what to do where H is not positive definite. "solve": the step as it is, to the stationary point of
            the model, be it a minimum or not; "damp": H + tau I as in ``DampedNewton``; "raise": RuntimeError, the
            weights unchanged.
        max_numel: refuse more weights than this a member; H takes n^2 numbers.
        common: weight_decay, maximize, member_dims.

    The closure is called once a step with ``backward=False`` and returns the loss on its graph. Cost of a step: one
    gradient, n Hessian products (batched), one factorisation, n^3 / 3. Nothing is remembered. A member whose loss,
    gradient or step is not finite, a singular H among them, stands still (n_nonfinite). Whole batch.
    """

    def __init__(
        self,
        params: Params,
        lr: Rate = 1.0,
        *,
        indefinite: str = "solve",
        max_numel: int = 10_000,
        **common: Unpack[Common],
    ) -> None:
        require(indefinite in ("solve", "damp", "raise"), "indefinite", indefinite, "'solve', 'damp' or 'raise'")
        super().__init__(params, given(locals()))

    def move(self, w: Tensor) -> Tensor:
        """One step."""
        refuse_large(self, w, "newton_cg")
        at = Differentiated(self, w)
        g = at.gradient
        p, definite = self._solve(hold_unused(dense_hessian(at), g), g)
        ok = torch.isfinite(at.loss) & torch.isfinite(p).all(-1)
        self.count("n_accepted", ok & definite)
        self.count("n_rejected", ok & ~definite)
        return self.stand_still(ok, w - self.rate() * p, w)

    def _solve(self, H: Tensor, g: Tensor) -> tuple[Tensor, Tensor]:
        """(H^-1 g, whether H is positive definite)."""
        finite = torch.isfinite(H).all(-1).all(-1)
        factor, definite = factored(blend(finite, H, 0.0))
        p = blend(definite, torch.cholesky_solve(g.unsqueeze(-1), factor).squeeze(-1), torch.nan)
        if not bool((finite & ~definite).any()):
            return p, definite
        indefinite = self.option("indefinite")
        if indefinite == "raise":
            raise RuntimeError(
                "Newton: the Hessian is not positive definite; use DampedNewton or NewtonCG, or indefinite='damp'"
            )
        if indefinite == "damp":
            return shifted(H, g, torch.zeros_like(g[..., 0]))[0], definite
        general, info = torch.linalg.solve_ex(H, g)
        # a step so long that rounding H changes H p by more than g has no digit right: H is singular
        noise = torch.finfo(g.dtype).eps * torch.linalg.matrix_norm(H) * norm(general)
        return blend(definite, p, blend((info == 0) & (noise <= norm(g)), general, torch.nan)), definite
