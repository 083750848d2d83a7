"""Pictures of proposed op-amps, from rows alone."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullLocator, StrMethodFormatter

from benchmarks.circuits.opamp import SPECIFICATION
from benchmarks.reporting.pictures import COLOURS, finish, save

__all__ = ["draw_boxes", "draw_scatter"]

UNITS = {"gain": "gain, dB", "ugb": "unity-gain bandwidth, MHz", "pm": "phase margin, degrees", "power": "power, mW"}


def draw_scatter(row: dict[str, Any], path: Path) -> Path:
    """Simulated against requested numbers of a row; dashed is the published specification."""
    figure = Figure(figsize=(7, 6.5), layout="constrained", dpi=80)
    for ax, name in zip(figure.subplots(2, 2).flat, UNITS, strict=True):
        _draw_one(ax, row["metrics"], name)
    figure.suptitle(f"requests to a network trained by {row['method']}, seed {row['seed']}", fontsize=9)
    return save(figure, path)


def _draw_one(ax: Axes, metrics: dict[str, Any], name: str) -> None:
    requested, found = metrics["requested"][name], metrics["found"][name]
    pairs = [(x, y) for x, y in zip(requested, found, strict=True) if y is not None]
    ends = [min(requested), max(requested)]
    ax.scatter([x for x, _ in pairs], [y for _, y in pairs], s=9, color=COLOURS[0])
    ax.plot(ends, ends, color="#888888", linewidth=0.8)
    if name in SPECIFICATION:
        ax.axhline(SPECIFICATION[name], color=COLOURS[1], linewidth=0.8, linestyle="--")
    if name in ("ugb", "power"):
        ax.set(xscale="log", yscale="log")
        for axis in (ax.xaxis, ax.yaxis):
            axis.set_major_locator(LogLocator(10, (1, 2, 5)))
            axis.set_major_formatter(StrMethodFormatter("{x:g}"))
            axis.set_minor_locator(NullLocator())
    ax.set(xlabel=f"requested {UNITS[name]}", ylabel="simulated")
    finish(ax)


def draw_boxes(rows: Sequence[dict[str, Any]], path: Path) -> Path:
    """Shares of the proposals that meet the published specification and the request, a box a method."""
    figure = Figure(figsize=(7, 4), layout="constrained", dpi=80)
    ax = figure.subplots()
    labels = list(dict.fromkeys(row["method"] for row in rows))
    for k, (kind, head) in enumerate({"specification": "published specification", "request": "request"}.items()):
        shares = [[100 * row["metrics"][kind] for row in rows if row["method"] == label] for label in labels]
        boxes = ax.boxplot(shares, positions=[i + 0.3 * k for i in range(len(labels))], widths=0.25,
                           patch_artist=True, manage_ticks=False, flierprops={"markersize": 3})  # fmt: skip
        for box in boxes["boxes"]:
            box.set(facecolor=COLOURS[k], alpha=0.6)
        boxes["boxes"][0].set_label(head)
    ax.set_xticks(range(len(labels)), labels, rotation=35, ha="right", fontsize=7)
    ax.set(ylabel="proposals that meet it, %", ylim=(0, 103))
    finish(ax)
    return save(figure, path)
