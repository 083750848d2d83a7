"""A move and an update of a population read nothing from the device: under fake tensors, which hold no data.

Nor do they take anything from the host: on torch's device ``meta``, which is another than the host.
"""

import pytest
import torch
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from agents.config import TrainConfig
from agents.population import Population, make_population_optimizer
from routing_env.generators.published import published_set


def faked(mode, thing, names):
    """Replace tensors of an object by fake ones."""
    for name in names:
        found = getattr(thing, name)
        if isinstance(found, list):
            setattr(thing, name, [mode.from_tensor(one.detach()).requires_grad_(one.requires_grad) for one in found])
        elif isinstance(found, dict):
            setattr(thing, name, {key: mode.from_tensor(one) for key, one in found.items()})
        else:
            setattr(thing, name, mode.from_tensor(found))


def population(mode, **changes):
    """A population whose tensors hold no data and whose environment plays nothing."""
    small = {
        "optimizer": "adam", "learning_starts": 2, "max_steps": 20, "batch": 4, "train_every": 1, "replay": 50,
        "observation": "scaled", "reward": "published", "hidden": (6, 5), "target_connections": 2, "passes": 8,
    }  # fmt: skip
    config = TrainConfig(**small | changes)
    problems = published_set(3, seed=3, width=4, height=4, nets=3, capacity=3)
    found = Population(problems, config, [0, 1, 2])
    faked(mode, found.net, ["params"])
    faked(mode, found, ["target", "first_rates", "connections"])
    names = ["rows", "position", "filled", "age", "largest", "_first"]
    faked(mode, found.replay, names)
    if found.replay.tree is not None:
        faked(mode, found.replay.tree, ["sums"])
    faked(mode, found.draws, ["keys", "counter"])
    faked(mode, found.env, ["obs", "mask", "final", "final_mask", "gains", "flags", "tables"])
    found.env.step = lambda moves: None
    found.draws._ranges = {}
    found.device = torch.device("cuda")  # what the host may read at no cost is read on a CPU
    with mode:
        options = {"L": 2, "mF": 3} if config.optimizer in ("asnaq", "adaqn") else {}
        found.optimizer = make_population_optimizer(
            config.optimizer, found.net.params, found.first_rates, dict(config.optimizer_options) | options
        )
    return found


@pytest.mark.parametrize("optimizer", ["adam", "rmsprop", "olnaq", "olmoq", "asnaq", "adaqn"])
@pytest.mark.parametrize("changes", [{}, {"n_step": 3, "priority": 0.6, "dueling": True, "target_connections": None}])
def test_moves_and_updates_read_nothing(optimizer, changes):
    mode = FakeTensorMode()
    found = population(mode, optimizer=optimizer, **changes)
    with mode:
        for _ in range(9):
            found.advance()
    assert found.updates == 7


def test_a_reading_would_be_noticed():
    mode = FakeTensorMode()
    found = population(mode)
    found.device = torch.device("cpu")
    with mode, pytest.raises(DataDependentOutputException):
        found.advance()


class NothingOfTheHost(TorchDispatchMode):
    """Operations take and make tensors of the device ``meta`` alone, once ``strict``."""

    strict = False

    def from_tensor(self, one):
        return one.to("meta")

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.check(func, args, kwargs)
        out = func(*args, **kwargs or {})
        self.check(func, out)
        return out

    def check(self, func, *things):
        tensors = [one for one in tree_leaves(things) if isinstance(one, torch.Tensor)]
        if self.strict and any(one.device.type != "meta" for one in tensors):
            raise AssertionError(f"{func} has to do with the host")


@pytest.mark.parametrize("optimizer", ["adam", "olnaq", "olmoq", "asnaq", "adaqn"])
@pytest.mark.parametrize("changes", [{}, {"n_step": 3, "priority": 0.6, "dueling": True, "target_connections": None}])
def test_moves_and_updates_after_the_first_take_nothing_from_the_host(optimizer, changes):
    mode = NothingOfTheHost()
    found = population(mode, optimizer=optimizer, **changes)
    with mode:
        for _ in range(4):
            found.advance()
        mode.strict = True
        for _ in range(8):
            found.optimizer.tick()
            found.advance()
    assert found.updates == 10


def test_a_tensor_of_the_host_would_be_noticed():
    mode = NothingOfTheHost()
    found = population(mode)
    with mode:
        for _ in range(4):
            found.advance()
    found.target[0] = torch.zeros_like(found.target[0], device="cpu")
    mode.strict = True
    with mode, pytest.raises(AssertionError, match="has to do with the host"):
        found.advance()
