"""Curvature pairs sampled around the weights, forgotten after every step.

s_i = r x_i, x_i ~ N(0, I)
y_i = (Hessian) s_i                                          products: one batched Hessian product (option II)
y_i = gradient(w) - gradient(w - s_i)                        differences: m more gradients (option I)

Source: A. S. Berahas, M. Jahani, M. Takac, 2019. Differs: nothing.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, ClassVar

import torch
from torch import Tensor

from optimizers._base import VectorOptimizer
from optimizers._options import require
from optimizers._products import Differentiated

__all__ = ["Sampled", "check_sampling"]


def check_sampling(m: int, r: float, pairs: str, eps: float) -> None:
    """Raise ValueError where an option of the sampling is out of its range."""
    require(m >= 1, "m", m, "1 or larger")
    require(r > 0, "r", r, "larger than 0")
    require(pairs in ("products", "differences"), "pairs", pairs, "'products' or 'differences'")
    require(eps >= 0, "eps", eps, "0 or larger")


class Sampled(VectorOptimizer):
    """Base of the sampled methods; options ``m``, ``r``, ``pairs`` and ``seed``.

    The generator's state lies in the memory, on the host, so that a checkpoint goes on with the same numbers and every
    device sees the same ones.
    """

    on_host: ClassVar[tuple[str, ...]] = ("generator",)

    def initial(self, w: Tensor) -> dict[str, Any]:
        """The state of one generator, (bytes,), or of one a member, (P, bytes)."""
        seed = self.option("seed")
        if not isinstance(seed, Iterable):
            return {"generator": torch.Generator().manual_seed(seed).get_state()}
        seeds = list(seed)
        if len(seeds) != self.many:
            raise ValueError(f"seed has {len(seeds)} numbers; there are {self.many} members")
        states = [torch.Generator().manual_seed(one).get_state() for one in seeds]
        return {"generator": torch.stack(states) if w.ndim > 1 else states[0]}

    def directions(self, w: Tensor) -> Tensor:
        """x (*members, m, n), normal; a subclass may draw its own.

        With one seed all members get the same directions, so that a member's steps do not depend on its neighbours.
        """
        kept, shape = self.memory["generator"], (self.option("m"), w.shape[-1])
        drawn = []
        for state in kept.reshape(-1, kept.shape[-1]):
            generator = torch.Generator()
            generator.set_state(state.clone())
            drawn.append(torch.randn(shape, generator=generator, dtype=torch.float64))
            state.copy_(generator.get_state())
        x = torch.stack(drawn) if kept.ndim > 1 else drawn[0]
        return x.to(w.device, w.dtype).expand(*w.shape[:-1], *shape)

    def _used(self, used: list[bool]) -> Tensor:
        """1 for the coordinates of parameters that the loss uses, else 0, (n,): frozen ones must not be moved."""
        layout = self.layout
        sizes = zip(used, layout.sizes, strict=True)
        parts = [torch.full((size,), float(one), dtype=layout.dtype, device=layout.device) for one, size in sizes]
        return torch.cat(parts)

    def sampled(self, w: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Loss (*members,), gradient (*members, n) and pairs S, Y (*members, m, n) at weights (*members, n)."""
        S = self.option("r") * self.directions(w)
        if self.option("pairs") == "products":
            at = Differentiated(self, w)
            S = S * self._used(at.used)
            return at.loss, at.gradient, S, at.products(S)
        loss, g = self.evaluate(w)
        S = S * self._used([one.grad is not None for one in self.layout.params])
        return loss, g, S, torch.stack([g - self.gradient(w - s) for s in S.unbind(-2)], -2)
