"""Trust-region subproblems, min g'p + p'Bp / 2 over ||p|| <= delta, and the rules of the radius.

obs                    exact, from the eigenvectors of B = gamma I + rank m
trust_region_dense     exact, from all eigenvectors of B
trust_region_diagonal  what the two exact ones share: (lambda_i + sigma) p_i = -a_i

``_steihaug`` solves them by conjugate gradients. Nothing here reads from the device, but ``trust_region_dense`` where
the eigenvalue routine does.

Source: J. J. Brust, J. B. Erway, R. F. Marcia, 2017 (OBS); J. J. More, D. C. Sorensen, 1983;
J. Nocedal, S. J. Wright, 2006 (radius). Differs: Newton's iteration is for h = sigma + lambda_min, so that the
differences lambda_i - lambda_min keep their digits in the hard case and near to it; losses that agree to rounding count
as a decrease as predicted (A. R. Conn, N. I. M. Gould, P. L. Toint, 2000, 17.4.2).
"""

from __future__ import annotations

from collections.abc import Callable
from math import inf
from typing import NamedTuple

import torch
from torch import Tensor

from optimizers._vector import col, dot, norm
from optimizers.quasi_newton._eigenvalues import aligned_eigh
from optimizers.quasi_newton._lsr1 import Eigenbasis, along, combined, orthogonal
from optimizers.quasi_newton._steihaug import Truncated

__all__ = [
    "Step",
    "agreement",
    "complement",
    "new_radius",
    "obs",
    "rescaled",
    "trust_region_dense",
    "trust_region_diagonal",
]


class Step(NamedTuple):
    """A step and what the model promises for it."""

    p: Tensor  # (*members, n)
    predicted: Tensor  # (*members,): decrease of the model, -(g'p + p'Bp / 2)
    sigma: Tensor | None = None  # (*members,): multiplier, (B + sigma I) p = -g; None where it is not known


def obs(basis: Eigenbasis, g: Tensor, delta: Tensor) -> Step:
    """The exact step for B = gamma I + rank m.

    The complement of the eigenvectors is one more coordinate, along the part of g in it (where there is none and
    gamma is the smallest eigenvalue, along any vector of it).

    Args:
        basis: of ``LSR1.eigenbasis``.
        g: gradients (*members, n).
        delta: radii (*members,).
    """
    values, a, across, present = complement(basis, g)
    x, sigma = trust_region_diagonal(values, a, delta.double(), present)
    p = combined(basis.vectors, x[..., :-1]) + x[..., -1:] * across
    return Step(p.to(g.dtype), _promise(values, a, x, g), sigma.to(g.dtype))


def complement(basis: Eigenbasis, g: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """(values, a, across, present): B and g in m + 1 coordinates, float64.

    The last coordinate is along ``across`` (*members, n), of length one and orthogonal to the eigenvectors: the
    direction of the rest of g, or any where g has none. ``values``, ``a`` = U'g and ``present`` are (*members, m + 1).
    """
    x = g.double()
    beyond, a, length = orthogonal(basis.vectors, x)
    outside = basis.rest & (length > 1e-14 * norm(x))
    # the coordinate vector that is farthest from the span of the eigenvectors
    farthest = (basis.vectors**2).sum(-2).argmin(-1, keepdim=True)
    any_other = orthogonal(basis.vectors, torch.zeros_like(x).scatter(-1, farthest, 1.0))[0]
    across = torch.where(col(outside), beyond, torch.where(col(basis.rest), any_other, 0.0))
    last = col(torch.where(outside, length, 0.0))
    values = torch.cat((basis.values, col(basis.gamma)), -1)
    return values, torch.cat((a, last), -1), across, torch.cat((basis.present, col(basis.rest)), -1)


def trust_region_dense(B: Tensor, g: Tensor, delta: Tensor) -> Step:
    """The exact step for symmetric B (*members, n, n), gradients g (*members, n), radii delta (*members,)."""
    B = B.double()
    finite = torch.isfinite(B).all(-1).all(-1)
    values, V = aligned_eigh(torch.where(finite[..., None, None], B, 0.0))
    a = combined(V, g.double())
    x, sigma = trust_region_diagonal(values, a, delta.double(), torch.ones_like(values, dtype=torch.bool))
    p = torch.where(col(finite), along(V, x), torch.nan)
    return Step(p.to(g.dtype), _promise(values, a, x, g), sigma.to(g.dtype))


def _promise(values: Tensor, a: Tensor, x: Tensor, g: Tensor) -> Tensor:
    return -(a * x + 0.5 * values * x * x).sum(-1).to(g.dtype)


def trust_region_diagonal(
    values: Tensor, a: Tensor, delta: Tensor, present: Tensor, iterations: int = 12
) -> tuple[Tensor, Tensor]:
    """(x, sigma): the minimiser of sum_i a_i x_i + values_i x_i^2 / 2 over ||x|| <= delta and its multiplier.

    Inside: sigma = 0. Hard case: values_min <= 0, a vanishes where values are smallest, and the other coordinates do
    not reach the boundary at sigma = -values_min: the smallest one's coordinate fills up, with positive sign. Else
    Newton's iteration on 1 / ||x|| - 1 / delta = 0, which approaches the root from one side.

    Args:
        values, a: (*members, k).
        delta: (*members,).
        present: (*members, k) bool; the other coordinates stay zero.
        iterations: of Newton.
    """
    smallest = torch.where(present, values, inf).amin(-1)
    size = a.abs().amax(-1)
    a = torch.where(present & (a.abs() > 1e-20 * col(size)), a, 0.0)
    gap = torch.where(present, values - col(smallest), 1.0)
    low = smallest.clamp(min=0.0)
    start = torch.where(present, a.abs() / col(delta) - gap, 0.0).amax(-1)
    h = torch.maximum(low, start)
    for _ in range(iterations):
        squares = a**2 / torch.where(a == 0, 1.0, gap + col(h)) ** 2
        length = squares.sum(-1).sqrt()
        slope = (squares / torch.where(a == 0, 1.0, gap + col(h))).sum(-1)
        ok = slope > 0
        correction = length**2 / torch.where(ok, slope, 1.0) * (length / delta - 1.0)
        h = torch.maximum(h + torch.where(ok, correction, 0.0), low)
    x_low, solvable = _at(a, gap, low)
    short = norm(x_low)
    inside = solvable & (short <= delta)  # the unconstrained minimiser, or the hard case
    x = torch.where(col(inside), x_low, _at(a, gap, h)[0])
    fill = torch.where(inside & (smallest < 0), (delta**2 - short**2).clamp(min=0.0).sqrt(), 0.0)
    first = torch.arange(a.shape[-1], device=a.device) == torch.where(present, values, inf).argmin(-1, keepdim=True)
    x = torch.where(first & (col(fill) > 0), col(fill), x)
    return x, torch.where(inside, low, h) - smallest


def _at(a: Tensor, gap: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
    """(x, whether it exists): x_i = -a_i / (gap_i + h), zero where a is."""
    below = gap + col(h)
    ok = (a == 0) | (below > 0)
    return torch.where((a == 0) | ~ok, 0.0, -a / torch.where(below > 0, below, 1.0)), ok.all(-1)


def agreement(before: Tensor, after: Tensor, predicted: Tensor) -> Tensor:
    """(decrease of the loss) / (predicted decrease), -inf where the step is to be refused; (*members,).

    Refused: ``after`` is not finite, or ``predicted`` is not positive. Both decreases are taken larger by ten roundings
    of the loss, so that steps whose effect drowns in rounding are not refused for it.
    """
    noise = 10.0 * torch.finfo(before.dtype).eps * before.abs()
    ok = torch.isfinite(after) & torch.isfinite(before) & torch.isfinite(predicted) & (predicted > 0)
    return torch.where(ok, (before - after + noise) / torch.where(ok, predicted + noise, 1.0), -inf)


def new_radius(
    delta: Tensor,
    ratio: Tensor,
    length: Tensor,
    rule: str = "safer",
    *,
    poor: float = 0.1,
    good: float = 0.75,
    smallest: float = 1e-15,
    largest: float = inf,
) -> Tensor:
    """The next radius: twice after a good step, half after a poor one; (*members,).

    Args:
        delta, ratio, length: radius, ``agreement`` and length of the step, (*members,).
        rule: "safer" doubles only where the step was longer than 0.8 delta; "basic" always does.
        poor, good: halve below the one, double above the other. NaN is poor.
        smallest, largest: bounds on the radius.

    Raises:
        ValueError: an unknown rule.
    """
    if rule not in ("safer", "basic"):
        raise ValueError(f"rule = {rule!r}: 'safer' or 'basic'")
    wider = ratio > good
    if rule == "safer":
        wider = wider & (length > 0.8 * delta)
    grown = torch.where(wider, (2.0 * delta).clamp(max=largest), delta)
    return torch.where(ratio >= poor, grown, (0.5 * delta).clamp(min=smallest))


def rescaled(
    step: Step | Truncated,
    rate: float | Tensor,
    g: Tensor,
    product: Callable[[Tensor], Tensor],
    penalty: Callable[[Tensor], Tensor] | None = None,
) -> Step:
    """The step times a learning rate, and what the model promises for that.

    Args:
        step: of learning rate 1.
        rate: a number or a factor of vectors.
        g, product: of the model g'p + p'Bp / 2.
        penalty: what the model adds to that, p (*members, n) -> (*members,).
    """
    if isinstance(rate, float | int) and rate == 1:
        return Step(step.p, step.predicted)
    p = step.p * rate
    model = dot(g, p) + 0.5 * dot(p, product(p))
    return Step(p, -(model if penalty is None else model + penalty(p)))
