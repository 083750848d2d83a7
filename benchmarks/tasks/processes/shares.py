"""What one of several processes does: its share of each batch, timed, with what it sends counted."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

import optimizers
from benchmarks.bases.full_batch import network
from benchmarks.harness.race import Method
from benchmarks.tasks.digits import pictures
from benchmarks.tasks.processes.group import sent

__all__ = ["METHODS", "SGD_BATCH", "expected", "trial"]

WIDTHS = (64, 32, 10)
SGD_BATCH = 60
METHODS = {
    "S-LSR1": Method("slsr1", {"m": 10}),
    "S-LBFGS": Method("slbfgs", {"m": 10}),
    "oLMoQ-mb": Method("olmoq_mb", {"lr": 0.5, "mu": 0.8, "m": 8}),
    "SGD epoch": Method("sgd", {"lr": 0.5}),
}


class _Share:
    """A network, and one process's share of the batches of a trial."""

    def __init__(self, label: str, seed: int, count: int, rank: int, processes: int) -> None:
        torch.manual_seed(seed)
        self.model = network(WIDTHS).double()
        self.label, self.seed, self.count, self.rows = label, seed, count, slice(rank, None, processes)
        self.x, self.t, *_ = pictures()
        optimizer = optimizers.make(METHODS[label].optimizer, self.model.parameters(), **METHODS[label].options)
        assert isinstance(optimizer, optimizers.VectorOptimizer)
        self.optimizer = optimizer
        if processes > 1:
            self.optimizer.distribute()
        self.whole = self.batch(0, count)

    def batch(self, number: int, count: int) -> tuple[Tensor, Tensor]:
        """This process's share of a batch of the trial."""
        draw = torch.Generator().manual_seed(1_000_003 * (self.seed + 1) + number)
        drawn = torch.randint(len(self.x), (count,), generator=draw)[self.rows]
        return self.x[drawn], self.t[drawn]

    def closure(self, *parts: tuple[Tensor, Tensor]) -> Callable[..., Tensor]:
        """The mean loss over a batch, or over one of its parts."""

        def closure(backward: bool = True, part: int = 0) -> Tensor:
            self.optimizer.zero_grad()
            x, t = parts[part]
            loss = functional.cross_entropy(self.model(x), t)
            if backward:
                loss.backward()
            return loss

        return closure if len(parts) > 1 else lambda backward=True: closure(backward)

    def step(self, k: int) -> None:
        """One step, or an epoch of SGD."""
        if self.label == "oLMoQ-mb":
            self.optimizer.step(self.closure(*(self.batch(k + part, self.count // 3) for part in range(3))))
        elif self.label == "SGD epoch":
            many = self.count // SGD_BATCH
            for i in range(many):
                self.optimizer.step(self.closure(self.batch(k * many + i, SGD_BATCH)))
        else:
            self.optimizer.step(self.closure(self.whole))

    def loss(self) -> float:
        """Of the whole network on all digits."""
        with torch.no_grad():
            return float(functional.cross_entropy(self.model(self.x), self.t))


def trial(
    rank: int, processes: int, label: str, seeds: Sequence[int], counts: Sequence[int], steps: int
) -> dict[tuple[int, int], dict[str, Any]]:
    """(seed, count) -> weights (n,) after all steps, losses before and after, what was sent, seconds of each step."""
    found = {}
    for seed in seeds:
        for count in counts:
            share = _Share(label, seed, count, rank, processes)
            wall, cpu, first = [], [], share.loss()
            with sent() as counted:
                for k in range(steps):
                    begun = time.perf_counter(), time.process_time()
                    share.step(k)
                    wall.append(time.perf_counter() - begun[0])
                    cpu.append(time.process_time() - begun[1])
            weights = torch.cat([one.detach().flatten() for one in share.model.parameters()])
            found[seed, count] = {"weights": weights.numpy(), "losses": (first, share.loss()), "wall": wall, "cpu": cpu,
                                  "sent": counted, "counters": share.optimizer.counters()}  # fmt: skip
    return found


def expected(label: str, weights: int, losses: int, count: int) -> int:
    """Numbers that a step averages: losses are those without a gradient, of the trial step or the line search."""
    if label == "SGD epoch":
        return count // SGD_BATCH * (weights + 1)
    if label == "oLMoQ-mb":
        return 3 * (weights + 1)
    m = METHODS[label].options["m"]
    return (m + 1) * weights + 1 + losses
