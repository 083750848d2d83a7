"""Pictures of the routing study: curves with quartile bands, performance profiles, gaps to the proven bound.

Drawing functions take rows and an ``Axes`` and compute nothing beyond means, quartiles and shares of what
``benchmarks.study.tables`` reads from the rows.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import PercentFormatter

from benchmarks.reporting import pictures
from benchmarks.reporting.pictures import Style, finish
from benchmarks.study.tables import Arms, Routers, Row, curve, fully_routed, in_order, numbers

__all__ = ["Style", "draw_curves", "draw_gaps", "draw_profile_of_gaps", "draw_profile_of_passes", "styles"]


def styles(labels: Iterable[str]) -> dict[str, Style]:
    """A colour and line for each arm, the same in every picture; after seven arms the lines change."""
    return pictures.styles(in_order(labels))


def draw_curves(
    ax: Axes, arms: Arms, looks: dict[str, Style], name: str = "published reward", *, legend: bool = True
) -> None:
    """Mean over runs by pass with the band between the quartiles; ``name`` is a curve of the rows or that reward.

    Runs that ended early at the proven bound go on with their best pass. The axis starts at the least lower quartile or
    mean after the first twentieth of the passes.
    """
    ends: list[tuple[float, float]] = []
    for label, rows in arms.items():
        values = curve(rows, name)
        passes = np.arange(1, values.shape[1] + 1)
        lower, upper = np.quantile(values, [0.25, 0.75], axis=0)
        ax.fill_between(passes, lower, upper, color=looks[label]["color"], alpha=0.15, linewidth=0)
        ax.plot(passes, values.mean(0), linewidth=1.2, label=f"{label} ({len(rows)})", **looks[label])
        late = len(passes) // 20
        ends.append((min(lower[late:].min(), values.mean(0)[late:].min()), upper.max()))
    ax.set(xlabel="pass", ylabel=name)
    if ends:
        low, high = min(one for one, _ in ends), max(one for _, one in ends)
        ax.set_ylim(low, high + max(1e-9, 0.04 * (high - low)))
    finish(ax, legend=legend)


def draw_profile_of_passes(ax: Axes, arms: Arms, looks: dict[str, Style]) -> None:
    """Share of the runs that have made all connections in one pass by pass x."""
    for label, rows in arms.items():
        passes = min(row["settings"]["passes"] for row in rows)
        _stairs(ax, [row["metrics"]["first_full"] for row in rows], passes, label, looks[label])
    ax.set(xlabel="pass", ylabel="runs fully routed by then")
    finish(ax)


def draw_profile_of_gaps(ax: Axes, arms: Arms, routers: Routers, looks: dict[str, Style], most: float = 10.0) -> None:
    """Share of the runs that are fully routed within x per cent of the proven bound."""
    for label, rows in arms.items():
        _stairs(ax, [numbers(row, routers)["gap"] for row in rows], most, label, looks[label])
    ax.set(xlabel="wirelength above the bound, %", ylabel="runs within that")
    finish(ax)


def _stairs(ax: Axes, values: Sequence[float | None], end: float, label: str, look: Style) -> None:
    """The share of all values, those that are None included, up to each x."""
    reached = sorted(value for value in values if value is not None and value <= end)
    shares = [k / len(values) for k in range(len(reached) + 1)]
    ax.step([0, *reached, end], [*shares, shares[-1]], where="post", linewidth=1.4, label=label, **look)
    ax.set_xlim(0, end)
    ax.set_ylim(0, 1.02)
    ax.yaxis.set_major_formatter(PercentFormatter(1.0))


def draw_gaps(ax: Axes, arms: Arms, routers: Routers, looks: dict[str, Style]) -> None:
    """Boxes of the gap to the proven bound of fully routed runs: quartiles, whiskers of 1.5 times their distance."""
    shown: list[tuple[str, Sequence[Row], list[float]]] = []
    for label, rows in arms.items():
        gaps = [gap for row in rows if (gap := numbers(row, routers)["gap"]) is not None]
        if gaps:
            shown.append((label, rows, gaps))
    if shown:
        names = [f"{label}\n{sum(map(fully_routed, rows))} of {len(rows)}" for label, rows, _ in shown]
        boxes = ax.boxplot([gaps for *_, gaps in shown], patch_artist=True, widths=0.6,
                           flierprops={"markersize": 3}, medianprops={"color": "#222222"})  # fmt: skip
        for box, (label, *_) in zip(boxes["boxes"], shown, strict=True):
            box.set(facecolor=looks[label]["color"], alpha=0.5)
        ax.set_xticks(range(1, len(names) + 1), names, rotation=30, ha="right", fontsize=7)
    ax.set(ylabel="wirelength above the bound, %")
    finish(ax)
