"""Points of an SR1 run on the toy classification, and what three methods take for the Hessian there."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.func import functional_call, jacrev

from benchmarks.bases.full_batch import TRUST
from benchmarks.tasks.toy_classification import ToyClassification
from optimizers import SR1, VectorOptimizer
from optimizers.quasi_newton._lsr1 import LSR1, lsr1, newest_curvature
from optimizers.quasi_newton._sr1 import DenseSR1

__all__ = ["LABELS", "Point", "dense", "hessian", "matrix_at", "path"]

LABELS = ("SR1", "L-SR1", "S-LSR1")
HALF = math.log(2) / 2


class Point:
    """A point of the run.

    Attributes:
        step, loss, accuracy: after how many steps, and what they had reached.
        hessian: (n, n), of the loss.
        B: (n, n), SR1's own.
        pairs: S and Y (pairs, n) so far, oldest first.
    """

    def __init__(self, step: int, task: ToyClassification, optimizer: _Watched) -> None:
        loss, accuracy = task.accuracy(task.x, task.t)
        self.step, self.loss, self.accuracy = step, float(loss), float(accuracy)
        self.hessian = hessian(task)
        self.B = optimizer.memory["B"].clone()[0]
        self.pairs = tuple(torch.cat(one) for one in zip(*optimizer.pairs, strict=True))


class _Pairs(DenseSR1):
    """SR1's matrix that keeps its pairs."""

    def update(self, of: VectorOptimizer, s: Tensor, y: Tensor, ok: Tensor) -> Tensor:
        """As before; pairs that were taken are kept."""
        taken = super().update(of, s, y, ok)
        assert isinstance(of, _Watched)
        if taken.all():
            of.pairs.append((s.clone(), y.clone()))
        return taken


class _Watched(SR1):
    matrix = _Pairs("lsr1")

    def __init__(self, params: list[Tensor]) -> None:
        super().__init__(params, member_dims=1, subproblem=TRUST["subproblem"], radius=TRUST["radius"])
        self.pairs: list[tuple[Tensor, Tensor]] = []


def hessian(task: ToyClassification) -> Tensor:
    """Of the loss of a task's only member, (n, n)."""
    weights = [one.detach()[0] for one in task.params]
    sizes = [one.numel() for one in weights]

    def loss(flat: Tensor) -> Tensor:
        parts = [part.view_as(one) for part, one in zip(flat.split(sizes), weights, strict=True)]
        return task.loss(functional_call(task.frame, dict(zip(task.names, parts, strict=True)), (task.x,)), task.t)

    found = jacrev(jacrev(loss))(torch.cat([one.flatten() for one in weights]))
    return 0.5 * (found + found.mT)


def path(seed: int, steps: int, network: str, m: int) -> dict[str, Point]:
    """The points A, B and C of SR1's run from the first weights of a seed."""
    task = ToyClassification([seed], steps, network)
    optimizer = _Watched(task.params)

    def closure(backward: bool = True) -> Tensor:
        optimizer.zero_grad()
        losses = task.losses(0, 0)
        if backward:
            losses.sum().backward()
        return losses

    found: dict[str, Point] = {}
    for step in range(1, steps + 1):
        optimizer.step(closure)
        loss, accuracy = task.accuracy(task.x, task.t)
        due = {"A": step == m, "B": float(loss) <= HALF, "C": float(accuracy) == 100 or step == steps}
        found |= {name: Point(step, task, optimizer) for name, now in due.items() if now and name not in found}
        if "C" in found:
            break
    return {name: found.get(name, found["C"]) for name in "ABC"}


def dense(B: LSR1) -> Tensor:
    """The matrix (n, n)."""
    return B.gamma * torch.eye(B.Q.shape[-1], dtype=B.Q.dtype) + B.Q.mT @ B.T @ B.Q


def matrix_at(label: str, point: Point, m: int, seed: int) -> Tensor:
    """What a method takes for the Hessian at a point, (n, n); the seed is that of the samples."""
    if label == "SR1":
        return point.B
    if label == "L-SR1":
        S, Y = (one[-m:] for one in point.pairs)
        gamma = newest_curvature(S[-1], Y[-1])
    else:
        draw = torch.Generator().manual_seed(seed)
        S = torch.randn(m, len(point.hessian), generator=draw, dtype=torch.float64)
        Y, gamma = S @ point.hessian, torch.zeros((), dtype=torch.float64)
    return dense(lsr1(S, Y, torch.ones(len(S), dtype=torch.bool), gamma))
