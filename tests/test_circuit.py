"""Networks that size op-amps: their data, their errors, what they propose, and paired tests of the order of methods."""

import math
import shutil

import numpy as np
import pytest
import torch
from marks import needs_ngspice
from scipy.stats import wilcoxon
from torch import nn

from agents import records
from benchmarks.circuits.opamp import BEHAVIOUR, SIZES, shipped, simulate
from benchmarks.harness import gallery
from benchmarks.harness.experiment import Size
from benchmarks.harness.race import run
from benchmarks.reporting.paired import compare, holm
from benchmarks.tasks import circuit
from benchmarks.tasks.circuit import ORDER, PUBLISHED, Circuit
from benchmarks.tasks.circuit.designs import TRAIN, enough, scaled_designs
from benchmarks.tasks.opamp_proposals import MARGINS, OpampProposals, asked, looked_up, measured, requests


def test_training_designs_fill_the_scale_and_sizes_come_back_from_it():
    designs = shipped()
    for scale in ("logarithms", "lengths"):
        known = scaled_designs(scale)
        assert (len(known.x), len(known.t)) == (1500, 1500)
        for one in (known.x[:TRAIN], known.t[:TRAIN]):
            torch.testing.assert_close(one.amin(0), -torch.ones(one.shape[1], dtype=torch.float64))
            torch.testing.assert_close(one.amax(0), torch.ones(one.shape[1], dtype=torch.float64))
        for name, values in known.sizes(known.t[:TRAIN].mT).items():
            np.testing.assert_allclose(values, designs[name][:TRAIN], rtol=1e-12)
    x = np.interp(designs["gain"], [designs["gain"][:TRAIN].min(), designs["gain"][:TRAIN].max()], [-1, 1])
    np.testing.assert_allclose(scaled_designs().x[:TRAIN, 0].numpy(), x[:TRAIN], atol=1e-12)
    u = np.log(designs["ugb"])
    bandwidth = 2 * (u - u[:TRAIN].min()) / np.ptp(u[:TRAIN]) - 1
    np.testing.assert_allclose(scaled_designs().x[:, 1].numpy(), bandwidth, atol=1e-12)
    with pytest.raises(ValueError, match="did you mean 'lengths'"):
        scaled_designs("length")


def test_lengths_are_never_negative():
    far = torch.full((len(SIZES), 3), -9.0, dtype=torch.float64)
    for scale in ("logarithms", "lengths"):
        assert all((one > 0).all() for one in scaled_designs(scale).sizes(far).values())


def test_a_member_is_a_network_of_torch_with_226_weights():
    task = Circuit([3, 8])
    x, t = scaled_designs().x[:TRAIN], scaled_designs().t[:TRAIN]
    losses = task.losses(0, 0)
    losses.sum().backward()
    for member in range(2):
        network = nn.Sequential(nn.Linear(4, 20), nn.Sigmoid(), nn.Linear(20, 6)).double()
        for own, one in zip(task.params, network.parameters(), strict=True):
            one.data.copy_(own.detach()[member].reshape(one.shape))
        assert sum(one.numel() for one in network.parameters()) == 226
        loss = nn.functional.mse_loss(network(x), t) / 2
        loss.backward()
        torch.testing.assert_close(losses[member], loss)
        own = torch.cat([one.grad[member].flatten() for one in task.params])
        torch.testing.assert_close(own, torch.cat([one.grad.flatten() for one in network.parameters()]))
        test_loss = nn.functional.mse_loss(network(scaled_designs().x[TRAIN:]), scaled_designs().t[TRAIN:]) / 2
        torch.testing.assert_close(task.measure()["test_loss"][member], test_loss.detach())
        assert 0.4 < max(one.abs().max() for one in network.parameters()) <= 0.5


def test_trials_start_alike_whatever_their_company():
    many, one = Circuit([0, 1, 2]), Circuit([2])
    for stacked, alone in zip(many.params, one.params, strict=True):
        assert torch.equal(stacked[2], alone[0])
        assert not torch.equal(stacked[0], stacked[1])


@pytest.mark.parametrize("label", ["adam", "bfgs", "mnaq-0.9", "amnaq-inf"])
def test_a_population_does_what_its_trials_do_alone(label):
    method = Circuit.methods[label]
    together = run(Circuit(range(3), 10), method)
    (alone,) = run(Circuit([2], 10), method)
    np.testing.assert_allclose(
        together[2]["metrics"]["curve"]["loss"], alone["metrics"]["curve"]["loss"], rtol=1e-6, err_msg=label
    )
    assert alone["metrics"]["curve"]["step"] == [1, 2, 4, 6, 8, 10]


def test_a_trial_converges_at_a_quarter_of_the_error_of_constants():
    t = scaled_designs().t[:TRAIN].numpy()
    constants = 0.5 * ((t - t.mean(0)) ** 2).mean()
    assert enough() == pytest.approx(constants / 4, rel=1e-12)


def made(label, seed, losses, steps=6):
    """A row of a trial that was measured every second epoch."""
    metrics = {"loss": losses[-1], "test_loss": losses[-1]}
    metrics["curve"] = {"step": list(range(2, steps + 1, 2)), "loss": losses, "test_loss": losses}
    return records.row(task="circuit", method=label, settings={"steps": steps}, seed=seed, metrics=metrics,
                       evaluations={"gradients": 7})  # fmt: skip


def test_the_table_counts_trials_that_converge_and_their_epochs():
    good, bad = 0.9 * enough(), 1.1 * enough()
    rows = [made("bfgs", 0, [bad, good, good]), made("bfgs", 1, [bad, None, bad]), made("other", 0, [good, bad, bad])]
    first, second = Circuit.table(rows)
    assert (first["CR %"], first["epochs"], first["published epochs"]) == ("50.0", 5, 200)
    assert first["E x 1000"] == f"{1000 * enough():.3g} / {900 * enough():.3g} / {1100 * enough():.3g}"
    assert first["published"] == "11.35 / 11.29 / 11.46"
    assert (second["CR %"], second["epochs"], second["published"]) == ("100.0", 2, "-")


def test_findings_say_of_each_published_pair_what_the_trials_say():
    rng = np.random.default_rng(0)
    means = {"bfgs": 2.0, "adam": 3.0, "adagrad": 1.0, "sgd": 1.0, "mnaq-0.8": 1.0, "mnaq-0.8-inf": 1.0}
    rows = [made(label, k, [mean + rng.normal(0, 0.1)]) for label, mean in means.items() for k in range(12)]
    level, order = Circuit.findings(rows)
    assert f"{1000 * enough():.1f}" in level
    for said in ("`mnaq-0.8` < `bfgs`", "`bfgs` < `adam`", "`adam` > `adagrad`", "`adagrad` = `sgd`"):
        assert said in order
    assert set(sum(ORDER, ())) == set(PUBLISHED)


def test_paired_tests_are_those_of_scipy_and_are_corrected():
    rng = np.random.default_rng(1)
    results = {name: dict(enumerate(rng.normal(k / 4, 1, 20))) for k, name in enumerate("abc")}
    pairs = [("a", "b"), ("a", "c"), ("b", "c")]
    plain = compare(results, pairs, correct=False)
    for one in plain:
        first, second = ([results[name][k] for k in range(20)] for name in (one.first, one.second))
        assert one.p == pytest.approx(wilcoxon(first, second).pvalue)
        assert one.difference == pytest.approx(np.median(np.subtract(first, second)))
    assert [one.p for one in compare(results, pairs)] == pytest.approx(holm([one.p for one in plain]))
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.5, 0.9, 0.001]) == pytest.approx([1, 1, 0.003])


def test_paired_tests_use_common_trials_and_count_lost_ones_as_worst():
    results = {"a": {0: 1.0, 1: 2.0, 2: 3.0, 9: 0.0}, "b": {0: math.inf, 1: 2.5, 2: 3.25}, "c": {5: 1.0}}
    (found,) = compare(results, [("a", "b")])
    assert found.p == pytest.approx(wilcoxon([-9.0, -0.5, -0.25]).pvalue)
    assert found.difference == -0.5
    (same,) = compare(results, [("b", "b")])
    assert (same.p, same.difference) == (1.0, 0.0)
    with pytest.raises(ValueError, match="share 0 trials"):
        compare(results, [("a", "c")])


def test_requests_are_designs_not_trained_on_that_barely_exceed_the_specification():
    wanted = requests()
    assert {len(one) for one in wanted.values()} == {50}
    designs = shipped()
    trained = set(designs["gain"][:TRAIN])
    assert not trained & set(wanted["gain"])
    assert wanted["gain"].min() > 50
    assert wanted["ugb"].min() > 1
    assert wanted["pm"].min() > 60
    for name, values in asked(wanted).items():
        known = designs[name][:TRAIN]
        assert known.min() <= values.min() <= values.max() <= known.max()
        factor, more = MARGINS[name]
        np.testing.assert_allclose(values, factor * wanted[name] + more)
        assert ((values < wanted[name]) if name == "power" else (values > wanted[name])).all()
    over = np.min([(wanted["gain"] - 50) / 2, (wanted["ugb"] - 1) / 0.1, (wanted["pm"] - 60) / 4], axis=0)
    assert (np.diff(over) >= 0).all()
    rest = [k for k in range(TRAIN, 1500) if designs["gain"][k] not in wanted["gain"] and designs["pm"][k] > 60]
    assert over.max() < np.median([(designs["pm"][k] - 60) / 4 for k in rest])


def test_a_look_up_meets_a_request_wherever_a_training_design_does():
    wanted, designs = requests(), shipped()
    proposed = looked_up("look-up", wanted)
    for k in range(50):
        fits = np.flatnonzero(
            np.all([designs[name][:TRAIN] >= wanted[name][k] for name in BEHAVIOUR[:3]], axis=0)
            & (designs["power"][:TRAIN] <= wanted["power"][k])
        )
        (place,) = np.flatnonzero(
            (designs["w1"][:TRAIN] == proposed["w1"][k]) & (designs["cc"][:TRAIN] == proposed["cc"][k])
        )
        assert place in fits or not len(fits)
    scaled = scaled_designs().scaled(asked(wanted)).numpy()
    nearest = looked_up("nearest", wanted)
    for k in range(0, 50, 7):
        place = int(((scaled_designs().x[:TRAIN].numpy() - scaled[k]) ** 2).sum(1).argmin())
        assert nearest["w6"][k] == designs["w6"][place]


@needs_ngspice
def test_shares_are_those_of_proposals_that_are_as_good_as_requested():
    designs = shipped()
    places = np.flatnonzero((designs["pm"] > 62) & (designs["ugb"] > 1.2) & (designs["gain"] > 52))[:4]
    proposed = {name: designs[name][places].copy() for name in SIZES}
    wanted = {name: designs[name][places] * (1.001 if name == "power" else 0.999) for name in BEHAVIOUR}
    found = measured(wanted, proposed)
    assert [found[name] for name in ("working", "specification", "request", "request_but_power")] == [1, 1, 1, 1]
    wanted["power"] = wanted["power"] * [1, 1, 1, 0.9]
    wanted["pm"] = wanted["pm"] + [0, 0, 5, 0]
    found = measured(wanted, proposed)
    assert [found[name] for name in ("specification", "request", "request_but_power")] == [1, 0.5, 0.75]
    assert found["deviation"]["gain"] == pytest.approx(2, abs=0.1)  # what was asked is 2 dB above the request
    proposed["w6"][0] = 0.01  # cannot carry the current of M7
    found = measured(wanted, proposed)
    assert [found[name] for name in ("working", "specification")] == [0.75, 0.75]
    assert found["found"]["ugb"][0] is None


@needs_ngspice
def test_rows_of_proposals_hold_what_a_network_proposed_and_what_was_found():
    size, options = Size(4, 1), OpampProposals.chosen({})
    first, second = OpampProposals.run("bfgs", [0, 1], size, options)
    assert first["metrics"]["proposed"] != second["metrics"]["proposed"]
    (ended,) = run(Circuit([1], 4), Circuit.methods["bfgs"])
    assert set(second["metrics"]["proposed"]) == set(SIZES)
    assert second["settings"] == OpampProposals.settings("bfgs", size, options)
    assert ended["step"] == second["settings"]["steps"] == 4
    found = simulate({name: np.array(values) for name, values in second["metrics"]["proposed"].items()})
    for name in BEHAVIOUR:
        np.testing.assert_allclose(found[name], second["metrics"]["found"][name], rtol=1e-2, err_msg=name)
    lookups = OpampProposals.run("look-up", [0, 1], size, options)
    assert lookups[0]["metrics"] == lookups[1]["metrics"]


@needs_ngspice
def test_committed_proposals_are_what_the_simulator_finds():
    rows = [row for row in gallery.rows_of(OpampProposals) if row["seed"] == 3]
    assert rows
    for row in rows[:: len(rows) // 4]:
        proposed = {name: np.array(values) for name, values in row["metrics"]["proposed"].items()}
        found = simulate(proposed)
        for name in BEHAVIOUR:
            kept = np.array(row["metrics"]["found"][name], dtype=float)
            np.testing.assert_allclose(found[name], kept, rtol=1e-2, err_msg=f"{row['method']} {name}")


def test_proposals_need_ngspice_and_say_so(monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(FileNotFoundError, match="apt-get install ngspice"):
        OpampProposals.chosen({})
    with pytest.raises(ValueError, match="did you mean 'scale'"):
        OpampProposals.chosen({"scales": "lengths"})
    with pytest.raises(ValueError, match=r"did you mean 'mnaq-0\.9'"):
        OpampProposals.check("mnaq-0.99")
    OpampProposals.check("look-up")


def test_committed_rows_are_of_the_settings_in_the_code():
    rows = gallery.rows_of(Circuit)
    size = Circuit.sizes["full"]
    assert {row["method"] for row in rows} >= set(PUBLISHED)
    for label in Circuit.methods:
        mine = [row for row in rows if row["method"] == label]
        assert sorted(row["seed"] for row in mine) == list(range(30))
        assert all(row["settings"] == Circuit.settings(label, size, {}) for row in mine)
    (again,) = run(Circuit([7], circuit.EPOCHS), Circuit.methods["adagrad"])
    (kept,) = [row for row in rows if (row["method"], row["seed"]) == ("adagrad", 7)]
    assert again["metrics"]["loss"] == pytest.approx(kept["metrics"]["loss"], rel=1e-5)
