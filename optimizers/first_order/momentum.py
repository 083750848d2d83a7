"""Classical momentum, the heavy ball.

lr_inside        v <- mu v - lr g(w),   w <- w + v
not lr_inside    v <- mu v + g(w),      w <- w - lr v

The two are one as long as lr and mu are constant. Under a schedule the first multiplies each gradient by the lr of its
own step, the second the whole velocity by the present lr.

Source: B. T. Polyak, 1964.
Differs: nothing.
"""

from __future__ import annotations

from typing import Unpack

from torch import Tensor

from optimizers._options import Common, Params, Rate, given, require
from optimizers.first_order._elementwise import Elementwise, descend, velocity

__all__ = ["Momentum"]


class Momentum(Elementwise):
    """Momentum; ``lr_inside=False`` equals ``torch.optim.SGD(momentum=mu)``, with constant lr both forms do.

    Args:
        params: parameters, or groups of them with their own ``lr`` and ``weight_decay``.
        lr: learning rate, 0 or larger; for a population also one a member, (P,).
        mu: momentum, 0 <= mu < 1.
        lr_inside: whether lr stands inside the velocity.
        common: ``weight_decay``, ``maximize``, ``member_dims``.

    Raises:
        ValueError: an option out of its range.

    One gradient a step, closure not needed; keeps v, n numbers a member.
    """

    vectors = ("v",)

    def __init__(
        self, params: Params, lr: Rate = 1e-3, *, mu: float = 0.9, lr_inside: bool = True, **common: Unpack[Common]
    ) -> None:
        require(0 <= mu < 1, "mu", mu, "0 <= mu < 1")
        super().__init__(params, given(locals()))

    def move(self, w: Tensor) -> Tensor:
        """One step from w (*members, n)."""
        g, alive = self.sound_gradient(w)
        v, mu, rate = self.memory["v"], self.option("mu"), self.rate()
        if self.option("lr_inside"):
            return w + velocity(v, g, mu, rate, alive)
        return descend(w, velocity(v, g, mu, -1.0, alive), rate)
