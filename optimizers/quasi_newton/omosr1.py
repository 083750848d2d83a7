"""oMoSR1: stochastic limited-memory SR1 with Nesterov's gradient estimated from the last two.

    g1 = (1 + mu) g(w_k, X_k) - mu g(w_{k-1}, X_{k-1}),   s minimises g1's + s'Bs / 2 within ||s|| <= delta
    v_{k+1} = mu v_k + s,   w_{k+1} = w_k + v_{k+1},   y = g(w_{k+1}, X_{k+1}) - g1,   B from m pairs and gamma I

The decrease is measured on X_k; the pair of a step is closed by the gradient of the next one, on another batch, so
batches must be so large that their gradients differ little. A batch whose gradient is exactly zero is passed over: the
pair stays open, and the estimate goes on from the gradient before it.

Source: Indrapriyadarsini, Mahboubi, Ninomiya, Kamio and Asai 2022.
Differs: ared from the look-ahead point; refused steps give no pair (the authors' program pairs points that do not
belong together).
Closure: one gradient and two losses a step, on the mini-batch X_k. Storage (2 m + 4) n.
"""

from __future__ import annotations

from typing import Any, Unpack

import torch
from torch import Tensor

from optimizers._options import Params, Rate, given
from optimizers._vector import blend, dot, nonzero, norm
from optimizers.quasi_newton._momentum import estimated
from optimizers.quasi_newton._sr1 import LimitedSR1
from optimizers.quasi_newton._trust import Region, TrustRegion
from optimizers.quasi_newton._trust_region import agreement, new_radius

__all__ = ["OMoSR1"]


class OMoSR1(TrustRegion):
    """oMoSR1. Source: Indrapriyadarsini et al. 2022. Differs: see the module's docstring.

    Args:
        params: parameters or groups; lr: factor of the step.
        mu: momentum, a number or one of each member (P,); None: Nesterov's schedule,
            with gamma_theta its end and mu_max its largest value.
        m: pairs kept; b0: factor of B0, "newest" y'y / s'y, or "below" the smallest curvature of pairs.
        common: trust region (see ``_trust.Region``) and common options.
    """

    estimate = "momentum"
    stochastic = True
    matrix = LimitedSR1()

    def __init__(
        self, params: Params, lr: Rate = 1.0, *, mu: Rate | None = None, gamma_theta: float = 1e-5, mu_max: float = 0.9,
        m: int = 8, b0: str = "newest", **common: Unpack[Region],
    ) -> None:  # fmt: skip
        super().__init__(params, given(locals()))

    def initial(self, w: Tensor) -> dict[str, Any]:
        """Besides: the open pair."""
        memory = super().initial(w)
        memory["s"], memory["g1"] = torch.zeros_like(w), torch.zeros_like(w)
        memory["pending"] = torch.zeros(w.shape[:-1], dtype=torch.bool, device=w.device)
        return memory

    def move(self, w: Tensor) -> Tensor:
        """One step, see the module's docstring."""
        memory, mu = self.memory, self.momentum()
        f_w, g = self.evaluate(w)
        finite = torch.isfinite(f_w) & torch.isfinite(dot(g, g))
        told = nonzero(g)
        y = g - memory["g1"] + self.option("lam") * memory["s"]
        self.count("n_accepted", self.matrix.update(self, memory["s"], y, memory["pending"] & finite & told))
        fresh = memory["fresh"] & ~told
        g1 = estimated(memory, blend(told, g, memory["g_before"]), mu)
        memory["fresh"].copy_(fresh)
        point = w + mu * memory["v"]
        f = self.loss(point) if self.option("ared") == "lookahead" else f_w
        step = self.matrix.subproblem(self, blend(finite, g1, 0.0), memory["delta"])
        s = blend(told, step.p, 0.0)
        tried = finite & nonzero(s)
        ratio = agreement(f, self.loss(point + s), step.predicted)
        ok = tried & (ratio > self.option("eta"))
        delta = new_radius(memory["delta"], ratio, norm(s), self.option("radius"), largest=self.option("delta_max"))
        memory["delta"].copy_(torch.where(tried, delta, memory["delta"]))
        memory["s"].copy_(blend(told, s, memory["s"]))
        memory["g1"].copy_(blend(told, g1, memory["g1"]))
        memory["pending"].copy_(torch.where(told | ~finite, ok, memory["pending"]))
        self.count("n_rejected", tried & ~ok)
        self.settle(ok, finite & ~tried, ~finite, mu, s, f)
        return blend(ok, point + s, w)
