"""What the rows of learned optimizers say: a table of families, sentences, two pictures.

Numbers are log10 of the loss over the first loss, so less is better and 0 is no progress. Two methods are compared on
the same problems, one by one; a family counts as below or above where the mean difference's interval of 95 % (bootstrap
over problems) does not contain 0.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from benchmarks.reporting.intervals import Estimate, mean_over_netlists
from benchmarks.reporting.pictures import finish, save, styles

__all__ = ["compared", "draw_curves", "draw_differences", "findings", "table"]

Rows = Sequence[dict[str, Any]]
BASE = "adam"
SHOWN = ("quadratic", "classifier", "minibatch_softmax", "quadratic_50", "classifier_relu", "digits_tanh")
"""families whose curves are drawn"""


def table(rows: Rows) -> list[dict[str, Any]]:
    """A line a family: who was trained on it, and of each method the means after both lengths; Adam's rates."""
    short, long = _lengths(rows)
    lines = []
    for family in rows[0]["metrics"]["families"]:
        trained = [label for label in _labels(rows) if family in _of(rows, label)[0]["settings"]["trained_on"]]
        line: dict[str, Any] = {"family": family, "trained on it": ", ".join(trained) or "-"}
        for label in _labels(rows):
            both = (statistics.fmean(_values(rows, label, family, steps).values()) for steps in (short, long))
            line[f"{label} {short} / {long}"] = " / ".join(f"{one:.2f}" for one in both)
        if base := _of(rows, BASE):
            rates = base[0]["metrics"]["families"][family]["lr"]
            line[f"{BASE}'s rates"] = f"{rates[short]:g} / {rates[long]:g}"
        lines.append(line)
    return lines


def findings(rows: Rows) -> list[str]:
    """Of each learned method, on which families it is below and above tuned Adam; the means over families."""
    families = list(rows[0]["metrics"]["families"])
    said = []
    for label in _labels(rows):
        trained = _of(rows, label)[0]["settings"]["trained_on"]
        if not trained or not _of(rows, BASE):
            continue
        seen = [family for family in families if family in trained]
        unseen = [family for family in families if family not in trained]
        for steps in _lengths(rows):
            said.append(
                f"`{label}` beside `{BASE}` at its best rate, after {steps} steps: "
                + "; ".join(_sides(rows, label, steps, those, told) for those, told in (
                    (seen, "families of its training"), (unseen, "other families")) if those) + "."
            )  # fmt: skip
    for steps in _lengths(rows):
        means = {label: _over_families(rows, label, steps, families) for label in _labels(rows)}
        ordered = sorted(means, key=lambda label: means[label].mean)
        told = ", ".join(f"`{label}` {means[label].mean:.2f} ({means[label].low:.2f} to {means[label].high:.2f})"
                         for label in ordered)  # fmt: skip
        said.append(f"Mean over all {len(families)} families after {steps} steps, bootstrap over families: {told}.")
    return said


def _sides(rows: Rows, label: str, steps: str, families: Sequence[str], told: str) -> str:
    """On how many families a method is below Adam, and on which above."""
    found = {family: compared(rows, label, BASE, family, steps) for family in families}
    below = [family for family, one in found.items() if one.high < 0]
    above = [f"{family} by {one.mean:.2f}" for family, one in found.items() if one.low > 0]
    worse = [f for f in families if statistics.fmean(_values(rows, label, f, steps).values()) > 0]
    text = f"below on {len(below)} of {len(families)} {told}, above on {len(above)}"
    text += f" ({', '.join(above)})" if above else ""
    return text + (f", at a higher loss than it began with on {', '.join(worse)}" if worse else "")


def compared(rows: Rows, label: str, other: str, family: str, steps: str) -> Estimate:
    """The mean over problems of a method's value less another's; below 0 the first one ends lower.

    Raises:
        ValueError: the two have no problem in common.
    """
    mine, theirs = _values(rows, label, family, steps), _values(rows, other, family, steps)
    found = mean_over_netlists((name, mine[name] - theirs[name]) for name in mine if name in theirs)
    if found is None:
        raise ValueError(f"{label} and {other} have no problem of {family} in common: run both with the same trials")
    return found


def _over_families(rows: Rows, label: str, steps: str, families: Sequence[str]) -> Estimate:
    found = mean_over_netlists((family, one) for family in families
                               for one in [statistics.fmean(_values(rows, label, family, steps).values())])  # fmt: skip
    assert found is not None
    return found


def _values(rows: Rows, label: str, family: str, steps: str) -> Mapping[str, float]:
    """Value of each problem, by draw and place."""
    return {
        f"{row['seed']}-{place}": value
        for row in _of(rows, label)
        for place, value in enumerate(row["metrics"]["families"][family]["log10"][steps])
    }


def _of(rows: Rows, label: str) -> Rows:
    return [row for row in rows if row["method"] == label]


def _labels(rows: Rows) -> list[str]:
    return list(dict.fromkeys(row["method"] for row in rows))


def _lengths(rows: Rows) -> tuple[str, str]:
    short, long = rows[0]["settings"]["steps"]
    return str(short), str(long)


def draw_differences(rows: Rows, path: Path) -> Path:
    """Each learned method less tuned Adam by family, with intervals; families of the training are filled."""
    families = list(rows[0]["metrics"]["families"])
    learned = [label for label in _labels(rows) if _of(rows, label)[0]["settings"]["trained_on"]]
    looks = styles(learned)
    figure = Figure(figsize=(8, 5.6), layout="constrained", dpi=80)
    for ax, steps in zip(figure.subplots(1, 2, sharey=True), _lengths(rows), strict=True):
        ax.axvline(0, color="#888888", linewidth=0.8)
        for k, label in enumerate(learned if _of(rows, BASE) else []):
            trained = _of(rows, label)[0]["settings"]["trained_on"]
            for place, family in enumerate(families):
                one = compared(rows, label, BASE, family, steps)
                colour, y = looks[label]["color"], place + 0.3 * (k - (len(learned) - 1) / 2)
                ax.plot([one.low, one.high], [y, y], color=colour, linewidth=1)
                ax.plot(one.mean, y, "o", color=colour, markersize=4,
                        markerfacecolor=colour if family in trained else "white")  # fmt: skip
            ax.plot([], [], "o", color=looks[label]["color"], label=label)
        ax.set(yticks=range(len(families)), yticklabels=families, ylim=(len(families) - 0.5, -0.5),
               xlabel=f"log10 loss less that of tuned Adam, {steps} steps")  # fmt: skip
        ax.tick_params(labelsize=7)
        ax.set_xscale("symlog", linthresh=1)
        finish(ax, legend=ax is figure.axes[1])
    return save(figure, path)


def draw_curves(rows: Rows, path: Path) -> Path:
    """Mean log10 of the loss over the first by step, on some families; where the training ended is marked."""
    figure = Figure(figsize=(9, 5), layout="constrained", dpi=80)
    looks, (short, _) = styles(_labels(rows)), _lengths(rows)
    for ax, family in zip(figure.subplots(2, 3).flat, SHOWN, strict=True):
        ax.axvline(float(short), color="#888888", linewidth=0.8)
        for label in _labels(rows):
            curves = [row["metrics"]["families"][family]["curve"] for row in _of(rows, label)]
            means = [statistics.fmean(at) for at in zip(*(curve["log10"] for curve in curves), strict=True)]
            ax.plot(curves[0]["step"], means, linewidth=1.2, label=label, **looks[label])
        ax.set_title(family, fontsize=8)
        ax.set_ylim(top=0.5)
        ax.set(xlabel="step", ylabel="log10 of loss / first loss")
        finish(ax, legend=ax is figure.axes[0])
    return save(figure, path)
