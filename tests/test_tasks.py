"""Tasks are what their formulas say, races are fair, and what has a row is not run again."""

import gzip
import json
import math
import re
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from agents import records
from benchmarks.harness import race
from benchmarks.harness.experiment import Size, carry_out, experiments, pick, read_rows
from benchmarks.harness.race import Method, run
from benchmarks.tasks import digits
from benchmarks.tasks.digits import Digits
from benchmarks.tasks.function_modelling import FunctionModelling, scaled_points
from scripts import benchmark

ROW = records.row(task="", method="", settings={}, seed=0, metrics={})


def test_the_modelled_function_is_the_published_one_on_the_scale_minus_one_to_one():
    x, t = (one.numpy() for one in scaled_points(400))
    raw = np.linspace(-4, 4, 400)
    y = 1 + (raw + 2 * raw**2) * np.sin(-(raw**2))
    np.testing.assert_allclose(x, np.interp(raw, [-4, 4], [-1, 1]), atol=1e-15)
    np.testing.assert_allclose(t, np.interp(y, [y.min(), y.max()], [-1, 1]), atol=1e-14)
    assert (t.min(), t.max()) == (-1, 1)


def test_test_points_are_on_the_scale_of_the_training_points():
    x, t = scaled_points(400)
    fine_x, fine_t = scaled_points(10_000)
    between = np.interp(x.numpy(), fine_x.numpy(), fine_t.numpy())
    np.testing.assert_allclose(between, t.numpy(), atol=1e-4)


def test_a_member_is_a_network_of_torch_with_22_weights():
    task = FunctionModelling([3, 8])
    x, t = scaled_points(400)
    losses = task.losses(0, 0)
    losses.sum().backward()
    for member in range(2):
        network = nn.Sequential(nn.Linear(1, 7), nn.Sigmoid(), nn.Linear(7, 1)).double()
        weights = [one.detach()[member] for one in task.params]
        for own, one in zip((weights[0], weights[1][:, 0], weights[2], weights[3][0]), (0, 1, 2, 3), strict=True):
            list(network.parameters())[one].data.copy_(own)
        assert sum(one.numel() for one in network.parameters()) == 22
        loss = nn.functional.mse_loss(network(x[:, None])[:, 0], t) / 2
        loss.backward()
        torch.testing.assert_close(losses[member], loss)
        own = torch.cat([one.grad[member].flatten() for one in task.params])
        torch.testing.assert_close(own, torch.cat([one.grad.flatten() for one in network.parameters()]))
        assert max(one.abs().max() for one in weights) <= 0.5


def digits_network(task, member):
    """A member as torch's own layers, with the member's weights."""
    layers = [nn.Linear(64, 20), nn.BatchNorm1d(20), nn.ReLU()]
    layers += [nn.Linear(20, 10), nn.BatchNorm1d(10), nn.ReLU(), nn.Linear(10, 10)]
    network = nn.Sequential(*layers).double()
    for one, own in zip(network.parameters(), task.params, strict=True):
        one.data.copy_(own.detach()[member].reshape(one.shape))
    return network


def test_a_digits_member_is_a_network_of_torch_with_batch_norm():
    task = Digits([0, 5])
    networks = [digits_network(task, member) for member in range(2)]
    for step in (0, 1, task.batches - 1):  # the last batch of an epoch is smaller
        losses = task.losses(step, 0)
        losses.sum().backward()
        for member, network in enumerate(networks):
            drawn = task.members[member].batch(step)
            network.zero_grad()
            loss = nn.functional.cross_entropy(network(task.x[drawn]), task.t[drawn])
            loss.backward()
            torch.testing.assert_close(losses[member], loss)
            for one, own in zip(network.parameters(), task.params, strict=True):
                torch.testing.assert_close(own.grad[member].reshape(one.shape), one.grad, atol=1e-12, rtol=1e-9)
        for one in task.params:
            one.grad = None
    right = task.measure()["accuracy"]
    for member, network in enumerate(networks):
        found = network.eval()(task.test_x).argmax(1) == task.test_t
        assert right[member].item() == pytest.approx(100 * found.double().mean().item())


def test_first_weights_of_digits_are_in_the_range_of_torchs_linear():
    task = Digits(range(20))
    for place, n_from in ((0, 64), (4, 20), (8, 10)):
        for one in task.params[place : place + 2]:
            assert 0.9 * n_from**-0.5 < one.abs().max().item() <= n_from**-0.5


def test_running_statistics_move_once_a_step_and_do_not_enter_the_loss():
    task = Digits([0])
    first = task.losses(0, 0)
    moved = [one.clone() for one in (*task.means, *task.variances)]
    assert any((one != fresh).any() for one, fresh in zip(moved, (0, 0, 1, 1), strict=True))
    again = task.losses(0, 1)
    assert torch.equal(first, again)
    assert all(map(torch.equal, moved, (*task.means, *task.variances)))


def test_pictures_are_split_in_order_and_every_epoch_is_a_permutation():
    x, t, test_x, test_t = digits.pictures()
    assert (len(x), len(t), len(test_x), len(test_t)) == (1198, 1198, 599, 599)
    assert (x.min(), x.max()) == (0, 1)
    task = Digits([4])
    epochs = []
    for epoch in range(2):
        steps = range(epoch * task.batches, (epoch + 1) * task.batches)
        epochs.append(torch.cat([task.members[0].batch(step) for step in steps]))
        assert sorted(epochs[-1].tolist()) == list(range(1198))
    assert not torch.equal(*epochs)
    assert torch.equal(Digits([4]).members[0].batch(task.batches), epochs[1][:64])


def test_without_scikit_learn_the_error_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    digits.pictures.cache_clear()
    with pytest.raises(ModuleNotFoundError, match=r"quasiroute\[data\]"):
        Digits([0])


@pytest.mark.parametrize("kind", [FunctionModelling, Digits])
def test_first_weights_and_batches_depend_on_the_seed_alone(kind):
    many, one = kind([0, 1, 2]), kind([2])
    for stacked, alone in zip(many.params, one.params, strict=True):
        assert torch.equal(stacked[2], alone[0])
        assert not torch.equal(stacked[0], stacked[1]) or stacked.detach().unique().numel() == 1
    torch.testing.assert_close(many.losses(0, 0)[2], one.losses(0, 0)[0])
    assert not math.isclose(many.losses(0, 1)[0].item(), many.losses(0, 1)[1].item())


@pytest.mark.parametrize(
    ("kind", "label", "members", "steps"),
    [(FunctionModelling, label, 15, 20) for label in FunctionModelling.methods]
    + [(Digits, label, 2, 4) for label in Digits.methods],
)
def test_a_population_does_what_its_trials_do_alone(kind, label, members, steps, monkeypatch):
    monkeypatch.setattr(kind, "marks", lambda self: {1, 2, 3, 4, 10, 20})
    method = kind.methods[label]
    together = run(kind(range(members), steps), method)
    for seed in (0, members - 1):
        (alone,) = run(kind([seed], steps), method)
        found, expected = (row["metrics"]["curve"] for row in (together[seed], alone))
        assert found["step"] == expected["step"] == [mark for mark in (1, 2, 3, 4, 10, 20) if mark <= steps]
        for metric in set(expected) - {"step"}:
            np.testing.assert_allclose(found[metric], expected[metric], rtol=1e-6, err_msg=metric)
        # a search goes on until every member has found its length
        assert together[seed]["evaluations"]["gradients"] >= alone["evaluations"]["gradients"] > 0


@pytest.mark.parametrize("label", ["adam", "adagrad", "bfgs", "mbfgs", "mnaq-0.95", "amnaq"])
def test_members_go_on_as_before_when_others_have_ended(label, monkeypatch):
    method = FunctionModelling.methods[label]
    monkeypatch.setattr(FunctionModelling, "methods", {label: method})
    norms = [row["metrics"]["gradient_norm"] for row in run(FunctionModelling(range(6), 12), method)]
    monkeypatch.setattr(FunctionModelling, "tolerance", sorted(norms)[2] * 1.0001)
    together = run(FunctionModelling(range(6), 30), method)
    ends = [(row["step"], row["metrics"]["end"]) for row in together]
    assert len(set(ends)) > 1  # some end earlier than others
    for seed, row in enumerate(together):
        (alone,) = run(FunctionModelling([seed], 30), method)
        assert (alone["step"], alone["metrics"]["end"]) == ends[seed]
        np.testing.assert_allclose(alone["metrics"]["loss"], row["metrics"]["loss"], rtol=1e-6)
        assert len(row["metrics"]["curve"]["loss"]) == len(alone["metrics"]["curve"]["loss"])


def test_every_method_of_a_trial_starts_equally(tmp_path, monkeypatch):
    monkeypatch.setitem(FunctionModelling.sizes, "fast", Size(3, 2))
    rows = carry_out(
        FunctionModelling,
        ["adam", "rmsprop", "torch.sgd"],
        range(2),
        tmp_path / "rows",
        size=FunctionModelling.sizes["fast"],
    )
    starts = FunctionModelling([0, 1]).losses(0, 0)
    first = torch.tensor([row["metrics"]["curve"]["loss"][0] for row in rows]).view(3, 2)
    assert first[0, 0] != first[1, 0]  # after one step methods differ, by little from where they started
    torch.testing.assert_close(first, starts.detach().float().expand(3, 2), atol=2e-2, rtol=0)


def test_a_row_has_the_fields_of_every_row_and_says_how_it_ended(tmp_path):
    path = tmp_path / "rows"
    (row,) = carry_out(Digits, ["adam"], [1], path, size=Digits.sizes["fast"])
    assert set(row) == set(ROW)
    assert (row["task"], row["method"], row["seed"], row["trial"]) == ("digits", "adam", 1, 1)
    steps = 2 * Digits.sizes["fast"].steps
    assert (row["step"], row["metrics"]["end"], row["settings"]["steps"]) == (steps, "limit", steps)
    assert row["evaluations"] == {"losses": 0, "gradients": steps}
    assert row["settings"]["options"] == Digits.methods["adam"].options
    assert row["metrics"]["curve"]["accuracy"][-1] == row["metrics"]["accuracy"] <= row["metrics"]["best_accuracy"]
    assert records.read_rows(path) == [json.loads(json.dumps(row))]


def test_what_has_a_row_is_not_run_again(tmp_path):
    path = tmp_path / "rows"
    carry_out(Digits, ["adam"], [0, 2], path, size=Digits.sizes["fast"])
    before = path.read_text()
    rows = carry_out(Digits, ["adam"], [0, 1, 2], path, size=Digits.sizes["fast"])
    assert path.read_text().startswith(before)
    assert [row["seed"] for row in records.read_rows(path)] == [0, 2, 1]
    assert [row["seed"] for row in rows] == [0, 1, 2]
    again = carry_out(Digits, ["adam"], [0, 1, 2], path, size=Digits.sizes["fast"])
    assert [row["wall_seconds"] for row in again] == [row["wall_seconds"] for row in rows]


def test_rows_are_read_from_a_compressed_file_and_never_lost_beside_one(tmp_path):
    path, packed = tmp_path / "rows.jsonl", tmp_path / "rows.jsonl.gz"
    asked = (Digits, ["adam"])
    made = carry_out(*asked, [0], path, size=Size(2, 1))
    packed.write_bytes(gzip.compress(path.read_bytes()))
    with pytest.raises(ValueError, match=rf"two files, {re.escape(str(path))} and {re.escape(str(packed))}"):
        read_rows(path)
    path.unlink()
    assert read_rows(path) == json.loads(json.dumps(made))
    assert carry_out(*asked, [0], path, size=Size(2, 1)) == read_rows(path)
    with pytest.raises(ValueError, match=rf"1 units have no rows in .*: gunzip {re.escape(str(packed))}"):
        carry_out(*asked, [0, 1], path, size=Size(2, 1))
    assert not path.exists()
    packed.unlink()
    assert read_rows(path) == []


def test_another_length_or_setting_is_another_row(tmp_path, monkeypatch):
    path = tmp_path / "rows"
    carry_out(Digits, ["adam"], [0], path, size=Digits.sizes["fast"])
    monkeypatch.setitem(Digits.methods, "adam", Method("torch.adam", {"lr": 2e-3}, length=2))
    carry_out(Digits, ["adam"], [0], path, size=Digits.sizes["fast"])
    monkeypatch.setitem(Digits.sizes, "fast", Size(19, 2))
    carry_out(Digits, ["adam"], [0], path, size=Digits.sizes["fast"])
    found = [(row["settings"]["options"]["lr"], row["settings"]["steps"]) for row in records.read_rows(path)]
    assert found == [(1e-3, 76), (2e-3, 76), (2e-3, 38)]


def test_trials_end_where_the_gradient_is_small_and_where_nothing_moves():
    method = Method("torch.sgd", {"lr": 0.0})
    (still,) = run(FunctionModelling([0], 1000), method)
    assert (still["step"], still["metrics"]["end"]) == (100, "stalled")
    task = FunctionModelling([0, 1], 1000)
    task.params[2].data[1] = 0  # a network whose output does not depend on x ...
    task.params[3].data[1] = scaled_points(400)[1].mean()  # ... and is the targets' mean
    task.params[0].data[1] = 0
    task.params[1].data[1] = -800  # hidden units are off, so that nothing but the output's bias has a gradient
    _, flat = run(task, method)
    assert (flat["step"], flat["metrics"]["end"]) == (1, "converged")
    assert flat["metrics"]["gradient_norm"] <= 1e-6


class Returning(torch.optim.SGD):
    """Goes away and comes back at every fifth step, as methods do that are reset to an anchor."""

    def step(self, closure):
        loss = closure()
        for group in self.param_groups:
            for one in group["params"]:
                state = self.state[one]
                state["k"] = state.get("k", 0) + 1
                home = state.setdefault("home", one.detach().clone())
                one.data.copy_(home if state["k"] % 5 == 0 else home + state["k"] % 5)
        return loss


def test_who_is_at_one_place_every_hundred_steps_but_moves_between_has_not_stalled(monkeypatch):
    monkeypatch.setattr(race.optimizers, "pick", lambda name: Returning)
    monkeypatch.setattr(race.optimizers, "make", lambda name, params, **options: Returning(params))
    (row,) = run(FunctionModelling([0], 250), Method("torch.sgd"))
    assert (row["step"], row["metrics"]["end"]) == (250, "limit")


def test_methods_that_are_not_for_populations_run_one_trial_at_a_time(tmp_path, monkeypatch):
    monkeypatch.setitem(Digits.sizes, "fast", Size(2, 2))
    rows = carry_out(Digits, ["torch.lbfgs"], [0, 1], tmp_path / "rows", size=Digits.sizes["fast"])
    assert [row["metrics"]["population"] for row in rows] == [1, 1]
    assert all(row["evaluations"]["gradients"] > row["step"] for row in rows)


def test_tasks_are_found_and_unknown_names_are_refused():
    assert {"digits", "function_modelling"} <= set(experiments())
    assert pick("function-modelling") is FunctionModelling
    assert pick("unit_tests").name == "unit-tests", "a folder"
    with pytest.raises(ValueError, match="did you mean 'digits'"):
        pick("digit")
    with pytest.raises(ValueError, match="did you mean 'adagrad'"):
        carry_out(FunctionModelling, ["adagrd"], [0], Path("unused"), size=FunctionModelling.sizes["fast"])


def test_a_file_that_does_not_begin_with_an_experiment_is_refused(monkeypatch):
    monkeypatch.setattr(digits, "__all__", ["pictures", "Digits"])
    with pytest.raises(TypeError, match="digits: the first name of __all__, pictures, is no Experiment"):
        pick("digits")


def test_the_command_prints_the_table_and_refuses_nonsense(tmp_path, monkeypatch, capsys):
    asked = ["benchmark", "digits", "--trials", "1", "--quiet", "--fast", "--file", str(tmp_path / "made" / "rows")]
    monkeypatch.setattr(sys, "argv", [*asked, "--optimizers", "adam,torch.sgd"])
    assert benchmark.main() == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()[3:5]] == ["adam", "torch.sgd"]
    assert len(records.read_rows(tmp_path / "made" / "rows")) == 2
    for wrong, said in (
        ("--full", "exclude"),
        ("--trials=0", "at least 1"),
        ("--optimizers=adm", "did you mean 'adam'"),
    ):
        monkeypatch.setattr(sys, "argv", [*asked, wrong])
        assert benchmark.main() == 2
        assert said in capsys.readouterr().err


def test_an_interrupted_race_keeps_whole_methods_and_says_how_to_go_on(tmp_path, monkeypatch, capsys):
    path, measure = tmp_path / "rows", FunctionModelling.measure
    monkeypatch.setitem(FunctionModelling.sizes, "fast", Size(5, 2))
    asked = ["benchmark", "function_modelling", "--trials", "2", "--quiet", "--fast", "--file", str(path)]
    monkeypatch.setattr(sys, "argv", [*asked, "--optimizers", "adam", "rmsprop"])

    def stopped(self):
        if path.exists():  # the second method
            raise KeyboardInterrupt
        return measure(self)

    with monkeypatch.context() as patch:
        patch.setattr(FunctionModelling, "measure", stopped)
        assert benchmark.main() == 130
    assert "the same command goes on" in capsys.readouterr().err
    before = path.read_text()
    assert [row["method"] for row in records.read_rows(path)] == ["adam", "adam"]
    assert benchmark.main() == 0
    assert path.read_text().startswith(before)
    assert [row["method"] for row in records.read_rows(path)] == ["adam", "adam", "rmsprop", "rmsprop"]


def test_units_on_two_processes_give_the_rows_of_one(tmp_path, monkeypatch):
    asked = (["adam", "rmsprop", "torch.lbfgs"], range(2))
    size = Size(7, 2)
    alone = carry_out(Digits, *asked, tmp_path / "alone", size=size)
    together = carry_out(Digits, *asked, tmp_path / "together", size=size, processes=2)
    assert sorted(records.read_rows(tmp_path / "together"), key=str) == sorted(together, key=str)
    for one, other in zip(alone, together, strict=True):
        for name in ("method", "seed", "step", "settings", "metrics", "evaluations"):
            assert one[name] == other[name], name


def test_sizes_and_options_are_part_of_a_row_and_unknown_options_are_refused(tmp_path):
    asked = (Digits, ["adam"], [0], tmp_path / "rows")
    (short,) = carry_out(*asked, size=Size(2, 1))
    assert "task" not in short["settings"]
    with pytest.raises(ValueError, match="digits has no option 'dat'"):
        carry_out(*asked, size=Size(2, 1), options={"dat": 1})
    with pytest.raises(ValueError, match="engine 'rya' is none of local, ray"):
        carry_out(*asked, size=Size(2, 1), engine="rya")
    with pytest.raises(ValueError, match="processes must be at least 1"):
        carry_out(*asked, size=Size(2, 1), processes=0)
    assert str(Size(1000, 3, {"pictures": 60})) == "3 trials of 1,000 steps, pictures 60"


@pytest.mark.parametrize("name", experiments())
def test_every_experiment_has_three_sizes_and_methods_it_accepts(name):
    kind = pick(name)
    assert list(kind.sizes) == ["fast", "default", "full"]
    assert kind.sizes["fast"].trials <= kind.sizes["default"].trials <= kind.sizes["full"].trials
    assert kind.name.replace("-", "_") == name
    assert kind.title
    assert kind.labels()
    for label in kind.labels():
        kind.check(label)
    with pytest.raises(ValueError, match="no such method"):
        kind.check("no such method")
