"""L-BFGS of one network whose optimizer may read the device: the same formulas with few passes over vectors.

With Z = [S; Y] (2 m, n) in circular slots, R = triu(S Y'), D = diag(S Y'), H0 = gamma I:

    u = R^-1 S g,   t = R^-T (D u + gamma (Y Y' u - Y g)),   H g = gamma g + Z' [t; -gamma u]

so one product by Z and one by Z' a step; the m x m algebra is done on host numbers. Where the newest y is g minus the
last g, as in L-BFGS, its row and column of S Y' and Y Y' are differences of products Z g that are made anyway.

Source: Byrd, Nocedal and Schnabel 1994. Differs: nothing; populations and captured steps use ``_lbfgs``.
"""

from __future__ import annotations

import itertools
from math import inf, sqrt
from operator import mul
from typing import Any, TypeAlias

import torch
from torch import Tensor

from optimizers._linesearch import Outcome, Search
from optimizers._strong_wolfe import strong_wolfe
from optimizers.quasi_newton._lbfgs import LimitedMemory

__all__ = ["FullBatchMemory", "lone_step"]

Trial: TypeAlias = tuple[float, Tensor, Tensor, Tensor]
"""length, weights (n,), loss and gradient there"""


class FullBatchMemory(LimitedMemory):
    """Options m and h0. One network: as above; populations and captured steps: as in ``_lbfgs``."""

    def initial(self, of: Any, w: Tensor) -> dict[str, Any]:
        """Slots; products of pairs, oldest first; which slot is next."""
        if not of.lone:
            return super().initial(of, w)
        m = of.option(self.size)
        return {
            "Z": w.new_zeros(2 * m, w.shape[-1]),
            "Zg": w.new_zeros(2 * m),  # Z times the last gradient
            "SY": [],  # s_i'y_j, i <= j, as rows
            "YY": [],  # y_i'y_j as rows
            "next": 0,
            "open": False,  # the newest pair has only its own products yet
            "difference": False,
        }

    def times(self, of: Any, g: Tensor, h: Tensor | None = None) -> Tensor:
        """H g, (*members, n)."""
        return self.scaled(of, g, 1.0) if of.lone else super().times(of, g, h)

    def scaled(self, of: Any, g: Tensor, factor: float) -> Tensor:
        """factor H g, (n,)."""
        memory = of.memory
        Zg = torch.mv(memory["Z"], g)
        if memory["open"]:
            difference = memory["difference"] and g is memory.get("g_at")
            self._close(of, Zg - memory["Zg"] if difference else self._products(of))
        memory["Zg"] = Zg
        SY, YY = memory["SY"], memory["YY"]
        count, m = len(SY), of.option(self.size)
        if not count:
            return g * factor
        products, order = Zg.tolist(), self._order(of)
        u = [products[j] for j in order]
        for i in range(count - 1, -1, -1):
            u[i] = (u[i] - sum(map(mul, SY[i][i + 1 :], u[i + 1 :]))) / SY[i][i]
        gamma = self._gamma(of, SY, YY)
        t = [SY[i][i] * u[i] + gamma * (sum(map(mul, YY[i], u)) - products[m + order[i]]) for i in range(count)]
        for i in range(count):
            t[i] = t_i = t[i] / SY[i][i]
            row = SY[i]
            for j in range(i + 1, count):
                t[j] -= row[j] * t_i
        weights = [0.0] * (2 * m)
        for i, j in enumerate(order):
            weights[j], weights[m + j] = t[i], -gamma * u[i]
        c = torch.tensor(weights, dtype=g.dtype, device=g.device)
        return torch.addmv(g, memory["Z"].t(), c, beta=gamma * factor, alpha=factor)

    def _order(self, of: Any) -> list[int]:
        """Slots, oldest first."""
        memory, m = of.memory, of.option(self.size)
        count = len(memory["SY"])
        return [(memory["next"] - count + i) % m for i in range(count)]

    def _gamma(self, of: Any, SY: list[list[float]], YY: list[list[float]]) -> float:
        rule, count = of.option("h0"), len(SY)
        if rule == "identity":
            return 1.0
        if rule == "newest":
            return SY[-1][-1] / YY[-1][-1]
        return sum(SY[i][i] / YY[i][i] for i in range(count)) / count

    def _products(self, of: Any) -> Tensor:
        """Z times the newest y."""
        Z, m = of.memory["Z"], of.option(self.size)
        return torch.mv(Z, Z[m + (of.memory["next"] - 1) % m])

    def _close(self, of: Any, products: Tensor) -> None:
        """Fill in the products of the newest pair with all others."""
        memory, m = of.memory, of.option(self.size)
        SY, YY, found, order = memory["SY"], memory["YY"], products.tolist(), self._order(of)
        for i, j in enumerate(order[:-1]):
            SY[i][-1] = found[j]
            YY[i][-1] = YY[-1][i] = found[m + j]
        memory["open"] = False

    def update(self, of: Any, s: Tensor, y: Tensor, accept: Tensor, sy: Tensor, yy: Tensor) -> Tensor:
        """Keep a pair if ``accept`` holds; returns accept."""
        if not of.lone:
            return super().update(of, s, y, accept, sy, yy)
        if accept:
            self.push(of, s, y, float(sy), float(yy))
        return accept

    def push(self, of: Any, s: Tensor, y: Tensor, sy: float, yy: float) -> None:
        """Keep a pair with its products s'y and y'y."""
        memory, m = of.memory, of.option(self.size)
        if memory["open"]:  # the last pair was not used since
            self._close(of, self._products(of))
        j, SY, YY = memory["next"], memory["SY"], memory["YY"]
        memory["Z"][j].copy_(s)
        memory["Z"][m + j].copy_(y)
        for rows, own in ((SY, sy), (YY, yy)):
            if len(rows) == m:
                del rows[0]
                for row in rows:
                    del row[0]
            for row in rows:
                row.append(0.0)
            rows.append([0.0] * len(rows) + [own])
        memory["next"], memory["open"] = (j + 1) % m, True
        memory["difference"] = of.estimate == "weights" and of.reuses

    def clear(self, of: Any, drop: Tensor) -> None:
        """Forget all pairs if ``drop`` holds."""
        if not of.lone:
            super().clear(of, drop)
        elif drop:
            of.memory.update({"SY": [], "YY": [], "next": 0, "open": False})


def lone_step(of: Any, w: Tensor) -> Tensor | None:
    """A step with the strong Wolfe search of a method whose point is w and whose pairs are plain, on host numbers.

    Returns the new weights, or None where the step is not an ordinary one: then only E(w) and its gradient are known.
    """
    memory = of.memory
    f, g = of.at(w)
    of.keep(w, f, g, True)
    rate = of.rate()
    p = of.matrix.times(of, g).mul_(-rate) if isinstance(rate, Tensor) else of.matrix.scaled(of, g, -rate)
    f0, slope = float(f), float(torch.dot(g, p))
    if not (-inf < f0 < inf and -inf < slope < 0):
        return None
    learnt = bool(memory["learnt"])
    first = 1.0 if learnt else min(1.0, 1.0 / float(g.abs().sum()))
    limit = f0 + 10 * torch.finfo(f.dtype).eps * abs(f0)
    search = strong_wolfe(limit, slope, first, c2=of.c2, max_trials=of.option("max_trials"))
    found, (alpha, at, f2, g2) = _searched(of, search, w, p)
    if not found:
        failed = torch.zeros_like(f, dtype=torch.bool)
        of.judge(torch.isfinite(f2) & torch.isfinite(torch.dot(g2, p)), failed)
        return w
    s, y = p if alpha == 1 else p.mul_(alpha), g2 - g
    sy, yy, ss = float(torch.dot(s, y)), float(torch.dot(y, y)), float(torch.dot(s, s))
    accept = 0 < yy < inf and sy > of.option("eps") * sqrt(ss) * sqrt(yy)
    if accept:
        of.matrix.push(of, s, y, sy, yy)
    memory["n_accepted" if accept else "n_rejected"].add_(1)
    if not learnt or memory["failures"]:
        memory["learnt"].fill_(True)
        memory["failures"].zero_()
    of.keep(at, f2, g2, True)
    return at


def _searched(of: Any, search: Search, w: Tensor, p: Tensor) -> tuple[bool, Trial]:
    """Run a search from w along p: whether it found an acceptable trial, and that one, or else the last."""
    best: tuple[int, Trial] | None = None
    alpha, _ = next(search)
    for trial in itertools.count():
        at = torch.add(w, p, alpha=alpha)
        f, g = of.evaluate(at)
        now = (alpha, at, f, g)
        try:
            alpha, kept = search.send((float(f), float(torch.dot(g, p))))
        except StopIteration as end:
            outcome: Outcome = end.value
            break
        if kept == trial:
            best = (trial, now)
    if outcome.trial is not None and outcome.trial != trial:
        assert best is not None
        now = best[1]
    return outcome.alpha != 0, now
