"""Table and sentences of the experiment `surfaces`, from rows."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from benchmarks.reporting.intervals import wilson
from benchmarks.reporting.profiles import ratios, share_within
from benchmarks.tasks.surfaces.problems import MANY_VALLEYS

__all__ = ["compare", "costs_of", "findings", "methods_of", "table"]

EVALUATIONS = (
    ("bfgs", "scipy.bfgs"), ("lbfgs", "scipy.l-bfgs-b"), ("newton_cg", "scipy.trust-krylov"), ("sr1", "bfgs"),
    ("naq", "bfgs"), ("moq", "bfgs"), ("lnaq", "lbfgs"), ("adam", "bfgs"),
)  # fmt: skip
ITERATIONS = (("naq", "bfgs"), ("moq", "bfgs"), ("lnaq", "lbfgs"), ("sr1n", "sr1"), ("newton_cg", "bfgs"))
"""pairs that the sentences compare"""


def table(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """How much of the problems (a function and a start) each method solves, and with how many evaluations."""
    costs = {label: costs_of(rows, label) for label in methods_of(rows)}
    found = ratios({label: list(mine.values()) for label, mine in costs.items()})
    lines = []
    for label, mine in costs.items():
        solved = [math.isfinite(cost) for cost in mine.values()]
        low, high = wilson(sum(solved), len(solved))
        one, many = ({key: cost for key, cost in mine.items() if (key[0] in MANY_VALLEYS) is which}
                     for which in (False, True))  # fmt: skip
        middle = statistics.median(one.values())
        lines.append(
            {
                "method": label,
                "solved": f"{sum(solved)}/{len(solved)}",
                "95 %": f"{100 * low:.0f}-{100 * high:.0f}",
                "one valley": f"{100 * share_within(list(one.values()), 1e9):.0f} %",
                "many valleys": f"{100 * share_within(list(many.values()), 1e9):.0f} %",
                "median evaluations, one valley": round(middle) if math.isfinite(middle) else None,
                "cheapest": f"{100 * share_within(found[label], 1):.0f} %",
                "within 4 times": f"{100 * share_within(found[label], 4):.0f} %",
                "seconds": sum(row["cpu_seconds"] for row in rows if row["method"] == label),
            }
        )
    return lines


def findings(rows: Sequence[dict[str, Any]]) -> list[str]:
    """Who solves most, who is rarely dear, and pairs of methods on the problems that both solve."""
    labels = methods_of(rows)
    costs = {label: costs_of(rows, label) for label in labels}
    found = ratios({label: list(mine.values()) for label, mine in costs.items()})
    said = []
    for what, which in (("one valley", False), ("many valleys", True)):
        shares = {
            label: statistics.fmean(
                math.isfinite(cost) for key, cost in mine.items() if (key[0] in MANY_VALLEYS) is which
            )
            for label, mine in costs.items()
        }
        said.append(f"Most problems of {what} solved: {_best(shares)}.")
    said.append(
        "Solved with at most twice the evaluations of whoever needed fewest: "
        f"{_best({label: share_within(mine, 2) for label, mine in found.items()})}."
    )
    for what, pairs in (("evaluations", EVALUATIONS), ("iterations", ITERATIONS)):
        own = {label: costs_of(rows, label, what) for label in labels}
        compared = [compare(own[a], own[b], a, b) for a, b in pairs if a in own and b in own]
        if compared:
            said.append(f"Median of ratios of {what} on problems that both solve: {'; '.join(compared)}.")
    return said


def _best(shares: Mapping[str, float], many: int = 4) -> str:
    best = sorted(shares, key=lambda label: -shares[label])[:many]
    return ", ".join(f"`{label}` {100 * shares[label]:.0f} %" for label in best)


def methods_of(rows: Iterable[dict[str, Any]]) -> list[str]:
    """Labels in the order of the rows."""
    return list(dict.fromkeys(row["method"] for row in rows))


def costs_of(rows: Iterable[dict[str, Any]], label: str, what: str = "evaluations") -> dict[tuple[str, int], float]:
    """(function, start) -> evaluations or iterations of a method until it was solved, infinite where it was not."""
    return {
        (name, row["seed"]): max(1, one[what]) if one["end"] == "solved" else math.inf
        for row in rows if row["method"] == label for name, one in row["metrics"].items()
    }  # fmt: skip


def compare(a: Mapping[Any, float], b: Mapping[Any, float], name: str, other: str) -> str:
    """A method against another."""
    both = [a[key] / b[key] for key in a if key in b and math.isfinite(a[key]) and math.isfinite(b[key])]
    only = [
        sum(math.isfinite(x[key]) and not math.isfinite(y.get(key, math.inf)) for key in x) for x, y in ((a, b), (b, a))
    ]
    middle = f"{statistics.median(both):.2f}" if both else "-"
    return f"`{name}` / `{other}` {middle} ({len(both)} of both, {only[0]} of the first alone, {only[1]} of the second)"
