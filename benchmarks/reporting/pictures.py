"""Pictures from rows: saved so that equal rows give equal small files; curves of many trials with bands."""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

from agents import records

__all__ = ["COLOURS", "LINES", "Style", "draw_band", "finish", "save", "styles"]

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#222222")
"""colours that colour-blind readers tell apart"""
LINES = ("-", "--", ":", "-.")
SHADES = 128
"""colours of a file, so that it stays small"""
Style = dict[str, Any]


def styles(labels: Iterable[str]) -> dict[str, Style]:
    """A colour and line for each label in their order; after seven labels the lines change."""
    return {
        label: {"color": COLOURS[k % len(COLOURS)], "linestyle": LINES[k // len(COLOURS) % len(LINES)]}
        for k, label in enumerate(dict.fromkeys(labels))
    }


def save(figure: Figure, path: Path) -> Path:
    """Write a picture as PNG; the file changes only where the picture does."""
    drawn, small = io.BytesIO(), io.BytesIO()
    figure.savefig(drawn, format="png")
    Image.open(drawn).convert("RGB").quantize(SHADES).save(small, format="png", optimize=True)
    if not path.exists() or path.read_bytes() != small.getvalue():
        records.write_atomically(path, small.getvalue())
    return path


def draw_band(
    ax: Axes,
    x: Sequence[float],
    values: Sequence[Sequence[float | None]],
    look: Style,
    label: str,
    middle: str = "mean",
) -> None:
    """The mean or median of trials over x with the band between their quartiles.

    Args:
        ax: to draw on.
        x: (points,).
        values: (trials, points); a trial that ended earlier is shorter and goes on with its last value, one that is not
            finite is None.
        look: from ``styles``.
        label: of the line.
        middle: mean or median.

    Raises:
        ValueError: middle is neither.
    """
    if middle not in ("mean", "median"):
        raise ValueError(f"middle {middle!r} is neither mean nor median")
    whole = np.full((len(values), len(x)), np.nan)
    for row, trial in zip(whole, values, strict=True):
        row[: len(trial)] = [np.nan if one is None else one for one in trial]
        if trial:
            row[len(trial) :] = row[len(trial) - 1]
    shown = ~np.isnan(whole).any(0)  # where every trial is finite
    at, whole = np.asarray(x, dtype=float)[shown], whole[:, shown]
    if not at.size:
        return
    lower, upper = np.quantile(whole, [0.25, 0.75], axis=0)
    ax.fill_between(at, lower, upper, color=look["color"], alpha=0.15, linewidth=0)
    ax.plot(at, whole.mean(0) if middle == "mean" else np.median(whole, 0), linewidth=1.3, label=label, **look)


def finish(ax: Axes, *, legend: bool = True) -> None:
    """A light grid, two spines, a legend without frame."""
    ax.grid(alpha=0.3)
    ax.spines[["top", "right"]].set_visible(False)
    if legend and ax.get_legend_handles_labels()[0]:
        ax.legend(frameon=False, fontsize=7)
