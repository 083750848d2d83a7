"""Analog circuit design: a network of 226 weights finds the sizes of an op-amp from its specification.

4-20-6, sigmoid hidden units, linear outputs. Inputs are open-loop gain, unity-gain bandwidth, phase margin and power of
1,500 two-stage op-amps simulated with ngspice (`benchmarks.makers.opamp`), outputs the widths of M1, M3, M5, M6, M7 and
the capacitor; the first 1,000 train, the others test. Bandwidth, power and sizes as logarithms; everything is scaled so
that the training data fills [-1, 1]. E = 1/2 mean (output - target)^2, full batch, 200 epochs; first weights
U(-0.5, 0.5).

A trial converges at the first epoch with E at most a quarter of what constant outputs reach; CR is the share of trials
that have by their end, and epochs counts 200 for the others. A trial goes on after that.

Source: Indrapriyadarsini et al., ISCAS 2020.
Differs: the published data and network are not public. Circuit, ranges, inputs, outputs and the number of designs are
ours (see `benchmarks.circuits.opamp`), with 20 hidden units there are 27 target numbers a weight; so errors do not
compare with the published ones, the order of the methods may. Six sizes from four numbers have many solutions: the
least E is far from 0. The published convergence criterion and the settings of SGD, AdaGrad and Adam are not known;
`-tuned` has the learning rate that `benchmarks.task_tuning` found. `-inf` is the norm in the secant condition of the
authors' program.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullLocator, StrMethodFormatter

from benchmarks.bases.regression import Regression, joined, three
from benchmarks.harness.experiment import Size
from benchmarks.harness.race import Method, numbers
from benchmarks.reporting.paired import compare
from benchmarks.reporting.pictures import draw_band, finish, save, styles
from benchmarks.tasks.circuit.designs import TRAIN, enough, scaled_designs

__all__ = ["Circuit"]

EPOCHS = 200
AUTHORS = {"line_search": "strong_wolfe", "rescale": False}
"""how the authors' program starts: a strong Wolfe search at the first step, H = I"""
INF = AUTHORS | {"secant_norm": "inf"}

PUBLISHED: dict[str, tuple[tuple[float, float, float], float | None, int, tuple[float, float, float]]] = {
    "sgd": ((66.402, 43.153, 113.334), None, 200, (68.428, 45.852, 118.620)),
    "adagrad": ((35.102, 26.927, 53.736), None, 200, (36.784, 29.450, 57.535)),
    "adam": ((11.777, 11.288, 16.394), None, 200, (13.576, 13.103, 17.860)),
    "bfgs": ((11.354, 11.287, 11.464), None, 200, (13.193, 13.142, 13.261)),
    "mnaq-0.8": ((10.010, 9.892, 11.194), 90, 161, (11.862, 11.610, 13.008)),
    "mnaq-0.85": ((10.005, 9.889, 11.097), 93.3, 156, (11.859, 11.616, 12.907)),
    "mnaq-0.9": ((9.966, 9.880, 10.478), 93.3, 156, (11.813, 11.603, 12.416)),
    "mnaq-0.95": ((10.305, 9.874, 11.328), 63.3, 178, (12.098, 11.477, 13.154)),
    "amnaq": ((9.997, 9.849, 11.285), 96.7, 146, (11.799, 11.546, 13.105)),
}
"""E on training data times 1000 (mean, best, worst of 30 trials), CR in %, mean epochs, E on test data times 1000"""
ORDER = (
    ("mnaq-0.8", "bfgs"), ("mnaq-0.85", "bfgs"), ("mnaq-0.9", "bfgs"), ("mnaq-0.95", "bfgs"), ("amnaq", "bfgs"),
    ("bfgs", "adam"), ("adam", "adagrad"), ("adagrad", "sgd"),
)  # fmt: skip
"""the published order: the first of each pair has the smaller mean"""


class Circuit(Regression):
    """The population of trials."""

    name = "circuit"
    title = "Analog circuit design: an op-amp's sizes from its specification"
    sizes: ClassVar[dict[str, Size]] = {
        "fast": Size(20, 2), "default": Size(EPOCHS, 30), "full": Size(EPOCHS, 30),
    }  # fmt: skip
    hidden = 20
    methods: ClassVar[dict[str, Method]] = {
        "sgd": Method("torch.sgd", {"lr": 0.1}),
        "adagrad": Method("torch.adagrad", {"lr": 0.1, "initial_accumulator_value": 0.1}),
        "adam": Method("torch.adam", {"lr": 0.01}),
        "bfgs": Method("bfgs"),
        "mnaq-0.8": Method("mnaq", {"mu": 0.8} | AUTHORS),
        "mnaq-0.85": Method("mnaq", {"mu": 0.85} | AUTHORS),
        "mnaq-0.9": Method("mnaq", {"mu": 0.9} | AUTHORS),
        "mnaq-0.95": Method("mnaq", {"mu": 0.95} | AUTHORS),
        "amnaq": Method("amnaq", AUTHORS),
        "mnaq-0.9-inf": Method("mnaq", {"mu": 0.9} | INF),
        "amnaq-inf": Method("amnaq", INF),
    }

    def __init__(self, seeds: Sequence[int], steps: int = EPOCHS, scale: str = "logarithms") -> None:
        self.designs = scaled_designs(scale)
        x, t = self.designs.x.mT, self.designs.t.mT  # (4, designs), (6, designs)
        super().__init__(seeds, steps, (x[:, :TRAIN], t[:, :TRAIN]), (x[:, TRAIN:], t[:, TRAIN:]))

    def marks(self) -> set[int]:
        """Every second epoch."""
        return {1, *range(2, self.steps + 1, 2)}

    @classmethod
    def table(cls, rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        """Mean, best and worst E times 1000, CR and epochs; beside the published."""
        lines = []
        for label in dict.fromkeys(row["method"] for row in rows):
            mine = [row for row in rows if row["method"] == label]
            train, rate, epochs, test = PUBLISHED.get(label.removesuffix("-tuned"), (None,) * 4)
            reached = [_converged(row) for row in mine]
            whole = [row["settings"]["steps"] if one is None else one for one, row in zip(reached, mine, strict=True)]
            lines.append(
                {
                    "method": label,
                    "E x 1000": three(numbers(mine, "loss")),
                    "published": joined(train),
                    "test x 1000": three(numbers(mine, "test_loss")),
                    "published test": joined(test),
                    "CR %": f"{100 * statistics.fmean(one is not None for one in reached):.1f}",
                    "published CR": None if rate is None else f"{rate:g}",
                    "epochs": round(statistics.fmean(whole)),
                    "published epochs": epochs,
                    "gradients": round(statistics.fmean(row["evaluations"]["gradients"] for row in mine)),
                }
            )
        return lines

    @classmethod
    def draw(cls, rows: Sequence[dict[str, Any]], folder: Path) -> list[Path]:
        """E on training designs by epoch: mean of the trials, and quartiles."""
        figure = Figure(figsize=(6.5, 4.5), layout="constrained", dpi=90)
        ax = figure.subplots()
        for label, look in styles(row["method"] for row in rows).items():
            curves = [row["metrics"]["curve"] for row in rows if row["method"] == label]
            losses = [[None if one is None else 1000 * one for one in curve["loss"]] for curve in curves]
            draw_band(ax, curves[0]["step"], losses, look, label)
        ax.axhline(1000 * enough(), color="#888888", linewidth=0.8, linestyle=":", label="converged")
        ax.set(yscale="log", xlabel="epoch", ylabel="E x 1000 on training designs", ylim=(25, 400))
        ax.yaxis.set_major_locator(LogLocator(10, (1, 2, 3, 5)))
        ax.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
        ax.yaxis.set_minor_locator(NullLocator())
        finish(ax, legend=False)
        ax.legend(frameon=False, fontsize=7, ncols=2)
        return [save(figure, folder / f"{cls.name}-curves.png")]

    @classmethod
    def findings(cls, rows: Sequence[dict[str, Any]]) -> list[str]:
        """The level of convergence, and the published order pair by pair."""
        said = [f"A trial has converged at E x 1000 <= {1000 * enough():.1f}."]
        results: dict[str, dict[int, float]] = {}
        for row, loss in zip(rows, numbers(rows, "loss"), strict=True):
            results.setdefault(row["method"], {})[row["seed"]] = loss
        for published in (ORDER, _better_settings(results)):
            pairs = [pair for pair in published if all(len(results.get(one, ())) > 1 for one in pair)]
            if pairs:
                said.append(_compared(results, pairs, "published order" if published is ORDER else "our settings"))
        return said


def _better_settings(results: dict[str, dict[int, float]]) -> list[tuple[str, str]]:
    """The published pairs again with tuned rates and the norm of the authors' program, where there are rows."""
    names = {"mnaq-0.9": "mnaq-0.9-inf", "amnaq": "amnaq-inf"}
    names |= {label: f"{label}-tuned" for label in ("sgd", "adagrad", "adam")}
    pairs = [(names.get(first, first), names.get(second, second)) for first, second in ORDER]
    return [pair for pair in pairs if pair not in ORDER and all(one in results for one in pair)]


def _compared(results: dict[str, dict[int, float]], pairs: Sequence[tuple[str, str]], what: str) -> str:
    parts = []
    for first, second, difference, p in compare(results, pairs):
        sign = "=" if p >= 0.05 else "<" if difference < 0 else ">"
        parts.append(f"`{first}` {sign} `{second}` (p {p:.2g})")
    return (
        f"E of trials in pairs, {what}, Wilcoxon's test with Holm's correction, = where p >= 0.05: {'; '.join(parts)}."
    )


def _converged(row: dict[str, Any]) -> int | None:
    """The first marked epoch at which a trial has converged."""
    curve = row["metrics"]["curve"]
    pairs = zip(curve["step"], curve["loss"], strict=True)
    return next((step for step, loss in pairs if loss is not None and loss <= enough()), None)
