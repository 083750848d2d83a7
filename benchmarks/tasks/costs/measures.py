"""What a step costs: evaluations, which are exact, and time besides the closure or with it, of the thread."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import linear

import optimizers
from benchmarks.tasks.costs.methods import costed, memory_of
from benchmarks.timing.optimizer_steps import Apart

__all__ = ["EVALUATIONS", "FEATURES", "Measured", "Problem", "Trial", "bowl", "regression"]

FEATURES = 100
"""weights of the regression whose examples grow"""
EVALUATIONS = ("gradients", "losses", "products")
REFUSING = ("dense SR1", "limited SR1", "sampled", "Newton type")
"""families whose steps may be refused, after the same work"""


@dataclasses.dataclass(frozen=True)
class Problem:
    """Weights (d,) and the closure of a loss; ``gradient`` is one plain gradient."""

    w: Tensor
    closure: Callable[..., Any]
    gradient: Callable[[], Any]


def _problem(kind: str, w: Tensor, residuals: Callable[[], Tensor]) -> Problem:
    """The loss ||r||^2 / 2 of residuals, as a method's closure wants it."""

    def loss() -> Tensor:
        r = residuals()
        return 0.5 * torch.dot(r, r)

    def closure(backward: bool = True) -> Tensor:
        w.grad = None
        if kind == "residuals":
            return residuals()
        if kind == "plain" and not backward:
            with torch.no_grad():
                return loss()
        found = loss()
        if backward:
            found.backward()
        return found

    def gradient() -> None:
        w.grad = None
        loss().backward()

    return Problem(w, closure, gradient)


def bowl(kind: str, d: int, seed: int = 0) -> Problem:
    """r_i = (a_i (u_i + u_i^3 / 3) - c_i) / sqrt(d), u = sqrt(d) w, as many as weights; a_i^2 from 1/1000 to 1.

    Whatever d is, weights, gradients and curvatures are about 1 in size, so that every method makes ordinary steps.
    """
    draw = torch.Generator().manual_seed(seed)
    a, c = torch.logspace(-1.5, 0, d), torch.randn(d, generator=draw)
    w = torch.full((d,), d**-0.5, requires_grad=True)

    def residuals() -> Tensor:
        u = d**0.5 * w
        return (a * (u + u**3 / 3) - c) * d**-0.5

    return _problem(kind, w, residuals)


def regression(kind: str, n: int, seed: int = 0) -> Problem:
    """r_i = (tanh(x_i'w) - t_i) / sqrt(n) over n examples of 100 features, whose scales go from 1 to 1/30."""
    draw = torch.Generator().manual_seed(seed)
    x = torch.randn(n, FEATURES, generator=draw) * torch.logspace(0, -1.5, FEATURES)
    t = torch.tanh(x @ torch.randn(FEATURES, generator=draw)) + 0.3 * torch.randn(n, generator=draw)
    w = torch.zeros(FEATURES, requires_grad=True)
    # a layer and not x @ w, whose batched Hessian products take several times as long
    return _problem(kind, w, lambda: (torch.tanh(linear(x, w[None])[:, 0]) - t) * n**-0.5)


class Measured(NamedTuple):
    """Microseconds of a step besides its closure and with it; evaluations, and calls of the closure, a step."""

    besides: float
    whole: float
    evaluations: dict[str, float]


class Trial:
    """An optimizer on a problem, its memory full.

    Args:
        label: the optimizer.
        problem: fresh.
        options: of m, mL and mF those that differ from the defaults.
    """

    def __init__(self, label: str, problem: Problem, **options: int) -> None:
        self.label, self.problem = label, problem
        self.apart = Apart(problem.closure)
        self.optimizer: Any = optimizers.make(label, [problem.w], **costed(label).options, **options)
        self.steps = costed(label).steps
        self.full = self._full(memory_of(label) | options)

    def _full(self, sizes: dict[str, int]) -> int:
        """Steps that fill the memory: a pair a step, or one every L of them, whose end is then waited for."""
        every = sizes.get("L", 1)
        pairs = 0 if costed(self.label).family == "sampled" else every * max(sizes.get("m", 0), sizes.get("mL", 0))
        full = costed(self.label).warm + max(pairs, sizes.get("mF", 0))
        return full + -full % every

    def fill(self) -> Trial:
        """Make the first steps."""
        for _ in range(self.full):
            self.optimizer.step(self.apart)
        return self

    def measured(self) -> Measured:
        """Times and evaluations of a step.

        Raises:
            RuntimeError: the steps were not ordinary ones: nothing moved, though the method refuses no steps, or some
                evaluations were not finite.
        """
        stood, before = self.problem.w.detach().clone(), self.optimizer.counters()
        start = time.thread_time()
        besides = self.apart.besides(self._some)
        whole = time.thread_time() - start
        after, still = self.optimizer.counters(), torch.equal(stood, self.problem.w)
        family = costed(self.label).family
        # a reset of a Fisher method goes back to its anchor, where the measured steps may have begun
        back = family == "Fisher" and after["n_resets"] > before["n_resets"]
        if (still and not back and family not in REFUSING) or after["n_nonfinite"]:
            raise RuntimeError(f"{self.label} with {len(stood)} weights makes no ordinary steps: {after}")
        made = {name: (after[f"n_{name}"] - before[f"n_{name}"]) / self.steps for name in EVALUATIONS}
        made["calls"] = self.apart.calls / self.steps
        return Measured(besides / self.steps * 1e6, whole / self.steps * 1e6, made)

    def _some(self) -> None:
        for _ in range(self.steps):
            self.optimizer.step(self.apart)
