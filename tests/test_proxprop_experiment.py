"""The experiment of proximal backpropagation: networks, the implicit step through a race, and what rows say."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

pytest.importorskip("sklearn")

import optimizers
from benchmarks.harness.experiment import carry_out
from benchmarks.harness.race import Method, run
from benchmarks.tasks import proxprop
from benchmarks.tasks.proxprop import ProxPropRace, conv, mlp, networks, rises

SMALL = {"data": "digits", "pictures": 700, "widths": [12, 6], "shrink": 1}


def module_of(task):
    """The task's network by itself, with its weights."""
    network = task.module()
    for one, own in zip(network.parameters(), task.params, strict=True):
        one.data.copy_(own.detach()[0])
    return network


def test_the_networks_are_the_published_ones():
    perceptron, convolutions = mlp(3072, (4000, 1000, 4000)), conv(3, 32)
    shapes = [tuple(one.weight.shape) for one in perceptron.modules() if isinstance(one, nn.Linear)]
    assert shapes == [(4000, 3072), (1000, 4000), (4000, 1000), (10, 4000)]
    kinds = [type(one).__name__ for one in convolutions]
    assert kinds == ["Conv2d", "ReLU", "MaxPool2d"] * 2 + ["Conv2d", "ReLU", "Flatten", "Linear"]
    expected = (3 * 25 + 1) * 16 + (16 * 25 + 1) * 20 + (20 * 25 + 1) * 20 + (20 * 8 * 8 + 1) * 10
    assert sum(one.numel() for one in convolutions.parameters()) == expected
    for channels, side in ((1, 28), (1, 14), (1, 8), (1, 4)):
        assert conv(channels, side)(torch.zeros(2, channels, side, side)).shape == (2, 10)


def test_the_last_tenth_of_the_training_pictures_validates():
    task = ProxPropRace([0], 1, **SMALL)
    whole = ProxPropRace([0], 1, **SMALL | {"network": "conv", "shrink": 2})
    assert (len(task.x), len(task.valid_x)) == (630, 70)
    assert whole.x.shape[1:] == (1, 4, 4)
    torch.testing.assert_close(whole.valid_x[:, :, 0, 0], task.valid_x[:, :, :2, :2].mean((2, 3)))
    assert torch.equal(whole.valid_t, task.valid_t)
    assert task.batches == 2


def test_an_implicit_step_solves_the_published_problem():
    task = ProxPropRace([0], 1, **SMALL)
    network, drawn = module_of(task), task.orders[0].batch(0)
    before = [one.detach().clone() for one in network.parameters()]
    x, outputs = task.x[drawn].flatten(1), {}

    def keep(module, given, z):
        z.retain_grad()
        outputs["z"] = z

    network[1].register_forward_hook(keep)
    functional.cross_entropy(network(task.x[drawn]), task.t[drawn]).backward()
    A = torch.cat([x, torch.ones(len(x), 1)], 1).double().numpy()
    theta = torch.cat([before[0].T, before[1][None]]).double().numpy()
    target = A @ theta - outputs["z"].grad.double().numpy()
    tau = 0.05
    # argmin 1/2 ||A x - target||^2 + 1 / (2 tau) ||x - theta||^2, as one least-squares problem
    stacked = np.concatenate([A, np.eye(A.shape[1]) / tau**0.5])
    solved = np.linalg.lstsq(stacked, np.concatenate([target, theta / tau**0.5]), rcond=None)[0]
    run(task, ProxPropRace.methods["mlp-exact"])
    moved = torch.cat([task.params[0].detach()[0].T, task.params[1].detach()[0][None]]).double().numpy()
    # the first step of Nesterov's momentum 0.95 is 1 + 0.95 times the gradient's
    np.testing.assert_allclose(moved - theta, 1.95 * (solved - theta), rtol=2e-3, atol=2e-6)


@pytest.mark.parametrize("label", ["mlp-exact", "mlp-cg3", "conv-cg3"])
def test_a_race_is_a_plain_loop_of_the_optimizer_on_the_module(label):
    method = ProxPropRace.methods[label]
    task = ProxPropRace([1], 5, **SMALL, **method.own)
    network = module_of(task)
    optimizer = optimizers.make("proxprop", network.parameters(), model=network, **method.options)
    for step in range(5):
        drawn = task.orders[0].batch(step)

        def closure(drawn=drawn):
            optimizer.zero_grad()
            loss = task.loss(network(task.x[drawn]), task.t[drawn])
            loss.backward()
            return loss

        optimizer.step(closure)
    (row,) = run(task, method)
    for one, own in zip(network.parameters(), task.params, strict=True):
        torch.testing.assert_close(own.detach()[0], one.detach(), rtol=1e-4, atol=1e-6)
    assert row["metrics"]["passes"] == 2.5  # products with inputs are no passes
    assert row["evaluations"] == {"losses": 0, "gradients": 5}
    assert row["metrics"]["curve"]["step"] == [2, 4, 5]


def test_without_implicit_steps_it_is_nesterovs_momentum():
    task, other = ProxPropRace([0], 6, **SMALL), ProxPropRace([0], 6, **SMALL)
    run(task, Method("proxprop", {"lr": 0.05, "mode": "gradient"}))
    run(other, ProxPropRace.methods["mlp-nesterov"])
    for one, own in zip(other.params, task.params, strict=True):
        torch.testing.assert_close(own.detach(), one.detach(), rtol=1e-5, atol=1e-7)


def test_implicit_and_plain_methods_of_a_trial_start_equally():
    starts = [ProxPropRace([2], 1, **SMALL, **ProxPropRace.methods[label].own) for label in ("mlp-cg3", "mlp-adam")]
    assert all(map(torch.equal, starts[0].params, starts[1].params))
    assert torch.equal(starts[0].orders[0].batch(3), starts[1].orders[0].batch(3))


def test_published_settings_are_the_published_ones():
    for label, mode in (("mlp-exact", "exact"), ("mlp-cg3", "cg3"), ("mlp-cg5", "cg5"), ("mlp-cg10", "cg10")):
        assert ProxPropRace.methods[label].options == {"lr": 1.0, "tau": 0.05, "mode": mode}
    for label, mode in (("conv-cg3", "cg3"), ("conv-cg10", "cg10")):
        options = {"lr": 1e-3, "tau": 1.0, "base": "torch.adam", "mode": mode}
        assert ProxPropRace.methods[label].options == options
    assert proxprop.BATCH == 500
    assert ProxPropRace.sizes["full"].steps == 50 * 45_000 // 500


def row(label, losses, seconds=1.0):
    method, epochs = ProxPropRace.methods[label], list(range(1, len(losses) + 1))
    spent = [seconds * one for one in epochs]
    curve = {"step": epochs, "passes": epochs, "seconds": spent, "loss": losses, "validation": [80.0] * len(losses)}
    metrics = {"loss": losses[-1], "validation": 80.0, "accuracy": 70.0, "passes": epochs[-1], "seconds": spent[-1]}
    settings = {"optimizer": method.optimizer, "own": method.own}
    return {
        "method": label,
        "seed": 0,
        "step": epochs[-1],
        "settings": settings,
        "metrics": {**metrics, "curve": curve},
    }


def test_rises_are_shares_of_epochs_after_which_the_loss_is_larger():
    assert rises([row("mlp-adam", [1.0, 0.5, 0.6, 0.4, 0.4])]) == 25
    assert rises([row("mlp-adam", [1.0, 0.5]), row("mlp-adam", [1.0, None])]) == 50


def test_sentences_follow_from_rows_and_networks_are_told_apart():
    rows = [row("mlp-exact", [0.5, 0.2, 0.1], 3.0), row("mlp-nesterov", [0.7, 0.3, 0.2]), row("conv-adam", [1.0, 2.0])]
    assert {name: len(mine) for name, mine in networks(rows).items()} == {"mlp": 2, "conv": 1}
    said = ProxPropRace.findings(rows)
    assert any(one.startswith("mlp, published: fewer epochs. At 3 passes") and "`mlp-exact` has" in one for one in said)
    assert any("no better time. At 3 processor seconds `mlp-nesterov` has" in one for one in said)
    assert any("`mlp-exact` is ahead of `mlp-nesterov` in 0 of 1 trials" in one for one in said)
    table = {line["method"]: line for line in ProxPropRace.table(rows)}
    assert table["conv-adam"]["rises"] == "100.0 %"
    assert table["mlp-exact"]["training loss at equal seconds"] == "0.5"


def test_rows_of_both_networks_give_a_picture_each(tmp_path):
    labels = ["mlp-exact", "mlp-adam", "conv-cg3"]
    size = ProxPropRace.sizes["fast"]
    rows = carry_out(ProxPropRace, labels, [0], tmp_path / "rows", size=size, options={"data": "digits"})
    drawn = ProxPropRace.draw(rows, tmp_path)
    assert [one.name for one in drawn] == [f"proxprop-{what}.png" for what in ("mlp", "conv", "times")]
    assert all(one.stat().st_size < 100_000 for one in drawn)
    assert {row["metrics"]["end"] for row in rows} == {"limit"}
    assert [row["metrics"]["passes"] for row in rows] == [pytest.approx(4 / 3)] * 3  # 1,001 pictures in batches of 500


def test_data_is_named_in_the_rows_and_unknown_data_is_refused():
    assert ProxPropRace.chosen({"data": "auto"})["data"] in ("cifar10", "fashion-mnist", "mnist", "digits")
    with pytest.raises(ValueError, match="did you mean 'fashion-mnist'"):
        ProxPropRace.chosen({"data": "fashion"})
