"""The network of ``hierarchical``: gated recurrent units for each coordinate, each tensor and the whole network.

With decays d and e that the coordinate's own state predicted at the step before, s = 1, 1/2, 1/4, 1/8:

average = d^s average + (1 - d^s) gradient                     # four time scales
square  = e square + (1 - e) average^2
scaled  = asinh(average / sqrt(square + TINY))
x       = scaled, products of neighbouring scaled, log square minus its mean over s, log_lr minus its network mean
param   = GRU(x, param; gates biased by tensor and whole)
tensor  = GRU(mean over the tensor of (param, x), tensor; gates biased by whole)
whole   = GRU(mean over tensors of tensor, whole)
direction = param . w_update + scaled . w_shortcut, divided by its root mean square over the tensor
raised  = clip(log_lr + param . w_lr + b_lr);   log_lr = keep log_lr + (1 - keep) raised
step    = -exp(raised + offset) direction                      # added to the weights
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from optimizers.learned._coordinate_lstm import linear

__all__ = ["SHAPES", "STATE", "advance", "begin", "fresh", "unit_rms", "vary"]

PARAM, TENSOR, WHOLE = 10, 20, 20
"""units of a level"""
SCALES = 4
INPUTS = SCALES + (SCALES - 1) + SCALES + 1
TINY = 1e-16
LIMIT = 33.0
"""log_lr stays within +-LIMIT"""
LR_RANGE = (1e-5, 1e-1)
"""where meta-training draws first learning rates"""
GATE_BIAS, DECAY_BIAS, SQUARE_BIAS, KEEP_BIAS, OFFSET = 2.2, 2.2, 3.2, 3.2, -1.0


def _cell(name: str, inputs: int, units: int) -> dict[str, tuple[int, ...]]:
    both = inputs + units
    return {
        f"{name}_gates": (2 * units, both), f"{name}_gates_b": (2 * units,),
        f"{name}_new": (units, both), f"{name}_new_b": (units,), f"{name}_first": (units,),
    }  # fmt: skip


SHAPES: dict[str, tuple[int, ...]] = {
    **_cell("param", INPUTS, PARAM), **_cell("tensor", PARAM + INPUTS, TENSOR), **_cell("whole", TENSOR, WHOLE),
    "tensor_to_param": (3 * PARAM, TENSOR), "whole_to_param": (3 * PARAM, WHOLE), "to_param_b": (3 * PARAM,),
    "whole_to_tensor": (3 * TENSOR, WHOLE), "to_tensor_b": (3 * TENSOR,),
    "w_update": (PARAM,), "w_shortcut": (SCALES,), "w_decay": (PARAM,), "b_decay": (),
    "w_square": (PARAM,), "b_square": (), "w_lr": (PARAM,), "b_lr": (), "keep_logit": (), "offset": (),
}  # fmt: skip
STATE = ("param", "tensor", "whole", "log_lr", "average", "square", "decays")
"""(*members, n, PARAM), (*members, tensors, TENSOR), (*members, WHOLE), (*members, n), twice (*members, n, SCALES),
(*members, n, 2)"""
CONSTANTS = {"b_decay": DECAY_BIAS, "b_square": SQUARE_BIAS, "keep_logit": KEEP_BIAS, "offset": OFFSET}


def fresh(generator: torch.Generator) -> dict[str, Tensor]:
    """Weights before meta-training: the direction is about the mean of the scaled gradients, log_lr stays."""
    phi = {}
    for name, shape in SHAPES.items():
        if name.endswith("_first"):
            phi[name] = 2 * torch.rand(shape, generator=generator) - 1
        elif name.endswith("_gates_b"):
            phi[name] = torch.full(shape, GATE_BIAS)
        elif name.endswith("_b") or name in ("w_lr", "b_lr"):
            phi[name] = torch.zeros(shape)
        elif name in CONSTANTS:
            phi[name] = torch.tensor(CONSTANTS[name])
        else:
            phi[name] = torch.randn(shape, generator=generator) * 0.5 / math.sqrt(shape[-1])
    phi["w_shortcut"] = torch.full((SCALES,), 1 / SCALES)
    return phi


def begin(phi: dict[str, Tensor], like: Tensor, sizes: list[int], lr: float = 1e-3) -> dict[str, Tensor]:
    """The state before the first step, for gradients ``like`` (*members, n) of tensors with ``sizes`` coordinates."""
    members, zero = like.shape[:-1], like.new_zeros(())
    return {
        "param": phi["param_first"].expand(*like.shape, PARAM),
        "tensor": phi["tensor_first"].expand(*members, len(sizes), TENSOR),
        "whole": phi["whole_first"].expand(*members, WHOLE),
        "log_lr": (zero + math.log(lr)).expand(like.shape),
        "average": zero.expand(*like.shape, SCALES),
        "square": zero.expand(*like.shape, SCALES),
        "decays": zero.expand(*like.shape, 2),
    }


def vary(state: dict[str, Tensor], sizes: list[int], generator: torch.Generator) -> dict[str, Tensor]:
    """What meta-training draws at random in the first state: learning rates, by tensor and some by coordinate."""
    low, high = (math.log(one) for one in LR_RANGE)
    like = state["log_lr"]
    by_tensor = _spread(torch.rand(*like.shape[:-1], len(sizes), 1, generator=generator), sizes).squeeze(-1)
    apart = 0.5 * torch.rand(*like.shape[:-1], 1, generator=generator)
    drawn = (1 - apart) * by_tensor + apart * torch.rand(like.shape, generator=generator)
    return {**state, "log_lr": low + (high - low) * drawn}


def unit_rms(direction: Tensor, sizes: list[int]) -> Tensor:
    """A direction (*members, n) with root mean square one over each tensor; zero stays zero."""
    parts = direction.split(sizes, -1)
    return torch.cat([part / (part.square().mean(-1, keepdim=True) + TINY).sqrt() for part in parts], -1)


def advance(
    phi: dict[str, Tensor], state: dict[str, Tensor], g: Tensor, sizes: list[int]
) -> tuple[Tensor, dict[str, Tensor]]:
    """One step: from weights of the network, state and gradients (*members, n) to (step, state)."""
    average, square, scaled, x = _inputs(state, g)
    tensor, whole = state["tensor"], state["whole"].unsqueeze(-2)
    bias = linear(tensor, phi["tensor_to_param"].T) + linear(whole, phi["whole_to_param"].T) + phi["to_param_b"]
    param = _gated(phi, "param", x, state["param"], _spread(bias, sizes))
    below = _mean(torch.cat([param, x], -1), sizes)
    tensor = _gated(phi, "tensor", below, tensor, linear(whole, phi["whole_to_tensor"].T) + phi["to_tensor_b"])
    whole = _gated(phi, "whole", tensor.mean(-2, keepdim=True), whole, None).squeeze(-2)

    direction = unit_rms(_number(param, phi["w_update"]) + _number(scaled, phi["w_shortcut"]), sizes)
    log_lr = state["log_lr"]
    raised = log_lr + _number(param, phi["w_lr"]) + phi["b_lr"]
    raised = raised + (raised.clamp(-LIMIT, LIMIT) - raised).detach()  # meta-gradients pass through the clip
    keep = phi["keep_logit"].sigmoid()
    decays = torch.stack(
        [_number(param, phi["w_decay"]) + phi["b_decay"], _number(param, phi["w_square"]) + phi["b_square"]], -1
    )
    new = (param, tensor, whole, keep * log_lr + (1 - keep) * raised, average, square, decays.sigmoid())
    return -(raised + phi["offset"]).exp() * direction, dict(zip(STATE, new, strict=True))


def _inputs(state: dict[str, Tensor], g: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Averages, their squares, scaled gradients, and all inputs of a coordinate."""
    d, e = state["decays"][..., :1], state["decays"][..., 1:]
    d = torch.cat([d, d.sqrt(), d.sqrt().sqrt(), d.sqrt().sqrt().sqrt()], -1)
    average = d * state["average"] + (1 - d) * g.unsqueeze(-1)
    square = e * state["square"] + (1 - e) * average.square()
    scaled = torch.asinh(average / (square + TINY).sqrt())
    log_square = (square + TINY).log()
    log_lr = state["log_lr"].unsqueeze(-1)
    x = torch.cat([
        scaled, scaled[..., :-1] * scaled[..., 1:],
        log_square - log_square.mean(-1, keepdim=True), log_lr - log_lr.mean(-2, keepdim=True),
    ], -1)  # fmt: skip
    return average, square, scaled, x


def _number(x: Tensor, weights: Tensor) -> Tensor:
    """A number from the features of each coordinate, (*members, n)."""
    return linear(x, weights.unsqueeze(-1)).squeeze(-1)


def _gated(phi: dict[str, Tensor], name: str, x: Tensor, h: Tensor, bias: Tensor | None) -> Tensor:
    """A gated recurrent unit whose gates get an additional bias (..., 3 units) from the levels above."""
    units = h.shape[-1]
    gates = linear(torch.cat([x, h], -1), phi[f"{name}_gates"].T) + phi[f"{name}_gates_b"]
    if bias is not None:
        gates = gates + bias[..., : 2 * units]
    reset, keep = gates.sigmoid().split(units, -1)
    new = linear(torch.cat([x, reset * h], -1), phi[f"{name}_new"].T) + phi[f"{name}_new_b"]
    if bias is not None:
        new = new + bias[..., 2 * units :]
    return keep * h + (1 - keep) * new.tanh()


def _mean(x: Tensor, sizes: list[int]) -> Tensor:
    """Means over each tensor: (*members, n, features) -> (*members, tensors, features)."""
    return torch.stack([part.mean(-2) for part in x.split(sizes, -2)], -2)


def _spread(x: Tensor, sizes: list[int]) -> Tensor:
    """To each coordinate what its tensor has: (*members, tensors, features) -> (*members, n, features)."""
    parts = [x[..., t : t + 1, :].expand(*x.shape[:-2], size, -1) for t, size in enumerate(sizes)]
    return torch.cat(parts, -2)
