"""oLMoQ on overlapping batches: each batch is three sub-batches, and the window of three slides by one a step.

    batch k = sub-batches k, k + 1, k + 2, each with its own gradient g_j(w); g(w, k) is their mean
    g1 = (1 + mu) g(w_k, k) - mu g(w_{k-1}, k - 1),   p = -H g1 / ||H g1||
    v_{k+1} = mu v_k + alpha_k p,   w_{k+1} = w_k + v_{k+1},   s = alpha_k p
    y = g_j(w_{k+1}) - ((1 + mu) g_j(w_k) - mu g_j(w_{k-1})) + lam s,   j = k + 1: the sub-batch in all three windows

so that a pair compares gradients of the same samples, without a second gradient of the batch.

Source: Indrapriyadarsini et al. 2021 (after Berahas, Nocedal and Takac 2016).
Differs: a pair is taken only where s'y > delta ||s||^2; the first pair, which has no sub-batch in three windows,
compares batch gradients.
Closure: ``closure(part=0)`` of sub-batch k + part, called for part 0, 1 and 2 a step; or a sequence of three closures.
Storage (2 m + 9) n.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from functools import partial
from typing import Any, Unpack

import torch
from torch import Tensor

from optimizers._evaluation import Closure
from optimizers._options import Common, Params, Rate, given
from optimizers._vector import dot
from optimizers.quasi_newton._engine import Online
from optimizers.quasi_newton._lbfgs import LimitedMemory
from optimizers.quasi_newton._momentum import estimated
from optimizers.quasi_newton._pairs import regularised

__all__ = ["OLMoQMB"]

PARTS = """{name}.step needs the gradients of three sub-batches: three closures, or one that takes the part:

    def closure(part=0):
        optimizer.zero_grad()
        loss = loss_function(model(x[k + part]), target[k + part])
        loss.backward()
        return loss

    optimizer.step(closure)"""
STORED = ("s", "g1", "one_before", "last_before", "last_twice_before")


class OLMoQMB(Online):
    """oLMoQ-mb. Source: Indrapriyadarsini et al. 2021. Differs: guarded pairs, see the module's docstring.

    Args:
        params: parameters or groups; lr: alpha_k = lr times the schedule; normalize: directions of length one.
        mu: momentum, a number or one of each member (P,); m: pairs kept.
        lam: curvature added along s; delta: smallest curvature of a pair.
        h0: factor of H0, "mean" over pairs, "newest" or "identity".
        schedule: "rsqrt" 1 / sqrt(k + 1), "robbins-monro" tau / (tau + k) or "constant".
    """

    needs_parts = True
    """the closure takes an argument ``part``"""
    estimate = "momentum"
    matrix = LimitedMemory()
    pair_rule = regularised

    def __init__(
        self, params: Params, lr: Rate = 0.5, *, mu: Rate = 0.8, m: int = 8, lam: float = 0.0, delta: float = 1e-6,
        normalize: bool = True, schedule: str = "rsqrt", tau: float = 10.0, h0: str = "mean",
        **common: Unpack[Common],
    ) -> None:  # fmt: skip
        super().__init__(params, given(locals()))

    def initial(self, w: Tensor) -> dict[str, Any]:
        """Besides: the open pair and the sub-batch gradients that are still in use."""
        memory = super().initial(w)
        memory |= {name: torch.zeros_like(w) for name in STORED}
        memory["pending"] = torch.zeros(w.shape[:-1], dtype=torch.bool, device=w.device)
        return memory

    def step(self, closure: Closure | Sequence[Closure] | None = None) -> Any:
        """Make one step with ``closure(part=...)`` or three closures; returns the loss of the first sub-batch."""
        if isinstance(closure, Sequence):
            three = tuple(closure)
            if len(three) != 3:
                raise ValueError(f"{type(self).__name__}.step takes three closures; found {len(three)}")

            def closure(part: int = 0) -> Any:
                return three[part]()

        elif closure is not None and "part" not in inspect.signature(closure).parameters:
            raise TypeError(PARTS.format(name=type(self).__name__))
        return super().step(closure)

    def move(self, w: Tensor) -> Tensor:
        """One step, see the module's docstring."""
        memory, mu, closure = self.memory, self.momentum(), self._closure
        assert closure is not None
        parts = []
        for part in range(3):
            self._closure = partial(closure, part=part)
            parts.append(self.gradient(w))
        self._closure = closure
        g = (parts[0] + parts[1] + parts[2]) / 3
        finite = torch.isfinite(dot(g, g))
        if self.k == 1:
            y = g - memory["g1"]
        else:
            y = parts[0] - ((1 + mu) * memory["one_before"] - mu * memory["last_twice_before"])
        self.learn(memory["s"], y, memory["g1"], memory["pending"] & finite)
        g1 = estimated(memory, g, mu)
        s, ok = self.displacement(g1)
        ok = ok & finite
        memory["v"].copy_(mu * memory["v"] + s)
        new = (s, g1, parts[1], parts[2], memory["last_before"].clone())
        for name, one in zip(STORED, new, strict=True):
            memory[name].copy_(one)
        memory["pending"].copy_(ok)
        return self._settle(ok, w + memory["v"], w)
