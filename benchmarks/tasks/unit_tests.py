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

import statistics
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import optimizers
from agents import records
from benchmarks import unit_pictures
from benchmarks.experiment import Experiment, Size
from benchmarks.race import Method
from benchmarks.unit_scores import CATEGORIES, judged, score
from routing_env.plugins import nearest

__all__ = ["UnitTests"]

FIRST_ORDER = (
    "sgd", "momentum", "nag", "adagrad", "rmsprop", "adadelta", "adam", "adamax", "nadam", "amsgrad", "torch.rprop",
    "torch.radam",
)  # fmt: skip
QUASI_NEWTON = (
    "obfgs", "olbfgs", "onaq", "olnaq", "omoq", "olmoq", "olmoq_mb", "osr1", "osr1n", "omosr1", "arclsr1", "sqn",
    "adaqn", "asnaq",
)  # fmt: skip
LEARNED = ("l2l", "hierarchical")
ADAPTIVE = ("adagrad", "rmsprop", "adadelta", "adam", "adamax", "nadam", "amsgrad", "torch.rprop", "torch.radam")
"""first order whose step length is the gradient's own affair"""


class UnitTests(Experiment):
    """Units are methods; a row holds all tests and rates."""

    name = "unit-tests"
    title = "Unit tests of stochastic optimizers"
    sizes: ClassVar[dict[str, Size]] = {
        "fast": Size(100, 1, {"every": 37, "repetitions": 2, "rates": 1}),
        "default": Size(100, 1, {"every": 1, "repetitions": 10, "rates": 7}),
        "full": Size(100, 1, {"every": 1, "repetitions": 10, "rates": 7}),
    }
    methods: ClassVar[dict[str, Method]] = {name: Method(name) for name in (*FIRST_ORDER, *QUASI_NEWTON, *LEARNED)}

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
            there = optimizers.names()
            raise ValueError(f"{cls.name} has no method {label!r}{nearest(label, there)}; it has: {', '.join(there)}")
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
        lines = []
        for row in rows:
            lr = unit_pictures.best_rate(row)
            letters = kept(row, lr)
            found = zip(row["metrics"]["percent"][lr], row["metrics"]["letters"][lr], strict=True)
            percents = [percent for percent, letter in found if letter != "-"]
            shares = {name: 100 * letters.count(letter) / len(letters) for letter, (name, _) in CATEGORIES.items()}
            lines.append(
                {
                    "method": row["method"],
                    "best rate": lr,
                    **{f"{name} %": round(share) for name, share in shares.items() if name != "left out"},
                    "score": statistics.fmean(-1.0 if one is None else score(one / 100) for one in percents),
                    "passed at some rate %": round(100 * statistics.fmean(passed_somewhere(row))),
                    "rates that pass half": sum(2 * passes(row, rate) >= 1 for rate in row["metrics"]["letters"]),
                    "seconds": row["cpu_seconds"],
                }
            )
        return lines

    @classmethod
    def draw(cls, rows: Sequence[dict[str, Any]], folder: Path) -> list[Path]:
        """The matrix of colours; shares by noise, scale, motion and shape; the shapes."""
        return unit_pictures.draw(rows, folder, cls.name)

    @classmethod
    def findings(cls, rows: Sequence[dict[str, Any]]) -> list[str]:
        """The best methods, and what the paper says of its own set."""
        by = {row["method"]: row for row in rows}
        best = sorted(by, key=lambda label: -passes(by[label], unit_pictures.best_rate(by[label])))
        shares = {label: passes(row, unit_pictures.best_rate(row)) for label, row in by.items()}
        said = ["Good or excellent with one rate for all tests: "
                + ", ".join(f"`{label}` {100 * shares[label]:.0f} %" for label in best[:5]) + "."]  # fmt: skip
        beaten = {
            label: kept(row, unit_pictures.best_rate(row)).count("E") / len(kept(row)) for label, row in by.items()
        }
        most = max(beaten, key=lambda label: beaten[label])
        said.append(
            "Published: well tuned SGD is hard to beat substantially. Here the method that does so most often, "
            f"`{most}`, gains more than twice as much on {100 * beaten[most]:.0f} % of the tests."
        )
        plain = [one for one in FIRST_ORDER if one not in ADAPTIVE]
        groups = {"adaptive first order": ADAPTIVE, "other first order": plain, "quasi-Newton": QUASI_NEWTON}
        spans = {}
        for what, members in groups.items():
            mine = [
                sum(2 * passes(by[one], lr) >= 1 for lr in by[one]["metrics"]["letters"])
                for one in members
                if one in by
            ]
            if mine:
                spans[what] = statistics.fmean(mine)
        if spans:
            said.append(
                "Published: the rate matters less to adaptive methods. Rates here that pass half of the tests, of "
                f"{len(rows[0]['metrics']['letters'])}: "
                + ", ".join(f"{what} {one:.1f}" for what, one in spans.items())
                + "."
            )
        return said


def kept(row: dict[str, Any], lr: str | None = None) -> str:
    """The letters of the tests that are not left out, at a rate or the first."""
    letters = row["metrics"]["letters"]
    return str(letters[lr or next(iter(letters))]).replace("-", "")


def passes(row: dict[str, Any], lr: str) -> float:
    """The share of tests that are good or excellent at a rate."""
    letters = kept(row, lr)
    return sum(letter in "EG" for letter in letters) / len(letters)


def passed_somewhere(row: dict[str, Any]) -> list[bool]:
    """Whether each test is good or excellent at some rate."""
    columns = zip(*row["metrics"]["letters"].values(), strict=True)
    return [any(letter in "EG" for letter in column) for column in columns if "-" not in column]
