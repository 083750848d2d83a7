"""mNAQ and its relatives: the modified secant condition and a step length without a search.

    unit step where f(1) <= f(0) + eta p'g1, eta = 1e-3; else
    a = -delta g1'p / (L ||p||^2),   L = 100 ||y_before|| / ||s_before||,   delta = 1e-4, or 1e-7 where ||p|| > 1000

before the first pair: the option ``line_search``, "armijo" or, as in the authors' program, "strong_wolfe". There H
starts as I without rescaling (rescale=False): together they find better minima of small networks, and are slower
elsewhere.
``step="backtracking"`` is Armijo after the first pair too.

``descents`` above 1 spends steps that are left at a stationary point: where ||g|| <= stationary the weights are noted,
are shrunk along themselves to the length of the first ones, w <- w ||w_0|| / ||w||, and a descent begins from there
without curvature, velocity and L; after the last one the weights become those of the lowest loss. Sigmoids leave
saturation by it and keep their order, so that nothing is drawn and members stay independent.

Source: Indrapriyadarsini, Mahboubi, Ninomiya and Asai 2018, 2020; shrinking before training on: Ash and Adams, On
warm-starting neural network training, 2020. Differs: nothing with descents=1 (2-norms, as in the papers); the papers
descend once and end at the first stationary point; weights are shrunk to a length, without noise.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from optimizers._options import Params, require
from optimizers._vector import blend, col, dot, norm
from optimizers.quasi_newton._bfgs import DenseInverse, bfgs
from optimizers.quasi_newton._full_batch import Found, FullBatch, Search
from optimizers.quasi_newton._pairs import Pair, modified

__all__ = ["Descents", "Modified"]


class Descents(Search, total=False):
    """Options of the search and of what follows a stationary point."""

    descents: int
    """how many descents to make, each from the last one's shrunk weights; 1 as published"""
    stationary: float
    """norm of the gradient at which a descent of several ends"""


class Modified(FullBatch):
    """The modified secant condition and the explicit step; options mu, step."""

    estimate = "lookahead"
    default_search = "armijo"
    matrix = DenseInverse(bfgs, "lnaq")

    def __init__(self, params: Params, defaults: dict[str, Any]) -> None:
        step = defaults["step"]
        require(step in ("explicit", "backtracking"), "step", step, "explicit or backtracking")
        require(str(defaults["secant_norm"]) in ("2", "inf"), "secant_norm", defaults["secant_norm"], "2 or inf")
        defaults = {**self.common(), **defaults}
        descents, stationary = defaults["descents"], defaults["stationary"]
        require(descents >= 1 and descents == int(descents), "descents", descents, "a whole number, at least 1")
        require(stationary >= 0, "stationary", stationary, "0 or larger")
        for name, wanted in (("reuse", True), ("capturable", False)):
            holds = descents == 1 or bool(defaults[name]) is wanted
            require(holds, name, defaults[name], f"{wanted} with several descents")
        super().__init__(params, defaults)

    @classmethod
    def common(cls) -> dict[str, Any]:
        """Options of the family and of further descents."""
        return {**super().common(), "descents": 1, "stationary": 1e-6}

    def initial(self, w: Tensor) -> dict[str, Any]:
        """Besides: L of each member, 0 where there is none; with several descents what was found so far."""
        memory = {**super().initial(w), "lipschitz": torch.zeros_like(w[..., 0])}
        if self.option("descents") > 1:
            memory["left"] = torch.full(w.shape[:-1], self.option("descents"), dtype=torch.int64, device=w.device)
            memory["length_first"], memory["w_best"] = norm(w), w.clone()
            memory["f_best"] = torch.full_like(w[..., 0], float("inf"))
        return memory

    def move(self, w: Tensor) -> Tensor:
        """One step, and the beginning of another descent where this one has ended."""
        w_new = super().move(w)
        if self.option("descents") == 1:
            return w_new
        ended = (norm(self.memory["g_at"]) <= self.option("stationary")) & (self.memory["left"] > 0)
        return self.descend_again(w_new, ended) if bool(ended.any()) else w_new

    def descend_again(self, w: Tensor, ended: Tensor) -> Tensor:
        """Where a descent has ended (*members,): its weights w shrunk, after the last one the best of all."""
        memory = self.memory
        better = ended & (memory["f_at"] < memory["f_best"])
        memory["w_best"].copy_(blend(better, w, memory["w_best"]))
        memory["f_best"].copy_(torch.where(better, memory["f_at"], memory["f_best"]))
        memory["left"].sub_(ended.to(torch.int64))
        length = norm(w)
        shrunk = w * col(memory["length_first"] / torch.where(length > 0, length, 1.0))
        w = blend(ended, blend(memory["left"] > 0, shrunk, memory["w_best"]), w)
        self.forget(ended)
        memory["learnt"].logical_and_(~ended)
        self.count("n_resets", ended)
        f, g = self.evaluate(w)
        self.keep(w, f, g, True)
        return w

    def pair_rule(self, s: Tensor, y: Tensor, g1: Tensor) -> Pair:
        """The modified secant condition; keeps L = 100 ||y|| / ||s||."""
        s, y, accept, sy, yy = modified(self, s, y, g1)
        length = norm(s)
        new = 100 * yy.sqrt() / torch.where(accept, length, 1.0)
        self.memory["lipschitz"].copy_(torch.where(accept, new, self.memory["lipschitz"]))
        return s, y, accept, sy, yy

    def forget(self, drop: Tensor) -> None:
        """Clear L too."""
        super().forget(drop)
        self.memory["lipschitz"].mul_(~drop)

    def search(self, point: Tensor, f: Tensor, g1: Tensor, p: Tensor, slope: Tensor) -> Found:
        """The unit step where it is good enough, else the explicit one; a line search where there is no L yet."""
        if self.k == 0:
            return super().search(point, f, g1, p, slope)
        missing = self.memory["lipschitz"] == 0
        if self.option("capturable") or not bool(missing.any()):
            if self.option("step") == "backtracking":
                return self.armijo(point, f, g1, p, slope)
            return self.explicit(point, f, p, slope)
        searched = super().search(point, f, g1, p, slope)
        if bool(missing.all()):
            return searched
        later = self.armijo if self.option("step") == "backtracking" else None
        explicit = later(point, f, g1, p, slope) if later else self.explicit(point, f, p, slope)
        s = blend(missing, searched.s, explicit.s)
        return Found(s, torch.where(missing, searched.ok, explicit.ok), point + s, None, None)

    def explicit(self, point: Tensor, f: Tensor, p: Tensor, slope: Tensor) -> Found:
        """a = 1 or -delta slope / (L ||p||^2)."""
        L, at = self.memory["lipschitz"], point + p
        new = self.loss(at)
        limit = f + 10 * torch.finfo(f.dtype).eps * f.abs()
        good = torch.isfinite(new) & (new <= limit + self.eta * slope)
        pp = dot(p, p)
        delta = torch.where(pp > 1e6, 1e-7, 1e-4).to(pp.dtype)
        usable = (pp > 0) & (L > 0)
        short = -delta * slope / torch.where(usable, L * pp, 1.0)
        ok = torch.isfinite(slope) & (slope < 0) & (good | usable)
        if not self.option("capturable") and bool(good.all()):
            return Found(p, ok, at, new, None)  # the same vector: no second writing of weights
        return self.found(point, p, torch.where(good, 1.0, short), ok, None)
