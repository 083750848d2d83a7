"""Pictures: routes, congestion, routers side by side, training curves, and quick frames of an episode.

Drawing functions take data and an ``Axes``, compute nothing heavy and return nothing. Tiles are unit squares around
their column and row, rows upwards. Every net keeps its own small offset in all tiles, so that wires sharing an edge lie
beside each other and one wire never breaks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection, PolyCollection
from matplotlib.colors import Normalize
from matplotlib.figure import Figure, SubFigure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from routing_env._drawing import (
    CLOSED,
    FAINT,
    FEW,
    INK,
    OVER,
    REDUCED,
    changed,
    lanes,
    layer_colours,
    pins,
    wires,
)
from routing_env._frame import frame
from routing_env.grid import grid_of
from routing_env.metrics import overflow
from routing_env.problem import Problem
from routing_env.solution import Solution, usage

__all__ = ["draw_congestion", "draw_routes", "draw_side_by_side", "draw_training", "frame"]

ROOMY, LEGIBLE = 14, 28
"""points a tile from which vias, pins and bars have shapes, and from which numbers fit"""
BEYOND = 2.0
"""what stands for overflow on the colour scale: anything above 1"""
BAR = "used / capacity (beyond: overflow)"


def draw_routes(
    ax: Axes, problem: Problem, solution: Solution, layer: int | None = None, *, legend: bool = True
) -> None:
    """Draw wires in their layer's colour, vias, pins, and edges of reduced capacity.

    Args:
        ax: where.
        problem: what is routed.
        solution: its routing, complete or not.
        layer: only this one, counted from 1 as in the files; None for all.
        legend: explain the colours beside the axes.

    Raises:
        ValueError: the problem has no such layer.
    """
    shown = _layers(problem, layer)
    size = _board(ax, problem)
    colours = layer_colours(len(problem.layers))
    x, y, z, axis, net = wires(problem, solution)
    offset = lanes(len(problem.nets))[net]
    across, up = x + offset[:, 0], y + offset[:, 1]
    thick = float(np.clip(size * 0.05, 0.6, 2.4))
    for level in shown:
        own = (z == level) & (axis < 2)
        start = np.stack([across[own], up[own]], 1)
        end = start + np.stack([axis[own] == 0, axis[own] == 1], 1)
        ax.add_collection(LineCollection(list(np.stack([start, end], 1)), colors=colours[level], linewidths=thick,
                                         capstyle="projecting", zorder=3 + level / 100))  # fmt: skip
    at, whose = pins(problem, shown)
    loose = {i for i in range(len(problem.nets)) if not solution.connected(i)}
    face = [OVER if i in loose else "white" if size >= ROOMY else INK for i in whose.tolist()]
    if size < ROOMY:
        ax.scatter(at[:, 0], at[:, 1], s=1.5, c=face, linewidths=0, zorder=6)
    else:
        vias = (axis == 2) & (np.isin(z, shown) | np.isin(z + 1, shown))
        ax.scatter(across[vias], up[vias], s=(2.2 * thick) ** 2, marker="s", color=INK, linewidths=0, zorder=5)
        ax.scatter(at[:, 0], at[:, 1], s=(3.4 * thick) ** 2, c=face, edgecolors=INK, linewidths=0.45 * thick, zorder=6)
    _mark_changed(ax, problem, shown, size)
    if legend:
        _explain(ax, problem, shown, size, bool(loose))


def draw_congestion(
    ax: Axes, problem: Problem, solution: Solution, layer: int | None = None, *, bar: bool = True
) -> None:
    """Draw every planar edge in the colour of used / capacity; edges over their capacity in a colour of their own.

    Args:
        ax: where.
        problem: what is routed.
        solution: its routing, complete or not.
        layer: only this one, counted from 1; None sums all layers, and shows overflow where any layer has it.
        bar: draw the colour bar.

    Raises:
        ValueError: the problem has no such layer.
    """
    shown = _layers(problem, layer)
    size = _board(ax, problem)
    taken, room, over, there = _load(problem, solution, shown)
    shut = there & (room == 0) & (taken == 0)
    ratio = np.divide(taken, room, out=np.zeros(taken.shape), where=room > 0)
    ratio = np.where(over > 0, BEYOND, np.minimum(ratio, 1.0))
    colours = mpl.colormaps["YlGnBu"].with_extremes(over=OVER)
    roomy = size >= ROOMY
    heat = PolyCollection(_shapes(there & ~shut, roomy), array=ratio[there & ~shut], cmap=colours, norm=Normalize(0, 1),
                          edgecolors="#00000022" if roomy else "face", linewidths=0.4, zorder=3)  # fmt: skip
    ax.add_collection(heat)
    ax.add_collection(PolyCollection(_shapes(shut, roomy), facecolors="white", edgecolors=CLOSED, linewidths=0.4,
                                     hatch="xxxx" if roomy else "xxxxxxxx", zorder=4))  # fmt: skip
    if size >= LEGIBLE:
        for row, column, way in zip(*np.nonzero(over), strict=True):
            ax.text(column + 0.5 * (way == 0), row + 0.5 * (way == 1), f"+{over[row, column, way]}", color="white",
                    ha="center", va="center", fontsize=min(8, size / 6), fontweight="bold", zorder=6)  # fmt: skip
    if bar:
        ax.figure.colorbar(heat, ax=ax, extend="max", shrink=0.8, pad=0.02).set_label(BAR)


def draw_side_by_side(
    figure: Figure | SubFigure, problem: Problem, solutions: Mapping[str, Solution], layer: int | None = None
) -> None:
    """Draw routings of one problem next to each other, routes above congestion, with their length and overflow.

    Raises:
        ValueError: no solution is given, or the problem has no such layer.
    """
    if not solutions:
        raise ValueError("solutions is empty; give at least one, by name")
    if isinstance(figure, Figure):
        figure.set_layout_engine("constrained")
    axes = figure.subplots(2, len(solutions), squeeze=False)
    grid = grid_of(problem)
    for column, (name, solution) in enumerate(solutions.items()):
        last = column == len(solutions) - 1
        draw_routes(axes[0, column], problem, solution, layer, legend=last)
        draw_congestion(axes[1, column], problem, solution, layer, bar=False)
        length, over = sum(map(len, solution.edges)), int(overflow(grid, usage(solution)).sum())
        missing = len(solution.unrouted())
        facts = f"wirelength {length}, overflow {over}" + (f", {missing} nets unrouted" if missing else "")
        axes[0, column].set_title(f"{name}\n", fontsize=11, fontweight="bold")
        axes[0, column].text(0.5, 1.02, facts, transform=axes[0, column].transAxes, ha="center", fontsize=9)
    heat = next(drawn for drawn in axes[1, -1].collections if isinstance(drawn, PolyCollection))
    figure.colorbar(heat, ax=list(axes[1]), extend="max", shrink=0.8, pad=0.02).set_label(BAR)


def draw_training(ax: Axes, rows: Sequence[Mapping[str, Any]]) -> None:
    """Draw reward and routed connections over the passes of a training, and mark the best pass.

    Args:
        ax: where; a second axis for the connections is added to it.
        rows: one a pass, with the keys pass, reward, routed and wirelength.

    Raises:
        ValueError: no rows.
    """
    if not rows:
        raise ValueError("rows is empty; give one row a pass")
    at, reward, routed = (np.array([row[key] for row in rows], np.float64) for key in ("pass", "reward", "routed"))
    best = max(range(len(rows)), key=lambda i: (routed[i], reward[i]))
    other = ax.twinx()
    other.step(at, routed, where="mid", color=FEW[1], alpha=0.55, linewidth=0.9, label="connections routed")
    other.set_ylabel("connections routed", color=FEW[1])
    other.tick_params(axis="y", colors=FEW[1])
    other.yaxis.set_major_locator(MaxNLocator(integer=True))
    other.spines["top"].set_visible(False)
    ax.set_zorder(other.get_zorder() + 1)
    ax.patch.set_visible(False)
    window = max(1, len(rows) // 25)
    ax.plot(at, reward, color=FEW[0], alpha=0.3 if window > 1 else 1, linewidth=0.9)
    if window > 1:
        mean = np.convolve(reward, np.ones(window) / window, "valid")
        ax.plot(at[window // 2 :][: len(mean)], mean, color=FEW[0], linewidth=1.8)
    ax.plot(at[best], reward[best], "o", color=INK, markersize=5, zorder=5)
    row = rows[best]
    facts = f"best pass {row['pass']}: {row['routed']} routed, reward {row['reward']:g}, wirelength {row['wirelength']}"
    ax.text(0.98, 0.05, facts, transform=ax.transAxes, ha="right", fontsize=9, color=INK)
    ax.margins(y=0.12)
    ax.set_xlabel("pass")
    ax.set_ylabel("reward" + (f" (bold: mean of {window} passes)" if window > 1 else ""), color=FEW[0])
    ax.tick_params(axis="y", colors=FEW[0])
    ax.grid(axis="y", color=FAINT, linewidth=0.6)
    ax.spines["top"].set_visible(False)


def _layers(problem: Problem, layer: int | None) -> list[int]:
    """The layers to show, from 0."""
    if layer is None:
        return list(range(len(problem.layers)))
    if not 1 <= layer <= len(problem.layers):
        raise ValueError(f"layer {layer} lies outside 1..{len(problem.layers)}")
    return [layer - 1]


def _board(ax: Axes, problem: Problem) -> float:
    """The empty grid; returns the size of a tile in points."""
    width, height = problem.width, problem.height
    ax.set(xlim=(-0.5, width - 0.5), ylim=(-0.5, height - 0.5), aspect="equal")
    for spine in ax.spines.values():
        spine.set_color("#bbbbbb")
    box = ax.get_window_extent()
    size = min(box.width / width, box.height / height) * 72 / ax.figure.dpi
    step = max(1, -(-max(width, height) // 8))
    ax.set_xticks(range(0, width, step))
    ax.set_yticks(range(0, height, step))
    ax.tick_params(length=0, labelsize=8, colors="#666666")
    if size > 6:
        walls = [[(i - 0.5, -0.5), (i - 0.5, height - 0.5)] for i in range(1, width)]
        walls += [[(-0.5, i - 0.5), (width - 0.5, i - 0.5)] for i in range(1, height)]
        ax.add_collection(LineCollection(walls, colors=FAINT, linewidths=0.6, zorder=1))
    return float(size)


def _load(problem: Problem, solution: Solution, shown: list[int]) -> tuple[NDArray[np.int64], ...]:
    """(rows, columns, 2) of the planar edges, summed over layers: used, capacity, overflow, and is there one?"""
    grid, used = grid_of(problem), usage(solution)
    shape = (len(problem.layers), problem.height, problem.width, 3)
    parts = (used, grid.capacity.astype(np.int64), overflow(grid, used), grid.exists | (used > 0))
    taken, room, over, there = (part.reshape(shape)[shown][..., :2].sum(0) for part in parts)
    return taken, room, over, there > 0


def _shapes(where: NDArray[np.bool_], roomy: bool) -> list[NDArray[np.float64]]:
    """A shape for each edge: a bar between two tiles or, where tiles are small, a diamond; diamonds leave no gaps."""
    y, x, axis = np.nonzero(where)
    along, across = np.stack([axis == 0, axis == 1], 1) * 1.0, np.stack([axis == 1, axis == 0], 1) * 1.0
    middle = np.stack([x, y], 1) + along / 2
    bar, diamond = (
        ((-0.32, -0.17), (0.32, -0.17), (0.32, 0.17), (-0.32, 0.17)),
        ((-0.5, 0), (0, -0.5), (0.5, 0), (0, 0.5)),
    )
    return list(np.stack([middle + a * along + b * across for a, b in (bar if roomy else diamond)], 1))


def _mark_changed(ax: Axes, problem: Problem, shown: list[int], size: float) -> None:
    """A bar across each edge of reduced or no capacity, with the number where there is space for it."""
    for (x, y, axis), now in changed(problem, shown).items():
        a, b = x + 0.5 * (axis == 0), y + 0.5 * (axis == 1)
        dx, dy = 0.42 * (axis == 1), 0.42 * (axis == 0)
        ax.plot([a - dx, a + dx], [b - dy, b + dy], color=REDUCED if now else CLOSED, linewidth=min(5.0, size * 0.12),
                solid_capstyle="butt", zorder=2)  # fmt: skip
        if now and size >= LEGIBLE:
            ax.text(a + dx, b + dy, str(now), fontsize=7, ha="center", va="center", zorder=7, color=INK,
                    bbox={"boxstyle": "round,pad=0.15", "facecolor": "white", "edgecolor": REDUCED})  # fmt: skip


def _explain(ax: Axes, problem: Problem, shown: list[int], size: float, loose: bool) -> None:
    colours = layer_colours(len(problem.layers))
    signs: list[Line2D | Patch] = [
        Line2D([], [], color=colours[z], linewidth=2.5, label=f"layer {z + 1}") for z in shown
    ]
    dot: dict[str, Any] = {"linestyle": "", "marker": "o", "markersize": 6 if size >= ROOMY else 2}
    ring = {**dot, "markeredgecolor": INK} if size >= ROOMY else dot
    signs.append(Line2D([], [], color="white" if size >= ROOMY else INK, label="pin", **ring))
    if loose:
        signs.append(Line2D([], [], color=OVER, label="pin, net unrouted", **ring))
    if size >= ROOMY:
        signs.append(Line2D([], [], color=INK, marker="s", markersize=4, linestyle="", label="via"))
    kinds = set(map(bool, changed(problem, shown).values()))
    signs += [Patch(color=REDUCED, label="reduced edge")] * (True in kinds)
    signs += [Patch(color=CLOSED, label="closed edge")] * (False in kinds)
    ax.legend(handles=signs, loc="upper left", bbox_to_anchor=(1.01, 1), frameon=False, fontsize=8, handlelength=1.4)
