"""What every router takes and gives: ``route(problem, *, seed, time_limit, progress, ...) -> Solution``.

A time limit is for routing. What a router runs is compiled on a sample before its clock starts: the first run on a
machine takes half a minute for that, longer than many a limit.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from routing_env.problem import Layer, Net, Problem

__all__ = ["SAMPLE", "Clock", "Progress"]

SAMPLE = Problem(
    3, 2, (Layer(1, 0), Layer(0, 1)),
    (Net("a", "0", ((0, 0, 1), (2, 1, 1))), Net("b", "1", ((0, 1, 1), (2, 0, 1))),
     Net("c", "2", ((0, 0, 2), (1, 1, 1), (2, 0, 2)))),
)  # fmt: skip
"""to compile on"""

Progress = Callable[[int, int, str], None]
"""called with (done, total, message); an exception raised in it, KeyboardInterrupt for one, stops the router"""


class Clock:
    """Seconds since it was made, and whether a time limit has passed."""

    def __init__(self, time_limit: float | None = None, after: Callable[[], None] | None = None) -> None:
        """Start; ``time_limit`` in seconds, None for none; ``after`` some work whose time does not count.

        Raises:
            ValueError: the limit is not positive.
        """
        if time_limit is not None and not time_limit > 0:
            raise ValueError(f"time_limit must be positive seconds, got {time_limit}")
        if after is not None:
            after()
        self._limit = float("inf") if time_limit is None else time_limit
        self._start = time.perf_counter()

    @property
    def seconds(self) -> float:
        """Wall time so far."""
        return time.perf_counter() - self._start

    @property
    def left(self) -> float:
        """Seconds until the limit; infinite without one."""
        return self._limit - self.seconds

    @property
    def over(self) -> bool:
        """Whether the limit has passed."""
        return self.left <= 0
