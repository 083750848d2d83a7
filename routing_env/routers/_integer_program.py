"""A 0-1 program handed to HiGHS such that an interrupt is not held up by the solver."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import Bounds, LinearConstraint, OptimizeResult, milp

from routing_env.routers._protocol import Clock

__all__ = ["INFEASIBLE", "TIME_LIMIT", "integer_program"]

GRACE = 1.0
"""seconds that the solver may overrun"""
TIME_LIMIT, INFEASIBLE = 1, 2


def integer_program(
    cost: NDArray[np.float64], whole: NDArray[np.int64], rows: Sequence[LinearConstraint], clock: Clock
) -> tuple[NDArray[np.float64] | None, int]:
    """Minimise cost @ x over 0 <= x <= 1, x[i] integer where whole[i] is 1, under ``rows``.

    Returns:
        x or None where none was found; ``milp``'s status: 0 complete, TIME_LIMIT, INFEASIBLE.

    The solver runs in a thread of its own, because Python cannot act on Ctrl-C inside it: an exception raised while
    waiting goes up at once, and the thread, which cannot be stopped, ends with its time limit or with the process. The
    same where the solver overruns its limit, which it does in long stages: then there is no solution.
    """
    results: list[OptimizeResult] = []
    errors: list[BaseException] = []
    options: Any = {"time_limit": max(min(clock.left, 1e7), 0.01)}

    def run() -> None:
        try:
            results.append(milp(cost, integrality=whole, bounds=Bounds(0, 1), constraints=rows, options=options))
        except Exception as error:
            errors.append(error)

    thread = threading.Thread(target=run, daemon=True, name="integer program")
    thread.start()
    while thread.is_alive() and clock.left > -GRACE:
        thread.join(0.05)
    if errors:
        raise errors[0]
    return (results[0].x, int(results[0].status)) if results else (None, TIME_LIMIT)
