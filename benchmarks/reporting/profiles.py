"""Performance profiles: the share of problems that a solver solves within a factor of the cheapest solver.

    r(p, s) = cost(p, s) / min over solvers of cost(p, .),   rho(s, tau) = share of problems with r(p, s) <= tau

A problem that no solver solves counts for none of them. rho(s, 1) is how often s is cheapest, rho at large tau how
often it solves at all.

Source: Dolan and More 2002. Differs: nothing.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

__all__ = ["ratios", "share_within"]


def ratios(costs: Mapping[str, Sequence[float]]) -> dict[str, list[float]]:
    """r of every solver, problems in the order given; infinite where it does not solve the problem.

    Args:
        costs: solver -> cost of each problem, infinite where it is not solved.

    Raises:
        ValueError: solvers with different numbers of problems, or a cost that is not positive.
    """
    if len({len(mine) for mine in costs.values()}) > 1:
        raise ValueError(f"numbers of problems differ: { {name: len(mine) for name, mine in costs.items()} }")
    if not all(cost > 0 for mine in costs.values() for cost in mine):
        raise ValueError("costs must be positive")
    least = [min(mine) for mine in zip(*costs.values(), strict=True)]
    return {
        name: [cost / low if math.isfinite(cost) else math.inf for cost, low in zip(mine, least, strict=True)]
        for name, mine in costs.items()
    }


def share_within(found: Sequence[float], factor: float) -> float:
    """rho at a factor: the share of ratios that are at most so large."""
    return sum(ratio <= factor for ratio in found) / len(found) if found else 0.0
