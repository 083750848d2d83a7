"""Hessian-free optimization: long, damped, preconditioned conjugate gradients on Gauss-Newton products.

    delta ~ argmin q(delta) = g'delta + delta'(G + lambda I) delta / 2, from 0.95 delta of the last step, preconditioned
    by (diag + lambda)^0.75, diag = mean squared gradient of one example; ended at iteration i where
    q_i < 0 and (q_i - q_(i-k)) / q_i < k cg_tol, k = max(10, i / 10);
    back to an earlier one of the iterates ceil(1.3^j) while the loss falls;
    w <- w + alpha delta, the largest alpha in {1, 0.8, ...} with E(w + alpha delta) <= E(w) + eta alpha g'delta
    ratio = (E(w + delta) - E(w)) / q(delta): below 1/4 lambda grows by 3/2, above 3/4 it shrinks by 2/3

Source: Martens 2010; Martens and Sutskever 2011; Chapelle and Erhan 2011 (sampled diagonal).
Differs: one batch for gradient, curvature and the choice among iterates. Where no iterate has q < 0 (negative
curvature) the step is the preconditioned gradient. delta of the next start is zero after a failed line search.
"""

from __future__ import annotations

from math import ceil
from typing import Any, NamedTuple, Unpack

import torch
from torch import Tensor

from optimizers._armijo import armijo_masked
from optimizers._base import VectorOptimizer
from optimizers._options import Common, Params, Rate, given, require
from optimizers._products import Differentiated
from optimizers._vector import blend, col, dot, norm
from optimizers.second_order._cg import ConjugateGradients
from optimizers.second_order._curvature import GaussNewton, outputs_of, reduction_ratio, rounding

__all__ = ["HessianFree"]

LEAST = 1e-10  # of lambda, as a share of its first value: it must find back
PRODUCTS = ("gauss_newton", "hessian")
PRECONDITIONERS = ("sampled", "exact", "none")


class Iterate(NamedTuple):
    """An iterate of conjugate gradients that was kept."""

    delta: Tensor  # (*members, n)
    q: Tensor  # (*members,) with lambda
    fresh: Tensor  # (*members,) bool: the member was still iterating


class HessianFree(VectorOptimizer):
    """Martens' Hessian-free method; see the module.

    Args:
        params: parameters.
        lr: factor of the step before the line search; 1 is the method.
        product: "gauss_newton": the closure returns (loss, outputs), the loss made from the model's outputs (a tensor
            or several); "hessian": it returns the loss, and curvature may be negative.
        damping: first lambda, 0 or larger; 0 stays 0.
        preconditioner: diagonal from gradients of single examples, which lie along the first axis of the outputs (after
            the members); the loss is a mean over them. "sampled": one backward pass with random signs; "exact": one
            an example, batched; "none". Without outputs there is none.
        decay: factor of the last delta at the start, in [0, 1].
        cg_max: most products a step.
        cg_tol: see the module; 0 goes on to cg_max or the exact solution.
        eta: share of the predicted decrease that the line search asks for, in (0, 1/2).
        max_trials: trials of the line search; after that the member stays where it is (n_rejected).
        damped_ratio: whether q in the ratio holds lambda; write-ups differ.
        seed: of the random signs.
        common: weight_decay, maximize, member_dims.

    Closure calls a step, all with ``backward=False``: one for loss and gradient (on the loss's graph), one for each
    iterate tried (two or more), one for each trial of the line search but the first. A Gauss-Newton product costs about
    three backward passes. Remembers delta, lambda and the generator. A member whose loss or gradient is not finite
    stands still and forgets delta (n_nonfinite). Whole batch, or a large one that is fixed within a step.
    """

    on_host = ("generator",)
    outputs: tuple[Tensor, ...] = ()

    def __init__(
        self,
        params: Params,
        lr: Rate = 1.0,
        *,
        product: str = "gauss_newton",
        damping: float = 1.0,
        preconditioner: str = "sampled",
        decay: float = 0.95,
        cg_max: int = 250,
        cg_tol: float = 5e-4,
        eta: float = 1e-2,
        max_trials: int = 60,
        damped_ratio: bool = False,
        seed: int = 0,
        **common: Unpack[Common],
    ) -> None:
        require(product in PRODUCTS, "product", product, " or ".join(map(repr, PRODUCTS)))
        require(preconditioner in PRECONDITIONERS, "preconditioner", preconditioner, ", ".join(PRECONDITIONERS))
        require(damping >= 0, "damping", damping, "0 or larger")
        require(0 <= decay <= 1, "decay", decay, "0 <= decay <= 1")
        require(cg_max >= 1, "cg_max", cg_max, "1 or more")
        require(cg_tol >= 0, "cg_tol", cg_tol, "0 or larger")
        require(0 < eta < 0.5, "eta", eta, "0 < eta < 1/2")
        require(max_trials >= 1, "max_trials", max_trials, "1 or more")
        super().__init__(params, given(locals()))

    def initial(self, w: Tensor) -> dict[str, Any]:
        """delta (*members, n) of the last step, lambda (*members,), the generator's state."""
        generator = torch.Generator().manual_seed(self.option("seed"))
        damping = torch.full_like(w[..., 0], self.option("damping"))
        return {"delta": torch.zeros_like(w), "lambda": damping, "generator": generator.get_state()}

    def call(self, backward: bool = True) -> Any:
        """The closure's loss; its outputs are kept in ``outputs`` until the step ends."""
        returned = super().call(backward)
        loss, self.outputs = outputs_of(returned)
        if self._returned is returned:
            self._returned = loss
        return loss

    def step(self, closure: Any = None) -> Any:
        """Make one step; see the class for what the closure returns. Returns the loss of its first call."""
        try:
            return super().step(closure)
        finally:
            self.outputs = ()

    def move(self, w: Tensor) -> Tensor:
        """One step."""
        at = (GaussNewton if self.option("product") == "gauss_newton" else Differentiated)(self, w)
        ok = torch.isfinite(at.loss) & torch.isfinite(at.gradient).all(-1)
        g = blend(ok, at.gradient, 0.0)
        M = self._preconditioner(at, g)
        kept = self._iterates(at, g, M)
        self.memory["delta"].copy_(blend(ok, kept[-1].delta, 0.0))
        chosen, after = self._best(w, kept)
        descends = chosen.q < 0
        delta = blend(descends, chosen.delta, -g if M is None else -M * g)
        ratio = reduction_ratio(at.loss, after, -self._told(chosen))
        moved, found = self._search(w, at.loss, g, delta, after if bool(descends.all()) else None)
        still = (g == 0).all(-1)
        self._damp(ok & ~still, torch.where(descends, ratio, -torch.inf))
        self.memory["delta"].mul_(col(found))
        self.count("n_accepted", found)
        self.count("n_rejected", ok & ~found & ~still)
        return self.stand_still(ok, moved, w)

    def _preconditioner(self, at: Differentiated, g: Tensor) -> Tensor | None:
        """The inverse of (diag + lambda)^0.75, (*members, n)."""
        kind = self.option("preconditioner")
        if kind == "none" or not isinstance(at, GaussNewton):
            return None
        signs = None
        if kind == "sampled":
            generator = torch.Generator()
            generator.set_state(self.memory["generator"])
            signs = torch.randint(2, (at.examples,), generator=generator).to(g.device) * 2 - 1
            self.memory["generator"].copy_(generator.get_state())
        diagonal = self.mean_over_processes(at.fisher_diagonal(signs)) + col(self.memory["lambda"])
        diagonal = diagonal + self._spread("weight_decay")
        floor = torch.finfo(g.dtype).eps * diagonal.amax(-1, keepdim=True)
        diagonal = torch.maximum(diagonal, floor)
        usable = torch.isfinite(diagonal) & (diagonal > 0)
        return torch.where(usable, diagonal, 1.0) ** -0.75

    def _iterates(self, at: Differentiated, g: Tensor, M: Tensor | None) -> list[Iterate]:
        """The iterates ceil(1.3^j) of conjugate gradients, and the last one."""
        damping = col(self.memory["lambda"])
        start = self.option("decay") * self.memory["delta"]
        run = ConjugateGradients(lambda v: at.product(v) + damping * v, -g, M, start if self.k else None)
        limit = torch.finfo(g.dtype).eps * norm(g)
        told, kept, due = [run.q()], [], 1.0
        for i in range(1, self.option("cg_max") + 1):
            run.done = run.done | (norm(run.r) <= limit)
            if bool(run.done.all()):
                break
            fresh = ~run.done
            run.step()
            told.append(run.q())
            if i == ceil(due):
                kept.append(Iterate(run.x, told[i], fresh))
                while ceil(due) <= i:
                    due *= 1.3
            k = max(10, ceil(0.1 * i))
            if i > k:
                run.done = run.done | ((told[i] < 0) & (told[i] - told[i - k] > k * self.option("cg_tol") * told[i]))
        return [*kept, Iterate(run.x, run.q(), torch.ones_like(run.done))]

    def _best(self, w: Tensor, kept: list[Iterate]) -> tuple[Iterate, Tensor]:
        """Going back from the last iterate while the loss falls: the iterate of each member, and its loss."""
        best, after = kept[-1], self.loss(w + kept[-1].delta)
        after = torch.where(torch.isfinite(after), after, torch.inf)
        going = torch.ones_like(best.fresh)
        for one in reversed(kept[:-1]):
            loss = self.loss(w + one.delta)
            noise = torch.finfo(loss.dtype).eps ** 0.5 * loss.abs()  # late iterates differ by rounding alone
            better = going & one.fresh & (loss < after - noise)
            going = going & (better | ~one.fresh | (loss <= after + noise))
            best = Iterate(blend(better, one.delta, best.delta), torch.where(better, one.q, best.q), best.fresh)
            after = torch.where(better, loss, after)
            if not bool(going.any()):
                break
        return best, after

    def _told(self, chosen: Iterate) -> Tensor:
        """q(delta) for the ratio, (*members,)."""
        if self.option("damped_ratio"):
            return chosen.q
        return chosen.q - 0.5 * self.memory["lambda"] * dot(chosen.delta, chosen.delta)

    def _search(
        self, w: Tensor, before: Tensor, g: Tensor, delta: Tensor, after: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Armijo along lr delta: (new weights (*members, n), whether a step was found (*members,)).

        ``after`` is the loss at w + delta, where it is known.
        """
        rate = self.rate()
        p = rate * delta
        known = [after] if after is not None and not isinstance(rate, Tensor) and rate == 1 else []
        found = armijo_masked(
            lambda alpha: known.pop() if known else self.loss(w + col(alpha) * p),
            before + rounding(before),
            dot(g, p),
            torch.ones_like(before),
            eta=self.option("eta"),
            tau=0.8,
            max_trials=self.option("max_trials"),
        )
        return w + col(found.alpha) * p, found.ok

    def _damp(self, judged: Tensor, ratio: Tensor) -> None:
        damping = self.memory["lambda"]
        factor = torch.where(ratio < 0.25, 1.5, torch.where(ratio > 0.75, 2 / 3, 1.0))
        new = (damping * factor).clamp(min=LEAST * self.option("damping"))
        damping.copy_(torch.where(judged, new, damping))
