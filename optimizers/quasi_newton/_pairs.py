"""Curvature pairs: how y is modified, and which pairs are accepted.

    plain          y = g2 - g1;                    accept  s'y > eps ||s|| ||y||
    damped         s <- theta s + (1 - theta) H y, theta = 0.8 y'Hy / (y'Hy - s'y) where s'y < 0.2 y'Hy, else 1
    regularised    y = g2 - g1 + lam s;            accept  s'y > delta ||s||^2
    modified       y = g2 - g1 + xi s,  xi = omega ||g1|| + max(-(g2 - g1)'s / ||s||^2, 0),
                   omega = 2 if ||g1||^2 > 1e-2 else 100, so that s'y >= omega ||g1|| ||s||^2 > 0

Source: Powell 1978 (damping, here in the form for H); Schraudolph, Yu and Guenter 2007 (lam); Indrapriyadarsini et al.
2018 (modified). Differs: the published stochastic methods accept every pair; here delta guards the division.
"""

from __future__ import annotations

import torch
from torch import Tensor

from optimizers._base import VectorOptimizer
from optimizers._vector import col, dot, norm, plus

__all__ = ["Pair", "damped", "modified", "plain", "regularised"]

Pair = tuple[Tensor, Tensor, Tensor, Tensor, Tensor]
"""s, y (*members, n), accept, s'y, y'y (*members,)"""


def plain(of: VectorOptimizer, s: Tensor, y: Tensor, g1: Tensor) -> Pair:
    """Pairs of enough curvature, by the scale-free test of the option ``eps``."""
    sy, yy, ss = dot(s, y), dot(y, y), dot(s, s)
    usable = torch.isfinite(yy) & (yy > 0)  # the square of a tiny y is zero
    return s, y, usable & (sy > of.option("eps") * ss.sqrt() * yy.sqrt()), sy, yy


def damped(of: VectorOptimizer, s: Tensor, y: Tensor, g1: Tensor) -> Pair:
    """Powell's damping of s towards H y, so that s'y >= 0.2 y'Hy."""
    h = of.matrix.times(of, y)  # type: ignore[attr-defined]  # a QuasiNewton
    sy, yh = dot(s, y), dot(y, h)
    short = sy < 0.2 * yh
    theta = torch.where(short, 0.8 * yh / torch.where(short, yh - sy, 1.0), 1.0)
    return plain(of, col(theta) * s + col(1 - theta) * h, y, g1)


def regularised(of: VectorOptimizer, s: Tensor, y: Tensor, g1: Tensor) -> Pair:
    """y + lam s, accepted where the curvature along s is above the option ``delta``."""
    y = plus(y, of.option("lam"), s)
    sy, yy = dot(s, y), norm(y).square()
    ok = torch.isfinite(sy) & torch.isfinite(yy) & (yy > 0)
    return s, y, ok & (sy > of.option("delta") * norm(s).square()), sy, yy


def modified(of: VectorOptimizer, s: Tensor, y: Tensor, g1: Tensor) -> Pair:
    """y + xi s: positive curvature by construction.

    With the option ``secant_norm`` "inf" ||g1|| is its largest entry and omega = 2 where that is above 1e-2.
    """
    largest = of.option("secant_norm") == "inf"
    size, ss = g1.abs().amax(-1) if largest else norm(g1), dot(s, s)
    moved = ss > 0
    bend = -dot(y, s) / torch.where(moved, ss, 1.0)
    omega = torch.where((size if largest else size.square()) > 1e-2, 2.0, 100.0).to(size.dtype)
    y = y + col(omega * size + bend.clamp(min=0)) * s
    sy, yy = dot(s, y), dot(y, y)
    return s, y, moved & torch.isfinite(yy) & (yy > 0) & (sy > 0), sy, yy
