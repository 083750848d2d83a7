"""Pictures of the cost table: time by weights and by pairs, bytes by weights, a colour a family."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.reporting.pictures import finish, save, styles
from benchmarks.tasks.costs.findings import microseconds, total
from benchmarks.tasks.costs.memory import UNIT
from benchmarks.tasks.costs.methods import FAMILIES, METHODS, memory_of

__all__ = ["draw_bytes", "draw_times"]

Found = Mapping[str, Sequence[Mapping[str, Any]]]


def draw_times(found: Found, path: Path) -> Path:
    """Time of a step besides its closure: by weights, and by pairs."""
    figure = Figure(figsize=(9, 4), layout="constrained", dpi=90)
    axes = figure.subplots(1, 2, sharey=True)
    for ax, along in zip(axes, ("d", "m"), strict=True):
        for label, mine in found.items():
            if along in mine[0]:
                lines = [microseconds(label, one, along) for one in mine]
                _line(ax, label, mine[0][along]["at"], [statistics.median(at) for at in zip(*lines, strict=True)])
        ax.set(xscale="log", yscale="log")
        finish(ax, legend=False)
    axes[0].set(xlabel="weights", ylabel="microseconds a step, besides the closure")
    pairs: list[int] = next((mine[0]["m"]["at"] for mine in found.values() if "m" in mine[0]), [])
    axes[1].set(xlabel="pairs kept or sampled")
    axes[1].set_xticks(pairs, [str(m) for m in pairs])
    axes[1].minorticks_off()
    axes[1].legend(*axes[0].get_legend_handles_labels(), loc="upper left", frameon=False, fontsize=7, ncols=2)
    return save(figure, path)


def draw_bytes(found: Found, path: Path) -> Path:
    """Bytes kept between steps, of float32 weights, by the measured formulas with default memories."""
    figure = Figure(figsize=(6, 4), layout="constrained", dpi=90)
    ax = figure.subplots()
    for label, mine in found.items():
        memory, sizes, at = total(mine[0]), memory_of(label), mine[0]["d"]["at"]
        pairs = sizes.get("m", sizes.get("mL", 0))
        each = memory.md * pairs + memory.mFd * sizes.get("mF", 0) + memory.d
        if each or memory.d2:
            _line(ax, label, at, [UNIT * d * (memory.d2 * d + each) for d in at])
    ax.set(xscale="log", yscale="log", xlabel="weights", ylabel="bytes kept between steps")
    finish(ax)
    return save(figure, path)


def _line(ax: Axes, label: str, x: Sequence[float], y: Sequence[float]) -> None:
    """One method in its family's colour; the family's first one names it."""
    family = METHODS[label].family
    named = ax.get_legend_handles_labels()[1]
    ax.plot(x, y, linewidth=1.2, marker="o", markersize=2.5, **styles(FAMILIES)[family],
            label="_" if family in named else family)  # fmt: skip
