"""Convolutional networks for small pictures: LeNet-5, a smaller one of published runs, and one for dense methods.

All take pictures (n, channels, side, side) with a side of 28 or 32 and give scores (n, 10). First weights come from
torch's global generator.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import nn

__all__ = ["NETWORKS", "lenet5", "notebook", "small"]


def lenet5(channels: int, side: int) -> nn.Module:
    """LeNet-5 with ReLU and max pooling: 61,706 weights for one channel.

    Pictures of side 28 get a border of 2. First weights as torch's layers draw them.

    Source: LeCun, Bottou, Bengio, Haffner 1998; ReLU and max pooling as in the program of oSR1-N's authors.
    """
    return nn.Sequential(
        nn.Conv2d(channels, 6, 5, padding=(32 - side) // 2), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(6, 16, 5), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(),
        nn.Linear(400, 120), nn.ReLU(), nn.Linear(120, 84), nn.ReLU(), nn.Linear(84, 10),
    )  # fmt: skip


def notebook(channels: int, side: int) -> nn.Module:
    """The network of oLMoQ's authors: sigmoids, first weights and biases N(0, 1), 26,068 for one channel of side 28."""
    network = nn.Sequential(
        nn.Conv2d(channels, 3, 5, padding=2), nn.Sigmoid(), nn.MaxPool2d(2),
        nn.Conv2d(3, 5, 5, padding=2), nn.Sigmoid(), nn.MaxPool2d(2), nn.Flatten(),
        nn.Linear(5 * (side // 4) ** 2, 100), nn.Sigmoid(), nn.Linear(100, 10),
    )  # fmt: skip
    with torch.no_grad():
        for one in network.parameters():
            one.normal_()
    return network


def small(channels: int, side: int) -> nn.Module:
    """A network whose n^2 numbers are few, on pictures averaged over 2 x 2 pixels: 1,378 weights for one channel."""
    return nn.Sequential(
        nn.AvgPool2d(2), nn.Conv2d(channels, 4, 3), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(4, 8, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(),
        nn.Linear(32, 24), nn.ReLU(), nn.Linear(24, 10),
    )  # fmt: skip


NETWORKS: Mapping[str, Callable[[int, int], nn.Module]] = {"lenet5": lenet5, "notebook": notebook, "small": small}
