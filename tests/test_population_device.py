"""A move and an update of a population read nothing from the device: under fake tensors, which hold no data."""

import pytest
import torch
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode

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
