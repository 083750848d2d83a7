"""Processes: sampled methods and momentum on overlapping batches, each batch divided over 1, 2 and 4 processes.

64-32-10, sigmoids, cross entropy, float64, 2,410 weights; scikit-learn's digits, drawn with replacement so that batches
may have any size. Each process evaluates its share of a batch; losses, gradients and Hessian products are averaged
(`optimizers`' `distribute`), by gloo, on this machine. A step of S-LSR1 and S-LBFGS sees all n digits, one of oLMoQ-mb
a window of three sub-batches of n / 3 digits that moves by one sub-batch a step; SGD makes an epoch, n / 60 steps of 60
digits, for each of their steps. Measured are the largest difference of any weight from the run of one process after all
steps, relative to the largest weight; what is averaged; and how long a step takes: by the clock, and of one process's
own processor time, which does not grow when other work or a lack of cores makes processes wait.

Source: Berahas, Jahani, Takac 2019, figure of an epoch of SGD and a step of S-LSR1 over MPI processes; the multi-batch
strategy with distributed momentum, future work of Indrapriyadarsini's lecture (after Berahas, Nocedal, Takac 2016).
Differs: the figure has a million pictures on a cluster, and a network that is not known. Here are processes of one
machine: on fewer cores than processes the clock says nothing about scaling.
"""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from matplotlib.figure import Figure

from agents import records
from benchmarks.harness.experiment import Experiment, Size
from benchmarks.reporting.pictures import finish, save, styles
from benchmarks.tasks.processes.group import together
from benchmarks.tasks.processes.shares import METHODS, trial

__all__ = ["Processes"]

Cell = dict[str, Any]
SAME = 1e-9
"""relative difference of weights up to which trajectories are called the same"""


class Processes(Experiment):
    """A row a method and seed."""

    name = "processes"
    title = "Processes: one trajectory, divided work"
    sizes: ClassVar[dict[str, Size]] = {
        "fast": Size(2, 1, {"digits": [600], "processes": [1, 2]}),
        "default": Size(5, 2, {"digits": [600, 2400, 9600], "processes": [1, 2, 4]}),
        "full": Size(20, 5, {"digits": [600, 2400, 9600, 38400], "processes": [1, 2, 4, 8]}),
    }

    @classmethod
    def labels(cls) -> list[str]:
        """The four methods."""
        return list(METHODS)

    @classmethod
    def settings(cls, label: str, size: Size, options: Mapping[str, Any]) -> dict[str, Any]:
        """The optimizer with its options, steps, digits and processes."""
        method = METHODS[label]
        return {"optimizer": method.optimizer, "options": method.options, "steps": size.steps,
                "task": {**size.scale, **options}}  # fmt: skip

    @classmethod
    def together(cls, label: str) -> bool:
        """All seeds: processes take longer to start than to work."""
        return True

    @classmethod
    def run(
        cls, label: str, seeds: Sequence[int], size: Size, options: Mapping[str, Any], *, quiet: bool = True
    ) -> list[dict[str, Any]]:
        """A row a seed."""
        begun, found = time.perf_counter(), {}
        for processes in size.scale["processes"]:
            found[processes] = together(trial, processes, label, seeds, size.scale["digits"], size.steps)
        seconds = (time.perf_counter() - begun) / len(seeds)
        rows = []
        for seed in seeds:
            cells = [_cell(count, processes, [one[seed, count] for one in found[processes]], found[1][0][seed, count])
                     for count in size.scale["digits"] for processes in size.scale["processes"]]  # fmt: skip
            spent = sum(sum(one[seed, count]["cpu"]) for ranks in found.values() for one in ranks
                        for count in size.scale["digits"])  # fmt: skip
            metrics = {"cells": cells, "cores": len(os.sched_getaffinity(0))}
            rows.append(records.row(
                task=cls.name, method=label, settings=cls.settings(label, size, options), seed=seed, trial=seed,
                step=size.steps, metrics=metrics, wall_seconds=seconds, cpu_seconds=spent,
            ))  # fmt: skip
        return rows

    @classmethod
    def table(cls, rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        """A line a method, number of digits and number of processes; medians over the trials."""
        lines = []
        for label in dict.fromkeys(row["method"] for row in rows):
            cells = [cell for row in rows if row["method"] == label for cell in row["metrics"]["cells"]]
            for count, processes in dict.fromkeys((cell["digits"], cell["processes"]) for cell in cells):
                mine = [cell for cell in cells if (cell["digits"], cell["processes"]) == (count, processes)]
                lines.append({
                    "method": label, "digits": count, "processes": processes,
                    "ms a step": _middle(mine, "wall_ms"), "CPU ms of a process": _middle(mine, "cpu_ms"),
                    "all-reduces": _middle(mine, "calls"), "numbers a step": f"{_middle(mine, 'numbers'):,.0f}",
                    "kB a step": _middle(mine, "bytes") / 1000,
                    "largest difference": f"{max(cell['difference'] for cell in mine):.1e}",
                    "loss": _middle(mine, "loss_after"),
                })  # fmt: skip
        return lines

    @classmethod
    def findings(cls, rows: Sequence[dict[str, Any]]) -> list[str]:
        """Whether trajectories are one, what a process's share of the work is, what is sent, what the clock can say."""
        said = [_same(rows)]
        most = max(cell["digits"] for row in rows for cell in row["metrics"]["cells"])
        for label in dict.fromkeys(row["method"] for row in rows):
            cells = [cell for row in rows if row["method"] == label for cell in row["metrics"]["cells"]]
            said.append(_shared(label, cells, most))
        return [*said, *_sent(rows), *_cores(rows)]

    @classmethod
    def draw(cls, rows: Sequence[dict[str, Any]], folder: Path) -> list[Path]:
        """Time of a step over processes at the most digits; bytes of a step over digits."""
        figure = Figure(figsize=(10, 3.4), layout="constrained", dpi=90)
        axes = figure.subplots(1, 3)
        most = max(cell["digits"] for row in rows for cell in row["metrics"]["cells"])
        for label, look in styles(row["method"] for row in rows).items():
            cells = [cell for row in rows if row["method"] == label for cell in row["metrics"]["cells"]]
            processes = sorted({cell["processes"] for cell in cells})
            for ax, name in zip(axes, ("wall_ms", "cpu_ms"), strict=False):
                values = [_at(cells, most, one, name) for one in processes]
                ax.plot(processes, values, marker="o", markersize=3, label=label, **look)
            counts = sorted({cell["digits"] for cell in cells})
            values = [_at(cells, count, max(processes), "bytes") / 1000 for count in counts]
            axes[2].plot(counts, values, marker="o", markersize=3, label=label, **look)
        axes[0].set(ylabel=f"ms a step by the clock, {most} digits")
        axes[1].set(ylabel="ms of a process's processor time a step")
        for ax in axes[:2]:
            ax.set(xlabel="processes", xscale="log", yscale="log")
            ax.set_xticks(processes, [str(one) for one in processes], minor=False)
            ax.minorticks_off()
        axes[2].set(xlabel="digits a step", ylabel="kB averaged a step", xscale="log", yscale="log")
        for place, ax in enumerate(axes):
            finish(ax, legend=place == 2)
        return [save(figure, folder / f"{cls.name}-times.png")]


def _cell(count: int, processes: int, ranks: list[dict[str, Any]], single: dict[str, Any]) -> Cell:
    """What a row says of a number of digits and of processes; ranks are what each process found."""
    first, steps = ranks[0], len(ranks[0]["wall"])
    size = float(np.abs(single["weights"]).max())
    return {
        "digits": count, "processes": processes,
        "wall_ms": _short(1000 * statistics.median(first["wall"])),
        "cpu_ms": _short(1000 * statistics.median(one for rank in ranks for one in rank["cpu"])),
        "difference": _short(float(np.abs(first["weights"] - single["weights"]).max()) / size),
        "one_trajectory": all(np.array_equal(first["weights"], rank["weights"]) for rank in ranks),
        "calls": first["sent"].calls / steps, "numbers": first["sent"].numbers / steps,
        "bytes": first["sent"].bytes / steps,
        "loss_before": _short(first["losses"][0]), "loss_after": _short(first["losses"][1]),
    }  # fmt: skip


def _short(number: float) -> float:
    return float(f"{number:.4g}")


def _middle(cells: Sequence[Cell], name: str) -> float:
    return float(statistics.median(cell[name] for cell in cells))


def _at(cells: Sequence[Cell], count: int, processes: int, name: str) -> float:
    return _middle([cell for cell in cells if (cell["digits"], cell["processes"]) == (count, processes)], name)


def _same(rows: Sequence[dict[str, Any]]) -> str:
    cells = [(row["method"], cell) for row in rows for cell in row["metrics"]["cells"] if cell["processes"] > 1]
    if not cells:
        return "One process alone: nothing to compare."
    apart = {label for label, cell in cells if not cell["one_trajectory"] or cell["difference"] > SAME}
    far = max(cell["difference"] for _, cell in cells)
    steps = max(row["step"] for row in rows)
    holds = f"not of {', '.join(sorted(apart))}" if apart else "of all methods"
    return (
        f"Several processes walk the trajectory of one, {holds}: after {steps} steps no weight differs by more than "
        f"{far:.0e} of the largest."
    )


def _shared(label: str, cells: Sequence[Cell], most: int) -> str:
    processes = sorted({cell["processes"] for cell in cells})
    spent = {one: _at(cells, most, one, "cpu_ms") for one in processes}
    parts = [f"{spent[one]:.3g} ms with {one} (equal shares: {spent[processes[0]] / one:.3g})" for one in processes[1:]]
    return (
        f"`{label}`, {most} digits: a process works {spent[processes[0]]:.3g} ms a step alone, "
        f"{', '.join(parts) or 'and was not joined by others'}."
    )


def _sent(rows: Sequence[dict[str, Any]]) -> list[str]:
    said = []
    for label in dict.fromkeys(row["method"] for row in rows):
        cells = [cell for row in rows if row["method"] == label for cell in row["metrics"]["cells"]
                 if cell["processes"] > 1]  # fmt: skip
        sizes = sorted({cell["digits"] for cell in cells})
        if len(sizes) > 1:
            few, many = (_middle([c for c in cells if c["digits"] == one], "numbers") for one in (sizes[0], sizes[-1]))
            said.append(f"`{label}` {few:,.0f} numbers with {sizes[0]} digits, {many:,.0f} with {sizes[-1]}")
    return [f"Averaged in a step (an epoch of SGD): {'; '.join(said)}."] if said else []


def _cores(rows: Sequence[dict[str, Any]]) -> list[str]:
    cores = min(row["metrics"]["cores"] for row in rows)
    beyond = sorted({cell["processes"] for row in rows for cell in row["metrics"]["cells"]
                     if cell["processes"] > cores})  # fmt: skip
    names = ", ".join(str(one) for one in beyond)
    return [
        f"The machine has {cores} cores, and other work ran on it: "
        + (f"its clock says nothing about scaling to {names} processes, only processor times do." if beyond
           else "times by the clock are longer than they would be alone.")
    ]  # fmt: skip
