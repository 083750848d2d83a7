"""What tasks that sort pictures say of their rows: accuracies beside published ones, collapsed runs, pictures.

A run has collapsed if its last test accuracy lies more than 5 points below its best, as measured every half epoch, or
below 30 %, three times what guessing gives. Labels: ``NAME-plain`` is NAME without normalised directions at the same
rates, ``NAME-flat`` is NAME with so much curvature added to every pair that H is a multiple of the identity.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from benchmarks.harness.race import numbers
from benchmarks.reporting.intervals import wilson
from benchmarks.reporting.pictures import COLOURS, Style, draw_band, finish, save, styles

__all__ = ["accuracy_table", "collapsed", "draw_accuracies", "said_of"]

FALLEN, GUESSED = 5.0, 30.0
SMALLEST = 0.01
"""error in % that is drawn where there is none"""
Row = dict[str, Any]


def collapsed(row: Row) -> bool:
    """Whether a run ended far below its best, or never learnt."""
    found = row["metrics"]
    last, best = found["accuracy"], found["best_accuracy"]
    return last is None or last < max(best - FALLEN, GUESSED)


def accuracy_table(rows: Sequence[Row], published: Mapping[str, str]) -> list[dict[str, Any]]:
    """A line a method: last test accuracy in %, collapsed runs, published; gradients and processor seconds a trial."""
    lines = []
    for label, mine in _by_method(rows).items():
        last = numbers(mine, "accuracy")
        lines.append(
            {
                "method": label,
                "trials": len(mine),
                "last": statistics.fmean(last),
                "lowest": min(last),
                "highest": max(last),
                "best": statistics.fmean(numbers(mine, "best_accuracy")),
                "collapsed": f"{sum(map(collapsed, mine))}/{len(mine)}",
                "published": published.get(label, "-"),
                "train loss": f"{statistics.fmean(numbers(mine, 'loss')):.2g}",
                "gradients": round(statistics.fmean(map(_passes, mine))),
                "processor s": statistics.fmean(row["cpu_seconds"] for row in mine),
            }
        )
    return lines


def said_of(rows: Sequence[Row], goal: float) -> list[str]:
    """Sentences: who won at equal steps and at equal gradients, who reached a goal in %, collapses, curvature."""
    methods = _by_method(rows)
    means = {label: statistics.fmean(numbers(mine, "accuracy")) for label, mine in methods.items()}
    said = [*_winners(methods, means), _collapses(methods)]
    for ending, what in (("plain", "Directions of length one"), ("flat", "Curvature")):
        pairs = [label for label in methods if f"{label}-{ending}" in methods]
        if pairs:
            gains = [f"`{label}` {means[label] - means[f'{label}-{ending}']:+.2f}" for label in pairs]
            said.append(f"{what}: points of mean last accuracy over `-{ending}`: {', '.join(gains)}.")
    reached: dict[str, list[str]] = {}
    for label, mine in methods.items():
        hits = sum(value >= goal for value in numbers(mine, "accuracy"))
        if hits:
            low, high = (f"{100 * share:.0f}" for share in wilson(hits, len(mine)))
            reached.setdefault(f"{hits} of {len(mine)} ({low} to {high} %)", []).append(f"`{label}`")
    groups = "; ".join(f"{share} {', '.join(labels)}" for share, labels in reached.items())
    return [*said, f"Runs that end at {goal:g} % or above, with 95 % intervals: {groups or 'none'}."]


def _winners(methods: Mapping[str, list[Row]], means: Mapping[str, float]) -> Iterable[str]:
    fewest = min(mine[0]["settings"]["steps"] for mine in methods.values())
    equal = [label for label, mine in methods.items() if mine[0]["settings"]["steps"] == fewest]
    best = max(equal, key=lambda label: means[label])
    adams = [label for label in methods if label.startswith("adam")]
    adam = max((label for label in adams if label in equal), key=lambda label: means[label], default=None)
    against = f", the best Adam `{adam}` at {means[adam]:.2f} %" if adam else ""
    yield f"At equal steps `{best}` ends at the highest mean test accuracy, {means[best]:.2f} %{against}."
    # at the gradients of the cheapest method: what dearer ones had reached by then
    cheapest = min(_each(mine[0]) * mine[0]["settings"]["steps"] for mine in methods.values())
    then = {label: statistics.fmean(_at(row, cheapest) for row in mine) for label, mine in methods.items()}
    best = max(then, key=lambda label: then[label])
    against = f", the best Adam at {max(then[label] for label in adams):.2f} %" if adams else ""
    taken = f"At {round(cheapest):,} gradients of a batch, half the steps of methods that take two,"
    yield f"{taken} `{best}` is best with {then[best]:.2f} %{against}."


def _collapses(methods: Mapping[str, list[Row]]) -> str:
    fallen = [
        f"`{label}` {count}/{len(mine)}" for label, mine in methods.items() if (count := sum(map(collapsed, mine)))
    ]
    return f"Collapsed runs: {', '.join(fallen) or 'none'}."


def _at(row: Row, passes: float) -> float:
    """The accuracy at the last end of an epoch up to a number of gradients."""
    curve, each = row["metrics"]["curve"], _each(row)
    reached = [value for step, value in zip(curve["step"], curve["accuracy"], strict=True) if step * each <= passes]
    return float(reached[-1]) if reached else 0.0


def _passes(row: Row) -> float:
    """Gradients of whole batches; three of a third count as one."""
    parts = 3 if row["settings"]["optimizer"] == "olmoq_mb" else 1
    return float(row["evaluations"]["gradients"] / parts)


def _each(row: Row) -> float:
    """Gradients of a step."""
    return _passes(row) / row["step"]


def _by_method(rows: Sequence[Row]) -> dict[str, list[Row]]:
    found: dict[str, list[Row]] = {}
    for row in rows:
        found.setdefault(row["method"], []).append(row)
    return found


def draw_accuracies(rows: Sequence[Row], folder: Path, name: str) -> list[Path]:
    """Test error by epoch and by gradients, a picture for each group of equal options; another of -plain methods."""
    groups: dict[str, list[Row]] = {}
    for row in rows:
        own = row["settings"]["task"]
        groups.setdefault("-".join(str(own[key]) for key in ("network", "data", "epochs") if key in own), []).append(
            row
        )
    drawn = []
    for group, mine in groups.items():
        methods = _by_method(mine)
        shown = {label: mine for label, mine in methods.items() if not label.endswith("-plain")}
        drawn.append(save(_panels(shown, styles(shown), 2), folder / f"{name}-{group}-error.png"))
        bases = [label for label in methods if f"{label}-plain" in methods]
        if bases:
            looks: dict[str, Style] = {}
            for base, colour in zip(bases, COLOURS, strict=False):
                looks |= {base: {"color": colour, "linestyle": "-"},
                          f"{base}-plain": {"color": colour, "linestyle": "--"}}  # fmt: skip
            paired = {label: methods[label] for label in looks}
            drawn.append(save(_panels(paired, looks, 1), folder / f"{name}-{group}-normalisation.png"))
    return drawn


def _panels(methods: Mapping[str, list[Row]], looks: Mapping[str, Style], many: int) -> Figure:
    """Test error over epochs, and in a second panel over gradients."""
    figure = Figure(figsize=(4.5 * many + 1.6, 4.2), layout="constrained", dpi=90)
    panels = figure.subplots(1, many, sharey=True, squeeze=False)[0]
    epoch = min(row["settings"]["steps"] / row["settings"]["task"]["epochs"]
                for mine in methods.values() for row in mine)  # fmt: skip
    for label, mine in methods.items():
        steps = max((row["metrics"]["curve"]["step"] for row in mine), key=len)
        errors = [_errors(row) for row in mine]
        if not steps:  # ended before the first measurement
            steps = [mine[0]["step"]]
        for ax, unit in zip(panels, (1 / epoch, _each(mine[0])), strict=False):
            draw_band(ax, [step * unit for step in steps], errors, looks[label], label)
            if len(steps) == 1:
                ax.plot([step * unit for step in steps], errors[0], marker="x", color=looks[label]["color"])
    for ax, along in zip(panels, ("epoch", "gradients of a batch"), strict=False):
        ax.set(xlabel=along, yscale="log")
        ax.yaxis.set_major_formatter("{x:g}")
        ax.yaxis.set_minor_formatter("")
        finish(ax, legend=False)
    panels[0].set_ylabel("test error, %")
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside right upper", frameon=False, fontsize=7)
    return figure


def _errors(row: Row) -> list[float]:
    """In %, at each measurement; of a run that ended before the first one, at its end."""
    return [max(100 - value, SMALLEST) for value in row["metrics"]["curve"]["accuracy"] or [row["metrics"]["accuracy"]]]
