"""Learned optimizers and tuned ones meet the same unseen problems, and what is said follows from the rows."""

import json

import pytest
import torch
from torch import nn
from torch.nn import functional

from agents import records
from benchmarks.harness.experiment import Size, carry_out
from benchmarks.meta import outside
from benchmarks.meta.comparison import losses, reduction
from benchmarks.meta.outside import OUTSIDE, digits
from benchmarks.meta.problems import FAMILIES, HELD_OUT, classifier, draw, generator_of, quadratic
from benchmarks.tasks import learned
from benchmarks.tasks.learned import RATES, LearnedOptimizers, best_rates, report, trained_on
from optimizers.learned.l2l import L2L

SIZE = Size(4, 2, {"problems": 3})


@pytest.fixture
def few(monkeypatch):
    """An experiment with two families and three rates."""
    monkeypatch.setattr(learned, "PROBLEMS", {"quadratic": quadratic, "classifier_relu": OUTSIDE["classifier_relu"]})
    monkeypatch.setattr(learned, "RATES", (1e-3, 1e-2, 1e-1))


def test_no_learned_optimizer_was_trained_on_what_is_called_outside():
    assert trained_on("l2l") == ("quadratic", "classifier")
    assert set(trained_on("hierarchical")) == set(FAMILIES)
    assert trained_on("adam") == ()
    assert not set(OUTSIDE) & set(FAMILIES)
    starts = [draw(one, 2, generator_of(0, HELD_OUT)).start for one in FAMILIES.values()]
    for family in OUTSIDE.values():
        problems = draw(family, 2, generator_of(0, HELD_OUT))
        assert sum(problems.sizes) == problems.start.shape[1]
        assert torch.isfinite(problems.loss(problems.start)).all()
    assert len(starts) == len(FAMILIES)


@pytest.mark.parametrize("name", ["digits_tanh", "digits_relu"])
def test_problems_of_digits_are_networks_of_torch(name):
    generator = generator_of(0, HELD_OUT + 3)
    problems = draw(OUTSIDE[name], 16, generator)
    assert problems.sizes == [64 * 16, 16, 160, 10]
    x, t = outside._pictures()
    again = generator_of(0, HELD_OUT + 3)
    drawn = [torch.randperm(len(x), generator=again)[:256] for _ in range(2)]
    for member in range(2):
        network = nn.Sequential(nn.Linear(64, 16), nn.Tanh() if name == "digits_tanh" else nn.ReLU(), nn.Linear(16, 10))
        w1, b1, w2, b2 = problems.start[member].split(problems.sizes)
        for own, value in zip(network.parameters(), (w1.reshape(64, 16).T, b1, w2.reshape(16, 10).T, b2), strict=True):
            own.data.copy_(value)
        loss = functional.cross_entropy(network(x[drawn[member]]), t[drawn[member]])
        assert problems.loss(problems.start)[member].item() == pytest.approx(loss.item(), rel=1e-5)
    assert len(draw(digits, 4, generator).start) == 1


def test_activations_are_those_that_are_asked_for():
    one, other = (classifier(3, generator_of(0, 1), activation=act) for act in (torch.tanh, torch.relu))
    assert torch.equal(one.start, other.start)
    assert not torch.equal(one.loss(one.start), other.loss(one.start))
    squashed = classifier(3, generator_of(0, 1), activation=torch.zeros_like)
    assert squashed.loss(squashed.start).tolist() == pytest.approx([0.6931472] * 3)  # no hidden unit, two classes


def test_losses_are_those_of_plain_descent():
    generator = generator_of(0, HELD_OUT + 5)
    w, y = (torch.randn(4, 10, size, generator=generator) for size in (10, 1))
    theta = torch.randn(4, 10, generator=generator)
    found = losses(lambda params: torch.optim.SGD(params, lr=1e-3), quadratic, members=4, steps=6, seed=0, number=5)
    for step in range(7):
        rest = w @ theta.unsqueeze(-1) - y
        torch.testing.assert_close(found[step], rest.square().sum((1, 2)))
        theta = theta - 1e-3 * 2 * (w.mT @ rest).squeeze(-1)
    torch.testing.assert_close(reduction(found, 3), (found[3] / found[0]).log10())


def test_rates_are_the_best_of_each_length_on_a_draw_of_their_own(few):
    def make(rate):
        return lambda params: torch.optim.Adam(params, lr=rate)

    rates = (1e-3, 3e-2, 1.0)
    found = best_rates(make, quadratic, rates, [2, 10], problems=8)
    for steps, rate in found.items():
        ends = {one: reduction(losses(make(one), quadratic, members=8, steps=steps, seed=0, number=1000)).mean()
                for one in rates}  # fmt: skip
        assert rate == min(ends, key=ends.get)
    assert all(seed < learned.TUNED_ON for size in LearnedOptimizers.sizes.values() for seed in range(size.trials))


def test_rows_hold_what_each_method_reaches_on_the_same_problems(few, tmp_path):
    rows = carry_out(LearnedOptimizers, LearnedOptimizers.labels(), range(2), tmp_path / "rows", size=SIZE)
    assert [(row["method"], row["seed"]) for row in rows][:3] == [("l2l", 0), ("l2l", 1), ("hierarchical", 0)]
    for seed in range(2):
        run = losses(lambda params: L2L(params, member_dims=1), quadratic, members=3, steps=20, seed=0, number=seed)
        told = rows[seed]["metrics"]["families"]["quadratic"]
        assert told["log10"]["4"] == pytest.approx(reduction(run, 4).tolist(), abs=6e-4)
        assert told["log10"]["20"] == pytest.approx(reduction(run).tolist(), abs=6e-4)
        assert told["curve"]["log10"][-1] == pytest.approx(float(reduction(run).mean()), abs=6e-4)
        assert told["lr"] == {"4": None, "20": None}
    for row in rows:
        if row["method"] in ("adam", "rmsprop", "sgd"):
            kind = {"adam": torch.optim.Adam, "rmsprop": torch.optim.RMSprop, "sgd": torch.optim.SGD}[row["method"]]
            for steps in (4, 20):
                told = row["metrics"]["families"]["quadratic"]
                rate = told["lr"][str(steps)]
                run = losses(lambda params, kind=kind, rate=rate: kind(params, lr=rate), quadratic, members=3,
                             steps=steps, seed=0, number=row["seed"])  # fmt: skip
                assert told["log10"][str(steps)] == pytest.approx(reduction(run).tolist(), abs=6e-4)
    lines = LearnedOptimizers.table(rows)
    assert [line["trained on it"] for line in lines] == ["l2l, hierarchical", "-"]


def test_methods_have_rates_of_their_own_or_none():
    of = {label: LearnedOptimizers.settings(label, SIZE, {}) for label in LearnedOptimizers.labels()}
    assert [label for label in of if of[label]["rates"]] == ["adam", "rmsprop", "sgd"]
    assert RATES[0] == 1e-4
    assert RATES[-1] == 10
    assert len(RATES) == 11
    assert of["adam-untuned"]["options"] == {"lr": 1e-3}
    with pytest.raises(ValueError, match="did you mean 'hierarchical'"):
        LearnedOptimizers.check("hierarchial")


def made(method, values, trained=()):
    """A row with values of one family, the same after both lengths."""
    told = {"lr": {"4": 0.1, "20": 0.1}, "log10": {"4": values, "20": values},
            "curve": {"step": [0, 4, 20], "log10": [0.0, -0.1, -0.2]}}  # fmt: skip
    families = dict.fromkeys(report.SHOWN, told)
    return records.row(task="", method=method, settings={"steps": [4, 20], "trained_on": list(trained)}, seed=0,
                       metrics={"families": families})  # fmt: skip


def test_what_is_found_follows_from_the_rows():
    base = made("adam", [-1.0, -2.0, -3.0, -2.0])
    better = made("l2l", [-1.2, -2.3, -3.1, -2.1], ["quadratic"])
    said = LearnedOptimizers.findings([better, base])
    assert "after 4 steps: below on 1 of 1 families of its training, above on 0" in said[0]
    assert "below on 5 of 5 other families, above on 0" in said[1]
    worse = made("l2l", [-0.5, -1.0, 3.5, -0.8], ["quadratic"])
    said = LearnedOptimizers.findings([worse, base])
    assert "below on 0 of 1 families of its training, above on 1 (quadratic by 2.30)" in said[0]
    assert "at a higher loss than it began with on quadratic;" in said[0]
    assert "`adam` -2.00 (-2.00 to -2.00), `l2l` 0.30" in said[-1]
    mixed = made("l2l", [-1.2, -1.8, -3.1, -1.95], ["quadratic"])
    assert "below on 0 of 1 families of its training, above on 0" in LearnedOptimizers.findings([mixed, base])[0]
    other = made("adam", [-1.0]) | {"seed": 1}
    with pytest.raises(ValueError, match="l2l and adam have no problem of quadratic in common"):
        LearnedOptimizers.findings([better, other])


def test_equal_rows_give_equal_pictures(tmp_path):
    rows = [made("l2l", [-1.2, -2.3], ["quadratic"]), made("adam", [-1.0, -2.0])]
    paths = LearnedOptimizers.draw(rows, tmp_path)
    assert [path.name for path in paths] == ["learned-differences.png", "learned-curves.png"]
    before = [path.read_bytes() for path in paths]
    LearnedOptimizers.draw(json.loads(json.dumps(rows)), tmp_path)
    assert [path.read_bytes() for path in paths] == before
    LearnedOptimizers.draw([made("l2l", [1.2, 2.3], ["quadratic"]), rows[1]], tmp_path)
    assert paths[0].read_bytes() != before[0]
