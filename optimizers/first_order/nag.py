"""Nesterov's accelerated gradient: momentum with the gradient taken ahead, at w + mu v.

lookahead    v <- mu v - lr g(w + mu v),   w <- w + v
torch        v <- mu v + g(w),             w <- w - lr (g(w) + mu v)

With constant lr and mu the two are one iteration: the weights of the second are the points w + mu v of the first.

Source: Y. Nesterov, 1983; I. Sutskever, J. Martens, G. Dahl, G. Hinton, 2013 (velocity form).
Differs: mu is constant unless it is scheduled.
"""

from __future__ import annotations

from typing import Any, Unpack

from torch import Tensor

from optimizers._options import Common, Params, Rate, given, require
from optimizers.first_order._elementwise import Elementwise, descend, velocity

__all__ = ["NAG"]

FORMS = ("lookahead", "torch")


class _WhenLookingAhead:
    """``requires_closure`` of the class: True, the default; of an instance: what its form needs."""

    def __get__(self, optimizer: Any, owner: type) -> bool:
        return optimizer is None or optimizer.option("form") == "lookahead"


class NAG(Elementwise):
    """Nesterov's accelerated gradient, the first-order member of the NAQ family.

    Args:
        params: parameters, or groups of them with their own ``lr`` and ``weight_decay``.
        lr: learning rate, 0 or larger; for a population also one a member, (P,).
        mu: momentum, 0 <= mu < 1.
        form: "lookahead" leaves the parameters at w and needs the closure; "torch" works without one, leaves them at
            w + mu v, and equals ``torch.optim.SGD(momentum=mu, nesterov=True)``.
        common: ``weight_decay``, ``maximize``, ``member_dims``.

    Raises:
        ValueError: an option out of its range.

    One gradient a step; ``step`` returns the loss where it was taken, for "lookahead" w + mu v. Keeps v, n numbers a
    member.
    """

    requires_closure = _WhenLookingAhead()
    vectors = ("v",)

    def __init__(
        self, params: Params, lr: Rate = 1e-3, *, mu: float = 0.9, form: str = "lookahead", **common: Unpack[Common]
    ) -> None:
        require(0 <= mu < 1, "mu", mu, "0 <= mu < 1")
        require(form in FORMS, "form", form, f"one of {FORMS}")
        super().__init__(params, given(locals()))

    def move(self, w: Tensor) -> Tensor:
        """One step from w (*members, n)."""
        v, mu, rate = self.memory["v"], self.option("mu"), self.rate()
        if self.option("form") == "lookahead":
            g, alive = self.sound_gradient(w.add(v, alpha=mu))
            return w + velocity(v, g, mu, rate, alive)
        g, alive = self.sound_gradient(w)
        return descend(w, g.add(velocity(v, g, mu, -1.0, alive), alpha=mu), rate)
