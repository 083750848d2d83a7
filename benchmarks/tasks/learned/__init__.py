"""Learned optimizers: the shipped weights of l2l and hierarchical on problems that they have not seen.

Problems are drawn from families: those of ``benchmarks.meta.problems``, some or all of which a network was trained on,
with other numbers than in training; and those of ``benchmarks.meta.outside``: other sizes, other activations, small
networks on scikit-learn's digits. What counts is log10 of the loss over the first loss, after the steps of the training
(100 in the default size) and after five times as many. All methods see the same problems, starts and mini-batches.

Adam, RMSprop and SGD have the best of eleven learning rates, 10^-4 to 10 a factor of 10^(1/2) apart, for each family
and each length, found on one draw of problems that no table uses; ``adam-untuned`` has 1e-3 throughout. The learned
ones are used as they are shipped: nothing is tuned.

Source: Andrychowicz et al. 2016 (l2l); Wichrowska et al. 2017 (hierarchical), who compare with tuned rates on held-out
problems.
Differs: their figures are of networks trained for days on other problems and give no numbers; the shipped weights were
trained in minutes. Only what these weights do is measured.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor
from tqdm import tqdm

import optimizers
from agents import records
from benchmarks.harness.experiment import Experiment, Size
from benchmarks.harness.race import Method
from benchmarks.meta.comparison import losses, reduction
from benchmarks.meta.outside import OUTSIDE
from benchmarks.meta.problems import FAMILIES, Family
from benchmarks.tasks.learned.report import draw_curves, draw_differences, findings, table
from optimizers.learned._learned import FOLDER

__all__ = ["LearnedOptimizers", "best_rates", "trained_on"]

RATES = tuple(float(f"{10 ** (k / 2):.3g}") for k in range(-8, 3))
BEYOND = 5
"""the longer trial has this many times the steps of the shorter"""
TUNED_ON = 1000
"""the number of the draw that rates are found on; trials have the numbers of their seeds"""
MARKS = 25
META_SEED = 0
"""of both shipped trainings: their numbers lie below HELD_OUT, ours from it on"""
PROBLEMS: dict[str, Family] = FAMILIES | OUTSIDE

Make = Callable[[list[Tensor]], torch.optim.Optimizer]


def trained_on(label: str) -> tuple[str, ...]:
    """The families that a learned optimizer's shipped weights were trained on, by its card; none for others."""
    path = FOLDER / f"{label}.json"
    return tuple(json.loads(path.read_text())["settings"]["families"]) if path.is_file() else ()


class LearnedOptimizers(Experiment):
    """A row a method and draw of problems."""

    name = "learned"
    title = "Learned optimizers: problems they have not seen"
    sizes: ClassVar[dict[str, Size]] = {
        "fast": Size(3, 1, {"problems": 4}), "default": Size(100, 2, {"problems": 64}),
        "full": Size(100, 5, {"problems": 256}),
    }  # fmt: skip
    methods: ClassVar[dict[str, Method]] = {
        "l2l": Method("l2l"),
        "hierarchical": Method("hierarchical"),
        "adam": Method("torch.adam"),
        "rmsprop": Method("torch.rmsprop"),
        "sgd": Method("torch.sgd"),
        "adam-untuned": Method("torch.adam", {"lr": 1e-3}),
    }

    @classmethod
    def labels(cls) -> list[str]:
        """All methods."""
        return list(cls.methods)

    @classmethod
    def settings(cls, label: str, size: Size, options: Mapping[str, Any]) -> dict[str, Any]:
        """The optimizer, the rates it has the best of, steps, the problems, and what its weights were trained on."""
        method = cls.methods[label]
        return {
            "optimizer": method.optimizer, "options": method.options, "steps": [size.steps, BEYOND * size.steps],
            "rates": list(RATES) if cls.has_rate(label) else None, "trained_on": list(trained_on(label)),
            "task": {**size.scale, **options},
        }  # fmt: skip

    @classmethod
    def has_rate(cls, label: str) -> bool:
        """Whether a method's rate is found for it."""
        return not trained_on(label) and "lr" not in cls.methods[label].options

    @classmethod
    def together(cls, label: str) -> bool:
        """All draws at once: they share the rates."""
        return True

    @classmethod
    def run(
        cls, label: str, seeds: Sequence[int], size: Size, options: Mapping[str, Any], *, quiet: bool = True
    ) -> list[dict[str, Any]]:
        """A row a draw."""
        settings, problems = cls.settings(label, size, options), size.scale["problems"]
        began = (time.perf_counter(), time.process_time())
        found: dict[int, dict[str, Any]] = {seed: {} for seed in seeds}
        for family, one in tqdm(PROBLEMS.items(), desc=label, disable=quiet):
            rates: Mapping[int, float | None] = dict.fromkeys(settings["steps"])
            if settings["rates"]:
                rates = best_rates(
                    lambda rate: cls.make(label, rate), one, settings["rates"], settings["steps"], problems
                )
            for seed in seeds:
                found[seed][family] = _measured(lambda rate: cls.make(label, rate), one, rates, problems, seed)
        wall, cpu = round(time.perf_counter() - began[0], 2), round(time.process_time() - began[1], 2)
        return [
            records.row(task=cls.name, method=label, settings=settings, seed=seed, trial=seed,
                        step=settings["steps"][-1], metrics={"families": found[seed]}, wall_seconds=wall,
                        cpu_seconds=cpu)
            for seed in seeds
        ]  # fmt: skip

    @classmethod
    def make(cls, label: str, rate: float | None) -> Make:
        """What makes the optimizer of stacked problems, with a rate if one is given."""
        method = cls.methods[label]
        options = dict(method.options) | ({} if rate is None else {"lr": rate})
        if trained_on(label):
            options["member_dims"] = 1
        return lambda params: optimizers.make(method.optimizer, params, **options)

    @classmethod
    def table(cls, rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        """A line a family."""
        return table(rows)

    @classmethod
    def findings(cls, rows: Sequence[dict[str, Any]]) -> list[str]:
        """Where the learned ones are below and above tuned Adam."""
        return findings(rows)

    @classmethod
    def draw(cls, rows: Sequence[dict[str, Any]], folder: Path) -> list[Path]:
        """Differences to tuned Adam by family, and some curves."""
        return [draw_differences(rows, folder / f"{cls.name}-differences.png"),
                draw_curves(rows, folder / f"{cls.name}-curves.png")]  # fmt: skip


def best_rates(
    make: Callable[[float], Make], family: Family, rates: Sequence[float], lengths: Sequence[int], problems: int
) -> dict[int, float]:
    """For each length the rate with the least mean reduction on the draw for tuning; one run a rate serves them all."""
    runs = {rate: losses(make(rate), family, members=problems, steps=max(lengths), seed=META_SEED, number=TUNED_ON)
            for rate in rates}  # fmt: skip
    return {steps: min(rates, key=lambda rate: float(reduction(runs[rate], steps).mean())) for steps in lengths}


def _measured(
    make: Callable[[float | None], Make], family: Family, rates: Mapping[int, float | None], problems: int, seed: int
) -> dict[str, Any]:
    """Reductions of each problem after each length, at the rate of this length, and the mean curve of the longest."""
    longest = max(rates)
    asked = {"members": problems, "seed": META_SEED, "number": seed}
    whole = losses(make(rates[longest]), family, steps=longest, **asked)
    values = {}
    for steps, rate in rates.items():
        # at one rate the shorter trial is the beginning of the longer one
        run = whole if rate == rates[longest] else losses(make(rate), family, steps=steps, **asked)
        values[str(steps)] = [round(one, 3) for one in reduction(run, steps).tolist()]
    marks = sorted({round(longest * k / MARKS) for k in range(MARKS + 1)})
    return {
        "lr": {str(steps): rate for steps, rate in rates.items()},
        "log10": values,
        "curve": {"step": marks, "log10": [round(float(reduction(whole, mark).mean()), 3) for mark in marks]},
    }
