"""oBFGS: stochastic BFGS with normalised directions, two gradients of one mini-batch a step.

    g1 = g(w_k, X_k),   p = -H g1 / ||H g1||,   w_{k+1} = w_k + alpha_k p
    s = alpha_k p,      y = g(w_{k+1}, X_k) - g1 + lam s,      H by BFGS

Source: Schraudolph, Yu and Guenter 2007; Indrapriyadarsini et al. 2020.
Differs: a pair is taken only where s'y > delta ||s||^2; H starts as I instead of a tiny multiple of it.
Closure: two calls a step, both on the mini-batch X_k. Storage n^2.
"""

from __future__ import annotations

from typing import Unpack

from optimizers._options import Common, Params, Rate, given
from optimizers.quasi_newton._bfgs import DenseInverse, bfgs
from optimizers.quasi_newton._engine import Online
from optimizers.quasi_newton._pairs import regularised

__all__ = ["OBFGS"]


class OBFGS(Online):
    """Online BFGS. Source: Schraudolph, Yu and Guenter 2007. Differs: guarded pairs, see the module's docstring.

    Args:
        params: parameters or groups; lr: alpha_k = lr times the schedule; normalize: directions of length one.
        lam: curvature added along s; delta: smallest curvature of a pair; rescale: H = (s'y / y'y) I before the first.
        schedule: "robbins-monro" tau / (tau + k), "rsqrt" 1 / sqrt(k + 1) or "constant".
        max_numel: refuse more parameters than this.
    """

    matrix = DenseInverse(bfgs, "olbfgs")
    pair_rule = regularised

    def __init__(
        self, params: Params, lr: Rate = 1.0, *, lam: float = 1.0, delta: float = 1e-6, normalize: bool = True,
        schedule: str = "robbins-monro", tau: float = 10.0, rescale: bool = True, max_numel: int = 10_000,
        **common: Unpack[Common],
    ) -> None:  # fmt: skip
        super().__init__(params, given(locals()))
