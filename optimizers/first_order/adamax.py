"""AdaMax: Adam with the running largest gradient in place of the root mean square.

m <- beta1 m + (1 - beta1) g
u <- max(beta2 u, |g| + eps)                       eps_inside; else u <- max(beta2 u, |g|)
w <- w - lr / (1 - beta1^t) m / u                   eps_inside; else m / (u + eps)

Source: D. P. Kingma, J. Ba, 2015, section 7.1.
Differs: eps, which the paper does not have.
"""

from __future__ import annotations

from typing import Unpack

import torch
from torch import Tensor

from optimizers._options import Common, Params, Rate, given
from optimizers.first_order._elementwise import Elementwise, descend, first_moment, positive, require_adaptive

__all__ = ["Adamax"]


class Adamax(Elementwise):
    """AdaMax; equals ``torch.optim.Adamax`` by default.

    Args:
        params: parameters, or groups of them with their own ``lr`` and ``weight_decay``.
        lr: learning rate, 0 or larger; for a population also one a member, (P,).
        betas: decays of the first and the second moment, 0 <= beta < 1.
        eps: keeps the denominator from 0, 0 or larger; at least the smallest normal number is taken.
        eps_inside: eps inside the maximum.
        common: ``weight_decay``, ``maximize``, ``member_dims``.

    Raises:
        ValueError: an option out of its range.

    One gradient a step, closure not needed; keeps m and u, 2 n numbers a member.
    """

    vectors = ("m", "u")
    weights = ("c",)

    def __init__(
        self,
        params: Params,
        lr: Rate = 2e-3,
        *,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        eps_inside: bool = True,
        **common: Unpack[Common],
    ) -> None:
        require_adaptive(eps, beta1=betas[0], beta2=betas[1])
        super().__init__(params, given(locals()))

    def move(self, w: Tensor) -> Tensor:
        """One step from w (*members, n)."""
        g, alive = self.sound_gradient(w)
        m, c, u = self.memory["m"], self.memory["c"], self.memory["u"]
        (beta1, beta2), eps = self.option("betas"), max(self.option("eps"), torch.finfo(w.dtype).tiny)
        first_moment(m, c, g, beta1, alive)
        inside = self.option("eps_inside")
        size = g.abs_().add_(eps) if inside else g.abs_()
        u.mul_(torch.pow(beta2, alive))
        torch.maximum(u, size, out=u)
        return descend(w, m, self.rate() / positive(c), torch.add(u, 0.0 if inside else eps, out=g))
