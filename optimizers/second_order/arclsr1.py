"""ARCs-LSR1: adaptive regularisation by cubics with a limited-memory SR1 matrix, in closed form.

B = U diag(lambda) U' from the last m pairs (s, y), y = gradient(w + s) - gradient(w) on one batch
s = argmin g's + s'Bs / 2 + sigma / 3 ||U's||_3^3,  coordinate by coordinate of U's = x, U'g = a:
    x_i = -sign(a_i) |x_i|,  |x_i| = 2 |a_i| / (lambda_i + q_i) where lambda_i >= 0, else (q_i - lambda_i) / (2 sigma)
    q_i = sqrt(lambda_i^2 + 4 sigma |a_i|)
ratio = (E(w) - E(w + s)) / (predicted decrease);  w <- w + s where ratio >= eta1
sigma <- sigma / 2 where ratio > eta2, sigma (1 + gamma1) / 2 where ratio >= eta1, else sigma (gamma1 + gamma2) / 2

The 3-norm depends on the basis of the complement, where B = gamma I: its first axis is along the rest of g, so that
one number solves it. With gamma > 0 nothing moves along the others.

Where s = 0 nothing was tried, and sigma and the pairs stay. A batch whose gradient is exactly zero (all of it masked, a
dead layer) says nothing about the loss: then s = 0, but with ``full_batch`` also a saddle is left.

Source: A. Ranganath, M. Singhal, R. F. Marcia, 2025. Differs: |x_i| as above keeps the step along negative curvature
where a_i = 0, which 2 / (lambda_i + q_i) loses; the pair of a refused step counts until the next pair, which takes its
place (kept for good such pairs, from far away, spoil B; left out, the next step is refused for the same reason); the
pair test is repeated when B is built (see ``_lsr1``); sigma has bounds; gamma is bounded where s'y is near to zero.
"""

from __future__ import annotations

from typing import Any, Unpack

import torch
from torch import Tensor

from optimizers._base import VectorOptimizer
from optimizers._options import Common, Params, Rate, given, require
from optimizers._vector import blend, col, nonzero, norm
from optimizers.quasi_newton._lsr1 import (
    LSR1,
    Eigenbasis,
    along,
    combined,
    curvature_below,
    lsr1,
    newest_curvature,
    pair_test,
)
from optimizers.quasi_newton._trust_region import Step, agreement, complement, rescaled

__all__ = ["ARCLSR1", "cubic_diagonal", "cubic_step", "next_sigma"]


class ARCLSR1(VectorOptimizer):
    """Adaptive cubic regularisation with limited-memory SR1.

    One batch a step: loss and gradient at w and at w + s. With ``full_batch`` every step must see the same batch, and
    the gradient at an accepted point serves the next step: one gradient a step. Stores 2 m vectors.

    Args:
        params: parameters, or groups of them.
        lr: factor of the step; 1 is the method.
        m: pairs kept.
        sigma: first weight of the cubic term.
        sigma_min, sigma_max: bounds of sigma.
        eta1: smallest ratio that is accepted.
        eta2: ratio above which sigma is halved.
        gamma1, gamma2: of the rule of sigma, 0 < gamma1 <= gamma2.
        gamma: of B, where there are pairs: "newest", y'y / |s'y| of the newest pair, from 0.001 to 10 ||y|| / ||s||, or
            "below", a number below the smallest x with (D + L + L') z = x S'S z, of either sign.
        pairs: "trial", the pair of a refused step counts until the next one, or "accepted", it does not.
        r: of the pair test.
        full_batch: see above.
        capturable: read nothing from the device.
        common: ``weight_decay``, ``maximize``, ``member_dims``.
    """

    def __init__(
        self,
        params: Params,
        lr: Rate = 1.0,
        *,
        m: int = 10,
        sigma: float = 1.0,
        sigma_min: float = 1e-8,
        sigma_max: float = 1e8,
        eta1: float = 0.01,
        eta2: float = 0.9,
        gamma1: float = 1.0,
        gamma2: float = 3.0,
        gamma: str = "newest",
        pairs: str = "trial",
        r: float = 1e-8,
        full_batch: bool = False,
        capturable: bool = False,
        **common: Unpack[Common],
    ) -> None:
        require(m >= 1, "m", m, "1 or larger")
        require(sigma_max > 0, "sigma_max", sigma_max, "larger than 0")
        require(0 < sigma_min <= sigma <= sigma_max, "sigma", sigma, f"from sigma_min = {sigma_min} to {sigma_max}")
        require(0 < eta1 <= eta2 < 1, "eta1", eta1, f"0 < eta1 <= eta2 = {eta2} < 1")
        require(0 < gamma1 <= gamma2, "gamma1", gamma1, f"0 < gamma1 <= gamma2 = {gamma2}")
        require(gamma1 + gamma2 > 2, "gamma2", gamma2, "gamma1 + gamma2 larger than 2, so that sigma grows")
        require(gamma in ("newest", "below"), "gamma", gamma, "'newest' or 'below'")
        require(pairs in ("trial", "accepted"), "pairs", pairs, "'trial' or 'accepted'")
        require(r >= 0, "r", r, "0 or larger")
        super().__init__(params, given(locals()))

    def initial(self, w: Tensor) -> dict[str, Any]:
        """Pairs, oldest first, whether the newest is of a refused step, sigma; loss and gradient at w, if kept."""
        members, m = w.shape[:-1], self.option("m")
        found = {
            "S": w.new_zeros((*members, m, w.shape[-1])),
            "Y": w.new_zeros((*members, m, w.shape[-1])),
            "valid": torch.zeros((*members, m), dtype=torch.bool, device=w.device),
            "passing": torch.zeros(members, dtype=torch.bool, device=w.device),
            "sigma": torch.full_like(w[..., 0], self.option("sigma")),
        }
        if self.option("full_batch"):
            found |= {"f": torch.zeros_like(w[..., 0]), "g": torch.zeros_like(w)}
        return found

    def move(self, w: Tensor) -> Tensor:
        """Solve in closed form, try, learn from the trial."""
        memory = self.memory
        f, g = self._here(w)
        sigma, B = memory["sigma"], self.matrix()
        basis = B.eigenbasis(self.option("capturable"))
        step = cubic_step(basis, g, sigma)
        step = rescaled(step, self.rate(), g, B.product, lambda p: cubic_term(basis, p, sigma))
        ok = torch.isfinite(f) & torch.isfinite(norm(g)) & torch.isfinite(norm(step.p))
        s = blend(ok if self.option("full_batch") else ok & nonzero(g), step.p, 0.0)
        trial = w + s
        s = trial - w  # as it was rounded: near a solution that matters to the pair
        tried = ok & nonzero(s)
        f_trial, g_trial = self.evaluate(trial)
        ratio = torch.where(torch.isfinite(norm(g_trial)), agreement(f, f_trial, step.predicted), -torch.inf)
        accepted = tried & (ratio >= self.option("eta1"))
        self.count("n_accepted", accepted)
        self.count("n_rejected", tried & ~accepted)
        y = g_trial - g
        learn = tried & pair_test(s.double(), y.double(), B.product(s.double()), self.option("r"))
        self._push(learn & accepted if self.option("pairs") == "accepted" else learn, s, y)
        memory["passing"].copy_(torch.where(learn, ~accepted, memory["passing"] & ~accepted))
        memory["valid"].logical_and_(ok.unsqueeze(-1))
        sigma.copy_(torch.where(tried, self._next_sigma(sigma, ratio), sigma))
        if self.option("full_batch"):
            memory["f"].copy_(torch.where(accepted, f_trial, f))
            memory["g"].copy_(blend(accepted, g_trial, g))
        return self.stand_still(ok, blend(accepted, trial, w), w)

    def matrix(self) -> LSR1:
        """B of the pairs that are kept; the identity without any."""
        S, Y, valid = (self.memory[name] for name in ("S", "Y", "valid"))
        if self.option("gamma") == "below":
            gamma = curvature_below(S, Y, valid, self.option("capturable"))
        else:
            s, y = S[..., -1, :], Y[..., -1, :]
            # y'y / |s'y| means nothing where y is nearly orthogonal to s
            bound = 10.0 * norm(y.double()) / norm(s.double()).clamp(min=1e-300)
            gamma = torch.minimum(newest_curvature(s, y).abs(), bound).clamp(min=1e-3)
        return lsr1(S, Y, valid, torch.where(valid.any(-1), gamma, 1.0), self.option("r"))

    def _here(self, w: Tensor) -> tuple[Tensor, Tensor]:
        if self.option("full_batch") and self.k:
            f, g = self.memory["f"].clone(), self.memory["g"].clone()
            if self.option("capturable") or bool(torch.isfinite(f).all()):
                return f, g
        return self.evaluate(w)

    def _push(self, where: Tensor, s: Tensor, y: Tensor) -> None:
        """Put a new pair last, for the members where asked for; that of a refused step gives its place."""
        place = where.ndim
        for name, new in (("S", s), ("Y", y), ("valid", where)):
            kept = self.memory[name]
            older = kept.narrow(place, 1, kept.shape[place] - 1)
            older = blend(self.memory["passing"], kept.narrow(place, 0, kept.shape[place] - 1), older)
            kept.copy_(blend(where, torch.cat((older, new.unsqueeze(place)), place), kept))

    def _next_sigma(self, sigma: Tensor, ratio: Tensor) -> Tensor:
        eta1, eta2, gamma1, gamma2 = (self.option(name) for name in ("eta1", "eta2", "gamma1", "gamma2"))
        new = next_sigma(sigma, ratio, eta1, eta2, gamma1, gamma2)
        return new.clamp(self.option("sigma_min"), self.option("sigma_max"))


def cubic_step(basis: Eigenbasis, g: Tensor, sigma: Tensor) -> Step:
    """The minimiser of g's + s'Bs / 2 + sigma / 3 ||U's||_3^3.

    Args:
        basis: of B, from ``LSR1.eigenbasis``.
        g: gradients (*members, n).
        sigma: larger than 0, (*members,).
    """
    values, a, across, present = complement(basis, g)
    sigma = sigma.double()
    x = torch.where(present, cubic_diagonal(values, a, sigma), 0.0)
    predicted = -(a * x + 0.5 * values * x * x + col(sigma) / 3.0 * x.abs() ** 3).sum(-1)
    s = combined(basis.vectors, x[..., :-1]) + x[..., -1:] * across
    return Step(s.to(g.dtype), predicted.to(g.dtype))


def cubic_term(basis: Eigenbasis, p: Tensor, sigma: Tensor) -> Tensor:
    """sigma / 3 ||U'p||_3^3 (*members,) of a step p (*members, n); arguments as of ``cubic_step``."""
    x = along(basis.vectors, p.double())
    rest = norm(p.double() - combined(basis.vectors, x))
    return ((x.abs() ** 3).sum(-1) + rest**3).to(p.dtype) * sigma / 3.0


def cubic_diagonal(values: Tensor, a: Tensor, sigma: Tensor) -> Tensor:
    """x_i that minimises a_i x + values_i x^2 / 2 + sigma |x|^3 / 3; values, a (*members, k), sigma (*members,).

    Where a_i = 0 and values_i < 0 both signs do; it is the negative one.
    """
    sigma = col(sigma)
    q = (values**2 + 4.0 * sigma * a.abs()).sqrt()
    below = values + q  # zero only where values are not positive
    convex = 2.0 * a.abs() / torch.where(below > 0, below, 1.0)
    length = torch.where(values >= 0, convex, (q - values) / (2.0 * sigma))
    return torch.where(a < 0, length, -length)


def next_sigma(
    sigma: Tensor, ratio: Tensor, eta1: float = 0.01, eta2: float = 0.9, gamma1: float = 1.0, gamma2: float = 3.0
) -> Tensor:
    """The rule of sigma, (*members,); a ratio of NaN counts as refused."""
    kept = torch.where(ratio >= eta1, 0.5 * (1.0 + gamma1), 0.5 * (gamma1 + gamma2))
    return sigma * torch.where(ratio > eta2, 0.5, kept)
