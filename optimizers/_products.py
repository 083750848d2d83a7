"""Second derivatives of a closure's loss as products, by differentiating twice.

Hv = d/dr grad E(w + r v) at r = 0 = grad (g . v), exact.

Source: Pearlmutter 1994. Differs: nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from optimizers._vector import dense, dot

if TYPE_CHECKING:
    from optimizers._base import VectorOptimizer

__all__ = ["Differentiated", "curvature_along", "dense_hessian"]

TEMPLATE = """{name} differentiates the loss itself: with backward=False the closure must return the loss attached to
its graph, without no_grad, detach or a call of backward.

    def closure(backward=True):
        optimizer.zero_grad()
        loss = loss_function(model(x), target)
        if backward:
            loss.backward()
        return loss"""

TWICE = """{error}

{name} differentiates twice, and this operation has a first derivative only. The forward pass must take another kernel:
of a recurrent layer on a GPU inside `with torch.backends.cudnn.flags(enabled=False):`, of attention inside
`with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):`."""


class Differentiated:
    """Loss and gradient of the objective at weights, kept so that Hessian products can follow.

    The weights must stay where they are until the last product is taken. Parameters that are frozen, or that the loss
    does not use, have zeros in the gradient and in products.

    Args:
        optimizer: whose closure is called once, with ``backward=False``.
        at: weights (*members, n).

    Raises:
        TypeError: the closure's loss cannot be differentiated: it was detached, or backward was called already.
        RuntimeError: an operation of the model has no second derivative.
    """

    def __init__(self, optimizer: VectorOptimizer, at: Tensor) -> None:
        optimizer.place(at)
        optimizer.memory["n_gradients"] += 1
        self.optimizer, self.at = optimizer, at
        self.params = [one for one in optimizer.layout.params if one.requires_grad]
        returned = optimizer.call(backward=False)
        self.loss = optimizer._objective(returned, at)  # (*members,)
        if not isinstance(returned, Tensor) or not returned.requires_grad:
            raise TypeError(TEMPLATE.format(name=type(optimizer).__name__))
        with torch.enable_grad():
            self._differentiate(returned.sum())
        if optimizer._returned is returned:
            optimizer._returned = returned.detach()  # who keeps the losses of steps does not keep their graphs
        self.gradient = optimizer.objective_gradient(self.raw.detach(), at)  # (*members, n)

    def _differentiate(self, total: Tensor) -> None:
        """Set ``raw``, the gradient of the closure's loss on its own graph, (*members, n)."""
        self.raw = self.flat(self.grad([total], create_graph=True))

    def product(self, v: Tensor) -> Tensor:
        """Hv for a vector v (*members, n): (*members, n)."""
        self.optimizer.memory["n_products"] += 1
        return self.objective_product(self.raw_product(v), v)

    def raw_product(self, v: Tensor) -> Tensor:
        """The product with the closure's loss alone: no sign, decay or mean over processes."""
        if not self.raw.requires_grad:  # a loss linear in the weights
            return torch.zeros_like(v)
        return self.flat(self.grad([self.raw], [v]))

    def products(self, V: Tensor, chunk: int = 256) -> Tensor:
        """H V for m vectors V (*members, m, n), ``chunk`` of them in a batched pass: (*members, m, n)."""
        self.optimizer.memory["n_products"] += V.shape[-2]
        if not self.raw.requires_grad:
            return self.objective_product(torch.zeros_like(V), V)
        try:
            found = [self.batched([self.raw], [part.movedim(-2, 0)]).movedim(0, -2) for part in V.split(chunk, -2)]
        except RuntimeError as error:
            if "vmap" not in str(error) and "batching" not in str(error):
                raise
            found = [self.raw_product(v).unsqueeze(-2) for v in V.unbind(-2)]  # an operation that does not batch
        return self.objective_product(torch.cat(found, -2), V)

    def batched(self, of: Sequence[Tensor], along: Sequence[Tensor]) -> Tensor:
        """Gradients of ``of`` along m vectors each, (m, *shape), in one batched pass: (m, *members, n)."""
        with self.advice():
            found = torch.autograd.grad(
                of, self.params, along, is_grads_batched=True, retain_graph=True, allow_unused=True
            )
        layout, given = self.optimizer.layout, iter(found)
        shape = (along[0].shape[0], *layout.members)
        parts = []
        for one, size in zip(layout.params, layout.sizes, strict=True):
            part = next(given) if one.requires_grad else None
            parts.append(self.at.new_zeros(*shape, size) if part is None else part.reshape(*shape, size))
        return torch.cat(parts, -1)

    def objective_product(self, found: Tensor, v: Tensor) -> Tensor:
        """The product of what is minimised from that of the closure's loss: sign, decay, mean over processes."""
        optimizer = self.optimizer
        found = optimizer.mean_over_processes(found)
        if optimizer.option("maximize"):
            found = -found
        decay = optimizer.decay()
        if isinstance(decay, Tensor) and decay.ndim > 1 and v.ndim > self.at.ndim:
            decay = decay.unsqueeze(-2)  # (*members, 1, n) beside m vectors
        return found + decay * v if isinstance(decay, Tensor) or decay else found

    def grad(
        self, of: Sequence[Tensor], along: Sequence[Tensor] | None = None, create_graph: bool = False
    ) -> list[Tensor]:
        """Gradients of ``of`` (along vectors) in the parameters that are not frozen; zero where they play no part."""
        with self.advice():
            found = torch.autograd.grad(
                of, self.params, along, create_graph=create_graph, retain_graph=True, allow_unused=True
            )
        if create_graph:
            parts = iter(found)
            self.used = [one.requires_grad and next(parts) is not None for one in self.optimizer.layout.params]
            """for each parameter whether the loss uses it"""
        return [torch.zeros_like(p) if g is None else dense(g) for g, p in zip(found, self.params, strict=True)]

    def flat(self, grads: Sequence[Tensor]) -> Tensor:
        """One vector (*members, n) from a tensor for each parameter that is not frozen."""
        layout, given = self.optimizer.layout, iter(grads)
        parts = [next(given) if one.requires_grad else torch.zeros_like(one) for one in layout.params]
        return torch.cat([part.reshape(*layout.members, -1) for part in parts], -1)

    @contextmanager
    def advice(self) -> Iterator[None]:
        """Say what to do about the two errors of autograd that a user can mend."""
        name = type(self.optimizer).__name__
        try:
            yield
        except RuntimeError as error:
            text = str(error)
            if "second time" in text:
                raise TypeError(TEMPLATE.format(name=name)) from error
            if "derivative for" in text and "not implemented" in text:
                raise RuntimeError(TWICE.format(name=name, error=text)) from error
            raise


def dense_hessian(of: Differentiated) -> Tensor:
    """The Hessian of each member, symmetrised: (*members, n, n)."""
    n = of.at.shape[-1]
    eye = torch.eye(n, dtype=of.at.dtype, device=of.at.device).expand(*of.at.shape[:-1], n, n)
    H = of.products(eye)
    return 0.5 * (H + H.mT)


def curvature_along(of: Differentiated, v: Tensor) -> Tensor:
    """v' H v of each member, (*members,)."""
    return dot(v, of.product(v))
