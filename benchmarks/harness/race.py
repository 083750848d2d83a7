"""Optimizers raced on a task: an experiment whose methods are optimizers, all seeds of one as one population.

A task is a population of small problems, one a seed: parameters stacked along a leading axis, one loss a member. First
weights and batch orders come from the seed alone, so every method of a trial starts and is fed equally.

A trial ends where the norm of a step's last gradient is at most the task's tolerance, where its weights have not
changed in a hundred steps, or at the task's last step; what its row says was measured then. The others go on without
it: a member's results do not depend on its neighbours.
"""

from __future__ import annotations

import dataclasses
import math
import time
from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor
from tqdm import tqdm

import optimizers
from agents import records
from benchmarks.harness.experiment import Experiment, Size
from optimizers.members import keep_members

__all__ = ["Method", "Task", "numbers", "run"]

NOT_ELEMENTWISE = ("torch.lbfgs", "torch.adafactor")
"""torch's optimizers that mix the entries of a parameter: stacked members would feel each other"""

DIFFERENTIATE = ("damped_newton", "hessian_free", "newton", "newton_cg", "slbfgs", "slsr1", "sqn")
"""optimizers that differentiate the loss themselves: it stays on its graph without backward too"""

STILL = 100
"""steps without any change of the weights after which a trial has ended"""


@dataclasses.dataclass(frozen=True)
class Method:
    """An optimizer with its settings."""

    optimizer: str
    options: dict[str, Any] = dataclasses.field(default_factory=dict)
    length: float = 1.0
    """how many times the task's steps"""
    decay: float = 1.0
    """factor of the learning rate from each of the task's epochs to the next"""
    end: float = 1.0
    """factor of the learning rate at the last step; on the way there it falls by the same factor at every step"""


class Task(Experiment):
    """Members of a population, one a seed.

    Subclasses take the keywords of ``scale`` and of ``options`` besides. Their ``params`` are each (members, ...), of
    one dtype; a task of networks that do not stack well says ``stacked = False`` and gets one seed at a time, still
    with a leading axis of length 1.

    Args:
        seeds: one a member.
        steps: the last step.
    """

    tolerance: ClassVar[float] = 0.0
    batches: int = 0
    """steps of an epoch; 0 where the task has none"""
    stacked: ClassVar[bool] = True
    score: ClassVar[str] = "loss"
    """the metric that tuning makes small"""
    methods: ClassVar[dict[str, Method]]
    """by label, with the published settings"""

    params: list[Tensor]  # each (members, ...)

    def __init__(self, seeds: Sequence[int], steps: int) -> None:
        self.seeds, self.steps = tuple(seeds), steps

    def keep(self, places: list[int]) -> None:
        """Go on with some of the members."""
        self.params = [one.detach()[places].requires_grad_() for one in self.params]

    @abstractmethod
    def losses(self, step: int, call: int) -> Tensor:
        """Losses (members,) of a step's batch; call counts the evaluations of this step from 0."""

    def part_losses(self, step: int, part: int) -> Tensor:
        """Losses (members,) of the sub-batch ``step + part``, for methods whose batches are windows of sub-batches.

        Raises:
            TypeError: the task has no sub-batches.
        """
        raise TypeError(f"{self.name} has no sub-batches: its batches are not drawn")

    @abstractmethod
    def measure(self) -> dict[str, Tensor]:
        """Metrics, each (members,), of the weights as they are."""

    @abstractmethod
    def marks(self) -> set[int]:
        """Numbers of steps after which the curve is measured."""

    def make(self, name: str, options: dict[str, Any]) -> torch.optim.Optimizer:
        """An optimizer of the members at the start; a place for what it needs besides their parameters."""
        return optimizers.make(name, self.params, **options)

    def notes(self) -> list[dict[str, Any]]:
        """What else a member's row keeps of its last weights, such as outputs to be drawn: one a member."""
        return [{} for _ in self.params[0]]

    @classmethod
    def labels(cls) -> list[str]:
        """The methods with published settings."""
        return list(cls.methods)

    @classmethod
    def check(cls, label: str) -> None:
        """Whether there is such a method or optimizer."""
        cls.method(label)

    @classmethod
    def method(cls, label: str) -> Method:
        """A method by label, with ``-tuned`` after it by its own tuning, or an optimizer by name with default options.

        Raises:
            ValueError: there is none; the text names the nearest.
        """
        if label.endswith("-tuned"):
            from benchmarks.task_tuning import tuned

            return tuned(cls, label.removesuffix("-tuned"))
        if label in cls.methods:
            return cls.methods[label]
        if label in optimizers.names():
            return Method(label)
        raise cls.unknown(label, [*cls.methods, *optimizers.names()])

    @classmethod
    def settings(cls, label: str, size: Size, options: Mapping[str, Any]) -> dict[str, Any]:
        """The optimizer with its options, the length, and the task's own arguments where it has any."""
        method = cls.method(label)
        found = {"optimizer": method.optimizer, "options": method.options, "steps": cls.length(label, size),
                 "tolerance": cls.tolerance}  # fmt: skip
        found |= {name: factor for name in ("decay", "end") if (factor := getattr(method, name)) != 1}
        own = {**size.scale, **options}
        return found | ({"task": own} if own else {})

    @classmethod
    def length(cls, label: str, size: Size) -> int:
        """The last step of a method's trials."""
        return round(size.steps * cls.method(label).length)

    @classmethod
    def together(cls, label: str) -> bool:
        """Whether the optimizer has a form for populations, and the task too."""
        return cls.stacked and _is_population(cls.method(label).optimizer)

    @classmethod
    def run(
        cls, label: str, seeds: Sequence[int], size: Size, options: Mapping[str, Any], *, quiet: bool = True
    ) -> list[dict[str, Any]]:
        """A row a seed."""
        task = cls(seeds, cls.length(label, size), **size.scale, **options)
        settings = cls.settings(label, size, options)
        return [
            records.row(task=cls.name, method=label, settings=settings, seed=seed, trial=seed, **ended)
            for seed, ended in zip(seeds, run(task, cls.method(label), label=label, quiet=quiet), strict=True)
        ]


def numbers(rows: Sequence[dict[str, Any]], metric: str) -> list[float]:
    """A metric of each row, infinite where it was not finite."""
    return [math.inf if row["metrics"][metric] is None else row["metrics"][metric] for row in rows]


def _is_population(name: str) -> bool:
    return name not in NOT_ELEMENTWISE and getattr(optimizers.pick(name), "populations", True)


def run(task: Task, method: Method, *, label: str = "", quiet: bool = True) -> list[dict[str, Any]]:
    """One method on all members of a task.

    Returns:
        What a row says of each member but its settings. Seconds and evaluations are those of the whole population up
        to this member's end, and the metric ``population`` says how many members that were.
    """
    pool = _Pool(task, method)
    with tqdm(total=task.steps, desc=f"{task.name} {label}", disable=quiet) as bar:
        while pool.running and pool.step < task.steps:
            pool.advance()
            bar.update()
            if pool.step % STILL == 0:
                bar.set_postfix_str(f"loss {pool.loss:.3g}, {len(pool.ended)} ended", refresh=False)
    pool.end(pool.running, "limit")
    return [pool.ended[member] for member in range(len(task.seeds))]


class _Pool:
    """The members of a task under one optimizer, and what was measured where each of them ended."""

    def __init__(self, task: Task, method: Method) -> None:
        self.task, self.method = task, method
        if method.decay != 1 and not task.batches:
            raise ValueError(f"decay = {method.decay}: {task.name} has no epochs")
        self.name, self.options = method.optimizer, dict(method.options)
        if hasattr(optimizers.pick(self.name), "populations"):
            self.options["member_dims"] = int(_is_population(self.name))
        self.optimizer = task.make(self.name, self.options)
        self.step, self.calls, self.loss = 0, 0, math.nan
        self.evaluations = {"losses": 0, "gradients": 0}
        self.norms = torch.full((len(task.seeds),), math.inf)
        self.running = list(range(len(task.seeds)))
        self.ended: dict[int, dict[str, Any]] = {}
        self.marks, self.curve = task.marks(), dict[int, dict[str, dict[int, float | None]]]()
        self.before = self.last = [one.detach().clone() for one in task.params]
        self.start = (time.perf_counter(), time.process_time())

    def closure(self, backward: bool = True, part: int | None = None) -> Tensor:
        """Losses (members,) of this step's batch, or of a part of its window; back-propagates their sum."""
        with torch.set_grad_enabled(backward or self.name in DIFFERENTIATE):
            task = self.task
            losses = task.losses(self.step, self.calls) if part is None else task.part_losses(self.step, part)
        if backward:
            for one in self.task.params:
                one.grad = None
            losses.sum().backward()
        self.evaluations["gradients" if backward else "losses"] += 1
        self.calls += 1
        return losses

    def advance(self) -> None:
        """One step of every member."""
        self.calls = 0
        self.slow_down()
        step: Callable[[Any], Any] = self.optimizer.step  # torch's stubs know closures without arguments only
        losses = step(self.closure)
        self.step += 1
        if self.step in self.marks:
            self.curve[self.step] = self.measured()
        squares = [one.grad.flatten(1).square().sum(1) for one in self.task.params if one.grad is not None]
        if squares:  # none where the optimizer differentiates the loss itself
            self.norms = torch.stack(squares).sum(0).sqrt()
        if self.task.tolerance:
            small = (self.norms <= self.task.tolerance).tolist()
            self.end([member for member, ended in zip(self.running, small, strict=True) if ended], "converged")
        if self.running and (self.step + 1) % STILL == 0:
            self.last = [one.detach().clone() for one in self.task.params]
        if self.running and self.step % STILL == 0:
            self.loss = float(losses.detach().mean())
            # methods that go back to an anchor may be there at both ends of a hundred steps, so one more is compared
            known = zip(self.before, self.last, self.task.params, strict=True)
            same = [((old == new) & (last == new)).flatten(1).all(1) for old, last, new in known]
            still = torch.stack(same).all(0).tolist()
            self.before = [one.detach().clone() for one in self.task.params]
            self.end([member for member, ended in zip(self.running, still, strict=True) if ended], "stalled")

    def slow_down(self) -> None:
        """Multiply the learning rate by what the method says for this step."""
        if not self.step:
            return
        method, task = self.method, self.task
        factor = method.end ** (1 / max(1, task.steps - 1))
        if task.batches and self.step % task.batches == 0:
            factor *= method.decay
        if factor != 1:
            for group in self.optimizer.param_groups:
                group["lr"] *= factor

    def measured(self) -> dict[str, dict[int, float | None]]:
        """Metric -> member -> value now."""
        found = self.task.measure().items()
        return {name: dict(zip(self.running, _rounded(values), strict=True)) for name, values in found}

    def end(self, members: list[int], how: str) -> None:
        """Note what is measured where members end."""
        if not members:
            return
        seconds = (time.perf_counter() - self.start[0], time.process_time() - self.start[1])
        measured, notes = self.measured(), self.task.notes()
        counters = self.optimizer.counters() if hasattr(self.optimizer, "counters") else {}
        norms = _rounded(self.norms)
        for member in members:
            place = self.running.index(member)
            curve = {name: [found[name][member] for found in self.curve.values()] for name in measured}
            metrics: dict[str, Any] = {name: values[member] for name, values in measured.items()}
            metrics |= {"end": how, "gradient_norm": norms[place], "population": len(self.task.seeds)}
            metrics["curve"] = {"step": list(self.curve), **curve}
            metrics |= notes[place]
            counts = {name: one[place] if isinstance(one, list) else one for name, one in counters.items()}
            self.ended[member] = {
                "step": self.step, "metrics": metrics, "counters": counts, "evaluations": dict(self.evaluations),
                "wall_seconds": seconds[0], "cpu_seconds": seconds[1],
            }  # fmt: skip
        left = [place for place, member in enumerate(self.running) if member not in self.ended]
        if left:
            self.keep(left)
        self.running = [self.running[place] for place in left]

    def keep(self, places: list[int]) -> None:
        """Go on with some of the members: their weights and what the optimizer remembers about them."""
        self.task.keep(places)
        self.optimizer = keep_members(self.optimizer, self.task.params, torch.tensor(places))
        self.before, self.last = ([one[places] for one in kept] for kept in (self.before, self.last))


def _rounded(values: Tensor) -> list[float | None]:
    """Seven digits of each; None where a number is not finite."""
    return [float(f"{one:.7g}") if math.isfinite(one) else None for one in values.tolist()]
