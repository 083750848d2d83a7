"""Pictures of the unit tests, from rows: the matrix of colours, shares by kind of test, and the shapes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from benchmarks.reporting.pictures import save
from benchmarks.tasks.unit_tests.cases import COMPOSED, MOTIONS, NOISES, SCALES, SHAPES, Case, cases
from benchmarks.tasks.unit_tests.scores import CATEGORIES
from benchmarks.tasks.unit_tests.shapes import evaluate, shape, stacked

__all__ = ["best_rate", "draw", "kinds", "matrix"]

Row = dict[str, Any]
GAP = 6
"""white columns between blocks of the matrix"""


def best_rate(row: Row) -> str:
    """The rate with the most good and excellent tests; of equal ones the smaller."""
    letters = row["metrics"]["letters"]
    return max(letters, key=lambda lr: (sum(letter in "EG" for letter in letters[lr]), -float(lr)))


def listed(row: Row) -> list[Case]:
    """The tests of a row in order."""
    return [case for mine in cases(row["settings"]["task"]["every"]).values() for case in mine]


def draw(rows: Sequence[Row], folder: Path, name: str) -> list[Path]:
    """All pictures."""
    return [
        _matrix(rows, folder / f"{name}-matrix.png"),
        _shares(rows, folder / f"{name}-shares.png"),
        _shapes(folder / f"{name}-shapes.png"),
    ]


def blocks(tests: Sequence[Case]) -> dict[str, list[int]]:
    """Places of tests by block of the matrix, in a block by scale and shape."""
    found: dict[str, list[int]] = {}
    for place, case in enumerate(tests):
        moving = case.n == 1 and case.motion != "still"
        block = f"{case.n} coord." if case.n > 1 else "moving" if moving else case.noise
        found.setdefault(block, []).append(place)
    order = [*NOISES, "moving", "2 coord.", "10 coord."]
    scales, shapes = list(SCALES), list(SHAPES)

    def key(place: int) -> tuple[int, int]:
        case = tests[place]
        return scales.index(case.scales[0]), shapes.index(case.shapes[0])

    return {block: sorted(found[block], key=key) for block in order if block in found}


def matrix(row: Row) -> np.ndarray:
    """The colours of a method (rates, columns, 3): blocks of tests with white between them."""
    tests = listed(row)
    lines = []
    for letters in row["metrics"]["letters"].values():
        colours = [to_rgb(CATEGORIES[letter][1]) for letter in letters]
        line: list[tuple[float, float, float]] = []
        for places in blocks(tests).values():
            line += [colours[at] for at in places] + [(1.0, 1.0, 1.0)] * GAP
        lines.append(line[:-GAP])
    return np.array(lines)


def _matrix(rows: Sequence[Row], path: Path) -> Path:
    """A band a method with a line a rate, the smallest above; a column a test."""
    parts = [matrix(row) for row in rows]
    height, thick = len(parts[0]), 2
    gap = np.ones((thick, parts[0].shape[1], 3))
    whole = np.concatenate([part for one in parts for part in (np.repeat(one, thick, 0), gap)])
    figure = Figure(figsize=(11, 0.021 * len(whole) + 1.2), layout="constrained", dpi=100)
    ax = figure.subplots()
    ax.imshow(whole, aspect="auto", interpolation="nearest")
    ax.set_yticks([(height * thick + thick) * k + height * thick / 2 for k in range(len(rows))],
                  [row["method"] for row in rows], fontsize=7)  # fmt: skip
    at, ticks = 0, []
    for block, places in blocks(listed(rows[0])).items():
        ticks.append((at + len(places) / 2, block))
        at += len(places) + GAP
    ax.set_xticks([one for one, _ in ticks], [block for _, block in ticks], rotation=35, ha="right", fontsize=7)
    ax.spines[:].set_visible(False)
    ax.tick_params(length=0)
    handles = [Patch(facecolor=colour, label=name) for name, colour in CATEGORIES.values() if name != "left out"]
    figure.legend(handles=handles, loc="outside upper center", ncols=6, frameon=False, fontsize=8)
    return save(figure, path)


def kinds(tests: Sequence[Case]) -> dict[str, list[int]]:
    """Columns of the shares: name -> places of its tests."""
    found: dict[str, list[int]] = {"all": list(range(len(tests)))}
    for place, case in enumerate(tests):
        if case.n > 1:
            names = [f"{case.n} coord.", case.mixing]
        elif case.motion == "still":
            names = [case.noise, case.scales[0]]
        else:
            names = [f"moving: {case.motion}"]
        for name in names:
            found.setdefault(name, []).append(place)
    mixings = dict.fromkeys(mixing for *_, mixing in COMPOSED)
    order = ["all", *NOISES, *SCALES, *(f"moving: {one}" for one in MOTIONS), "2 coord.", "10 coord.", *mixings]
    return {name: found[name] for name in order if name in found}


def _shares(rows: Sequence[Row], path: Path) -> Path:
    """Good and excellent tests in %, at each method's best single rate."""
    columns = kinds(listed(rows[0]))
    values = np.full((len(rows), len(columns)), np.nan)
    for i, row in enumerate(rows):
        letters = row["metrics"]["letters"][best_rate(row)]
        for j, places in enumerate(columns.values()):
            mine = [letters[place] for place in places if letters[place] != "-"]
            if mine:
                values[i, j] = 100 * sum(letter in "EG" for letter in mine) / len(mine)
    figure = Figure(figsize=(0.4 * len(columns) + 2, 0.2 * len(rows) + 1.5), layout="constrained", dpi=90)
    ax = figure.subplots()
    ax.imshow(values, cmap="RdYlGn", vmin=0, vmax=100, aspect="auto")
    for (i, j), value in np.ndenumerate(values):
        if not np.isnan(value):
            ax.text(j, i, f"{value:.0f}", ha="center", va="center", fontsize=6)
    ax.set_xticks(range(len(columns)), list(columns), rotation=60, ha="right", fontsize=7)
    ax.set_yticks(range(len(rows)), [f"{row['method']}, {best_rate(row)}" for row in rows], fontsize=7)
    ax.set_title("tests that are good or excellent, %, each method with its best single rate", fontsize=8)
    return save(figure, path)


def _shapes(path: Path) -> Path:
    """Every shape of one coordinate, downhill, each on its own scale."""
    figure = Figure(figsize=(9, 5.2), layout="constrained", dpi=80)
    axes = list(figure.subplots(4, 8).flat)
    x = torch.linspace(-0.1, 1.1, 241, dtype=torch.float64)
    for ax, name in zip(axes, SHAPES, strict=False):
        ax.plot(x, -evaluate(stacked([shape(name)]).expand(len(x), -1, -1), x), linewidth=1.2)
        ax.set_title(
            "\n".join(name.replace("_", " ").split("-")[:3]) + ("\n..." if name.count("-") > 2 else ""), fontsize=5.5
        )
        ax.set(xticks=[0, 1], yticks=[])
        ax.tick_params(labelsize=5)
        ax.axvline(0, color="#bbbbbb", linewidth=0.6)
    for ax in axes[len(SHAPES) :]:
        ax.set_axis_off()
    return save(figure, path)
