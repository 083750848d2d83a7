"""AMSGrad: Adam with a second moment that never falls.

m <- beta1 m + (1 - beta1) g,   v <- beta2 v + (1 - beta2) g^2,   c1 = 1 - beta1^t,   c2 = 1 - beta2^t
slides   top <- max(top, v / c2);   w <- w - lr (m / c1) / (sqrt(top) + eps)
torch    top <- max(top, v);        w <- w - lr (m / c1) / (sqrt(top / c2) + eps)
none     top <- max(top, v);        w <- w - lr m / (sqrt(top) + eps)

eps_inside: sqrt(. + eps) in place of sqrt(.) + eps.

Source: S. J. Reddi, S. Kale, S. Kumar, 2018.
Differs: "none" is the paper, but for eps, which the paper does not have; "slides" and "torch" correct the bias.
"""

from __future__ import annotations

from typing import Unpack

import torch
from torch import Tensor

from optimizers._options import Common, Params, Rate, given, require
from optimizers.first_order._elementwise import (
    Elementwise,
    denominator,
    descend,
    descend_corrected,
    first_moment,
    positive,
    require_adaptive,
    second_moment,
)

__all__ = ["AMSGrad"]

VARIANTS = ("slides", "torch", "none")


class AMSGrad(Elementwise):
    """AMSGrad; equals ``torch.optim.Adam(amsgrad=True)`` with ``bias_correction="torch"``.

    Args:
        params: parameters, or groups of them with their own ``lr`` and ``weight_decay``.
        lr: learning rate, 0 or larger; for a population also one a member, (P,).
        betas: decays of the first and the second moment, 0 <= beta < 1.
        eps: keeps the denominator from 0, 0 or larger; at least the smallest normal number is taken.
        eps_inside: eps under the root.
        bias_correction: "slides" (maximum of corrected moments), "torch" (corrected maximum) or "none".
        common: ``weight_decay``, ``maximize``, ``member_dims``.

    Raises:
        ValueError: an option out of its range.

    One gradient a step, closure not needed; keeps m, v and top, 3 n numbers a member.
    """

    vectors = ("m", "v", "top")
    weights = ("c1", "c2")

    def __init__(
        self,
        params: Params,
        lr: Rate = 1e-3,
        *,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        eps_inside: bool = False,
        bias_correction: str = "slides",
        **common: Unpack[Common],
    ) -> None:
        require_adaptive(eps, beta1=betas[0], beta2=betas[1])
        require(bias_correction in VARIANTS, "bias_correction", bias_correction, f"one of {VARIANTS}")
        super().__init__(params, given(locals()))

    def move(self, w: Tensor) -> Tensor:
        """One step from w (*members, n)."""
        g, alive = self.sound_gradient(w)
        memory, (beta1, beta2), variant = self.memory, self.option("betas"), self.option("bias_correction")
        m, c1, v, c2, top = memory["m"], memory["c1"], memory["v"], memory["c2"], memory["top"]
        first_moment(m, c1, g, beta1, alive)
        second_moment(v, c2, g, beta2, alive)
        torch.maximum(top, torch.div(v, positive(c2), out=g) if variant == "slides" else v, out=top)
        eps, inside, rate = self.option("eps"), self.option("eps_inside"), self.rate()
        if variant == "torch":
            return descend_corrected(w, m, c1, top, c2, rate, eps, inside, out=g)
        below = denominator(top, eps, inside, out=g)
        return descend(w, m, rate / positive(c1) if variant == "slides" else rate, below)
