"""Families of small problems, drawn by the batch, that learned optimizers are trained and tested on.

A family is a function of a number of members and a generator. Members are independent problems of one kind, stacked on
a leading axis; the weights of all tensors of a problem lie in one vector.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Generator, Tensor

__all__ = [
    "FAMILIES", "HELD_OUT", "Activation", "Family", "Loss", "Noisy", "Problems", "bowl", "classifier", "cross_entropy",
    "draw", "full_batch", "generator_of", "on_data", "one_hidden_layer", "quadratic", "regression",
]  # fmt: skip

HELD_OUT = 2**40
"""episodes of meta-training have the numbers below, problems for tests those from here on"""

Loss = Callable[[Tensor], Tensor]
"""weights (members, n) -> losses (members,)"""
Noisy = Callable[[Tensor, Generator], Tensor]
"""the same with random numbers, as a mini-batch has"""
Activation = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Problems:
    """Problems of one kind: where they start, the sizes of their tensors, their loss."""

    start: Tensor  # (members, n)
    sizes: list[int]
    loss: Loss
    noisy: Noisy | None = None
    """what the optimizer sees where that is not the loss itself"""


Family = Callable[[int, Generator], Problems]
"""a number of members and random numbers -> problems"""


def generator_of(seed: int, number: int) -> Generator:
    """The random numbers of an episode of meta-training, or of a draw of problems for tests."""
    return Generator().manual_seed((seed * 1_000_003 + number) * 2_654_435_761 % 2**63)


def draw(family: str | Family, members: int, generator: Generator) -> Problems:
    """Problems of a family, by name or itself.

    Raises:
        ValueError: no such family.
    """
    if not isinstance(family, str):
        return family(members, generator)
    if family not in FAMILIES:
        raise ValueError(f"no family {family!r}; there are: {', '.join(FAMILIES)}")
    return FAMILIES[family](members, generator)


def quadratic(members: int, generator: Generator, n: int = 10) -> Problems:
    """||W theta - y||^2, all entries normal."""
    w, y = (torch.randn(members, n, size, generator=generator) for size in (n, 1))
    start = torch.randn(members, n, generator=generator)
    return Problems(start, [n], lambda theta: (w @ theta.unsqueeze(-1) - y).square().sum((-2, -1)))


def bowl(members: int, generator: Generator, n: int = 10) -> Problems:
    """Rotated quadratic bowls with condition numbers up to 1000 and scales from 0.1 to 10."""
    turn = torch.linalg.qr(torch.randn(members, n, n, generator=generator)).Q
    spread = 10 ** (-3 * torch.rand(members, 1, generator=generator) * torch.linspace(0, 1, n))
    scale = 10 ** (2 * torch.rand(members, 1, generator=generator) - 1)
    start = torch.randn(members, n, generator=generator)
    return Problems(
        start, [n], lambda theta: 0.5 * (scale * spread * (turn @ theta.unsqueeze(-1))[..., 0] ** 2).sum(-1)
    )


def rosenbrock(members: int, generator: Generator) -> Problems:
    """(1 - x)^2 + 100 (y - x^2)^2 from around (-1, 1)."""
    start = torch.tensor([-1.0, 1.0]) + 0.5 * torch.randn(members, 2, generator=generator)

    def loss(theta: Tensor) -> Tensor:
        x, y = theta.unbind(-1)
        return (1 - x) ** 2 + 100 * (y - x**2) ** 2

    return Problems(start, [2], loss)


def beale(members: int, generator: Generator) -> Problems:
    """Beale's function, minimum at (3, 0.5), from around the origin."""
    start = 0.5 * torch.randn(members, 2, generator=generator)

    def loss(theta: Tensor) -> Tensor:
        x, y = theta.unbind(-1)
        return (1.5 - x + x * y) ** 2 + (2.25 - x + x * y**2) ** 2 + (2.625 - x + x * y**3) ** 2

    return Problems(start, [2], loss)


def absolute(members: int, generator: Generator, n: int = 10) -> Problems:
    """sum |theta - target|: the gradient does not shrink near the minimum."""
    target, start = torch.randn(2, members, n, generator=generator)
    return Problems(start, [n], lambda theta: (theta - target).abs().sum(-1))


def softmax(members: int, generator: Generator, n: int = 8, points: int = 64) -> Problems:
    """Two-class softmax regression on overlapping clouds, a tenth of the labels wrong; weights (n, 2), biases (2,)."""
    labels = torch.randint(0, 2, (members, points), generator=generator)
    centre = torch.randn(members, 1, n, generator=generator)
    x = torch.randn(members, points, n, generator=generator) + 0.5 * centre * (2 * labels.unsqueeze(-1) - 1)
    labels = _flip(labels, generator)
    start = 0.1 * torch.randn(members, 2 * n + 2, generator=generator)

    def logits(theta: Tensor, x: Tensor) -> Tensor:
        return x @ theta[..., : 2 * n].unflatten(-1, (n, 2)) + theta[..., None, 2 * n :]

    return on_data(start, [2 * n, 2], x, labels, lambda theta, x, y: cross_entropy(logits(theta, x), y))


def classifier(
    members: int, generator: Generator, hidden: int = 8, points: int = 64, activation: Activation = torch.tanh
) -> Problems:
    """A small network 2-hidden-2 on which side of a random curve a point lies, a tenth of the labels wrong."""
    x = torch.randn(members, points, 2, generator=generator)
    a, b, c = torch.randn(3, members, 1, generator=generator)
    labels = _flip((x[..., 1] + a * x[..., 0] > torch.sin(2 * b * x[..., 0]) + 0.5 * c).long(), generator)
    shapes = [(2, hidden), (hidden,), (hidden, 2), (2,)]
    start, sizes, network = one_hidden_layer(shapes, members, generator, activation)
    return on_data(start, sizes, x, labels, lambda theta, x, y: cross_entropy(network(theta, x), y))


def regression(
    members: int, generator: Generator, hidden: int = 8, points: int = 64, activation: Activation = torch.tanh
) -> Problems:
    """A small network 1-hidden-1 fitted to a random sum of two waves."""
    x = 4 * torch.rand(members, points, 1, generator=generator) - 2
    a, b, phase = torch.rand(3, members, 1, 1, generator=generator)
    y = torch.sin(2 * a * x + 6 * phase) + 0.5 * torch.sin(3 * b * x)
    shapes = [(1, hidden), (hidden,), (hidden, 1), (1,)]
    start, sizes, network = one_hidden_layer(shapes, members, generator, activation)
    return on_data(start, sizes, x, y, lambda theta, x, y: (network(theta, x) - y).square().mean((-2, -1)))


def additive(family: Family, noise: float) -> Family:
    """A family with normal noise of standard deviation ``noise`` on the gradient."""

    def noisy_family(members: int, generator: Generator) -> Problems:
        clean = family(members, generator)

        def noisy(theta: Tensor, generator: Generator) -> Tensor:
            drawn = torch.randn(theta.shape, generator=generator)
            return clean.loss(theta) + noise * (drawn * theta).sum(-1)

        return Problems(clean.start, clean.sizes, clean.loss, noisy)

    return noisy_family


def full_batch(family: Family) -> Family:
    """A family on data without mini-batches."""

    def clean_family(members: int, generator: Generator) -> Problems:
        found = family(members, generator)
        return Problems(found.start, found.sizes, found.loss)

    return clean_family


def on_data(
    start: Tensor,
    sizes: list[int],
    x: Tensor,
    y: Tensor,
    loss: Callable[[Tensor, Tensor, Tensor], Tensor],
    batch: int = 16,
) -> Problems:
    """Problems with data (members, points, ...): the loss of all points, and of a random mini-batch."""

    def noisy(theta: Tensor, generator: Generator) -> Tensor:
        rows = torch.randint(0, x.shape[1], (batch,), generator=generator)
        return loss(theta, x[:, rows], y[:, rows])

    return Problems(start, sizes, lambda theta: loss(theta, x, y), noisy)


def _flip(labels: Tensor, generator: Generator, share: float = 0.1) -> Tensor:
    """Labels 0 and 1, a share of them exchanged, so that no weights fit them all."""
    return torch.where(torch.rand(labels.shape, generator=generator) < share, 1 - labels, labels)


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Mean cross-entropy: (members, points, classes) -> (members,)."""
    return -logits.log_softmax(-1).gather(-1, labels.unsqueeze(-1)).mean((-2, -1))


def one_hidden_layer(
    shapes: list[tuple[int, ...]], members: int, generator: Generator, activation: Activation = torch.tanh
) -> tuple[Tensor, list[int], Callable[[Tensor, Tensor], Tensor]]:
    """First weights, sizes of the tensors, and a network with one hidden layer."""
    sizes = [math.prod(shape) for shape in shapes]
    drawn = [torch.randn(members, size, generator=generator) for size in sizes]
    scaled = [
        one / math.sqrt(shape[0]) if len(shape) == 2 else 0 * one for one, shape in zip(drawn, shapes, strict=True)
    ]

    def network(theta: Tensor, x: Tensor) -> Tensor:
        w1, b1, w2, b2 = (part.unflatten(-1, shape) for part, shape in zip(theta.split(sizes, -1), shapes, strict=True))
        return activation(x @ w1 + b1.unsqueeze(-2)) @ w2 + b2.unsqueeze(-2)

    return torch.cat(scaled, -1), sizes, network


FAMILIES: dict[str, Family] = {
    "quadratic": quadratic,
    "noisy_quadratic": additive(quadratic, 1.0),
    "bowl": bowl,
    "noisy_bowl": additive(bowl, 0.1),
    "rosenbrock": rosenbrock,
    "beale": beale,
    "absolute": absolute,
    "softmax": full_batch(softmax),
    "minibatch_softmax": softmax,
    "classifier": full_batch(classifier),
    "minibatch_classifier": classifier,
    "regression": full_batch(regression),
}
