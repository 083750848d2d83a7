"""Networks trained on all examples at every step: how soon the classical and the sampled methods sort everything right.

What a method costs is told three ways: in steps; in evaluations, where a call of the loss, with its gradient or
without, and a product of the Hessian with a vector count one each; and in seconds of the processor. Products are spread
evenly over the steps. Trials run one at a time, so that all three are a trial's own.
"""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Mapping, Sequence
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any, ClassVar

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.bases.module_task import ModuleTask
from benchmarks.harness.experiment import Size
from benchmarks.harness.race import Method, numbers, run
from benchmarks.reporting.intervals import wilson
from benchmarks.reporting.pictures import draw_band, finish, save, styles

__all__ = ["CLASSICAL", "SAMPLED", "FullBatch", "draw_costs", "network", "said_of", "summary", "when"]

Row = dict[str, Any]
TRUST = {"subproblem": "steihaug", "radius": "basic"}
"""the trust region of the authors' program"""
CLASSICAL = {
    "BFGS": Method("bfgs"),
    "L-BFGS": Method("lbfgs", {"m": 10}),
    "SR1": Method("sr1", TRUST),
    "L-SR1": Method("lsr1", TRUST | {"m": 10}),
}
SAMPLED = {
    "S-LSR1": Method("slsr1", {"m": 10}),
    "S-LBFGS": Method("slbfgs", {"m": 10}),
}
EVERY, GROWTH = 20, 1.08
"""steps after which the curve is measured: each of the first, then ever fewer"""
COSTS = {"step": "steps", "evaluations": "evaluations", "seconds": "seconds of the processor"}


class FullBatch(ModuleTask):
    """One network of a trial; cross entropy."""

    batch = 1 << 40
    stacked = False
    goal: ClassVar[float]
    """accuracy in % that a trial is to reach"""

    def __init__(self, seeds: Sequence[int], steps: int, x: Tensor, t: Tensor) -> None:
        super().__init__(seeds, steps, x, t)
        self.calls, self.begun = 0, time.process_time()

    @classmethod
    def run(
        cls, label: str, seeds: Sequence[int], size: Size, options: Mapping[str, Any], *, quiet: bool = True
    ) -> list[Row]:
        """A row a seed, after a step that does not count: at the first one torch loads half of itself."""
        run(cls(seeds[:1], 1, **size.scale, **options), cls.method(label))
        return super().run(label, seeds, size, options, quiet=quiet)

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Cross entropy."""
        return functional.cross_entropy(outputs, targets)

    def losses(self, step: int, call: int) -> Tensor:
        """The mean loss over all examples."""
        self.calls += 1
        return super().losses(step, call)

    def measure(self) -> dict[str, Tensor]:
        """Loss and accuracy in % on the training examples; calls of the loss and seconds of the processor so far."""
        loss, accuracy = self.accuracy(self.x, self.t)
        spent = time.process_time() - self.begun
        return {"loss": loss, "accuracy": accuracy, "calls": loss.new_full((len(loss),), self.calls),
                "seconds": loss.new_full((len(loss),), round(spent, 3))}  # fmt: skip

    def marks(self) -> set[int]:
        """Every step at first, then ever fewer."""
        found, mark = {*range(1, EVERY + 1), self.steps}, float(EVERY)
        while mark < self.steps:
            found.add(math.floor(mark))
            mark *= GROWTH
        return {one for one in found if one <= self.steps}


def network(sizes: Sequence[int]) -> nn.Sequential:
    """Layers of these widths with sigmoids between them."""
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise(sizes):
        layers += [nn.Linear(inputs, outputs), nn.Sigmoid()]
    return nn.Sequential(*layers[:-1])


def costs(row: Row) -> dict[str, list[float]]:
    """Steps, evaluations and seconds at the points of a trial's curve."""
    curve = row["metrics"]["curve"]
    products = row["counters"].get("n_products", 0) / max(1, row["step"])  # a step
    evaluations = [calls + products * step for calls, step in zip(curve["calls"], curve["step"], strict=True)]
    return {"step": curve["step"], "evaluations": evaluations, "seconds": curve["seconds"]}


def when(row: Row, goal: float) -> dict[str, float] | None:
    """Steps, evaluations and seconds at the first point with this accuracy; None where there is none."""
    reached = [one is not None and one >= goal for one in row["metrics"]["curve"]["accuracy"]]
    if not any(reached):
        return None
    return {name: values[reached.index(True)] for name, values in costs(row).items()}


def by_method(rows: Sequence[Row]) -> dict[str, list[Row]]:
    """The rows of each method, in the order of the methods."""
    return {label: [row for row in rows if row["method"] == label]
            for label in dict.fromkeys(row["method"] for row in rows)}  # fmt: skip


def summary(rows: Sequence[Row], goal: float) -> list[dict[str, Any]]:
    """A line a method: trials that reached the goal, medians of what it cost them, the ends of all trials."""
    lines = []
    for label, mine in by_method(rows).items():
        reached = [cost for row in mine if (cost := when(row, goal)) is not None]
        line: dict[str, Any] = {"method": label, f"reached {goal:g} %": f"{len(reached)}/{len(mine)}"}
        for name, shown in (("step", "steps"), ("evaluations", "evaluations"), ("seconds", "CPU seconds")):
            found = statistics.median(cost[name] for cost in reached) if reached else None
            line[shown] = found if name == "seconds" or found is None else round(found)
        line["last loss, median"] = f"{statistics.median(numbers(mine, 'loss')):.3g}"
        line["last accuracy, mean"] = statistics.fmean(numbers(mine, "accuracy"))
        line["steps made"] = round(statistics.fmean(row["step"] for row in mine))
        line["CPU ms a step"] = f"{1000 * _seconds_a_step(mine):.3g}"
        lines.append(line)
    return lines


def _seconds_a_step(rows: Sequence[Row]) -> float:
    return statistics.fmean(row["cpu_seconds"] / max(1, row["step"]) for row in rows)


def said_of(rows: Sequence[Row], goal: float) -> list[str]:
    """How often each method reached the goal, which was cheapest by each cost, and the documents' claims."""
    methods = by_method(rows)
    reached = {label: [cost for row in mine if (cost := when(row, goal))] for label, mine in methods.items()}
    parts = []
    for label, mine in methods.items():
        low, high = wilson(len(reached[label]), len(mine))
        parts.append(f"`{label}` {len(reached[label])} of {len(mine)} ({100 * low:.0f} to {100 * high:.0f} %)")
    said = [f"Trials that reach {goal:g} %, with intervals of 95 %: {', '.join(parts)}."]
    shares = {label: Fraction(len(reached[label]), len(mine)) for label, mine in methods.items()}
    surest = [label for label, share in shares.items() if share and share == max(shares.values())]
    if surest:
        said.append(_cheapest({label: reached[label] for label in surest}))
    return said + _slow_first_order(methods, reached) + _comparable(methods)


def _cheapest(reached: dict[str, list[dict[str, float]]]) -> str:
    parts = []
    for name, shown in COSTS.items():
        medians = {label: statistics.median(cost[name] for cost in found) for label, found in reached.items()}
        best = min(medians, key=lambda label: medians[label])
        parts.append(f"`{best}` by {shown} (median {medians[best]:.3g})")
    names = ", ".join(f"`{label}`" for label in reached)
    return f"Of those that reach it in the largest share of their trials ({names}) the cheapest: {', '.join(parts)}."


def _slow_first_order(methods: dict[str, list[Row]], reached: dict[str, list[dict[str, float]]]) -> list[str]:
    first = [label for label in ("GD", "Adam") if label in methods]
    if not first:
        return []
    failed = {label: len(methods[label]) - len(reached[label]) for label in first}
    what = ", ".join(f"`{label}` in {failed[label]} of {len(methods[label])} trials" for label in first)
    holds = "holds" if any(failed.values()) else "does not hold"
    return [f"That first-order methods sometimes miss the goal {holds} here: {what}, in as many steps as they had."]


def _comparable(methods: dict[str, list[Row]]) -> list[str]:
    said = []
    for sampled, classical in (("S-LSR1", "L-SR1"), ("S-LBFGS", "L-BFGS")):
        if sampled in methods and classical in methods:
            factor = _seconds_a_step(methods[sampled]) / _seconds_a_step(methods[classical])
            holds = "holds" if factor <= 2 else "does not hold"
            said.append(
                f"That a step of a sampled method costs about what one of its classical form does {holds} here: "
                f"`{sampled}` takes {factor:.1f} times the seconds of `{classical}`."
            )
    return said


def draw_costs(rows: Sequence[Row], path: Path) -> Path:
    """Accuracy over steps and over evaluations, mean of the trials; loss over seconds of the processor, median."""
    figure = Figure(figsize=(10, 3.4), layout="constrained", dpi=90)
    axes = figure.subplots(1, 3)
    methods, looks = by_method(rows), styles(row["method"] for row in rows)
    for ax, (cost, shown) in zip(axes, COSTS.items(), strict=True):
        metric = "loss" if cost == "seconds" else "accuracy"
        for label, mine in methods.items():
            _draw(ax, mine, cost, metric, looks[label], label)
        name = "loss, median of the trials" if metric == "loss" else "accuracy, mean of the trials, %"
        ax.set(xscale="log", xlabel=shown, ylabel=name)
        if metric == "loss":
            ax.set(yscale="log", ylim=(1e-6, None))
        finish(ax, legend=cost == "step")
    return save(figure, path)


def _draw(ax: Axes, rows: Sequence[Row], cost: str, metric: str, look: dict[str, Any], label: str) -> None:
    """Curves over a cost whose values differ between trials: its mean at each step stands for it."""
    longest = max((row["metrics"]["curve"]["step"] for row in rows), key=len)
    spent = [costs(row)[cost] for row in rows]
    at = [statistics.fmean(one[k] for one in spent if k < len(one)) for k in range(len(longest))]
    at = [max(one, 1e-3) for one in at]
    values = [row["metrics"]["curve"][metric] for row in rows]
    draw_band(ax, at, values, look, label, middle="median" if metric == "loss" else "mean")
