"""aSNAQ: adaptive stochastic Nesterov-accelerated quasi-Newton, for recurrent networks and deep reinforcement learning.

    g1 = g(w_k + mu v_k, X_k),   p = -H g1 / ||H g1||,   v_{k+1} = mu v_k + alpha p,   w_{k+1} = w_k + v_{k+1}
    g2 = g(w_{k+1}, X_k) enters F, the ring of the last mF gradients;  H0 = diag(1 / sqrt(sum_j g_j^2 + eps)) over F

and every L steps, with the averages wn, vn of these steps' iterates and velocities and the anchor wo, vo before them:

    E(wn) > gamma E(wo):  w, v <- wo, vo;   F and all pairs are cleared;   mu <- max(mu / phi, mu_min)
    else:                 s = wn - wo,  y = F' F s / |F|,  kept where s'y > eps y'y;   mu <- min(mu phi, mu_max)
                          wo, vo <- wn, vn

Source: Indrapriyadarsini, Mahboubi, Ninomiya and Asai 2019, 2020.
Differs: y is the mean over F as in the paper's formula, not the sum as in the released program (scale_y="sum"); the
anchor moves at every aggregation without reset as in the paper, not only with accepted pairs as in the program
(anchor="accepted"); the first average is over L iterates (in both it is one iterate divided by L); a step that is not
finite is not made.
Closure: two calls a step and two of the loss alone every L steps, all on X_k. Storage (2 mL + mF + 8) n.
"""

from __future__ import annotations

from typing import Any, Unpack

import torch
from torch import Tensor

from optimizers._options import Common, Params, Rate, given, require
from optimizers._vector import blend, col, norm, overwrite
from optimizers.quasi_newton._fisher import Fisher

__all__ = ["ASNAQ"]


class ASNAQ(Fisher):
    """aSNAQ. Source: Indrapriyadarsini et al. 2020. Differs: see the module's docstring.

    Args:
        params: parameters or groups; lr: alpha, the length of a step before momentum.
        mu: momentum at the start; mu_min, mu_max: its bounds; phi: its factor at an aggregation.
        L: steps between aggregations; mL: pairs kept; mF: gradients kept.
        eps: in H0 and in the pair test; gamma: growth of the loss that is tolerated.
        normalize: directions of length one; scale_y: "mean" or "sum" over F.
        pair_test: "yy" s'y > eps y'y, or "angle" s'y > eps ||s|| ||y||.
        h0: squares of the gradients in F ("fifo"), of all ("adagrad") or their running mean ("rms").
        anchor: moves "always" or only when a pair is "accepted".
    """

    estimate = "lookahead"

    def __init__(
        self, params: Params, lr: Rate = 0.01, *, mu: Rate = 0.1, mu_min: float = 0.1, mu_max: float = 0.95,
        phi: float = 1.1, L: int = 5, mL: int = 8, mF: int = 100, eps: float = 1e-4, gamma: float = 1.01,
        normalize: bool = True, scale_y: str = "mean", pair_test: str = "yy", h0: str = "fifo",
        anchor: str = "always", **common: Unpack[Common],
    ) -> None:  # fmt: skip
        require(0 <= mu_min <= mu_max < 1, "mu_min, mu_max", (mu_min, mu_max), "0 <= mu_min <= mu_max < 1")
        require(phi >= 1, "phi", phi, "at least 1")
        super().__init__(params, given(locals()))

    def initial(self, w: Tensor) -> dict[str, Any]:
        """Besides: the sum of velocities, their anchor, and mu of each member."""
        memory = super().initial(w)
        memory["v_sum"], memory["v_anchor"] = torch.zeros_like(w), torch.zeros_like(w)
        mu = torch.as_tensor(self.option("mu"), dtype=w.dtype, device=w.device)
        memory["mu"] = mu.expand(w.shape[:-1]).clone()
        return memory

    def momentum(self) -> Tensor:
        """mu of each member, (*members, 1)."""
        return col(self.memory["mu"])

    def move(self, w: Tensor) -> Tensor:
        """One step, see the module's docstring."""
        memory, mu = self.memory, self.momentum()
        g1 = self.gradient(self.ahead(w, mu))
        s, ok = self.scaled_step(g1, -self.rate(), memory["squares"] if self.k else g1 * g1)
        v = s.addcmul_(memory["v"], mu)
        w_new = blend(ok, w + v, w)
        g2 = self.gradient(w_new)
        ok = ok & torch.isfinite(norm(g2))
        memory["v"].copy_(v)
        self.forget(~ok)
        w_new = self.stand_still(ok, w_new, w)
        self.remember(g2, ok)
        memory["w_sum"].add_(w_new)
        memory["v_sum"].add_(memory["v"])
        return self.aggregate(w_new) if self.aggregates() else w_new

    def aggregate(self, w: Tensor) -> Tensor:
        """Average, judge, learn or go back; returns the weights to go on from."""
        memory, L = self.memory, self.option("L")
        wn, vn = memory["w_sum"] / L, memory["v_sum"] / L
        memory["w_sum"].zero_()
        memory["v_sum"].zero_()
        if self.k + 1 == L:
            memory["w_anchor"].copy_(wn)
            memory["v_anchor"].copy_(vn)
            return w
        good = self.not_grown(wn, memory["w_anchor"])
        accepted = self.pair(wn, good)
        mu, phi = memory["mu"], self.option("phi")
        slower = (mu / phi).clamp(max=self.option("mu_max")).clamp(min=self.option("mu_min"))
        mu.copy_(torch.where(good, (mu * phi).clamp(max=self.option("mu_max")), slower))
        self.forget(~good)
        self.count("n_resets", ~good)
        self.refresh()
        w_new = blend(good, w, memory["w_anchor"])
        overwrite(memory["v"], ~good, memory["v_anchor"])
        moves = good if self.option("anchor") == "always" else accepted
        overwrite(memory["w_anchor"], moves, wn)
        overwrite(memory["v_anchor"], moves, vn)
        return w_new
