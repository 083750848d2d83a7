"""The inverse BFGS matrix from the last m curvature pairs, by its compact form, masked for populations.

With S, Y (m, n) in the order of time, R = triu(S Y'), D = diag(S Y') and a diagonal H0:

    u = R^-1 S g,   z = H0 (Y'u - g),   t = R^-T (D u + Y z),   H g = S't - z

Pairs lie in circular slots, one pointer a member; a pair that is not accepted is written into a spare slot, so that no
member branches. The order of time enters only R, which is shifted when a pair is accepted; R is the identity where
there is no pair yet. The m x m algebra is done in float64.

Source: Byrd, Nocedal and Schnabel 1994; Liu and Nocedal 1989. Differs: slots, masks; equal to the two-loop recursion.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from optimizers._base import VectorOptimizer
from optimizers._vector import col, overwrite
from optimizers.members import compilable

__all__ = ["LimitedMemory", "combine", "compiled", "rows", "solve_upper"]


def rows(A: Tensor, x: Tensor) -> Tensor:
    """A x for A (*members, m, n) and x (*members, n): (*members, m)."""
    if A.ndim == 2:
        return torch.mv(A, x)
    return torch.matmul(x.unsqueeze(-2), A.mT).squeeze(-2)  # many times faster than A @ column


def combine(c: Tensor, A: Tensor, out: Tensor | None = None) -> Tensor:
    """A' c for c (*members, m) and A (*members, m, n): (*members, n), in ``out`` where it is given."""
    if A.ndim == 2:
        return torch.mv(A.t(), c, out=out)
    place = None if out is None else out.unsqueeze(-2)
    return torch.matmul(c.unsqueeze(-2), A, out=place).squeeze(-2)


def compiled(x: Tensor) -> Any:
    """The products of ``_host`` where they are those for vectors like x (*members, n), else None."""
    if not compilable(x):
        return None
    from optimizers.quasi_newton import _host  # numba is loaded where it is first of use

    return _host


def solve_upper(R: Tensor, x: Tensor, transposed: bool = False) -> Tensor:
    """R^-1 x, or R^-T x, for upper triangular R (*members, m, m)."""
    A = R.mT if transposed else R
    return torch.linalg.solve_triangular(A, x.unsqueeze(-1), upper=not transposed).squeeze(-1)


class LimitedMemory:
    """Inverse BFGS from pairs; options ``m`` (or another name) and, unless H0 is given to ``times``, ``h0``."""

    def __init__(self, size: str = "m") -> None:
        self.size = size

    def initial(self, of: VectorOptimizer, w: Tensor) -> dict[str, Any]:
        """Slots, R, the validity of each pair and its s'y / y'y, all empty."""
        m, members = of.option(self.size), w.shape[:-1]
        exact: dict[str, Any] = {"dtype": torch.float64, "device": w.device}
        return {
            "S": w.new_zeros(*members, m + 1, w.shape[-1]),
            "Y": w.new_zeros(*members, m + 1, w.shape[-1]),
            "R": torch.eye(m, **exact).expand(*members, m, m).clone(),
            "valid": torch.zeros((*members, m), **exact),  # 1 where there is a pair, oldest first
            "kappa": torch.zeros((*members, m), **exact),
            "slot": torch.zeros(members, dtype=torch.int64, device=w.device),  # where the next pair goes
        }

    def times(self, of: VectorOptimizer, g: Tensor, h: Tensor | None = None) -> Tensor:
        """H g (*members, n) with H0 = diag(h), h (*members, n) or (*members, 1); None: by the option ``h0``."""
        memory = of.memory
        if h is None:
            h = col(self.scale(of)).to(g.dtype)
        if host := compiled(g):
            return host.times(memory, g, h)
        S, Y, order = self._pairs(of)
        R, valid = memory["R"], memory["valid"]
        u = solve_upper(R, rows(S, g).double().gather(-1, order) * valid)
        z = combine(self._slots(u, order).to(g.dtype), Y).sub_(g).mul_(h)
        c = torch.diagonal(R, dim1=-2, dim2=-1) * u + rows(Y, z).double().gather(-1, order) * valid
        t = solve_upper(R, c, transposed=True)
        return combine(self._slots(t, order).to(g.dtype), S).sub_(z)

    def scale(self, of: VectorOptimizer) -> Tensor:
        """The factor of the identity in H0, (*members,): of the newest pair, the mean over pairs, or 1."""
        memory, rule = of.memory, of.option("h0")
        valid, kappa = memory["valid"], memory["kappa"]
        count = valid.sum(-1)
        if rule == "identity":
            return torch.ones_like(count)
        value = kappa[..., -1] if rule == "newest" else kappa.sum(-1) / count.clamp(min=1)
        return torch.where(count > 0, value, 1.0)

    def update(self, of: VectorOptimizer, s: Tensor, y: Tensor, accept: Tensor, sy: Tensor, yy: Tensor) -> Tensor:
        """Keep the pairs of the members where ``accept`` (*members,) holds; returns accept."""
        memory, m = of.memory, of.option(self.size)
        if host := compiled(y):
            host.update(memory, s, y, accept, sy, yy)
            return accept
        S, Y, slot = memory["S"], memory["Y"], memory["slot"]
        at = torch.where(accept, slot, m)
        if at.ndim:
            at = at + torch.arange(at.shape[0], device=at.device) * (m + 1)
        at, n = at.reshape(-1), s.shape[-1]
        S.view(-1, n).index_copy_(0, at, s.reshape(-1, n))
        Y.view(-1, n).index_copy_(0, at, y.reshape(-1, n))
        slot.copy_(torch.where(accept, (slot + 1) % m, slot))
        sy, valid = sy.double(), memory["valid"]
        shifted = _shift(valid, torch.ones_like(sy))
        S_now, _, order = self._pairs(of)
        column = rows(S_now, y).double().gather(-1, order) * shifted
        column[..., -1] = sy
        R = torch.zeros_like(memory["R"])
        R[..., :-1, :-1] = memory["R"][..., 1:, 1:]
        R[..., :, -1] = column
        overwrite(memory["R"], accept, R)
        overwrite(valid, accept, shifted)
        overwrite(memory["kappa"], accept, _shift(memory["kappa"], sy / yy.double()))
        return accept

    def clear(self, of: VectorOptimizer, drop: Tensor) -> None:
        """Forget all pairs of the members where ``drop`` (*members,) holds."""
        memory, R = of.memory, of.memory["R"]
        overwrite(R, drop, torch.eye(R.shape[-1], dtype=R.dtype, device=R.device))
        for name in ("valid", "kappa"):
            memory[name].mul_(col(~drop))

    def _pairs(self, of: VectorOptimizer) -> tuple[Tensor, Tensor, Tensor]:
        """S, Y (*members, m, n) by slot, and the slot of each pair, oldest first."""
        memory, m = of.memory, of.option(self.size)
        order = (col(memory["slot"]) + torch.arange(m, device=memory["slot"].device)) % m
        return memory["S"][..., :m, :], memory["Y"][..., :m, :], order

    @staticmethod
    def _slots(x: Tensor, order: Tensor) -> Tensor:
        """Numbers in the order of time (*members, m) by slot."""
        return torch.empty_like(x).scatter_(-1, order, x)


def _shift(x: Tensor, new: Tensor) -> Tensor:
    """(*members, m) with the oldest entry dropped and a new one (*members,) at the end."""
    return torch.cat([x[..., 1:], col(new)], -1)
