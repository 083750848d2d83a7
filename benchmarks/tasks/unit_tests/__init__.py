"""Unit tests for stochastic optimization: 944 small tests, each of one difficulty, for every stochastic optimizer.

Shapes put together from pieces (bowls, slopes, kinks, cliffs, plateaus, valleys; 31 in one coordinate) by scale, noise
(none, additive, multiplicative, masked, Cauchy) and motion; 14 mixtures of them in 2 and in 10 coordinates. 100 steps
from 0, ten repetitions, every optimizer with the same seven rates from 1e-6 to 1 and otherwise its default options. A
test compares what is gained with what SGD gains with the best of 34 fixed rates; colours:

    blue    excellent: more than twice as much     yellow  variable: over a quarter of the repetitions gain nothing
    green   good: more than a tenth                violet  unstable: some repetitions are lost
    orange  slow: a tenth or less                  red     diverged: at least half of them are lost

Methods are compared by steps; many quasi-Newton methods take two gradients a step, oLMoQ's multi-batch form three.

Source: Schaul, Antonoglou, Silver, Unit tests for stochastic optimization, 2013 (arXiv 1312.6055) and the authors'
program, from which pieces, noises, scales, rates and colours are.
Differs: losses are compared without noise; kinks lie in the middle of their piece; motions are random walks; fewer
combined shapes, and a curved valley that theirs do not have. Options besides the rate are not varied here.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import optimizers
from agents import records
from benchmarks.harness.experiment import Experiment, Size
from benchmarks.harness.race import Method
from benchmarks.tasks.unit_tests import pictures, tables
from benchmarks.tasks.unit_tests.scores import judged

__all__ = ["UnitTests"]


class UnitTests(Experiment):
    """Units are methods; a row holds all tests and rates."""

    name = "unit-tests"
    title = "Unit tests of stochastic optimizers"
    sizes: ClassVar[dict[str, Size]] = {
        "fast": Size(100, 1, {"every": 37, "repetitions": 2, "rates": 1}),
        "default": Size(100, 1, {"every": 1, "repetitions": 10, "rates": 7}),
        "full": Size(100, 1, {"every": 1, "repetitions": 10, "rates": 7}),
    }
    methods: ClassVar[dict[str, Method]] = {name: Method(name) for name in tables.METHODS}

    @classmethod
    def labels(cls) -> list[str]:
        """All stochastic optimizers."""
        return list(cls.methods)

    @classmethod
    def check(cls, label: str) -> None:
        """Whether there is such an optimizer, and it takes a population and a loss."""
        cls.method(label)

    @classmethod
    def method(cls, label: str) -> Method:
        """An optimizer by name with default options.

        Raises:
            ValueError: there is none, or it cannot be run here; the text names the nearest.
        """
        if label in cls.methods:
            return cls.methods[label]
        if label not in optimizers.names():
            raise cls.unknown(label, optimizers.names())
        kind = optimizers.pick(label)
        wants = [name for name in ("residuals", "needs_model") if getattr(kind, name, False)]
        if wants or label in ("torch.lbfgs", "torch.adafactor") or not getattr(kind, "populations", True):
            raise ValueError(f"{label} cannot be run here: tests are a population with a loss each, and no model")
        return Method(label)

    @classmethod
    def settings(cls, label: str, size: Size, options: Mapping[str, Any]) -> dict[str, Any]:
        """The optimizer with its options, steps, and the size of the set."""
        method = cls.method(label)
        return {"optimizer": method.optimizer, "options": method.options, "steps": size.steps, "task": dict(size.scale)}

    @classmethod
    def run(
        cls, label: str, seeds: Sequence[int], size: Size, options: Mapping[str, Any], *, quiet: bool = True
    ) -> list[dict[str, Any]]:
        """A row a seed, which decides all noise."""
        method, rows = cls.method(label), []
        for seed in seeds:
            begun = (time.perf_counter(), time.process_time())
            metrics = judged(method.optimizer, method.options, steps=size.steps, seed=seed, **size.scale)
            rows.append(
                records.row(
                    task=cls.name, method=label, settings=cls.settings(label, size, options), seed=seed, trial=seed,
                    step=size.steps, metrics=metrics, wall_seconds=round(time.perf_counter() - begun[0], 1),
                    cpu_seconds=round(time.process_time() - begun[1], 1),
                )
            )  # fmt: skip
        return rows

    @classmethod
    def table(cls, rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        """Each method at its best single rate: share of tests of each colour, mean score; and how many rates work."""
        return tables.table(rows)

    @classmethod
    def draw(cls, rows: Sequence[dict[str, Any]], folder: Path) -> list[Path]:
        """The matrix of colours; shares by noise, scale, motion and shape; the shapes."""
        return pictures.draw(rows, folder, cls.name)

    @classmethod
    def findings(cls, rows: Sequence[dict[str, Any]]) -> list[str]:
        """The best methods, and what the paper says of its own set."""
        return tables.findings(rows)
