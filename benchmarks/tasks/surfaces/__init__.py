"""Test functions: every deterministic optimizer on 23 functions, from their usual start and from random ones.

Seed 0 is the usual start, every other seed a point drawn evenly from the function's box. A function is solved by the
evaluation that finds its smallest value to 1e-6 (relative where that value is above 1). Evaluations are calls of the
function, with its gradient or without, and products of its Hessian with vectors; 2,000 at most. Functions named "2"
have two coordinates, those of any number n = 10; "many valleys" have local minima besides.

Peers: scipy's BFGS, L-BFGS-B and trust-krylov with exact gradients and products; differential evolution and dual
annealing see values alone, search the box, and get ten times as many evaluations, each of which costs a third of one
with a gradient or less.

Source: More, Garbow, Hillstrom 1981 and others, see `benchmarks/bases/functions.py`; profiles: Dolan, More 2002.
Differs: solved is judged by the value, not by the gradient. Methods have their default options, except the rates of
first order: the one of 1e-3, 1e-2, 1e-1 and 1 that solved most from the starts of seeds 100 and 101. Methods that want
residuals, a model or several batches are left out. Differential evolution replaces a whole generation at once.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import optimizers
from agents import records
from benchmarks.bases.functions import functions
from benchmarks.harness.experiment import Experiment, Size
from benchmarks.harness.race import Method
from benchmarks.tasks.surfaces import pictures, tables
from benchmarks.tasks.surfaces.problems import chosen_functions, start_of
from benchmarks.tasks.surfaces.runs import MOST, PEERS, Watched, outcome

__all__ = ["Surfaces"]

RATES = {"sgd": 0.01, "momentum": 0.001, "nag": 0.001, "rmsprop": 0.1, "adam": 1.0}
QUASI_NEWTON = (
    "bfgs", "dfp", "broyden_family", "broyden", "sr1_inverse", "sr1", "lbfgs", "lsr1", "naq", "lnaq", "moq", "lmoq",
    "mbfgs", "mnaq", "amnaq", "sr1n", "lsr1n", "mosr1", "lmosr1", "arclsr1", "slbfgs", "slsr1",
)  # fmt: skip
NEWTON = ("newton", "damped_newton", "newton_cg")


class Surfaces(Experiment):
    """Units are a method and a start; a row holds all functions."""

    name = "surfaces"
    title = "Test functions"
    sizes: ClassVar[dict[str, Size]] = {
        "fast": Size(0, 1, {"most": 60}), "default": Size(0, 5, {"most": MOST}), "full": Size(0, 20, {"most": MOST}),
    }  # fmt: skip
    options: ClassVar[dict[str, Any]] = {"n": 10}
    methods: ClassVar[dict[str, Method]] = {
        **{name: Method(name, {"lr": lr}) for name, lr in RATES.items()},
        "steepest_descent": Method("steepest_descent"),
        **{name: Method(name) for name in (*QUASI_NEWTON, *NEWTON)},
        "hessian_free": Method("hessian_free", {"product": "hessian"}),
        **{name: Method(name) for name in PEERS},
    }

    @classmethod
    def labels(cls) -> list[str]:
        """All methods and peers."""
        return list(cls.methods)

    @classmethod
    def check(cls, label: str) -> None:
        """Whether there is such a method, or an optimizer that wants nothing but a loss."""
        cls.method(label)

    @classmethod
    def method(cls, label: str) -> Method:
        """A method by label, or an optimizer by name with default options.

        Raises:
            ValueError: there is none, or it wants more than a loss; the text names the nearest.
        """
        if label in cls.methods:
            return cls.methods[label]
        if label not in optimizers.names():
            raise cls.unknown(label, [*cls.methods, *optimizers.names()])
        for name in ("residuals", "needs_model", "needs_parts"):
            if getattr(optimizers.pick(label), name, False):
                raise ValueError(f"{label} wants {name.removeprefix('needs_')}: test functions are a loss alone")
        return Method(label)

    @classmethod
    def chosen(cls, options: Mapping[str, Any]) -> dict[str, Any]:
        """All options; n is an even number, at least 2."""
        found = super().chosen(options)
        functions(found["n"])
        return found

    @classmethod
    def settings(cls, label: str, size: Size, options: Mapping[str, Any]) -> dict[str, Any]:
        """The optimizer with its options, and evaluations and coordinates."""
        method = cls.method(label)
        return {"optimizer": method.optimizer, "options": method.options, "task": {**size.scale, **options}}

    @classmethod
    def run(
        cls, label: str, seeds: Sequence[int], size: Size, options: Mapping[str, Any], *, quiet: bool = True
    ) -> list[dict[str, Any]]:
        """A row a start."""
        method, rows = cls.method(label), []
        settings = cls.settings(label, size, options)
        for seed in seeds:
            begun = (time.perf_counter(), time.process_time())
            runs = {
                name: outcome(
                    one, start_of(one, seed), method.optimizer, method.options, seed=seed, most=size.scale["most"]
                )
                for name, one in chosen_functions(options["n"]).items()
            }
            rows.append(
                records.row(
                    task=cls.name, method=label, settings=settings, seed=seed, trial=seed,
                    metrics={name: told(one, whole=not seed) for name, one in runs.items()},
                    evaluations={"calls": sum(one.calls for one in runs.values()),
                                 "products": sum(one.products() for one in runs.values())},
                    wall_seconds=round(time.perf_counter() - begun[0], 2),
                    cpu_seconds=round(time.process_time() - begun[1], 2),
                )
            )  # fmt: skip
        return rows

    @classmethod
    def table(cls, rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        """How many of the problems (a function and a start) each method solves, and with how many evaluations."""
        return tables.table(rows)

    @classmethod
    def draw(cls, rows: Sequence[dict[str, Any]], folder: Path) -> list[Path]:
        """Ways on contours, still and moving; curves; profiles; what is solved."""
        return pictures.draw(rows, folder, cls.name)

    @classmethod
    def findings(cls, rows: Sequence[dict[str, Any]]) -> list[str]:
        """Who solves most, and pairs of methods on the problems that both solve."""
        return tables.findings(rows)


def told(run: Watched, *, whole: bool) -> dict[str, Any]:
    """What a row says of a run: where and how it ended; the curve and the way too if ``whole``."""
    evaluations, iterations, value, distance = run.curve[-1]
    found: dict[str, Any] = {
        "end": run.end, "evaluations": evaluations, "iterations": iterations, "value": _short(value),
        "distance": _short(distance),
    }  # fmt: skip
    if whole:
        columns = [list(column) for column in zip(*run.curve, strict=True)]
        found["curve"] = {
            "evaluations": columns[0], "iterations": columns[1],
            "value": [_short(one) for one in columns[2]], "distance": [_short(one) for one in columns[3]],
        }  # fmt: skip
        if run.function.n == 2:
            found["way"] = [[_short(one, 4) for one in point] for point in [*run.way, run.at.tolist()]]
    return found


def _short(value: float | None, digits: int = 3) -> float | None:
    """A few digits; None where it is not finite."""
    return float(f"{value:.{digits}g}") if value is not None and math.isfinite(value) else None
