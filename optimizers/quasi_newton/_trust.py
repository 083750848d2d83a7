"""Trust-region steps with SR1 matrices, plain, look-ahead or momentum-estimated.

    g1 at the point w + mu v (see ``_engine``);  s minimises g1's + s'Bs / 2 within ||s|| <= delta
    ratio = (E(point) - E(point + s)) / -(g1's + s'Bs / 2);  delta doubles, stays or halves
    ratio > eta:  v <- mu v + s,  w <- point + s;   else w stays, v <- 0, theta <- 1
    y = grad(point + s) - g1 updates B, if |s'(y - Bs)| >= r ||s|| ||y - Bs||
    s = 0:  nothing was tried; w, delta and B stay, v <- mu v

A batch whose gradient is exactly zero (all of it masked, a dead layer) says nothing about the loss: the stochastic
methods then take s = 0, also where B has negative curvature.

With ``mu=None`` the momentum follows Nesterov's schedule of ``_momentum``.

Source: Indrapriyadarsini et al. 2022 (SR1-N); Nocedal and Wright, Numerical Optimization, algorithm 6.2.
Differs: the decrease is taken from the loss at the point where the model stands, and pairs are differences of gradients
at points that belong together; the authors' program does neither (``ared="iterate"`` for the first).
"""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor

from optimizers._options import COMMON, Common, Params, require
from optimizers._vector import blend, col, dot, nonzero, norm
from optimizers.quasi_newton._engine import RULES, check_numbers
from optimizers.quasi_newton._momentum import advance, estimated, first_memory
from optimizers.quasi_newton._reuse import Reuse
from optimizers.quasi_newton._sr1 import DenseSR1, LimitedSR1
from optimizers.quasi_newton._trust_region import agreement, new_radius

__all__ = ["Region", "TrustRegion"]

DEFAULTS: dict[str, Any] = {
    "delta0": 1.0, "delta_max": 1000.0, "eta": 1e-6, "r": 1e-8, "radius": "safer", "subproblem": "exact",
    "ared": "lookahead", "lam": 0.0, "refused_pairs": True,
    "reuse": True,
}  # fmt: skip
CHOICES = {
    "radius": ("safer", "basic"),
    "subproblem": ("exact", "steihaug"),
    "ared": ("lookahead", "iterate"),
    "b0": ("newest", "below"),
}


class Region(Common, total=False):
    """Options of every trust-region method."""

    delta0: float
    """first radius"""
    delta_max: float
    """largest radius"""
    eta: float
    """smallest ratio of actual to predicted decrease that is accepted"""
    r: float
    """least cosine in the pair test"""
    radius: str
    """"safer": doubles only where the step reached 0.8 delta; "basic": always after a good step"""
    subproblem: str
    """exact, or steihaug for truncated conjugate gradients"""
    ared: str
    """decrease from the "lookahead" point or, as in the authors' program, from the "iterate" """
    lam: float
    """curvature added along s"""
    reuse: bool
    """take the last gradient of a step as the first of the next (not the stochastic methods); False where the batch
    changes between steps"""
    restart: bool
    """zero the velocity after a step that made the loss larger"""
    refused_pairs: bool
    """whether B also learns from steps that were refused, whose gradient is at hand"""


class TrustRegion(Reuse):
    """One step, see the module's docstring."""

    estimate: ClassVar[str] = "weights"
    stochastic: ClassVar[bool] = False
    restarts: ClassVar[bool] = False
    matrix: ClassVar[DenseSR1 | LimitedSR1]

    @classmethod
    def common(cls) -> dict[str, Any]:
        """Options of the region besides those of every method."""
        return {**COMMON, **DEFAULTS, "restart": cls.restarts}

    def __init__(self, params: Params, defaults: dict[str, Any]) -> None:
        defaults = {**self.common(), **defaults}
        check_numbers({name: one for name, one in defaults.items() if one is not None}, RULES)
        for name, values in CHOICES.items():
            if name in defaults:
                require(defaults[name] in values, name, defaults[name], "one of " + ", ".join(values))
        for name in ("delta0", "delta_max"):
            require(defaults[name] > 0, name, defaults[name], "larger than 0")
        super().__init__(params, defaults)

    def initial(self, w: Tensor) -> dict[str, Any]:
        """The matrix, the radius, and what the gradient rule remembers."""
        memory = {**self.matrix.initial(self, w), **first_memory(self.estimate, w)}
        members = w.shape[:-1]
        memory["delta"] = torch.full(members, float(self.option("delta0")), dtype=w.dtype, device=w.device)
        if self.estimate != "weights":
            memory["theta"] = torch.ones_like(w[..., 0])
            memory["f_before"] = torch.full(members, float("inf"), dtype=w.dtype, device=w.device)
        if self.reuses:
            memory["known"] = False
        return memory

    @property
    def reuses(self) -> bool:
        """Whether a gradient of the step before may be taken for this one's."""
        return not self.stochastic and bool(self.option("reuse"))

    def momentum(self) -> Tensor | float:
        """mu of this step: a number, or a factor (*members, 1)."""
        if self.estimate == "weights":
            return 0.0
        mu = self.option("mu")
        if mu is None:
            mu, theta = advance(self.memory["theta"], self.option("gamma_theta"), self.option("mu_max"))
            self.memory["theta"].copy_(theta)
        return col(mu) if isinstance(mu, Tensor) and mu.ndim else mu

    def start(self, w: Tensor, mu: Tensor | float) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """(point, loss there, g1, loss at w where it is known else at the point)."""
        memory = self.memory
        point = w if self.estimate == "weights" else w + mu * memory["v"]
        if self.estimate != "momentum":
            f, g1 = self.at(point)
            return point, f, g1, self.loss(w) if self.option("ared") == "iterate" and point is not w else f
        f_w, g = self.at(w)
        g1 = estimated(memory, g, mu)
        here = self.reuses and torch.equal(point, w)
        f = f_w if here or self.option("ared") == "iterate" else self.loss(point)
        return point, f, g1, f_w

    def move(self, w: Tensor) -> Tensor:
        """One step, see the module's docstring."""
        memory, mu = self.memory, self.momentum()
        point, f, g1, f_w = self.start(w, mu)
        if self.option("ared") == "iterate":
            f = f_w
        finite = torch.isfinite(f) & torch.isfinite(dot(g1, g1))
        step = self.matrix.subproblem(self, blend(finite, g1, 0.0), memory["delta"])
        s = blend(nonzero(g1), step.p, 0.0) if self.stochastic else step.p
        tried = finite & nonzero(s)
        trial = point + s
        f2, g2 = self.evaluate(trial)
        finite2 = torch.isfinite(f2) & torch.isfinite(dot(g2, g2))
        ratio = agreement(f, f2, step.predicted)
        ok = tried & finite2 & (ratio > self.option("eta"))
        delta = new_radius(memory["delta"], ratio, norm(s), self.option("radius"), largest=self.option("delta_max"))
        memory["delta"].copy_(torch.where(tried, delta, memory["delta"]))
        y = g2 - g1 + self.option("lam") * s
        learns = tried & finite2 if self.option("refused_pairs") else ok
        taken = self.matrix.update(self, s, y, learns)
        self.count("n_accepted", taken)
        self.count("n_rejected", tried & ~ok)
        self.count("n_nonfinite", finite & ~finite2)
        self.settle(ok, finite & ~tried, ~finite, mu, s, f2)
        w_new = blend(ok, trial, w)
        if self.reuses:
            known = bool(ok.all()) or (self.estimate == "weights" and bool(finite.all()))
            self.keep(w_new, torch.where(ok, f2, f), blend(ok, g2, g1), known)
        return w_new

    def settle(self, ok: Tensor, still: Tensor, lost: Tensor, mu: Tensor | float, s: Tensor, f2: Tensor) -> None:
        """Velocity and momentum after a step that was accepted (ok), was of length zero (still), or neither.

        Members that met something not finite (lost) forget.
        """
        memory = self.memory
        self.matrix.clear(self, lost)
        self.count("n_nonfinite", lost)
        if self.estimate == "weights":
            return
        keep = ok | still
        if self.option("restart"):
            keep = still | (ok & (f2 <= memory["f_before"]))
            memory["f_before"].copy_(torch.where(ok, f2, memory["f_before"]))
            self.count("n_resets", ok & ~keep)
        memory["v"].copy_(blend(keep, mu * memory["v"] + s, 0.0))
        memory["theta"].copy_(torch.where(keep, memory["theta"], 1.0))
        if "fresh" in memory:
            memory["fresh"].logical_or_(~keep)
