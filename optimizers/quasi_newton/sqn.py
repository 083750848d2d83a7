"""SQN: stochastic quasi-Newton with Hessian products on averaged iterates.

    g = g(w_k, X_k),   w_{k+1} = w_k - alpha_k H g,   alpha_k = lr tau / (tau + k)

and every L steps, with the average wn of the iterates that these steps started from and wo the average before it:

    s = wn - wo,   y = grad^2 E(wn, X_H) s,   H from the last m pairs, H0 = (s'y / y'y) I of the newest

The first 2 L steps are plain gradient steps, because there is no pair yet.

Source: Byrd, Hansen, Nocedal and Singer 2016.
Differs: a pair is taken only where s'y > eps ||s|| ||y||; ``normalize`` makes directions of length one (not in the
paper).
Closure: one call a step and one Hessian product every L steps, on X_k or, better, by ``curvature``, a closure of a
larger batch X_H (about ten times X_k). With ``backward=False`` the closure returns the loss attached to its graph.
Storage (2 m + 4) n.
"""

from __future__ import annotations

from typing import Any, Unpack

import torch
from torch import Tensor

from optimizers._evaluation import Closure
from optimizers._options import Common, Params, Rate, given
from optimizers._products import Differentiated
from optimizers._vector import dot
from optimizers.quasi_newton._engine import QuasiNewton
from optimizers.quasi_newton._lbfgs import LimitedMemory

__all__ = ["SQN"]


class SQN(QuasiNewton):
    """SQN. Source: Byrd, Hansen, Nocedal and Singer 2016. Differs: a pair test, see the module's docstring.

    Args:
        params: parameters or groups; lr: alpha_k = lr times the schedule; normalize: directions of length one.
        L: steps between pairs; m: pairs kept; eps: least cosine of a pair.
        h0: factor of H0, of the "newest" pair, "mean" over pairs or "identity".
        schedule: "robbins-monro" tau / (tau + k), "rsqrt" 1 / sqrt(k + 1) or "constant".
    """

    matrix = LimitedMemory()
    curvature: Closure | None = None
    """a closure of the larger batch X_H; None: the step's own. Not kept in checkpoints"""

    def __init__(
        self, params: Params, lr: Rate = 0.1, *, L: int = 10, m: int = 5, eps: float = 1e-8, normalize: bool = False,
        schedule: str = "robbins-monro", tau: float = 10.0, h0: str = "newest", **common: Unpack[Common],
    ) -> None:  # fmt: skip
        super().__init__(params, given(locals()))

    def initial(self, w: Tensor) -> dict[str, Any]:
        """Besides: the sum of iterates and the last average."""
        return {**super().initial(w), "w_sum": torch.zeros_like(w), "w_anchor": torch.zeros_like(w)}

    def move(self, w: Tensor) -> Tensor:
        """One step, see the module's docstring."""
        memory, L = self.memory, int(self.option("L"))
        g = self.gradient(w)
        finite = torch.isfinite(dot(g, g))
        s, ok = self.unit_step(g, -self.schedule() * self.rate())
        memory["w_sum"].add_(w)
        self.forget(~(ok & finite))
        w_new = self.stand_still(ok & finite, w + s, w)
        if (self.k + 1) % L == 0:
            average = memory["w_sum"] / L
            memory["w_sum"].zero_()
            if self.k + 1 > L:
                self.pair(average)
            memory["w_anchor"].copy_(average)
        return w_new

    def pair(self, average: Tensor) -> None:
        """Learn from the displacement of the averages and the Hessian at the new one."""
        closure = self._closure
        if self.curvature is not None:
            self._closure = self.curvature
        s = average - self.memory["w_anchor"]
        y = Differentiated(self, average).product(s)
        self._closure = closure
        self.learn(s, y, s, torch.isfinite(dot(y, y)))
