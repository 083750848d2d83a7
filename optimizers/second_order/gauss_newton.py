"""Gauss-Newton: the residuals are replaced by their tangent, whose least squares are solved.

s = argmin ||r + J s||,   w = w + lr s

s solves J'J s = -J'r, but it is found by QR of J, whose condition is not squared.

Source: TUM lecture on optimization (the system J'J s = -J'r). Differs: the step is halved until f = 1/2 ||r||^2 falls
(``max_tries=0``: the full step, whatever it does); where J has not full rank, s is the shortest of all solutions.
"""

from __future__ import annotations

from typing import Unpack

import torch
from torch import Tensor

from optimizers._options import Common, Params, Rate, given
from optimizers._vector import col
from optimizers.second_order._jacobian import triangular
from optimizers.second_order._residuals import LeastSquares, Linearised

__all__ = ["GaussNewton"]


class GaussNewton(LeastSquares):
    """Gauss-Newton on residuals.

    The closure returns the residuals (N,), not a loss; see ``optimizers.second_order._residuals``. One Jacobian and one
    to ``max_tries`` residual evaluations a step, all on the same data; use all of it. Storage N n numbers a step, none
    between steps. ``maximize`` is refused.

    Args:
        params: parameters or groups of them; a population's have the shape (P, ...).
        lr: factor of the step.
        max_tries: how many lengths lr, lr / 2, lr / 4, ... are tried; 0 takes the first unseen.
        jacobian: "rows", "columns" or "auto": the one with fewer backward passes.
        chunk: how many of them are batched.
        max_numel: the Jacobian may have so many entries squared.
        common: ``weight_decay``, ``member_dims``.
    """

    def __init__(
        self,
        params: Params,
        lr: Rate = 1.0,
        *,
        max_tries: int = 10,
        jacobian: str = "auto",
        chunk: int = 64,
        max_numel: int = 10_000,
        **common: Unpack[Common],
    ) -> None:
        super().__init__(params, given(locals()))

    def move(self, w: Tensor) -> Tensor:
        """One step."""
        model = self.linearise(w)
        s = self.rate() * self._tangent_step(w, model)
        if not self.option("max_tries"):
            return self._unseen(w, model, s)
        length = torch.ones_like(model.f)

        def propose() -> Tensor:
            return col(length) * s

        def settle(accepted: Tensor, rejected: Tensor, s: Tensor, f: Tensor) -> None:
            length.copy_(torch.where(rejected, 0.5 * length, length))

        return self.first_fall(w, model, propose, settle)

    def _tangent_step(self, w: Tensor, model: Linearised) -> Tensor:
        r, J = model.r, model.J
        if self._decays:
            root = model.decay.sqrt().expand_as(w)
            r, J = torch.cat([r, root * w], -1), torch.cat([J, torch.diag_embed(root)], -2)
        used = (J != 0).any(-2)  # frozen and unused weights: the shortest step leaves them, up to rounding
        return torch.where(used, -least_squares(J, r), 0.0)

    def _unseen(self, w: Tensor, model: Linearised, s: Tensor) -> Tensor:
        ok = model.ok & torch.isfinite(s).all(-1)
        self.count("n_accepted", ok)
        return self.stand_still(ok, w + torch.where(col(ok), s, 0.0), w)


def least_squares(J: Tensor, r: Tensor) -> Tensor:
    """The shortest of all s that minimise ||J s - r||: (*members, N, n), (*members, N) -> (*members, n).

    By QR of J, or of its transpose where N < n; by singular values of the triangular factor where a rank is missing.
    """
    rtol = torch.finfo(J.dtype).eps * max(J.shape[-2:])
    if J.shape[-2] < J.shape[-1]:
        Q, R = torch.linalg.qr(J.mT)
        found = Q @ torch.linalg.solve_triangular(R.mT, r.unsqueeze(-1), upper=False)
    else:
        r, J = triangular(r, J)
        R = J
        found = torch.linalg.solve_triangular(R, r.unsqueeze(-1), upper=True)
    diagonal = R.diagonal(dim1=-2, dim2=-1).abs()
    full = (diagonal.amin(-1) > rtol * diagonal.amax(-1)) & torch.isfinite(found.squeeze(-1)).all(-1)
    if not bool(full.all()):
        found = torch.where(col(col(full)), found, torch.linalg.pinv(J, rtol=rtol) @ r.unsqueeze(-1))
    return found.squeeze(-1)
