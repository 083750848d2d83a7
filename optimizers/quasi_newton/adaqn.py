"""adaQN: adaptive quasi-Newton with an empirical Fisher matrix, for recurrent networks.

    g = g(w_k, X_k) enters F, the ring of the last mF gradients;  H0 = diag(1 / sqrt(sum_j g_j^2 + eps)) over F
    w_{k+1} = w_k - alpha H g

and every L steps, with wn, the average of the iterates that these steps started from, and the anchor wo:

    E(wn) > gamma E(wo):  w <- wo;   F and all pairs are cleared
    else:                 s = wn - wo,  y = F' F s / |F|;  where s'y > eps y'y the pair is kept and wo <- wn

Source: Keskar and Berahas 2016.
Differs: nothing in the formulas (the authors' program sums over F instead of averaging, keeps F at a reset and averages
one iterate after it); a step that is not finite is not made; ``clip`` bounds a step's length.
Closure: one call a step and two of the loss alone every L steps: on X_k, or by ``monitor``, a closure of a fixed
batch.
Storage (2 mL + mF + 5) n.
"""

from __future__ import annotations

from typing import Unpack

import torch
from torch import Tensor

from optimizers._options import Common, Params, Rate, given, require
from optimizers._vector import blend, col, norm, overwrite
from optimizers.quasi_newton._fisher import Fisher

__all__ = ["AdaQN"]


class AdaQN(Fisher):
    """adaQN. Source: Keskar and Berahas 2016. Differs: see the module's docstring.

    Args:
        params: parameters or groups; lr: alpha.
        L: steps between aggregations; mL: pairs kept; mF: gradients kept.
        eps: in H0 and in the pair test; gamma: growth of the loss that is tolerated.
        normalize: directions of length one (not in the paper); clip: largest length of a step, None for any.
        scale_y: "mean" or "sum" over F; pair_test: "yy" s'y > eps y'y, or "angle" s'y > eps ||s|| ||y||.
        h0: squares of the gradients in F ("fifo"), of all ("adagrad") or their running mean ("rms").
        anchor: moves "always" or only when a pair is "accepted".
    """

    def __init__(
        self, params: Params, lr: Rate = 0.01, *, L: int = 5, mL: int = 10, mF: int = 100, eps: float = 1e-4,
        gamma: float = 1.01, normalize: bool = False, clip: float | None = None, scale_y: str = "mean",
        pair_test: str = "yy", h0: str = "fifo", anchor: str = "accepted", **common: Unpack[Common],
    ) -> None:  # fmt: skip
        require(clip is None or clip > 0, "clip", clip, "larger than 0, or None")
        super().__init__(params, given(locals()))

    def move(self, w: Tensor) -> Tensor:
        """One step, see the module's docstring."""
        memory = self.memory
        g = self.gradient(w)
        finite = torch.isfinite(norm(g))
        self.forget(~finite)
        self.remember(g, finite)
        r = self.matrix.times(self, g, self.diagonal(memory["squares"]))
        length = norm(r)
        ok = finite & torch.isfinite(length) & (length > 0)
        step = self.rate() * r
        if self.option("normalize"):
            step = step / col(torch.where(ok, length, 1.0))
        if self.option("clip") is not None:
            step = step * col((self.option("clip") / norm(step)).clamp(max=1))
        memory["w_sum"].add_(w)
        self.forget(finite & ~ok)
        w_new = self.stand_still(ok, w - step, w)
        return self.aggregate(w_new) if self.aggregates() else w_new

    def aggregate(self, w: Tensor) -> Tensor:
        """Average, judge, learn or go back; returns the weights to go on from."""
        memory, L = self.memory, self.option("L")
        wn = memory["w_sum"] / L
        memory["w_sum"].zero_()
        if self.k + 1 == L:
            memory["w_anchor"].copy_(wn)
            return w
        good = self.not_grown(wn, memory["w_anchor"])
        accepted = self.pair(wn, good)
        self.forget(~good)
        self.count("n_resets", ~good)
        self.refresh()
        w_new = blend(good, w, memory["w_anchor"])
        moves = good if self.option("anchor") == "always" else accepted
        overwrite(memory["w_anchor"], moves, wn)
        return w_new
