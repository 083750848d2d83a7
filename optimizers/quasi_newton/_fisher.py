"""Curvature from averaged iterates and stored gradients: what adaQN and aSNAQ share.

The last mF gradients lie in a ring F, which all members turn in step; F s / |F| and F' of it are the empirical Fisher
matrix times s. Every L steps the iterates of these steps are averaged; if the loss there is more than gamma times that
at the anchor (the average before), the member goes back to the anchor and forgets; else

    s = average - anchor,   y = F' F s / |F|,   kept where s'y > eps y'y

H0 = diag(1 / sqrt(sum_j g_j^2 + eps)) over the gradients in F. Its sum is kept up to date in float64 as gradients enter
and leave and is computed anew once a turn of the ring, so that rounding does not stay.

Source: Keskar and Berahas 2016 (adaQN); Indrapriyadarsini et al. 2020 (aSNAQ). Differs: see adaqn and asnaq.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from optimizers._evaluation import Closure
from optimizers._vector import blend, col, dot, everywhere, norm, nowhere, unit
from optimizers.quasi_newton._engine import QuasiNewton
from optimizers.quasi_newton._lbfgs import LimitedMemory, combine, compiled, rows

__all__ = ["Fisher"]


CACHE = 2 << 20
"""bytes of F that are worked on at a time"""


class Fisher(QuasiNewton):
    """Options: mL pairs, mF gradients, L steps to an aggregation, eps, gamma, scale_y, pair_test, h0, anchor."""

    matrix = LimitedMemory("mL")
    choices_h0 = ("fifo", "adagrad", "rms")
    monitor: Closure | None = None
    """a closure of a fixed batch for the reset test; None: the step's own batch. Not kept in checkpoints"""

    def initial(self, w: Tensor) -> dict[str, Any]:
        """Besides: F, which of its rows hold a gradient, the sum of squares, the sum of iterates and the anchor."""
        memory, members, mF = super().initial(w), w.shape[:-1], self.option("mF")
        memory["F"] = w.new_zeros(*members, mF, w.shape[-1])
        memory["held"] = w.new_zeros(*members, mF)  # 1 where F has a gradient
        memory["turn"] = torch.zeros(1, dtype=torch.int64, device=w.device)
        memory["squares"] = torch.zeros_like(w, dtype=torch.float64)
        for name in ("w_sum", "w_anchor"):
            memory[name] = torch.zeros_like(w)
        return memory

    def aggregates(self) -> bool:
        """Whether this step ends with an aggregation."""
        return (self.k + 1) % int(self.option("L")) == 0

    def coming(self) -> str:
        """The kind of the next step, each of which is one CUDA graph: "start", "plain", "first" or a later "aggregate".

        An aggregation that computes the sum of squares anew is called "refresh".
        """
        if not self.aggregates():
            return "plain" if self.k else "start"
        if self.k + 1 == int(self.option("L")):
            return "first"
        return "refresh" if self.refreshes() else "aggregate"

    def diagonal(self, squares: Tensor) -> Tensor:
        """H0 of a sum of squares, (*members, n)."""
        h = squares.to(self.layout.dtype, copy=True)  # narrowed first: a root is slow in float64
        return h.add_(self.option("eps")).rsqrt_()

    def scaled_step(self, g: Tensor, rate: float | Tensor, squares: Tensor) -> tuple[Tensor, Tensor]:
        """``unit_step`` with H0 of a sum of squares (*members, n)."""
        normalize = self.option("normalize")
        if host := self.compiled(g, rate):
            found: tuple[Tensor, Tensor] = host.direction(
                self.memory, g, normalize, rate, squares=squares, eps=self.option("eps")
            )
            return found
        return unit(self.matrix.times(self, g, self.diagonal(squares)), normalize, rate)

    def remember(self, g: Tensor, ok: Tensor) -> None:
        """Put a gradient into F where ok (*members,) holds; an empty row elsewhere."""
        memory = self.memory
        F, held, turn, squares = memory["F"], memory["held"], memory["turn"], memory["squares"]
        rule = self.option("h0")
        host = compiled(g) if rule == "fifo" else None
        if host:
            host.enter(F, held, int(turn), squares, g, ok)
            turn.add_(1).remainder_(self.option("mF"))
            return
        g = blend(ok, g, 0.0)
        wide = g.double()
        on_host = type(F) is Tensor and F.is_cpu
        # on the host the ring's place is known for free and its row is a view
        row = F.select(-2, int(turn)) if on_host else F.index_select(-2, turn).squeeze(-2)
        if rule == "fifo":
            # the square that leaves is the one that entered: nothing of it stays
            was = held.index_select(-1, turn)
            if not nowhere(was > 0):
                old = row.double() if everywhere(was > 0) else (row * was).double()
                squares.addcmul_(old, old, value=-1).clamp_(min=0)
            squares.addcmul_(wide, wide)
        elif rule == "adagrad":
            squares.addcmul_(wide, wide)
        else:
            squares.mul_(0.99).addcmul_(wide, wide, value=0.01)
        if on_host:
            row.copy_(g)
        else:
            F.index_copy_(-2, turn, g.unsqueeze(-2))
        held.index_copy_(-1, turn, col(ok.to(held.dtype)))
        turn.add_(1).remainder_(self.option("mF"))

    def fisher_times(self, s: Tensor) -> Tensor:
        """y = F' F s / |F| (*members, n); not divided with scale_y = "sum"."""
        F, held = self.memory["F"], self.memory["held"]
        weight = held / col(held.sum(-1).clamp(min=1)) if self.option("scale_y") == "mean" else held
        if host := compiled(s):
            return host.fisher_times(F, weight, s)
        y = torch.empty_like(s)
        for near, s_near, share, y_near in self.near(F, s, weight, y):
            combine(rows(near, s_near).mul_(share), near, out=y_near)
        return y

    def near(self, *tensors: Tensor) -> Iterator[tuple[Tensor, ...]]:
        """Members together as many as the processor's cache holds the F of; all of them on a device.

        The tensors are (*members, ...), the first is F: several products by it then read it from the memory once.
        Where the cache holds no two, each member comes alone, without the axis of members: such products are faster.
        """
        F = tensors[0]
        if F.ndim == 2 or not F.is_cpu:
            yield tensors
            return
        many = CACHE // (F[0].numel() * F.element_size())
        yield from zip(*(one.split(many) if many > 1 else one.unbind() for one in tensors), strict=True)

    def not_grown(self, new: Tensor, old: Tensor) -> Tensor:
        """Where the loss at ``new`` is at most gamma times that at ``old``; also sound for losses below zero."""
        closure = self._closure
        if self.monitor is not None:
            self._closure = self.monitor
        E_new, E_old = self.loss(new), self.loss(old)
        self._closure = closure
        return E_new <= E_old + (self.option("gamma") - 1) * E_old.abs()

    def pair(self, w_new: Tensor, good: Tensor) -> Tensor:
        """Learn the pair of two averages where good (*members,) holds; returns where it was accepted."""
        s = w_new - self.memory["w_anchor"]
        y = self.fisher_times(s)
        sy, length = dot(s, y), norm(y)
        yy = length.square()
        least = yy if self.option("pair_test") == "yy" else norm(s) * length
        accept = good & torch.isfinite(yy) & (sy > self.option("eps") * least)
        self.matrix.update(self, s, y, accept, sy, yy)
        self.count("n_accepted", accept)
        self.count("n_rejected", good & ~accept)
        return accept

    def forget(self, drop: Tensor) -> None:
        """Clear pairs, F and velocity of the members where drop (*members,) holds."""
        if nowhere(drop):
            return
        super().forget(drop)
        self.memory["held"].mul_(col(~drop))
        if self.option("h0") != "adagrad":
            self.memory["squares"].mul_(col(~drop))

    def refreshes(self) -> bool:
        """Whether the sum of squares is computed anew at the end of this step, as it is once a turn of the ring."""
        L = int(self.option("L"))
        turns = -(-int(self.option("mF")) // L)
        return self.option("h0") == "fifo" and self.aggregates() and ((self.k + 1) // L) % turns == 0

    def refresh(self) -> None:
        """The sum of squares, exactly: squared and summed in float64, as when each entered."""
        if not self.refreshes():
            return
        tensors = [self.memory[name] for name in ("F", "held", "squares")]
        if host := compiled(tensors[0][..., 0]):
            host.squares_of(*tensors)
        else:
            parts = self.near(*tensors)
            for F, held, squares in parts:
                squares.copy_(combine(held.double(), F.double().square()))
