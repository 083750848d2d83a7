"""Problems that no learned optimizer of this package was trained on: other sizes, other activations, real pictures.

The families of ``benchmarks.meta.problems`` have quadratics of 10 numbers and networks of 8 tanh units.
"""

from __future__ import annotations

from functools import lru_cache, partial

import torch
from torch import Generator, Tensor

from benchmarks.datasets import load
from benchmarks.meta.problems import (
    Activation,
    Family,
    Problems,
    bowl,
    classifier,
    cross_entropy,
    full_batch,
    on_data,
    one_hidden_layer,
    quadratic,
    regression,
)

__all__ = ["OUTSIDE", "digits"]

SHARE = 8
"""problems of digits have some fifty times the weights of the others: one of them for eight of those"""
PICTURES = 256


@lru_cache(maxsize=1)
def _pictures() -> tuple[Tensor, Tensor]:
    """Training pictures (1198, 64) in [0, 1] and their digits."""
    found = load("digits")
    return found.train_x.flatten(1), found.train_t


def digits(members: int, generator: Generator, activation: Activation = torch.tanh, hidden: int = 16) -> Problems:
    """A network 64-hidden-10 on 256 pictures of scikit-learn's digits, other ones for each; mini-batches of 32.

    An eighth of the members, at least one.

    Raises:
        ModuleNotFoundError: scikit-learn is not installed.
    """
    x, t = _pictures()
    members = max(1, members // SHARE)
    drawn = torch.stack([torch.randperm(len(x), generator=generator)[:PICTURES] for _ in range(members)])
    start, sizes, network = one_hidden_layer([(64, hidden), (hidden,), (hidden, 10), (10,)], members, generator,
                                             activation)  # fmt: skip
    return on_data(start, sizes, x[drawn], t[drawn], lambda theta, x, y: cross_entropy(network(theta, x), y), batch=32)


OUTSIDE: dict[str, Family] = {
    "quadratic_3": partial(quadratic, n=3),
    "quadratic_50": partial(quadratic, n=50),
    "bowl_50": partial(bowl, n=50),
    "classifier_32": full_batch(partial(classifier, hidden=32)),
    "minibatch_classifier_32": partial(classifier, hidden=32),
    "regression_32": full_batch(partial(regression, hidden=32)),
    "classifier_relu": full_batch(partial(classifier, activation=torch.relu)),
    "classifier_sigmoid": full_batch(partial(classifier, activation=torch.sigmoid)),
    "regression_relu": full_batch(partial(regression, activation=torch.relu)),
    "digits_tanh": digits,
    "digits_relu": partial(digits, activation=torch.relu),
}
"""by name; the number is of weights or of hidden units"""
