"""Eigenvalues and eigenvectors of small symmetric matrices, one a member, with the same bits wherever a member lies.

eigh_small     either of the two, with masks
aligned_eigh   LAPACK's routine
jacobi         rotations of Jacobi; nothing is read from the device

Source: C. G. J. Jacobi, 1846; R. P. Brent and F. T. Luk, 1985 (tournament). Differs: nothing.
"""

from __future__ import annotations

import torch
from torch import Tensor

from optimizers._vector import col

__all__ = ["aligned_eigh", "eigh_small", "jacobi"]


def eigh_small(A: Tensor, capturable: bool = False) -> tuple[Tensor, Tensor]:
    """Eigenvalues (*members, m), ascending, and eigenvectors in columns (*members, m, m) of symmetric A.

    ``capturable``: by ``jacobi``, which does not read from the device; else by LAPACK's routine.
    """
    finite = torch.isfinite(A).all(-1).all(-1)[..., None, None]
    A = torch.where(finite, A, 0.0)  # a member that is not finite must not raise for the others
    return jacobi(A) if capturable else aligned_eigh(A)


def aligned_eigh(A: Tensor) -> tuple[Tensor, Tensor]:
    """``torch.linalg.eigh`` of (*members, m, m), whose bits do not depend on a member's place.

    LAPACK rounds differently for matrices at other alignments in memory: those of a population are filled up to a
    multiple of eight rows, with eigenvalues above all others that are cut off again.
    """
    m, more = A.shape[-1], -A.shape[-1] % 8
    if A.ndim == 2 or not more:
        return tuple(torch.linalg.eigh(A))
    bound = A.abs().sum(-1).amax(-1)
    far = 2.0 * torch.where(bound > 0, bound, 1.0)
    added = torch.arange(m + more, device=A.device) >= m
    A = torch.nn.functional.pad(A, (0, more, 0, more)) + torch.diag_embed(torch.where(added, col(far), 0.0))
    values, vectors = torch.linalg.eigh(A)
    return values[..., :m], vectors[..., :m, :m]


def jacobi(A: Tensor, sweeps: int = 10) -> tuple[Tensor, Tensor]:
    """Eigenvalues, ascending, and eigenvectors (columns) of symmetric A (*members, m, m) by cyclic Jacobi rotations.

    A fixed number of sweeps over the pairs of rows in the order of a tournament: in each round every row meets one
    other, so that m / 2 rotations are made at once. For m up to 20 the result is exact to rounding.
    """
    m = A.shape[-1]
    half = (m + 1) // 2
    if m % 2:  # a row of zeros meets the row that is left over; it is never rotated
        A = torch.nn.functional.pad(A, (0, 1, 0, 1))
    V = torch.eye(2 * half, dtype=A.dtype, device=A.device).expand_as(A)
    for _ in range(sweeps * max(2 * half - 1, 1)):
        c, s = _rotation(A, half)
        A = _next_round(_rotate(_next_round(_rotate(A, c, s)).mT, c, s))
        V = _next_round(_rotate(V, c, s))  # V holds vectors in rows
    values, vectors = torch.diagonal(A, dim1=-2, dim2=-1)[..., :m], V[..., :m, :m]
    values, order = values.sort(-1)
    return values, vectors.gather(-2, order.unsqueeze(-1).expand_as(vectors)).mT


def _rotation(A: Tensor, half: int) -> tuple[Tensor, Tensor]:
    """Cosine and sine (*members, half, 1) that take A[i, half + i] to zero."""
    diagonal = torch.diagonal(A, dim1=-2, dim2=-1)
    across = torch.diagonal(A, half, dim1=-2, dim2=-1)
    zero = across == 0
    tau = (diagonal[..., half:] - diagonal[..., :half]) / torch.where(zero, 1.0, 2.0 * across)
    t = torch.where(tau < 0, -1.0, 1.0) / (tau.abs() + (1.0 + tau * tau).sqrt())
    t = torch.where(zero, 0.0, t)
    c = (1.0 + t * t).rsqrt()
    return col(c), col(t * c)


def _rotate(A: Tensor, c: Tensor, s: Tensor) -> Tensor:
    """The rows i and half + i turned by c and s."""
    top, bottom = A.tensor_split(2, -2)
    return torch.cat((c * top - s * bottom, s * top + c * bottom), -2)


def _next_round(A: Tensor) -> Tensor:
    """The rows seated for the next round: the first stays, the others move on by one place around the table."""
    top, bottom = A.tensor_split(2, -2)
    if top.shape[-2] == 1:
        return A
    first, top, last = top[..., :1, :], top[..., 1:, :], top[..., -1:, :]
    return torch.cat((first, bottom[..., :1, :], top[..., :-1, :], bottom[..., 1:, :], last), -2)
