"""What Gauss-Newton, Levenberg and Levenberg-Marquardt share: residuals, their Jacobian, the first step that helps.

The objective is f = 1/2 ||r(w)||^2, with a weight decay f = 1/2 ||r(w)||^2 + 1/2 ||sqrt(decay) w||^2: the decay is one
more residual a weight. The closure is not that of the other methods: it returns the residuals, attached to their graph,
and neither zeroes gradients nor calls backward:

    def closure():
        return model(x).squeeze(-1) - target       # (N,); a population: (P, N)

The Jacobian J (N, n) is made by min(N, n) backward passes; see ``optimizers.second_order._jacobian``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor

from optimizers._base import VectorOptimizer
from optimizers._evaluation import Closure
from optimizers._options import require
from optimizers._vector import col, dot
from optimizers.second_order._jacobian import FORMS, jacobian, times, triangular

__all__ = ["LeastSquares", "Linearised"]

TEMPLATE = """{name} minimises 1/2 ||r||^2 and needs the residuals r, attached to their graph, no backward; {found}.

    def closure():
        return model(x).squeeze(-1) - target       # (N,); a population: (P, N)

    loss = optimizer.step(closure)                 # 1/2 ||r||^2 before the step"""


class Linearised(NamedTuple):
    """The residuals about weights w: f(w + s) ~ f + g's + 1/2 (||J s||^2 + s' decay s)."""

    f: Tensor  # (*members,)
    g: Tensor  # (*members, n) = J'r + decay w
    r: Tensor  # (*members, N), zero for members that are not ok
    J: Tensor  # (*members, N, n)
    decay: Tensor  # (*members, n) or (n,)
    ok: Tensor  # (*members,): residuals and Jacobian are finite

    def fall(self, s: Tensor) -> Tensor:
        """How much the model falls along s (*members, n): (*members,)."""
        Js = times(self.J, s)
        return -dot(self.g, s) - 0.5 * (dot(Js, Js) + dot(self.decay * s, s))


class LeastSquares(VectorOptimizer):
    """Base of the methods whose closure returns residuals."""

    residuals: ClassVar[bool] = True
    """the closure returns residuals and not a loss"""

    def __init__(self, params: Any, defaults: dict[str, Any]) -> None:
        if defaults.get("maximize"):
            raise ValueError(f"maximize = True: {type(self).__name__} minimises a sum of squares, which has no maximum")
        require(defaults["max_tries"] >= 0, "max_tries", defaults["max_tries"], "0 or larger")
        require(defaults["chunk"] >= 1, "chunk", defaults["chunk"], "1 or larger")
        require(defaults["max_numel"] >= 1, "max_numel", defaults["max_numel"], "1 or larger")
        require(defaults["jacobian"] in ("auto", "rows", "columns"), "jacobian", defaults["jacobian"], FORMS)
        super().__init__(params, defaults)

    @torch.no_grad()
    def step(self, closure: Closure | None = None) -> Any:
        """Make one step.

        Args:
            closure: returns the residuals; see the module's docstring.

        Returns:
            1/2 ||r||^2 of each member (*members,) before the step, without decay, as a tensor without a graph.

        Raises:
            TypeError: no closure, or one that returns something else than residuals.
            ValueError: a Jacobian larger than ``max_numel`` allows.
        """
        if closure is None:
            raise TypeError(self._template("step() had no closure"))
        r = super().step(closure).detach().flatten(len(self.layout.members))
        return 0.5 * dot(r, r)

    def _template(self, found: str) -> str:
        return TEMPLATE.format(name=type(self).__name__, found=found)

    def _residuals(self, at: Tensor) -> Tensor:
        """r (*members, N) at weights (*members, n), as the closure returned it."""
        self.place(at)
        r, members = self.call(backward=False), tuple(at.shape[:-1])
        if not isinstance(r, Tensor):
            raise TypeError(self._template(f"the closure returned a {type(r).__name__}"))
        if r.ndim <= len(members) or tuple(r.shape[: len(members)]) != members:
            kind = "a loss" if r.shape == members or not r.ndim else f"the shape {tuple(r.shape)}"
            raise TypeError(self._template(f"the closure returned {kind}"))
        return r.flatten(len(members)).to(at.dtype)

    def loss(self, at: Tensor) -> Tensor:
        """f of each member (*members,) at weights (*members, n)."""
        self.memory["n_losses"] += 1
        return self._half_squares(self._residuals(at).detach(), at)

    def _half_squares(self, r: Tensor, at: Tensor) -> Tensor:
        f = self._sum_over_processes(0.5 * dot(r, r))
        return f + 0.5 * dot(self._decay(at) * at, at) if self._decays else f

    @property
    def _decays(self) -> bool:
        decay = self._spread("weight_decay")
        return isinstance(decay, Tensor) or bool(decay)

    def _decay(self, w: Tensor) -> Tensor:
        """The decay of each weight, (*members, n) or (n,), zero for frozen parameters."""
        decay = torch.zeros_like(w) + self._spread("weight_decay")
        for part, one in zip(self.layout.parts(decay), self.layout.params, strict=True):
            if not one.requires_grad:
                part.zero_()
        return decay

    def linearise(self, w: Tensor) -> Linearised:
        """Residuals and Jacobian at weights (*members, n), for one call of the closure."""
        self.memory["n_gradients"] += 1
        r = self._residuals(w)
        if not r.requires_grad:
            raise TypeError(self._template("the closure returned a tensor without a graph"))
        self._check_size(r.shape[-1], w.shape[-1])
        try:
            J, passes = jacobian(r, self.layout, self.option("jacobian"), self.option("chunk"))
        except RuntimeError as error:
            if "Sparse" in str(error):
                raise TypeError(
                    "sparse gradients are not supported: the Jacobian is dense; use a dense layer"
                ) from error
            error.add_note(self._template("differentiating what the closure returned failed"))
            error.add_note("Where an operation has no batched or no second derivative: chunk=1, jacobian='rows'.")
            raise
        self.memory["n_products"] += passes
        r, decay = r.detach(), self._decay(w)
        f = self._half_squares(r, w)
        r, J = self._rows_of_all_processes(r, J)
        ok = torch.isfinite(f) & torch.isfinite(J).flatten(len(self.layout.members)).all(-1)
        r, J = torch.where(col(ok), r, 0.0), torch.where(col(col(ok)), J, 0.0)
        return Linearised(f, times(J.mT, r) + decay * w, r, J, decay, ok)

    def _check_size(self, many: int, n: int) -> None:
        limit = self.option("max_numel")
        if many * n > limit**2:
            size = many * n * self.layout.dtype.itemsize / 1e9
            raise ValueError(
                f"{type(self).__name__} makes the Jacobian of {many} residuals by n = {n} parameters, {size:.1f} GB a "
                f"network; max_numel = {limit} allows {limit}^2 entries. Use fewer residuals a step, a larger "
                "max_numel, or a method that stores no matrix, such as 'hessian_free'"
            )

    def first_fall(
        self,
        w: Tensor,
        model: Linearised,
        propose: Callable[[], Tensor],
        settle: Callable[[Tensor, Tensor, Tensor, Tensor], None],
    ) -> Tensor:
        """Each member's first proposed step under which f falls; w where none of ``max_tries`` does.

        ``propose()`` gives the steps (*members, n) of all; ``settle(accepted, rejected, s, f)`` hears of each try, f
        (*members,) after it. A member whose gradient is zero, or whose step no longer changes a weight, stands still.
        """
        w_new, open_ = w, model.ok & (model.g != 0).any(-1)
        for _ in range(self.option("max_tries")):
            s = propose()
            finite = torch.isfinite(s).all(-1)
            trial = torch.where(col(open_ & finite), w + s, w_new)
            open_ = open_ & (~finite | (trial != w).any(-1))
            if not bool(open_.any()):
                break
            f = self.loss(trial) if bool((open_ & finite).any()) else torch.full_like(model.f, torch.nan)
            accepted = open_ & finite & (f < model.f)  # not where f is NaN
            open_ = open_ & ~accepted
            w_new = torch.where(col(accepted), trial, w_new)
            self.count("n_accepted", accepted)
            self.count("n_rejected", open_)
            settle(accepted, open_, s, f)
        return self.stand_still(model.ok, w_new, w)

    # ---- several processes

    def distribute(self, group: Any = None) -> None:
        """Join the residuals of the processes of a ``torch.distributed`` group into one vector.

        Every process returns the residuals of its share of the data: f is the sum over processes, not the mean. Each
        sends the triangular factor of its Jacobian, n x (n + 1) numbers, so that J'J is never made.
        """
        super().distribute(group)

    def _sum_over_processes(self, x: Tensor) -> Tensor:
        group = self.__dict__.get("_group")
        if group is None:
            return x
        import torch.distributed as distributed

        return self.mean_over_processes(x) * distributed.get_world_size(group)

    def _rows_of_all_processes(self, r: Tensor, J: Tensor) -> tuple[Tensor, Tensor]:
        group = self.__dict__.get("_group")
        if group is None:
            return r, J
        import torch.distributed as distributed

        c, R = triangular(r, J)
        n = R.shape[-1]
        own = R.new_zeros(*R.shape[:-2], n, n + 1)
        own[..., : R.shape[-2], :n], own[..., : R.shape[-2], n] = R, c
        every = [torch.empty_like(own) for _ in range(distributed.get_world_size(group))]
        distributed.all_gather(every, own, group=group)
        rows = torch.cat(every, -2)
        return rows[..., n], rows[..., :n]
