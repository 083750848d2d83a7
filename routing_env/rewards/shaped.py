"""The reward ``scarcity``, and a payment for coming closer to the target, taken back for going away from it.

    arrival on reaching the target, else step; minus scarcity * share; plus closer * (1 nearer, -1 farther, 0 blocked)

Distance is counted in moves along the axes, so that closer pays a potential: what a way to the target and back earns
is nothing, and at discount 1 no other way becomes best.

Source: Ng, Harada and Russell 1999. Differs: the potential's change is not discounted.
"""

from __future__ import annotations

from dataclasses import dataclass

from routing_env.rules import ARRIVED, PRICES

__all__ = ["Shaped"]


def pay(b, flags, own, excess, closer, share, totals):
    """The reward of one move."""
    base = totals[b, PRICES] if flags & ARRIVED else totals[b, PRICES + 1]
    return base - totals[b, PRICES + 2] * share + totals[b, PRICES + 3] * closer


@dataclass(frozen=True)
class Shaped:
    """Reward per move."""

    arrival: float = 100.0
    """on reaching the target"""
    step: float = -1.0
    """on any other move"""
    scarcity: float = 2.0
    """price of taking all the room that is left on an edge"""
    closer: float = 5.0
    """paid for a move towards the target, taken for one away from it"""

    pay = staticmethod(pay)
    closed = True

    def prices(self) -> tuple[float, ...]:
        """The numbers that ``pay`` reads."""
        return self.arrival, self.step, self.scarcity, self.closer
