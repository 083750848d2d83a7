"""The network of ``l2l``: one two-layer LSTM, shared by all coordinates, each with its own state.

x       = log_and_sign(gradient)                 # (*members, n, 2)
h1, c1  = LSTM(x, h1, c1);  h2, c2 = LSTM(h1, h2, c2)
step    = SCALE (h2 . w_out + b_out)             # added to the weights
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import pad

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
    h1, c1, h2, c2 = (state[name] for name in STATE)
    h1, c1 = _cell(phi, "1", log_and_sign(g), h1, c1)
    h2, c2 = _cell(phi, "2", h1, h2, c2)
    step = SCALE * (linear(h2, phi["w_out"].unsqueeze(-1)).squeeze(-1) + phi["b_out"])
    return step, dict(zip(STATE, (h1, c1, h2, c2), strict=True))


def _cell(phi: dict[str, Tensor], layer: str, x: Tensor, h: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
    """A long short-term memory cell, gates in the order in, forget, cell, out: (h, c), each (*members, n, units)."""
    gates = linear(x, phi[f"w_x{layer}"].T) + linear(h, phi[f"w_h{layer}"].T) + phi[f"b{layer}"]
    enter, forget, cell, leave = gates.chunk(4, -1)
    c = forget.sigmoid() * c + enter.sigmoid() * cell.tanh()
    return leave.sigmoid() * c.tanh(), c


def linear(x: Tensor, W: Tensor) -> Tensor:
    """x W for x (*members, n, inputs), one product a member, so that members do not feel each other.

    Products round by how matrices lie in memory: rows are filled up to whole cache lines, alike for every member.
    """
    if x.ndim != 3:
        return x @ W
    line = 64 // x.element_size()
    inputs, outputs = -x.shape[-1] % line, -W.shape[-1] % line
    padded = pad(W, (0, outputs, 0, inputs)).expand(len(x), -1, -1)
    return torch.bmm(pad(x, (0, inputs)), padded)[..., : W.shape[-1]]
