"""The last evaluation of a step is the first of the next, where that asks for it at the same weights.

w_at, f_at, g_at (weights, loss, gradient) and what the closure returned are kept as they are, not as copies: a vector
that was evaluated is not changed in place afterwards. Sound for one function at all steps only.
"""

from __future__ import annotations

import torch
from torch import Tensor

from optimizers._base import VectorOptimizer

__all__ = ["Reuse"]


class Reuse(VectorOptimizer):
    """A method that calls ``keep`` at the end of a step and ``at`` at the beginning of the next.

    With ``reuses`` its memory begins with ``known`` False.
    """

    @property
    def reuses(self) -> bool:
        """Whether a gradient of the step before may be taken for this one's."""
        raise NotImplementedError

    def at(self, point: Tensor) -> tuple[Tensor, Tensor]:
        """Loss and gradient at a point, known or evaluated."""
        memory = self.memory
        if self.reuses and memory["known"] and (point is memory["w_at"] or torch.equal(point, memory["w_at"])):
            if self._returned is None:
                self._returned = memory["returned"]
            return memory["f_at"], memory["g_at"]
        return self.evaluate(point)

    def gathered(self) -> Tensor:
        """The parameters as a vector: of the last step, if they still stand there."""
        memory = self.memory
        if memory.get("known") and self.layout.holds(memory["w_at"]):
            found: Tensor = memory["w_at"]
            return found
        return super().gathered()

    def keep(self, w: Tensor, f: Tensor, g: Tensor, known: bool) -> None:
        """Remember an evaluation for the next step; ``known``: it holds for every member."""
        returned = -f if self.option("maximize") else f
        self.memory.update({"known": known, "w_at": w, "f_at": f, "g_at": g, "returned": returned})
