"""Parameters as one flat vector a member, and the products that every method shares.

``*members`` is empty for one network and ``(P,)`` for a population of P stacked networks. Every scalar of a method (an
inner product, a step size, a mask) has the shape ``(*members,)`` and is spread over coordinates with ``col``.
"""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = [
    "Layout",
    "blend",
    "col",
    "dense",
    "dot",
    "everywhere",
    "nonzero",
    "norm",
    "nowhere",
    "overwrite",
    "plus",
    "unit",
]


class Layout:
    """How a list of parameters lies in a flat vector of shape (*members, n).

    Args:
        params: the parameters, in the order of the groups; for a population each of shape (P, ...).
        member_dims: 0 for one network, 1 for a population.

    Raises:
        ValueError: parameters of several dtypes, devices or numbers of members.
        TypeError: a parameter that is not floating point.
    """

    def __init__(self, params: list[Tensor], member_dims: int = 0) -> None:
        first = params[0]
        for one in params:
            if not one.is_floating_point():
                raise TypeError(f"parameters must be real floating point; found {one.dtype}")
            if (one.dtype, one.device) != (first.dtype, first.device):
                raise ValueError(
                    f"one optimizer moves parameters of one dtype and device; found {first.dtype} on {first.device} "
                    f"and {one.dtype} on {one.device}"
                )
            if member_dims and (one.ndim == 0 or one.shape[0] != first.shape[0]):
                raise ValueError(
                    f"with member_dims=1 every parameter has the shape (P, ...) with one P; found "
                    f"{tuple(first.shape)} and {tuple(one.shape)}"
                )
        self.params = params
        self.members: tuple[int, ...] = tuple(first.shape[:member_dims])
        many = self.members[0] if self.members else 1
        self.sizes = [one.numel() // max(many, 1) for one in params]
        self.n = sum(self.sizes)
        self.shape = (*self.members, self.n)
        self.dtype, self.device = first.dtype, first.device
        self.views: list[Tensor] = []
        """of ``buffer``, in the parameters' shapes: for small vectors cheaper than concatenating"""
        if self.n * many <= 1 << 17:
            with torch.no_grad():
                self.buffer = torch.zeros(self.shape, dtype=self.dtype, device=self.device)
                self.views = self.parts(self.buffer)

    def gather(self) -> Tensor:
        """A copy of the parameters, (*members, n)."""
        return self._flat(self.params)

    def holds(self, w: Tensor) -> bool:
        """Whether the parameters are equal to a vector; read from the device."""
        return all(torch.equal(one, part) for one, part in zip(self.params, self.parts(w), strict=True))

    def scatter(self, w: Tensor) -> None:
        """Write a vector (*members, n) into the parameters; gradients are off."""
        if self.views:
            self.buffer.copy_(w)
            torch._foreach_copy_(self.params, self.views)
        else:
            torch._foreach_copy_(self.params, self.parts(w))

    def _flat(self, tensors: list[Tensor]) -> Tensor:
        if not self.views:
            return torch.cat([one.detach().reshape(*self.members, -1) for one in tensors], -1)
        torch._foreach_copy_(self.views, tensors)
        return self.buffer.clone()

    def gradient(self) -> Tensor:
        """The parameters' gradients, (*members, n), zero where there is none.

        Raises:
            TypeError: a sparse gradient.
        """
        found = []
        for one in self.params:
            grad = one.grad
            if grad is None:
                grad = torch.zeros_like(one)
            found.append(dense(grad).detach())
        return self._flat(found)

    def parts(self, w: Tensor) -> list[Tensor]:
        """Views of a vector (*members, n) in the shapes of the parameters."""
        pieces = w.split(self.sizes, -1)
        return [piece.view(one.shape) for piece, one in zip(pieces, self.params, strict=True)]


def dense(grad: Tensor) -> Tensor:
    """A gradient, refused where it is sparse.

    Raises:
        TypeError: a sparse gradient.
    """
    if grad.layout is not torch.strided:
        raise TypeError("sparse gradients are not supported: curvature would make them dense; use a dense layer")
    return grad


def col(x: Tensor) -> Tensor:
    """A scalar of each member (*members,) as a factor of vectors: (*members, 1)."""
    return x.unsqueeze(-1)


def dot(a: Tensor, b: Tensor) -> Tensor:
    """Inner products of vectors (*members, n): (*members,)."""
    return torch.dot(a, b) if a.ndim == 1 else (a * b).sum(-1)


def norm(a: Tensor) -> Tensor:
    """Euclidean lengths of vectors (*members, n): (*members,)."""
    return torch.linalg.vector_norm(a, dim=-1)


def nonzero(a: Tensor) -> Tensor:
    """Which vectors (*members, n) have an entry that is not exactly zero, or is NaN: (*members,) bool."""
    return (a != 0).any(-1)


def plus(w: Tensor, c: float | Tensor, v: Tensor) -> Tensor:
    """w + c v for a number c or a factor of vectors, (*members, n)."""
    return torch.addcmul(w, v, c) if isinstance(c, Tensor) else torch.add(w, v, alpha=c)


def everywhere(mask: Tensor) -> bool:
    """Whether a mask is known to hold for every member: asked on the host only, where the answer costs nothing.

    On a device, and for fake tensors, it is False, so that what follows is the masked form. Both forms give the same
    numbers; without a mask there are fewer passes over vectors.
    """
    return _on_host(mask) and bool(mask.all())


def nowhere(mask: Tensor) -> bool:
    """Whether a mask is known to hold for no member; see ``everywhere``."""
    return _on_host(mask) and not bool(mask.any())


def _on_host(mask: Tensor) -> bool:
    return type(mask) is Tensor and mask.is_cpu


def overwrite(kept: Tensor, mask: Tensor, new: Tensor | float) -> None:
    """Write ``new`` into ``kept`` (*members, ...) for the members where ``mask`` (*members,) holds."""
    if nowhere(mask):
        return
    mask = mask.reshape(mask.shape + (1,) * (kept.ndim - mask.ndim))
    kept.copy_(new if isinstance(new, Tensor) and everywhere(mask) else torch.where(mask, new, kept))


def blend(mask: Tensor, a: Tensor, b: Tensor | float) -> Tensor:
    """``a`` for the members where ``mask`` (*members,) holds, else ``b``; both (*members, ...).

    It may be ``a`` itself that is returned.
    """
    if everywhere(mask):
        return a
    return torch.where(mask.reshape(mask.shape + (1,) * (a.ndim - mask.ndim)), a, b)


def unit(r: Tensor, normalize: bool = True, rate: float | Tensor = 1.0) -> tuple[Tensor, Tensor]:
    """(rate r / ||r||, ok): a direction of given length, zero for members whose r is zero or not finite.

    ``rate`` is a number or a factor of vectors. With ``normalize`` off r is not divided; ok is the same. r is
    overwritten.
    """
    length = norm(r)
    ok = torch.isfinite(length) & (length > 0)
    if everywhere(ok):
        return r.mul_(rate / col(length) if normalize else rate), ok
    scale = torch.where(ok, length, 1.0) if normalize else torch.ones_like(length)
    return torch.where(col(ok), r * (rate / col(scale)), 0.0), ok
