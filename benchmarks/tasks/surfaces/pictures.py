"""Pictures of the experiment `surfaces`, from rows; contours are those of the functions."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

from benchmarks.bases.functions import Function
from benchmarks.reporting.animation import frame, save_frames
from benchmarks.reporting.pictures import finish, save, styles
from benchmarks.reporting.profiles import ratios
from benchmarks.tasks.surfaces.problems import MANY_VALLEYS, chosen_functions
from benchmarks.tasks.surfaces.runs import MARKS
from benchmarks.tasks.surfaces.tables import costs_of, methods_of

__all__ = ["draw"]

Row = dict[str, Any]
WALKERS = ("nag", "adam", "lbfgs", "naq", "lsr1", "newton_cg")
"""methods whose ways are drawn"""
WALKED = ("rosenbrock_100", "beale", "himmelblau", "saddle")
EVOLVING = ("steepest_descent", "lbfgs", "lsr1", "arclsr1", "newton_cg")
"""methods whose ways on both functions of Rosenbrock are drawn, as published for ARCs-LSR1 and Newton-CG"""
EVOLVED = ("rosenbrock", "rosenbrock_100")
MOVING = ("rosenbrock_100", "beale")
WINDOWS = {
    "rosenbrock": ((-2, 2), (-1, 3)), "rosenbrock_100": ((-2, 2), (-1, 3)), "beale": ((-1, 4.5), (-2, 2)),
    "himmelblau": ((-5, 5), (-5, 5)), "saddle": ((-1.7, 1.7), (-1.7, 1.7)),
}  # fmt: skip
LAST = 400
"""the last iteration of the animation"""
CURVES = ("rosenbrock_chained", "quadratic_1e6")
DRAWN = ("nag", "adam", "bfgs", "lbfgs", "naq", "lnaq", "moq", "sr1", "newton_cg", "scipy.bfgs", "scipy.trust-krylov")
"""methods of curves and profiles, where all would be too many"""
PROFILED = (*DRAWN, "scipy.l-bfgs-b", "scipy.differential-evolution", "scipy.dual-annealing")


def draw(rows: Sequence[Row], folder: Path, name: str) -> list[Path]:
    """All pictures; ways and curves are those of the usual start, and left out where no row has it."""
    files = [_profiles(rows, folder / f"{name}-profiles.png"), _solved(rows, folder / f"{name}-solved.png")]
    first = {row["method"]: row for row in rows if row["seed"] == 0}
    if walkers := [label for label in WALKERS if label in first]:
        files.append(_ways(first, walkers, WALKED, folder / f"{name}-ways.png"))
        frames = _frames(first, walkers)
        files.append(save_frames(frames, folder / f"{name}-ways.gif", seconds=0.12, last=2.0))
    if evolving := [label for label in EVOLVING if label in first]:
        files.append(_ways(first, evolving, EVOLVED, folder / f"{name}-rosenbrock.png"))
    if labels := [label for label in DRAWN if label in first]:
        files.append(_curves(first, labels, folder / f"{name}-curves.png"))
    return files


def _contours(ax: Axes, function: Function) -> None:
    (left, right), (low, high) = WINDOWS[function.name]
    x, y = np.meshgrid(np.linspace(left, right, 161), np.linspace(low, high, 161))
    values = function.f(torch.from_numpy(np.stack([x, y], -1))).numpy() - function.value
    levels = np.logspace(math.log10(values.max()) - 4.5, math.log10(values.max()), 11)
    ax.contour(x, y, values, levels=levels, colors="#bbbbbb", linewidths=0.6)
    assert function.minimum is not None
    ax.plot(*function.minimum, "*", color="#222222", markersize=7, zorder=3)
    ax.set(xlim=(left, right), ylim=(low, high), xticks=[], yticks=[])


def _ways(first: dict[str, Row], labels: Sequence[str], names: Sequence[str], path: Path) -> Path:
    """A row of axes a function, a column a method."""
    table, looks = chosen_functions(2), styles(labels)
    figure = Figure(figsize=(1.55 * len(labels), 1.6 * len(names) + 0.2), layout="constrained", dpi=80)
    axes = figure.subplots(len(names), len(labels), squeeze=False)
    for line, name in zip(axes, names, strict=True):
        for ax, label in zip(line, labels, strict=True):
            run = first[label]["metrics"][name]
            _contours(ax, table[name])
            ax.plot(*np.array(run["way"]).T, ".-", color=looks[label]["color"], linewidth=1, markersize=3)
            ended = f"{run['evaluations']} evaluations" if run["end"] == "solved" else f"not solved: {run['end']}"
            ax.set_xlabel(ended, fontsize=6)
            if name == names[0]:
                ax.set_title(label, fontsize=8)
        line[0].set_ylabel(name, fontsize=7)
    return save(figure, path)


def _frames(first: dict[str, Row], labels: Sequence[str]) -> Iterator[Image.Image]:
    """Points after 0, 1, 2, ... iterations, later ones in larger strides."""
    table, looks = chosen_functions(2), styles(labels)
    figure = Figure(figsize=(3.3 * len(MOVING), 3.3), layout="constrained", dpi=80)
    axes = figure.subplots(1, len(MOVING), squeeze=False)[0]
    lines = {}
    for ax, name in zip(axes, MOVING, strict=True):
        _contours(ax, table[name])
        for label in labels:
            (lines[name, label],) = ax.plot(
                [], [], ".-", color=looks[label]["color"], linewidth=1, markersize=4, label=label
            )
    axes[0].legend(fontsize=6, frameon=False, loc="upper center", ncols=3)
    for place, mark in enumerate(MARKS):
        if mark > LAST:
            return
        for (name, label), line in lines.items():
            run = first[label]["metrics"][name]
            line.set_data(*np.array(run["way"] if mark > run["iterations"] else run["way"][: place + 1]).T)
        for ax, name in zip(axes, MOVING, strict=True):
            ax.set_title(f"{name}, {mark} iterations", fontsize=8)
        yield frame(figure)


def _curves(first: dict[str, Row], labels: Sequence[str], path: Path) -> Path:
    """The lowest value so far: by iterations above, by evaluations below."""
    figure = Figure(figsize=(7.5, 5.5), layout="constrained", dpi=90)
    axes = figure.subplots(2, len(CURVES), sharey="col")
    for line, what in zip(axes, ("iterations", "evaluations"), strict=True):
        for ax, name in zip(line, CURVES, strict=True):
            for label, look in styles(labels).items():
                curve = first[label]["metrics"][name]["curve"]
                ax.plot([max(1, one) for one in curve[what]], curve["value"], linewidth=1.2, label=label, **look)
            ax.set(xscale="log", yscale="log", xlabel=what, title=name if what == "iterations" else None)
            ax.set_ylim(bottom=1e-9)
            finish(ax, legend=False)
        line[0].set_ylabel("lowest value so far above the minimum", fontsize=8)
    axes[0, 0].legend(frameon=False, fontsize=6, ncols=2, loc="lower left")
    return save(figure, path)


def _profiles(rows: Sequence[Row], path: Path) -> Path:
    """The share of problems that a method solves with at most so many times the evaluations of the cheapest method."""
    labels = [label for label in methods_of(rows) if label in PROFILED] or methods_of(rows)
    figure = Figure(figsize=(8.5, 3.8), layout="constrained", dpi=90)
    axes = figure.subplots(1, 2, sharey=True)
    for ax, (title, kinds) in zip(axes, {"one valley": (False,), "many valleys": (True,)}.items(), strict=True):
        costs = {
            label: [cost for key, cost in costs_of(rows, label).items() if (key[0] in MANY_VALLEYS) in kinds]
            for label in labels
        }
        for label, found in ratios(costs).items():
            steps = sorted(ratio for ratio in found if math.isfinite(ratio))
            heights = [100 * (k + 1) / len(found) for k in range(len(steps))]
            ax.step([1, *steps, 1000], [0, *heights, heights[-1] if heights else 0], where="post", linewidth=1.2,
                    label=label, **styles(labels)[label])  # fmt: skip
        ax.set(xscale="log", xlim=(1, 1000), ylim=(0, 102), xlabel="evaluations / fewest of all methods", title=title)
        finish(ax, legend=False)
    axes[0].set_ylabel("problems solved, %")
    axes[1].legend(frameon=False, fontsize=6.5, loc="center left", bbox_to_anchor=(1.0, 0.5))
    return save(figure, path)


def _solved(rows: Sequence[Row], path: Path) -> Path:
    """Method by function: the share of starts that are solved as colour, median evaluations of these as number."""
    labels, names = methods_of(rows), list(rows[0]["metrics"])
    figure = Figure(figsize=(0.42 * len(names) + 2.2, 0.19 * len(labels) + 1.5), layout="constrained", dpi=90)
    ax = figure.subplots()
    shares = np.zeros((len(labels), len(names)))
    for i, label in enumerate(labels):
        costs = costs_of(rows, label)
        for j, name in enumerate(names):
            mine = [cost for key, cost in costs.items() if key[0] == name]
            solved = [cost for cost in mine if math.isfinite(cost)]
            shares[i, j] = len(solved) / len(mine)
            if solved:
                dark = "white" if shares[i, j] > 0.6 else "black"
                ax.text(j, i, f"{np.median(solved):.0f}", ha="center", va="center", fontsize=5.5, color=dark)
    ax.imshow(shares, cmap="GnBu", vmin=0, vmax=1.1, aspect="auto")
    ax.set_xticks(range(len(names)), names, rotation=60, ha="right", fontsize=7)
    ax.set_yticks(range(len(labels)), labels, fontsize=7)
    ax.set_title("solved starts (darker: more), median evaluations of those", fontsize=8)
    return save(figure, path)
