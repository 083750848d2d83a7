"""Trust-region subproblems, min g'p + p'Bp / 2 over ||p|| <= delta, by conjugate gradients stopped at the boundary.

Needs products with B alone. Exact steps: ``_trust_region``.

Source: T. Steihaug, 1983. Differs: members that have ended are held by masks while the others go on.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from optimizers._vector import blend, col, dot, norm

__all__ = ["Truncated", "steihaug"]


class Truncated(NamedTuple):
    """What ``steihaug`` found for each member."""

    p: Tensor  # (*members, n), ||p|| <= delta
    predicted: Tensor  # (*members,): decrease of the model, -(g'p + p'Bp / 2) >= 0
    Bp: Tensor  # (*members, n)
    boundary: Tensor  # (*members,) bool: ||p|| = delta
    negative: Tensor  # (*members,) bool: a direction without curvature was followed to the boundary
    iterations: Tensor  # (*members,) int64


def steihaug(
    product: Callable[[Tensor], Tensor],
    g: Tensor,
    delta: Tensor,
    tol: float | Tensor,
    max_iterations: int,
    *,
    floor: float = 1e-12,
    early_exit: bool = True,
) -> Truncated:
    """Conjugate gradients from p = 0 until the residual is at most ``tol``, the boundary or negative curvature.

    Args:
        product: v -> B v, both (*members, n).
        g: gradients (*members, n).
        delta: radii (*members,).
        tol: on ||g + B p||, absolute: a number or (*members,).
        max_iterations: number of products at most; exactly that many without ``early_exit``.
        floor: a direction of curvature d'Bd <= floor d'd is followed to the boundary.
        early_exit: stop when every member has; it reads one flag from the device at each iteration.
    """
    p, r, d = torch.zeros_like(g), g, -g  # r = g + B p
    rr = dot(r, r)
    done = ~(rr.sqrt() > tol) | ~torch.isfinite(rr)
    boundary, negative = torch.zeros_like(done), torch.zeros_like(done)
    iterations = torch.zeros_like(rr, dtype=torch.int64)
    for _ in range(max_iterations):
        if early_exit and bool(done.all()):
            break
        Bd = product(d)
        curvature = dot(d, Bd)
        done = done | ~torch.isfinite(curvature)
        flat = curvature <= floor * dot(d, d)
        alpha = rr / torch.where(flat | done, 1.0, curvature)
        leaves = ~done & (flat | (norm(p + col(alpha) * d) >= delta))
        alpha = torch.where(leaves, _to_boundary(p, d, delta), alpha)
        p = blend(done, p, p + col(alpha) * d)
        r = blend(done, r, r + col(alpha) * Bd)
        iterations = iterations + ~done
        boundary, negative, done = boundary | leaves, negative | (leaves & flat), done | leaves
        rr, before = dot(r, r), rr
        done = done | ~(rr.sqrt() > tol)
        d = blend(done, d, col(rr / torch.where(before > 0, before, 1.0)) * d - r)
    return Truncated(p, -0.5 * dot(p, g + r), r - g, boundary, negative, iterations)


def _to_boundary(p: Tensor, d: Tensor, delta: Tensor) -> Tensor:
    """The positive tau with ||p + tau d|| = delta (*members,), for ||p|| <= delta; 0 where d is zero."""
    a, half_b, c = dot(d, d), dot(p, d), dot(p, p) - delta * delta  # a tau^2 + 2 half_b tau + c = 0
    c = c.clamp(max=0.0)  # p is inside
    root = (half_b * half_b - a * c).clamp(min=0.0).sqrt()
    ok = a > 0
    # of the two forms, the one without cancellation
    large = torch.where(half_b >= 0, half_b + root, 1.0)
    forward = -c / torch.where(large > 0, large, 1.0)
    backward = (root - half_b) / torch.where(ok, a, 1.0)
    return torch.where(ok, torch.where(half_b >= 0, forward, backward), 0.0)
