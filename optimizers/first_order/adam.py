"""Adam: bias-corrected running means of the gradient and its square.

m <- beta1 m + (1 - beta1) g,   M = m / (1 - beta1^t)
v <- beta2 v + (1 - beta2) g^2,   V = v / (1 - beta2^t)
w <- w - lr M / (sqrt(V) + eps)      eps_inside: M / sqrt(V + eps)

With ``decoupled_weight_decay`` (AdamW) w <- (1 - lr weight_decay) w comes first, and g has no part of the decay.

Source: D. P. Kingma, J. Ba, 2015; I. Loshchilov, F. Hutter, 2019.
Differs: nothing.
"""

from __future__ import annotations

from typing import Unpack

from torch import Tensor

from optimizers._options import Common, Params, Rate, given
from optimizers.first_order._elementwise import (
    Elementwise,
    descend_corrected,
    first_moment,
    require_adaptive,
    second_moment,
)

__all__ = ["Adam"]


class Adam(Elementwise):
    """Adam and AdamW; equals ``torch.optim.Adam`` by default.

    Args:
        params: parameters, or groups of them with their own ``lr`` and ``weight_decay``.
        lr: learning rate, 0 or larger; for a population also one a member, (P,).
        betas: decays of the first and the second moment, 0 <= beta < 1.
        eps: keeps the denominator from 0, 0 or larger; at least the smallest normal number is taken.
        eps_inside: eps under the root.
        decoupled_weight_decay: ``weight_decay`` shrinks the weights instead of joining the loss.
        common: ``weight_decay``, ``maximize``, ``member_dims``.

    Raises:
        ValueError: an option out of its range.

    One gradient a step, closure not needed; keeps m and v, 2 n numbers a member.
    """

    vectors = ("m", "v")
    weights = ("c1", "c2")

    def __init__(
        self,
        params: Params,
        lr: Rate = 1e-3,
        *,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        eps_inside: bool = False,
        decoupled_weight_decay: bool = False,
        **common: Unpack[Common],
    ) -> None:
        require_adaptive(eps, beta1=betas[0], beta2=betas[1])
        super().__init__(params, given(locals()))

    def move(self, w: Tensor) -> Tensor:
        """One step from w (*members, n)."""
        memory, (beta1, beta2), rate = self.memory, self.option("betas"), self.rate()
        eps, inside, decoupled = self.option("eps"), self.option("eps_inside"), self.option("decoupled_weight_decay")
        if not decoupled and (host := self.compiled(w, rate)):
            return self.done(host.adam(w, self.gradient_of_sound(w), memory, (beta1, beta2), rate, eps, inside))
        g, alive = self.sound_gradient(w)
        m, c1, v, c2 = memory["m"], memory["c1"], memory["v"], memory["c2"]
        first_moment(m, c1, g, beta1, alive)
        second_moment(v, c2, g, beta2, alive)
        if decoupled:
            w = w - alive * (rate * super()._spread("weight_decay")) * w
        return descend_corrected(w, m, c1, v, c2, rate, eps, inside, out=g)

    def _spread(self, name: str) -> float | Tensor:
        # loss and gradient see no decay where it is applied to the weights
        if name == "weight_decay" and self.option("decoupled_weight_decay"):
            return 0.0
        return super()._spread(name)
