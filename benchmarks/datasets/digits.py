"""Digits: scikit-learn's 1,797 handwritten digits, 8 x 8, grey; they come with the library, without a download.

The first two thirds train, as in the experiment of this name.
"""

from __future__ import annotations

import dataclasses
from importlib.util import find_spec

from benchmarks.datasets._kinds import Pictures

__all__ = ["DIGITS"]


@dataclasses.dataclass(frozen=True)
class _Digits:
    name: str = "digits"

    def missing(self) -> str:
        """What is missing and what brings it; an empty text where nothing is."""
        return "" if find_spec("sklearn") else f"{self.name}: scikit-learn is missing: pip install 'quasiroute[data]'"

    def load(self) -> Pictures:
        """The pictures of the experiment, with a channel.

        Raises:
            ModuleNotFoundError: scikit-learn is not installed.
        """
        from benchmarks.tasks.digits import pictures  # experiments read data sets: at the top this would be a circle

        train_x, train_t, test_x, test_t = pictures()
        train_x, test_x = (one.float().reshape(-1, 1, 8, 8) for one in (train_x, test_x))
        # the experiment keeps its labels for all callers, so these get their own
        return Pictures(train_x, train_t.clone(), test_x, test_t.clone(), self.name, tuple("0123456789"))


DIGITS = _Digits()
