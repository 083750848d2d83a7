"""What the elementwise methods share: masks of members, moments, where eps stands, the step.

A member whose gradient (or loss, where a closure returns one) is not finite stands still without a branch: its gradient
counts as zero, its first moment becomes zero and its second moment stays as it was, so that its step is exactly zero. A
gradient whose squared length overflows counts as not finite.

alive    1 for the members that move, 0 for those that stand still, (*members, 1)
moment   m <- beta m + (1 - beta) g, with its weight c <- beta c + (1 - beta); m / c is the bias-corrected moment

After t steps c = 1 - beta^t. As a tensor it counts the steps of each member alone, and starts again where its moment
does.
"""

from __future__ import annotations

from math import inf
from typing import Any, ClassVar

import torch
from torch import Tensor

from optimizers._base import VectorOptimizer
from optimizers._options import require
from optimizers._vector import col, dot, everywhere
from optimizers.members import compilable, one_a_member

__all__ = [
    "Elementwise",
    "denominator",
    "descend",
    "descend_corrected",
    "first_moment",
    "positive",
    "require_adaptive",
    "second_moment",
    "velocity",
]


class Elementwise(VectorOptimizer):
    """A method whose step of a coordinate depends on the gradients of that coordinate alone; needs no closure."""

    requires_closure: ClassVar[bool] = False
    vectors: ClassVar[tuple[str, ...]] = ()
    """memory of the size of the weights, zero at first"""
    weights: ClassVar[tuple[str, ...]] = ()
    """weights of bias-corrected moments, (*members, 1), zero at first"""

    def initial(self, w: Tensor) -> dict[str, Any]:
        """Zeros; the weights of moments in float32 at least."""
        wide = torch.promote_types(w.dtype, torch.float32)
        found = {name: torch.zeros_like(w) for name in self.vectors}
        return found | {name: w.new_zeros((*w.shape[:-1], 1), dtype=wide) for name in self.weights}

    def sound_gradient(self, at: Tensor) -> tuple[Tensor, Tensor]:
        """Gradient (*members, n) at the weights, zero for members that stand still, and ``alive`` (*members, 1).

        The gradient is a copy that the caller may overwrite.
        """
        loss, g = self.evaluate(at)
        ok = dot(g, g) < inf
        if self._closure is not None:
            ok = ok & (loss.abs() < inf)
        self.count("n_nonfinite", ~ok)
        alive = col(ok).to(torch.promote_types(g.dtype, torch.float32))
        return g.nan_to_num_(0.0, 0.0, 0.0).mul_(alive), alive  # several times faster than a masked fill

    def compiled(self, w: Tensor, rate: float | Tensor) -> Any:
        """The steps of ``_host`` where they are those of a population at w, else None; the rate is one a member."""
        if not compilable(w) or not one_a_member(rate, w):
            return None
        from optimizers.first_order import _host  # numba is loaded where it is first of use

        return _host

    def gradient_of_sound(self, at: Tensor) -> Tensor:
        """Gradient (*members, n) at the weights for ``_host``: not finite where the loss is not."""
        loss, g = self.evaluate(at)
        if self._closure is not None and not everywhere(loss.abs() < inf):
            g.add_(col(loss - loss))
        return g

    def done(self, found: tuple[Tensor, Tensor]) -> Tensor:
        """The new weights that ``_host`` found; members that stood still are counted."""
        new, moved = found
        self.count("n_nonfinite", ~moved)
        return new


def first_moment(m: Tensor, c: Tensor, g: Tensor, beta: float, alive: Tensor) -> None:
    """m, c <- beta m + (1 - beta) g, beta c + (1 - beta), in place; zero where a member stands still."""
    kept = alive * beta
    m.mul_(kept).add_(g, alpha=1 - beta)
    c.mul_(kept).add_(alive, alpha=1 - beta)


def second_moment(v: Tensor, c: Tensor | None, g: Tensor, rho: float, alive: Tensor) -> None:
    """v, c <- rho v + (1 - rho) g^2, rho c + (1 - rho), in place; unchanged where a member stands still."""
    kept = torch.pow(rho, alive)
    v.mul_(kept).addcmul_(g, g, value=1 - rho)
    if c is not None:
        c.mul_(kept).add_(alive, alpha=1 - rho)


def velocity(v: Tensor, g: Tensor, mu: float, rate: float | Tensor, alive: Tensor) -> Tensor:
    """v <- mu v - rate g, in place; zero where a member stands still."""
    v.mul_(alive * mu)
    return v.addcmul_(g, rate, value=-1) if isinstance(rate, Tensor) else v.sub_(g, alpha=rate)


def denominator(v: Tensor, eps: float | Tensor, inside: bool, out: Tensor | None = None) -> Tensor:
    """sqrt(v) + eps, or sqrt(v + eps), (*members, n); ``out`` is overwritten where given.

    eps and v are at least the smallest normal number: so 0 / 0 cannot arise, and the root, which takes five times as
    long for zeros and thirty times for subnormal numbers, meets neither; a root of 1e-19 is lost beside any usual eps.
    """
    least = torch.finfo(v.dtype).tiny
    if inside:
        eps = eps.clamp(min=least) if isinstance(eps, Tensor) else max(eps, least)
        return torch.add(v, eps, out=out).sqrt_()
    return torch.clamp(v, min=least, out=out).sqrt_().add_(eps)


def descend(w: Tensor, direction: Tensor, rate: float | Tensor, below: Tensor | None = None) -> Tensor:
    """w - rate direction / below; ``below`` is overwritten. Without it, w - rate direction."""
    if below is None:
        if isinstance(rate, Tensor):
            return torch.addcmul(w, direction, rate, value=-1)
        return w.sub(direction, alpha=rate)
    if isinstance(rate, Tensor):
        return torch.addcdiv(w, direction, below.div_(rate), value=-1, out=below)
    return torch.addcdiv(w, direction, below, value=-rate, out=below)


def descend_corrected(
    w: Tensor,
    m: Tensor,
    c1: Tensor,
    v: Tensor,
    c2: Tensor,
    rate: float | Tensor,
    eps: float,
    inside: bool,
    out: Tensor | None = None,
) -> Tensor:
    """w - rate (m / c1) / (sqrt(v / c2) + eps), or over sqrt(v / c2 + eps); ``out`` is overwritten where given.

    Written as rate (sqrt(c2) / c1) m / (sqrt(v) + sqrt(c2) eps), with fewer passes over vectors.
    """
    root = c2.sqrt()
    below = denominator(v, (c2 if inside else root) * eps, inside, out)
    return descend(w, m, root.div_(positive(c1)) * rate, below)


def positive(c: Tensor) -> Tensor:
    """The weight c of a moment, as a divisor: not 0 for members that stand still, whose moment is 0."""
    return c.clamp(min=torch.finfo(c.dtype).tiny)


def require_adaptive(eps: float, **decays: float) -> None:
    """Raise ValueError where eps or the decay of a moment is out of its range."""
    require(eps >= 0, "eps", eps, "0 or larger")
    for name, decay in decays.items():
        require(0 <= decay < 1, name, decay, f"0 <= {name} < 1")
