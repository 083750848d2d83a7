"""Limited-memory SR1: a matrix B built from pairs (s, y), its products and its eigenvectors.

B_0 = gamma I,  u_i = y_i - B_i s_i,  B_{i+1} = B_i + u_i u_i' / (u_i' s_i)
B = gamma I + Q' T Q                       Q (m, n) orthonormal rows that span the u_i,  T (m, m) symmetric
T = P L P'  =>  B = gamma I + (P'Q)' L (P'Q), eigenvalues L + gamma, and gamma on the complement

This is the compact form gamma I + Psi M Psi', Psi = Y - gamma S, M^-1 = D + L + L' - gamma S'S, whose M^-1 is factored
into u_i' s_i on the way, and whose Psi is orthogonalised on the way.

Source: R. H. Byrd, J. Nocedal, R. B. Schnabel, 1994 (compact form); J. J. Brust, J. B. Erway, R. F. Marcia, 2017
(eigenvectors). Differs: the pair test is repeated on every kept pair, in the order of the pairs, each time B is built.
So it does not matter that older pairs were dropped from the memory, that gamma changed or that M^-1 became singular:
a pair whose denominator would vanish is left out of this B and may enter the next one. A pair that B satisfies up to
rounding is left out too. All of it is carried in float64, whatever the dtype of the pairs.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from optimizers._vector import col, dot, norm
from optimizers.members import compilable
from optimizers.quasi_newton._eigenvalues import eigh_small

__all__ = [
    "LSR1",
    "Eigenbasis",
    "curvature_below",
    "lsr1",
    "newest_curvature",
    "pair_test",
]

_DEPENDENT = 1e-12  # a vector this near to the span of others, relative to its length, lies in it


class Eigenbasis(NamedTuple):
    """Eigenvalues and eigenvectors of B = gamma I + rank m, in float64.

    ``values`` hold gamma and ``vectors`` zeros where ``present`` is False.
    """

    values: Tensor  # (*members, m)
    vectors: Tensor  # (*members, m, n), orthonormal rows
    present: Tensor  # (*members, m) bool
    gamma: Tensor  # (*members,)
    rest: Tensor  # (*members,) bool: there is a complement, where B is gamma I


class LSR1(NamedTuple):
    """B = gamma I + Q' T Q, in float64."""

    gamma: Tensor  # (*members,)
    Q: Tensor  # (*members, m, n), orthonormal rows, zero where not present
    T: Tensor  # (*members, m, m), zero in rows and columns that are not present
    present: Tensor  # (*members, m) bool
    kept: Tensor  # (*members, m) bool: the pairs that passed the test

    def product(self, v: Tensor) -> Tensor:
        """B v for vectors v (*members, n), in the dtype of v."""
        x = v.to(self.Q.dtype)
        inner = along(self.T, along(self.Q, x))
        return (col(self.gamma) * x + combined(self.Q, inner)).to(v.dtype)

    def eigenbasis(self, capturable: bool = False) -> Eigenbasis:
        """Eigenvalues and eigenvectors; ``capturable`` as in ``eigh_small``."""
        bound = self.T.abs().sum(-1).amax(-1)  # no eigenvalue of T is larger
        far = torch.where(bound > 0, 2.0 * bound, 1.0)  # rows without a vector are moved out of the way
        values, P = eigh_small(self.T + torch.diag_embed(torch.where(self.present, 0.0, col(far))), capturable)
        present = values < col(0.75 * far)
        values = torch.where(present, values, 0.0) + col(self.gamma)
        host = compiled(self.Q)
        vectors = host.turned(P, self.Q) if host else _matmul(self.Q.mT, P).mT
        vectors = torch.where(present.unsqueeze(-1), vectors, 0.0)
        rest = present.sum(-1) < self.Q.shape[-1]
        return Eigenbasis(values, vectors, present, self.gamma, rest)


def lsr1(S: Tensor, Y: Tensor, valid: Tensor, gamma: Tensor, r: float = 1e-8) -> LSR1:
    """B from pairs.

    Args:
        S, Y: pairs (*members, m, n), oldest first.
        valid: (*members, m) bool; the others are not looked at and may hold anything.
        gamma: (*members,), of any sign, or zero.
        r: a pair is used where |s'u| > r ||s|| ||u||, u = y - B s with B of the pairs before it.
    """
    noise = 4.0 * torch.finfo(S.dtype).eps
    if host := compiled(S):
        gamma = gamma.double()
        return LSR1(gamma, *host.lsr1(S, Y, valid, gamma, r, noise, _DEPENDENT))
    S, Y = (torch.where(valid.unsqueeze(-1), one, 0.0).double() for one in (S, Y))
    gamma = gamma.double()
    Q, (m, n) = torch.zeros_like(S), S.shape[-2:]
    T = S.new_zeros((*S.shape[:-1], m))
    present, kept = torch.zeros_like(valid), torch.zeros_like(valid)
    for i in range(m):
        s, y = S[..., i, :], Y[..., i, :]
        Bs = col(gamma) * s
        if i:
            Bs = Bs + combined(Q[..., :i, :], along(T[..., :i, :i], along(Q[..., :i, :], s)))
        u = y - Bs
        keep = valid[..., i] & pair_test(s, y, Bs, r) & (norm(u) > noise * (norm(y) + norm(Bs)))
        q, inner, length = orthogonal(Q[..., :i, :], u)
        new = keep & (length > _DEPENDENT * norm(u)) & (present.sum(-1) < n)
        Q[..., i, :] = torch.where(col(new), q, 0.0)
        weight = torch.cat((inner, col(torch.where(new, length, 0.0))), -1)  # u in the basis
        weight = torch.where(col(keep), weight, 0.0)
        curvature = torch.where(keep, dot(s, u), 1.0)[..., None, None]
        T[..., : i + 1, : i + 1] += weight.unsqueeze(-1) * weight.unsqueeze(-2) / curvature
        present[..., i], kept[..., i] = new, keep
    return LSR1(gamma, Q, T, present, kept)


def compiled(S: Tensor) -> Any:
    """The loops of ``_host_lsr1`` where they are those for pairs like S (*members, m, n), else None."""
    if S.ndim < 3 or not compilable(S):
        return None
    from optimizers.quasi_newton import _host_lsr1  # numba is loaded where it is first of use

    return _host_lsr1


def pair_test(s: Tensor, y: Tensor, Bs: Tensor, r: float = 1e-8) -> Tensor:
    """Whether the SR1 update by a pair is bounded: |s'u| > r ||s|| ||u||, u = y - B s; (*members,) bool.

    It says nothing about definiteness. False where anything is not finite, where s or u is zero.
    """
    u = y - Bs
    bound = r * norm(s) * norm(u)
    return (dot(s, u).abs() > bound) & torch.isfinite(bound) & (bound > 0)


def newest_curvature(s: Tensor, y: Tensor, largest: float = 1e8) -> Tensor:
    """gamma = y'y / s'y with its sign, float64 (*members,).

    1 where s'y is zero or not finite; at most ``largest`` in size.
    """
    s, y = s.double(), y.double()
    sy, yy = dot(s, y), dot(y, y)
    ok = torch.isfinite(sy) & torch.isfinite(yy) & (sy != 0) & (yy > 0)
    return torch.where(ok, (yy / torch.where(ok, sy, 1.0)).clamp(-largest, largest), 1.0)


def curvature_below(S: Tensor, Y: Tensor, valid: Tensor, capturable: bool = False, smallest: float = 1e-6) -> Tensor:
    """gamma below the smallest eigenvalue x of (D + L + L') z = x S'S z, float64 (*members,).

    Then M^-1 is positive definite and gamma is below every other eigenvalue of B: no direction of negative curvature
    comes from gamma alone. x / 2 where x > 0, else 3 x / 2; at least ``smallest`` in size; 1 without pairs.
    Arguments as of ``lsr1`` and ``eigh_small``.
    """
    S, Y = (torch.where(valid.unsqueeze(-1), one, 0.0).double() for one in (S, Y))
    length = norm(S)
    used = valid & (length > 0)
    scale = 1.0 / torch.where(used, length, 1.0)
    S, Y = S * scale.unsqueeze(-1), Y * scale.unsqueeze(-1)  # x does not depend on the lengths of the pairs
    SY = _matmul(S, Y.mT)
    A = SY.tril() + SY.tril(-1).mT
    e, V = eigh_small(_matmul(S, S.mT), capturable)
    independent = e > 1e-10 * e.amax(-1, keepdim=True)
    W = V * torch.where(independent, e, 1.0).rsqrt().unsqueeze(-2)
    A = _matmul(_matmul(W.mT, A), W)
    A = torch.where(independent.unsqueeze(-1) & independent.unsqueeze(-2), A, 0.0)
    bound = A.abs().sum(-1).amax(-1)
    A = A + torch.diag_embed(torch.where(independent, 0.0, col(2.0 * bound + 1.0)))
    x = eigh_small(0.5 * (A + A.mT), capturable)[0][..., 0]
    gamma = torch.where(x > 0, (0.5 * x).clamp(min=smallest), (1.5 * x).clamp(max=-smallest))
    return torch.where(used.any(-1) & torch.isfinite(gamma), gamma, 1.0)


def orthogonal(Q: Tensor, u: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """(q, inner, length): u = Q' inner + length q, q of length one and orthogonal to the rows of Q.

    Gram-Schmidt twice, which is enough. q is zero where length is.
    """
    inner = along(Q, u)
    z = u - combined(Q, inner)
    again = along(Q, z)
    z = z - combined(Q, again)
    length = norm(z)
    ok = length > 0
    return torch.where(col(ok), z / col(torch.where(ok, length, 1.0)), 0.0), inner + again, length


def along(A: Tensor, v: Tensor) -> Tensor:
    """A v for matrices (*members, k, n) and vectors (*members, n): (*members, k)."""
    host = compiled(A)
    found: Tensor = host.along(A, v) if host else (A @ v.unsqueeze(-1)).squeeze(-1)
    return found


def combined(A: Tensor, x: Tensor) -> Tensor:
    """A' x for matrices (*members, k, n) and vectors (*members, k): (*members, n)."""
    if A.ndim == 2 or A.is_cuda:
        return (x.unsqueeze(-2) @ A).squeeze(-2)
    if host := compiled(A):
        found: Tensor = host.combined(A, x)
        return found
    return (x.unsqueeze(-1) * A).sum(-2)  # a batched product on the CPU rounds by a member's place in memory


def _matmul(A: Tensor, B: Tensor) -> Tensor:
    """A B for matrices (*members, k, n) and (*members, n, l), l small; for a population column by column."""
    if A.ndim == 2 or A.is_cuda:
        return A @ B
    return torch.stack([along(A, B[..., i]) for i in range(B.shape[-1])], -1)
