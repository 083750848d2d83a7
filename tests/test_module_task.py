"""Modules as members of a task: losses, gradients and batches are those of each module alone."""

import pytest
import torch
from torch import nn
from torch.nn import functional

from benchmarks.bases.module_task import ModuleTask
from benchmarks.harness.experiment import Size
from benchmarks.harness.race import Method, run

X = torch.randn(50, 1, 6, 6, generator=torch.Generator().manual_seed(0))
T = torch.randint(3, (50,), generator=torch.Generator().manual_seed(1))


class Small(ModuleTask):
    name, title, batch = "small", "Small", 16
    sizes = dict.fromkeys(("fast", "default", "full"), Size(4, 2))
    methods = {"adam": Method("torch.adam"), "olmoq": Method("olmoq")}  # noqa: RUF012

    def __init__(self, seeds, steps):
        super().__init__(seeds, steps, X, T)

    def module(self):
        return nn.Sequential(nn.Conv2d(1, 2, 3), nn.Tanh(), nn.Flatten(), nn.Linear(32, 3))

    def loss(self, outputs, targets):
        return functional.cross_entropy(outputs, targets)

    def measure(self):
        losses, right = self.accuracy(X, T)
        return {"loss": losses, "accuracy": right}

    @classmethod
    def table(cls, rows):
        return []


def module(task, member):
    made = task.module()
    for one, own in zip(made.parameters(), task.params, strict=True):
        one.data.copy_(own.detach()[member])
    return made


@pytest.mark.parametrize("seeds", [[5], [0, 5, 9]])
def test_losses_and_gradients_are_those_of_each_module_alone(seeds):
    task = Small(seeds, 10)
    for step in (0, 3, 4, 7):  # whole and smaller batches of two epochs
        for one in task.params:
            one.grad = None
        losses = task.losses(step, 0)
        losses.sum().backward()
        for member in range(len(seeds)):
            drawn = task.orders[member].batch(step)
            assert len(drawn) == (2 if step % 4 == 3 else 16)
            alone = module(task, member)
            loss = functional.cross_entropy(alone(X[drawn]), T[drawn])
            loss.backward()
            torch.testing.assert_close(losses[member], loss)
            for one, own in zip(alone.parameters(), task.params, strict=True):
                torch.testing.assert_close(own.grad[member], one.grad)


def test_an_epoch_goes_through_all_examples_in_a_new_order():
    order = Small([3], 10).orders[0]
    first, second = (torch.cat([order.batch(4 * epoch + k) for k in range(4)]) for epoch in range(2))
    assert sorted(first.tolist()) == sorted(second.tolist()) == list(range(50))
    assert not torch.equal(first, second)
    assert torch.equal(order.batch(0), first[:16]), "an epoch's order can be asked for again"


def test_first_weights_depend_on_the_seed_alone_and_leave_the_global_generator():
    before = torch.random.get_rng_state()
    many, one = Small([0, 7], 10), Small([7], 10)
    assert torch.equal(before, torch.random.get_rng_state())
    for stacked, alone in zip(many.params, one.params, strict=True):
        assert torch.equal(stacked[1], alone[0])


def test_accuracy_is_that_of_each_module_and_a_population_moves_as_its_members_alone():
    task = Small([0, 7], 6)
    losses, right = task.accuracy(X, T)
    for member in range(2):
        outputs = module(task, member)(X)
        torch.testing.assert_close(losses[member], functional.cross_entropy(outputs, T))
        assert right[member].item() == pytest.approx(100 * (outputs.argmax(1) == T).double().mean().item())
    for method in Small.methods.values():
        together = run(Small([0, 7], 6), method)
        (alone,) = run(Small([7], 6), method)
        assert together[1]["metrics"]["loss"] == pytest.approx(alone["metrics"]["loss"], rel=1e-4)
        assert alone["metrics"]["curve"]["step"] == [4, 6]


def test_a_module_with_buffers_is_refused(monkeypatch):
    monkeypatch.setattr(Small, "module", lambda self: nn.Sequential(nn.Flatten(), nn.BatchNorm1d(36)))
    with pytest.raises(ValueError, match="small: a module with buffers"):
        Small([0], 1)
