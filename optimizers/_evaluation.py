"""Losses and gradients at points of a method's choice, from the user's closure.

They are those of what is minimised: with the sign of ``maximize``, weight decay and the mean over processes.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from optimizers._memory import Remembering
from optimizers._vector import col, dot, everywhere

__all__ = ["TEMPLATE", "Closure", "Evaluating", "takes_backward"]

Closure = Callable[..., Any]

TEMPLATE = """{name}.step needs a closure: it evaluates the loss more than once a step or differentiates it itself.

    def closure(backward=True):
        optimizer.zero_grad()
        loss = loss_function(model(x), target)
        if backward:
            loss.backward()
        return loss

    optimizer.step(closure)"""


class Evaluating(Remembering):
    """An optimizer that evaluates a closure where it wants, while a step is made."""

    _closure: Closure | None
    _returned: Any
    """what the closure returned at its first call of this step"""
    _at: Tensor | None
    """the weights (*members, n) that the parameters hold"""

    def place(self, at: Tensor) -> None:
        """Write weights (*members, n) into the parameters, unless they are there already."""
        if at is not self._at:
            self.layout.scatter(at)
            self._at = at

    def call(self, backward: bool = True) -> Any:
        """Call the closure where the parameters stand."""
        closure = self._closure
        if closure is None:
            raise TypeError(TEMPLATE.format(name=type(self).__name__))
        with torch.enable_grad():
            returned = closure() if backward or not takes_backward(closure) else closure(backward=False)
        if self._returned is None:
            self._returned = returned
        return returned

    def loss(self, at: Tensor) -> Tensor:
        """The loss of each member (*members,) at weights (*members, n), without a gradient."""
        self.place(at)
        self.memory["n_losses"] += 1
        return self._objective(self.call(backward=False), at)

    def evaluate(self, at: Tensor) -> tuple[Tensor, Tensor]:
        """Loss (*members,) and gradient (*members, n) at weights (*members, n).

        Without a closure the gradients that are there are taken and the loss is NaN; ``at`` is then where they stand.
        """
        self.memory["n_gradients"] += 1
        if self._closure is None:
            if at is not self._at:
                raise TypeError(TEMPLATE.format(name=type(self).__name__))
            loss = torch.full(at.shape[:-1], float("nan"), dtype=at.dtype, device=at.device)
        else:
            self.place(at)
            loss = self._objective(self.call(), at)
        return loss, self.objective_gradient(self.layout.gradient(), at)

    def gradient(self, at: Tensor) -> Tensor:
        """The gradient alone, (*members, n); NaN where the closure's loss is not finite."""
        loss, g = self.evaluate(at)
        nothing = loss - loss  # 0, or NaN
        return g if self._closure is None or everywhere(nothing == 0) else g.add_(col(nothing))

    def _objective(self, returned: Any, at: Tensor) -> Tensor:
        """The loss that is minimised, from what the closure returned: sign, decay, mean over processes."""
        loss = returned.detach() if isinstance(returned, Tensor) else torch.as_tensor(returned, device=at.device)
        if loss.shape != at.shape[:-1]:
            if loss.numel() != 1 or at.ndim > 1:
                raise ValueError(
                    f"the closure returned losses of shape {tuple(loss.shape)}; expected {tuple(at.shape[:-1])}"
                    + (": one loss a member" if at.ndim > 1 else "")
                )
            loss = loss.reshape(())
        loss = self.mean_over_processes(loss)
        if self.option("maximize"):
            loss = -loss
        decay = self.decay()
        if isinstance(decay, Tensor) or decay:
            loss = loss + 0.5 * dot(at * decay, at)
        return loss

    def decay(self) -> float | Tensor:
        """The groups' weight decay: a number, or a factor of vectors (*members, n); none on frozen parameters."""
        decay = self._spread("weight_decay")
        frozen = [one for one in self.layout.params if not one.requires_grad]
        if not frozen or not (isinstance(decay, Tensor) or decay):
            return decay
        layout = self.layout
        free = [torch.full_like(one, float(one.requires_grad)) for one in layout.params]
        return torch.cat([one.reshape(*layout.members, -1) for one in free], -1) * decay

    def objective_gradient(self, gradient: Tensor, at: Tensor) -> Tensor:
        """The gradient of what is minimised from the gradient of the closure's loss."""
        gradient = self.mean_over_processes(gradient)
        if self.option("maximize"):
            gradient = -gradient
        decay = self.decay()
        return gradient + decay * at if isinstance(decay, Tensor) or decay else gradient

    # ---- several processes

    def distribute(self, group: Any = None) -> None:
        """Average losses, gradients and Hessian products over the processes of a ``torch.distributed`` group.

        Every process evaluates its share of the batch (the closure's mean over it); all decisions are then taken on
        the same numbers, so that all processes make the same calls. Do not wrap the model in DistributedDataParallel.
        """
        import torch.distributed as distributed

        self._group = distributed.group.WORLD if group is None else group

    def mean_over_processes(self, x: Tensor) -> Tensor:
        """The mean of a tensor over the processes that ``distribute`` named."""
        group = self.__dict__.get("_group")
        if group is None:
            return x
        import torch.distributed as distributed

        x = x.clone()
        distributed.all_reduce(x, group=group)
        return x / distributed.get_world_size(group)


def takes_backward(closure: Closure) -> bool:
    """Whether a closure has an argument ``backward``."""
    code = getattr(closure, "__code__", None)
    if code is not None and not hasattr(closure, "__wrapped__"):
        return "backward" in code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
    return "backward" in inspect.signature(closure).parameters
