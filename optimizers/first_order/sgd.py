"""Gradient descent; with batches, stochastic gradient descent.

w <- w - lr g(w)

Source: Cauchy 1847; H. Robbins, S. Monro, 1951.
Differs: nothing.
"""

from __future__ import annotations

from typing import Unpack

from torch import Tensor

from optimizers._options import Common, Params, Rate, given
from optimizers.first_order._elementwise import Elementwise, descend

__all__ = ["SGD"]


class SGD(Elementwise):
    """Step along the negative gradient; ``optimizers.schedules.robbins_monro`` lowers lr as the theory asks.

    Args:
        params: parameters, or groups of them with their own ``lr`` and ``weight_decay``.
        lr: learning rate, 0 or larger; for a population also one a member, (P,).
        common: ``weight_decay``, ``maximize``, ``member_dims``.

    Raises:
        ValueError: an option out of its range.

    One gradient a step, closure not needed; keeps nothing.
    """

    def __init__(self, params: Params, lr: Rate = 1e-3, **common: Unpack[Common]) -> None:
        super().__init__(params, given(locals()))

    def move(self, w: Tensor) -> Tensor:
        """One step from w (*members, n)."""
        g, _ = self.sound_gradient(w)
        return descend(w, g, self.rate())
