"""Intervals of 95 %: of a share (Wilson), and of a mean over netlists (bootstrap).

share     (k + z^2/2 +- z sqrt(k (n - k)/n + z^2/4)) / (n + z^2),  z = 1.96
mean      netlists are drawn with replacement, each with all its values; the middle 95 % of 10,000 such means

Source: E. B. Wilson 1927; B. Efron 1979 (percentiles). Differs: nothing.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

__all__ = ["RESAMPLES", "Estimate", "mean_over_netlists", "wilson"]

RESAMPLES = 10_000
SEED = 20_190_501
"""of the resampling alone, so that equal values always give equal intervals"""
Z = 1.959963984540054


class Estimate(NamedTuple):
    """A mean, its interval and how many values it is of."""

    mean: float
    low: float
    high: float
    n: int


def wilson(hits: float, trials: float) -> tuple[float, float]:
    """The interval of a share of ``hits`` in ``trials``.

    Raises:
        ValueError: there are no trials, or fewer of them than hits.
    """
    if not 0 <= hits <= trials or not trials:
        raise ValueError(f"hits must lie in 0..trials and trials above 0, got {hits} of {trials}")
    half = Z * math.sqrt(hits * (trials - hits) / trials + Z**2 / 4)
    low, high = ((hits + Z**2 / 2 + sign * half) / (trials + Z**2) for sign in (-1, 1))
    return max(0.0, low), min(1.0, high)


def mean_over_netlists(values: Iterable[tuple[str, float]], resamples: int = RESAMPLES) -> Estimate | None:
    """The mean of (netlist, value) and its bootstrap interval; None of no values.

    For a paired comparison the values are the differences. Seeds of one netlist are drawn together, because a netlist
    that is hard is so for all of them.
    """
    sums: dict[str, list[float]] = {}
    for netlist, value in values:
        sums.setdefault(netlist, []).append(value)
    if not sums:
        return None
    ordered = [sums[netlist] for netlist in sorted(sums)]
    total, count = np.array([sum(one) for one in ordered]), np.array([len(one) for one in ordered])
    drawn = np.random.default_rng(SEED).integers(len(ordered), size=(resamples, len(ordered)))
    means = total[drawn].sum(1) / count[drawn].sum(1)
    low, high = np.quantile(means, [0.025, 0.975])
    return Estimate(float(total.sum() / count.sum()), float(low), float(high), int(count.sum()))
