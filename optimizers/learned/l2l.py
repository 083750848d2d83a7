"""L2L: a long short-term memory, trained by gradient descent, that looks at one coordinate's gradient at a time.

w += lr step(log_and_sign(g), state)        state and step of each coordinate by the same two-layer LSTM with 20 units

It knows gradients alone, not losses, and coordinates do not know each other. The shipped weights were trained in
minutes on 100 steps of two families of small problems, and their card (weights/l2l.json) compares them with Adam at a
tuned rate. Expect nothing beyond: at 500 steps Adam is ahead on the quadratics.

Source: Andrychowicz et al., 2016.
Differs: the shipped weights were trained on logarithms of losses instead of losses, and on other problems than the
paper's.
"""

from __future__ import annotations

from typing import Any, ClassVar, Unpack

from optimizers._options import Common, Params, Rate
from optimizers.learned import _coordinate_lstm
from optimizers.learned._learned import Learned, Weights

__all__ = ["L2L"]


class L2L(Learned):
    """A coordinate-wise LSTM as update rule.

    Args:
        params: parameters, or groups of them.
        lr: factor on the learned step.
        weights: of the network: a file, tensors by name, or None for the shipped ones.
        common: ``weight_decay``, ``maximize``, ``member_dims``.

    Raises:
        FileNotFoundError: there are no weights.
        ValueError: weights of something else, or an option out of its range.
    """

    core: ClassVar[Any] = _coordinate_lstm
    called = "l2l"

    def __init__(self, params: Params, lr: Rate = 1.0, *, weights: Weights = None, **common: Unpack[Common]) -> None:
        super().__init__(params, weights, {"lr": lr, **common})
