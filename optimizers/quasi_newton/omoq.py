"""oMoQ: oNAQ with Nesterov's gradient estimated from two ordinary ones, one gradient a step.

    g1 = (1 + mu) g(w_k, X_k) - mu g(w_{k-1}, X_{k-1}),   p = -H g1 / ||H g1||
    v_{k+1} = mu v_k + alpha_k p,   w_{k+1} = w_k + v_{k+1}
    s = alpha_k p,   y = g(w_{k+1}, X_{k+1}) - g1 + lam s,   H by BFGS

The pair of step k is closed by the gradient of step k + 1, so ``step()`` works without a closure.

Source: Mahboubi, Indrapriyadarsini, Ninomiya and Asai 2021 (MoQ); Indrapriyadarsini et al. 2021.
Differs: a pair is taken only where s'y > delta ||s||^2; H starts as I; after a refused step the next gradient is
not extrapolated.
Closure: optional, one call a step. Storage n^2 + 4 n.
"""

from __future__ import annotations

from typing import Unpack

from optimizers._options import Common, Params, Rate, given
from optimizers.quasi_newton._bfgs import DenseInverse, bfgs
from optimizers.quasi_newton._engine import Online
from optimizers.quasi_newton._pairs import regularised

__all__ = ["OMoQ"]


class OMoQ(Online):
    """Online MoQ. Source: Mahboubi et al. 2021. Differs: guarded pairs, see the module's docstring.

    Args:
        params: parameters or groups; lr: alpha_k = lr times the schedule; normalize: directions of length one.
        mu: momentum, a number or one of each member (P,).
        lam: curvature added along s; delta: smallest curvature of a pair; rescale: H = (s'y / y'y) I before the first.
        schedule: "rsqrt" 1 / sqrt(k + 1), "robbins-monro" tau / (tau + k) or "constant".
        max_numel: refuse more parameters than this.
    """

    requires_closure = False
    deferred = True
    estimate = "momentum"
    matrix = DenseInverse(bfgs, "olmoq")
    pair_rule = regularised

    def __init__(
        self, params: Params, lr: Rate = 0.5, *, mu: Rate = 0.8, lam: float = 1.0, delta: float = 1e-6,
        normalize: bool = True, schedule: str = "rsqrt", tau: float = 10.0, rescale: bool = True,
        max_numel: int = 10_000, **common: Unpack[Common],
    ) -> None:  # fmt: skip
        super().__init__(params, given(locals()))
