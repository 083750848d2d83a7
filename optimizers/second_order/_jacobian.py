"""The Jacobian of residuals with a graph, by backward passes in batches, and its triangular factor.

J (N, n) is made a chunk of rows at a time (N passes), or where there are more residuals than parameters by
differentiating u'J with respect to u, a chunk of columns at a time (n passes). Members of a population do not
interact: one pass serves the same row or column of all.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from optimizers._vector import Layout, dense

__all__ = ["FORMS", "jacobian", "times", "triangular"]

FORMS = "'rows' (one pass a residual), 'columns' (one pass a parameter) or 'auto' (the fewer)"


def times(J: Tensor, v: Tensor) -> Tensor:
    """J v of each member: (*members, N, n), (*members, n) -> (*members, N)."""
    return (J @ v.unsqueeze(-1)).squeeze(-1)


def triangular(r: Tensor, J: Tensor) -> tuple[Tensor, Tensor]:
    """(c, R): R'R = J'J and R'c = J'r with min(N, n) rows, by QR without Q."""
    n = J.shape[-1]
    R = torch.linalg.qr(torch.cat([J, r.unsqueeze(-1)], -1), mode="r")[1][..., :n, :]
    return R[..., n], R[..., :n]


def jacobian(r: Tensor, layout: Layout, form: str, chunk: int) -> tuple[Tensor, int]:
    """(J (*members, N, n), passes) of residuals (*members, N) with a graph.

    ``chunk`` passes are batched; with ``chunk`` 1 each is an ordinary backward pass, which every operation supports.
    """
    of = [one for one in layout.params if one.requires_grad]
    n = sum(one.numel() for one in of) // max(1, *layout.members, 1)
    if form == "columns" or (form == "auto" and n < r.shape[-1]):
        return _by_columns(r, of, layout, chunk), layout.n
    return _by_rows(r, of, layout, chunk), r.shape[-1]


def _by_rows(r: Tensor, of: list[Tensor], layout: Layout, chunk: int) -> Tensor:
    J = r.new_empty(*r.shape, layout.n)
    for seeds, chosen in _seeds(r, chunk):
        found = _grad(r, of, seeds, retain_graph=True)
        J[..., chosen, :] = _flat(found, of, layout, len(seeds)).movedim(0, -2)
    return J


def _by_columns(r: Tensor, of: list[Tensor], layout: Layout, chunk: int) -> Tensor:
    J = r.new_empty(*r.shape, layout.n)
    with torch.enable_grad():
        u = torch.zeros_like(r, requires_grad=True)
        found = torch.autograd.grad(r, of, u, create_graph=True, allow_unused=True)
        uJ = _flat([None if one is None else one.unsqueeze(0) for one in found], of, layout, 1)[0]
    for seeds, chosen in _seeds(uJ, chunk):
        (Jv,) = _grad(uJ, [u], seeds, retain_graph=True)
        J[..., chosen] = 0.0 if Jv is None else Jv.movedim(0, -1)
    return J


def _seeds(like: Tensor, chunk: int) -> Iterator[tuple[Tensor, slice]]:
    """Unit vectors of all members at once, (chunk, *members, length), with the coordinates that they pick."""
    for start in range(0, like.shape[-1], chunk):
        stop = min(start + chunk, like.shape[-1])
        size = stop - start
        seeds = like.new_zeros(size, *like.shape)
        eye = torch.eye(size, dtype=like.dtype, device=like.device)
        seeds[..., start:stop] = eye.view(size, *(1 for _ in like.shape[:-1]), size)
        yield seeds, slice(start, stop)


def _grad(of: Tensor, at: list[Tensor], seeds: Tensor, **options: Any) -> list[Tensor | None]:
    if len(seeds) > 1:
        return list(torch.autograd.grad(of, at, seeds, is_grads_batched=True, allow_unused=True, **options))
    found = torch.autograd.grad(of, at, seeds[0], allow_unused=True, **options)
    return [None if one is None else one.unsqueeze(0) for one in found]


def _flat(found: list[Tensor | None], of: list[Tensor], layout: Layout, size: int) -> Tensor:
    """Gradients of ``size`` passes as (size, *members, n), zero for frozen and unused parameters."""
    given = {id(one): grad for one, grad in zip(of, found, strict=True)}
    parts = []
    for one, length in zip(layout.params, layout.sizes, strict=True):
        grad = given.get(id(one))
        empty = (size, *layout.members, length)
        parts.append(one.new_zeros(empty) if grad is None else dense(grad).reshape(empty))
    return torch.cat(parts, -1)
