"""Overflow has a price instead of being forbidden: full edges stay open, and every unit beyond capacity costs.

    arrival on reaching the target, else step; minus overflow * (length units beyond capacity that the move adds)

Source: the negotiated routers' view of congestion. Differs: nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

from routing_env.rules import ARRIVED, PRICES

__all__ = ["Overflow"]


def pay(b, flags, own, excess, closer, share, totals):
    """The reward of one move."""
    base = totals[b, PRICES] if flags & ARRIVED else totals[b, PRICES + 1]
    return base - totals[b, PRICES + 2] * excess


@dataclass(frozen=True)
class Overflow:
    """Reward per move."""

    arrival: float = 100.0
    """on reaching the target"""
    step: float = -1.0
    """on any other move"""
    overflow: float = 20.0
    """price of one length unit beyond an edge's capacity"""

    pay = staticmethod(pay)
    closed = False

    def prices(self) -> tuple[float, ...]:
        """The numbers that ``pay`` reads."""
        return self.arrival, self.step, self.overflow
