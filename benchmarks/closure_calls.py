"""Calls of a function with its gradient until no entry of the gradient is above 1e-8.

    python -m benchmarks.closure_calls        the table of the rows

Calls are counted inside the function, the same for every optimizer, and end at the first point whose gradient is small
enough. float64, the usual starts.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import Any

import numpy as np
import torch
from scipy.optimize import minimize
from torch import Tensor

import optimizers
from agents import records
from benchmarks.bases.functions import Function, functions
from benchmarks.reporting.tables import text_table
from benchmarks.timing.measure import RESULTS, Measure, machine

__all__ = ["SOLVERS", "Counted", "closure_calls", "ends", "table"]

TOLERANCE, MOST = 1e-8, 20_000

EXTENDED = (2, 4, 10, 20, 50, 100)
"""dimensions of the extended Rosenbrock function"""


class Reached(Exception):
    """The gradient is small enough, or the calls are used up."""


class Counted:
    """A function that counts its calls and stops the run at the end.

    Args:
        f: points (n,) to values ().
        most: calls at most.
    """

    def __init__(self, f: Callable[[Tensor], Tensor], most: int = MOST) -> None:
        self._f, self._most = f, most
        self.calls, self.reached, self.at = 0, False, torch.empty(0)

    def __call__(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Value and gradient.

        Raises:
            Reached: the gradient is small enough there, or the calls are used up.
        """
        self.calls += 1
        with torch.enable_grad():
            x = x.detach().requires_grad_()
            value = self._f(x)
            (g,) = torch.autograd.grad(value, x)
        self.at = x.detach().clone()
        self.reached = bool(g.abs().max() <= TOLERANCE)
        if self.reached or self.calls >= self._most:
            raise Reached
        return value.detach(), g


def _by_scipy(counted: Counted, start: Tensor) -> None:
    def f(x: np.ndarray) -> tuple[float, np.ndarray]:
        value, g = counted(torch.from_numpy(x))
        return value.item(), g.numpy()

    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")  # it says when a search finds nothing; the count says so too
        options = {"gtol": TOLERANCE, "norm": np.inf, "maxiter": MOST}
        minimize(f, start.numpy(), jac=True, method="BFGS", options=options)  # type: ignore[call-overload]


def _by_torch(counted: Counted, start: Tensor) -> None:
    w = start.clone().requires_grad_()
    optimizer = torch.optim.LBFGS(
        [w], history_size=10, line_search_fn="strong_wolfe", max_iter=MOST, max_eval=MOST, tolerance_grad=0,
        tolerance_change=0,
    )  # fmt: skip
    optimizer.step(_closure(counted, w))


def _by_ours(name: str) -> Callable[[Counted, Tensor], None]:
    def run(counted: Counted, start: Tensor) -> None:
        w = start.clone().requires_grad_()
        closure, optimizer = _closure(counted, w), optimizers.make(name, [w])
        for _ in range(MOST):
            before = counted.calls
            optimizer.step(closure)
            if counted.calls == before:  # it knows the point and has given up
                return

    return run


def _closure(counted: Counted, w: Tensor) -> Callable[[], Any]:
    def closure() -> Tensor:
        value, w.grad = counted(w)
        return value

    return closure


SOLVERS: dict[str, Callable[[Counted, Tensor], None]] = {
    "bfgs": _by_ours("bfgs"), "lbfgs": _by_ours("lbfgs"), "scipy.bfgs": _by_scipy, "torch.lbfgs": _by_torch,
}  # fmt: skip


def ends(solver: str, function: Function) -> Counted:
    """Run a solver from the function's start: calls, whether the gradient became small, the last point."""
    counted = Counted(function.f)
    with suppress(Reached):
        SOLVERS[solver](counted, torch.tensor(function.start, dtype=torch.float64))
    return counted


def _chosen() -> dict[str, Function]:
    """All functions in 10 dimensions, or their own; extended Rosenbrock in several; none with a kink."""
    found = {f"{name}, n = {one.n}": one for name, one in functions(10).items() if name != "ackley"}
    for n in EXTENDED:
        found[f"rosenbrock_extended, n = {n}"] = functions(n)["rosenbrock_extended"]
    return found


def closure_calls() -> Iterator[Measure]:
    """Calls of our BFGS and L-BFGS against scipy's BFGS and torch's L-BFGS: fewer are better."""
    for name, function in _chosen().items():
        runs = {solver: ends(solver, function) for solver in SOLVERS}
        calls = {solver: float(run.calls) if run.reached else math.inf for solver, run in runs.items()}
        for ours in ("bfgs", "lbfgs"):
            for other in ("scipy.bfgs", "torch.lbfgs"):
                same = torch.allclose(runs[ours].at, runs[other].at, rtol=1e-2, atol=1e-2)
                yield Measure(
                    f"{name}, {ours}", "calls", lambda a=calls[ours]: a, lambda b=calls[other]: b, other,  # type: ignore[misc]
                    {"kind": "calls", "function": name, "method": ours, "against": other, "same_minimiser": same},
                    counts=True,
                )  # fmt: skip


def table(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """A line a function with the calls of all four, from rows; of several rows of a pair the last; at the end totals.

    A star marks functions on which not all four end at the same minimiser; totals are over those without a star where
    all four reach the tolerance.
    """
    lines: dict[str, dict[str, Any]] = {}
    different: dict[str, dict[tuple[str, str], bool]] = {}
    for row in rows:
        settings, metrics = row["settings"], row["metrics"]
        if settings.get("kind") == "calls":
            name, pair = settings["function"], (settings["method"], settings["against"])
            line = lines.setdefault(name, {"function": name, **dict.fromkeys(SOLVERS)})
            line[pair[0]], line[pair[1]] = (metrics[side] and int(metrics[side]) for side in ("ours", "other"))
            different.setdefault(name, {})[pair] = not settings["same_minimiser"]
    total = dict.fromkeys(SOLVERS, 0)
    for name, line in lines.items():
        if any(different[name].values()):
            line["function"] = name + " *"
        elif all(line[solver] is not None for solver in SOLVERS):
            total = {solver: total[solver] + line[solver] for solver in SOLVERS}
    return [*lines.values(), {"function": "total", **total}]


def main() -> None:
    """Print the table of the rows of this kind of machine."""
    print(text_table(table(records.read_rows(RESULTS / f"speed-{machine()}.jsonl"))))


if __name__ == "__main__":
    main()
