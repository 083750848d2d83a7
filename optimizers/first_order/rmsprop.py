"""RMSprop: the gradient over the root of its running mean square.

v <- rho v + (1 - rho) g^2
w <- w - lr g / (sqrt(v) + eps)      eps_inside: g / sqrt(v + eps)

Source: T. Tieleman, G. Hinton, lecture 6.5, 2012.
Differs: nothing; eps stands outside the root unless ``eps_inside`` (as in TensorFlow).
"""

from __future__ import annotations

from typing import Unpack

from torch import Tensor

from optimizers._options import Common, Params, Rate, given
from optimizers.first_order._elementwise import Elementwise, denominator, descend, require_adaptive, second_moment

__all__ = ["RMSprop"]


class RMSprop(Elementwise):
    """RMSprop; equals ``torch.optim.RMSprop(alpha=rho)`` by default.

    Args:
        params: parameters, or groups of them with their own ``lr`` and ``weight_decay``.
        lr: learning rate, 0 or larger; for a population also one a member, (P,).
        rho: decay of the mean square, 0 <= rho < 1.
        eps: keeps the denominator from 0, 0 or larger; at least the smallest normal number is taken.
        eps_inside: eps under the root.
        common: ``weight_decay``, ``maximize``, ``member_dims``.

    Raises:
        ValueError: an option out of its range.

    One gradient a step, closure not needed; keeps v, n numbers a member.
    """

    vectors = ("v",)

    def __init__(
        self,
        params: Params,
        lr: Rate = 1e-2,
        *,
        rho: float = 0.9,
        eps: float = 1e-8,
        eps_inside: bool = False,
        **common: Unpack[Common],
    ) -> None:
        require_adaptive(eps, rho=rho)
        super().__init__(params, given(locals()))

    def move(self, w: Tensor) -> Tensor:
        """One step from w (*members, n)."""
        rho, eps, inside, rate = self.option("rho"), self.option("eps"), self.option("eps_inside"), self.rate()
        if host := self.compiled(w, rate):
            return self.done(host.rmsprop(w, self.gradient_of_sound(w), self.memory, rho, rate, eps, inside))
        g, alive = self.sound_gradient(w)
        v = self.memory["v"]
        second_moment(v, None, g, rho, alive)
        return descend(w, g, rate, denominator(v, eps, inside))
