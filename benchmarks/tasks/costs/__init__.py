"""What a step costs and what is kept between steps: measured, beside the formulas of the documents.

Bytes and evaluations are exact; times are medians over rounds in which all sizes take turns, each time with a fresh
optimizer whose memory has filled, in microseconds of the thread, so that other processes disturb all sizes alike. They
are times on one core in float32. Growth is the exponent p of time ~ size^p between the two largest sizes, and beside it
stands that of the published formula between the same two, without the evaluations of the loss.

d     weights of a bowl whose closure is cheap; its time is taken off
m     pairs (mL of adaQN and aSNAQ) at the largest d or a tenth of it;  mF  gradients of adaQN and aSNAQ, likewise
n     examples of a regression of 100 features, the closure's time included, in times of one gradient

Hessian products are the optimizer's own work: of a bowl each costs some passes over a vector. Where a matrix or the
pairs no longer fit the processor's caches, time grows faster than arithmetic does.

Source: Indrapriyadarsini (quasi-Newton methods, adaQN and aSNAQ: cost and storage); Berahas, Jahani and Takac (BFGS,
L-BFGS, SR1, L-SR1 and their sampled forms); lecture on optimization (Newton: d^3).
Differs: the documents count, they do not measure. Defaults of m, mF and L are this package's. Methods that need a
model's layers or outputs, or three closures (ProxProp, Hessian-free, oLMoQ-mb), are left out.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import torch

from agents import records
from benchmarks.harness.experiment import Experiment, Size
from benchmarks.tasks.costs.findings import findings, line_of
from benchmarks.tasks.costs.measures import Trial, bowl, regression
from benchmarks.tasks.costs.memory import UNIT, kept, storage, working
from benchmarks.tasks.costs.methods import METHODS, costed, memory_of
from benchmarks.tasks.costs.pictures import draw_bytes, draw_times

__all__ = ["Costs"]

PAIRS = (2, 4, 8, 16, 32)
GRADIENTS = (25, 50, 100, 200)
WIDTH = {1: 10, 2: 2, 3: 2}
"""factor between one d and the next, by the growth that is expected"""


class Costs(Experiment):
    """Time, bytes and evaluations of a step."""

    name = "costs"
    title = "Cost and storage of a step"
    sizes: ClassVar[dict[str, Size]] = {
        "fast": Size(0, 1, {"largest": 10_000, "examples": 1_000, "rounds": 1}),
        "default": Size(0, 3, {"largest": 1_000_000, "examples": 32_000, "rounds": 3}),
        "full": Size(0, 5, {"largest": 1_000_000, "examples": 32_000, "rounds": 9}),
    }

    @classmethod
    def labels(cls) -> list[str]:
        """All of the table."""
        return list(METHODS)

    @classmethod
    def check(cls, label: str) -> None:
        """Whether there is such a method."""
        costed(label)

    @classmethod
    def settings(cls, label: str, size: Size, options: Mapping[str, Any]) -> dict[str, Any]:
        """The optimizer with what decides its memory, and the sizes."""
        return {"optimizer": label, "options": {**costed(label).options, **memory_of(label)}, "task": dict(size.scale)}

    @classmethod
    def run(
        cls, label: str, seeds: Sequence[int], size: Size, options: Mapping[str, Any], *, quiet: bool = True
    ) -> list[dict[str, Any]]:
        """A row a seed."""
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            return [cls._row(label, seed, size, options) for seed in seeds]
        finally:
            torch.set_num_threads(threads)

    @classmethod
    def _row(cls, label: str, seed: int, size: Size, options: Mapping[str, Any]) -> dict[str, Any]:
        start = time.perf_counter(), time.process_time()
        metrics = {
            "storage": {name: list(one) for name, one in storage(label).items()},
            "in_use": working(label),
            **_swept(label, seed, **size.scale),
        }
        return records.row(
            task=cls.name, method=label, settings=cls.settings(label, size, options), seed=seed, trial=seed,
            metrics=metrics, wall_seconds=time.perf_counter() - start[0], cpu_seconds=time.process_time() - start[1],
        )  # fmt: skip

    @classmethod
    def table(cls, rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        """Formulas, bytes, evaluations and growth of each method, medians of the trials."""
        return [line_of(label, mine) for label, mine in _by_label(rows).items()]

    @classmethod
    def draw(cls, rows: Sequence[dict[str, Any]], folder: Path) -> list[Path]:
        """Time by weights and by pairs; bytes by weights."""
        found = _by_label(rows)
        return [
            draw_times(found, folder / f"{cls.name}-times.png"),
            draw_bytes(found, folder / f"{cls.name}-bytes.png"),
        ]

    @classmethod
    def findings(cls, rows: Sequence[dict[str, Any]]) -> list[str]:
        """Where measured and published differ."""
        return findings(_by_label(rows))


def _by_label(rows: Sequence[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    """Metrics of the trials by method."""
    found: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        found.setdefault(row["method"], []).append(row["metrics"])
    return found


def weights(label: str, largest: int) -> list[int]:
    """The numbers of weights that are tried, four of them."""
    one = costed(label)
    top = {1: largest // (10 if one.heavy else 1), 2: 2 * round(largest**0.5), 3: round(largest**0.5)}[one.growth]
    return [top // WIDTH[one.growth] ** i for i in (3, 2, 1, 0)]


def _swept(label: str, seed: int, *, largest: int, examples: int, rounds: int) -> dict[str, Any]:
    """Times by d, m, mF and n, each a dictionary of lists."""
    one, sizes = costed(label), memory_of(label)
    dims = weights(label, largest)
    pairs = next((name for name in ("m", "mL") if name in sizes), None)
    sweeps: dict[str, tuple[Sequence[int], Callable[[int], Trial]]] = {
        "d": (dims, lambda d: Trial(label, bowl(one.kind, d, seed))),
        "n": ([examples // 4**i for i in (3, 2, 1, 0)], lambda n: Trial(label, regression(one.kind, n, seed))),
    }
    if pairs:
        sweeps["m"] = (PAIRS, lambda m: Trial(label, bowl(one.kind, dims[-1] // one.part, seed), **{pairs: m}))
    if "mF" in sizes:
        sweeps["mF"] = (GRADIENTS, lambda mF: Trial(label, bowl(one.kind, dims[-1] // one.part, seed), mF=mF))
    return {name: _medians(at, make, rounds, gradients=name == "n") for name, (at, make) in sweeps.items()}


def _medians(at: Sequence[int], make: Callable[[int], Trial], rounds: int, *, gradients: bool) -> dict[str, Any]:
    """Medians over rounds in which the sizes take turns; ``gradients``: of whole steps, and of a gradient beside."""
    times: dict[int, list[tuple[float, float]]] = {size: [] for size in at}
    made: dict[int, dict[str, float]] = {}
    for _ in range(rounds):
        for size in at:
            trial = make(size).fill()
            one = trial.measured()
            times[size].append((one.whole, _gradient(trial)) if gradients else (one.besides, 0.0))
            numbers = sum(kept(trial.optimizer).values()) / UNIT / len(trial.problem.w)
            made[size] = {"numbers_a_weight": numbers, **one.evaluations}
    found = {"at": list(at)} | {name: [_digits(made[size][name], 6) for size in at] for name in made[at[0]]}
    for side, name in enumerate(("us", "gradient_us") if gradients else ("us",)):
        found[name] = [_digits(statistics.median(one[side] for one in times[size])) for size in at]
    return found


def _gradient(trial: Trial, calls: int = 5) -> float:
    """Microseconds of a gradient of a trial's loss."""
    start = time.thread_time()
    for _ in range(calls):
        trial.problem.gradient()
    return (time.thread_time() - start) / calls * 1e6


def _digits(value: float, digits: int = 4) -> float:
    return float(f"{value:.{digits}g}")
