"""Values, targets, losses and gradients of a population's networks, compiled, on one thread of the processor.

Member after member: a member's weights, batch and slopes stay in the processor's nearest cache from the first layer to
the clipped gradient. In torch each operation is a call and a pass over all members' numbers, which costs more than the
arithmetic at these sizes. Values are those of ``agents.td`` and of torch's differentiation, up to the order of sums,
and those stay the form of everything else: devices, several threads, other number types, dueling networks.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from agents.compiled_moves import best_move
from agents.products import numbers, product, transposed
from agents.td import LOSSES
from optimizers.members import SUMS, arrays
from routing_env._kernel import kernel

__all__ = ["loss_and_gradients", "q_values", "targets"]


@torch.no_grad()
def q_values(params: Sequence[Tensor], obs: Tensor) -> Tensor:
    """Q-values (members, B, moves) of stacked weights and biases, layer by layer, and observations (members, B, E)."""
    sizes, widest, where = _layers(params)
    found, obs = obs.new_empty(*obs.shape[:2], params[-1].shape[-1]), obs.contiguous()
    room = obs.new_empty(len(sizes) - 1, obs.shape[1] * widest)
    _q_values(obs.numpy(), found.numpy(), sizes, where, room.numpy())
    return found


def targets(returns: Tensor, discount: Tensor, online: Tensor, target: Tensor, mask: Tensor | None) -> Tensor:
    """``double_dqn_target``: returns, discount (members, B), the rest (members, B, moves)."""
    out = torch.empty_like(online[..., 0])
    allowed = online if mask is None else mask
    _targets(mask is not None, *arrays(returns, discount, online, target, allowed, out))
    return out


@torch.no_grad()
def loss_and_gradients(
    params: Sequence[Tensor], obs: Tensor, moves: Tensor, target: Tensor, kind: str, weights: Tensor | None,
    most: float = float("inf"),
) -> tuple[Tensor, list[Tensor]]:  # fmt: skip
    """Losses (members,) as by ``td_loss``, and their gradients in the shapes of ``params``.

    Args:
        most: norm to which a longer gradient of a member is scaled down.
    """
    sizes, widest, where = _layers(params)
    losses, gradients = torch.empty_like(target[:, 0]), [torch.empty_like(one) for one in params]
    obs = obs.contiguous()
    # loops free memory of their own as soon as they know nothing but its address: theirs is made here
    room = obs.new_empty(len(sizes) + 1, obs.shape[1] * widest)  # what leaves each layer, slopes behind and before one
    ones = torch.ones_like(target)
    batch = arrays(obs, moves, target, ones if weights is None else weights, losses)
    extra = arrays(room, obs.new_empty(widest * widest), obs.new_zeros(widest), ones)
    every: list[Any] = [*batch, sizes, where, _addresses(gradients), *extra]
    _gradients(LOSSES.index(kind), most, *every)
    return losses, gradients


def _layers(params: Sequence[Tensor]) -> tuple[Any, int, Any]:
    """Sizes from the observation to the moves, the largest of them, and the addresses of ``params``.

    Raises:
        ValueError: one has gaps.
    """
    if not all([one.is_contiguous() for one in params]):
        raise ValueError("weights of a population must lie without gaps")
    return *_sizes(tuple([one.shape for one in params[::2]])), _addresses(params)


def _addresses(tensors: Sequence[Tensor]) -> Any:
    return np.array([one.data_ptr() for one in tensors])


@lru_cache
def _sizes(shapes: tuple[torch.Size, ...]) -> tuple[Any, int]:
    sizes = [shapes[0][1], *(shape[-1] for shape in shapes)]
    return np.array(sizes), max(sizes)


@kernel
def _forward(kind: Any, p: int, x: int, batch: int, sizes: Any, where: Any, to: Any) -> None:
    """Outputs of a member's layers, whose addresses are ``to``, of its observations."""
    for layer in range(len(sizes) - 1):
        inputs, outputs = sizes[layer], sizes[layer + 1]
        weight = where[2 * layer] + p * inputs * outputs * kind.itemsize
        bias = where[2 * layer + 1] + p * outputs * kind.itemsize
        floor = 0.0 if layer + 2 < len(sizes) else -np.inf
        product(kind, x, inputs, 1, weight, bias, to[layer], batch, inputs, outputs, floor)
        x = to[layer]


@kernel
def _q_values(obs: Any, found: Any, sizes: Any, where: Any, room: Any) -> None:
    many, batch = obs.shape[:2]
    to = room.ctypes.data + room.strides[0] * np.arange(len(room))
    for p in range(many):
        to[-1] = found[p].ctypes.data
        _forward(obs, p, obs[p].ctypes.data, batch, sizes, where, to)


@kernel(error_model="numpy")
def _gradients(
    rule: int, most: float, obs: Any, moves: Any, target: Any, weights: Any, losses: Any, sizes: Any, where: Any,
    out: Any, room: Any, turned: Any, zeros: Any, ones: Any,
) -> None:  # fmt: skip
    many, batch = obs.shape[:2]
    layers, size = len(sizes) - 1, obs.itemsize
    to = room.ctypes.data + room.strides[0] * np.arange(layers)
    slopes, left = room[layers:], room[:layers]
    zero, one = zeros.ctypes.data, ones.ctypes.data
    for p in range(many):
        first = obs[p].ctypes.data
        _forward(obs, p, first, batch, sizes, where, to)
        losses[p] = _loss(rule, weights[p], left[-1], moves[p], target[p], slopes[0], sizes[-1])
        for back in range(layers):
            layer = layers - 1 - back
            inputs, outputs = sizes[layer], sizes[layer + 1]
            x, slope = first if layer == 0 else to[layer - 1], slopes[back % 2].ctypes.data
            weight, bias = p * inputs * outputs * size, p * outputs * size
            product(obs, x, 1, inputs, slope, zero, out[2 * layer] + weight, inputs, batch, outputs, -np.inf)
            product(obs, one, batch, 1, slope, zero, out[2 * layer + 1] + bias, 1, batch, outputs, -np.inf)
            if layer:
                transposed(obs, where[2 * layer] + weight, turned.ctypes.data, inputs, outputs)
                before = slopes[1 - back % 2]
                product(
                    obs, slope, outputs, 1, turned.ctypes.data, zero, before.ctypes.data, batch, outputs, inputs,
                    -np.inf,
                )  # fmt: skip
                _through_relu(left[layer - 1], before, batch * inputs)
        if most < np.inf:
            _clip(obs, p, sizes, out, most)


@kernel
def _through_relu(left: Any, slope: Any, count: int) -> None:
    """The slope at what enters a ReLU, from that at what left it."""
    for k in range(count):
        slope[k] = 0 if left[k] <= 0 else slope[k]


@kernel(error_model="numpy")
def _loss(rule: int, weights: Any, q: Any, moves: Any, target: Any, slope: Any, choices: int) -> float:
    """A member's loss, and its slope at the values q, both (B * choices,)."""
    batch = len(moves)
    share = 1.0 / (batch * choices) if rule == 2 else 1.0 / batch
    total = 0.0
    slope[: batch * choices] = 0
    for b in range(batch):
        k = b * choices + moves[b]
        error = np.float64(q[k]) - np.float64(target[b])
        factor = share * weights[b]
        if rule == 0 and abs(error) >= 1:
            total += factor * (abs(error) - 0.5)
            slope[k] = factor * np.sign(error)
        else:
            half = 0.5 if rule == 0 else 1.0
            total += factor * half * error * error
            slope[k] = factor * 2 * half * error
    return total


@kernel(error_model="numpy")
def _clip(kind: Any, p: int, sizes: Any, out: Any, most: float) -> None:
    """Scale a member's gradient, in parts at ``out``, down to a norm of ``most``."""
    squares = 0.0
    for part in range(len(out)):
        squares += _squares(_part(kind, p, sizes, out, part))
    factor = most / (np.sqrt(squares) + 1e-6)
    if not factor >= 1:  # NaN stays
        for part in range(len(out)):
            row = _part(kind, p, sizes, out, part)
            row *= row.dtype.type(factor)


@kernel
def _part(kind: Any, p: int, sizes: Any, out: Any, part: int) -> Any:
    """A member's weights or biases of a layer."""
    count = sizes[part // 2 + 1] * (1 if part % 2 else sizes[part // 2])
    return numbers(kind, out[part] + p * count * kind.itemsize, count)


@kernel(fastmath=SUMS)
def _squares(row: Any) -> float:
    total = 0.0
    for j in range(len(row)):
        total += np.float64(row[j]) * np.float64(row[j])
    return total


@kernel(error_model="numpy")
def _targets(masked: bool, returns: Any, discount: Any, online: Any, target: Any, allowed: Any, out: Any) -> None:
    for p in range(out.shape[0]):
        for b in range(out.shape[1]):
            best = best_move(masked, online[p, b], allowed[p, b])
            out[p, b] = returns[p, b] + discount[p, b] * target[p, b, best]
