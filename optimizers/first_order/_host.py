"""Steps of populations on the processor, compiled: one pass through a member's vectors, member after member.

Torch makes a pass through the vectors of all members for every operation. Values are those of the operations in
``_elementwise``, up to rounding, and those stay the form of everything else; see ``optimizers.members.compilable``.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numba import njit
from torch import Tensor

from optimizers.members import SUMS, arrays, each

__all__ = ["adam", "rmsprop"]


def adam(
    w: Tensor, g: Tensor, memory: dict[str, Any], betas: tuple[float, float], rate: float | Tensor, eps: float,
    inside: bool,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """New weights (P, n) and which members moved (P,).

    The rate is a number or (P, 1); moments m, v and their weights c1, c2 are moved on in place.
    """
    new, moved = torch.empty_like(w), torch.empty(len(w), dtype=torch.bool)
    moments = arrays(*(memory[name] for name in ("m", "c1", "v", "c2")))
    _adam(betas[0], betas[1], eps, inside, _least(w), each(rate, w), *arrays(w, g, new, moved), *moments)
    return new, moved


def rmsprop(
    w: Tensor, g: Tensor, memory: dict[str, Any], rho: float, rate: float | Tensor, eps: float, inside: bool
) -> tuple[Tensor, Tensor]:
    """New weights (P, n) and which members moved (P,).

    The rate is a number or (P, 1); the mean square v is moved on in place.
    """
    new, moved = torch.empty_like(w), torch.empty(len(w), dtype=torch.bool)
    _rmsprop(rho, eps, inside, _least(w), each(rate, w), *arrays(w, g, new, moved, memory["v"]))
    return new, moved


def _least(w: Tensor) -> float:
    """The smallest normal number; see ``_elementwise.denominator``."""
    return torch.finfo(w.dtype).tiny


@njit(cache=True, fastmath=SUMS, error_model="numpy")
def _sound(g: Any) -> bool:
    """Whether a gradient is finite, and the square of its length too."""
    total = g.dtype.type(0)
    for j in range(g.shape[0]):
        total += g[j] * g[j]
    return bool(total < np.inf)


@njit(cache=True, error_model="numpy")
def _adam(
    beta1: float, beta2: float, eps: float, inside: bool, least: float, rate: Any, w: Any, g: Any, new: Any, moved: Any,
    m: Any, c1: Any, v: Any, c2: Any,
) -> None:  # fmt: skip
    number = w.dtype.type
    keep1, keep2, take1, take2, floor = (
        number(beta1),
        number(beta2),
        number(1 - beta1),
        number(1 - beta2),
        number(least),
    )
    for p in range(w.shape[0]):
        moved[p] = _sound(g[p])
        if not moved[p]:
            new[p], m[p], c1[p, 0] = w[p], 0, 0
            continue
        c1[p, 0] = beta1 * c1[p, 0] + (1 - beta1)
        c2[p, 0] = beta2 * c2[p, 0] + (1 - beta2)
        root = np.sqrt(c2[p, 0])
        step = number(root / c1[p, 0] * rate[p, 0])
        below = number(max(c2[p, 0] * eps, least)) if inside else number(root * eps)
        w_p, g_p, m_p, v_p, new_p = w[p], g[p], m[p], v[p], new[p]
        for j in range(w.shape[1]):
            m_p[j] = keep1 * m_p[j] + take1 * g_p[j]
            v_p[j] = keep2 * v_p[j] + take2 * (g_p[j] * g_p[j])
            if inside:
                new_p[j] = w_p[j] - step * m_p[j] / np.sqrt(v_p[j] + below)
            else:
                new_p[j] = w_p[j] - step * m_p[j] / (np.sqrt(max(v_p[j], floor)) + below)


@njit(cache=True, error_model="numpy")
def _rmsprop(
    rho: float, eps: float, inside: bool, least: float, rate: Any, w: Any, g: Any, new: Any, moved: Any, v: Any
) -> None:
    number = w.dtype.type
    keep, take, floor = number(rho), number(1 - rho), number(least)
    below = number(max(eps, least)) if inside else number(eps)
    for p in range(w.shape[0]):
        moved[p] = _sound(g[p])
        if not moved[p]:
            new[p] = w[p]
            continue
        step = rate[p, 0]
        w_p, g_p, v_p, new_p = w[p], g[p], v[p], new[p]
        for j in range(w.shape[1]):
            v_p[j] = keep * v_p[j] + take * (g_p[j] * g_p[j])
            if inside:
                new_p[j] = w_p[j] - step * g_p[j] / np.sqrt(v_p[j] + below)
            else:
                new_p[j] = w_p[j] - step * g_p[j] / (np.sqrt(max(v_p[j], floor)) + below)
