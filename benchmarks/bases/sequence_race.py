"""Races on sequences: aSNAQ takes two gradients a step, the others one, and both steps and gradients are counted.

aSNAQ makes the steps of the size, the others twice as many, so that all have had the same number of gradients when they
end. Tables and pictures compare at equal steps and at equal gradients. What aSNAQ and adaQN look at besides, two losses
of a batch every five steps, is counted in the rows and not among the gradients.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from matplotlib.figure import Figure

from agents import records
from benchmarks.bases.module_task import ModuleTask
from benchmarks.harness.experiment import Size
from benchmarks.harness.race import Method, run
from benchmarks.reporting.intervals import wilson
from benchmarks.reporting.pictures import draw_band, finish, save, styles
from routing_env.plugins import nearest

__all__ = ["METHODS", "SequenceTask", "at_limit", "per_step"]

METHODS: dict[str, Method] = {
    "asnaq": Method("asnaq", {"lr": 0.3, "mL": 10}),
    "adaqn": Method("adaqn", {"lr": 0.01, "mL": 10}, length=2),
    "adagrad": Method("torch.adagrad", {"lr": 0.01}, length=2),
    "adam": Method("torch.adam", {"lr": 0.01}, length=2),
}
"""with the rates around which each task's are searched; 0.01 (aSNAQ) and 0.001 (Adam) left best ones at an edge"""
MARKS = 16


class SequenceTask(ModuleTask):
    """A race of aSNAQ, adaQN, Adagrad and Adam on a recurrent network.

    Attributes:
        choice: the option that decides about the network; its values are the keys of ``rates``.
        rates: learning rates by value of that option and method, found as the task says.
        other: a metric besides the loss, how it is called, and whether high is good.
    """

    stacked = False  # torch's recurrent layers are faster one network at a time than a loop over stacked ones
    methods: ClassVar[dict[str, Method]] = METHODS
    choice: ClassVar[str]
    rates: ClassVar[dict[str, dict[str, float]]]
    other: ClassVar[tuple[str, str, bool]]

    def marks(self) -> set[int]:
        """Sixteen, evenly spaced: half the last step is one of them."""
        return {max(1, round(self.steps * k / MARKS)) for k in range(1, MARKS + 1)}

    @classmethod
    def chosen(cls, options: Mapping[str, Any]) -> dict[str, Any]:
        """All options; a value of the choice that there is not is refused."""
        found = super().chosen(options)
        value = found[cls.choice]
        if value not in cls.rates:
            known = ", ".join(cls.rates)
            raise ValueError(f"{cls.choice} = {value!r} is none of {known}{nearest(str(value), list(cls.rates))}")
        return found

    @classmethod
    def _with_rate(cls, label: str, options: Mapping[str, Any]) -> dict[str, Any]:
        """The options of a method with the rate of the choice; other optimizers keep theirs."""
        found = cls.rates[options[cls.choice]].get(label)
        return cls.method(label).options | ({} if found is None else {"lr": found})

    @classmethod
    def settings(cls, label: str, size: Size, options: Mapping[str, Any]) -> dict[str, Any]:
        """As in every race, with the rate of the choice."""
        return super().settings(label, size, options) | {"options": cls._with_rate(label, options)}

    @classmethod
    def run(
        cls, label: str, seeds: Sequence[int], size: Size, options: Mapping[str, Any], *, quiet: bool = True
    ) -> list[dict[str, Any]]:
        """A row a seed, with the rate of the choice."""
        settings, method = cls.settings(label, size, options), cls.method(label)
        method = Method(method.optimizer, settings["options"], method.length)
        task = cls(seeds, cls.length(label, size), **size.scale, **options)
        return [
            records.row(task=cls.name, method=label, settings=settings, seed=seed, trial=seed, **ended)
            for seed, ended in zip(seeds, run(task, method, label=label, quiet=quiet), strict=True)
        ]

    @classmethod
    def table(cls, rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        """Mean training loss at equal steps and at equal gradients, the other metric then, and what it cost."""
        steps, gradients = _limits(rows)
        metric, called, _ = cls.other
        lines = []
        for label, mine in _by_method(rows).items():
            lines.append({
                "method": label,
                "lr": f"{mine[0]['settings']['options'].get('lr', float('nan')):g}",
                "trials": len(mine),
                f"loss at {steps} steps": _mean_or_none([at_limit(row, "loss", steps) for row in mine]),
                f"loss at {gradients} gradients": _mean_or_none(_at_gradients(mine, "loss", gradients)),
                f"{called} then": _mean_or_none(_at_gradients(mine, metric, gradients)),
                "losses besides": round(statistics.fmean(row["evaluations"]["losses"] for row in mine)),
                "returns": _returns(mine),
                "CPU seconds": statistics.fmean(row["cpu_seconds"] for row in mine),
            })  # fmt: skip
        return lines

    @classmethod
    def findings(cls, rows: Sequence[dict[str, Any]]) -> list[str]:
        """Who is lowest at equal steps and at equal gradients, and how often aSNAQ is below each of the others."""
        steps, gradients = _limits(rows)
        said = []
        for many, name, values in (
            (steps, "steps", {label: [at_limit(row, "loss", steps) for row in mine] for label, mine in
                              _by_method(rows).items()}),
            (gradients, "gradients", {label: _at_gradients(mine, "loss", gradients) for label, mine in
                                      _by_method(rows).items()}),
        ):  # fmt: skip
            means = {label: _mean_or_none(found) for label, found in values.items()}
            finite = {label: mean for label, mean in means.items() if mean is not None}
            if not finite:
                continue
            best = min(finite, key=lambda label: finite[label])
            told = ", ".join(f"`{label}` {mean:.3f}" for label, mean in sorted(finite.items(), key=lambda one: one[1]))
            said.append(f"Mean training loss after {many} {name} each: {told}; `{best}` is lowest.")
            said += _against(values, name)
        return said

    @classmethod
    def draw(cls, rows: Sequence[dict[str, Any]], folder: Path) -> list[Path]:
        """Training loss by step and by gradient, the other metric by gradient; a picture for each set of options."""
        groups: dict[str, list[dict[str, Any]]] = {}
        for row in rows:
            own = row["settings"]["task"]
            groups.setdefault("-".join(str(own[name]) for name in cls.options), []).append(row)
        return [cls._drawn(mine, folder / f"{cls.name}-{name}.png") for name, mine in groups.items()]

    @classmethod
    def _drawn(cls, rows: Sequence[dict[str, Any]], path: Path) -> Path:
        figure = Figure(figsize=(10, 3.4), layout="constrained", dpi=80)
        metric, called, _ = cls.other
        panels = [("loss", "training loss", False), ("loss", "training loss", True), (metric, called, True)]
        looks = styles(row["method"] for row in rows)
        steps, gradients = _limits(rows)
        for ax, (name, told, by_gradient) in zip(figure.subplots(1, 3), panels, strict=True):
            for label, mine in _by_method(rows).items():
                each = per_step(mine[0]) if by_gradient else 1
                curves = [row["metrics"]["curve"] for row in mine]
                longest = max((curve["step"] for curve in curves), key=len)
                shown = [step for step in longest if step * each <= (gradients if by_gradient else steps)]
                values = [curve[name][: len(shown)] for curve in curves]
                draw_band(ax, [step * each for step in shown], values, looks[label], label)
            ax.set(xlabel="gradient of a batch" if by_gradient else "step", ylabel=told)
            finish(ax, legend=ax is figure.axes[0])
        return save(figure, path)


def per_step(row: dict[str, Any]) -> float:
    """Gradients of a batch that a step took."""
    return float(row["evaluations"]["gradients"]) / int(row["step"])


def at_limit(row: dict[str, Any], metric: str, steps: float) -> float | None:
    """A metric at a row's last mark that is not after a number of steps; None where it was not finite or not yet."""
    curve = row["metrics"]["curve"]
    before = [place for place, step in enumerate(curve["step"]) if step <= steps]
    found: float | None = curve[metric][before[-1]] if before else None
    return found


def _at_gradients(rows: Sequence[dict[str, Any]], metric: str, gradients: float) -> list[float | None]:
    return [at_limit(row, metric, gradients / per_step(row)) for row in rows]


def _returns(rows: Sequence[dict[str, Any]]) -> float | None:
    """Mean number of times that a method went back to its anchor; None for methods without one."""
    found = [row["counters"]["n_resets"] for row in rows if "n_resets" in row["counters"]]
    return statistics.fmean(found) if found else None


def _limits(rows: Sequence[dict[str, Any]]) -> tuple[int, int]:
    """The most steps, and the most gradients, that all methods were given."""
    steps = min(row["settings"]["steps"] for row in rows)
    return steps, round(min(row["settings"]["steps"] * per_step(row) for row in rows))


def _by_method(rows: Sequence[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    return {label: [row for row in rows if row["method"] == label] for label in
            dict.fromkeys(row["method"] for row in rows)}  # fmt: skip


def _mean_or_none(values: Sequence[float | None]) -> float | None:
    """The mean; None where one is not finite."""
    finite = [one for one in values if one is not None]
    return statistics.fmean(finite) if finite and len(finite) == len(values) else None


def _against(values: Mapping[str, Sequence[float | None]], name: str) -> list[str]:
    """How often aSNAQ is below each of the others, trial by trial."""
    told = []
    for label, theirs in values.items():
        pairs = list(zip(values.get("asnaq", ()), theirs, strict=False))
        if label == "asnaq" or not pairs:
            continue
        wins = sum(ours is not None and (other is None or ours < other) for ours, other in pairs)
        low, high = wilson(wins, len(pairs))
        told.append(f"`{label}` in {wins} of {len(pairs)} trials ({100 * low:.0f} to {100 * high:.0f} %)")
    if not told:
        return []
    return [f"At equal {name} `asnaq` is below {', '.join(told)}; published: better than all of them."]
