"""Second derivatives of a closure's loss as products, by differentiating twice.

Hv = d/dr grad E(w + r v) at r = 0 = grad (g . v), exact.

Source: Pearlmutter 1994. Differs: nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from optimizers._vector import dot

if TYPE_CHECKING:
    from optimizers._base import VectorOptimizer

__all__ = ["Differentiated", "dense_hessian"]


class Differentiated:
    """Loss and gradient of the objective at weights, kept so that Hessian products can follow.

    The weights must stay where they are until the last product is taken.

    Args:
        optimizer: whose closure is called once, with ``backward=False``.
        at: weights (*members, n).

    Raises:
        TypeError: the closure's loss cannot be differentiated: it was detached, or backward was called already.
    """

    def __init__(self, optimizer: VectorOptimizer, at: Tensor) -> None:
        optimizer.place(at)
        optimizer.memory["n_gradients"] += 1
        self.optimizer, self.at = optimizer, at
        self.params = [one for one in optimizer.layout.params if one.requires_grad]
        with torch.enable_grad():
            returned = optimizer.call(backward=False)
            self.loss = optimizer._objective(returned, at)  # (*members,)
            if not isinstance(returned, Tensor) or not returned.requires_grad:
                raise TypeError(
                    f"{type(optimizer).__name__} differentiates the loss itself: with backward=False the closure must "
                    "return the loss attached to its graph, without calling backward"
                )
            self.raw = self._flat(self._grad(returned.sum(), create_graph=True))
        self.gradient = optimizer.objective_gradient(self.raw.detach(), at)  # (*members, n)

    def product(self, v: Tensor) -> Tensor:
        """Hv for a vector v (*members, n): (*members, n)."""
        self.optimizer.memory["n_products"] += 1
        with torch.enable_grad():
            if not self.raw.requires_grad:  # a loss linear in the weights
                found = torch.zeros_like(v)
            else:
                found = self._flat(self._grad((self.raw * v).sum())).detach()
        return self._objective_product(found, v)

    def products(self, V: Tensor) -> Tensor:
        """H V for m vectors V (*members, m, n), in one batched pass: (*members, m, n)."""
        count = V.shape[-2]
        self.optimizer.memory["n_products"] += count
        if not self.raw.requires_grad:
            return self._objective_product(torch.zeros_like(V), V)
        with torch.enable_grad():
            found = torch.autograd.grad(
                self.raw, self.params, V.movedim(-2, 0), is_grads_batched=True, retain_graph=True, allow_unused=True
            )
        rows = [
            self._flat([one if g is None else g[i] for one, g in zip(self._zeros(), found, strict=True)])
            for i in range(count)
        ]
        return self._objective_product(torch.stack(rows, -2), V)

    def _objective_product(self, found: Tensor, v: Tensor) -> Tensor:
        optimizer = self.optimizer
        found = optimizer.mean_over_processes(found)
        if optimizer.option("maximize"):
            found = -found
        decay = optimizer._spread("weight_decay")
        if isinstance(decay, Tensor) and decay.ndim == v.ndim - 1 and v.ndim > self.at.ndim:
            decay = decay.unsqueeze(-2)
        return found + decay * v if isinstance(decay, Tensor) or decay else found

    def _grad(self, of: Tensor, create_graph: bool = False) -> list[Tensor]:
        found = torch.autograd.grad(of, self.params, create_graph=create_graph, retain_graph=True, allow_unused=True)
        return [zero if g is None else g for g, zero in zip(found, self._zeros(), strict=True)]

    def _zeros(self) -> list[Tensor]:
        return [torch.zeros_like(one) for one in self.params]

    def _flat(self, grads: list[Tensor]) -> Tensor:
        """One vector (*members, n); frozen parameters get zeros."""
        layout, given = self.optimizer.layout, iter(grads)
        parts = [next(given) if one.requires_grad else torch.zeros_like(one) for one in layout.params]
        return torch.cat([part.reshape(*layout.members, -1) for part in parts], -1)


def dense_hessian(of: Differentiated) -> Tensor:
    """The Hessian of each member, symmetrised: (*members, n, n)."""
    n = of.at.shape[-1]
    eye = torch.eye(n, dtype=of.at.dtype, device=of.at.device).expand(*of.at.shape[:-1], n, n)
    H = of.products(eye)
    return 0.5 * (H + H.mT)


def curvature_along(of: Differentiated, v: Tensor) -> Tensor:
    """v' H v of each member, (*members,)."""
    return dot(v, of.product(v))
