"""Small networks on a fixed batch, alone or as a population of the same networks, for timing optimizers."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import linear

__all__ = ["BATCH", "SIZES", "closure_of", "draw", "losses"]

SIZES = (12, 32, 64, 32, 6)
"""layers of the Q-network: 4,806 weights"""
BATCH = 32


def draw(members: int, seed: int = 0, sizes: tuple[int, ...] = SIZES) -> tuple[list[Tensor], Tensor, Tensor]:
    """Weights, each (members, ...), inputs (members, B, first) and targets (members, B, last)."""
    source = torch.Generator().manual_seed(seed)
    weights = []
    for inputs, outputs in pairwise(sizes):
        for shape in ((members, outputs, inputs), (members, outputs)):
            weights.append(torch.rand(shape, generator=source) - 0.5)
    x = torch.randn(members, BATCH, sizes[0], generator=source)
    y = torch.randn(members, BATCH, sizes[-1], generator=source)
    return weights, x, y


def losses(weights: list[Tensor], x: Tensor, y: Tensor) -> Tensor:
    """Mean squared errors (members,) of a population, or () of one network whose x is (B, first)."""
    h = x
    for i in range(0, len(weights), 2):
        W, b = weights[i], weights[i + 1]
        h = linear(h, W, b) if x.ndim == 2 else torch.baddbmm(b.unsqueeze(1), h, W.mT)
        h = h.relu() if i < len(weights) - 2 else h
    return (h - y).square().mean((-2, -1))


def closure_of(weights: list[Tensor], x: Tensor, y: Tensor) -> Callable[..., Any]:
    """The closure of a population or of one network."""

    def closure(backward: bool = True) -> Tensor:
        for one in weights:
            one.grad = None
        loss = losses(weights, x, y)
        if backward:
            loss.sum().backward()
        return loss

    return closure
