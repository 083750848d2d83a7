"""S-LSR1: SR1 from pairs sampled at every step, in a trust region.

s_i = r x_i,  y_i = Hessian s_i,  kept where |s_i'u_i| > eps ||s_i|| ||u_i||,  u_i = y_i - B_i s_i
B from gamma I by the kept pairs;  p = argmin g'p + p'Bp / 2 over ||p|| <= delta, by Steihaug's conjugate gradients
ratio = (E(w) - E(w + p)) / (predicted decrease);  w <- w + p where ratio > eta;  delta by ``rule``, where p is not zero

With gamma = 0 and exact products B = H S (S'H S)^-1 S'H, and B = H where m reaches the number of weights.

Source: A. S. Berahas, M. Jahani, M. Takac, 2019. Differs: pairs that B satisfies up to rounding are left out; the ratio
takes losses that agree to rounding for a decrease as predicted; a radius has a largest value.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Unpack

import torch
from torch import Tensor

from optimizers._options import Common, Params, Rate, given, require
from optimizers._vector import blend, nonzero, norm
from optimizers.quasi_newton._lsr1 import lsr1
from optimizers.quasi_newton._steihaug import steihaug
from optimizers.quasi_newton._trust_region import agreement, new_radius, rescaled
from optimizers.second_order._sampling import Sampled, check_sampling

__all__ = ["SLSR1"]


class SLSR1(Sampled):
    """Sampled limited-memory SR1.

    One batch a step: the closure is called at w and at the trial point (with ``pairs="differences"`` at m more
    points). With ``pairs="products"`` the closure with ``backward=False`` must return the loss attached to its graph.
    A gradient, m Hessian products and a loss a step; nothing is stored but the radius. A step that is refused leaves
    the weights, and the next one samples anew.

    Args:
        params: parameters, or groups of them.
        lr: factor of the trust-region step; 1 is the method.
        m: pairs sampled a step.
        r: length of the samples, in units of a normal vector. Products do not depend on it; differences need it small.
        pairs: "products" (option II) or "differences" (option I).
        eps: of the pair test.
        gamma: B starts from gamma I.
        delta: first radius.
        delta_max: largest radius.
        rule: of the radius, "basic" (as published) or "safer".
        eta: smallest ratio that is accepted.
        tol: on the residual of the conjugate gradients, absolute.
        seed: of the samples; a number, or one for each member.
        capturable: read nothing from the device while the subproblem is solved.
        common: ``weight_decay``, ``maximize``, ``member_dims``.
    """

    def __init__(
        self,
        params: Params,
        lr: Rate = 1.0,
        *,
        m: int = 10,
        r: float = 1.0,
        pairs: str = "products",
        eps: float = 1e-8,
        gamma: float = 0.0,
        delta: float = 1.0,
        delta_max: float = 1e3,
        rule: str = "basic",
        eta: float = 1e-6,
        tol: float = 1e-10,
        seed: int | Sequence[int] = 0,
        capturable: bool = False,
        **common: Unpack[Common],
    ) -> None:
        check_sampling(m, r, pairs, eps)
        require(0 < delta <= delta_max, "delta", delta, f"larger than 0, at most delta_max = {delta_max}")
        require(rule in ("basic", "safer"), "rule", rule, "'basic' or 'safer'")
        require(0 <= eta < 0.1, "eta", eta, "0 <= eta < 0.1")
        require(abs(gamma) < float("inf"), "gamma", gamma, "a finite number")
        require(tol >= 0, "tol", tol, "0 or larger")
        super().__init__(params, given(locals()))

    def initial(self, w: Tensor) -> dict[str, Any]:
        """The generator and the radii (*members,)."""
        return {**super().initial(w), "delta": torch.full_like(w[..., 0], self.option("delta"))}

    def move(self, w: Tensor) -> Tensor:
        """Sample, solve, try."""
        f, g, S, Y = self.sampled(w)
        ok = torch.isfinite(f) & torch.isfinite(norm(g))
        delta, m = self.memory["delta"], self.option("m")
        gamma = torch.full_like(delta, self.option("gamma"))
        B = lsr1(S, Y, torch.ones_like(S[..., 0], dtype=torch.bool), gamma, self.option("eps"))
        capturable = self.option("capturable")
        # B has m + 1 different eigenvalues: more iterations only repair rounding
        inside = steihaug(B.product, g, delta, self.option("tol"), 2 * m + 10, early_exit=not capturable)
        step = rescaled(inside, self.rate(), g, B.product)
        ok = ok & torch.isfinite(norm(step.p))
        p = blend(ok, step.p, 0.0)
        tried = ok & nonzero(p)
        trial = w + p
        ratio = agreement(f, self.loss(trial), step.predicted)
        accepted = tried & (ratio > self.option("eta"))
        self.count("n_accepted", accepted)
        self.count("n_rejected", tried & ~accepted)
        radius = new_radius(delta, ratio, norm(p), self.option("rule"), largest=self.option("delta_max"))
        delta.copy_(torch.where(tried, radius, delta))
        return self.stand_still(ok, blend(accepted, trial, w), w)
