"""How the study's section says things: paragraphs, numbers with their intervals, sets by name."""

from __future__ import annotations

import textwrap

from benchmarks.reporting.intervals import Estimate
from benchmarks.routing import SETS
from benchmarks.study.tables import Routers

__all__ = ["about", "interval", "mean", "plain", "prose"]


def prose(text: str) -> str:
    """A paragraph in lines of 120 characters."""
    return textwrap.fill(" ".join(text.split()), width=120, break_long_words=False, break_on_hyphens=False)


def about(name: str, routers: Routers) -> str:
    """What a set of netlists is."""
    if name not in SETS:
        return f"{len(routers)} netlists" if routers else "netlists"
    count, seed, nets = SETS[name]
    return f"{count} netlists of {nets} two-pin nets, seed {seed} of the generator"


def interval(found: Estimate | None, digits: int = 0, sign: str = "", scale: float = 1.0) -> str | None:
    """Mean and interval, each times scale; with the sign "+" signed."""
    if found is None:
        return None
    middle, low, high = (f"{scale * value:{sign}.{digits}f}" for value in found[:3])
    return f"{middle} ({low} to {high})"


def mean(found: Estimate | None, digits: int = 0, sign: str = "") -> str | None:
    """The mean alone."""
    return None if found is None else f"{found.mean:{sign}.{digits}f}"


def plain(value: float | None) -> str | None:
    """A number as it is."""
    return None if value is None else f"{value:g}"
