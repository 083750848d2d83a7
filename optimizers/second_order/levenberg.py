"""Levenberg: Gauss-Newton, damped alike in all directions.

(J'J + lam I) s = -J'r,   w = w + lr s where f = 1/2 ||r||^2 falls

lam changes as in ``levenberg_marquardt``. Small lam: Gauss-Newton. Large lam: the gradient step -J'r / lam.

Source: Levenberg 1944; TUM lecture on optimization. Differs: nothing.
"""

from __future__ import annotations

import torch
from torch import Tensor

from optimizers.second_order._residuals import Linearised
from optimizers.second_order.levenberg_marquardt import LevenbergMarquardt

__all__ = ["Levenberg"]


class Levenberg(LevenbergMarquardt):
    """Levenberg's method on residuals; options, closure and costs are those of ``LevenbergMarquardt``.

    lam has the unit of J'J: it is not invariant under scaling of residuals or weights, as Marquardt's is.
    """

    def metric(self, model: Linearised) -> Tensor:
        """The identity, (*members, n)."""
        return torch.ones_like(model.g)
