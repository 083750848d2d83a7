"""Experiments: what each of benchmarks/tasks offers, and how its rows are made, over the cores or a Ray cluster.

An experiment is cut into units, each of which gives the rows of one method and some seeds. Rows are appended when their
unit has ended; what has a row is not run again, so an interrupted command goes on with the units that are missing.
"""

from __future__ import annotations

import concurrent.futures
import dataclasses
import gzip
import importlib
import inspect
import itertools
import json
import multiprocessing
import os
import pkgutil
import signal
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import torch
from tqdm import tqdm

import benchmarks.tasks
from agents import records
from agents.processor import keep_freed_memory
from routing_env.plugins import nearest

__all__ = ["Experiment", "Size", "Unit", "carry_out", "experiments", "pick", "read_rows"]

SIZES = ("fast", "default", "full")


@dataclasses.dataclass(frozen=True)
class Size:
    """How much of an experiment is run.

    Attributes:
        steps: the last step of a trial; 0 where the experiment has no steps.
        trials: seeds 0 to this - 1.
        scale: other arguments of the experiment at this size, such as a number of pictures; part of its rows.
    """

    steps: int
    trials: int
    scale: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def __str__(self) -> str:
        more = "".join(f", {name} {value}" for name, value in self.scale.items())
        return f"{self.trials} trials" + (f" of {self.steps:,} steps" if self.steps else "") + more


class Experiment(ABC):
    """What a file or folder of benchmarks/tasks offers: the first name of its ``__all__`` is a subclass.

    Attributes:
        name: of the file of rows, words joined by hyphens.
        title: of its section in docs/gallery/README.md.
        sizes: ``fast`` takes seconds, ``default`` at most 30 minutes on two cores, ``full`` is the published size.
        options: further arguments with their defaults, such as a data set; part of the rows.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    sizes: ClassVar[dict[str, Size]]
    options: ClassVar[dict[str, Any]] = {}

    @classmethod
    @abstractmethod
    def labels(cls) -> list[str]:
        """The methods that are run if none are named."""

    @classmethod
    def check(cls, label: str) -> None:
        """Whether there is such a method; one of ``labels``, where an experiment has no others.

        Raises:
            ValueError: there is none; the text names the nearest.
        """
        if label not in (there := cls.labels()):
            raise cls.unknown(label, there)

    @classmethod
    def unknown(cls, label: str, there: Sequence[str]) -> ValueError:
        """The error of a label that is none of ``there``."""
        return ValueError(f"{cls.name} has no method {label!r}{nearest(label, there)}; it has: {', '.join(there)}")

    @classmethod
    def chosen(cls, options: Mapping[str, Any]) -> dict[str, Any]:
        """All options, those that were not given by default; a place to look for data and to refuse values.

        Raises:
            ValueError: no such option; the text names the nearest.
            FileNotFoundError: data is missing; the text names the command that fetches it.
        """
        for name in options:
            if name not in cls.options:
                raise ValueError(f"{cls.name} has no option {name!r}{nearest(name, cls.options)}")
        return cls.options | dict(options)

    @classmethod
    def sized(
        cls, name: str, *, steps: int | None = None, trials: int | None = None, scale: Mapping[str, Any] | None = None
    ) -> Size:
        """A size by name, with other steps, trials and arguments of its scale where they are given.

        Raises:
            ValueError: no such argument, steps of an experiment that has none, or a number below 1.
        """
        size, known = cls.sizes[name], {one: None for other in cls.sizes.values() for one in other.scale}
        for one in scale or {}:
            if one not in known:
                raise ValueError(f"the sizes of {cls.name} have no {one!r}{nearest(one, known)}")
        if steps is not None and not size.steps:
            raise ValueError(f"{cls.name} has no steps, got {steps}")
        for what, number in (("trials", trials), ("steps", steps)):
            if number is not None and number < 1:
                raise ValueError(f"{what} must be at least 1, got {number}")
        changed = dataclasses.replace(size, scale={**size.scale, **(scale or {})})
        changed = changed if steps is None else dataclasses.replace(changed, steps=steps)
        return changed if trials is None else dataclasses.replace(changed, trials=trials)

    @classmethod
    @abstractmethod
    def settings(cls, label: str, size: Size, options: Mapping[str, Any]) -> dict[str, Any]:
        """What the rows of a method say under ``settings``: everything that their numbers depend on but the seed."""

    @classmethod
    def together(cls, label: str) -> bool:
        """Whether all seeds of a method are run at once, as one unit."""
        return False

    @classmethod
    @abstractmethod
    def run(
        cls, label: str, seeds: Sequence[int], size: Size, options: Mapping[str, Any], *, quiet: bool = True
    ) -> list[dict[str, Any]]:
        """The rows of a unit, one a seed in their order, made by ``agents.records.row``."""

    @classmethod
    @abstractmethod
    def table(cls, rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        """A line a method, measured beside published."""

    @classmethod
    def draw(cls, rows: Sequence[dict[str, Any]], folder: Path) -> list[Path]:
        """Draw the pictures of rows and nothing else; their files, whose names begin with the experiment's."""
        return []

    @classmethod
    def findings(cls, rows: Sequence[dict[str, Any]]) -> list[str]:
        """Sentences in Markdown that follow from the rows, each computed from them."""
        return []


@dataclasses.dataclass(frozen=True)
class Unit:
    """Some seeds of one method."""

    experiment: type[Experiment]
    label: str
    seeds: tuple[int, ...]
    size: Size
    options: dict[str, Any]

    def run(self, quiet: bool = True) -> list[dict[str, Any]]:
        """Its rows."""
        keep_freed_memory()  # in whatever process this is
        return self.experiment.run(self.label, self.seeds, self.size, self.options, quiet=quiet)

    def key(self, seed: int) -> str:
        """What tells the row of a seed from all others."""
        settings = self.experiment.settings(self.label, self.size, self.options)
        return _key({"task": self.experiment.name, "method": self.label, "settings": settings, "seed": seed})


def experiments() -> list[str]:
    """Every experiment, by the name of its file or folder."""
    return sorted(module.name for module in pkgutil.iter_modules(benchmarks.tasks.__path__) if module.name[0] != "_")


def pick(name: str) -> type[Experiment]:
    """The class of an experiment.

    Raises:
        ValueError: no such experiment; the text names the nearest one.
        TypeError: its file does not begin with one.
    """
    name = name.replace("-", "_")
    if name not in experiments():
        raise ValueError(f"no experiment {name!r}{nearest(name, experiments())}; there are: {', '.join(experiments())}")
    module = importlib.import_module(f"benchmarks.tasks.{name}")
    first = getattr(module, module.__all__[0])
    if not (inspect.isclass(first) and issubclass(first, Experiment)):
        raise TypeError(f"{module.__name__}: the first name of __all__, {module.__all__[0]}, is no Experiment")
    return first


def carry_out(
    experiment: type[Experiment], labels: Sequence[str], seeds: Sequence[int], path: Path, *, size: Size,
    options: Mapping[str, Any] | None = None, processes: int = 1, engine: str = "local", address: str | None = None,
    quiet: bool = True,
) -> list[dict[str, Any]]:  # fmt: skip
    """Run what is not in a file of rows yet and append it.

    Args:
        experiment: which.
        labels: its methods.
        seeds: one a trial.
        path: the file of rows.
        size: how much.
        options: of the experiment that differ from its defaults.
        processes: units at a time, a core each.
        engine: ``local``, or ``ray`` (the extra ``ray``).
        address: of the Ray cluster; none starts one on this machine.
        quiet: no progress bars.

    Returns:
        The rows asked for, old and new, method by method.

    Raises:
        ValueError: no such method, option or engine; rows to be added to a compressed file; two files of one name.
        FileNotFoundError: data is missing.
    """
    if processes < 1:
        raise ValueError(f"processes must be at least 1, got {processes}")
    if engine not in ("local", "ray"):
        raise ValueError(f"engine {engine!r} is none of local, ray")
    for label in labels:
        experiment.check(label)
    chosen = experiment.chosen(options or {})
    known = {_key(row): row for row in read_rows(path)}
    asked = [Unit(experiment, label, tuple(seeds), size, chosen) for label in labels]
    units = []
    for unit in asked:
        missing = tuple(seed for seed in unit.seeds if unit.key(seed) not in known)
        parts = [missing] if experiment.together(unit.label) else [(seed,) for seed in missing]
        units += [dataclasses.replace(unit, seeds=part) for part in parts if part]
    if units and (packed := _packed(path)).exists():
        raise ValueError(f"{len(units)} units have no rows in {packed}, to which none can be added: gunzip {packed}")
    for rows in _made(units, processes, engine, address, quiet):
        for row in rows:
            records.append_row(path, row)
            known[_key(row)] = row
    return [known[unit.key(seed)] for unit in asked for seed in unit.seeds]


def read_rows(path: Path) -> list[dict[str, Any]]:
    """Rows of a file, or of the same file compressed; none where there is neither.

    Raises:
        ValueError: there are both, and one would hide the other; the text names them.
    """
    packed = _packed(path)
    if not packed.exists():
        return records.read_rows(path)
    if path.exists():
        raise ValueError(f"rows of one name in two files, {path} and {packed}: put them into one and remove the other")
    with gzip.open(packed, "rt") as file:
        return [json.loads(line) for line in file]


def _packed(path: Path) -> Path:
    return path.with_name(path.name + ".gz")


def _key(row: dict[str, Any]) -> str:
    return json.dumps([row[name] for name in ("task", "method", "settings", "seed")], sort_keys=True)


def _made(
    units: Sequence[Unit], processes: int, engine: str, address: str | None, quiet: bool
) -> Iterator[list[dict[str, Any]]]:
    """The rows of units as they end."""
    if engine == "ray" and units:
        made = _on_ray(units, processes, address)
    elif processes > 1 and len(units) > 1:
        made = _on_cores(units, processes)
    else:
        yield from (unit.run(quiet) for unit in units)
        return
    with tqdm(total=len(units), unit="unit", disable=quiet) as bar:
        for unit, rows in made:
            bar.set_postfix_str(f"{unit.label} has ended", refresh=False)
            bar.update()
            yield rows


def _begin() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides
    torch.set_num_threads(1)


def _on_cores(units: Sequence[Unit], processes: int) -> Iterator[tuple[Unit, list[dict[str, Any]]]]:
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    context = multiprocessing.get_context("spawn")
    pool = concurrent.futures.ProcessPoolExecutor(min(processes, len(units)), context, _begin)
    try:
        waiting = {pool.submit(Unit.run, unit): unit for unit in units}
        for done in concurrent.futures.as_completed(waiting):
            yield waiting[done], done.result()
    except BaseException:
        for worker in list((pool._processes or {}).values()):  # a unit under way is long: it is lost
            worker.terminate()
        raise
    finally:
        pool.shutdown(cancel_futures=True)


def _on_ray(units: Sequence[Unit], processes: int, address: str | None) -> Iterator[tuple[Unit, list[dict[str, Any]]]]:
    try:
        import ray
    except ImportError:
        raise ModuleNotFoundError("the engine ray needs the extra: pip install 'quasiroute[ray]'") from None
    begun = not ray.is_initialized()
    if begun:
        ray.init(address=address, num_cpus=None if address else processes, log_to_driver=False,
                 include_dashboard=False)  # fmt: skip
    try:
        work = ray.remote(num_cpus=1, max_retries=3)(Unit.run)  # a lost worker's unit is done again
        waiting = {work.remote(unit): unit for unit in units}
        for _ in itertools.repeat(None, len(units)):
            (done,), _others = ray.wait(list(waiting), num_returns=1)
            yield waiting.pop(done), ray.get(done)
    finally:
        if begun:
            ray.shutdown()
