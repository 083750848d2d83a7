"""Stacked networks of one hidden layer are those of torch."""

import pytest
import torch
from torch import nn

from benchmarks.bases.regression import Regression, first_weights, three


class Small(Regression):
    """Five sigmoids."""

    name = "small"
    hidden = 5

    def __init__(self, seeds, inputs, outputs):
        draw = torch.Generator().manual_seed(0)
        points = [torch.rand(many, 30, generator=draw, dtype=torch.float64) for many in (inputs, outputs)]
        train, test = zip(*(one.split((20, 10), 1) for one in points), strict=True)
        super().__init__(seeds, 10, train, test)

    def marks(self):
        return set()

    @classmethod
    def table(cls, rows):
        return []


@pytest.mark.parametrize(("inputs", "outputs"), [(1, 1), (3, 2)])
def test_outputs_losses_and_gradients_are_those_of_a_network_of_torch(inputs, outputs):
    task = Small([4, 9, 2], inputs, outputs)
    losses = task.losses(0, 0)
    losses.sum().backward()
    for member, seed in enumerate((4, 9, 2)):
        network = nn.Sequential(nn.Linear(inputs, 5), nn.Sigmoid(), nn.Linear(5, outputs)).double()
        weights = list(network.parameters())
        drawn = first_weights(seed, sum(one.numel() for one in weights))
        nn.utils.vector_to_parameters(drawn, weights)
        loss = nn.functional.mse_loss(network(task.train[0].mT), task.train[1].mT) / 2
        loss.backward()
        torch.testing.assert_close(losses[member], loss)
        own = torch.cat([one.grad[member].flatten() for one in task.params])
        torch.testing.assert_close(own, torch.cat([one.grad.flatten() for one in weights]))
        torch.testing.assert_close(task.outputs(task.test[0])[member], network(task.test[0].mT).mT)
        tested = nn.functional.mse_loss(network(task.test[0].mT), task.test[1].mT) / 2
        torch.testing.assert_close(task.measure()["test_loss"][member], tested.detach())


def test_first_weights_are_uniform_between_minus_a_half_and_a_half():
    drawn = first_weights(1, 20_000)
    assert drawn.dtype is torch.float64
    assert -0.5 <= drawn.min() < -0.499 < 0.499 < drawn.max() < 0.5
    assert abs(drawn.mean()) < 3 * (12 * 20_000) ** -0.5
    assert not torch.equal(drawn, first_weights(2, 20_000))


def test_three_are_mean_best_and_worst_times_1000():
    assert three([0.001, 0.002, 0.0045]) == "2.5 / 1 / 4.5"
