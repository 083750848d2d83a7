"""One optimizer or peer on one test function from one start: evaluations, the way down, and how it ended.

An evaluation is a call of the function, with its gradient or without, or a product of its Hessian with a vector. A run
ends at the evaluation that finds the smallest value to 1e-6, where no entry of the gradient is above 1e-9, where
twenty steps have not moved the point, where the method ends by itself, or when its evaluations are used up.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from scipy import optimize
from torch import Tensor

import optimizers
from benchmarks.bases.functions import Function
from optimizers import VectorOptimizer

__all__ = ["MARKS", "MOST", "PEERS", "VALUES", "Ended", "Watched", "outcome"]

SOLVED, FLAT, STILL = 1e-6, 1e-9, 20
MOST = 2_000
"""evaluations at most"""
VALUES = ("scipy.differential-evolution", "scipy.dual-annealing")
"""peers that see values alone: ten times as many evaluations"""
MARKS = tuple(sorted({*range(13), *(round(12 * 1.2**k) for k in range(1, 42))}))
"""numbers of evaluations and of iterations at which a run is noted, up to 20,000"""


class Ended(Exception):
    """A run is over; its text says why."""


class Watched:
    """A function that counts its evaluations, keeps its lowest point and stops the run.

    Args:
        function: which.
        most: evaluations at most.
        patience: steps that do not move the point after which the run ends.

    Attributes:
        calls: of the function.
        products: of its Hessian with vectors, so far.
        curve: (evaluations, iterations, lowest value, its distance to the minimum) at marks and at the end.
        way: points at iterations 0, 1, ... of ``MARKS``.
    """

    def __init__(self, function: Function, most: int = MOST, patience: float = STILL) -> None:
        self.function, self.most, self.patience = function, most, patience
        self.calls, self.iterations, self.end = 0, 0, ""
        self.products: Callable[[], int] = lambda: 0
        self.lowest, self.at = math.inf, torch.empty(0)
        self.curve: list[tuple[int, int, float, float | None]] = []
        self.way: list[list[float]] = []
        self.last: Tensor | None = None
        self.still = 0

    @property
    def evaluations(self) -> int:
        """Calls and Hessian products so far."""
        return self.calls + self.products()

    @property
    def solved(self) -> bool:
        """Whether the smallest value was found."""
        return self.lowest - self.function.value <= SOLVED * max(1.0, abs(self.function.value))

    def distance(self) -> float | None:
        """From the lowest point so far to the minimum; None where the minimum has no closed form."""
        lowest = self.function.minimum
        return None if lowest is None else float((self.at - torch.tensor(lowest, dtype=self.at.dtype)).norm())

    def value(self, x: Tensor) -> Tensor:
        """The function at points (n,) or (many, n), each of which is one evaluation.

        Raises:
            Ended: that was the last one.
        """
        found = self.function.f(x)
        self.calls += found.numel()
        values, points = found.detach().reshape(-1), x.detach().reshape(-1, x.shape[-1])
        best = int(torch.where(values.isnan(), math.inf, values).argmin())
        if values[best] < self.lowest:
            self.lowest, self.at = float(values[best]), points[best].clone()
        noted = self.curve[-1][0] if self.curve else 0
        if any(noted < mark <= self.evaluations for mark in MARKS):
            self.note()
        if self.solved:
            raise Ended("solved")
        if self.evaluations >= self.most:
            raise Ended("limit")
        return found

    def gradient(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The function at a point (n,) with its gradient (n,).

        Raises:
            Ended: that was the last one.
        """
        with torch.enable_grad():
            x = x.detach().requires_grad_()
            value = self.value(x)
            (slope,) = torch.autograd.grad(value, x)
        self.flat(slope)
        return value.detach(), slope

    def flat(self, slope: Tensor) -> None:
        """End where a gradient is small."""
        if slope.abs().max() <= FLAT:
            raise Ended("stationary")

    def iterate(self, x: Tensor) -> None:
        """Note the point that an iteration ended at.

        Raises:
            Ended: it has not moved for long.
        """
        if self.last is not None:
            self.iterations += 1
        self.still = self.still + 1 if self.last is not None and torch.equal(x, self.last) else 0
        self.last = x.detach().clone()
        if self.iterations in MARKS:
            self.way.append(self.last.tolist())
        if self.still >= self.patience:
            raise Ended("stalled")

    def note(self) -> None:
        """Add to the curve what is known now."""
        self.curve.append((self.evaluations, self.iterations, self.lowest - self.function.value, self.distance()))


def _ours(watched: Watched, start: Tensor, name: str, options: Mapping[str, Any]) -> None:
    w = start.clone().requires_grad_()
    optimizer = optimizers.make(name, [w], **options)
    if isinstance(optimizer, VectorOptimizer):
        watched.products = lambda: int(optimizer.state["global"].get("n_products", 0))  # type: ignore[index]

    def closure(backward: bool = True) -> Tensor:
        w.grad = None
        loss = watched.value(w)
        if backward:
            loss.backward()
            assert w.grad is not None
            watched.flat(w.grad)
        return loss

    step: Callable[[Any], Any] = optimizer.step
    watched.iterate(w.detach())
    while True:
        step(closure)
        watched.iterate(w.detach())


def _minimized(method: str) -> Callable[[Watched, Tensor, int], None]:
    def run(watched: Watched, start: Tensor, seed: int) -> None:
        products = 0

        def value(x: np.ndarray) -> tuple[float, np.ndarray]:
            found, slope = watched.gradient(torch.from_numpy(x))
            return found.item(), slope.numpy()

        def product(x: np.ndarray, v: np.ndarray) -> np.ndarray:
            nonlocal products
            products += 1
            at, direction = torch.from_numpy(x), torch.from_numpy(v)
            return torch.autograd.functional.hvp(watched.function.f, at, direction)[1].numpy()

        def callback(intermediate_result: optimize.OptimizeResult) -> None:
            watched.iterate(torch.from_numpy(intermediate_result.x))

        watched.products = lambda: products
        watched.iterate(start)
        options = {"maxiter": MOST} | ({"ftol": 0.0} if method == "L-BFGS-B" else {})
        more: dict[str, Any] = {"hessp": product} if method == "trust-krylov" else {}
        optimize.minimize(  # type: ignore[call-overload]
            value, start.numpy(), jac=True, method=method, tol=FLAT, callback=callback, options=options, **more
        )

    return run


def _evolved(watched: Watched, start: Tensor, seed: int) -> None:
    """Does not know the start; all points of a generation in one call."""
    low, high = watched.function.box
    bounds = optimize.Bounds([low] * watched.function.n, [high] * watched.function.n)

    def value(x: np.ndarray) -> Any:
        return watched.value(torch.from_numpy(np.ascontiguousarray(x.T))).numpy()

    def callback(intermediate_result: optimize.OptimizeResult) -> None:
        watched.iterate(torch.from_numpy(intermediate_result.x))

    optimize.differential_evolution(
        value,
        bounds,
        rng=seed,
        vectorized=True,
        updating="deferred",
        maxiter=100 * MOST,
        callback=callback,
    )


def _annealed(watched: Watched, start: Tensor, seed: int) -> None:
    bounds = [watched.function.box] * watched.function.n

    def value(x: np.ndarray) -> float:
        return watched.value(torch.from_numpy(x)).item()

    def callback(x: np.ndarray, f: float, context: int) -> None:
        watched.iterate(torch.from_numpy(x))

    watched.iterate(start)
    optimize.dual_annealing(value, bounds, rng=seed, x0=start.numpy(), maxiter=100 * MOST, callback=callback)


PEERS: dict[str, Callable[[Watched, Tensor, int], None]] = {
    "scipy.bfgs": _minimized("BFGS"), "scipy.l-bfgs-b": _minimized("L-BFGS-B"),
    "scipy.trust-krylov": _minimized("trust-krylov"), VALUES[0]: _evolved, VALUES[1]: _annealed,
}  # fmt: skip
"""label -> what runs a function from a start (n,) with a seed"""


def outcome(
    function: Function, start: Tensor, name: str, options: Mapping[str, Any], *, seed: int = 0, most: int = MOST
) -> Watched:
    """Run an optimizer by name, or a peer by label.

    Args:
        function: which.
        start: (n,), float64.
        name: of ``optimizers.names()`` or ``PEERS``.
        options: of the optimizer.
        seed: of the peers that draw random numbers.
        most: evaluations at most; ten times as many where a peer sees values alone.
    """
    watched = Watched(function, 10 * most, math.inf) if name in VALUES else Watched(function, most)
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")  # peers say when a search finds nothing; the outcome says so too
        try:
            if name in PEERS:
                PEERS[name](watched, start, seed)
            else:
                _ours(watched, start, name, options)
            watched.end = "gave up"
        except Ended as ended:
            watched.end = str(ended)
    watched.note()
    return watched
