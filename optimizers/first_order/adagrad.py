"""Adagrad: every coordinate has a step of its own, smaller the more gradient it has seen.

v <- v + g^2
w <- w - lr g / (sqrt(v) + eps)      eps_inside: g / sqrt(v + eps)

Source: J. Duchi, E. Hazan, Y. Singer, 2011 (diagonal form).
Differs: nothing; eps stands outside the root unless ``eps_inside``.
"""

from __future__ import annotations

from typing import Unpack

from torch import Tensor

from optimizers._options import Common, Params, Rate, given
from optimizers.first_order._elementwise import Elementwise, denominator, descend, require_adaptive

__all__ = ["Adagrad"]


class Adagrad(Elementwise):
    """Adagrad; equals ``torch.optim.Adagrad`` by default.

    Args:
        params: parameters, or groups of them with their own ``lr`` and ``weight_decay``.
        lr: learning rate, 0 or larger; for a population also one a member, (P,).
        eps: keeps the denominator from 0, 0 or larger; at least the smallest normal number is taken.
        eps_inside: eps under the root.
        common: ``weight_decay``, ``maximize``, ``member_dims``.

    Raises:
        ValueError: an option out of its range.

    One gradient a step, closure not needed; keeps v, n numbers a member.
    """

    vectors = ("v",)

    def __init__(
        self, params: Params, lr: Rate = 1e-2, *, eps: float = 1e-10, eps_inside: bool = False, **common: Unpack[Common]
    ) -> None:
        require_adaptive(eps)
        super().__init__(params, given(locals()))

    def move(self, w: Tensor) -> Tensor:
        """One step from w (*members, n)."""
        g, _ = self.sound_gradient(w)
        v = self.memory["v"].addcmul_(g, g)
        return descend(w, g, self.rate(), denominator(v, self.option("eps"), self.option("eps_inside")))
