"""B of limited-memory SR1 for populations on the processor, compiled: see ``_lsr1.lsr1`` and ``_host``."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numba import njit
from torch import Tensor

from optimizers.members import arrays
from optimizers.quasi_newton._host import _add, _dot

__all__ = ["along", "combined", "lsr1", "turned"]


def lsr1(
    S: Tensor, Y: Tensor, valid: Tensor, gamma: Tensor, r: float, noise: float, dependent: float
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Q (P, m, n), T (P, m, m), float64, present, kept (P, m) of ``LSR1``.

    Args:
        S, Y, valid, gamma, r: of ``_lsr1.lsr1``, with an axis of members.
        noise: u counts as zero below this part of the lengths of y and B s.
        dependent: u lies in the span of the others where what is left of it is below this part.
    """
    Q = torch.zeros_like(S, dtype=torch.float64)
    T = Q.new_zeros((*S.shape[:-1], S.shape[-2]))
    present, kept = torch.zeros_like(valid), torch.zeros_like(valid)
    _lsr1(r, noise, dependent, *arrays(S.contiguous(), Y.contiguous(), valid, gamma, Q, T, present, kept))
    return Q, T, present, kept


def along(A: Tensor, v: Tensor) -> Tensor:
    """A v for A (P, k, n) and v (P, n): (P, k)."""
    out = torch.empty_like(A[..., 0])
    _along(*arrays(A.contiguous(), v.contiguous(), out))
    return out


def combined(A: Tensor, x: Tensor) -> Tensor:
    """A' x for A (P, k, n) and x (P, k): (P, n)."""
    out = A.new_zeros(A.shape[0], A.shape[2])
    _combined(*arrays(A.contiguous(), x.contiguous(), out))
    return out


def turned(P: Tensor, Q: Tensor) -> Tensor:
    """P' Q for P (members, m, m) and Q (members, m, n)."""
    out = torch.zeros_like(Q)
    _turned(*arrays(P.contiguous(), Q, out))
    return out


@njit(cache=True, error_model="numpy")
def _project(A: Any, k: int, x: Any, out: Any) -> None:
    """The first k rows of A times x."""
    for j in range(k):
        out[j] = _dot(A[j], x)


@njit(cache=True, error_model="numpy")
def _spread(sign: int, A: Any, k: int, c: Any, to: Any) -> None:
    """to <- to + sign A' c for the first k rows of A."""
    for j in range(k):
        _add(to.dtype.type(sign) * c[j], A[j], to)  # a whole number would make float32 wide


@njit(cache=True, error_model="numpy")
def _along(A: Any, v: Any, out: Any) -> None:
    for p in range(A.shape[0]):
        _project(A[p], A.shape[1], v[p], out[p])


@njit(cache=True, error_model="numpy")
def _combined(A: Any, x: Any, out: Any) -> None:
    for p in range(A.shape[0]):
        _spread(1, A[p], A.shape[1], x[p], out[p])


@njit(cache=True, error_model="numpy")
def _turned(P: Any, Q: Any, out: Any) -> None:
    for p in range(Q.shape[0]):
        for i in range(P.shape[2]):
            _spread(1, Q[p], P.shape[1], P[p, :, i], out[p, i])


@njit(cache=True, error_model="numpy")
def _add_square(x: Any, k: int, divisor: float, to: Any) -> None:
    """to <- to + x x' / divisor for the first k entries of x."""
    for i in range(k):
        for j in range(k):
            to[i, j] += x[i] * x[j] / divisor


@njit(cache=True, error_model="numpy")
def _lsr1(
    r: float, noise: float, dependent: float, S: Any, Y: Any, valid: Any, gamma: Any, Q: Any, T: Any, present: Any,
    kept: Any,
) -> None:  # fmt: skip
    m, n = S.shape[1:]
    s, y, u, z = np.empty(n), np.empty(n), np.empty(n), np.empty(n)
    inner, again, weight = np.empty(m), np.empty(m), np.empty(m)
    for p in range(S.shape[0]):
        for i in range(m):
            if not valid[p, i]:
                continue
            s[:], y[:] = S[p, i], Y[p, i]
            _project(Q[p], i, s, inner)
            u[:] = y - gamma[p] * s
            for j in range(i):
                again[j] = _dot(T[p, j, :i], inner[:i])
            _spread(-1, Q[p], i, again, u)
            z[:] = y - u  # B s
            long, bound = np.sqrt(_dot(u, u)), r * np.sqrt(_dot(s, s)) * np.sqrt(_dot(u, u))
            su = _dot(s, u)
            if not (0 < bound < np.inf and abs(su) > bound):
                continue
            if not long > noise * (np.sqrt(_dot(y, y)) + np.sqrt(_dot(z, z))):
                continue
            kept[p, i] = True
            z[:] = u
            _project(Q[p], i, z, inner)
            _spread(-1, Q[p], i, inner, z)
            _project(Q[p], i, z, again)
            _spread(-1, Q[p], i, again, z)
            length = np.sqrt(_dot(z, z))
            present[p, i] = length > dependent * long and present[p].sum() < n
            if present[p, i]:
                Q[p, i] = z / length
            for j in range(i):
                weight[j] = inner[j] + again[j]
            weight[i] = length if present[p, i] else 0.0
            _add_square(weight, i + 1, su, T[p])
