"""Levenberg-Marquardt: Gauss-Newton, damped in proportion to the curvature of each weight.

(J'J + lam D) s = -J'r,   D = diag(J'J), floored at 1e-12 of its largest entry
w = w + lr s where f = 1/2 ||r||^2 falls

Accepted: lam = lam / down. Rejected: lam = lam up, and the system is solved again with the same J, at most max_tries
times. rule="nielsen": accepted lam = lam max(1/3, 1 - (2 rho - 1)^3), nu = 2 with rho the true fall over the model's;
rejected lam = lam nu, nu = 2 nu. The system is never made: s solves the least squares [J; sqrt(lam D)] s = [-r; 0] by
QR; J is reduced to its triangular factor once, and with N < n residuals all work is done in the span of its N rows.

Source: Marquardt 1963; TUM lecture on optimization; Nielsen 1999 (rule). Differs: nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Unpack

import torch
from torch import Tensor

from optimizers._options import Common, Params, Rate, given, require
from optimizers._vector import col
from optimizers.second_order._jacobian import times, triangular
from optimizers.second_order._residuals import LeastSquares, Linearised

__all__ = ["LevenbergMarquardt"]


class LevenbergMarquardt(LeastSquares):
    """Levenberg-Marquardt on residuals.

    The closure returns the residuals (N,), not a loss; see ``optimizers.second_order._residuals``. One Jacobian and one
    to ``max_tries`` residual evaluations a step, all on the same data; use all of it. Storage N n numbers a step, two
    between steps. A step without success leaves the weights as they are, bit for bit. ``maximize`` is refused.

    Args:
        params: parameters or groups of them; a population's have the shape (P, ...).
        lr: factor of the step; 1 is the method.
        lam: first damping, larger than 0; each member of a population then has its own.
        rule: how it changes, "factor" or "nielsen".
        up: factor after a failure, larger than 1 (rule "factor").
        down: divisor after a success, 1 or larger (rule "factor").
        lam_min: smallest damping.
        lam_max: largest damping.
        max_tries: how many dampings are tried a step.
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
        lam: float = 1e-3,
        rule: str = "factor",
        up: float = 10.0,
        down: float = 10.0,
        lam_min: float = 1e-12,
        lam_max: float = 1e12,
        max_tries: int = 10,
        jacobian: str = "auto",
        chunk: int = 64,
        max_numel: int = 10_000,
        **common: Unpack[Common],
    ) -> None:
        require(rule in ("factor", "nielsen"), "rule", rule, "'factor' or 'nielsen'")
        require(up > 1, "up", up, "larger than 1")
        require(down >= 1, "down", down, "1 or larger")
        require(0 < lam_min < float("inf"), "lam_min", lam_min, "larger than 0")
        require(lam_min <= lam_max, "lam_max", lam_max, f"at least lam_min = {lam_min}")
        require(lam_min <= lam <= lam_max, "lam", lam, "lam_min <= lam <= lam_max")
        require(max_tries >= 1, "max_tries", max_tries, "1 or larger")
        super().__init__(params, given(locals()))

    def initial(self, w: Tensor) -> dict[str, Any]:
        """Damping lam and its next factor nu, (*members,)."""
        return {"lam": w.new_full(w.shape[:-1], self.option("lam")), "nu": w.new_full(w.shape[:-1], 2.0)}

    def metric(self, model: Linearised) -> Tensor:
        """D of each member, (*members, n), positive."""
        return floored((model.J * model.J).sum(-2) + model.decay)

    def move(self, w: Tensor) -> Tensor:
        """One step."""
        model = self.linearise(w)
        lam, solve, D, rate = self.memory["lam"], damped(w, model), self.metric(model), self.rate()

        def propose() -> Tensor:
            return rate * solve(col(lam) * D)

        def settle(accepted: Tensor, rejected: Tensor, s: Tensor, f: Tensor) -> None:
            self._adapt(accepted, rejected, (model.f - f) / model.fall(s))

        w_new = self.first_fall(w, model, propose, settle)
        lam.copy_(torch.where(model.ok, lam, self.option("lam")))
        return w_new

    def _adapt(self, accepted: Tensor, rejected: Tensor, rho: Tensor) -> None:
        lam, nu = self.memory["lam"], self.memory["nu"]
        if self.option("rule") == "nielsen":
            less, more = lam * (1 - (2 * rho - 1) ** 3).clamp_min(1 / 3), lam * nu
            nu.copy_(torch.where(accepted, 2.0, torch.where(rejected, 2 * nu, nu)))
        else:
            less, more = lam / self.option("down"), lam * self.option("up")
        changed = torch.where(accepted, less, torch.where(rejected, more, lam))
        lam.copy_(changed.clamp(self.option("lam_min"), self.option("lam_max")))


def floored(D: Tensor) -> Tensor:
    """A diagonal (*members, n) with no entry below 1e-12 of the member's largest; ones where all are zero."""
    largest = D.amax(-1, keepdim=True)
    return torch.where(largest > 0, torch.maximum(D, 1e-12 * largest), 1.0)


def damped(w: Tensor, model: Linearised) -> Callable[[Tensor], Tensor]:
    """The function M -> argmin_s 1/2 ||r + J s||^2 + 1/2 s'M s + 1/2 (w + s)' decay (w + s), M (*members, n) > 0."""
    return in_row_space(w, model) if model.J.shape[-2] < model.J.shape[-1] else in_weight_space(w, model)


def in_weight_space(w: Tensor, model: Linearised) -> Callable[[Tensor], Tensor]:
    """For N >= n: QR of J once, then of 2n rows for each M."""
    c, R = triangular(model.r, model.J)

    def solve(M: Tensor) -> Tensor:
        root = (M + model.decay).sqrt()
        rows = torch.cat([R, torch.diag_embed(root)], -2)
        return solved(rows, torch.cat([c, model.decay * w / root], -1))

    return solve


def in_row_space(w: Tensor, model: Linearised) -> Callable[[Tensor], Tensor]:
    """For N < n: the rows of J S, S = (M + decay)^-1/2, span the solution but for the shift towards the decay's."""

    def solve(M: Tensor) -> Tensor:
        S = (M + model.decay).rsqrt()
        shift = S * S * model.decay * w
        Q, R = torch.linalg.qr((model.J * S.unsqueeze(-2)).mT)
        b = model.r - times(model.J, shift)
        eye = torch.eye(b.shape[-1], dtype=b.dtype, device=b.device).expand_as(R)
        y = solved(torch.cat([R.mT, eye], -2), torch.cat([b, torch.zeros_like(b)], -1))
        return S * times(Q, y) - shift

    return solve


def solved(rows: Tensor, b: Tensor) -> Tensor:
    """argmin_x ||rows x + b|| by QR, for rows of full column rank; not finite where that fails."""
    c, R = triangular(b, rows)
    return -torch.linalg.solve_triangular(R, c.unsqueeze(-1), upper=True).squeeze(-1)
