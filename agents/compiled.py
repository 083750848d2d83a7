"""An update's arithmetic between the matrix products, compiled, for populations on one thread of the processor.

The products are torch's, one call a layer for all members. What lies between them, biases, ReLUs and their derivatives,
targets, losses and clipping, costs torch more than the products at these sizes: a pass over all members' numbers for
every operation, and most of the time of a call where the numbers are few. Here each is one pass, member after member.
Values are those of ``agents.td`` and of torch's differentiation, up to the order of sums, and those stay the form of
everything else: devices, several threads, other number types, dueling networks.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numba import njit
from torch import Tensor

from agents.td import LOSSES
from optimizers.members import SUMS, arrays

__all__ = ["clip", "loss_and_gradients", "q_values", "targets"]


@torch.no_grad()
def q_values(params: Sequence[Tensor], obs: Tensor) -> Tensor:
    """Q-values (members, B, moves) of stacked weights and biases, layer by layer, and observations (members, B, E)."""
    return _layers(params, obs)[-1]


def targets(returns: Tensor, discount: Tensor, online: Tensor, target: Tensor, mask: Tensor | None) -> Tensor:
    """``double_dqn_target``: returns, discount (members, B), the rest (members, B, moves)."""
    out = torch.empty_like(online[..., 0])
    allowed = online if mask is None else mask
    _targets(mask is not None, *arrays(returns, discount, online, target, allowed, out))
    return out


@torch.no_grad()
def loss_and_gradients(
    params: Sequence[Tensor], obs: Tensor, moves: Tensor, target: Tensor, kind: str, weights: Tensor | None
) -> tuple[Tensor, list[Tensor]]:
    """Losses (members,) as by ``td_loss``, and their gradients in the shapes of ``params``."""
    found = _layers(params, obs)
    losses, slope = torch.empty_like(target[:, 0]), torch.empty_like(found[-1])
    each = target if weights is None else weights
    _losses(LOSSES.index(kind), weights is not None, *arrays(found[-1], moves, target, each, losses, slope))
    gradients = [torch.empty_like(one) for one in params]
    for layer in range(len(params) // 2 - 1, -1, -1):
        weight, bias = gradients[2 * layer], gradients[2 * layer + 1]
        torch.bmm(found[layer].mT, slope, out=weight)
        _sums(*arrays(slope, bias))
        if layer:
            slope = torch.bmm(slope, params[2 * layer].mT)
            _through_relu(*arrays(found[layer], slope))
    return losses, gradients


def clip(gradients: Sequence[Tensor], most: float) -> None:
    """Scale each member's gradient, in parts (members, ...), down to a norm of ``most``."""
    parts = [one.view(len(one), -1).numpy() for one in gradients]
    squares = np.zeros(len(parts[0]))
    for part in parts:
        _add_squares(part, squares)
    factors = np.minimum(most / (np.sqrt(squares) + 1e-6), 1.0)  # NaN stays
    if (factors == 1).all():
        return
    for part in parts:
        _scale(part, factors)


def _layers(params: Sequence[Tensor], obs: Tensor) -> list[Tensor]:
    """What each layer receives, and the outputs of the last."""
    found = [obs]
    for layer in range(0, len(params), 2):
        x = torch.bmm(found[-1], params[layer])
        _add_bias(layer + 2 < len(params), *arrays(x, params[layer + 1].detach()))
        found.append(x)
    return found


@njit(cache=True, error_model="numpy")
def _add_bias(relu: bool, x: Any, bias: Any) -> None:
    for p in range(x.shape[0]):
        own = bias[p, 0]
        for b in range(x.shape[1]):
            row = x[p, b]
            if relu:
                for j in range(row.shape[0]):
                    value = row[j] + own[j]
                    row[j] = 0 if value < 0 else value  # NaN stays
            else:
                for j in range(row.shape[0]):
                    row[j] += own[j]


@njit(cache=True, error_model="numpy")
def _through_relu(x: Any, slope: Any) -> None:
    """The slope at what enters a ReLU, from that at what left it, x."""
    for p in range(x.shape[0]):
        for b in range(x.shape[1]):
            left, row = x[p, b], slope[p, b]
            for j in range(row.shape[0]):
                row[j] = 0 if left[j] <= 0 else row[j]


@njit(cache=True, error_model="numpy")
def _sums(x: Any, out: Any) -> None:
    """Sums over the batch: x (members, B, n), out (members, 1, n)."""
    for p in range(x.shape[0]):
        total = out[p, 0]
        total[:] = 0
        for b in range(x.shape[1]):
            row = x[p, b]
            for j in range(row.shape[0]):
                total[j] += row[j]


@njit(cache=True, error_model="numpy")
def _targets(masked: bool, returns: Any, discount: Any, online: Any, target: Any, allowed: Any, out: Any) -> None:
    moves = online.shape[2]
    for p in range(out.shape[0]):
        for b in range(out.shape[1]):
            best, highest = 0, -np.inf
            for k in range(moves):
                value = online[p, b, k]
                if masked and allowed[p, b, k] == 0:
                    continue
                if value > highest or value != value:
                    best, highest = k, value
                if value != value:
                    break
            out[p, b] = returns[p, b] + discount[p, b] * target[p, b, best]


@njit(cache=True, error_model="numpy")
def _losses(kind: int, weighted: bool, q: Any, moves: Any, target: Any, weights: Any, losses: Any, slope: Any) -> None:
    many, batch, choices = q.shape
    share = 1.0 / (batch * choices) if kind == 2 else 1.0 / batch
    for p in range(many):
        total = 0.0
        slope[p] = 0
        for b in range(batch):
            k = moves[p, b]
            error = np.float64(q[p, b, k]) - np.float64(target[p, b])
            factor = share * weights[p, b] if weighted else share
            if kind == 0 and abs(error) >= 1:
                total += factor * (abs(error) - 0.5)
                slope[p, b, k] = factor * np.sign(error)
            else:
                half = 0.5 if kind == 0 else 1.0
                total += factor * half * error * error
                slope[p, b, k] = factor * 2 * half * error
        losses[p] = total


@njit(cache=True, fastmath=SUMS, error_model="numpy")
def _add_squares(part: Any, squares: Any) -> None:
    for p in range(part.shape[0]):
        row, total = part[p], 0.0
        for j in range(row.shape[0]):
            total += np.float64(row[j]) * np.float64(row[j])
        squares[p] += total


@njit(cache=True, error_model="numpy")
def _scale(part: Any, factors: Any) -> None:
    for p in range(part.shape[0]):
        if factors[p] != 1:
            row, factor = part[p], part.dtype.type(factors[p])
            for j in range(row.shape[0]):
                row[j] *= factor
