"""Modules trained one at a time, so that what a curve's points cost is the trial's own.

``passes`` over the training examples: a call of the loss, with its gradient or without, and a product of the Hessian
with a vector count one each, a batch of a tenth of the examples a tenth. ``seconds`` are the processor's, over all
threads, without those of measuring. Methods may have batches of their own, and may need the module.
"""

from __future__ import annotations

import dataclasses
import time
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

import optimizers
from agents import records
from benchmarks.bases.module_task import ModuleTask
from benchmarks.harness.experiment import Size
from benchmarks.harness.race import Method, run

__all__ = ["Lone", "LoneTask"]

POINTS = 40
"""of a curve, evenly over the logarithm of steps"""


@dataclasses.dataclass(frozen=True)
class Lone(Method):
    """A method with arguments of the task for itself alone, such as ``batch``; part of its settings."""

    own: dict[str, Any] = dataclasses.field(default_factory=dict)


class LoneTask(ModuleTask):
    """One module of a trial; float32.

    Args:
        seeds: one.
        steps: the last step.
        x: training examples (n, ...), t: their targets (n, ...).
        batch: examples of a step; 0 for all.
    """

    stacked = False
    methods: ClassVar[dict[str, Method]]

    def __init__(self, seeds: Sequence[int], steps: int, x: Tensor, t: Tensor, batch: int = 0) -> None:
        self.batch = batch or len(x)
        super().__init__(seeds, steps, x, t)
        self.calls, self.spent, self.resumed = 0, 0.0, time.process_time()

    @classmethod
    def settings(cls, label: str, size: Size, options: Mapping[str, Any]) -> dict[str, Any]:
        """As of every race, and the method's own arguments."""
        method, found = cls.method(label), super().settings(label, size, options)
        return found | ({"own": method.own} if isinstance(method, Lone) and method.own else {})

    @classmethod
    def run(
        cls, label: str, seeds: Sequence[int], size: Size, options: Mapping[str, Any], *, quiet: bool = True
    ) -> list[dict[str, Any]]:
        """A row a seed."""
        method, settings, rows = cls.method(label), cls.settings(label, size, options), []
        for seed in seeds:
            task = cls([seed], cls.length(label, size), **size.scale, **options, **settings.get("own", {}))
            (ended,) = run(task, method, label=label, quiet=quiet)
            rows.append(records.row(task=cls.name, method=label, settings=settings, seed=seed, trial=seed, **ended))
        return rows

    def make(self, name: str, options: dict[str, Any]) -> torch.optim.Optimizer:
        """The optimizer; one that needs the module moves the module's own parameters, which share their memory."""
        self.needs_model = getattr(optimizers.pick(name), "needs_model", False)
        alone = {option: value for option, value in options.items() if option != "member_dims"}
        if not self.needs_model:
            self.optimizer = super().make(name, alone)
        else:
            own = list(self.frame.parameters())
            for one, stacked in zip(own, self.params, strict=True):
                one.data = stacked.data[0]
                stacked.register_post_accumulate_grad_hook(partial(_hand_over, one))
            self.optimizer = optimizers.make(name, own, model=self.frame, **alone)
        self.resumed = time.process_time()
        return self.optimizer

    def losses(self, step: int, call: int) -> Tensor:
        """The mean loss (1,) of the batch."""
        self.calls += 1
        return super().losses(step, call)

    @property
    def passes(self) -> float:
        """Passes over the training examples so far."""
        counters = {} if self.needs_model or not hasattr(self.optimizer, "counters") else self.optimizer.counters()
        products = counters.get("n_products", 0)  # those of a method that needs the model are of other matrices
        return (self.calls + (products[0] if isinstance(products, list) else products)) / self.batches

    def measure(self) -> dict[str, Tensor]:
        """Metrics of the weights as they are, and what it took to get there."""
        self.spent += time.process_time() - self.resumed
        found = self.metrics()
        found |= {"passes": torch.tensor([self.passes]), "seconds": torch.tensor([self.spent])}
        self.resumed = time.process_time()
        return found

    @abstractmethod
    def metrics(self) -> dict[str, Tensor]:
        """Metrics, each (1,)."""

    def marks(self) -> set[int]:
        """Steps after which the curve is measured: from the first to the last by equal factors."""
        return {round(self.steps ** (point / (POINTS - 1))) for point in range(POINTS)}


def _hand_over(one: nn.Parameter, stacked: Tensor) -> None:
    assert stacked.grad is not None
    one.grad = stacked.grad[0]
