"""The products of populations on the processor, compiled: a member's vectors are read once, while the cache has them.

Torch works operation by operation through the vectors of all members, so that S, Y and F come from the main memory for
each of them anew. Here a member is done after the other, alone: its numbers do not depend on its neighbours. Values
are those of the masked form in torch, up to the order of sums, and it stays the form of everything else: devices, other
number types, networks without an axis of members, and where torch has several threads, which it then uses.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numba import njit
from torch import Tensor

from optimizers.members import SUMS, arrays

__all__ = ["column", "enter", "fisher_times", "squares_of", "times"]


def times(memory: dict[str, Any], g: Tensor, h: Tensor) -> Tensor:
    """H g (P, n) for the pairs of ``_lbfgs`` in ``memory``, with H0 = diag(h), h (P, n) or (P, 1)."""
    out = torch.empty_like(g)
    pairs = arrays(*(memory[name] for name in ("S", "Y", "R", "valid", "slot")))
    _times(*pairs, *arrays(g, h.contiguous(), out))
    return out


def column(memory: dict[str, Any], y: Tensor, valid: Tensor) -> Tensor:
    """S y (P, m) in float64, oldest first, where there is a pair by ``valid`` (P, m); 0 elsewhere."""
    out = torch.empty_like(valid)
    _column(*arrays(memory["S"], memory["slot"], valid, y, out))
    return out


def fisher_times(F: Tensor, weight: Tensor, s: Tensor) -> Tensor:
    """F' diag(weight) F s (P, n) for F (P, mF, n), weight (P, mF) and s (P, n)."""
    y = torch.zeros_like(s)
    _fisher_times(*arrays(F, weight, s, y))
    return y


def squares_of(F: Tensor, held: Tensor, out: Tensor) -> None:
    """Write the sum of the squares of F (P, mF, n) where ``held`` (P, mF) is 1 into ``out`` (P, n), float64."""
    _squares_of(*arrays(F, held, out.zero_()))


def enter(F: Tensor, held: Tensor, turn: int, squares: Tensor, g: Tensor, ok: Tensor) -> None:
    """Put g (P, n) into row ``turn`` of F where ok (P,) holds, and its square into ``squares`` for that which leaves.

    Elsewhere the row and its place in ``held`` (P, mF) become 0.
    """
    _enter(F.numpy(), held.numpy(), turn, squares.numpy(), g.numpy(), ok.numpy())


@njit(cache=True, fastmath=SUMS, error_model="numpy")
def _dot(a: Any, b: Any) -> Any:
    total = a.dtype.type(0)
    for j in range(a.shape[0]):
        total += a[j] * b[j]
    return total


@njit(cache=True, fastmath=SUMS, error_model="numpy")
def _add(c: Any, a: Any, to: Any) -> None:
    """to <- to + c a."""
    for j in range(a.shape[0]):
        to[j] += c * a[j]


@njit(cache=True, error_model="numpy")
def _along(A: Any, slot: int, valid: Any, x: Any, out: Any) -> None:
    """A x (m,) in the order of time, 0 where there is no pair."""
    m = valid.shape[0]
    for i in range(m):
        out[i] = _dot(A[(slot + i) % m], x) if valid[i] else 0.0


@njit(cache=True, error_model="numpy")
def _spread(c: Any, A: Any, slot: int, valid: Any, to: Any) -> None:
    """to <- to + A' c for c (m,) in the order of time."""
    m = valid.shape[0]
    for i in range(m):
        if valid[i]:
            _add(to.dtype.type(c[i]), A[(slot + i) % m], to)


@njit(cache=True, error_model="numpy")
def _solve_upper(R: Any, x: Any) -> None:
    """x <- R^-1 x."""
    for i in range(len(x) - 1, -1, -1):
        for j in range(i + 1, len(x)):
            x[i] -= R[i, j] * x[j]
        x[i] /= R[i, i]


@njit(cache=True, error_model="numpy")
def _solve_transposed(R: Any, x: Any) -> None:
    """x <- R^-T x."""
    for i in range(len(x)):
        for j in range(i):
            x[i] -= R[j, i] * x[j]
        x[i] /= R[i, i]


@njit(cache=True, error_model="numpy")
def _times(S: Any, Y: Any, R: Any, valid: Any, slot: Any, g: Any, h: Any, out: Any) -> None:
    u, t, z = R[0, 0].copy(), R[0, 0].copy(), g[0].copy()
    for p in range(g.shape[0]):
        _along(S[p], slot[p], valid[p], g[p], u)
        _solve_upper(R[p], u)
        z[:] = -g[p]
        _spread(u, Y[p], slot[p], valid[p], z)
        z *= h[p]
        _along(Y[p], slot[p], valid[p], z, t)
        for i in range(len(t)):
            t[i] += R[p, i, i] * u[i]
        _solve_transposed(R[p], t)
        out[p] = -z
        _spread(t, S[p], slot[p], valid[p], out[p])


@njit(cache=True, error_model="numpy")
def _column(S: Any, slot: Any, valid: Any, y: Any, out: Any) -> None:
    for p in range(y.shape[0]):
        _along(S[p], slot[p], valid[p], y[p], out[p])


@njit(cache=True, error_model="numpy")
def _fisher_times(F: Any, weight: Any, s: Any, y: Any) -> None:
    for p in range(s.shape[0]):
        for i in range(F.shape[1]):
            if weight[p, i]:
                _add(weight[p, i] * _dot(F[p, i], s[p]), F[p, i], y[p])


@njit(cache=True, error_model="numpy")
def _squares_of(F: Any, held: Any, out: Any) -> None:
    for p in range(F.shape[0]):
        for i in range(F.shape[1]):
            if held[p, i]:
                row, sums = F[p, i], out[p]
                for j in range(row.shape[0]):
                    sums[j] += np.float64(row[j]) * np.float64(row[j])


@njit(cache=True, error_model="numpy")  # the square that leaves is rounded as the one that entered
def _enter(F: Any, held: Any, turn: int, squares: Any, g: Any, ok: Any) -> None:
    for p in range(g.shape[0]):
        row, sums, was, now = F[p, turn], squares[p], held[p, turn] > 0, ok[p]
        for j in range(g.shape[1]):
            left = sums[j]
            if was:
                left = max(left - np.float64(row[j]) * np.float64(row[j]), 0.0)
            row[j] = g[p, j] if now else 0.0
            sums[j] = left + np.float64(row[j]) * np.float64(row[j])
        held[p, turn] = 1.0 if now else 0.0
