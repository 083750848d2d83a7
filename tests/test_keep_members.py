"""Members of a population that go on without the others make the steps they would have made beside them."""

import pytest
import torch
from training import METHODS, Toy, in_populations, run

from benchmarks.harness.race import NOT_ELEMENTWISE
from optimizers import make, names
from optimizers.members import keep_members

MEMBERS, BEFORE, AFTER = 6, 8, 8
PLACES = [4, 1, 2]


def chosen(optimizer, places):
    """Parameters of the members at some places."""
    return [one.detach()[places].clone().requires_grad_() for one in optimizer.param_groups[0]["params"]]


@pytest.mark.parametrize("places", [PLACES, [3]])
@pytest.mark.parametrize("name", [name for name in METHODS if in_populations(name)])
def test_members_go_on_as_beside_the_others(name, places):
    toy = Toy(name, list(range(MEMBERS)))
    together = run(toy, toy.make(), BEFORE + AFTER)
    optimizer = toy.make()
    run(toy, optimizer, BEFORE)
    kept = keep_members(optimizer, chosen(optimizer, places), torch.tensor(places))
    alone = run(Toy(name, places), kept, AFTER, first=BEFORE)
    assert torch.equal(alone, together[BEFORE:, places])
    assert type(kept) is type(optimizer)


@pytest.mark.parametrize("places", [PLACES, [3]])
@pytest.mark.parametrize(
    "name", [name for name in names() if name.startswith("torch.") and name not in NOT_ELEMENTWISE]
)
def test_members_of_torchs_optimizers_go_on_as_beside_the_others(name, places):
    scales = torch.linspace(1, 2, MEMBERS)  # float32, as torch's own numbers of a step: loading a state converts them

    def steps(optimizer, some, count):
        (w,) = optimizer.param_groups[0]["params"]
        for _ in range(count):
            w.grad = scales[some, None] * torch.sin(w.detach())
            optimizer.step()
        return w.detach().clone()

    def fresh():
        return make(name, [torch.linspace(1, 2, 5 * MEMBERS).view(MEMBERS, 5).requires_grad_()])

    everyone = list(range(MEMBERS))
    together, optimizer = fresh(), fresh()
    steps(optimizer, everyone, BEFORE)
    optimizer.param_groups[0]["lr"] *= 0.5  # a schedule's rate goes on
    steps(together, everyone, BEFORE)
    together.param_groups[0]["lr"] *= 0.5
    kept = keep_members(optimizer, chosen(optimizer, places), torch.tensor(places))
    assert torch.equal(steps(kept, places, AFTER), steps(together, everyone, AFTER)[places])


def test_rates_of_members_and_monitors_go_on_too():
    toy = Toy("adaqn", list(range(MEMBERS)))
    optimizer = toy.make(lr=torch.linspace(0.01, 0.06, MEMBERS, dtype=torch.float64))
    optimizer.monitor = toy.closure(optimizer)
    kept = keep_members(optimizer, chosen(optimizer, PLACES), torch.tensor(PLACES))
    assert kept.param_groups[0]["lr"].tolist() == pytest.approx([0.05, 0.02, 0.03])
    assert kept.monitor is optimizer.monitor


def test_several_groups_are_refused():
    toy = Toy("adam", [0, 1])
    optimizer = toy.make(groups=[{"lr": 0.1}, {"lr": 0.2}])
    with pytest.raises(ValueError, match="one parameter group expected, found 2"):
        keep_members(optimizer, chosen(optimizer, [0]), torch.tensor([0]))
