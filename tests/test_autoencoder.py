"""Networks trained alone cost what their curves say; autoencoder and classifier are what they are said to be."""

import json
import math
import time

import pytest
import torch
from torch import nn
from torch.nn import functional

pytest.importorskip("sklearn")

from benchmarks.bases import lone_report
from benchmarks.harness.experiment import carry_out
from benchmarks.harness.race import Method, run
from benchmarks.tasks.autoencoder import SHOWN, Autoencoder
from benchmarks.tasks.trust_regions import TrustRegions

SMALL = {"data": "digits", "pictures": 120, "widths": [12, 4]}
SORTED = {"data": "digits", "pictures": 120, "widths": [8, 6]}


def as_torch(task, network):
    """The task's network with its weights, as torch's own layers."""
    for one, own in zip(network.parameters(), task.params, strict=True):
        one.data.copy_(own.detach()[0])
    return network


def decoder_and_encoder(inputs, hidden, code):
    layers = [nn.Linear(inputs, hidden), nn.Tanh(), nn.Linear(hidden, code), nn.Tanh()]
    layers += [nn.Linear(code, hidden), nn.Tanh(), nn.Linear(hidden, inputs), nn.Sigmoid()]
    return nn.Sequential(*layers)


def test_the_decoder_mirrors_the_encoder_and_the_loss_is_the_mean_square_error_of_all_pixels():
    task = Autoencoder([3], 5, **SMALL)
    network = as_torch(task, decoder_and_encoder(64, 12, 4))
    losses = task.losses(0, 0)
    losses.sum().backward()
    loss = functional.mse_loss(network(task.x), task.x)
    loss.backward()
    torch.testing.assert_close(losses, loss[None])
    for one, own in zip(network.parameters(), task.params, strict=True):
        torch.testing.assert_close(own.grad[0], one.grad)
    found = task.metrics()
    torch.testing.assert_close(found["loss"], loss.detach()[None])
    torch.testing.assert_close(found["test_loss"][0], functional.mse_loss(network(task.test_x), task.test_x).detach())


def test_the_classifier_is_a_perceptron_with_cross_entropy():
    task = TrustRegions([3], 5, **SORTED)
    layers = [nn.Linear(64, 8), nn.Tanh(), nn.Linear(8, 6), nn.Tanh(), nn.Linear(6, 10)]
    network = as_torch(task, nn.Sequential(*layers))
    torch.testing.assert_close(task.losses(0, 0)[0], functional.cross_entropy(network(task.x), task.t))
    right = network(task.test_x).argmax(1) == task.test_t
    assert task.metrics()["accuracy"].item() == pytest.approx(100 * right.double().mean().item())


def test_the_full_networks_have_about_as_many_weights_as_the_published_one():
    widths = Autoencoder.sizes["full"].scale["widths"]
    encoder = 784 * widths[0] + widths[0] + widths[0] * widths[1] + widths[1]
    decoder = widths[1] * widths[0] + widths[0] + widths[0] * 784 + 784
    task = Autoencoder([0], 1, data="digits", pictures=10, widths=widths)
    digits = 2 * 64 * widths[0] + 64  # of the layers that see pixels
    counted = sum(one.numel() for one in task.params) - digits + 2 * 784 * widths[0] + 784
    assert counted == encoder + decoder == 419_120


@pytest.mark.parametrize("own", [{}, {"batch": 50}])
def test_a_race_of_adam_is_a_plain_loop_of_torch(own):
    steps = 7
    task = Autoencoder([1], steps, **SMALL, **own)
    network = as_torch(task, decoder_and_encoder(64, 12, 4))
    orders = [torch.arange(120)[None] if not own else task.orders[0].batch(step)[None] for step in range(steps)]
    optimizer = torch.optim.Adam(network.parameters(), lr=0.01)
    for drawn in orders:
        x = task.x[drawn[0]]
        optimizer.zero_grad()
        functional.mse_loss(network(x), x).backward()
        optimizer.step()
    (row,) = run(task, Method("torch.adam", {"lr": 0.01}))
    expected = functional.mse_loss(network(task.x), task.x).item()
    assert row["metrics"]["loss"] == pytest.approx(expected, rel=1e-5)
    assert row["metrics"]["passes"] == pytest.approx(7 if not own else 7 / 3)
    assert row["step"] == 7


def test_products_of_the_hessian_count_as_evaluations_and_newton_cg_comes_down():
    task = Autoencoder([0], 6, **SMALL)
    start = task.metrics()["loss"].item()
    (row,) = run(task, Method("newton_cg"))
    counted = row["counters"]["n_products"] + sum(row["evaluations"].values())
    assert row["metrics"]["passes"] == counted > 12
    assert row["metrics"]["loss"] < start
    passes = row["metrics"]["curve"]["passes"]
    assert passes == sorted(passes)


@pytest.mark.parametrize("label", ["arclsr1", "lsr1"])
def test_methods_that_keep_their_last_gradient_take_one_a_step(label):
    (row,) = run(TrustRegions([0], 10, **SORTED), TrustRegions.methods[label])
    assert row["evaluations"] == {"losses": 0, "gradients": 11}
    assert row["metrics"]["passes"] == 11


def test_seconds_leave_out_what_measuring_takes(monkeypatch):
    def slow(self):
        begun = time.process_time()
        while time.process_time() - begun < 0.2:
            pass
        return {"loss": torch.zeros(1)}

    monkeypatch.setattr(Autoencoder, "metrics", slow)
    monkeypatch.setattr(Autoencoder, "notes", lambda self: [{}])
    (row,) = run(Autoencoder([0], 3, **SMALL), Method("torch.sgd"))
    assert row["cpu_seconds"] > 0.6
    assert 0 < row["metrics"]["seconds"] < 0.2
    assert row["metrics"]["curve"]["seconds"] == sorted(row["metrics"]["curve"]["seconds"])


def test_methods_of_a_trial_start_equally_and_batches_depend_on_the_seed_alone():
    whole, some = Autoencoder([2], 5, **SMALL), Autoencoder([2], 50, **SMALL, batch=50)
    other = Autoencoder([4], 50, **SMALL, batch=50)
    assert all(map(torch.equal, whole.params, some.params))
    assert sorted(torch.cat([some.orders[0].batch(step) for step in range(3)]).tolist()) == list(range(120))
    assert not torch.equal(some.orders[0].batch(0), other.orders[0].batch(0))
    assert torch.equal(whole.orders[0].batch(4), torch.arange(120))


def test_batches_are_part_of_a_methods_settings_and_not_of_its_task():
    size, options = Autoencoder.sizes["default"], {"data": "digits"}
    plain, mini = (Autoencoder.settings(label, size, options) for label in ("adam", "adam-mini"))
    assert "own" not in plain
    assert mini["own"] == {"batch": 100}
    assert mini["steps"] == 10 * plain["steps"]
    assert plain["task"] == mini["task"]


def test_colour_pictures_and_unknown_data_sets_are_refused():
    with pytest.raises(ValueError, match="did you mean 'digits'"):
        Autoencoder.chosen({"data": "digit"})
    with pytest.raises(ValueError, match="'cifar10' is none of auto, mnist"):
        Autoencoder.chosen({"data": "cifar10"})
    with pytest.raises(ValueError, match="did you mean 'mnist'"):
        TrustRegions.chosen({"data": "mnst"})
    assert Autoencoder.chosen({})["data"] in ("mnist", "fashion-mnist", "digits")


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    path = tmp_path_factory.mktemp("rows") / "rows"
    size = Autoencoder.sizes["fast"]
    return carry_out(Autoencoder, ["arclsr1", "adam", "adam-mini"], [0, 1], path, size=size, options={"data": "digits"})


def test_the_row_of_seed_0_keeps_reconstructions_a_digit_a_pixel(rows):
    kept = [row["metrics"] for row in rows if "reconstructions" in row["metrics"]]
    assert [row["seed"] for row in rows if "reconstructions" in row["metrics"]] == [0, 0, 0]
    originals = Autoencoder([0], 1, **SMALL).test_x[:SHOWN]
    for one in kept:
        texts = torch.tensor([[int(digit, 16) for digit in text] for text in one["originals"]])
        assert (texts / 15 - originals).abs().max() <= 0.5 / 15 + 1e-6
        assert [len(text) for text in one["reconstructions"]] == [64] * SHOWN


def test_pictures_come_from_rows_alone_and_are_small_and_equal(rows, tmp_path):
    again = json.loads(json.dumps(rows))
    first, second = (Autoencoder.draw(some, tmp_path / name) for some, name in ((rows, "a"), (again, "b"))
                     if (tmp_path / name).mkdir() is None)  # fmt: skip
    assert [one.name for one in first] == [f"autoencoder-{what}.png" for what in ("responses", "times", "pictures")]
    for one, other in zip(first, second, strict=True):
        assert one.read_bytes() == other.read_bytes()
        assert one.stat().st_size < 100_000


def test_a_table_has_a_line_a_method_and_sentences_come_from_rows(rows):
    table = Autoencoder.table(rows)
    assert [line["method"] for line in table] == ["arclsr1", "adam", "adam-mini"]
    assert [line["steps"] for line in table] == [12, 12, 120]
    text = " ".join(Autoencoder.findings(rows))
    assert "`adam`" in text
    assert "`newton_cg`" not in text


def made(method, seed, steps, passes, seconds, losses, end=None):
    curve = {"step": steps, "passes": passes, "seconds": seconds, "loss": losses}
    metrics = {"loss": losses[-1], "passes": passes[-1], "seconds": seconds[-1], "curve": curve}
    return {"method": method, "seed": seed, "step": steps[-1], "metrics": metrics, "settings": {}}


CURVATURE = [made("newton", seed, [1, 2, 3], [4, 8, 12], [1.0, 2.0, 3.0], [0.5, 0.2, 0.05]) for seed in (0, 1)]
CHEAP = [made("sgd", seed, [1, 4, 8], [1, 4, 8], [0.1, 0.4, 0.8], [0.9, 0.4, 0.3]) for seed in (0, 1)]


def test_metrics_at_equal_costs_are_those_of_the_last_point_that_was_paid():
    rows = CURVATURE + CHEAP
    assert lone_report.budget(rows, "step") == 3
    assert lone_report.budget(rows, "passes") == 8
    assert lone_report.budget(rows, "seconds") == 0.8
    assert lone_report.at(CURVATURE[0], "loss", "passes", 11.9) == 0.2
    assert lone_report.at(CURVATURE[0], "loss", "seconds", 0.8) == math.inf
    assert lone_report.means_at(rows, "loss", "step", 3) == {"newton": 0.05, "sgd": 0.9}
    assert lone_report.means_at(rows, "loss", "passes", 8) == {"newton": 0.2, "sgd": 0.3}


def test_who_wins_depends_on_the_cost_and_sentences_say_so():
    rows = CURVATURE + CHEAP
    steps, seconds = (
        lone_report.said_at(rows, "loss", "loss", cost, ("newton", "sgd")) for cost in ("step", "seconds")
    )
    assert steps == "At 3 steps `newton` has the least mean loss, 0.05; `sgd` 0.9 (place 2 of 2)."
    assert seconds.startswith("At 0.8 processor seconds `sgd` has the least mean loss, 0.3; `newton` inf")
    assert "ahead of `sgd` in 2 of 2 trials" in lone_report.wins(rows, "newton", "sgd", "loss", "passes")
    assert "ahead of `sgd` in 0 of 2 trials" in lone_report.wins(rows, "newton", "sgd", "loss", "seconds")
    assert "ahead of `sgd` in 2 of 2 trials" in lone_report.wins(rows, "newton", "sgd", "loss", "seconds", most=True)
    assert lone_report.wins(rows, "newton", "adam", "loss", "steps") is None


def test_variants_have_the_colour_of_their_method_and_a_line_of_their_own():
    looks = lone_report.looks_of([{"method": label} for label in ("arclsr1", "adam", "arclsr1-mini", "arclsr1-newest",
                                                                   "sgd-mini")])  # fmt: skip
    assert looks["arclsr1-mini"] == {**looks["arclsr1"], "linestyle": "--"}
    assert looks["arclsr1-newest"] == {**looks["arclsr1"], "linestyle": ":"}
    assert looks["sgd-mini"]["color"] not in (looks["arclsr1"]["color"], looks["adam"]["color"])
