"""Op-amps that networks propose, simulated again: 50 requests to each network of the circuit experiment.

A request is the gain, bandwidth, phase margin and power of a design that no network was trained on and that exceeds the
published specification (above 1 MHz, 50 dB and 60 degrees). A network is asked for more than that: 2 dB, 10 % of
bandwidth and 4 degrees more, 5 % of power less. Of the test designs whose asked point lies inside the range of the
training data these are the 50 that exceed the specification by least, in units of those margins. ngspice then says
whether the proposed sizes work and exceed the published specification, and whether they are at least as good as the
request in all four numbers, or in all but power. Shares are mean / least of the trials, deviations from the asked point
medians of the requests, averaged over the trials.

Many sizes give the same numbers, and a network learns their mean. Logarithms make that mean a good design: gain,
bandwidth and power are nearly products of powers of the sizes, so equal numbers lie nearly on a plane of logarithms.
`scale=lengths` trains networks on the sizes as they are.

`nearest` proposes the training design that lies nearest to the asked point, and `look-up` the nearest of those that
meet the request, where there is one: what can be had without a network.

Source: Indrapriyadarsini et al., ISCAS 2020 (the specification).
Differs: how the published designs were checked is not known; requests and margins are ours. Needs ngspice (Debian's
package of that name).
"""

from __future__ import annotations

import shutil
import statistics
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch

from agents import records
from benchmarks.circuits.opamp import BEHAVIOUR, MISSING, SIZES, SPECIFICATION, Array, meets, shipped, simulate, works
from benchmarks.harness.experiment import Experiment, Size
from benchmarks.harness.race import run
from benchmarks.tasks.circuit import EPOCHS, Circuit
from benchmarks.tasks.circuit.designs import TRAIN, scaled_designs
from benchmarks.tasks.opamp_proposals.pictures import draw_boxes, draw_scatter

__all__ = ["OpampProposals", "asked", "requests"]

REQUESTS = 50
MARGINS = {"gain": (1.0, 2.0), "ugb": (1.1, 0.0), "pm": (1.0, 4.0), "power": (0.95, 0.0)}
"""factor and addend of what a network is asked for"""
WITHOUT = ("nearest", "look-up")
"""methods without a network"""


def requests() -> dict[str, Array]:
    """``BEHAVIOUR`` of what is requested, each (50,)."""
    designs = shipped()
    tests = {name: designs[name][TRAIN:] for name in BEHAVIOUR}
    inside = (scaled_designs().scaled(asked(tests)).abs() <= 1).all(1).numpy()
    places = np.flatnonzero(inside & (excess(tests) > 0))
    places = places[np.argsort(excess(tests)[places], kind="stable")][:REQUESTS]
    return {name: tests[name][places] for name in BEHAVIOUR}


def excess(found: Mapping[str, Array]) -> Array:
    """How far designs, (designs,), exceed the published specification where by least, in margins."""
    over = []
    for name, least in SPECIFICATION.items():
        factor, more = MARGINS[name]
        over.append((found[name] - least) / ((factor - 1) * least + more))
    return np.min(over, axis=0)


def asked(requested: Mapping[str, Array]) -> dict[str, Array]:
    """What networks are asked for: requests with margins."""
    return {name: factor * requested[name] + more for name, (factor, more) in MARGINS.items()}


class OpampProposals(Experiment):
    """Proposals of the networks of the circuit experiment."""

    name = "opamp-proposals"
    title = "Op-amps proposed by networks, simulated again"
    sizes: ClassVar[dict[str, Size]] = {
        "fast": Size(20, 1), "default": Size(EPOCHS, 10), "full": Size(EPOCHS, 10),
    }  # fmt: skip
    options: ClassVar[dict[str, Any]] = {"scale": "logarithms"}

    @classmethod
    def labels(cls) -> list[str]:
        """Those of the circuit experiment, and the two without a network."""
        return [*Circuit.labels(), *WITHOUT]

    @classmethod
    def check(cls, label: str) -> None:
        """Whether there is such a method or optimizer."""
        if label not in WITHOUT:
            Circuit.check(label)

    @classmethod
    def chosen(cls, options: Mapping[str, Any]) -> dict[str, Any]:
        """The scale of the sizes; looks for ngspice."""
        found = super().chosen(options)
        scaled_designs(found["scale"])
        if shutil.which("ngspice") is None:
            raise FileNotFoundError(MISSING)
        return found

    @classmethod
    def settings(cls, label: str, size: Size, options: Mapping[str, Any]) -> dict[str, Any]:
        """Those of the circuit experiment, and the margins."""
        own = {"steps": 0} if label in WITHOUT else Circuit.settings(label, size, {})
        margins = {name: list(pair) for name, pair in MARGINS.items()}
        return own | {"requests": REQUESTS, "margins": margins, "task": dict(options)}

    @classmethod
    def together(cls, label: str) -> bool:
        """Whether all seeds are one population."""
        return label in WITHOUT or Circuit.together(label)

    @classmethod
    def run(
        cls, label: str, seeds: Sequence[int], size: Size, options: Mapping[str, Any], *, quiet: bool = True
    ) -> list[dict[str, Any]]:
        """A row a seed; methods without a network say the same for each, whatever the scale."""
        start = time.perf_counter(), time.process_time()
        requested = requests()
        if label in WITHOUT:
            metrics = [measured(requested, looked_up(label, requested))] * len(seeds)
        else:
            task = Proposing(seeds, Circuit.length(label, size), **options)
            ended = run(task, Circuit.method(label), label=label, quiet=quiet)
            metrics = [measured(requested, one["metrics"]["proposed"]) for one in ended]
        seconds = time.perf_counter() - start[0], time.process_time() - start[1]
        settings = cls.settings(label, size, options)
        return [
            records.row(task=cls.name, method=label, settings=settings, seed=seed, trial=seed, metrics=one,
                        wall_seconds=seconds[0], cpu_seconds=seconds[1])
            for seed, one in zip(seeds, metrics, strict=True)
        ]  # fmt: skip

    @classmethod
    def table(cls, rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        """Mean and least share of proposals in % over the trials, and how far they are from what was asked."""
        lines = []
        for label in dict.fromkeys(row["method"] for row in rows):
            mine = [row["metrics"] for row in rows if row["method"] == label]
            shares = {
                f"{head} %": _mean_and_least([one[name] for one in mine])
                for name, head in {
                    "working": "works", "specification": "published specification", "request": "request",
                    "request_but_power": "request but power",
                }.items()
            }  # fmt: skip
            away = {f"{name}, {unit} off": statistics.fmean(one["deviation"][name] for one in mine)
                    for name, unit in zip(BEHAVIOUR, ("dB", "%", "degrees", "%"), strict=True)}  # fmt: skip
            lines.append({"method": label, "trials": len(mine)} | shares | away)
        return lines

    @classmethod
    def draw(cls, rows: Sequence[dict[str, Any]], folder: Path) -> list[Path]:
        """Of the default scale: a trial of the best network against its requests, and the shares of all trials."""
        rows = [row for row in rows if row["settings"]["task"] == cls.options] or rows
        shares: dict[str, list[float]] = {}
        for row in [row for row in rows if row["method"] not in WITHOUT] or rows:
            shares.setdefault(row["method"], []).append(row["metrics"]["request"])
        best = max(shares, key=lambda label: statistics.fmean(shares[label]))
        first = next(row for row in rows if row["method"] == best)
        return [draw_scatter(first, folder / f"{cls.name}-scatter.png"),
                draw_boxes(rows, folder / f"{cls.name}-shares.png")]  # fmt: skip

    @classmethod
    def findings(cls, rows: Sequence[dict[str, Any]]) -> list[str]:
        """Whether nine of ten proposals exceed the published specification, and what a look-up gives."""
        shares: dict[str, dict[str, float]] = {}
        for kind in ("specification", "request"):
            for label in dict.fromkeys(row["method"] for row in rows):
                mine = [row["metrics"][kind] for row in rows if row["method"] == label]
                shares.setdefault(kind, {})[label] = 100 * statistics.fmean(mine)
        reach = [f"`{label}`" for label, share in shares["specification"].items() if share >= 90]
        said = [f"At least 90 % of the proposals exceed the published specification: {', '.join(reach) or 'none'}."]
        networks = {label: share for label, share in shares["request"].items() if label not in WITHOUT}
        if networks and "look-up" in shares["request"]:
            best = max(networks, key=lambda label: networks[label])
            said.append(
                f"Requests are met best by networks trained by `{best}`, {networks[best]:.0f} % of them; a look-up in "
                f"the training designs meets {shares['request']['look-up']:.0f} %."
            )
        return said


class Proposing(Circuit):
    """The circuit experiment whose trials keep the sizes that they propose."""

    def notes(self) -> list[dict[str, Any]]:
        """``proposed``: ``SIZES``, each (50,), of each member."""
        with torch.no_grad():
            outputs = self.outputs(self.designs.scaled(asked(requests())).mT)
        return [{"proposed": self.designs.sizes(one)} for one in outputs]


def looked_up(label: str, requested: Mapping[str, Array]) -> dict[str, Array]:
    """``SIZES`` of training designs: the nearest to each asked point, or the nearest of those that meet the request."""
    designs = {name: values[:TRAIN] for name, values in shipped().items()}
    known = scaled_designs()
    distances = torch.cdist(known.scaled(asked(requested)), known.x[:TRAIN])  # (requests, designs)
    if label == "look-up":
        fits = _at_least(designs, {name: one[:, None] for name, one in requested.items()}, BEHAVIOUR)
        distances = distances + torch.from_numpy(np.where(fits, 0.0, 1e3))
    return {name: designs[name][distances.argmin(1).numpy()] for name in SIZES}


def measured(requested: Mapping[str, Array], proposed: Mapping[str, Array]) -> dict[str, Any]:
    """Shares and deviations of proposals, each (requests,), and what was requested, proposed and found."""
    found = simulate(proposed)
    working = np.all(list(works(found, overdrive=0.0).values()), axis=0)
    wanted = asked(requested)
    deviation = {name: found[name] - wanted[name] for name in ("gain", "pm")}
    deviation |= {name: 100 * (found[name] / wanted[name] - 1) for name in ("ugb", "power")}
    return {
        "working": float(working.mean()), "specification": float(meets(found).mean()),
        "request": float((working & _at_least(found, requested, BEHAVIOUR)).mean()),
        "request_but_power": float((working & _at_least(found, requested, BEHAVIOUR[:3])).mean()),
        "deviation": {name: float(np.nanmedian(np.abs(deviation[name]))) for name in BEHAVIOUR},
        "requested": _short(requested, BEHAVIOUR), "proposed": _short(proposed, SIZES),
        "found": _short(found, BEHAVIOUR),
    }  # fmt: skip


def _at_least(found: Mapping[str, Array], requested: Mapping[str, Array], names: Sequence[str]) -> Any:
    """Whether what was found is as good as requested: no less gain, bandwidth and margin, no more power."""
    good = [found[name] <= requested[name] if name == "power" else found[name] >= requested[name] for name in names]
    return np.all(good, axis=0)


def _short(values: Mapping[str, Array], names: Sequence[str]) -> dict[str, list[float | None]]:
    return {name: [float(f"{one:.4g}") if np.isfinite(one) else None for one in values[name]] for name in names}


def _mean_and_least(shares: Sequence[float]) -> str:
    return f"{100 * statistics.fmean(shares):.1f} / {100 * min(shares):.0f}"
