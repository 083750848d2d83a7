"""Full-batch quasi-Newton methods: a search along -H g1 from the point where g1 was taken.

    strong Wolfe   f(a) <= f(0) + c1 a f'(0),  |f'(a)| <= c2 |f'(0)|       (c1, c2 = 1e-4, 0.9)
    Armijo         the largest a in {1, 1/2, 1/4, ...} with f(a) <= f(0) + eta a f'(0)
    exact          the minimum along the line; "quadratic": by one Hessian product, exact on quadratics
    none           a = 1

The gradient at the accepted weights is the next step's first, where that asks for the gradient at the same weights
(``reuse``); then the loss must be the same function at every step.

A search that finds nothing leaves the weights, zeroes the velocity and is counted in n_rejected; the matrix is cleared
after two such searches, or at once where nothing else could differ the next time.
"""

from __future__ import annotations

from functools import partial
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor

from optimizers._armijo import armijo_masked
from optimizers._brent import exact
from optimizers._linesearch import lockstep
from optimizers._options import Common, Params, require
from optimizers._products import Differentiated, curvature_along
from optimizers._strong_wolfe import strong_wolfe
from optimizers._vector import blend, col, dot
from optimizers.quasi_newton._engine import QuasiNewton
from optimizers.quasi_newton._momentum import estimated
from optimizers.quasi_newton._reuse import Reuse

__all__ = ["Found", "FullBatch", "Search"]

SEARCHES = ("strong_wolfe", "armijo", "exact", "quadratic", "none")


class Search(Common, total=False):
    """Options of every method that searches along a line."""

    line_search: str
    """strong_wolfe, armijo, exact, quadratic or none"""
    max_trials: int
    """evaluations of a search"""
    on_failure: str
    """what a search that finds nothing does: "skip" the step, take the "last" Armijo trial if its loss is finite, or
    "reset" the matrix at once"""
    reuse: bool
    """take the last gradient of a step as the first of the next; False where the batch changes between steps"""
    restart: bool
    """zero the velocity after a step that made the loss larger"""
    capturable: bool
    """read nothing from the device: Armijo or none, always max_trials evaluations, no reuse"""


class Found(NamedTuple):
    """Where a search ended."""

    s: Tensor  # (*members, n) displacement from the point, zero where nothing was found
    ok: Tensor  # (*members,)
    w: Tensor  # (*members, n) the point plus s
    loss: Tensor | None  # (*members,) there
    g: Tensor | None  # (*members, n) there, where the search knows it


class FullBatch(Reuse, QuasiNewton):
    """One step: gradient, direction, search, pair; see ``_engine`` for the family and this module for the search."""

    default_search: ClassVar[str] = "strong_wolfe"
    restarts: ClassVar[bool] = False
    eta: ClassVar[float] = 1e-3
    c2: ClassVar[float] = 0.9

    @classmethod
    def common(cls) -> dict[str, Any]:
        """Options of the search besides those of every method."""
        search = {"line_search": cls.default_search, "max_trials": 25, "on_failure": "skip"}
        return {**super().common(), **search, "reuse": True, "restart": cls.restarts, "capturable": False}

    def __init__(self, params: Params, defaults: dict[str, Any]) -> None:
        if defaults.get("capturable"):
            defaults = {"line_search": "armijo", **defaults}
        defaults = {**self.common(), **defaults}
        defaults["line_search"] = str(defaults["line_search"]).replace("-", "_")
        require(defaults["line_search"] in SEARCHES, "line_search", defaults["line_search"], ", ".join(SEARCHES))
        rules = ("skip", "last", "reset")
        require(defaults["on_failure"] in rules, "on_failure", defaults["on_failure"], ", ".join(rules))
        if defaults["capturable"]:
            search = defaults["line_search"]
            require(search in ("armijo", "none"), "line_search", search, "armijo or none with capturable=True")
        super().__init__(params, defaults)

    def initial(self, w: Tensor) -> dict[str, Any]:
        """Besides: whether the matrix has learnt anything, failures in a row, and the last evaluation."""
        memory, members = super().initial(w), w.shape[:-1]
        memory["learnt"] = torch.zeros(members, dtype=torch.bool, device=w.device)
        memory["failures"] = torch.zeros(members, dtype=torch.int64, device=w.device)
        if self.option("restart"):
            memory["f_before"] = torch.full(members, float("inf"), dtype=w.dtype, device=w.device)
        if self.reuses:
            memory["known"] = False
        return memory

    @property
    def reuses(self) -> bool:
        """Whether a gradient of the step before may be taken for this one's."""
        return bool(self.option("reuse")) and not self.option("capturable")

    @property
    def lone(self) -> bool:
        """One network whose masks may be read: then Python's branches save passes over the vectors."""
        return not self.layout.members and not self.option("capturable")

    def choose(self, mask: Tensor, a: Tensor, b: Tensor) -> Tensor:
        """``a`` where mask (*members,) holds, else ``b``."""
        if self.lone:
            return a if mask else b
        return blend(mask, a, b)

    def move(self, w: Tensor) -> Tensor:
        """One step, see the module's docstring."""
        memory, mu = self.memory, self.momentum()
        point = self.ahead(w, mu)
        if self.estimate == "momentum":
            f, g = self.at(w)
            finite = torch.isfinite(f) & torch.isfinite(dot(g, g))
            g1 = estimated(memory, g, mu)
            f = f if self.moves_nowhere(point, w) else self.loss(point)
        else:
            f, g1 = self.at(point)
            finite = torch.isfinite(f) & torch.isfinite(dot(g1, g1))
        p, slope = self.direction(g1, finite)
        found = self.search(point, f, g1, p, slope)
        ok = finite & found.ok
        w_new = self.choose(ok, found.w, w)
        f2, g2 = (found.loss, found.g) if found.g is not None else self.evaluate(w_new)
        assert f2 is not None
        finite2 = torch.isfinite(f2) & torch.isfinite(dot(g2, g2))
        ok = ok & finite2
        if self.estimate != "weights":
            memory["v"].copy_(blend(ok, mu * memory["v"] + found.s, 0.0))
        if "fresh" in memory:
            memory["fresh"].logical_or_(~ok)
        if self.option("restart"):
            self.stop_climbing(f2, ok)
        self.learn(found.s, g2 - g1, g1, ok)
        self.judge(finite & (finite2 | ~found.ok), ok)
        w_new = self.choose(ok, w_new, w)
        if self.reuses:
            self.keep(w_new, f2, g2, bool(ok.all()))
        return w_new

    def stop_climbing(self, f2: Tensor, ok: Tensor) -> None:
        """Zero the velocity where the loss has become larger than after the step before."""
        memory = self.memory
        climbed = ok & (f2 > memory["f_before"])
        memory["f_before"].copy_(torch.where(ok, f2, memory["f_before"]))
        if "v" in memory:
            memory["v"].copy_(blend(climbed, torch.zeros_like(memory["v"]), memory["v"]))
        if "fresh" in memory:
            memory["fresh"].logical_or_(climbed)
        self.count("n_resets", climbed)

    def moves_nowhere(self, point: Tensor, w: Tensor) -> bool:
        """Whether the look-ahead point is where the weights are; read from the device, never when captured."""
        return self.reuses and torch.equal(point, w)

    def direction(self, g1: Tensor, finite: Tensor) -> tuple[Tensor, Tensor]:
        """p = -H g1, or -g1 and a cleared matrix where that does not descend; and its slope."""
        p = self.matrix.times(self, g1).mul_(-self.rate())
        slope = dot(g1, p)
        down = slope < 0
        if not self.option("capturable") and bool(down.all()):
            return p, slope
        away = finite & ~down
        p = blend(down, p, -g1 * self.rate())
        self.matrix.clear(self, away)
        self.memory["learnt"].logical_and_(~away)
        self.count("n_resets", away)
        return p, dot(g1, p)

    def first_length(self, g1: Tensor) -> Tensor:
        """The trial length: 1, or min(1, 1 / ||g1||_1) before anything is learnt."""
        learnt = self.memory["learnt"]
        one = torch.ones(learnt.shape, dtype=g1.dtype, device=g1.device)
        if self.lone and learnt:
            return one
        size = g1.abs().sum(-1)
        return torch.where(learnt | (size == 0), one, torch.minimum(one, 1 / size))

    def search(self, point: Tensor, f: Tensor, g1: Tensor, p: Tensor, slope: Tensor) -> Found:
        """Search from ``point`` along p; f and slope are loss and derivative there."""
        rule, trials = self.option("line_search"), self.option("max_trials")
        alpha = self.first_length(g1)
        # a loss is known to its rounding only: a decrease smaller than that must not fail a search at the minimum
        limit = f + 10 * torch.finfo(f.dtype).eps * f.abs()
        if rule == "none":
            return self.found(point, p, alpha, torch.isfinite(slope) & (slope < 0))
        if rule == "quadratic":
            alpha = -slope / curvature_along(Differentiated(self, point), p)
            return self.found(point, p, alpha, torch.isfinite(alpha) & (alpha > 0))
        if rule == "armijo":
            return self.armijo(point, f, g1, p, slope)

        def evaluate(alpha: Tensor) -> tuple[Tensor, Tensor, tuple[Tensor, ...]]:
            at = torch.addcmul(point, p, col(alpha))
            f, g = self.evaluate(at)
            return f, dot(g, p), (g, at)

        along = partial(exact, max_trials=trials)
        if rule == "strong_wolfe":
            along = partial(strong_wolfe, c2=self.c2, max_trials=trials)
        searched = lockstep(along, evaluate, limit, slope, alpha)
        ok = searched.alpha > 0
        g, at = searched.payload
        unit = self.lone and searched.alpha == 1
        s = p if unit else p * col(torch.where(ok, searched.alpha, 0.0))
        return Found(s, ok, at, searched.loss, g)

    def armijo(self, point: Tensor, f: Tensor, g1: Tensor, p: Tensor, slope: Tensor) -> Found:
        """Backtracking from the trial length."""

        def loss(alpha: Tensor) -> Tensor:
            return self.loss(point + col(alpha) * p)

        searched = armijo_masked(
            loss, f + 10 * torch.finfo(f.dtype).eps * f.abs(), slope, self.first_length(g1), eta=self.eta, tau=0.5,
            max_trials=self.option("max_trials"), early_exit=not self.option("capturable"),
        )  # fmt: skip
        if self.option("on_failure") != "last":
            return self.found(point, p, searched.alpha, searched.ok, searched.loss)
        # for members that were accepted the last trial is the accepted one
        ok = searched.ok | ((searched.last > 0) & torch.isfinite(searched.last_loss))
        return self.found(point, p, searched.last, ok, searched.last_loss)

    def found(self, point: Tensor, p: Tensor, alpha: Tensor, ok: Tensor, loss: Tensor | None = None) -> Found:
        """The end of a search that knows no gradient there."""
        s = blend(ok, col(alpha) * p, 0.0)
        return Found(s, ok, point + s, loss, None)

    def judge(self, finite: Tensor, ok: Tensor) -> None:
        """Count what went wrong and clear what must be."""
        memory = self.memory
        memory["learnt"].logical_or_(ok)
        if not self.option("capturable") and bool(ok.all()):
            memory["failures"].zero_()
            return
        failed = finite & ~ok
        memory["failures"].copy_(torch.where(failed, memory["failures"] + 1, 0))
        self.count("n_rejected", failed)
        self.count("n_nonfinite", ~finite)
        patience = 2 if self.estimate != "weights" and self.option("on_failure") != "reset" else 1
        drop = ~finite | (memory["failures"] >= patience)
        self.count("n_resets", drop)
        self.forget(drop)
        memory["failures"].mul_(~drop)
        memory["learnt"].logical_and_(~drop)
