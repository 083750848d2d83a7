"""Full-batch races on classification: networks and starts are the published ones, and costs are what was called."""

import re
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional

from benchmarks.bases import full_batch
from benchmarks.bases.full_batch import said_of, summary, when
from benchmarks.harness.experiment import Size, carry_out
from benchmarks.harness.race import DIFFERENTIATE, Method, run
from benchmarks.tasks.sampled_mnist import SampledMnist
from benchmarks.tasks.toy_classification import ToyClassification, first_weights, waves
from optimizers.second_order.slsr1 import SLSR1

SIZES = {"small": [2] * 7, "medium": [2, 2, 4, 8, 8, 4, 2], "large": [2, 2, 10, 20, 20, 10, 2]}
# losses before each step of the published run; see test_sampled
LOSSES = [0.7568820772, 0.6952455338, 0.6795686674, 0.6305025884, 0.6305025884, 0.6305025884, 0.5776401234]


def scores(flat, sizes, x):
    """Of the published network, in NumPy: weights W1, b1, ... with W (inputs, outputs)."""
    for layer, (inputs, outputs) in enumerate(pairwise(sizes)):
        weight, bias, flat = np.split(flat, [inputs * outputs, (inputs + 1) * outputs])
        x = x @ weight.reshape(inputs, outputs) + bias
        if layer < len(sizes) - 2:
            x = 1 / (1 + np.exp(-x))
    assert not flat.size
    return x


def test_the_points_are_two_sine_waves():
    x, t = (one.numpy() for one in waves())
    assert x.shape == (100, 2)
    at = np.arange(50) / 50
    np.testing.assert_allclose(x[:50], np.stack([at, np.sin(8 * at) + 0.8], 1), atol=1e-14)
    np.testing.assert_allclose(x[50:], np.stack([at, np.sin(8 * at) - 0.8], 1), atol=1e-14)
    assert t.tolist() == [1] * 50 + [0] * 50


@pytest.mark.parametrize(("name", "weights"), [("small", 36), ("medium", 176), ("large", 908)])
def test_networks_have_the_published_weights_and_compute_what_they_should(name, weights):
    task = ToyClassification([5], 1, name)
    assert sum(one.numel() for one in task.params) == weights
    x, t = waves()
    flat = np.random.RandomState(5).randn(weights)
    found = torch.from_numpy(scores(flat, SIZES[name], x.numpy()))
    torch.testing.assert_close(task.outputs(x)[0], found)
    torch.testing.assert_close(task.losses(0, 0)[0], functional.cross_entropy(found, t))


def test_the_sampled_method_repeats_the_published_run_on_the_task():
    task = ToyClassification([67], 1, "small")
    # where the published order has each entry of our parameters
    numbers, order = torch.arange(36), []
    for one in first_weights(67, SIZES["small"]):
        part, numbers = numbers.split([one.numel(), len(numbers) - one.numel()])
        order.append(part.view(2, 2).T.flatten() if one.ndim == 2 else part)
    order, draws = torch.cat(order), np.random.RandomState(67)

    class Fed(SLSR1):
        def directions(self, w):
            return torch.from_numpy(draws.randn(36, 10).T.copy())[None, :, order]

    optimizer = Fed(task.params, m=10, member_dims=1)
    for loss in LOSSES:
        assert task.losses(0, 0).item() == pytest.approx(loss, rel=1e-6)
        optimizer.step(lambda backward=True: task.losses(0, 0))


def test_losses_stay_on_their_graph_for_the_optimizers_that_say_so():
    lines = (Path(__file__).parent.parent / "docs" / "optimizers.md").read_text().splitlines()
    rows = [[cell.strip() for cell in line.split("|")] for line in lines if re.match(r"\| `\w+` \|", line)]
    assert sorted(DIFFERENTIATE) == sorted(row[1].strip("`") for row in rows if "graph" in row[9])


@pytest.mark.parametrize("label", ToyClassification.methods)
def test_costs_are_calls_of_the_loss_and_products(label):
    (row,) = ToyClassification.run(label, [3], Size(6, 1), {"network": "small"})
    (again,) = run(ToyClassification([3], row["step"], "small"), ToyClassification.methods[label])
    assert row["metrics"]["loss"] == again["metrics"]["loss"], "the step that loads torch leaves no trace"
    curve, products = row["metrics"]["curve"], row["counters"].get("n_products", 0)
    assert curve["calls"][-1] == sum(row["evaluations"].values())
    sampled = {"S-LSR1": 10 * 6, "S-LBFGS": 10 * 5}  # S-LBFGS follows the gradient first
    assert products == sampled.get(label, 0)
    assert full_batch.costs(row)["evaluations"][-1] == pytest.approx(curve["calls"][-1] + products)
    assert curve["seconds"] == sorted(curve["seconds"])
    assert row["metrics"]["accuracy"] == curve["accuracy"][-1]


def test_the_curve_has_every_step_at_first_and_the_last_one():
    marks = sorted(ToyClassification([0], 1000).marks())
    assert marks[:20] == list(range(1, 21))
    assert marks[-1] == 1000
    assert all(b <= 1.08 * a + 2 for a, b in pairwise(marks[19:]))
    assert sorted(ToyClassification([0], 3).marks()) == [1, 2, 3]


def made(label, seed, accuracies, products=0):
    """A row whose accuracies follow one another at steps 10, 20, ...; two calls and a second a step."""
    steps = [10 * (k + 1) for k in range(len(accuracies))]
    curve = {"step": steps, "accuracy": accuracies, "loss": [1 / step for step in steps],
             "calls": [2 * step for step in steps], "seconds": [float(step) for step in steps]}  # fmt: skip
    metrics = {"loss": curve["loss"][-1], "accuracy": accuracies[-1], "curve": curve}
    return {"method": label, "seed": seed, "step": steps[-1], "metrics": metrics, "cpu_seconds": float(steps[-1]),
            "counters": {"n_products": products * steps[-1]}, "settings": {"task": {"network": "small"}}}  # fmt: skip


def test_what_reaching_the_goal_cost_is_read_at_its_first_point():
    row = made("S-LSR1", 0, [50.0, None, 100.0, 90.0], products=10)
    assert when(row, 100) == {"step": 30, "evaluations": 360, "seconds": 30.0}
    assert when(made("GD", 0, [50.0, 99.0]), 100) is None
    rows = [row, made("S-LSR1", 1, [100.0]), made("GD", 0, [50.0, 99.0]), made("GD", 1, [100.0])]
    sampled, first = summary(rows, 100)
    assert (sampled["reached 100 %"], sampled["steps"], sampled["evaluations"]) == ("2/2", 20, 190)
    assert (first["reached 100 %"], first["steps"]) == ("1/2", 10)


def test_findings_follow_from_rows():
    rows = [made("GD", seed, [50.0]) for seed in range(4)] + [made("L-SR1", seed, [100.0]) for seed in range(4)]
    rows += [made("S-LSR1", seed, [100.0]) for seed in range(4)]
    said = said_of(rows, 100)
    assert "`GD` 0 of 4 (0 to 49 %)" in said[0]
    assert "`L-SR1` by steps" in said[1]
    assert "sometimes miss the goal holds here: `GD` in 4 of 4" in said[2]
    assert "holds here: `S-LSR1` takes 1.0 times" in said[3]
    assert "does not hold" in said_of([made("GD", 0, [100.0])], 100)[-1]
    for row in rows[-4:]:
        row["cpu_seconds"] *= 3
    assert "does not hold here: `S-LSR1` takes 3.0 times" in said_of(rows, 100)[3]


def test_the_surest_methods_are_those_of_the_largest_share_of_their_trials():
    """Not those of the most trials: one has fewer."""
    rows = [made("GD", seed, [100.0 if seed < 4 else 50.0]) for seed in range(8)]
    rows += [made("L-SR1", seed, [50.0, 100.0]) for seed in range(3)]
    assert "of their trials (`L-SR1`) the cheapest: `L-SR1` by steps (median 20)" in said_of(rows, 100)[1]
    rows += [made("S-LSR1", seed, [100.0]) for seed in range(2)]
    assert "(`L-SR1`, `S-LSR1`) the cheapest: `S-LSR1` by steps (median 10)" in said_of(rows, 100)[1]
    assert not any("cheapest" in one for one in said_of([made("GD", 0, [50.0])], 100))


def test_equal_rows_give_equal_pictures_one_a_network(tmp_path):
    rows = [made(label, seed, [50.0, 90.0, 100.0]) for label in ("GD", "S-LSR1") for seed in range(2)]
    (path,) = ToyClassification.draw(rows, tmp_path)
    before = path.read_bytes()
    assert path.name == "toy-classification-small.png"
    assert ToyClassification.draw(rows, tmp_path)[0].read_bytes() == before
    rows[-1]["metrics"]["curve"]["accuracy"] = [10.0, 20.0, 30.0]
    assert ToyClassification.draw(rows, tmp_path)[0].read_bytes() != before


def test_unknown_networks_and_data_sets_are_refused(tmp_path):
    with pytest.raises(ValueError, match="no network 'smal'; did you mean 'small'"):
        carry_out(ToyClassification, ["GD"], [0], tmp_path / "rows", size=Size(1, 1), options={"network": "smal"})
    with pytest.raises(ValueError, match="no data set 'mnst'"):
        carry_out(SampledMnist, ["GD"], [0], tmp_path / "rows", size=Size(1, 1), options={"data": "mnst"})


def test_the_digits_are_read_whole_by_the_network_of_one_hidden_layer():
    pytest.importorskip("sklearn")
    task = SampledMnist([1], 2, "digits", 150)
    assert sum(one.numel() for one in task.params) == 1510
    assert task.x.shape == (150, 64)
    weight, bias, out_weight, out_bias = (one.detach()[0] for one in task.params)
    found = torch.sigmoid(task.x @ weight.T + bias) @ out_weight.T + out_bias
    for step in (0, 1):
        torch.testing.assert_close(task.losses(step, 0)[0], functional.cross_entropy(found, task.t))
    (row,) = run(task, Method("slbfgs", {"m": 3}))
    assert row["metrics"]["loss"] < functional.cross_entropy(found, task.t)
    assert row["counters"]["n_products"] == 3
