"""Recurrent networks are what their formulas say, and races on sequences count steps and gradients."""

import json
import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from agents import records
from benchmarks.bases.recurrent_networks import Recurrent
from benchmarks.bases.sequence_race import METHODS, at_limit, per_step
from benchmarks.datasets import available, load, load_text
from benchmarks.harness.experiment import Size, carry_out
from benchmarks.task_tuning import RESULTS
from benchmarks.tasks.characters import Characters, examples
from benchmarks.tasks.pixel_sequences import PixelSequences, as_sequences

TINY = {"hidden": 5, "length": 6, "measured": 9}
PIXELS = {"side": 8, "measured": 30}


def by_formula(network, x, kind, layers):
    """All scores (batch, time, outputs) of a network, a time step and a layer at a time."""
    weights = dict(network.named_parameters())
    for layer in range(layers):
        w, u, b, c = (weights[f"cells.{name}_l{layer}"] for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"))
        h = cell = torch.zeros(len(x), u.shape[1], dtype=x.dtype)
        found = []
        for t in range(x.shape[1]):
            raw = x[:, t] @ w.T + b + h @ u.T + c
            if kind == "tanh":
                h = torch.tanh(raw)
            else:
                i, f, g, o = raw.split(u.shape[1], 1)
                cell = torch.sigmoid(f) * cell + torch.sigmoid(i) * torch.tanh(g)
                h = torch.sigmoid(o) * torch.tanh(cell)
            found.append(h)
        x = torch.stack(found, 1)
    return x @ weights["readout.weight"].T + weights["readout.bias"]


@pytest.mark.parametrize(("kind", "layers"), [("tanh", 1), ("tanh", 5), ("lstm", 2)])
@pytest.mark.parametrize("every_step", [True, False])
def test_networks_are_what_their_formulas_say(kind, layers, every_step):
    torch.manual_seed(0)
    network = Recurrent(3, 4, layers, 6, kind, every_step).double()
    x = torch.randn(2, 7, 3, dtype=torch.float64)
    expected = by_formula(network, x, kind, layers)
    torch.testing.assert_close(network(x), expected if every_step else expected[:, -1])


def test_symbols_are_read_as_one_number_each():
    torch.manual_seed(1)
    network = Recurrent(0, 4, 2, 6, "lstm", every_step=True)
    x = torch.randint(6, (2, 5))
    torch.testing.assert_close(network(x), by_formula(network, torch.eye(6)[x], "lstm", 2))


@pytest.mark.parametrize("kind", ["tanh", "lstm"])
def test_a_text_is_written_from_the_state_after_all_that_is_before(kind):
    torch.manual_seed(2)
    network, start = Recurrent(0, 8, 2, 6, kind, every_step=True), torch.tensor([1, 4, 2])
    written = network.write(start, 12, torch.Generator().manual_seed(3)).tolist()
    generator, text = torch.Generator().manual_seed(3), start.tolist()
    for _ in range(12):
        chances = network(torch.tensor([text]))[0, -1].detach().softmax(-1)
        text.append(int(torch.multinomial(chances, 1, generator=generator)))
    assert written == text[3:]
    with torch.no_grad():
        network.readout.bias[3] += 100
    assert network.write(start, 4, generator).tolist() == [3] * 4


@pytest.mark.parametrize(("network", "kind", "layers"), [("", "tanh", 1), ("rnn5", "tanh", 5), ("lstm2", "lstm", 2)])
def test_losses_and_gradients_of_a_task_are_those_of_a_module_by_the_formulas(network, kind, layers):
    pixels = not network
    task = (PixelSequences([4], 10, **PIXELS, sequence="pixels", data="digits") if pixels
            else Characters([4], 10, **TINY, network=network))  # fmt: skip
    torch.manual_seed(4)
    network = task.module()
    for name, own in zip(task.names, task.params, strict=True):
        torch.testing.assert_close(own.detach()[0], network.get_parameter(name).detach(), rtol=0, atol=0)
    loss = task.losses(2, 0)
    loss.sum().backward()
    drawn = task.orders[0].batch(2)
    x = task.x[drawn] if pixels else functional.one_hot(task.x[drawn], len(task.text.alphabet)).float()
    scores = by_formula(network, x, kind, layers)
    alone = functional.cross_entropy(scores[:, -1] if pixels else scores.movedim(-1, 1), task.t[drawn])
    alone.backward()
    torch.testing.assert_close(loss[0], alone)
    for name, own in zip(task.names, task.params, strict=True):
        torch.testing.assert_close(own.grad[0], network.get_parameter(name).grad, rtol=1e-4, atol=1e-7)


def test_pictures_are_read_from_top_to_bottom_and_averaged_over_squares():
    x = torch.rand(5, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    assert torch.equal(as_sequences(x, "rows", 14)[:, 3], x[:, 0, 3])
    assert torch.equal(as_sequences(x, "pixels", 28)[:, 28 * 3 + 7, 0], x[:, 0, 3, 7])
    small = as_sequences(x, "pixels", 14)
    assert small.shape == (5, 196, 1)
    blocks = x.numpy().reshape(5, 14, 2, 14, 2).mean((2, 4))
    np.testing.assert_allclose(small.numpy().reshape(5, 14, 14), blocks, atol=1e-6)


def test_every_character_of_an_example_is_followed_by_its_target():
    text = torch.arange(23)
    x, t = examples(text, 5)
    assert x.shape == (4, 5)
    assert torch.equal(t, x + 1)
    assert torch.equal(x.flatten(), text[:20])


def test_bits_are_those_of_guessing_and_of_counting():
    task = Characters([0], 1, **TINY, network="rnn5")
    with torch.no_grad():
        for one in task.params:
            one.zero_()
    bits = math.log2(len(task.text.alphabet))
    measured = task.measure()
    assert measured["bits"].item() == pytest.approx(bits)
    assert measured["test_bits"].item() == pytest.approx(bits)
    text = load_text("python-topics").test[1 : 1 + 9 * 6]  # what is to be told
    counts = torch.bincount(text, minlength=len(task.text.alphabet)).double() + 1
    chances = counts / counts.sum()
    with torch.no_grad():
        task.params[task.names.index("readout.bias")][0] = chances.log().float()
    assert task.measure()["test_bits"].item() == pytest.approx(float(-chances.log2()[text].mean()), rel=1e-5)
    written = task.notes()[0]
    assert written["written"].startswith("The ")
    assert len(written["written"]) == 164


def test_accuracy_counts_test_pictures_that_are_named_rightly():
    task = PixelSequences([0], 1, **PIXELS, sequence="rows", data="digits")
    with torch.no_grad():
        for one in task.params:
            one.zero_()
        task.params[task.names.index("readout.bias")][0, 7] = 1
    assert task.measure()["accuracy"].item() == pytest.approx(
        100 * float((load("digits").test_t[:30] == 7).double().mean())
    )


def test_auto_is_the_data_that_is_there_and_unknown_values_are_refused():
    assert PixelSequences.chosen({})["data"] == ("mnist" if available("mnist") else "digits")
    assert PixelSequences.chosen({"data": "digits"}) == {"sequence": "rows", "data": "digits"}
    with pytest.raises(ValueError, match="sequence = 'row' is none of rows, pixels; did you mean 'rows'"):
        PixelSequences.chosen({"sequence": "row"})
    with pytest.raises(ValueError, match="data = 'mnst' is none of auto, mnist, digits; did you mean 'mnist'"):
        PixelSequences.chosen({"data": "mnst"})
    with pytest.raises(ValueError, match="network = 'lstm' is none of rnn5, lstm2; did you mean 'lstm2'"):
        Characters.chosen({"network": "lstm"})


def test_all_methods_end_after_the_same_number_of_gradients(tmp_path):
    rows = carry_out(Characters, list(METHODS), [0], tmp_path / "rows", size=Size(10, 1, TINY))
    assert {row["method"]: row["step"] for row in rows} == {"asnaq": 10, "adaqn": 20, "adagrad": 20, "adam": 20}
    assert {row["evaluations"]["gradients"] for row in rows} == {20}
    assert [per_step(row) for row in rows] == [2, 1, 1, 1]
    for row in rows:
        assert row["settings"]["options"]["lr"] == Characters.rates["rnn5"].get(
            row["method"], METHODS[row["method"]].options["lr"]
        )
        assert 10 in row["metrics"]["curve"]["step"]
        assert row["metrics"]["written"].startswith("The ")
    lines = Characters.table(rows)
    assert [line["method"] for line in lines] == list(METHODS)
    for line, row in zip(lines, rows, strict=True):
        assert line["loss at 10 steps"] == row["metrics"]["curve"]["loss"][row["metrics"]["curve"]["step"].index(10)]
        assert line["loss at 20 gradients"] == row["metrics"]["loss"]
        assert line["bits a character of test text then"] == row["metrics"]["test_bits"]


@pytest.mark.parametrize(
    ("kind", "size", "options"),
    [(PixelSequences, Size(2, 1, PIXELS), {"data": "digits", "sequence": value}) for value in ("rows", "pixels")]
    + [(Characters, Size(2, 1, TINY), {"network": value}) for value in ("rnn5", "lstm2")],
)
def test_rates_of_the_rows_are_those_of_the_choice(kind, size, options, tmp_path):
    (row,) = carry_out(kind, ["adam"], [0], tmp_path / "rows", size=size, options=options)
    assert row["settings"]["options"] == {
        "lr": kind.rates[options[kind.choice]].get("adam", METHODS["adam"].options["lr"])
    }
    (other,) = carry_out(kind, ["torch.sgd"], [0], tmp_path / "rows", size=size, options=options)
    assert other["settings"]["options"] == {}


def searched(kind, value):
    """Trials of the search for rates of one value of the choice."""
    rows = records.read_rows(RESULTS / f"{kind.name}.jsonl")
    return [row for row in rows if row["settings"]["of"]["task"][kind.choice] == value]


@pytest.mark.parametrize(
    ("kind", "value"), [(kind, value) for kind in (PixelSequences, Characters) for value in kind.rates]
)
def test_rates_are_the_best_of_one_search_with_one_budget_on_other_seeds(kind, value):
    rows, budgets = searched(kind, value), set()
    if not rows:
        assert not kind.rates[value], "rates that no rows speak for"
        pytest.skip("the rates of this choice have not been searched")
    for label in METHODS:
        mine = [row for row in rows if row["method"] == label and row["metrics"]["score"] is not None]
        best = min(mine, key=lambda row: row["metrics"]["score"])
        assert kind.rates[value][label] == best["settings"]["lr"], label
        rates = sorted({row["settings"]["lr"] for row in rows if row["method"] == label})
        assert rates[0] < best["settings"]["lr"] < rates[-1], f"{label}: the best rate lies at the search's edge"
        budgets.add((len(rates), tuple(mine[0]["settings"]["seeds"])))
        size = kind.sizes["full"]
        assert all(seed >= 1000 > size.trials for row in mine for seed in row["settings"]["seeds"])
    assert len(budgets) == 1


def made(method, steps, gradients, losses, **other):
    """A row with losses at half its steps and at its last."""
    curve = {"step": [steps // 2, steps], "loss": losses, "accuracy": [50.0, 60.0]}
    settings = {"options": {"lr": 0.1}, "steps": steps, "task": {"sequence": "rows", "data": "digits"}}
    return records.row(task="", method=method, settings=settings, seed=0, step=steps, metrics={"curve": curve},
                       evaluations={"gradients": gradients, "losses": 0}) | other  # fmt: skip


def test_what_is_found_follows_from_the_rows():
    ours, theirs = made("asnaq", 10, 20, [0.5, 0.3]), made("adam", 20, 20, [0.4, 0.2])
    assert at_limit(theirs, "loss", 9) is None
    assert at_limit(theirs, "loss", 15) == 0.4
    said = PixelSequences.findings([ours, theirs])
    assert "after 10 steps each: `asnaq` 0.300, `adam` 0.400; `asnaq` is lowest" in said[0]
    assert "At equal steps `asnaq` is below `adam` in 1 of 1 trials" in said[1]
    assert "after 20 gradients each: `adam` 0.200, `asnaq` 0.300; `adam` is lowest" in said[2]
    assert "At equal gradients `asnaq` is below `adam` in 0 of 1 trials" in said[3]
    lost = made("adam", 20, 20, [0.4, None])
    assert PixelSequences.table([ours, lost])[1]["loss at 20 gradients"] is None
    assert "`asnaq` is below `adam` in 1 of 1" in PixelSequences.findings([ours, lost])[3]


def test_equal_rows_give_equal_pictures_one_for_each_set_of_options(tmp_path):
    rows = [made("asnaq", 10, 20, [0.5, 0.3]), made("adam", 20, 20, [0.4, None])]
    (path,) = PixelSequences.draw(rows, tmp_path)
    assert path.name == "pixel-sequences-rows-digits.png"
    before = path.read_bytes()
    PixelSequences.draw(json.loads(json.dumps(rows)), tmp_path)
    assert path.read_bytes() == before
    other = made("adam", 20, 20, [0.9, 0.8])
    other["settings"]["task"]["sequence"] = "pixels"
    assert len(PixelSequences.draw([*rows, other], tmp_path)) == 2
    PixelSequences.draw([rows[0], made("adam", 20, 20, [0.9, 0.8])], tmp_path)
    assert path.read_bytes() != before


def test_first_weights_are_those_of_torch():
    task = PixelSequences([3, 8], 1, **PIXELS, sequence="rows", data="digits")
    torch.manual_seed(8)
    alone = nn.RNN(8, 100, batch_first=True)
    assert torch.equal(task.params[task.names.index("cells.weight_hh_l0")][1], alone.weight_hh_l0)
