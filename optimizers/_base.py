"""What a method need not know: parameters, closures, groups, checkpoints, members, processes.

A method is a subclass of ``VectorOptimizer`` that writes ``move(w)``: from the flat weights w (*members, n) to the
new ones, asking ``self.evaluate(at)`` for losses (*members,) and gradients (*members, n) where it wants them. A vector
that was evaluated is not changed in place afterwards. Everything a method remembers lies in ``self.memory``, a
dictionary of tensors and integers that ``initial(w)`` makes before the first step and that checkpoints hold bit for
bit. Its tensors are changed in place, so that a captured CUDA graph finds them.

The closure:

    def closure(backward=True):
        optimizer.zero_grad()
        loss = loss_function(model(x), target)     # a population: one loss a member, shape (P,)
        if backward:
            loss.sum().backward()
        return loss

It may be called several times a step and must see the same batch each time, unless a method's docstring says otherwise.
Where it takes no argument ``backward`` it is called plainly when only the loss is wanted.

Groups and their options are in ``_groups``, memory and checkpoints in ``_memory``, losses, gradients and processes in
``_evaluation``; here they make a step.
"""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor

from optimizers._evaluation import TEMPLATE, Closure, Evaluating
from optimizers._vector import blend

__all__ = ["VectorOptimizer"]


class VectorOptimizer(Evaluating):
    """Base of all methods; arguments and errors are those of ``Grouped``."""

    requires_closure: ClassVar[bool] = True
    """whether ``step()`` needs a closure; where it does not, it takes the gradients that are there"""

    def move(self, w: Tensor) -> Tensor:
        """One step: from the weights w (*members, n) to the new ones."""
        raise NotImplementedError

    @torch.no_grad()
    def step(self, closure: Closure | None = None) -> Any:
        """Make one step.

        Args:
            closure: see the module's docstring; may be left out where ``requires_closure`` is False.

        Returns:
            What the closure returned at its first call; None without one.

        Raises:
            TypeError: no closure where one is needed.
        """
        if closure is None and self.requires_closure:
            raise TypeError(TEMPLATE.format(name=type(self).__name__))
        w = self._begin()
        self._closure, self._returned = closure, None
        self._at = w
        try:
            w_new = self.move(w)
        except BaseException:
            self.layout.scatter(w)  # interrupted between two evaluations: the weights are whole
            raise
        finally:
            self._closure = None
        if w_new is not self._at:
            self.layout.scatter(w_new)
        self.memory["k"] += 1
        returned, self._returned, self._at = self._returned, None, None
        return returned

    def stand_still(self, ok: Tensor, new: Tensor, old: Tensor) -> Tensor:
        """``new`` for the members where ok (*members,) holds, ``old`` for the others, which are counted."""
        self.count("n_nonfinite", ~ok)
        return blend(ok, new, old)
