"""Recurrent networks read a sequence and say something of all of it, or of every step.

tanh    h_t = tanh(W x_t + b + U h_{t-1} + c)                                     layers on top of each other
lstm    i, f, o = sigmoid, g = tanh of W x_t + b + U h_{t-1} + c;   c_t = f c_{t-1} + i g,   h_t = o tanh(c_t)

States begin at zero; a linear layer reads the last layer's states. First weights are torch's own: U(-k, k) with
k = hidden^(-1/2).
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

__all__ = ["Recurrent"]


class Recurrent(nn.Module):
    """Layers of one kind and a linear readout; examples (batch, time, inputs).

    Args:
        inputs: numbers of a time step; 0 for symbols, examples (batch, time) of integers below ``outputs``.
        hidden: units of a layer.
        layers: how many.
        outputs: numbers that are said.
        kind: tanh or lstm.
        every_step: scores (batch, time, outputs) of every step, else (batch, outputs) after the last.
    """

    def __init__(
        self, inputs: int, hidden: int, layers: int, outputs: int, kind: Literal["tanh", "lstm"] = "tanh",
        every_step: bool = False,
    ) -> None:  # fmt: skip
        super().__init__()
        self.symbols = outputs if inputs == 0 else 0
        cells = nn.RNN if kind == "tanh" else nn.LSTM
        self.cells = cells(self.symbols or inputs, hidden, layers, batch_first=True)
        self.readout = nn.Linear(hidden, outputs)
        self.every_step = every_step

    def forward(self, x: Tensor, state: Tensor | tuple[Tensor, Tensor] | None = None) -> Tensor:
        """Scores, from a state or from zero."""
        return self.onward(x, state)[0]

    def onward(
        self, x: Tensor, state: Tensor | tuple[Tensor, Tensor] | None
    ) -> tuple[Tensor, Tensor | tuple[Tensor, Tensor]]:
        """Scores, and the state after the last step, to go on from."""
        if self.symbols:
            x = nn.functional.one_hot(x, self.symbols).to(self.readout.weight.dtype)
        found, state = self.cells(x, state)  # (batch, time, hidden)
        scores: Tensor = self.readout(found if self.every_step else found[:, -1])
        return scores, state

    @torch.no_grad()
    def write(self, start: Tensor, count: int, generator: torch.Generator) -> Tensor:
        """Go on with a text of symbols: count more (count,), each drawn by its probability after start (n,)."""
        scores, state = self.onward(start[None], None)
        drawn = []
        for _ in range(count):
            drawn.append(torch.multinomial(scores[0, -1].softmax(-1), 1, generator=generator))
            scores, state = self.onward(drawn[-1][None], state)
        return torch.cat(drawn)
