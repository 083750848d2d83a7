"""Steps of populations on the processor, compiled: a member's vectors are read once, while the cache has them.

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

from optimizers.members import SUMS, arrays, each

__all__ = ["RULES", "deferred", "direction", "enter", "fisher_times", "learn", "squares_of", "times", "update"]

PAIRS = ("S", "Y", "R", "valid", "kappa", "slot")
"""of the memory of ``_lbfgs.LimitedMemory``"""
RULES = ("identity", "newest", "mean")
"""options ``h0`` of it: the factor of H0"""
BLOCK = 1024
"""coordinates that are worked on at a time: those of all pairs stay in the nearest cache"""


def times(memory: dict[str, Any], g: Tensor, h: Tensor) -> Tensor:
    """H g (P, n) for the pairs of ``_lbfgs`` in ``memory``, with H0 = diag(h), h (P, n) or (P, 1)."""
    out = torch.empty_like(g)
    _times(_pairs(memory), *arrays(g, h.contiguous(), out))
    return out


def direction(
    memory: dict[str, Any], g: Tensor, normalize: bool, rate: float | Tensor, rule: str = "identity",
    squares: Tensor | None = None, eps: float = 0.0,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """``unit`` of H g: displacements (P, n) and where they are finite and not zero (P,).

    Args:
        memory: of the optimizer.
        g: gradients (P, n).
        normalize, rate: see ``unit``; the rate is a number or (P, 1).
        rule: one of ``RULES``, where there are no squares.
        squares, eps: for H0 = diag(1 / sqrt(squares + eps)), (P, n).
    """
    s, ok = torch.empty_like(g), torch.empty(len(g), dtype=torch.bool)
    wide = squares is not None
    below = memory["kappa"] if squares is None else squares  # without squares it is not looked at
    _direction(_pairs(memory), RULES.index(rule), wide, normalize, eps, each(rate, g), *arrays(g, below, s, ok))
    return s, ok


def learn(memory: dict[str, Any], s: Tensor, y: Tensor, lam: float, delta: float, ok: Tensor) -> Tensor:
    """Take the pairs s, y + lam s (P, n) where ok (P,) holds and ``_pairs.regularised`` accepts; returns where.

    y is overwritten.
    """
    taken = torch.empty_like(ok)
    _learn_all(_pairs(memory), lam, delta, *arrays(s, y, ok, taken))
    return taken


def update(memory: dict[str, Any], s: Tensor, y: Tensor, accept: Tensor, sy: Tensor, yy: Tensor) -> None:
    """Take the pairs s, y (P, n) where accept (P,) holds, with s'y and y'y (P,)."""
    _update(_pairs(memory), *arrays(s, y, accept, sy, yy))


def deferred(
    memory: dict[str, Any], w: Tensor, g: Tensor, mu: float | Tensor, rate: float | Tensor, rule: str, normalize: bool,
    lam: float, delta: float,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
    """All of ``Online._deferred`` between the gradient g (P, n) and the judgement of new weights.

    Returns:
        New weights (P, n), and where the step is sound, a pair was taken, a pair was refused, each (P,).
    """
    new, (sound, taken, refused) = torch.empty_like(w), torch.zeros(3, len(w), dtype=torch.bool)
    kept = tuple(arrays(*(memory[name] for name in ("v", "s", "g1", "g_before", "fresh", "pending"))))
    _deferred(
        _pairs(memory), kept, RULES.index(rule), normalize, lam, delta, each(rate, w), each(mu, w),
        *arrays(w, g, new, sound, taken, refused),
    )  # fmt: skip
    return new, sound, taken, refused


def _pairs(memory: dict[str, Any]) -> tuple[Any, ...]:
    return tuple(arrays(*(memory[name] for name in PAIRS)))


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
def _toward(p: int, pairs: Any, g: Any, h: Any, u: Any, t: Any, z: Any, out: Any) -> None:
    """H g of member p into out (n,); h (n,) or (1,); u, t (m,) and z (n,) are room to work in."""
    S, Y, R, valid, _, slot = pairs
    m, n, number = valid.shape[1], g.shape[0], g.dtype.type
    _along(S[p], slot[p], valid[p], g, u)
    _solve_upper(R[p], u)
    for i in range(m):
        t[i] = R[p, i, i] * u[i]
    for a in range(0, n, BLOCK):
        b = min(a + BLOCK, n)
        part = z[a:b]
        part[:] = -g[a:b]
        for i in range(m):
            if valid[p, i]:
                _add(number(u[i]), Y[p, (slot[p] + i) % m, a:b], part)
        part *= h[a:b] if h.shape[0] > 1 else h
        for i in range(m):
            if valid[p, i]:
                t[i] += _dot(Y[p, (slot[p] + i) % m, a:b], part)
    _solve_transposed(R[p], t)
    for a in range(0, n, BLOCK):
        b = min(a + BLOCK, n)
        part = out[a:b]
        part[:] = -z[a:b]
        for i in range(m):
            if valid[p, i]:
                _add(number(t[i]), S[p, (slot[p] + i) % m, a:b], part)


@njit(cache=True, error_model="numpy")
def _times(pairs: Any, g: Any, h: Any, out: Any) -> None:
    u, t, z = pairs[2][0, 0].copy(), pairs[2][0, 0].copy(), g[0].copy()
    for p in range(g.shape[0]):
        _toward(p, pairs, g[p], h[p], u, t, z, out[p])


@njit(cache=True, error_model="numpy")
def _scale(rule: int, valid: Any, kappa: Any) -> float:
    """The factor of H0 by ``RULES``."""
    count = valid.sum()
    if rule == 0 or count == 0:
        return 1.0
    return kappa[-1] if rule == 1 else kappa.sum() / count


@njit(cache=True, error_model="numpy")
def _to_length(normalize: bool, rate: Any, x: Any) -> bool:
    """x <- rate x / ||x||, without the division unless ``normalize``; whether x was finite and not zero, else 0."""
    length = np.sqrt(_dot(x, x))
    if not 0 < length < np.inf:
        x[:] = 0
        return False
    x *= rate / length if normalize else rate
    return True


@njit(cache=True, error_model="numpy")
def _direction(
    pairs: Any, rule: int, wide: bool, normalize: bool, eps: float, rate: Any, g: Any, squares: Any, s: Any, ok: Any
) -> None:
    number = g.dtype.type
    u, t, z = pairs[2][0, 0].copy(), pairs[2][0, 0].copy(), g[0].copy()
    h = np.empty(g.shape[1] if wide else 1, g.dtype)
    for p in range(g.shape[0]):
        if wide:
            for j in range(h.shape[0]):
                h[j] = number(1) / np.sqrt(number(squares[p, j]) + number(eps))
        else:
            h[0] = _scale(rule, pairs[3][p], pairs[4][p])
        _toward(p, pairs, g[p], h, u, t, z, s[p])
        ok[p] = _to_length(normalize, rate[p, 0], s[p])


@njit(cache=True, error_model="numpy")
def _learn(p: int, pairs: Any, lam: float, delta: float, s: Any, y: Any) -> bool:
    """y <- y + lam s; whether the pair is accepted, then it is the newest of member p."""
    number = s.dtype.type
    _add(number(lam), s, y)
    sy, yy = _dot(s, y), _dot(y, y)
    if not (np.isfinite(sy) and 0 < yy < np.inf and sy > number(delta) * _dot(s, s)):
        return False
    _enter_pair(p, pairs, s, y, sy, yy)
    return True


@njit(cache=True, error_model="numpy")
def _enter_pair(p: int, pairs: Any, s: Any, y: Any, sy: Any, yy: Any) -> None:
    """The pair becomes the newest of member p."""
    S, Y, R, valid, kappa, slot = pairs
    m = valid.shape[1]
    S[p, slot[p]], Y[p, slot[p]] = s, y
    slot[p] = (slot[p] + 1) % m
    for i in range(m - 1):
        valid[p, i], kappa[p, i] = valid[p, i + 1], kappa[p, i + 1]
        for j in range(m - 1):
            R[p, i, j] = R[p, i + 1, j + 1]
        R[p, i, m - 1] = _dot(S[p, (slot[p] + i) % m], y) if valid[p, i] else 0.0
    R[p, m - 1] = 0
    valid[p, m - 1], kappa[p, m - 1], R[p, m - 1, m - 1] = 1.0, np.float64(sy) / np.float64(yy), sy


@njit(cache=True, error_model="numpy")
def _learn_all(pairs: Any, lam: float, delta: float, s: Any, y: Any, ok: Any, taken: Any) -> None:
    for p in range(s.shape[0]):
        taken[p] = ok[p] and _learn(p, pairs, lam, delta, s[p], y[p])


@njit(cache=True, error_model="numpy")
def _update(pairs: Any, s: Any, y: Any, accept: Any, sy: Any, yy: Any) -> None:
    for p in range(s.shape[0]):
        if accept[p]:
            _enter_pair(p, pairs, s[p], y[p], sy[p], yy[p])


@njit(cache=True, error_model="numpy")
def _deferred(
    pairs: Any, kept: Any, rule: int, normalize: bool, lam: float, delta: float, rate: Any, mu: Any, w: Any, g: Any,
    new: Any, sound: Any, taken: Any, refused: Any,
) -> None:  # fmt: skip
    v, s, g1, before, fresh, pending = kept
    u, t, z, y = pairs[2][0, 0].copy(), pairs[2][0, 0].copy(), g[0].copy(), g[0].copy()
    h = np.empty(1, g.dtype)
    for p in range(g.shape[0]):
        finite = _dot(g[p], g[p]) < np.inf
        if pending[p] and finite:
            for j in range(y.shape[0]):
                y[j] = g[p, j] - g1[p, j]
            taken[p] = _learn(p, pairs, lam, delta, s[p], y)
            refused[p] = not taken[p]
        if fresh[p]:
            g1[p] = g[p]
        else:
            for j in range(y.shape[0]):
                g1[p, j] = g[p, j] + mu[p, 0] * (g[p, j] - before[p, j])
        before[p], fresh[p] = g[p], False
        h[0] = _scale(rule, pairs[3][p], pairs[4][p])
        _toward(p, pairs, g1[p], h, u, t, z, s[p])
        sound[p] = _to_length(normalize, rate[p, 0], s[p]) and finite
        pending[p] = sound[p]
        for j in range(y.shape[0]):
            v[p, j] = mu[p, 0] * v[p, j] + s[p, j]
            new[p, j] = w[p, j] + v[p, j]


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
