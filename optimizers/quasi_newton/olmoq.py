"""oLMoQ: oLNAQ with Nesterov's gradient estimated from two ordinary ones, one gradient a step.

    g1 = (1 + mu) g(w_k, X_k) - mu g(w_{k-1}, X_{k-1}),   p = -H g1 / ||H g1||
    v_{k+1} = mu v_k + alpha_k p,   w_{k+1} = w_k + v_{k+1}
    s = alpha_k p,   y = g(w_{k+1}, X_{k+1}) - g1 + lam s,   H from the last m pairs, H0 = mean(s'y / y'y) I

The pair of step k is closed by the gradient of step k + 1, so ``step()`` works without a closure, and the method fits
trainers that call ``optimizer.step()`` alone.

Source: Indrapriyadarsini et al. 2021.
Differs: a pair is taken only where s'y > delta ||s||^2; after a refused step the next gradient is not extrapolated.
Closure: optional, one call a step. Storage (2 m + 6) n.
"""

from __future__ import annotations

from typing import Unpack

from optimizers._options import Common, Params, Rate, given
from optimizers.quasi_newton._engine import Online
from optimizers.quasi_newton._lbfgs import LimitedMemory
from optimizers.quasi_newton._pairs import regularised

__all__ = ["OLMoQ"]


class OLMoQ(Online):
    """Online LMoQ. Source: Indrapriyadarsini et al. 2021. Differs: guarded pairs, see the module's docstring.

    Args:
        params: parameters or groups; lr: alpha_k = lr times the schedule; normalize: directions of length one.
        mu: momentum, a number or one of each member (P,); m: pairs kept.
        lam: curvature added along s; delta: smallest curvature of a pair.
        h0: factor of H0, "mean" over pairs, "newest" or "identity".
        schedule: "rsqrt" 1 / sqrt(k + 1), "robbins-monro" tau / (tau + k) or "constant".
    """

    requires_closure = False
    deferred = True
    estimate = "momentum"
    matrix = LimitedMemory()
    pair_rule = regularised

    def __init__(
        self, params: Params, lr: Rate = 0.5, *, mu: Rate = 0.8, m: int = 8, lam: float = 1.0, delta: float = 1e-6,
        normalize: bool = True, schedule: str = "rsqrt", tau: float = 10.0, h0: str = "mean",
        **common: Unpack[Common],
    ) -> None:  # fmt: skip
        super().__init__(params, given(locals()))
