"""S-LBFGS: L-BFGS from pairs sampled at every step, with Armijo's rule.

s_i = r x_i,  y_i = Hessian s_i,  kept where s_i'y_i > eps ||s_i|| ||y_i||
p = -H g,  H of the kept pairs from H0 = s'y / y'y of the last of them; H = I where none is kept
w <- w + alpha p,  alpha the largest of 2 alpha_before, alpha_before, alpha_before / 2, ... that decreases E enough

Source: A. S. Berahas, M. Jahani, M. Takac, 2019. Differs: the pair test does not depend on the scale of the loss;
alpha has a largest value; where no alpha is found the weights stay and alpha starts from 1 again.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Unpack

import torch
from torch import Tensor

from optimizers._armijo import armijo_masked
from optimizers._options import Common, Params, Rate, given, require
from optimizers._vector import blend, col, dot, nonzero, norm
from optimizers.second_order._sampling import Sampled, check_sampling

__all__ = ["SLBFGS"]


class SLBFGS(Sampled):
    """Sampled limited-memory BFGS.

    One batch a step: the closure is called at w and at every trial point (with ``pairs="differences"`` at m more
    points). With ``pairs="products"`` the closure with ``backward=False`` must return the loss attached to its graph.
    A gradient, m Hessian products and the losses of the line search a step; nothing is stored but alpha.

    Args:
        params: parameters, or groups of them.
        lr: factor of the direction; 1 is the method.
        m: pairs sampled a step.
        r: length of the samples, in units of a normal vector. Products do not depend on it; differences need it small.
        pairs: "products" (option II) or "differences" (option I).
        eps: of the pair test.
        sample_first: sample at the first step too; else it follows -g with alpha = min(1, 1 / sum |g_i|).
        c: of Armijo's rule.
        max_trials: of the line search.
        alpha_max: largest step.
        seed: of the samples; a number, or one for each member.
        capturable: read nothing from the device; every step then evaluates ``max_trials`` losses.
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
        sample_first: bool = False,
        c: float = 1e-4,
        max_trials: int = 60,
        alpha_max: float = 1e3,
        seed: int | Sequence[int] = 0,
        capturable: bool = False,
        **common: Unpack[Common],
    ) -> None:
        check_sampling(m, r, pairs, eps)
        require(0 < c < 1, "c", c, "0 < c < 1")
        require(max_trials >= 1, "max_trials", max_trials, "1 or larger")
        require(alpha_max > 0, "alpha_max", alpha_max, "larger than 0")
        super().__init__(params, given(locals()))

    def initial(self, w: Tensor) -> dict[str, Any]:
        """The generator and the step sizes (*members,)."""
        return {**super().initial(w), "alpha": torch.full_like(w[..., 0], 0.5)}

    def move(self, w: Tensor) -> Tensor:
        """Sample, turn the gradient, search."""
        alpha = self.memory["alpha"]
        start = (2.0 * alpha).clamp(max=self.option("alpha_max"))
        if self.k or self.option("sample_first"):
            f, g, S, Y = self.sampled(w)
            direction = two_loop(S, Y, kept_pairs(S, Y, self.option("eps")), g)
        else:
            f, g = self.evaluate(w)
            direction = g
            start = (1.0 / g.abs().sum(-1)).clamp(max=1.0)
        rate = self.rate()
        p = -direction * rate
        p = blend(dot(p, g) < 0, p, -g * rate)  # groups of very different lr may turn it uphill
        ok = torch.isfinite(f) & torch.isfinite(norm(g)) & torch.isfinite(norm(p))
        p = blend(ok, p, 0.0)
        tried = ok & nonzero(p)
        noise = 10.0 * torch.finfo(f.dtype).eps * f.abs()
        found = armijo_masked(
            lambda a: self.loss(w + col(a) * p),
            f + noise,  # a decrease that drowns in rounding is not refused for it
            dot(p, blend(ok, g, 0.0)),
            start,
            eta=self.option("c"),
            max_trials=self.option("max_trials"),
            early_exit=not self.option("capturable"),
        )
        accepted = tried & found.ok
        self.count("n_accepted", accepted)
        self.count("n_rejected", tried & ~accepted)
        alpha.copy_(torch.where(tried, torch.where(accepted, found.alpha, 0.5), alpha))
        return self.stand_still(ok, blend(accepted, w + col(found.alpha) * p, w), w)


def kept_pairs(S: Tensor, Y: Tensor, eps: float) -> Tensor:
    """Whether s'y > eps ||s|| ||y|| for pairs (*members, m, n): (*members, m) bool."""
    return (S * Y).sum(-1) > eps * norm(S) * norm(Y)


def two_loop(S: Tensor, Y: Tensor, kept: Tensor, g: Tensor) -> Tensor:
    """H g from pairs (*members, m, n), oldest first, of which those ``kept`` (*members, m) count; (*members, n)."""
    m, sy = S.shape[-2], (S * Y).sum(-1)
    rho = torch.where(kept, 1.0 / torch.where(kept, sy, 1.0), 0.0)
    ratio = sy / torch.where(kept, (Y * Y).sum(-1), 1.0)
    q, first, weights = g, torch.ones_like(rho[..., 0]), []
    for i in reversed(range(m)):
        weights.append(rho[..., i] * dot(S[..., i, :], q))
        q = torch.where(col(kept[..., i]), q - col(weights[-1]) * Y[..., i, :], q)
    for i in range(m):
        first = torch.where(kept[..., i], ratio[..., i], first)
    q = col(first) * q
    for i in range(m):
        change = weights[m - 1 - i] - rho[..., i] * dot(Y[..., i, :], q)
        q = torch.where(col(kept[..., i]), q + col(change) * S[..., i, :], q)
    return q
