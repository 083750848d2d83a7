"""The published reward, and a price for room that is getting scarce; full edges are closed.

    arrival on reaching the target, else step; minus scarcity * (share of the edge's remaining room that the wire takes)

Connections are routed one after the other and the published reward does not tell equally short ways apart. A wire that
keeps away from nearly full edges leaves the later ones a short way.

Source: the present cost of negotiated routers, as a reward. Differs: it is paid before an edge is full.
"""

from __future__ import annotations

from dataclasses import dataclass

from routing_env.rules import ARRIVED, PRICES

__all__ = ["Scarcity"]


def pay(b, flags, own, excess, closer, share, totals):
    """The reward of one move."""
    base = totals[b, PRICES] if flags & ARRIVED else totals[b, PRICES + 1]
    return base - totals[b, PRICES + 2] * share


@dataclass(frozen=True)
class Scarcity:
    """Reward per move."""

    arrival: float = 100.0
    """on reaching the target"""
    step: float = -1.0
    """on any other move"""
    scarcity: float = 2.0
    """price of taking all the room that is left on an edge"""

    pay = staticmethod(pay)
    closed = True

    def prices(self) -> tuple[float, ...]:
        """The numbers that ``pay`` reads."""
        return self.arrival, self.step, self.scarcity
