"""What is compiled for populations on the processor gives the values of the forms in torch."""

import numpy as np
import pytest
import torch

import optimizers
from agents import compiled
from agents.networks import StackedMLP
from agents.population import clip
from agents.td import LOSSES, double_dqn_target, td_loss
from optimizers.first_order import _host
from optimizers.members import compilable

pytestmark = pytest.mark.usefixtures("one_thread")
MANY, BATCH, ENTRIES = 3, 9, 7
TOLERANCE = {torch.float32: 2e-6, torch.float64: 1e-13}


def network(dtype, seeds=range(MANY)):
    return StackedMLP(ENTRIES, (11, 6), 6, seeds=seeds, initialisation="torch", dtype=dtype)


def batch(dtype):
    generator = torch.Generator().manual_seed(8)
    obs = torch.randn(MANY, BATCH, ENTRIES + 4, generator=generator, dtype=dtype)[..., :ENTRIES]  # rows with a gap
    moves = torch.randint(0, 6, (MANY, BATCH), generator=generator)
    target = torch.randn(MANY, BATCH, generator=generator, dtype=dtype) * 2
    weights = torch.rand(MANY, BATCH, generator=generator, dtype=dtype)
    mask = (torch.rand(MANY, BATCH, 6, generator=generator) > 0.5).to(dtype)
    mask[0, 0] = 0  # no move is allowed
    return obs, moves, target, weights, mask


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("kind", LOSSES)
def test_losses_and_gradients_are_those_of_differentiation(dtype, weighted, kind):
    net, (obs, moves, target, weights, _) = network(dtype), batch(dtype)
    each = weights if weighted else None
    losses = td_loss(net(obs), moves, target, kind, each)
    expected = torch.autograd.grad(losses.sum(), net.params)
    found, gradients = compiled.loss_and_gradients(net.params, obs, moves, target, kind, each)
    close = {"rtol": TOLERANCE[dtype], "atol": TOLERANCE[dtype]}
    torch.testing.assert_close(found, losses.detach(), **close)
    for mine, theirs in zip(gradients, expected, strict=True):
        torch.testing.assert_close(mine, theirs, **close)
    assert (target - net(obs).gather(-1, moves[..., None]).squeeze(-1)).abs().max() > 1, "both parts of Huber's loss"


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("masked", [False, True])
def test_targets_are_those_in_torch(dtype, masked):
    net, (obs, _, returns, discount, mask) = network(dtype), batch(dtype)
    later = network(dtype, range(10, 10 + MANY))
    with torch.no_grad():
        online, others = net(obs), later(obs)
    online[1, 2] = 0.5  # all equal: the first counts
    allowed = mask if masked else None
    found = compiled.targets(returns, discount, online, others, allowed)
    expected = double_dqn_target(returns, 0.0, online, others, discount, allowed)
    torch.testing.assert_close(found, expected, rtol=TOLERANCE[dtype], atol=TOLERANCE[dtype])


def test_values_without_a_gradient_are_compiled_and_the_same():
    net, (obs, *_) = network(torch.float64), batch(torch.float64)
    with torch.no_grad():
        assert net.compiled
        found = net(obs)
        torch.set_num_threads(2)
        assert not net.compiled
    torch.testing.assert_close(found, net(obs).detach(), rtol=1e-13, atol=1e-13)


def test_what_is_not_a_number_stays_so():
    """A member with such a number gets it in its loss, and its neighbours get nothing of it."""
    net, (obs, moves, target, *_) = network(torch.float32), batch(torch.float32)
    alone, gradients = compiled.loss_and_gradients(net.params, obs, moves, target, "huber", None)
    target = target.clone()
    target[1, 3] = torch.nan
    found, spoiled = compiled.loss_and_gradients(net.params, obs, moves, target, "huber", None)
    assert torch.isnan(found[1])
    assert torch.isnan(spoiled[-1][1]).any()
    for place in (0, 2):
        assert found[place] == alone[place]
        assert all(torch.equal(one[place], two[place]) for one, two in zip(gradients, spoiled, strict=True))
    with torch.no_grad():
        net.params[0][2, 0, 0] = torch.inf
        obs = obs.clone()
        obs[2, :, 0] = 0.0  # times infinity
        assert torch.isnan(net(obs)[2]).any()


@pytest.mark.parametrize("dtype", TOLERANCE)
def test_clipping_is_that_in_torch(dtype):
    net, (obs, moves, target, *_) = network(dtype), batch(dtype)
    target = target.clone()
    target[2, 0] = torch.nan
    with torch.no_grad():
        target[1] = 0.9 * net(obs)[1].gather(-1, moves[1][:, None]).squeeze(-1)  # a gradient that is short as it is
    whole = compiled.loss_and_gradients(net.params, obs, moves, target, "huber", None)[1]
    mine = compiled.loss_and_gradients(net.params, obs, moves, target, "huber", None, 0.2)[1]
    for one, part in zip(net.params, whole, strict=True):
        one.grad = part.clone()
    clip(net.params, 0.2)
    for one, two in zip(mine, net.params, strict=True):
        torch.testing.assert_close(one, two.grad, rtol=TOLERANCE[dtype], atol=0, equal_nan=True)
    assert all(torch.equal(one[1], two[1]) for one, two in zip(mine, whole, strict=True))
    assert not torch.equal(mine[0][0], whole[0][0])
    assert sum(float(one[0].square().sum()) for one in mine) == pytest.approx(0.04, rel=1e-4)
    assert all(torch.isnan(one[2]).any() for one in mine)


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("rates", ["number", "each"])
@pytest.mark.parametrize("inside", [False, True])
@pytest.mark.parametrize("name", ["adam", "rmsprop"])
def test_compiled_steps_are_the_steps_in_torch(name, inside, rates, dtype, monkeypatch):
    calls = []
    step = getattr(_host, name)
    monkeypatch.setattr(_host, name, lambda *args: calls.append(1) or step(*args))
    generator = torch.Generator().manual_seed(5)
    gradients = torch.randn(30, 4, 13, generator=generator, dtype=dtype)
    gradients[7, 1, 3], gradients[9, 2], gradients[11, 3] = (
        torch.nan,
        torch.inf,
        1e30,
    )  # the last one's square overflows
    gradients[:, :, 0] = 0.0
    start = torch.randn(4, 13, generator=generator, dtype=dtype)
    found = []
    for threads in (1, 2):
        monkeypatch.setattr(torch, "get_num_threads", lambda threads=threads: threads)
        w = start.clone().requires_grad_()
        rate = 0.01 if rates == "number" else torch.tensor([0.01, 0.1, 0.02, 0.03], dtype=dtype)
        optimizer = optimizers.make(name, [w], lr=rate, member_dims=1, eps_inside=inside)
        for k, g in enumerate(gradients):
            if k == 15:  # from here on with a closure, whose loss is not finite once

                def closure(k=k, w=w):
                    w.grad = gradients[k].clone()
                    return torch.tensor([1.0, 1.0, torch.nan, 1.0], dtype=dtype)

                before = w.detach().clone()
                optimizer.step(closure)
                assert torch.equal(w[2], before[2])
                continue
            w.grad = g.clone()
            optimizer.step()
        found.append((w.detach(), optimizer))
        assert len(calls) == 30, "those of one thread and no more"
    (mine, one), (theirs, two) = found
    torch.testing.assert_close(mine, theirs, rtol=4 * TOLERANCE[dtype], atol=4 * TOLERANCE[dtype])
    assert one.counters() == two.counters()
    assert one.counters()["n_nonfinite"] == [0, 1, 2, int(dtype is torch.float32)]
    for key, value in one.memory.items():
        if isinstance(value, torch.Tensor):
            torch.testing.assert_close(
                value, two.memory[key], rtol=1e-5 if dtype is torch.float32 else 1e-12, atol=1e-12
            )
    assert torch.equal(mine[:, 0], start[:, 0]), "no gradient, no step"


def test_decoupled_decay_and_rates_of_groups_stay_with_torch(monkeypatch):
    monkeypatch.setattr(_host, "adam", lambda *args: pytest.fail("not the compiled step"))
    a, b = torch.ones(2, 3, requires_grad=True), torch.ones(2, 4, requires_grad=True)
    for groups, more in (
        ([{"params": [a], "lr": 0.1}, {"params": [b], "lr": 0.2}], {}),
        ([a, b], {"decoupled_weight_decay": True, "weight_decay": 0.1}),
    ):
        optimizer = optimizers.make("adam", groups, member_dims=1, **more)
        a.grad, b.grad = torch.ones_like(a), torch.ones_like(b)
        optimizer.step()
    assert not torch.equal(a, torch.ones_like(a))


def test_neighbours_do_not_matter_to_a_compiled_step():
    generator = torch.Generator().manual_seed(2)
    start, gradients = torch.randn(5, 37, generator=generator), torch.randn(6, 5, 37, generator=generator)
    found = []
    for places in ([0, 1, 2, 3, 4], [3, 1], [4]):
        w = start[places].clone().requires_grad_()
        optimizer = optimizers.make("adam", [w], lr=0.1, member_dims=1)
        for g in gradients:
            w.grad = g[places].clone()
            optimizer.step()
        found.append(w.detach())
    assert torch.equal(found[1], found[0][[3, 1]])
    assert torch.equal(found[2], found[0][[4]])


def test_what_is_compiled():
    x = torch.zeros(2, 3)
    assert compilable(x)
    assert not compilable(x[0])
    assert not compilable(x.half())
    assert not compilable(torch.zeros(2, 3, device="meta"))
    assert not compilable(torch.nn.Parameter(x)), "what is not a plain tensor may not be a real one"
    torch.set_num_threads(2)
    assert not compilable(x)
    assert np.isfinite(x.numpy()).all()
