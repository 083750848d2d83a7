"""Linear systems with a positive definite matrix that is known by its products alone, for every member at once.

x minimises q(x) = x'Ax / 2 - b'x, r = b - A x:
alpha = r'z / d'Ad,  x += alpha d,  r -= alpha Ad,  z = M r,  beta = (r'z of the new r) / r'z,  d = z + beta d.

``cg`` has M = I, ``pcg`` any positive definite M near the inverse of A. Within a radius, with A definite or not:
``quasi_newton._steihaug``.

    A = lambda v: v @ H                       # symmetric, (n, n); or a Hessian product
    x = cg(A, b, rtol=1e-8).x
    x = pcg(A, b, 1 / H.diagonal(), rtol=1e-8).x

Source: Hestenes and Stiefel 1952.
Differs: members that have ended are held by masks while the others go on; each keeps the iterates it has alone.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, TypeAlias

import torch
from torch import Tensor

from optimizers._vector import blend, col, dot, norm

__all__ = ["ConjugateGradients", "Solved", "cg", "pcg", "superlinear"]

Product: TypeAlias = Callable[[Tensor], Tensor]
"""v (*members, n) -> A v (*members, n)"""


class ConjugateGradients:
    """Conjugate gradients one iteration at a time, for callers with a stop rule of their own.

    Args:
        product: v -> A v, (*members, n) to (*members, n).
        b: right-hand sides (*members, n).
        precondition: r -> M r, or a diagonal M as factors (*members, n), positive; None: M = I.
        x0: where to start, (*members, n), one product more; None: zero, none.
        floor: a curvature d'Ad <= floor d'd counts as negative.

    ``done`` (*members,) holds members where they are; a caller may set more of it between iterations.
    """

    def __init__(
        self,
        product: Product,
        b: Tensor,
        precondition: Product | Tensor | None = None,
        x0: Tensor | None = None,
        *,
        floor: float = 0.0,
    ) -> None:
        self.product, self.b, self.floor, self.M = product, b, floor, precondition
        self.x = torch.zeros_like(b) if x0 is None else x0.clone()
        self.r = b.clone() if x0 is None else b - product(x0)  # (*members, n), b - A x
        self.d = self._precondition(self.r)
        self.rz = dot(self.r, self.d)  # (*members,)
        self.done = torch.zeros_like(self.rz, dtype=torch.bool)
        self.negative = torch.zeros_like(self.done)  # stopped at d'Ad <= floor d'd, before the step along d
        self.iterations = torch.zeros_like(self.rz, dtype=torch.int64)

    def step(self) -> None:
        """One iteration and one product for all members; those that are done keep their x and r."""
        Ad = self.product(self.d)
        curvature = dot(self.d, Ad)
        self.done = self.done | ~(self.rz > 0) | ~torch.isfinite(curvature) | ~torch.isfinite(self.rz)
        flat = ~self.done & (curvature <= self.floor * dot(self.d, self.d))
        self.negative, self.done = self.negative | flat, self.done | flat
        go = ~self.done
        alpha = col(self.rz / torch.where(go, curvature, 1.0))
        self.x = blend(go, self.x + alpha * self.d, self.x)
        self.r = blend(go, self.r - alpha * Ad, self.r)
        z = self._precondition(self.r)
        rz = dot(self.r, z)
        beta = rz / torch.where(go, self.rz, 1.0)
        self.d = blend(go, z + col(beta) * self.d, self.d)
        self.rz = torch.where(go, rz, self.rz)
        self.iterations = self.iterations + go

    def q(self) -> Tensor:
        """x'Ax / 2 - b'x of each member (*members,), without a product."""
        return -0.5 * dot(self.x, self.b + self.r)

    def _precondition(self, r: Tensor) -> Tensor:
        if self.M is None:
            return r
        return self.M * r if isinstance(self.M, Tensor) else self.M(r)


class Solved(NamedTuple):
    """What ``cg`` and ``pcg`` found for each member."""

    x: Tensor  # (*members, n)
    converged: Tensor  # (*members,) bool: residual <= max(rtol ||b||, atol)
    residual: Tensor  # (*members,) ||b - A x|| by its recursion
    iterations: Tensor  # (*members,) int64
    negative: Tensor  # (*members,) bool: A is not positive definite; x is the iterate before
    direction: Tensor  # (*members, n) with d'Ad <= floor d'd where negative, else zero


def cg(
    product: Product,
    b: Tensor,
    *,
    x0: Tensor | None = None,
    rtol: float | Tensor = 1e-5,
    atol: float = 0.0,
    max_iterations: int | None = None,
    floor: float = 0.0,
    check_every: int = 1,
) -> Solved:
    """Solve A x = b by conjugate gradients; A symmetric positive definite.

    Args:
        product: v -> A v, (*members, n) to (*members, n).
        b: right-hand sides (*members, n).
        x0: where to start, (*members, n); None: zero.
        rtol: a member is solved at ||b - A x|| <= max(rtol ||b||, atol). A number or one of each member (*members,);
            ``superlinear(b)`` is the choice of inexact Newton methods.
        atol: see rtol.
        max_iterations: None: 10 n.
        floor: a member ends, unsolved, at a curvature d'Ad <= floor d'd along a search direction d.
        check_every: iterations between two reads of the device to see whether all members have ended; 0: never, so
            that max_iterations products are always taken and a CUDA graph can hold them.

    A member that meets a product that is not finite ends, unsolved, at its last finite x.
    """
    return pcg(
        product,
        b,
        None,
        x0=x0,
        rtol=rtol,
        atol=atol,
        max_iterations=max_iterations,
        floor=floor,
        check_every=check_every,
    )


def pcg(
    product: Product,
    b: Tensor,
    precondition: Product | Tensor | None,
    *,
    x0: Tensor | None = None,
    rtol: float | Tensor = 1e-5,
    atol: float = 0.0,
    max_iterations: int | None = None,
    floor: float = 0.0,
    check_every: int = 1,
) -> Solved:
    """Solve A x = b by preconditioned conjugate gradients; everything else as in ``cg``.

    Args:
        product: see ``cg``, as all other arguments.
        b: see ``cg``.
        precondition: r -> M r with M positive definite near the inverse of A, or a diagonal M as positive factors
            (*members, n); None: M = I.
        x0: see ``cg``.
        rtol: see ``cg``; it measures b - A x itself, not M (b - A x).
        atol: see ``cg``.
        max_iterations: see ``cg``.
        floor: see ``cg``.
        check_every: see ``cg``.
    """
    run = ConjugateGradients(product, b, precondition, x0, floor=floor)
    limit = torch.clamp(rtol * norm(b), min=atol)
    for i in range(10 * b.shape[-1] if max_iterations is None else max_iterations):
        run.done = run.done | (norm(run.r) <= limit)
        if check_every and i % check_every == 0 and bool(run.done.all()):
            break
        run.step()
    residual = norm(run.r)
    return Solved(run.x, residual <= limit, residual, run.iterations, run.negative, blend(run.negative, run.d, 0.0))


def superlinear(b: Tensor) -> Tensor:
    """The relative tolerance min(1/2, sqrt(||b||)) of each member (*members,): Newton's method stays superlinear."""
    return norm(b).sqrt().clamp(max=0.5)
