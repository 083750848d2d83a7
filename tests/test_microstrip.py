"""The low-pass filter against two-port algebra and closed forms by hand; its points, rows and pictures."""

import gzip
import importlib.util
import math
import sys

import numpy as np
import pytest
import torch
from torch import nn

from agents import records
from benchmarks.circuits import microstrip
from benchmarks.circuits.microstrip import FREQUENCIES, LENGTHS, LINES, STUBS, shipped, simulate
from benchmarks.harness.experiment import Size, carry_out
from benchmarks.harness.race import run
from benchmarks.makers import microstrip as maker
from benchmarks.tasks import microstrip as task_module
from benchmarks.tasks.microstrip import PUBLISHED, TEST, TRAIN, Microstrip, points

needs_rf = pytest.mark.skipif(importlib.util.find_spec("skrf") is None, reason="needs the extra rf: scikit-rf")

LIGHT = 299.792458  # mm GHz


def hammerstad(width):
    """Impedance and effective permittivity of a thin line without dispersion, closed forms of 1975."""
    ratio, permittivity = width / 0.813, 3.55
    spread = (1 + 12 / ratio) ** -0.5 + (0.04 * (1 - ratio) ** 2 if ratio < 1 else 0)
    effective = (permittivity + 1) / 2 + (permittivity - 1) / 2 * spread
    if ratio < 1:
        free = 60 * math.log(8 / ratio + ratio / 4)
    else:
        free = 120 * math.pi / (ratio + 1.393 + 0.667 * math.log(ratio + 1.444))
    return free / math.sqrt(effective), effective


def by_closed_forms(width, frequencies):
    """Impedance and propagation constant per mm of a line without losses."""
    impedance, effective = hammerstad(width)
    return impedance + 0j * frequencies, 2j * math.pi * frequencies * math.sqrt(effective) / LIGHT


def cascade(length, frequencies, line_of):
    """|S11| and |S21| of the filter by chain matrices; line_of(width, frequencies) gives impedance and constant."""

    def series(width, along):
        impedance, gamma = line_of(width, frequencies)
        cosh, sinh = np.cosh(gamma * along), np.sinh(gamma * along)
        return np.array([[cosh, impedance * sinh], [sinh / impedance, cosh]]).transpose(2, 0, 1)

    def shunt(width):
        impedance, gamma = line_of(width, frequencies)
        admittance = np.tanh(gamma * length) / impedance
        one = np.ones_like(admittance)
        return np.array([[one, 0 * one], [admittance, one]]).transpose(2, 0, 1)

    whole = series(1.8, 5.0)
    for place, width in enumerate((0.5, 2.0, 2.2, 2.0, 0.5)):
        whole = whole @ shunt(width)
        if place < 4:
            whole = whole @ series(0.4, (10.5, 12.0, 12.0, 10.5)[place])
    whole = whole @ series(1.8, 5.0)
    a, b, c, d = whole[:, 0, 0], whole[:, 0, 1] / 50, whole[:, 1, 0] * 50, whole[:, 1, 1]
    return np.abs(np.stack([a + b - c - d, np.full_like(a, 2)]) / (a + b + c + d))


@needs_rf
def test_responses_are_those_of_the_cascade_by_chain_matrices():
    import skrf
    from skrf.media import MLine

    def line_of(width, frequencies):
        band = skrf.Frequency.from_f(frequencies, unit="GHz")
        line = MLine(band, w=1e-3 * width, h=0.813e-3, t=35e-6, ep_r=3.55, tand=0.0021, f_epr_tand=2.5e9,
                     rho=1.72e-8, rough=2.8e-6)  # fmt: skip
        return line.z0_characteristic, 1e-3 * line.gamma

    frequencies = np.linspace(0.2, 4.4, 22)
    for length, found in zip((12, 17.5), simulate((12, 17.5), frequencies), strict=True):
        expected = cascade(length, frequencies, line_of)
        np.testing.assert_allclose(np.abs(found[:, :, 0]).T, expected, atol=1e-10)


@needs_rf
def test_the_filter_is_reciprocal_symmetric_and_passive():
    found = simulate(LENGTHS)
    assert found.shape == (9, 221, 2, 2)
    np.testing.assert_allclose(found, found.swapaxes(2, 3), atol=1e-12)
    np.testing.assert_allclose(found[..., 0, 0], found[..., 1, 1], atol=1e-12)
    power = (np.abs(found[..., 0]) ** 2).sum(-1)
    assert 0.5 < power.min() < power.max() < 1


@needs_rf
def test_the_shipped_file_is_what_the_maker_writes(tmp_path, monkeypatch, capsys):
    path = tmp_path / "made" / "again.csv.gz"
    monkeypatch.setattr(sys, "argv", ["maker", "--file", str(path)])
    assert maker.main() == 0
    assert "9 filters at 221 frequencies" in capsys.readouterr().out
    made, there = (gzip.decompress(one.read_bytes()).decode().splitlines() for one in (path, microstrip.FILE))
    assert made[0] == there[0] == "d_mm,f_ghz,s11,s21"
    np.testing.assert_allclose(*(np.loadtxt(one, delimiter=",", skiprows=1) for one in (made, there)), atol=1e-6)
    assert microstrip.FILE.stat().st_size < 30_000


def test_shipped_responses_are_near_those_of_closed_forms_without_losses_and_never_gain_power():
    assert (STUBS, LINES) == ((0.5, 2.0, 2.2, 2.0, 0.5), (10.5, 12.0, 12.0, 10.5))
    for length, found in shipped().items():
        assert found.shape == (2, 221)
        assert (found**2).sum(0).max() <= 1
        difference = np.abs(found - cascade(length, FREQUENCIES, by_closed_forms))
        assert difference.mean() < 0.04  # losses and dispersion, and edges that lie 2 % elsewhere
        assert difference[:, FREQUENCIES < 1].max() < 0.06


def test_stubs_of_a_quarter_wave_stop_most_and_longer_stubs_cut_off_earlier():
    edges = []
    for length, (reflected, passed) in shipped().items():
        quarters = [LIGHT / (4 * length * math.sqrt(hammerstad(width)[1])) for width in (2.2, 0.5)]
        assert 0.97 * quarters[0] < FREQUENCIES[passed.argmin()] < 1.03 * quarters[1]
        edge = np.argmax(passed < 2**-0.5)
        edges.append(FREQUENCIES[edge])
        band = slice(0, int(0.93 * edge))
        assert reflected[band].max() < 0.14  # 17 dB of return loss
        assert passed[: int(0.9 * edge)].min() > 0.92
    assert edges == sorted(edges, reverse=True)
    assert (edges[0], edges[-1]) == (pytest.approx(2.4, abs=0.05), pytest.approx(1.65, abs=0.05))


def test_training_points_fill_the_scale_and_test_points_lie_between():
    (x, t), (test_x, test_t) = points(TRAIN), points(TEST)
    assert (x.shape, t.shape, test_x.shape, test_t.shape) == ((2, 1105), (2, 1105), (2, 884), (2, 884))
    for one in (x, t):
        assert one.dtype is torch.float64
        assert one.min(1).values.tolist() == [-1, -1]
        torch.testing.assert_close(one.max(1).values, torch.ones(2, dtype=torch.float64))
    assert sorted(set(test_x[0].tolist())) == [-0.75, -0.25, 0.25, 0.75]
    train, test = (np.concatenate([shipped()[length] for length in lengths], 1) for lengths in (TRAIN, TEST))
    for own, scaled, known, found in zip(test, test_t.numpy(), train, t.numpy(), strict=True):
        np.testing.assert_allclose(np.interp(scaled, [-1, 1], [known.min(), known.max()]), own, atol=1e-3)
        np.testing.assert_allclose(found, np.interp(known, [known.min(), known.max()], [-1, 1]), atol=1e-12)
    # the third training length comes after two times 221 points
    assert (x[:, 442 + 110].numpy() == (0, np.interp(FREQUENCIES[110], (0.1, 4.5), (-1, 1)))).all()


def test_a_row_keeps_the_magnitudes_of_its_network_at_a_length_it_was_not_trained_on():
    assert 17 in TEST
    task = Microstrip([3, 5], 1)
    note = task.notes()[1]["response"]
    network = nn.Sequential(nn.Linear(2, 45), nn.Sigmoid(), nn.Linear(45, 2)).double()
    weights = [one.detach()[1].flatten() for one in task.params]
    assert sum(map(len, weights)) == 227
    nn.utils.vector_to_parameters(torch.cat(weights), network.parameters())
    x = np.stack([np.full(221, 0.25), np.interp(FREQUENCIES, (0.1, 4.5), (-1, 1))], 1)
    outputs = network(torch.from_numpy(x)).detach().numpy().T
    train = np.concatenate([shipped()[length] for length in TRAIN], 1)
    for name, output, known, simulated in zip(("s11", "s21"), outputs, train, shipped()[17], strict=True):
        expected = known.min() + (output + 1) / 2 * (known.max() - known.min())
        np.testing.assert_allclose(note[name], expected, atol=6e-5)
        np.testing.assert_allclose(note[f"simulated_{name}"], simulated, atol=6e-5)
    assert note["d_mm"] == 17
    np.testing.assert_allclose(note["f_ghz"], FREQUENCIES, atol=1e-9)


@pytest.mark.parametrize("label", ["rmsprop", "bfgs", "mbfgs", "mnaq-0.9"])
def test_a_population_does_what_its_trials_do_alone(label, monkeypatch):
    monkeypatch.setattr(Microstrip, "marks", lambda self: {1, 5, 10})
    method = Microstrip.methods[label]
    together = run(Microstrip([0, 1, 2], 10), method)
    for seed in (0, 2):
        (alone,) = run(Microstrip([seed], 10), method)
        for metric in ("loss", "test_loss"):
            found, expected = (row["metrics"]["curve"][metric] for row in (together[seed], alone))
            np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_the_error_falls_on_training_and_test_points():
    (row,) = run(Microstrip([0], 200), Microstrip.methods["bfgs"])
    curve = row["metrics"]["curve"]
    assert row["metrics"]["loss"] < 0.02 < 0.1 < curve["loss"][0]
    assert row["metrics"]["test_loss"] < 0.02
    assert curve["step"][-1] == 200
    assert curve["loss"][-1] == row["metrics"]["loss"]


def rows_of(**losses):
    """Rows of made-up losses, seeds from 0."""
    return [
        records.row(task="microstrip", method=label.replace("_", "-").replace("-0", "-0."), seed=seed, trial=seed,
                    settings={}, step=7, cpu_seconds=1.0,
                    metrics={"loss": loss, "test_loss": 0.002, "end": "limit"})
        for label, values in losses.items() for seed, loss in enumerate(values)
    ]  # fmt: skip


def test_the_table_stands_beside_the_published_one():
    line, other = Microstrip.table(rows_of(adam=[0.001, 0.002, 0.006], bfgs=[0.001, 0.001, 0.001]))
    assert line["E x 1000"] == "3 / 1 / 6"
    assert (line["published"], line["published steps"], line["steps"]) == ("4.63 / 3.67 / 5.6", 100_000, 7)
    low, high = map(float, line["95 % of mean"].split(" to "))
    assert 1 <= low < 3 < high <= 6
    assert (other["published"], other["published test"], other["published steps"]) == ("-", "-", None)
    assert set(PUBLISHED) == set(Microstrip.methods) - {"bfgs"}
    for mean, best, worst in (three for train, test, _ in PUBLISHED.values() for three in (train, test)):
        assert best <= mean <= worst


def test_findings_say_below_above_or_not_told_apart_from_pairs_of_trials():
    losses = {"mnaq_09": [0.001, 0.002, 0.003], "mbfgs": [0.002, 0.003, 0.004], "adam": [0.0005, 0.0015, 0.0025]}
    found = Microstrip.findings(rows_of(**losses, rmsprop=[0.002, 0.001, 0.003]))
    assert len(found) == 3
    below, same, above = found[0].split("; ")
    assert "`mnaq-0.9`" in below
    assert "below `mbfgs` (-1, -1 to -1)" in below
    assert same.startswith("not told apart from `rmsprop` (+0, ")
    assert above == "above `adam` (+0.5, +0.5 to +0.5)."
    assert found[1].startswith("The lowest mean E x 1000 is reached on the training points by `adam`, 1.5, and ")
    assert found[1].endswith("on the test points by `mnaq-0.9`, 2.")
    assert found[2].endswith("none.")


def test_findings_count_the_trials_that_are_wrong_between_the_lengths():
    found = Microstrip.findings(rows_of(adam=[0.00019, 0.0002, 0.0003], bfgs=[0.0001, 0.0001, 0.0002], mbfgs=[0.001]))
    assert found[-1].endswith("the lengths of the training: `adam` 1 of 3, `bfgs` 2 of 3.")


def test_a_trial_that_diverged_leaves_its_method_without_interval():
    rows = rows_of(mnaq_09=[0.001, 0.002], mbfgs=[0.002, None])
    line = Microstrip.table(rows)[1]
    assert (line["E x 1000"], line["95 % of mean"]) == ("inf / 2 / inf", "nan to nan")
    assert "not told apart from `mbfgs`" in Microstrip.findings(rows)[0]


def test_pictures_are_drawn_from_rows_alone_and_twice_the_same(tmp_path, monkeypatch):
    rows = carry_out(Microstrip, ["adam", "bfgs"], range(2), tmp_path / "rows", size=Size(12, 2))
    monkeypatch.setattr(task_module, "shipped", None)
    drawn = Microstrip.draw(rows, tmp_path)
    assert [path.name for path in drawn] == ["microstrip-curves.png", "microstrip-response.png"]
    before = [path.read_bytes() for path in drawn]
    assert [path.read_bytes() for path in Microstrip.draw(rows, tmp_path)] == before
    rows[-1]["metrics"]["response"]["s21"][50] = 0.5
    rows[-1]["metrics"]["loss"] = 0.0
    again = [path.read_bytes() for path in Microstrip.draw(rows, tmp_path)]
    assert again[0] == before[0]
    assert again[1] != before[1]


def test_without_scikit_rf_or_data_the_error_names_the_extra_or_the_command(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "skrf", None)
    with pytest.raises(ModuleNotFoundError, match=r"quasiroute\[rf\]"):
        simulate([12])
    monkeypatch.setattr(sys, "argv", ["maker", "--file", str(tmp_path / "none")])
    assert maker.main() == 2
    assert "quasiroute[rf]" in capsys.readouterr().err
    monkeypatch.setattr(microstrip, "FILE", tmp_path / "gone.csv.gz")
    shipped.cache_clear()
    with pytest.raises(FileNotFoundError, match=r"python -m benchmarks\.makers\.microstrip"):
        shipped()
    shipped.cache_clear()
