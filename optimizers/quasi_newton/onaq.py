"""oNAQ: stochastic BFGS with Nesterov's accelerated gradient, two gradients of one mini-batch a step.

    g1 = g(w_k + mu v_k, X_k),   p = -H g1 / ||H g1||,   v_{k+1} = mu v_k + alpha_k p,   w_{k+1} = w_k + v_{k+1}
    s = alpha_k p,               y = g(w_{k+1}, X_k) - g1 + lam s,                       H by BFGS

Source: Indrapriyadarsini, Mahboubi, Ninomiya and Asai 2019.
Differs: a pair is taken only where s'y > delta ||s||^2; H starts as I instead of a tiny multiple of it.
Closure: two calls a step, both on the mini-batch X_k. Storage n^2. mu = 0 is oBFGS.
"""

from __future__ import annotations

from typing import Unpack

from optimizers._options import Common, Params, Rate, given
from optimizers.quasi_newton._bfgs import DenseInverse, bfgs
from optimizers.quasi_newton._engine import Online
from optimizers.quasi_newton._pairs import regularised

__all__ = ["ONAQ"]


class ONAQ(Online):
    """Online NAQ. Source: Indrapriyadarsini et al. 2019. Differs: guarded pairs, see the module's docstring.

    Args:
        params: parameters or groups; lr: alpha_k = lr times the schedule; normalize: directions of length one.
        mu: momentum, a number or one of each member (P,).
        lam: curvature added along s; delta: smallest curvature of a pair; rescale: H = (s'y / y'y) I before the first.
        schedule: "rsqrt" 1 / sqrt(k + 1), "robbins-monro" tau / (tau + k) or "constant".
        max_numel: refuse more parameters than this.
    """

    estimate = "lookahead"
    matrix = DenseInverse(bfgs, "olnaq")
    pair_rule = regularised

    def __init__(
        self, params: Params, lr: Rate = 0.5, *, mu: Rate = 0.8, lam: float = 1.0, delta: float = 1e-6,
        normalize: bool = True, schedule: str = "rsqrt", tau: float = 10.0, rescale: bool = True,
        max_numel: int = 10_000, **common: Unpack[Common],
    ) -> None:  # fmt: skip
        super().__init__(params, given(locals()))
