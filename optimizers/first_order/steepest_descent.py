"""Steepest descent: along the negative gradient to the lowest point of the line.

p = -lr g,   alpha = argmin E(w + alpha p),   w <- w + alpha p

line_search="exact"        a bracket, then Brent's method on losses alone
line_search="quadratic"    alpha = -g'p / p'Hp, one Hessian product; exact where E is quadratic

Where it is exact, consecutive gradients are orthogonal.

Source: A. Cauchy, 1847; R. P. Brent, 1973.
Differs: lr sets the first trial step, and the metric where groups differ in it; alpha undoes it otherwise.
"""

from __future__ import annotations

from functools import partial
from typing import Any, Unpack

import torch
from torch import Tensor

from optimizers._base import VectorOptimizer
from optimizers._brent import exact
from optimizers._linesearch import lockstep
from optimizers._options import Common, Params, Rate, given, require
from optimizers._products import Differentiated, curvature_along
from optimizers._vector import blend, col, dot

__all__ = ["SteepestDescent"]

SEARCHES = ("exact", "quadratic")


class SteepestDescent(VectorOptimizer):
    """Steepest descent with an exact line search.

    Args:
        params: parameters, or groups of them with their own ``lr`` and ``weight_decay``.
        lr: length of the first trial step over that of the gradient, 0 or larger; also one a member, (P,).
        line_search: "exact" or "quadratic".
        rel_tol: width of the last bracket relative to the step ("exact"), 0 < rel_tol < 1.
        max_trials: losses a step at most ("exact"), 1 or more.
        common: ``weight_decay``, ``maximize``, ``member_dims``.

    Raises:
        ValueError: an option out of its range.

    "exact" takes one gradient and up to ``max_trials`` losses a step; the first trial of a search is the last step
    size. "quadratic" takes one gradient and one Hessian product; with ``backward=False`` the closure must return the
    loss attached to its graph. Where the line does not curve upwards the step is p. ``n_accepted`` counts line
    minima; ``n_rejected`` searches without a lower loss, which leave w as it is, and lines that do not curve upwards.
    The batch must stay the same within a step. Keeps alpha, one number a member.
    """

    def __init__(
        self,
        params: Params,
        lr: Rate = 1.0,
        *,
        line_search: str = "exact",
        rel_tol: float = 1e-6,
        max_trials: int = 50,
        **common: Unpack[Common],
    ) -> None:
        require(line_search in SEARCHES, "line_search", line_search, f"one of {SEARCHES}")
        require(0 < rel_tol < 1, "rel_tol", rel_tol, "0 < rel_tol < 1")
        require(max_trials >= 1, "max_trials", max_trials, "1 or more")
        super().__init__(params, given(locals()))

    def initial(self, w: Tensor) -> dict[str, Any]:
        """The first trial step along p."""
        return {"alpha": torch.ones_like(w[..., 0])}

    def move(self, w: Tensor) -> Tensor:
        """One step from w (*members, n)."""
        return self._searched(w) if self.option("line_search") == "exact" else self._quadratic(w)

    def _searched(self, w: Tensor) -> Tensor:
        f, g = self.evaluate(w)
        p, slope, ok = self._downhill(f, g)
        search = partial(exact, rel_tol=self.option("rel_tol"), max_trials=self.option("max_trials"))
        trial = self.memory["alpha"]
        end = lockstep(search, lambda alpha: (self.loss(w + col(alpha) * p), None, ()), f, slope, trial)
        found = ok & (end.alpha > 0)
        trial.copy_(torch.where(found, end.alpha, trial))
        self.count("n_accepted", found)
        self.count("n_rejected", ok & ~found)
        return self.stand_still(ok, torch.addcmul(w, col(end.alpha), p), w)

    def _quadratic(self, w: Tensor) -> Tensor:
        of = Differentiated(self, w)
        p, slope, ok = self._downhill(of.loss, of.gradient)
        curvature = curvature_along(of, p)
        curved = curvature > 0
        w_new = torch.addcmul(w, col(torch.where(curved, -slope / curvature, 1.0)), p)
        ok &= torch.isfinite(curvature) & torch.isfinite(w_new).all(-1)
        self.count("n_accepted", ok & curved)
        self.count("n_rejected", ok & ~curved)
        return self.stand_still(ok, w_new, w)

    def _downhill(self, f: Tensor, g: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """p = -lr g, the slope along it, and the members where all is finite; p is 0 for the others."""
        p = -self.rate() * g
        slope = dot(g, p)
        ok = torch.isfinite(f) & torch.isfinite(slope)
        return blend(ok, p, 0.0), slope, ok
