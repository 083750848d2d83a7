"""Eigenvalues: what SR1, L-SR1 and S-LSR1 know of the true Hessian at three points of a run.

The run is SR1's on the toy classification (`benchmarks.tasks.toy_classification`), so the methods that remember are at
home: SR1's matrix is the one that its run made, L-SR1's is made of the run's last m pairs, S-LSR1's of m pairs sampled
at the point, y = H s. Point A is after m steps, B where the loss is first at most half of log 2, C where all points are
sorted, or the last step. Errors are norms of differences, in per cent of the norm of the Hessian H: of the matrices,
and of the eigenvalues in order. No matrix of rank m is nearer to H than the one of its m largest eigenvalues.

Source: Berahas, Jahani, Takac 2019, figure of eigenvalues at points A, B and C.
Differs: which run, which points, and how many pairs the figure has is not known.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import torch
from matplotlib.figure import Figure
from torch import Tensor

from agents import records
from benchmarks.harness.experiment import Experiment, Size
from benchmarks.reporting.intervals import wilson
from benchmarks.reporting.pictures import COLOURS, finish, save
from benchmarks.tasks.eigenvalues.points import LABELS, Point, matrix_at, path
from benchmarks.tasks.toy_classification import ToyClassification

__all__ = ["Eigenvalues"]


class Eigenvalues(Experiment):
    """A row a method and run."""

    name = "eigenvalues"
    title = "Eigenvalues: what remembered and sampled pairs know of the Hessian"
    sizes: ClassVar[dict[str, Size]] = {"fast": Size(40, 2), "default": Size(500, 20), "full": Size(1000, 20)}
    options: ClassVar[dict[str, Any]] = {"network": "small", "m": 10}

    @classmethod
    def labels(cls) -> list[str]:
        """The three matrices."""
        return list(LABELS)

    @classmethod
    def chosen(cls, options: Mapping[str, Any]) -> dict[str, Any]:
        """All options.

        Raises:
            ValueError: no such option or network, or m is below 1.
        """
        found = super().chosen(options)
        ToyClassification.chosen({"network": found["network"]})
        if found["m"] < 1:
            raise ValueError(f"m must be at least 1, got {found['m']}")
        return found

    @classmethod
    def settings(cls, label: str, size: Size, options: Mapping[str, Any]) -> dict[str, Any]:
        """Steps of the run at most, and the options."""
        return {"steps": size.steps, "task": dict(options)}

    @classmethod
    def run(
        cls, label: str, seeds: Sequence[int], size: Size, options: Mapping[str, Any], *, quiet: bool = True
    ) -> list[dict[str, Any]]:
        """A row a seed."""
        rows = []
        for seed in seeds:
            begun = time.perf_counter(), time.process_time()
            points = path(seed, size.steps, options["network"], options["m"])
            found = {name: _compared(one, matrix_at(label, one, options["m"], seed), options["m"])
                     for name, one in points.items()}  # fmt: skip
            rows.append(records.row(
                task=cls.name, method=label, settings=cls.settings(label, size, options), seed=seed, trial=seed,
                step=points["C"].step, metrics=found, wall_seconds=time.perf_counter() - begun[0],
                cpu_seconds=time.process_time() - begun[1],
            ))  # fmt: skip
        return rows

    @classmethod
    def table(cls, rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        """Median errors at each point."""
        lines = []
        for label in dict.fromkeys(row["method"] for row in rows):
            mine = [row["metrics"] for row in rows if row["method"] == label]
            line: dict[str, Any] = {"method": label}
            for name in "ABC":
                line[f"matrix error at {name}, %"] = statistics.median(one[name]["matrix_error"] for one in mine)
                line[f"eigenvalue error at {name}, %"] = statistics.median(one[name]["error"] for one in mine)
            lines.append(line)
        lines.append(_least(rows))
        return lines

    @classmethod
    def findings(cls, rows: Sequence[dict[str, Any]]) -> list[str]:
        """In how many runs the sampled matrix is nearest, and negative curvature."""
        of = {label: {row["seed"]: row["metrics"] for row in rows if row["method"] == label} for label in LABELS}
        shared = sorted(set.intersection(*(set(found) for found in of.values())))
        if not shared:
            return []
        parts = []
        for name in "ABC":
            errors = [[of[label][seed][name]["matrix_error"] for label in LABELS] for seed in shared]
            won = sum(sampled < min(remembered) for *remembered, sampled in errors)
            low, high = wilson(won, len(shared))
            parts.append(f"at {name} in {won} of {len(shared)} runs ({100 * low:.0f} to {100 * high:.0f} %)")
        negative = {label: statistics.fmean(of[label][seed][name]["negative"] for seed in shared for name in "ABC")
                    for label in LABELS}  # fmt: skip
        true = statistics.fmean(of["SR1"][seed][name]["true_negative"] for seed in shared for name in "ABC")
        known = ", ".join(f"{count:.1f} with `{label}`" for label, count in negative.items())
        return [
            f"The sampled matrix is the nearest of the three to the Hessian {', '.join(parts)}, intervals of 95 %.",
            f"Negative eigenvalues, mean over runs and points: {true:.1f} of the Hessian, {known}.",
        ]

    @classmethod
    def draw(cls, rows: Sequence[dict[str, Any]], folder: Path) -> list[Path]:
        """Eigenvalues in order at the three points of the first run, a picture for each network."""
        names = dict.fromkeys(row["settings"]["task"]["network"] for row in rows)
        return [_draw([row for row in rows if row["settings"]["task"]["network"] == name],
                      folder / f"{cls.name}-{name}.png") for name in names]  # fmt: skip


def _compared(point: Point, B: Tensor, m: int) -> dict[str, Any]:
    """What a row says of a matrix at a point."""
    true, own = torch.linalg.eigvalsh(point.hessian), torch.linalg.eigvalsh(B)
    size = true.norm()
    rest = true.abs().sort(descending=True).values[m:].norm()
    noise = 1e-10 * true.abs().max()
    return {
        "step": point.step, "loss": _short(point.loss), "accuracy": point.accuracy,
        "hessian": [_short(one) for one in true.tolist()], "matrix": [_short(one) for one in own.tolist()],
        "matrix_error": _short(100 * float((B - point.hessian).norm() / size)),
        "error": _short(100 * float((own - true).norm() / size)), "least_error": _short(100 * float(rest / size)),
        "negative": int((own < -noise).sum()), "true_negative": int((true < -noise).sum()),
    }  # fmt: skip


def _short(number: float) -> float:
    return float(f"{number:.5g}")


def _least(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The line of the nearest matrix of rank m."""
    line: dict[str, Any] = {"method": "nearest of rank m"}
    for name in "ABC":
        least = statistics.median(row["metrics"][name]["least_error"] for row in rows)
        line |= {f"matrix error at {name}, %": least, f"eigenvalue error at {name}, %": least}
    return line


def _draw(rows: Sequence[dict[str, Any]], path: Path) -> Path:
    seed = min(row["seed"] for row in rows)
    shown = [row for row in rows if row["seed"] == seed]
    figure = Figure(figsize=(10, 3.4), layout="constrained", dpi=90)
    axes = figure.subplots(1, 3)
    for ax, name in zip(axes, "ABC", strict=True):
        point = shown[0]["metrics"][name]
        order = range(1, len(point["hessian"]) + 1)
        ax.plot(order, point["hessian"], color="#222222", linewidth=1.5, label="true Hessian")
        for row, colour, marker in zip(shown, COLOURS, "ox+", strict=False):
            ax.plot(order, row["metrics"][name]["matrix"], marker, color=colour, markersize=3.5, label=row["method"])
        ax.set_yscale("symlog", linthresh=1e-3)
        ax.set(title=f"{name}: step {point['step']}, loss {point['loss']:.3g}", xlabel="eigenvalue, in order")
        finish(ax, legend=name == "A")
    return save(figure, path)
