"""Adadelta: the step is the gradient times the ratio of the running sizes of steps and gradients.

v <- rho v + (1 - rho) g^2
delta = sqrt(u + eps) / sqrt(v + eps) g      not eps_inside: (sqrt(u) + eps) / (sqrt(v) + eps) g
u <- rho u + (1 - rho) delta^2
w <- w - lr delta

Source: M. D. Zeiler, 2012.
Differs: nothing; the paper has lr = 1.
"""

from __future__ import annotations

from typing import Unpack

from torch import Tensor

from optimizers._options import Common, Params, Rate, given
from optimizers.first_order._elementwise import Elementwise, denominator, descend, require_adaptive, second_moment

__all__ = ["Adadelta"]


class Adadelta(Elementwise):
    """Adadelta; equals ``torch.optim.Adadelta`` by default.

    Args:
        params: parameters, or groups of them with their own ``lr`` and ``weight_decay``.
        lr: learning rate, 0 or larger; for a population also one a member, (P,).
        rho: decay of both mean squares, 0 <= rho < 1.
        eps: sets the size of the first steps, 0 or larger; at least the smallest normal number is taken.
        eps_inside: eps under both roots, as in the paper.
        common: ``weight_decay``, ``maximize``, ``member_dims``.

    Raises:
        ValueError: an option out of its range.

    One gradient a step, closure not needed; keeps v and u, 2 n numbers a member.
    """

    vectors = ("v", "u")

    def __init__(
        self,
        params: Params,
        lr: Rate = 1.0,
        *,
        rho: float = 0.9,
        eps: float = 1e-6,
        eps_inside: bool = True,
        **common: Unpack[Common],
    ) -> None:
        require_adaptive(eps, rho=rho)
        super().__init__(params, given(locals()))

    def move(self, w: Tensor) -> Tensor:
        """One step from w (*members, n)."""
        g, alive = self.sound_gradient(w)
        v, u, rho = self.memory["v"], self.memory["u"], self.option("rho")
        eps, inside = self.option("eps"), self.option("eps_inside")
        second_moment(v, None, g, rho, alive)
        below = denominator(v, eps, inside)
        delta = g.div_(below).mul_(denominator(u, eps, inside, out=below))
        second_moment(u, None, delta, rho, alive)
        return descend(w, delta, self.rate())
