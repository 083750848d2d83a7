"""How the time of a step grows with the members of a population and with the weights of a network.

    python -m benchmarks.growth        the picture of the rows, and the exponents

Times are those of the thread, besides the closure. A step costs some calls whatever its size, so the exponent of the
whole range is small; that of the last two points tells how the work itself grows.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.axes import Axes

import optimizers
from agents import records
from benchmarks.reporting.tables import text_table
from benchmarks.timing.measure import RESULTS, Measure, machine
from benchmarks.timing.optimizer_steps import Apart, bowl

__all__ = ["draw", "exponents", "growths", "points"]

METHODS = ("asnaq", "olmoq", "lbfgs")
MEMBERS = (1, 4, 16, 64, 256, 1024)
WEIGHTS = (1_000, 10_000, 100_000, 1_000_000)
AXES = {"members": "members, each with 1,000 weights", "n": "weights of one network"}


def growths() -> Iterator[Measure]:
    """Time of a step by members and by weights."""
    torch.set_num_threads(1)
    sizes = [("members", 1000, members) for members in MEMBERS] + [("n", n, None) for n in WEIGHTS]
    for name in METHODS:
        for along, n, members in sizes:
            what = f"{name}, {n:,} weights" + (f", {members:,} members" if members else "")
            yield Measure(
                f"{what}, besides the closure", "us/step", _besides(name, n, members), None, "-",
                {"kind": "growth", "method": name, "along": along, "n": n, "members": members},
            )  # fmt: skip


def _besides(name: str, n: int, members: int | None) -> Callable[[], float]:
    size = n * (members or 1)
    steps = 10 if size >= 200_000 else 40

    def besides() -> float:
        w, closure = bowl(n, members)
        apart, optimizer = Apart(closure), optimizers.make(name, [w], member_dims=int(members is not None))
        for _ in range(12 if name == "lbfgs" else 10):
            optimizer.step(apart)

        def work() -> None:
            for _ in range(steps):
                optimizer.step(apart)

        return apart.besides(work) / steps * 1e6

    return besides


def points(rows: Sequence[dict[str, Any]]) -> dict[tuple[str, str], list[tuple[int, float]]]:
    """(size, microseconds) by axis and method, sizes rising; of several rows of a point the last."""
    found: dict[tuple[str, str], dict[int, float]] = {}
    for row in rows:
        settings = row["settings"]
        if settings.get("kind") == "growth":
            line = found.setdefault((settings["along"], settings["method"]), {})
            line[settings[settings["along"]]] = row["metrics"]["ours"]
    return {key: sorted(line.items()) for key, line in found.items()}


def exponents(line: Sequence[tuple[int, float]]) -> tuple[float, float]:
    """p of time ~ size^p: the least-squares fit of all points, and between the last two."""
    sizes, times = (np.log([point[i] for point in line]) for i in (0, 1))
    last = math.log(line[-1][1] / line[-2][1]) / math.log(line[-1][0] / line[-2][0])
    return float(np.polyfit(sizes, times, 1)[0]), last


def draw(rows: Sequence[dict[str, Any]], ax: Axes, along: str) -> None:
    """Time of a step by size, one line a method; ``along`` is "members" or "n"."""
    for (axis, method), line in points(rows).items():
        if axis == along:
            ax.plot(*zip(*line, strict=True), marker="o", markersize=4, label=method)
    ax.set(xscale="log", yscale="log", xlabel=AXES[along], ylabel="microseconds a step")
    ax.grid(alpha=0.3)
    ax.legend(frameon=False)


def main() -> None:
    """Draw the rows of this kind of machine and print the exponents."""
    rows = records.read_rows(RESULTS / f"speed-{machine()}.jsonl")
    figure, axes = plt.subplots(1, 2, figsize=(9, 3.6), sharey=True, layout="constrained")
    for ax, along in zip(axes, AXES, strict=True):
        draw(rows, ax, along)
    axes[1].set_ylabel("")
    figure.savefig(Path(__file__).parent.parent / "docs/pictures/growth.png", dpi=150)
    fits = {key: exponents(line) for key, line in points(rows).items()}
    print(text_table([{"method": m, "along": a, "exponent": p, "at the end": q} for (a, m), (p, q) in fits.items()]))


if __name__ == "__main__":
    main()
