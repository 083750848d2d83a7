"""SR1 matrices B of each member inside an optimizer: dense, or from the last m pairs; products, updates, subproblems.

    u = y - B s,   B+ = B + u u' / (u's),   taken where |u's| >= r ||u|| ||s||

B starts as the identity and is replaced by (y'y / s'y) I at the first pair (dense) or before the kept pairs (limited).

Source: Nocedal and Wright, Numerical Optimization, section 6.2. Differs: nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from optimizers._base import VectorOptimizer
from optimizers._vector import blend, col, norm
from optimizers.quasi_newton._bfgs import refuse_large, safe
from optimizers.quasi_newton._lbfgs import rows
from optimizers.quasi_newton._lsr1 import LSR1, curvature_below, lsr1, newest_curvature, pair_test
from optimizers.quasi_newton._steihaug import Truncated, steihaug
from optimizers.quasi_newton._trust_region import Step, obs, rescaled, trust_region_dense

__all__ = ["DenseSR1", "LimitedSR1"]


class DenseSR1:
    """B (*members, n, n); options r, subproblem, max_numel."""

    def __init__(self, instead: str) -> None:
        self.instead = instead

    def initial(self, of: VectorOptimizer, w: Tensor) -> dict[str, Any]:
        """B = I, not yet scaled."""
        refuse_large(of, w, self.instead)
        n, members = w.shape[-1], w.shape[:-1]
        B = torch.eye(n, dtype=w.dtype, device=w.device).expand(*members, n, n).clone()
        return {"B": B, "scaled": torch.zeros(members, dtype=torch.bool, device=w.device)}

    def subproblem(self, of: VectorOptimizer, g: Tensor, delta: Tensor) -> Step:
        """lr times the step that minimises g's + s'Bs / 2 within ||s|| <= delta (*members,)."""
        product = partial(self.product, of)
        exact = of.option("subproblem") == "exact"
        step: Step | Truncated = (
            trust_region_dense(of.memory["B"], g, delta) if exact else _conjugate_gradients(product, g, delta)
        )
        return rescaled(step, of.rate(), g, product)

    def product(self, of: VectorOptimizer, v: Tensor) -> Tensor:
        """B v, (*members, n)."""
        return rows(of.memory["B"], v)

    def update(self, of: VectorOptimizer, s: Tensor, y: Tensor, ok: Tensor) -> Tensor:
        """Take the pairs of the members where ok (*members,) holds and the pair test passes; returns where it did."""
        B, scaled = of.memory["B"], of.memory["scaled"]
        taken = ok & pair_test(s, y, rows(B, s), of.option("r"))
        first = taken & ~scaled
        curvature = newest_curvature(s, y).to(s.dtype)
        B.mul_(torch.where(first, curvature, 1.0)[..., None, None])
        scaled.logical_or_(first)
        u = y - rows(B, s)
        taken = taken & pair_test(s, y, rows(B, s), of.option("r"))
        us = (u * s).sum(-1)
        B.add_(blend(taken, (u / col(safe(us, taken))).unsqueeze(-1) * u.unsqueeze(-2), 0.0))
        return taken | first

    def clear(self, of: VectorOptimizer, drop: Tensor) -> None:
        """Back to the identity for the members where ``drop`` (*members,) holds."""
        B = of.memory["B"]
        eye = torch.eye(B.shape[-1], dtype=B.dtype, device=B.device)
        B.copy_(torch.where(drop[..., None, None], eye, B))
        of.memory["scaled"].logical_and_(~drop)


class LimitedSR1:
    """B from the last m pairs, oldest first; options m, r, subproblem, b0."""

    def initial(self, of: VectorOptimizer, w: Tensor) -> dict[str, Any]:
        """No pairs."""
        members, m = w.shape[:-1], of.option("m")
        zeros = w.new_zeros(*members, m, w.shape[-1])
        return {
            "S": zeros,
            "Y": zeros.clone(),
            "valid": torch.zeros((*members, m), dtype=torch.bool, device=w.device),
        }

    def matrix(self, of: VectorOptimizer) -> LSR1:
        """B from the pairs that are kept."""
        memory = of.memory
        S, Y, valid = memory["S"], memory["Y"], memory["valid"]
        if of.option("b0") == "newest":
            gamma = newest_curvature(S[..., -1, :], Y[..., -1, :])
        else:
            gamma = curvature_below(S, Y, valid, capturable=S.is_cuda)
        gamma = torch.where(valid[..., -1], gamma, 1.0)
        return lsr1(S, Y, valid, gamma, of.option("r"))

    def subproblem(self, of: VectorOptimizer, g: Tensor, delta: Tensor) -> Step:
        """lr times the step that minimises g's + s'Bs / 2 within ||s|| <= delta (*members,)."""
        B = self.matrix(of)
        of.__dict__["_matrix"] = (of.k, B)  # the pair of this step is judged by the same matrix
        step: Step | Truncated
        if of.option("subproblem") == "exact":
            step = obs(B.eigenbasis(capturable=g.is_cuda), g, delta)
        else:
            step = _conjugate_gradients(B.product, g, delta)
        return rescaled(step, of.rate(), g, B.product)

    def product(self, of: VectorOptimizer, v: Tensor) -> Tensor:
        """B v, (*members, n)."""
        k, B = of.__dict__.pop("_matrix", (None, None))
        return (B if k == of.k else self.matrix(of)).product(v)

    def update(self, of: VectorOptimizer, s: Tensor, y: Tensor, ok: Tensor) -> Tensor:
        """Keep the pairs of the members where ok (*members,) holds and the pair test passes; returns where it did."""
        memory = of.memory
        taken = ok & pair_test(s, y, self.product(of, s), of.option("r"))
        for name, new in (("S", s), ("Y", y)):
            shifted = torch.cat([memory[name][..., 1:, :], new.unsqueeze(-2)], -2)
            memory[name].copy_(blend(taken, shifted, memory[name]))
        valid = torch.cat([memory["valid"][..., 1:], torch.ones_like(col(taken))], -1)
        memory["valid"].copy_(blend(taken, valid, memory["valid"]))
        return taken

    def clear(self, of: VectorOptimizer, drop: Tensor) -> None:
        """Forget all pairs of the members where ``drop`` (*members,) holds."""
        of.memory["valid"].logical_and_(~col(drop))


def _conjugate_gradients(product: Callable[[Tensor], Tensor], g: Tensor, delta: Tensor) -> Truncated:
    n = g.shape[-1]
    size = norm(g)
    tol = torch.minimum(size.new_tensor(0.5), size.sqrt()) * size
    return steihaug(product, g, delta, tol, min(n, 250), early_exit=not g.is_cuda and not _fake(g))


def _fake(x: Tensor) -> bool:
    return type(x) is not Tensor
