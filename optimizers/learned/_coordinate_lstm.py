"""The network of ``l2l``: one two-layer LSTM, shared by all coordinates, each with its own state.

x       = log_and_sign(gradient)                 # (*members, n, 2)
h1, c1  = LSTM(x, h1, c1);  h2, c2 = LSTM(h1, h2, c2)
step    = SCALE (h2 . w_out + b_out)             # added to the weights
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

__all__ = ["SCALE", "SHAPES", "STATE", "UNITS", "K", "advance", "begin", "fresh", "log_and_sign", "vary"]

UNITS = 20
K = 10.0
"""gradients below exp(-K) are small: there log_and_sign is linear"""
SCALE = 0.1
"""factor on the output, so that fresh weights make small steps"""

SHAPES: dict[str, tuple[int, ...]] = {
    "w_x1": (4 * UNITS, 2), "w_h1": (4 * UNITS, UNITS), "b1": (4 * UNITS,),
    "w_x2": (4 * UNITS, UNITS), "w_h2": (4 * UNITS, UNITS), "b2": (4 * UNITS,),
    "w_out": (UNITS,), "b_out": (),
}  # fmt: skip
STATE = ("h1", "c1", "h2", "c2")
"""each (*members, n, UNITS)"""


def log_and_sign(g: Tensor) -> Tensor:
    """(log|g| / K, sign g) for gradients of at least exp(-K), else (-1, exp(K) g): (...) -> (..., 2)."""
    size = g.abs().clamp_min(math.exp(-K)).log() / K
    return torch.stack([size, (g * math.exp(K)).clamp(-1.0, 1.0)], -1)


def fresh(generator: torch.Generator) -> dict[str, Tensor]:
    """Weights before meta-training: uniform within 1 / sqrt(inputs), forget gates open."""
    phi = {}
    for name, shape in SHAPES.items():
        bound = 1 / math.sqrt(shape[-1] if name.startswith("w") else UNITS)
        phi[name] = (2 * torch.rand(shape, generator=generator) - 1) * bound
    for name in ("b1", "b2"):
        phi[name][UNITS : 2 * UNITS] += 1.0
    return phi


def begin(phi: dict[str, Tensor], like: Tensor, sizes: list[int]) -> dict[str, Tensor]:
    """The state before the first step, for gradients ``like`` (*members, n)."""
    return {name: like.new_zeros(()).expand(*like.shape, UNITS) for name in STATE}


def vary(state: dict[str, Tensor], sizes: list[int], generator: torch.Generator) -> dict[str, Tensor]:
    """What meta-training draws at random in the first state: nothing."""
    return state


def advance(
    phi: dict[str, Tensor], state: dict[str, Tensor], g: Tensor, sizes: list[int]
) -> tuple[Tensor, dict[str, Tensor]]:
    """One step: from weights of the network, state and gradients (*members, n) to (step, state).

    ``sizes``, the numbers of coordinates of each tensor, play no part: coordinates do not know each other.
    """
    x = log_and_sign(g).reshape(-1, 2)
    h1, c1, h2, c2 = (state[name].reshape(-1, UNITS) for name in STATE)
    none = torch.zeros_like(phi["b1"])  # torch's cell has two biases, one is enough
    h1, c1 = torch.lstm_cell(x, (h1, c1), phi["w_x1"], phi["w_h1"], phi["b1"], none)
    h2, c2 = torch.lstm_cell(h1, (h2, c2), phi["w_x2"], phi["w_h2"], phi["b2"], none)
    step = SCALE * (h2 @ phi["w_out"] + phi["b_out"])
    states = (one.view(*g.shape, UNITS) for one in (h1, c1, h2, c2))
    return step.view(g.shape), dict(zip(STATE, states, strict=True))
