"""Dense inverse matrices H and their updates of rank one and two, masked for populations.

    BFGS     H+ = (I - rho s y') H (I - rho y s') + rho s s',   rho = 1 / s'y
    DFP      H+ = H + s s' / s'y - h h' / y'h,                   h = H y
    family   H+ = DFP + phi (y'h) u u',                          u = s / s'y - h / y'h;  phi = 1 is BFGS, 0 is DFP
    Broyden  H+ = H + (s - h) s'H / (s'h)
    SR1      H+ = H + u u' / (u'y),                              u = s - h

Every update is written as H + U V with U (*members, n, k), V (*members, k, n), so that it costs one pass over H; where
a pair is not accepted U is zero. H starts as the identity and is scaled to (s'y / y'y) I before the first update.

Source: Nocedal and Wright, Numerical Optimization, 2nd ed., ch. 6; Broyden 1965. Differs: nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from optimizers._base import VectorOptimizer
from optimizers._vector import col, dot, norm
from optimizers.quasi_newton._lbfgs import rows

__all__ = ["DenseInverse", "bfgs", "broyden", "dfp", "family", "refuse_large", "sr1"]

Update = Callable[[VectorOptimizer, Tensor, Tensor, Tensor, Tensor], tuple[Tensor, Tensor, Tensor]]


def refuse_large(of: VectorOptimizer, w: Tensor, instead: str) -> None:
    """Raise ValueError where a dense matrix would be larger than the option ``max_numel`` allows.

    Args:
        of: the optimizer, with an option ``max_numel``, the largest number of parameters.
        w: weights (*members, n).
        instead: what the text names for larger problems.
    """
    n, limit = w.shape[-1], of.option("max_numel")
    if n > limit:
        size = w.numel() * n * w.element_size() / 1e9
        raise ValueError(
            f"{type(of).__name__} keeps an n x n matrix; n = {n} is above max_numel = {limit} and would take "
            f"{size:.1f} GB; use {instead}, or raise max_numel"
        )


def safe(x: Tensor, ok: Tensor) -> Tensor:
    """A divisor: x where ok, else 1."""
    return torch.where(ok, x, 1.0)


def bfgs(of: VectorOptimizer, H: Tensor, s: Tensor, y: Tensor, h: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """(U, V, ok) of the BFGS update."""
    sy = dot(s, y)
    ok = sy > 0
    rho = col(1 / safe(sy, ok))
    U = torch.stack([(rho + rho * rho * col(dot(y, h))) * s - rho * h, -rho * s], -1)
    return U, torch.stack([s, h], -2), ok


def dfp(of: VectorOptimizer, H: Tensor, s: Tensor, y: Tensor, h: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """(U, V, ok) of the DFP update."""
    sy, yh = dot(s, y), dot(y, h)
    ok = (sy > 0) & (yh > 0)
    return torch.stack([s / col(safe(sy, ok)), -h / col(safe(yh, ok))], -1), torch.stack([s, h], -2), ok


def family(of: VectorOptimizer, H: Tensor, s: Tensor, y: Tensor, h: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """(U, V, ok) of Broyden's family for the option ``phi`` of the inverse form."""
    U, V, ok = dfp(of, H, s, y, h)
    sy, yh = dot(s, y), dot(y, h)
    u = s / col(safe(sy, ok)) - h / col(safe(yh, ok))
    weight = col(of.inverse_phi(s, sy, yh) * yh)  # type: ignore[attr-defined]  # a method of BroydenFamily
    return torch.cat([U, (weight * u).unsqueeze(-1)], -1), torch.cat([V, u.unsqueeze(-2)], -2), ok


def broyden(of: VectorOptimizer, H: Tensor, s: Tensor, y: Tensor, h: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """(U, V, ok) of Broyden's "good" update; H becomes unsymmetric."""
    sh = dot(s, h)
    ok = sh.abs() > of.option("eps") * norm(s) * norm(h)
    return ((s - h) / col(safe(sh, ok))).unsqueeze(-1), rows(H.mT, s).unsqueeze(-2), ok


def sr1(of: VectorOptimizer, H: Tensor, s: Tensor, y: Tensor, h: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """(U, V, ok) of the symmetric rank-one update, skipped where |u'y| < eps ||u|| ||y||."""
    u = s - h
    uy = dot(u, y)
    ok = (uy.abs() >= of.option("eps") * norm(u) * norm(y)) & (uy != 0)
    return (u / col(safe(uy, ok))).unsqueeze(-1), u.unsqueeze(-2), ok


class DenseInverse:
    """A matrix H of each member and one of the updates above; options ``max_numel`` and ``rescale``."""

    def __init__(self, update: Update, instead: str) -> None:
        self.rule, self.instead = update, instead

    def initial(self, of: VectorOptimizer, w: Tensor) -> dict[str, Any]:
        """H = I, not yet scaled."""
        refuse_large(of, w, self.instead)
        n, members = w.shape[-1], w.shape[:-1]
        H = torch.eye(n, dtype=w.dtype, device=w.device).expand(*members, n, n).clone()
        return {"H": H, "scaled": torch.zeros(members, dtype=torch.bool, device=w.device)}

    def times(self, of: VectorOptimizer, g: Tensor) -> Tensor:
        """H g, (*members, n)."""
        return rows(of.memory["H"], g)

    def update(self, of: VectorOptimizer, s: Tensor, y: Tensor, accept: Tensor, sy: Tensor, yy: Tensor) -> Tensor:
        """Update the members where ``accept`` (*members,) holds; returns where that was done."""
        H, scaled = of.memory["H"], of.memory["scaled"]
        if of.option("rescale"):
            first = accept & ~scaled & (sy > 0)
            factor = torch.where(first, sy / safe(yy, first), 1.0)
            torch.diagonal(H, dim1=-2, dim2=-1).mul_(col(factor))  # H is still the identity there
            scaled.logical_or_(first)
            if "sBs" in of.memory:  # B is scaled the other way
                of.memory["sBs"].div_(factor)
        U, V, ok = self.rule(of, H, s, y, rows(H, y))
        ok = ok & accept
        U, V = (torch.where(ok[..., None, None], one, 0.0) for one in (U, V))
        if H.ndim == 2:
            H.addmm_(U, V)
        else:
            H.baddbmm_(U, V)
        return ok

    def clear(self, of: VectorOptimizer, drop: Tensor) -> None:
        """Back to the identity for the members where ``drop`` (*members,) holds."""
        H = of.memory["H"]
        H.masked_fill_(drop[..., None, None], 0.0)
        torch.diagonal(H, dim1=-2, dim2=-1).add_(col(drop))
        of.memory["scaled"].logical_and_(~drop)
