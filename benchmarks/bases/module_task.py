"""Tasks whose members are torch modules on mini-batches of examples: weights stacked, vmap over members.

Every epoch goes through the training examples once in a new order, drawn from seed and epoch; the last batch of an
epoch is smaller. Evaluations of one step see one batch, so a step's loss is a function of the weights alone: modules
with batch norm, dropout or other state are refused.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.func import functional_call

from benchmarks.harness.race import Task

__all__ = ["ModuleTask"]


class ModuleTask(Task):
    """A population of modules; float32.

    Args:
        seeds: one a member.
        steps: the last step.
        x: training examples (n, ...), t: their targets (n, ...).
    """

    batch: int
    """examples of a step; all of them where there are no more"""
    tested_at_once: ClassVar[int] = 1000

    def __init__(self, seeds: Sequence[int], steps: int, x: Tensor, t: Tensor) -> None:
        super().__init__(seeds, steps)
        self.x, self.t = x, t
        self.batches = math.ceil(len(x) / self.batch)
        modules = []
        for seed in seeds:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(seed)
                modules.append(self.module())
        self.frame = modules[0]
        if any(True for _ in self.frame.buffers()):
            raise ValueError(f"{self.name}: a module with buffers such as batch norm's is no function of its weights")
        self.names = [name for name, _ in self.frame.named_parameters()]
        self.params = [torch.stack([dict(one.named_parameters())[name].detach() for one in modules]).requires_grad_()
                       for name in self.names]  # fmt: skip
        self.orders = [_Order(seed, len(x), self.batch) for seed in seeds]

    @abstractmethod
    def module(self) -> nn.Module:
        """A network with first weights drawn from torch's global generator, which the caller has seeded."""

    @abstractmethod
    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """The mean loss () of a batch; outputs (batch, ...), targets (batch, ...)."""

    def keep(self, places: list[int]) -> None:
        """Go on with some of the members."""
        super().keep(places)
        self.orders = [self.orders[place] for place in places]

    def losses(self, step: int, call: int) -> Tensor:
        """The mean loss of each member's batch."""
        return self._losses([order.batch(step) for order in self.orders])

    def part_losses(self, step: int, part: int) -> Tensor:
        """The mean loss of each member's sub-batch step + part, of a third of a batch."""
        return self._losses([order.part(step + part) for order in self.orders])

    def _losses(self, drawn: list[Tensor]) -> Tensor:
        if len(drawn) == 1:
            weights = dict(zip(self.names, (one[0] for one in self.params), strict=True))
            return self.loss(functional_call(self.frame, weights, (self.x[drawn[0]],)), self.t[drawn[0]])[None]
        chosen = torch.stack(drawn)  # (members, batch)
        return torch.func.vmap(self._loss)(dict(zip(self.names, self.params, strict=True)),
                                           self.x[chosen], self.t[chosen])  # fmt: skip

    def _loss(self, weights: dict[str, Tensor], x: Tensor, t: Tensor) -> Tensor:
        return self.loss(functional_call(self.frame, weights, (x,)), t)

    @torch.no_grad()
    def outputs(self, x: Tensor) -> Tensor:
        """Outputs (members, n, ...) of examples (n, ...), some at a time."""
        parts = x.split(self.tested_at_once)
        members = []
        for place in range(len(self.params[0])):
            weights = dict(zip(self.names, (one[place] for one in self.params), strict=True))
            members.append(torch.cat([functional_call(self.frame, weights, (part,)) for part in parts]))
        return torch.stack(members)

    def accuracy(self, x: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        """Loss (members,) and share of right classes in % (members,) over examples (n, ...) with classes (n,)."""
        outputs = self.outputs(x)
        losses = torch.stack([self.loss(one, t) for one in outputs])
        return losses, 100 * (outputs.argmax(-1) == t).double().mean(-1)

    def marks(self) -> set[int]:
        """The end of every epoch, and the last step."""
        return {*range(self.batches, self.steps + 1, self.batches), self.steps}


class _Order:
    """The order of a seed's batches."""

    def __init__(self, seed: int, count: int, batch: int) -> None:
        self.seed, self.count, self.size, self.epoch = seed, count, batch, -1
        self.order = torch.arange(count)

    def batch(self, step: int) -> Tensor:
        """Indices (batch,) of a step's examples; an epoch's order depends on seed and epoch alone."""
        return self._slice(step, self.size)

    def part(self, number: int) -> Tensor:
        """Indices (batch // 3,) of a sub-batch; an epoch goes through the examples in the order of its batches."""
        return self._slice(number, max(1, min(self.size, self.count) // 3))

    def _slice(self, number: int, size: int) -> Tensor:
        epoch, place = divmod(number, math.ceil(self.count / size))
        if epoch != self.epoch and size < self.count:
            draw = torch.Generator().manual_seed(1_000_003 * (self.seed + 1) + epoch)
            self.order, self.epoch = torch.randperm(self.count, generator=draw), epoch
        return self.order[place * size : (place + 1) * size]
