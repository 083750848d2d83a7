"""oLBFGS: stochastic limited-memory BFGS with normalised directions, two gradients of one mini-batch a step.

    g1 = g(w_k, X_k),   p = -H g1 / ||H g1||,   w_{k+1} = w_k + alpha_k p
    s = alpha_k p,      y = g(w_{k+1}, X_k) - g1 + lam s,      H from the last m pairs, H0 = mean(s'y / y'y) I

Source: Schraudolph, Yu and Guenter 2007. Differs: a pair is taken only where s'y > delta ||s||^2.
Closure: two calls a step, both on the mini-batch X_k. Storage (2 m + 2) n.
"""

from __future__ import annotations

from typing import Unpack

from optimizers._options import Common, Params, Rate, given
from optimizers.quasi_newton._engine import Online
from optimizers.quasi_newton._lbfgs import LimitedMemory
from optimizers.quasi_newton._pairs import regularised

__all__ = ["OLBFGS"]


class OLBFGS(Online):
    """Online L-BFGS. Source: Schraudolph, Yu and Guenter 2007. Differs: guarded pairs, see the module's docstring.

    Args:
        params: parameters or groups; lr: alpha_k = lr times the schedule; normalize: directions of length one.
        m: pairs kept; lam: curvature added along s; delta: smallest curvature of a pair.
        h0: factor of H0, "mean" over pairs, "newest" or "identity".
        schedule: "robbins-monro" tau / (tau + k), "rsqrt" 1 / sqrt(k + 1) or "constant".
    """

    matrix = LimitedMemory()
    pair_rule = regularised

    def __init__(
        self, params: Params, lr: Rate = 1.0, *, m: int = 8, lam: float = 1.0, delta: float = 1e-6,
        normalize: bool = True, schedule: str = "robbins-monro", tau: float = 10.0, h0: str = "mean",
        **common: Unpack[Common],
    ) -> None:  # fmt: skip
        super().__init__(params, given(locals()))
