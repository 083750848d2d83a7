"""One measured comparison, two sides in turn, and its row."""

from __future__ import annotations

import dataclasses
import math
import platform
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

from agents import records

__all__ = ["RESULTS", "Measure", "machine", "measured", "write"]

RESULTS = Path(__file__).parent.parent / "results"


@dataclasses.dataclass(frozen=True)
class Measure:
    """One comparison: two functions that do a known amount of work and return how much per second, or what it took."""

    what: str
    unit: str
    ours: Callable[[], float]
    other: Callable[[], float] | None
    against: str
    settings: dict[str, Any] = dataclasses.field(default_factory=dict)
    """what a figure or a table sorts by"""
    device: str = ""
    """where it runs; empty for the processor"""
    counts: bool = False
    """numbers that are the same every time: one round"""


def machine() -> str:
    """The name of the processor."""
    return platform.processor() or platform.machine()


def measured(measure: Measure, rounds: int) -> dict[str, Any]:
    """Medians of both sides over the rounds, and the median of the rounds' ratios; None where it is not finite."""
    if not measure.counts:
        measure.ours()
    pairs = []
    for _ in range(1 if measure.counts else rounds):
        pairs.append((measure.ours(), measure.other() if measure.other else None))
    both = [(a, b) for a, b in pairs if b is not None]
    ratios = [a / b if math.isfinite(a) and math.isfinite(b) else math.nan for a, b in both]
    return {
        "what": measure.what,
        "unit": measure.unit,
        "ours": _finite(statistics.median(a for a, _ in pairs)),
        "other": _finite(statistics.median(b for _, b in both)) if both else None,
        "ratio": _finite(statistics.median(ratios)) if both else None,
        "against": measure.against,
    }


def _finite(number: float) -> float | None:
    return number if math.isfinite(number) else None


def write(measure: Measure, found: dict[str, Any], rounds: int) -> None:
    """Append what was measured to the rows of its device."""
    device = measure.device or machine()
    RESULTS.mkdir(exist_ok=True)
    record = records.row(
        task="speed", method=found["what"], settings={"rounds": 1 if measure.counts else rounds, **measure.settings},
        seed=0, metrics=found, device=device,
    )  # fmt: skip
    records.append_row(RESULTS / f"speed-{device.lower().replace(' ', '-')}.jsonl", record)
