"""Hierarchical: recurrent units for each coordinate, each tensor and the whole network propose steps and their sizes.

direction = read out of a coordinate's state, unit root mean square over its tensor
w -= lr exp(log_lr + change - 1) direction        log_lr of each coordinate follows the changes slowly

A coordinate sees its gradient averaged over four time scales, each scaled by its own mean square; tensors see means
over their coordinates, the whole network means over its tensors, and both bias the gates below. All formulas stand in
``optimizers.learned._hierarchy``. The shipped weights were trained in minutes on 100 steps of twelve families of
small problems, and their card (weights/hierarchical.json) compares them with Adam at a tuned rate. Expect nothing
beyond.

Source: Wichrowska et al., 2017.
Differs: the first learning rate is ``first_lr`` for all coordinates, not drawn at random; relative learning rates are
taken to the whole network's mean; the whole network's unit sees the mean over all tensors; no gradient is taken at
another place than the weights.
"""

from __future__ import annotations

from typing import Any, ClassVar, Unpack

from torch import Tensor

from optimizers._options import Common, Params, Rate, require
from optimizers.learned import _hierarchy
from optimizers.learned._learned import Learned, Weights

__all__ = ["Hierarchical"]


class Hierarchical(Learned):
    """A hierarchy of gated recurrent units as update rule.

    Args:
        params: parameters, or groups of them.
        lr: factor on the learned step.
        first_lr: where the learned learning rates begin.
        weights: of the network: a file, tensors by name, or None for the shipped ones.
        common: ``weight_decay``, ``maximize``, ``member_dims``.

    Raises:
        FileNotFoundError: there are no weights.
        ValueError: weights of something else, or an option out of its range.
    """

    core: ClassVar[Any] = _hierarchy
    called = "hierarchical"

    def __init__(
        self,
        params: Params,
        lr: Rate = 1.0,
        *,
        first_lr: float = 1e-3,
        weights: Weights = None,
        **common: Unpack[Common],
    ) -> None:
        require(first_lr > 0, "first_lr", first_lr, "above 0")
        super().__init__(params, weights, {"lr": lr, "first_lr": first_lr, **common})

    def start(self, like: Tensor) -> dict[str, Tensor]:
        """The first state, at the first learning rate."""
        return _hierarchy.begin(self.phi, like, self.layout.sizes, self.option("first_lr"))
