"""Tasks that sort pictures: published networks, rates, sub-batches, data sets, collapses."""

import math

import numpy as np
import pytest
import torch
from scipy.signal import correlate2d
from scipy.special import expit
from torch import nn

import optimizers
from benchmarks.bases import accuracy
from benchmarks.bases.accuracy import accuracy_table, collapsed, draw_accuracies, said_of
from benchmarks.bases.image_networks import NETWORKS
from benchmarks.bases.images import AUTO, chosen_data, enlarged, images
from benchmarks.harness import gallery
from benchmarks.harness.experiment import Size, carry_out
from benchmarks.harness.race import Method, Task, run
from benchmarks.tasks.digits import Digits
from benchmarks.tasks.lenet import BATCH, LeNet
from benchmarks.tasks.mlp import MLP

LENET, DIGITS = {"data": "digits", "network": "lenet5"}, {"data": "digits"}


def weights_of(module):
    return sum(one.numel() for one in module.parameters())


@pytest.mark.parametrize(
    ("network", "channels", "side", "weights"),
    [
        ("lenet5", 1, 28, 61_706),
        ("lenet5", 1, 32, 61_706),
        ("lenet5", 3, 32, 62_006),
        ("notebook", 1, 28, 26_068),
        ("small", 1, 28, 1_378),
        ("small", 1, 32, 1_378),
    ],
)
def test_networks_have_as_many_weights_as_published(network, channels, side, weights):
    made = NETWORKS[network](channels, side)
    assert weights_of(made) == weights
    assert made(torch.zeros(2, channels, side, side)).shape == (2, 10)


def test_the_notebooks_network_is_its_formula():
    torch.manual_seed(3)
    network = NETWORKS["notebook"](1, 28).double()
    k1, b1, k2, b2, w3, b3, w4, b4 = (one.detach().numpy() for one in network.parameters())
    x = np.random.default_rng(0).random((28, 28))

    def pooled(y):
        return y.reshape(len(y), y.shape[1] // 2, 2, -1, 2).max((2, 4))

    hidden = pooled(np.stack([expit(correlate2d(x, k[0], "same") + b) for k, b in zip(k1, b1, strict=True)]))
    hidden = np.stack(
        [
            expit(sum(correlate2d(one, k, "same") for one, k in zip(hidden, kernels, strict=True)) + b)
            for kernels, b in zip(k2, b2, strict=True)
        ]
    )
    scores = w4 @ expit(w3 @ pooled(hidden).ravel() + b3) + b4
    np.testing.assert_allclose(network(torch.from_numpy(x)[None, None])[0].detach().numpy(), scores, rtol=1e-9)


def test_first_weights_of_the_notebooks_network_are_standard_normal():
    drawn = torch.cat([one.detach().flatten() for one in NETWORKS["notebook"](1, 28).parameters()])
    assert abs(drawn.mean().item()) < 5 / math.sqrt(len(drawn))
    assert drawn.std().item() == pytest.approx(1, abs=0.03)


def mlp(seeds, steps=10):
    return MLP(seeds, steps, epochs=1, data="digits")


def mlp_network(task, member):
    layers = [nn.Linear(64, 100), nn.BatchNorm1d(100), nn.ReLU(), nn.Linear(100, 50), nn.BatchNorm1d(50), nn.ReLU()]
    network = nn.Sequential(*layers, nn.Linear(50, 10))
    for one, own in zip(network.parameters(), task.params, strict=True):
        one.data.copy_(own.detach()[member].reshape(one.shape))
    return network


def test_a_member_of_the_mlp_is_a_network_of_torch_and_has_the_published_layers():
    assert weights_of(nn.Sequential(nn.Linear(784, 100), nn.BatchNorm1d(100), nn.Linear(100, 50), nn.BatchNorm1d(50),
                                    nn.Linear(50, 10))) == 84_360  # fmt: skip
    task = mlp([0, 5])
    assert sum(one[0].numel() for one in task.params) == 84_360 - (784 - 64) * 100
    networks = [mlp_network(task, member) for member in range(2)]
    for step in (0, 1, 9):  # the last batch of an epoch is smaller
        for one in task.params:
            one.grad = None
        losses = task.losses(step, 0)
        losses.sum().backward()
        for member, network in enumerate(networks):
            drawn = task.members[member].batch(step)
            assert len(drawn) == (1198 % BATCH if step == 9 else BATCH)
            network.zero_grad()
            loss = nn.functional.cross_entropy(network(task.x[drawn]), task.t[drawn])
            loss.backward()
            torch.testing.assert_close(losses[member], loss)
            for one, own in zip(network.parameters(), task.params, strict=True):
                torch.testing.assert_close(own.grad[member].reshape(one.shape), one.grad, atol=1e-5, rtol=1e-3)
    right = task.measure()["accuracy"]
    for member, network in enumerate(networks):
        found = network.eval()(task.test_x).argmax(1) == task.test_t
        assert right[member].item() == pytest.approx(100 * found.double().mean().item())


def test_pictures_of_another_size_than_the_first_layer_are_refused(monkeypatch):
    monkeypatch.setattr("benchmarks.tasks.digits.WIDTHS", (65, 20, 10, 10))
    with pytest.raises(ValueError, match="pictures of 64 entries for a first layer of 65"):
        Digits([0])


@pytest.mark.parametrize("label", ["olnaq", "olmoq"])
def test_the_digits_that_were_committed_are_found_again(label):
    committed = [row for row in gallery.rows_of(Digits) if row["method"] == label]
    found = run(Digits([row["seed"] for row in committed], 2 * Digits.batches), Digits.methods[label])
    assert committed
    for before, now in zip(committed, found, strict=True):
        for metric, values in now["metrics"]["curve"].items():
            np.testing.assert_allclose(values, before["metrics"]["curve"][metric][:2], rtol=1e-6, err_msg=metric)


class Slope(Task):
    """A plane: a gradient step moves each weight by its rate."""

    name, batches = "slope", 3

    def __init__(self, seeds, steps):
        super().__init__(seeds, steps)
        self.params = [torch.zeros(len(seeds), 1, dtype=torch.float64, requires_grad=True)]

    def losses(self, step, call):
        return self.params[0].sum(1)

    def measure(self):
        return {"loss": self.params[0].detach()[:, 0].clone()}

    def marks(self):
        return set(range(1, self.steps + 1))

    @classmethod
    def table(cls, rows):
        return []


def rates(method, steps=9):
    (row,) = run(Slope([0], steps), method)
    return -np.diff([0.0, *row["metrics"]["curve"]["loss"]])


def test_rates_fall_by_epochs_or_by_steps_as_the_method_says():
    sgd = ("torch.sgd", {"lr": 0.8})
    np.testing.assert_allclose(rates(Method(*sgd)), 0.8)
    np.testing.assert_allclose(rates(Method(*sgd, decay=0.5)), np.repeat([0.8, 0.4, 0.2], 3))
    np.testing.assert_allclose(
        rates(Method(*sgd, end=0.01)), np.geomspace(0.8, 0.008, 9), rtol=1e-4
    )  # rows are rounded
    normalised = Method("olnaq", {"lr": 0.8, "mu": 0.0, "schedule": "constant"}, decay=0.5)
    np.testing.assert_allclose(rates(normalised), np.repeat([0.8, 0.4, 0.2], 3))
    assert len(rates(Method(*sgd, end=0.01), steps=1)) == 1


def test_falling_rates_are_part_of_the_settings_and_need_epochs(monkeypatch):
    plain = Digits.settings("olnaq", Digits.sizes["fast"], {})
    assert set(plain) == {"optimizer", "options", "steps", "tolerance"}, "rows of before keep their settings"
    own = {"olnaq-falling": {"end": 0.01}, "olnaq-halving": {"decay": 0.5}}
    for label, expected in own.items():
        found = LeNet.settings(label, LeNet.sizes["fast"], LENET)
        assert {name: found[name] for name in ("end", "decay") if name in found} == expected
    monkeypatch.setattr(Slope, "batches", 0)
    with pytest.raises(ValueError, match=r"decay = 0\.5: slope has no epochs"):
        rates(Method("torch.sgd", {"lr": 0.8}, decay=0.5))


def test_a_flat_method_is_momentum_with_steps_of_given_length():
    method = LeNet.methods["olnaq-falling-flat"]
    w, v, draw = torch.randn(5, dtype=torch.float64), torch.zeros(5, dtype=torch.float64), torch.randn(5, 5).double()
    bowl, params = draw @ draw.T, [torch.nn.Parameter(w.clone())]
    optimizer = optimizers.make(method.optimizer, params, **method.options)

    def closure():
        optimizer.zero_grad()
        loss = params[0] @ bowl @ params[0] / 2
        loss.backward()
        return loss

    for _ in range(20):
        g = bowl @ (w + method.options["mu"] * v)
        v = method.options["mu"] * v - method.options["lr"] * g / g.norm()
        w = w + v
        optimizer.step(closure)
        torch.testing.assert_close(params[0].detach(), w, rtol=1e-3, atol=1e-3)


def lenet(seeds, steps=10, network="small"):
    return LeNet(seeds, steps, epochs=1, data="digits", network=network)


@pytest.mark.parametrize("made", [mlp, lenet])
def test_windows_of_sub_batches_slide_by_one_and_an_epoch_goes_through_all_pictures(made):
    task = made([4])
    part = task.members[0].part if made is mlp else task.orders[0].part
    size = BATCH // 3
    number = math.ceil(1198 / size)
    drawn = [part(k) for k in range(2 * number)]
    assert {len(one) for one in drawn} == {size, 1198 % size}
    for epoch in range(2):
        assert sorted(torch.cat(drawn[epoch * number : (epoch + 1) * number]).tolist()) == list(range(1198))
    assert not torch.equal(drawn[0], drawn[number])
    for step in (0, 5, number - 1):  # the window across an epoch's end too
        for place in range(3):
            assert torch.equal(task.part_losses(step, place), task.part_losses(step + place, 0))
    assert not torch.equal(task.part_losses(0, 0), task.part_losses(0, 1))


def test_a_sub_batchs_loss_is_that_of_the_module_and_a_step_takes_three():
    task = lenet([7])
    drawn = task.orders[0].part(4)
    network = task.module()
    for one, own in zip(network.parameters(), task.params, strict=True):
        one.data.copy_(own.detach()[0])
    torch.testing.assert_close(
        task.part_losses(3, 1)[0], nn.functional.cross_entropy(network(task.x[drawn]), task.t[drawn])
    )
    (row,) = run(lenet([7], 5), LeNet.methods["olmoq-mb-halving"])
    assert row["evaluations"] == {"losses": 0, "gradients": 15}


def test_a_task_without_sub_batches_refuses_methods_that_want_them():
    with pytest.raises(TypeError, match="slope has no sub-batches"):
        run(Slope([0], 3), Method("olmoq_mb"))


def test_digits_are_enlarged_to_28_by_28_and_other_pictures_stay():
    x, *_ = images("digits")
    large = enlarged(x)
    assert large.shape == (1198, 1, 28, 28)
    np.testing.assert_array_equal(large[5, 0, 2:26, 2:26], np.kron(x[5, 0], np.ones((3, 3))))
    torch.testing.assert_close(large.sum((1, 2, 3)), 9 * x.sum((1, 2, 3)))  # nothing in the border
    assert enlarged(large) is large


def test_as_many_pictures_are_taken_as_asked_for():
    few, whole = images("digits", 100), images("digits")
    assert [len(one) for one in few] == [100] * 4
    assert [len(one) for one in whole] == [1198, 1198, 599, 599]
    assert torch.equal(few[0], whole[0][:100])


def test_without_data_the_digits_are_taken_and_what_is_missing_is_named(tmp_path, monkeypatch):
    monkeypatch.setenv("QUASIROUTE_DATA", str(tmp_path))
    assert chosen_data({"data": AUTO, "network": "x"}) == {"data": "digits", "network": "x"}
    assert LeNet.chosen({}) == {"data": "digits", "network": "lenet5"}
    assert MLP.chosen({}) == {"data": "digits"}
    with pytest.raises(FileNotFoundError, match="make data"):
        LeNet.chosen({"data": "mnist"})
    with pytest.raises(ValueError, match="did you mean 'mnist'"):
        MLP.chosen({"data": "mnst"})
    with pytest.raises(ValueError, match="no network 'lenet'; did you mean 'lenet5'"):
        LeNet.chosen({"network": "lenet"})
    with pytest.raises(ValueError, match="mlp has no option 'network'"):
        MLP.chosen({"network": "lenet5"})


def test_dense_methods_refuse_lenet_and_move_the_small_network(tmp_path):
    asked = (LeNet, ["onaq", "omoq"], [0], tmp_path / "rows")
    size = Size(3, 1, {"epochs": 1})
    with pytest.raises(ValueError, match=r"61706.*max_numel"):
        carry_out(*asked, size=size, options=LENET)
    rows = carry_out(*asked, size=size, options=LENET | {"network": "small"})
    assert [row["evaluations"]["gradients"] for row in rows] == [6, 3]


def test_every_trial_starts_equally_whatever_the_method():
    first = [lenet([seed], network="lenet5") for seed in (0, 0, 1)]
    assert all(map(torch.equal, first[0].params, first[1].params))
    assert not torch.equal(first[0].params[0], first[2].params[0])
    assert torch.equal(first[0].losses(0, 0), first[1].losses(0, 1))


def row(method, accuracies, *, optimizer="olnaq", each=2, steps=20, **task):
    own = {"epochs": 2, "data": "mnist"} | task
    curve = {"step": [5, 10, 15, 20], "accuracy": accuracies}
    metrics = {"accuracy": accuracies[-1], "best_accuracy": max(filter(None, accuracies)), "loss": 0.1, "curve": curve}
    return {"method": method, "settings": {"optimizer": optimizer, "steps": steps, "task": own}, "step": steps,
            "metrics": metrics, "evaluations": {"gradients": each * steps}, "cpu_seconds": 2.0}  # fmt: skip


ROWS = [
    row("olnaq", [90.0, 95.0, 96.0, 97.5]),
    row("olnaq", [80.0, 96.0, 97.0, 98.0]),
    row("olnaq-plain", [70.0, 80.0, 90.0, 97.0]),
    row("olmoq", [90.0, 96.5, 91.0, 91.0], optimizer="olmoq", each=1),
    row("olmoq", [90.0, 95.0, 96.0, 96.0], optimizer="olmoq", each=1),
    row("olmoq-mb", [9.0, 9.0, 9.0, 9.0], optimizer="olmoq_mb", each=3),
    row("adam", [91.0, 94.0, 95.0, 96.5], optimizer="torch.adam", each=1),
]


def test_a_run_has_collapsed_if_it_fell_or_never_learnt():
    assert [collapsed(one) for one in ROWS] == [False, False, False, True, False, True, False]
    assert collapsed(row("olmoq", [97.0, 97.0, 97.0, None]))
    assert not collapsed(row("olmoq", [97.0, 97.0, 97.0, 97.0 - accuracy.FALLEN]))


def test_the_table_holds_ranges_collapses_and_published_numbers():
    lines = {line["method"]: line for line in accuracy_table(ROWS, {"olnaq": "97.3"})}
    assert list(lines) == ["olnaq", "olnaq-plain", "olmoq", "olmoq-mb", "adam"]
    best = lines["olnaq"]
    assert (best["last"], best["lowest"], best["highest"], best["published"]) == (97.75, 97.5, 98.0, "97.3")
    assert (best["collapsed"], lines["olmoq"]["collapsed"], lines["adam"]["published"]) == ("0/2", "1/2", "-")
    assert [line["gradients"] for line in lines.values()] == [40, 40, 20, 20, 20], "three thirds are one batch"


def test_published_numbers_stand_beside_runs_of_the_published_size_alone():
    settings = {"epochs": 10, "data": "mnist"}
    assert MLP.table([row("olnaq", [1, 2, 3, 97.0], **settings)])[0]["published"] == "97.9"
    assert MLP.table([row("olnaq", [1, 2, 3, 97.0], **settings | {"epochs": 2})])[0]["published"] == "-"
    published = settings | {"network": "notebook"}
    assert LeNet.table([row("olnaq", [1, 2, 3, 97.0], **published)])[0]["published"] == "97.3"
    assert LeNet.table([row("olnaq", [1, 2, 3, 97.0], **published | {"network": "lenet5"})])[0]["published"] == "-"


def test_findings_follow_from_the_rows():
    said = said_of(ROWS, goal=97.5)
    assert said[0].startswith(
        "At equal steps `olnaq` ends at the highest mean test accuracy, 97.75 %, the best Adam `adam` at 96.50"
    )
    # 20 gradients are 10 steps of olnaq: 95.5 on average there
    assert said[1].startswith("At 20 gradients of a batch,")
    assert said[1].endswith("`adam` is best with 96.50 %, the best Adam at 96.50 %.")
    assert said[2] == "Collapsed runs: `olmoq` 1/2, `olmoq-mb` 1/1."
    assert said[3].endswith("`olnaq` +0.75.")
    assert said[4] == "Runs that end at 97.5 % or above, with 95 % intervals: 2 of 2 (34 to 100 %) `olnaq`."
    assert said_of([ROWS[5]], goal=97.5)[-1].endswith("none.")


def test_pictures_are_one_a_group_and_one_of_normalised_directions(tmp_path):
    rows = [*ROWS, row("olnaq", [1.0, 2.0, 3.0, 4.0], data="fashion-mnist")]
    names = [path.name for path in draw_accuracies(rows, tmp_path, "mlp")]
    assert names == ["mlp-mnist-2-error.png", "mlp-mnist-2-normalisation.png", "mlp-fashion-mnist-2-error.png"]
    ended = row("olmoq-plain", [9.0, 9.0, 9.0, 9.0])
    ended["metrics"]["curve"] = {"step": [], "accuracy": []}
    assert len(draw_accuracies([*ROWS, ended], tmp_path, "mlp")) == 2, "also of a run that ended before it was measured"


@pytest.mark.parametrize("label", ["olnaq-falling", "olmoq-falling", "osr1n"])
def test_second_order_methods_learn_the_digits(label):
    (found,) = run(lenet([100], 60), LeNet.methods[label])
    assert found["metrics"]["loss"] < 1.5
    assert found["metrics"]["accuracy"] > 50
    assert found["metrics"]["curve"]["step"] == [30, 60]
