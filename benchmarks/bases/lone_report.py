"""What races of lone modules say of their rows: metrics at equal steps, passes and seconds, and pictures of them."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from benchmarks.harness.race import numbers
from benchmarks.reporting.intervals import wilson
from benchmarks.reporting.pictures import Style, draw_band, finish, save, styles

__all__ = [
    "COSTS",
    "at",
    "budget",
    "by_method",
    "cost_table",
    "draw_metrics",
    "draw_times",
    "means_at",
    "said_at",
    "wins",
]

Row = dict[str, Any]
COSTS = {"step": "steps", "passes": "passes over the training pictures", "seconds": "processor seconds"}


VARIANTS = {"mini": "--", "newest": ":"}
"""lines of methods whose labels end so"""


def by_method(rows: Sequence[Row]) -> dict[str, list[Row]]:
    """The rows of each method, in the order of the methods."""
    return {label: [row for row in rows if row["method"] == label]
            for label in dict.fromkeys(row["method"] for row in rows)}  # fmt: skip


def spent(row: Row, cost: str) -> float:
    """What a trial cost in all."""
    return float(row["step"] if cost == "step" else row["metrics"][cost])


def budget(rows: Sequence[Row], cost: str) -> float:
    """The most that every trial has spent."""
    return min(spent(row, cost) for row in rows)


def at(row: Row, metric: str, cost: str, limit: float) -> float:
    """A metric at the last point of a trial's curve that cost at most this; infinite where it was not finite or where
    the first point cost more."""
    curve = row["metrics"]["curve"]
    reached = [value for value, paid in zip(curve[metric], curve[cost], strict=True) if paid <= limit]
    return math.inf if not reached or reached[-1] is None else float(reached[-1])


def means_at(rows: Sequence[Row], metric: str, cost: str, limit: float) -> dict[str, float]:
    """The mean over trials of a metric, method by method, when this much was spent."""
    return {label: statistics.fmean(at(row, metric, cost, limit) for row in mine)
            for label, mine in by_method(rows).items()}  # fmt: skip


def cost_table(rows: Sequence[Row], metrics: Mapping[str, str], compared: str) -> list[dict[str, Any]]:
    """A line a method: costs, means of metrics (shown under their titles) at the end, and one at equal costs."""
    limits = {cost: budget(rows, cost) for cost in ("passes", "seconds")}
    equal = {cost: means_at(rows, compared, cost, limit) for cost, limit in limits.items()}
    lines = []
    for label, mine in by_method(rows).items():
        seconds = statistics.fmean(spent(row, "seconds") for row in mine)
        steps = statistics.fmean(row["step"] for row in mine)
        line: dict[str, Any] = {"method": label, "trials": len(mine), "steps": round(steps)}
        line["passes"] = round(statistics.fmean(spent(row, "passes") for row in mine))
        line |= {"processor s": f"{seconds:.1f}", "ms a step": f"{1000 * seconds / steps:.3g}"}
        line |= {title: f"{statistics.fmean(numbers(mine, name)):.4g}" for name, title in metrics.items()}
        for cost in limits:
            line[f"{metrics[compared]} at equal {cost}"] = f"{equal[cost][label]:.4g}"
        lines.append(line)
    return lines


def said_at(rows: Sequence[Row], metric: str, title: str, cost: str, of: Iterable[str], *, most: bool = False) -> str:
    """A sentence: who is best when all have spent what the cheapest did, and where some others are."""
    limit = budget(rows, cost)
    means = means_at(rows, metric, cost, limit)
    order = sorted(means, key=lambda label: means[label], reverse=most)
    others = [f"`{label}` {means[label]:.3g} (place {order.index(label) + 1} of {len(order)})"
              for label in of if label in means and label != order[0]]  # fmt: skip
    rest = f"; {', '.join(others)}" if others else ""
    best = f"`{order[0]}` has the {'highest' if most else 'least'} mean {title}, {means[order[0]]:.3g}"
    return f"At {limit:.3g} {COSTS[cost]} {best}{rest}."


def wins(rows: Sequence[Row], label: str, other: str, metric: str, cost: str, *, most: bool = False) -> str | None:
    """In how many trials one method is ahead of another when both have spent what the cheaper one did; None where one
    of them was not run."""
    methods = by_method(rows)
    if label not in methods or other not in methods:
        return None
    pairs = {row["seed"]: [row] for row in methods[label]}
    for row in methods[other]:
        pairs.setdefault(row["seed"], []).append(row)
    whole = [pair for pair in pairs.values() if len(pair) == 2]
    if not whole:
        return None
    hits = 0
    for pair in whole:
        limit = budget(pair, cost)
        ours, theirs = (at(row, metric, cost, limit) for row in pair)
        hits += ours > theirs if most else ours < theirs
    low, high = wilson(hits, len(whole))
    return (
        f"At equal {COSTS[cost]} `{label}` is ahead of `{other}` in {hits} of {len(whole)} trials "
        f"(95 % interval {100 * low:.0f} to {100 * high:.0f} %)"
    )


def looks_of(rows: Sequence[Row]) -> dict[str, Style]:
    """A colour and line for each method; NAME-mini is dashed and NAME-newest dotted, in the colour of NAME."""
    methods = by_method(rows)
    base = {label: name if (name := label.split("-")[0]) in methods and label.endswith(tuple(VARIANTS)) else label
            for label in methods}  # fmt: skip
    looks = styles(one for label, one in base.items() if one == label)
    return {label: looks[one] if one == label else {**looks[one], "linestyle": VARIANTS[label.removeprefix(f"{one}-")]}
            for label, one in base.items()}  # fmt: skip


def draw_metrics(
    rows: Sequence[Row], path: Path, metrics: Mapping[str, str], *, logarithmic: Sequence[str] = (),
    costs: Mapping[str, str] = COSTS, scale: str = "log", top: float | None = None,
) -> Path:  # fmt: skip
    """Metrics, a row of panels each, over costs, a column each: the mean of trials, with quartiles.

    Metrics and costs are given with their titles; ``scale`` is that of costs, ``top`` ends logarithmic axes of metrics.
    """
    figure = Figure(figsize=(3.6 * len(costs), 2.9 * len(metrics)), layout="constrained", dpi=80)
    panels = figure.subplots(len(metrics), len(costs), sharey="row", squeeze=False)
    looks = looks_of(rows)
    for line, (metric, title) in zip(panels, metrics.items(), strict=True):
        for ax, cost in zip(line, costs, strict=True):
            for label, mine in by_method(rows).items():
                curves = [row["metrics"]["curve"] for row in mine]
                paid = [statistics.fmean(points) for points in zip(*(one[cost] for one in curves), strict=False)]
                draw_band(ax, paid, [curve[metric] for curve in curves], looks[label], label)
            ax.set_xscale(scale)
            if metric in logarithmic:
                ax.set_yscale("log")
                ax.set_ylim(top=top)
            finish(ax, legend=False)
        line[0].set_ylabel(title)
    for ax, title in zip(panels[-1], costs.values(), strict=True):
        ax.set_xlabel(title)
    figure.legend(*panels[0][0].get_legend_handles_labels(), loc="outside right center", frameon=False, fontsize=8)
    return save(figure, path)


def draw_times(rows: Sequence[Row], path: Path) -> Path:
    """Processor time of a step, a bar a method."""
    methods = by_method(rows)
    times = {label: 1000 * statistics.fmean(spent(row, "seconds") / row["step"] for row in mine)
             for label, mine in methods.items()}  # fmt: skip
    figure = Figure(figsize=(6, 0.5 + 0.3 * len(times)), layout="constrained", dpi=80)
    ax = figure.subplots()
    looks = looks_of(rows)
    bars = ax.barh(list(times), list(times.values()), color=[looks[label]["color"] for label in times])
    ax.bar_label(bars, [f" {one:.3g}" for one in times.values()], fontsize=8)
    ax.invert_yaxis()
    ax.set(xscale="log", xlabel="processor time of a step, ms")
    finish(ax, legend=False)
    return save(figure, path)
