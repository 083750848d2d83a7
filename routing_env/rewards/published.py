"""The published reward: 100 on reaching the target, else -1, blocked moves too; full edges are closed.

Source: Liao et al. 2019. Differs: both numbers are options.
"""

from __future__ import annotations

from dataclasses import dataclass

from routing_env.rules import ARRIVED, PRICES

__all__ = ["Published"]


def pay(b, flags, own, excess, closer, share, totals):
    """The reward of one move."""
    if flags & ARRIVED:
        return totals[b, PRICES]
    return totals[b, PRICES + 1]


@dataclass(frozen=True)
class Published:
    """Reward per move."""

    arrival: float = 100.0
    """on reaching the target"""
    step: float = -1.0
    """on any other move"""

    pay = staticmethod(pay)
    closed = True

    def prices(self) -> tuple[float, ...]:
        """The numbers that ``pay`` reads."""
        return self.arrival, self.step
