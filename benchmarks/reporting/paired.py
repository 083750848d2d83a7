"""Paired comparisons of methods over trials that start equally: Wilcoxon's signed ranks, and Holm's correction.

p of k comparisons in rising order: p_(1) k, p_(2) (k - 1), ..., each at least the one before and at most 1

Source: F. Wilcoxon 1945; S. Holm 1979. Differs: nothing.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy.stats import wilcoxon

__all__ = ["Comparison", "compare", "holm"]


class Comparison(NamedTuple):
    """Two methods on the same trials."""

    first: str
    second: str
    difference: float
    """median of first - second"""
    p: float
    """two-sided, corrected for all comparisons made together"""


def holm(values: Sequence[float]) -> list[float]:
    """Corrected p, in the order given."""
    order = np.argsort(values)
    corrected = np.empty(len(values))
    factors = len(values) - np.arange(len(values))
    corrected[order] = np.minimum(1, np.maximum.accumulate(np.asarray(values)[order] * factors))
    return [float(one) for one in corrected]


def compare(
    results: dict[str, dict[int, float]], pairs: Sequence[tuple[str, str]], *, correct: bool = True
) -> list[Comparison]:
    """Compare pairs of methods on the trials that both have.

    Args:
        results: method -> trial -> number, infinite where there is none.
        pairs: methods to compare.
        correct: whether p is corrected for the number of pairs.

    Raises:
        ValueError: two methods share fewer than two trials.
    """
    found = []
    for first, second in pairs:
        trials = sorted(set(results[first]) & set(results[second]))
        if len(trials) < 2:
            raise ValueError(f"{first} and {second} share {len(trials)} trials; a paired test needs at least 2")
        ahead = [results[first][trial] for trial in trials]
        behind = [results[second][trial] for trial in trials]
        # two infinite results are a tie, one loses by more than all finite differences
        differences = [0.0 if a == b else a - b for a, b in zip(ahead, behind, strict=True)]
        p = 1.0 if not any(differences) else float(wilcoxon(differences).pvalue)
        found.append(Comparison(first, second, statistics.median(differences), p))
    if not correct:
        return found
    corrected = holm([one.p for one in found])
    return [one._replace(p=p) for one, p in zip(found, corrected, strict=True)]
