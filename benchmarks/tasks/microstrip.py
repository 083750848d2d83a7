"""Microstrip low-pass filter: a network of 227 weights gives |S11| and |S21| for a stub's length and a frequency.

2-45-2, sigmoid hidden units, linear outputs. Inputs are D and the frequency, 221 frequencies from 0.1 to 4.5 GHz; D of
12, 14, 16, 18 and 20 mm train (1,105 points), 13, 15, 17 and 19 mm test (884 points); inputs and outputs are scaled so
that the training points fill [-1, 1]. E = 1/2 mean (output - target)^2, full batch; first weights U(-0.5, 0.5). A trial
ends where the gradient's norm is at most 1e-6, or after the last step.

Source: Indrapriyadarsini et al., ICMLA 2018, example 2.
Differs: the published responses are not public. Ours are of a filter of our own, simulated with scikit-rf (see
`benchmarks.circuits.microstrip`), so errors do not compare with the published ones; the order of the methods may.
Settings of Adam, RMSprop and AdaGrad are defaults of TensorFlow as in function modelling (rates 1e-3, 1e-3 and 1e-2).
The published trials are 15 of 100,000 steps. `bfgs` is not in the published table.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from matplotlib.figure import Figure

from benchmarks.bases.regression import Points, Regression, joined, three
from benchmarks.circuits.microstrip import FREQUENCIES, shipped
from benchmarks.harness.experiment import Size
from benchmarks.harness.race import Method, numbers
from benchmarks.reporting.intervals import Estimate, mean_over_netlists
from benchmarks.reporting.pictures import COLOURS, draw_band, finish, save, styles

__all__ = ["Microstrip", "points"]

TRAIN, TEST = (12, 14, 16, 18, 20), (13, 15, 17, 19)
"""D, mm"""
SHOWN = 17
"""D of the response that a row keeps, mm"""
AUTHORS = {"line_search": "strong_wolfe", "rescale": False}
"""how the authors' program starts: a strong Wolfe search at the first step, H = I"""
OTHERS = ("mbfgs", "rmsprop", "adam", "adagrad")
"""what the published means of mNAQ are below"""

OVERFITTED = 10

Three = tuple[float, float, float]
PUBLISHED: dict[str, tuple[Three, Three, int]] = {
    "adagrad": ((26.6, 26.4, 26.7), (22.4, 22.3, 22.5), 100_000),
    "rmsprop": ((2.99, 2.44, 4.07), (7.00, 1.88, 36.0), 100_000),
    "adam": ((4.63, 3.67, 5.60), (37.0, 3.41, 212.5), 100_000),
    "mbfgs": ((1.04, 0.834, 1.46), (1.01, 0.529, 3.52), 81_457),
    "mnaq-0.8": ((0.93, 0.827, 1.37), (0.744, 0.534, 1.07), 38_470),
    "mnaq-0.85": ((1.02, 0.756, 1.62), (7.32, 5.75, 87.8), 39_678),
    "mnaq-0.9": ((1.00, 0.716, 1.46), (0.842, 0.558, 1.87), 30_619),
    "mnaq-0.95": ((1.24, 0.834, 1.85), (2.08, 0.600, 13.7), 26_547),
}
"""mean, best and worst of 15 trials of E times 1000 on training and on test points, mean iterations"""


class Microstrip(Regression):
    """The population of trials."""

    name = "microstrip"
    title = "Microstrip low-pass filter: 227 weights"
    sizes: ClassVar[dict[str, Size]] = {
        "fast": Size(300, 2), "default": Size(40_000, 5), "full": Size(100_000, 15),
    }  # fmt: skip
    tolerance = 1e-6
    hidden = 45
    methods: ClassVar[dict[str, Method]] = {
        "adagrad": Method("torch.adagrad", {"lr": 0.01, "initial_accumulator_value": 0.1}),
        "rmsprop": Method("torch.rmsprop", {"lr": 1e-3, "alpha": 0.9}),
        "adam": Method("torch.adam", {"lr": 1e-3}),
        "bfgs": Method("bfgs"),
        "mbfgs": Method("mbfgs", AUTHORS),
        "mnaq-0.8": Method("mnaq", {"mu": 0.8} | AUTHORS),
        "mnaq-0.85": Method("mnaq", {"mu": 0.85} | AUTHORS),
        "mnaq-0.9": Method("mnaq", {"mu": 0.9} | AUTHORS),
        "mnaq-0.95": Method("mnaq", {"mu": 0.95} | AUTHORS),
    }

    def __init__(self, seeds: Sequence[int], steps: int = 100_000) -> None:
        super().__init__(seeds, steps, points(TRAIN), points(TEST))

    def marks(self) -> set[int]:
        """Eight a decade, and the last step."""
        return {round(10 ** (i / 8)) for i in range(41)} | {self.steps}

    def notes(self) -> list[dict[str, Any]]:
        """Magnitudes at D = 17 mm, a length that no trial was trained on, and the simulated ones."""
        with torch.no_grad():
            found = self.outputs(points((SHOWN,))[0])
        own = {"d_mm": SHOWN, "f_ghz": _digits(FREQUENCIES)}
        own |= dict(zip(("simulated_s11", "simulated_s21"), map(_digits, shipped()[SHOWN]), strict=True))
        low, high = _ends()
        magnitudes = low + (found.numpy() + 1) / 2 * (high - low)  # (members, 2, 221)
        return [{"response": own | {"s11": _digits(s11), "s21": _digits(s21)}} for s11, s21 in magnitudes]

    @classmethod
    def table(cls, rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        """Mean, best and worst E times 1000, the mean's interval, test, iterations, seconds; beside the published."""
        lines = []
        for label in dict.fromkeys(row["method"] for row in rows):
            mine = [row for row in rows if row["method"] == label]
            train, test, steps = PUBLISHED.get(label, (None, None, None))
            mean = _mean(_by_method(mine, "loss")[label])
            lines.append(
                {
                    "method": label,
                    "E x 1000": three(numbers(mine, "loss")),
                    "95 % of mean": f"{1000 * mean.low:.3g} to {1000 * mean.high:.3g}",
                    "published": joined(train),
                    "test x 1000": three(numbers(mine, "test_loss")),
                    "published test": joined(test),
                    "steps": round(statistics.fmean(row["step"] for row in mine)),
                    "published steps": steps,
                    "converged": f"{sum(row['metrics']['end'] == 'converged' for row in mine)}/{len(mine)}",
                    "CPU seconds": max(row["cpu_seconds"] for row in mine),
                }
            )
        return lines

    @classmethod
    def draw(cls, rows: Sequence[dict[str, Any]], folder: Path) -> list[Path]:
        """E on the training points by step, and the responses of the trial with the least E."""
        figure = Figure(figsize=(6, 4), layout="constrained", dpi=90)
        ax = figure.subplots()
        for label, look in styles(row["method"] for row in rows).items():
            curves = [row["metrics"]["curve"] for row in rows if row["method"] == label]
            steps = max((curve["step"] for curve in curves), key=len)
            draw_band(ax, steps, [curve["loss"] for curve in curves], look, label)
        ax.set(xscale="log", yscale="log", xlabel="step", ylabel="E on the training points, mean of trials")
        finish(ax)
        return [save(figure, folder / f"{cls.name}-curves.png"), _draw_response(rows, folder)]

    @classmethod
    def findings(cls, rows: Sequence[dict[str, Any]]) -> list[str]:
        """Whether each mNAQ's mean is below those of the other methods, as published; the lowest means; overfitting."""
        losses, tested = _by_method(rows, "loss"), _by_method(rows, "test_loss")
        said = [
            _compared(label, losses[label], {other: losses[other] for other in OTHERS if other in losses})
            for label in losses
            if label.startswith("mnaq")
        ]
        lowest = []
        for what, found in (("training", losses), ("test", tested)):
            means = {label: statistics.fmean(one.values()) for label, one in found.items()}
            best = min(means, key=lambda label: means[label])
            lowest.append(f"on the {what} points by `{best}`, {1000 * means[best]:.3g}")
        said.append(f"The lowest mean E x 1000 is reached {', and '.join(lowest)}.")
        shares = []
        for label, one in losses.items():
            many = sum(not tested[label][seed] <= OVERFITTED * loss for seed, loss in one.items())
            if many:
                shares.append(f"`{label}` {many} of {len(one)}")
        said.append(
            f"Trials whose E on the test points is more than {OVERFITTED} times that on the training points, wrong "
            f"between the lengths of the training: {', '.join(shares) or 'none'}."
        )
        return [sentence for sentence in said if sentence]


@lru_cache(maxsize=1)
def _ends() -> tuple[Any, Any]:
    """Least and largest |S11| and |S21| of the training points, each (2, 1)."""
    whole = np.concatenate([shipped()[d] for d in TRAIN], 1)
    return whole.min(1, keepdims=True), whole.max(1, keepdims=True)


def points(lengths: Sequence[int]) -> Points:
    """Inputs (2, points), D and frequency, and targets (2, points), |S11| and |S21|, on the scale of the networks.

    Args:
        lengths: D, mm.
    """
    low, high = _ends()
    d, f = (one.ravel() for one in np.meshgrid(lengths, FREQUENCIES, indexing="ij"))
    x = np.stack([np.interp(d, (TRAIN[0], TRAIN[-1]), (-1, 1)), np.interp(f, FREQUENCIES[[0, -1]], (-1, 1))])
    t = 2 * (np.concatenate([shipped()[length] for length in lengths], 1) - low) / (high - low) - 1
    return torch.from_numpy(x), torch.from_numpy(t)


def _by_method(rows: Sequence[dict[str, Any]], metric: str) -> dict[str, dict[int, float]]:
    """Method -> seed -> a metric."""
    found: dict[str, dict[int, float]] = {}
    for row, value in zip(rows, numbers(rows, metric), strict=True):
        found.setdefault(row["method"], {})[row["seed"]] = value
    return found


def _mean(losses: dict[int, float]) -> Estimate:
    """The mean of seeds' numbers with its bootstrap interval; no interval where one is not finite."""
    if not all(map(math.isfinite, losses.values())):
        return Estimate(sum(losses.values()) / len(losses), math.nan, math.nan, len(losses))
    found = mean_over_netlists((str(seed), loss) for seed, loss in losses.items())
    assert found is not None
    return found


def _compared(label: str, own: dict[int, float], others: dict[str, dict[int, float]]) -> str:
    """A sentence: a method's E minus that of others on the same seeds, "above" or "below" where the interval is."""
    parts: dict[str, list[str]] = {"below": [], "not told apart from": [], "above": []}
    for other, theirs in others.items():
        differences = {seed: loss - theirs[seed] for seed, loss in own.items() if seed in theirs}
        if not differences:
            continue
        found = _mean(differences)
        where = "below" if found.high < 0 else "above" if found.low > 0 else "not told apart from"
        parts[where].append(
            f"`{other}` ({1000 * found.mean:+.3g}, {1000 * found.low:+.3g} to {1000 * found.high:+.3g})"
        )
    said = "; ".join(f"{where} {', '.join(which)}" for where, which in parts.items() if which)
    return f"`{label}`, mean E x 1000 less the other's in pairs of trials, with 95 % intervals: {said}." if said else ""


def _draw_response(rows: Sequence[dict[str, Any]], folder: Path) -> Path:
    best = min(rows, key=lambda row: numbers([row], "loss")[0])
    response = best["metrics"]["response"]
    figure = Figure(figsize=(6, 4), layout="constrained", dpi=90)
    ax = figure.subplots()
    for name, colour in (("s11", COLOURS[1]), ("s21", COLOURS[0])):
        shown = f"|S{name[1:]}|"
        ax.plot(response["f_ghz"], _decibels(response[f"simulated_{name}"]), color=colour, label=f"{shown} simulated")
        ax.plot(response["f_ghz"], _decibels(response[name]), color=colour, linestyle="--", label=f"{shown} network")
    title = f"D = {response['d_mm']} mm, not trained on; {best['method']}, trial {best['trial']}, training E x 1000 = "
    ax.set_title(title + f"{1000 * best['metrics']['loss']:.2g}", fontsize=9)
    ax.set(xlabel="frequency, GHz", ylabel="magnitude, dB", ylim=(-50, 3), xlim=(0, 4.5))
    finish(ax, legend=False)
    ax.legend(frameon=False, fontsize=7, loc="center", bbox_to_anchor=(0.64, 0.5))  # the stop band has room
    return save(figure, folder / f"{Microstrip.name}-response.png")


def _decibels(magnitudes: Sequence[float]) -> Any:
    """20 log10 of each; nothing is drawn where a network's magnitude is not above 0."""
    found = np.asarray(magnitudes, dtype=float)
    return 20 * np.log10(np.where(found > 0, found, np.nan))


def _digits(values: Any) -> list[float]:
    """Four decimals of each."""
    return [round(float(one), 4) for one in values]
