"""One step of any quasi-Newton method, from four choices: gradient, matrix, pair rule, step rule.

    point = w                  g1 = grad(w)                                   estimate "weights"
    point = w + mu v           g1 = grad(point)                               "lookahead"  (Nesterov)
    point = w + mu v           g1 = (1 + mu) grad(w) - mu grad(w_before)      "momentum"   (estimated Nesterov)

    s = the step rule's displacement along -H g1 from point
    v <- mu v + s,   w <- point + s
    y = grad(w) - g1;  the pair rule modifies and judges (s, y);  the matrix H takes it

BFGS is NAQ with mu = 0: one line search, one matrix, one pair test. ``Online`` takes normalised directions with a
scheduled length and reads nothing from the device to the host; ``FullBatch`` searches along the line.

Source: Ninomiya 2017 (NAQ); Indrapriyadarsini et al. 2018 to 2022 (its relatives). Differs: see each method.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, Protocol

import torch
from torch import Tensor

from optimizers._base import VectorOptimizer
from optimizers._options import Params, require
from optimizers._vector import blend, col, norm, nowhere, overwrite, plus, unit
from optimizers.members import one_a_member
from optimizers.quasi_newton._lbfgs import LimitedMemory, compiled
from optimizers.quasi_newton._momentum import estimated, first_memory
from optimizers.quasi_newton._pairs import Pair, plain, regularised

__all__ = ["Matrix", "Online", "QuasiNewton", "check_numbers"]

RULES: dict[str, tuple[Callable[[Any], bool], str]] = {
    "mu": (lambda x: 0 <= x < 1, "at least 0 and below 1"),
    "m": (lambda x: x >= 1 and x == int(x), "a whole number of pairs, at least 1"),
    "mL": (lambda x: x >= 1 and x == int(x), "a whole number of pairs, at least 1"),
    "mF": (lambda x: x >= 1 and x == int(x), "a whole number of gradients, at least 1"),
    "L": (lambda x: x >= 1 and x == int(x), "a whole number of steps, at least 1"),
    "gamma": (lambda x: x >= 1, "at least 1"),
    "lam": (lambda x: x >= 0, "0 or larger"),
    "delta": (lambda x: x >= 0, "0 or larger"),
    "eps": (lambda x: x >= 0, "0 or larger"),
    "tau": (lambda x: x > 0, "larger than 0"),
    "gamma_theta": (lambda x: 0 < x < 1, "between 0 and 1"),
    "mu_max": (lambda x: 0 <= x < 1, "at least 0 and below 1"),
    "eta": (lambda x: 0 <= x < 1, "at least 0 and below 1"),
    "r": (lambda x: x >= 0, "0 or larger"),
    "max_trials": (lambda x: x >= 1, "at least 1"),
    "schedule": (lambda x: x in ("constant", "rsqrt", "robbins-monro"), "constant, rsqrt or robbins-monro"),
    "scale_y": (lambda x: x in ("mean", "sum"), "mean or sum"),
    "pair_test": (lambda x: x in ("yy", "angle"), "yy or angle"),
    "anchor": (lambda x: x in ("always", "accepted"), "always or accepted"),
}


def check_numbers(options: dict[str, Any], rules: dict[str, tuple[Callable[[Any], bool], str]]) -> None:
    """Raise ValueError for the first option that breaks its rule; tensors (one value a member) are not read."""
    for name, (rule, text) in rules.items():
        if name in options and not isinstance(options[name], Tensor):
            require(rule(options[name]), name, options[name], text)


class Matrix(Protocol):
    """An approximation of the inverse Hessian, whose tensors lie in the optimizer's memory."""

    def initial(self, of: Any, w: Tensor) -> dict[str, Any]:
        """Its part of the memory."""

    def times(self, of: Any, g: Tensor) -> Tensor:
        """H g (*members, n)."""

    def update(self, of: Any, s: Tensor, y: Tensor, accept: Tensor, sy: Tensor, yy: Tensor) -> Tensor:
        """Take the pairs of the members where accept holds; returns where it did."""

    def clear(self, of: Any, drop: Tensor) -> None:
        """Forget everything about the members where drop holds."""


class PairRule(Protocol):
    """Modify and judge a pair; g1 is the gradient at the point that s starts from."""

    def __call__(self, of: Any, s: Tensor, y: Tensor, g1: Tensor) -> Pair: ...


class QuasiNewton(VectorOptimizer):
    """What all quasi-Newton methods share; see the module's docstring."""

    estimate: ClassVar[str] = "weights"
    matrix: ClassVar[Matrix]
    choices_h0: ClassVar[tuple[str, ...]] = ("newest", "mean", "identity")
    pair_rule: ClassVar[Any] = plain
    factor: Tensor | None = None
    """of lr at the next step, on the device, once ``tick`` was called"""

    def __init__(self, params: Params, defaults: dict[str, Any]) -> None:
        check_numbers(defaults, RULES)
        if "h0" in defaults:
            require(defaults["h0"] in self.choices_h0, "h0", defaults["h0"], "one of " + ", ".join(self.choices_h0))
        super().__init__(params, defaults)

    def initial(self, w: Tensor) -> dict[str, Any]:
        """The matrix; velocity and last gradient where the method has them."""
        return {**self.matrix.initial(self, w), **first_memory(self.estimate, w)}

    def momentum(self) -> float | Tensor:
        """mu of this step: a number, or a factor (*members, 1)."""
        if self.estimate == "weights":
            return 0.0
        mu = self.option("mu")
        return col(mu) if isinstance(mu, Tensor) and mu.ndim else mu

    def schedule(self) -> float | Tensor:
        """The factor of lr at this step, by the options ``schedule`` and ``tau``."""
        if self.option("schedule") == "constant":
            return 1.0
        if self.factor is not None:
            return self.factor
        if self.layout.device.type == "cuda" and torch.cuda.is_current_stream_capturing():
            raise RuntimeError("a captured step cannot count: call tick() before it and before each replay")
        return self.scheduled()

    def tick(self) -> None:
        """Write the schedule's factor to the device; from then on steps take it from there: call this before each."""
        if self.param_groups[0].get("schedule", "constant") == "constant":
            return
        if self.factor is None:
            self.factor = torch.zeros((), dtype=torch.float64, device=self.layout.device)  # rounds like a number
        self.factor.fill_(self.scheduled())

    def scheduled(self) -> float:
        """The schedule's factor at step k, counted from 0."""
        k, rule = self.k, self.option("schedule")
        if rule == "constant":
            return 1.0
        if rule == "rsqrt":
            return float((k + 1) ** -0.5)
        tau = self.option("tau")
        return float(tau / (tau + k))

    def ahead(self, w: Tensor, mu: float | Tensor) -> Tensor:
        """The look-ahead point w + mu v."""
        return w if self.estimate == "weights" else plus(w, mu, self.memory["v"])

    def learn(self, s: Tensor, y: Tensor, g1: Tensor, ok: Tensor) -> None:
        """Hand a pair to the matrix where ok (*members,) holds and the pair rule accepts it."""
        if type(self).pair_rule is regularised and (host := self.compiled(y)):
            taken = host.learn(self.memory, s, y, self.option("lam"), self.option("delta"), ok)
        else:
            s, y, accept, sy, yy = self.pair_rule(s, y, g1)
            taken = self.matrix.update(self, s, y, accept & ok, sy, yy)
        self.count("n_accepted", taken)
        self.count("n_rejected", ok & ~taken)

    def unit_step(self, g: Tensor, rate: float | Tensor) -> tuple[Tensor, Tensor]:
        """``unit`` of H g by the option ``normalize``, (*members, n), and where it is sound, (*members,)."""
        normalize = self.option("normalize")
        if host := self.compiled(g, rate):
            found: tuple[Tensor, Tensor] = host.direction(self.memory, g, normalize, rate, self.option("h0"))
            return found
        return unit(self.matrix.times(self, g), normalize, rate)

    def compiled(self, x: Tensor, *factors: float | Tensor) -> Any:
        """The steps of ``_host`` where they are those of this matrix for vectors like x, else None."""
        known = type(self.matrix) is LimitedMemory and all(one_a_member(one, x) for one in factors)
        return compiled(x) if known else None

    def forget(self, drop: Tensor) -> None:
        """Clear curvature and velocity of the members where drop (*members,) holds."""
        if nowhere(drop):
            return
        memory = self.memory
        self.matrix.clear(self, drop)
        if "v" in memory:
            overwrite(memory["v"], drop, 0.0)
        if "fresh" in memory:
            memory["fresh"].logical_or_(drop)


class Online(QuasiNewton):
    """Stochastic methods: p = -H g1, normalised; s = alpha_k p; no line search, no host read.

    With ``deferred`` the pair of a step is closed by the next step's gradient, so that one gradient a step suffices and
    ``step()`` works without a closure.
    """

    deferred: ClassVar[bool] = False

    def initial(self, w: Tensor) -> dict[str, Any]:
        """Besides: the open pair of a deferred method."""
        memory = super().initial(w)
        if self.deferred:
            memory["s"], memory["g1"] = torch.zeros_like(w), torch.zeros_like(w)
            memory["pending"] = torch.zeros(w.shape[:-1], dtype=torch.bool, device=w.device)
        return memory

    def move(self, w: Tensor) -> Tensor:
        """One step, see the module's docstring."""
        mu = self.momentum()
        if self.deferred:
            return self._deferred(w, mu)
        point = self.ahead(w, mu)
        g1 = self.gradient(point)
        s, ok = self.displacement(g1)
        w_new = blend(ok, point + s, w)
        g2 = self.gradient(w_new)
        ok = ok & torch.isfinite(norm(g2))
        if self.estimate != "weights":
            self.memory["v"].mul_(mu).add_(s)
        self.learn(s, g2 - g1, g1, ok)
        return self._settle(ok, w_new, w)

    def _deferred(self, w: Tensor, mu: float | Tensor) -> Tensor:
        memory, rate = self.memory, -self.schedule() * self.rate()
        g = self.gradient(w)
        if type(self).pair_rule is regularised and (host := self.compiled(g, mu, rate)):
            options = [self.option(name) for name in ("h0", "normalize", "lam", "delta")]
            w_new, ok, taken, refused = host.deferred(memory, w, g, mu, rate, *options)
            self.count("n_accepted", taken)
            self.count("n_rejected", refused)
            return self._settle(ok, w_new, w)
        finite = torch.isfinite(norm(g))
        self.learn(memory["s"], g - memory["g1"], memory["g1"], memory["pending"] & finite)
        g1 = estimated(self.memory, g, mu)
        s, ok = self.unit_step(g1, rate)
        ok = ok & finite
        memory["v"].mul_(mu).add_(s)
        memory["s"].copy_(s)
        memory["g1"].copy_(g1)
        memory["pending"].copy_(ok)
        return self._settle(ok, w + memory["v"], w)

    def _settle(self, ok: Tensor, w_new: Tensor, w: Tensor) -> Tensor:
        """Members that met something not finite stand still and forget."""
        self.forget(~ok)
        return self.stand_still(ok, w_new, w)

    def displacement(self, g1: Tensor) -> tuple[Tensor, Tensor]:
        """s = -alpha_k H g1 / ||H g1|| and where that is finite and not zero."""
        return self.unit_step(g1, -self.schedule() * self.rate())
