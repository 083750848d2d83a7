"""The simulated op-amps against the square law and nodal analysis by hand; how they are drawn, kept and read."""

import gzip
import shutil
import sys

import numpy as np
import pytest
from marks import needs_ngspice
from scipy.optimize import fsolve

from benchmarks.circuits import opamp
from benchmarks.circuits.opamp import BEHAVIOUR, SIZES, meets, netlist, shipped, simulate, works
from benchmarks.makers import opamp as maker

DESIGN = {"w1": 4.0, "w3": 4.0, "w5": 5.0, "w6": 80.0, "w7": 50.0, "cc": 4.0}
OTHER = {"w1": 2.0, "w3": 1.5, "w5": 2.5, "w6": 50.0, "w7": 40.0, "cc": 2.0}
N = {"kp": 160e-6, "vt": 0.7, "lam": 0.1, "gamma": 0.45, "phi": 0.9, "overlap": 0.4e-9}
P = {"kp": 40e-6, "vt": 0.8, "lam": 0.2, "gamma": 0.4, "phi": 0.8, "overlap": 0.3e-9}
LENGTH, OXIDE, LOAD = 0.5e-6, 3.9 * 8.854214871e-12 / 9e-9, 10e-12


def stacked(*designs):
    return {name: np.array([one[name] for one in designs]) for name in SIZES}


class Transistor:
    """A level-1 transistor in saturation; voltages are counted as for the n kind."""

    def __init__(self, kind, width, vgs, vds, vsb=0.0):
        self.kind, self.width = kind, width
        threshold = kind["vt"] + kind["gamma"] * (np.sqrt(kind["phi"] + vsb) - np.sqrt(kind["phi"]))
        self.overdrive = max(vgs - threshold, 1e-3)
        flat = kind["kp"] / 2 * width / LENGTH * self.overdrive**2
        self.current = flat * (1 + kind["lam"] * vds)
        self.gm, self.gds = 2 * self.current / self.overdrive, kind["lam"] * flat
        self.gmb = self.gm * kind["gamma"] / 2 / np.sqrt(kind["phi"] + vsb)
        self.cgs = 2 / 3 * OXIDE * width * LENGTH + kind["overlap"] * width
        self.cgd = kind["overlap"] * width


def transistors(design, bias, tail, mirror, first, out):
    """The eight transistors at node voltages; the follower's input is out."""
    w = {name: 1e-6 * design[name] for name in SIZES}
    return {
        1: Transistor(N, w["w1"], out - tail, mirror - tail, tail + 2.5),
        2: Transistor(N, w["w1"], 0 - tail, first - tail, tail + 2.5),
        3: Transistor(P, w["w3"], 2.5 - mirror, 2.5 - mirror),
        4: Transistor(P, w["w3"], 2.5 - mirror, 2.5 - first),
        5: Transistor(N, w["w5"], bias + 2.5, tail + 2.5),
        6: Transistor(P, w["w6"], 2.5 - first, 2.5 - out),
        7: Transistor(N, w["w7"], bias + 2.5, out + 2.5),
        8: Transistor(N, 2.5e-6, bias + 2.5, bias + 2.5),
    }


def operating_point(design):
    def balance(volts):
        i = {k: one.current for k, one in transistors(design, *volts).items()}
        return 1e6 * np.array([i[8] - 1e-5, i[1] + i[2] - i[5], i[3] - i[1], i[4] - i[2], i[6] - i[7]])

    volts, _, found, said = fsolve(balance, [-1.6, -1.0, 1.4, 1.4, 0.0], full_output=True, xtol=1e-13)
    assert found == 1, said
    return volts, transistors(design, *volts)


def response(design, t, hertz):
    """v(out) for 1 V at the input, the inverting input held: nodes tail, mirror, first, out, bias."""
    tail, mirror, first, out, bias = range(5)
    answers = []
    for f in np.atleast_1d(hertz):
        y, source = np.zeros((5, 5), complex), np.zeros(5, complex)
        s = 2j * np.pi * f

        def between(admittance, a, b=None, y=y):
            for one, other in ((a, b), (b, a)):
                if one is not None:
                    y[one, one] += admittance
                    if other is not None:
                        y[one, other] -= admittance

        def from_input(admittance, a, y=y, source=source):
            y[a, a] += admittance
            source[a] += admittance

        for k, drain in ((1, mirror), (2, first)):  # gate: ground for the first, the input for the second
            between(t[k].gds, drain, tail)
            drawn = t[k].gm + t[k].gmb  # source current per volt of the tail
            y[drain, tail] -= drawn
            y[tail, tail] += drawn
        source[first] -= t[2].gm
        source[tail] += t[2].gm
        between(s * t[1].cgs, tail)
        between(s * t[1].cgd, mirror)
        from_input(s * t[2].cgs, tail)
        from_input(s * t[2].cgd, first)
        between(t[3].gm + t[3].gds + s * (t[3].cgs + t[4].cgs), mirror)
        between(s * t[4].cgd, mirror, first)
        y[first, mirror] += t[4].gm
        between(t[4].gds, first)
        between(t[5].gds, tail)
        y[tail, bias] += t[5].gm
        between(s * t[5].cgd, tail, bias)
        between(s * (t[5].cgs + t[7].cgs + t[8].cgs) + t[8].gm + t[8].gds, bias)
        between(s * t[7].cgd, out, bias)
        y[out, bias] += t[7].gm
        y[out, first] += t[6].gm
        between(t[6].gds + t[7].gds + s * LOAD, out)
        between(s * (t[6].cgd + 1e-12 * design["cc"]), first, out)
        between(s * t[6].cgs, first)
        answers.append(np.linalg.solve(y, source)[out])
    return np.array(answers)


@needs_ngspice
def test_gain_bandwidth_phase_and_power_are_those_of_nodal_analysis():
    found = simulate(stacked(DESIGN, OTHER))
    hertz = np.geomspace(1e4, 1e9, 20_001)
    for k, design in enumerate((DESIGN, OTHER)):
        volts, t = operating_point(design)
        gain = response(design, t, [1.0, *hertz])
        assert found["offset"][k] == pytest.approx(1e3 * volts[-1], abs=2e-3)
        assert found["gain"][k] == pytest.approx(20 * np.log10(abs(gain[0])), abs=0.01)
        place = np.flatnonzero(abs(gain[1:]) < 1)[0]
        assert found["ugb"][k] == pytest.approx(hertz[place] / 1e6, rel=3e-3)
        assert found["pm"][k] == pytest.approx(180 + np.degrees(np.unwrap(np.angle(gain[1:])))[place], abs=0.2)
        assert found["power"][k] == pytest.approx(5e3 * (1e-5 + t[5].current + t[7].current), rel=1e-4)
        assert found["overdrive"][k] == pytest.approx(t[1].overdrive, abs=1e-4)


@needs_ngspice
def test_gain_and_bandwidth_are_near_the_formulas_of_textbooks():
    found = simulate(stacked(DESIGN))
    tail, second = 1e-5 * DESIGN["w5"] / 2.5, 1e-5 * DESIGN["w7"] / 2.5
    n1, p1, n2, p2 = (1 + kind["lam"] * v for kind, v in ((N, 2.4), (P, 1.1), (N, 2.5), (P, 2.5)))  # 1 + lambda V_DS
    gm1 = np.sqrt(N["kp"] * DESIGN["w1"] / 0.5 * tail * n1)
    gm6 = np.sqrt(2 * P["kp"] * DESIGN["w6"] / 0.5 * second * p2)
    gain = gm1 / (tail / 2 * (0.1 / n1 + 0.2 / p1)) * gm6 / (second * (0.1 / n2 + 0.2 / p2))
    assert found["gain"][0] == pytest.approx(20 * np.log10(gain), abs=1)
    bandwidth = gm1 / (2 * np.pi * 1e-12 * DESIGN["cc"])
    assert found["ugb"][0] == pytest.approx(bandwidth / 1e6, rel=0.15)
    margin = 90 - np.degrees(np.arctan(2 * np.pi * bandwidth * LOAD / gm6) + np.arctan(gm1 / gm6))
    assert found["pm"][0] == pytest.approx(margin, abs=5)


@needs_ngspice
def test_a_design_is_simulated_alike_in_any_company():
    alone, together = simulate(stacked(OTHER)), simulate(stacked(DESIGN, OTHER, DESIGN))
    for name in alone:
        assert together[name][1] == pytest.approx(alone[name][0], rel=1e-6), name
        assert together[name][0] == pytest.approx(together[name][2], rel=1e-6), name


@needs_ngspice
def test_what_does_not_work_says_why():
    starved = DESIGN | {"w6": 0.1}  # cannot carry the current of M7
    unstable = DESIGN | {"w1": 20.0, "w5": 10.0, "cc": 0.2, "w7": 10.0, "w6": 8.0}
    weak = DESIGN | {"w1": 8.0, "cc": 8.0}
    found = simulate(stacked(DESIGN, starved, unstable, weak))
    reasons = works(found)
    assert all(fine[0] for fine in reasons.values())
    assert not reasons["saturated"][1]
    assert not reasons["offset"][1]
    assert not reasons["stable"][2]
    assert [name for name in reasons if not reasons[name][3]] == ["overdrive"]
    assert meets(found).tolist() == [True, False, False, True]


def test_the_specification_has_to_be_exceeded_and_nan_does_not():
    fine = {"gain": 51.0, "ugb": 1.1, "pm": 61.0, "power": 1.0, "offset": 0.0, "room": 0.1, "overdrive": 0.2}
    for name, value in {"gain": 50.0, "ugb": 1.0, "pm": 60.0, "power": np.nan, "offset": -11.0, "room": -0.1}.items():
        found = {key: np.array([one, one]) for key, one in fine.items()}
        found[name][1] = value
        assert meets(found).tolist() == [True, False], name


def test_a_netlist_sets_every_size_of_every_design():
    lines = netlist(stacked(DESIGN, OTHER)).splitlines()
    for design in (DESIGN, OTHER):
        part = lines[lines.index(f"echo design {int(design is OTHER)}") :]
        for device, size in (("m1", "w1"), ("m2", "w1"), ("m4", "w3"), ("m5", "w5"), ("m6", "w6"), ("m7", "w7")):
            assert next(one for one in part if one.startswith(f"alter {device} ")).endswith(f"w={design[size]:g}u")
        assert next(one for one in part if one.startswith("alter cc")) == f"alter cc={design['cc']:g}p"


def test_wrong_sizes_and_missing_programs_are_refused(monkeypatch):
    with pytest.raises(ValueError, match="w3 must be positive and finite, got -1"):
        netlist(stacked(DESIGN | {"w3": -1.0}))
    with pytest.raises(ValueError, match="no sizes 'cc'"):
        netlist({name: np.ones(1) for name in SIZES[:-1]})
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(FileNotFoundError, match="apt-get install ngspice"):
        simulate(stacked(DESIGN))


@needs_ngspice
def test_a_program_that_stops_early_is_noticed(monkeypatch):
    monkeypatch.setattr(opamp, "MEASURE", "quit\n{headrooms}{names}")
    with pytest.raises(RuntimeError, match="stopped at design 0 of 2"):
        simulate(stacked(DESIGN, OTHER))


def test_drawn_sizes_lie_in_their_ranges_and_are_balanced_but_for_a_factor():
    drawn = maker.draw(4000, np.random.default_rng(5))
    for name, (low, high) in maker.RANGES.items():
        assert low <= drawn[name].min() < 1.02 * low
        assert 0.98 * high < drawn[name].max() <= high
        assert np.median(drawn[name]) == pytest.approx(np.sqrt(low * high), rel=0.08)  # log-uniform
    factor = drawn["w6"] * drawn["w5"] / 2 / drawn["w3"] / drawn["w7"]
    assert (factor.min(), factor.max()) == pytest.approx((0.8, 1.25), rel=2e-3)


def test_shipped_designs_work_and_span_the_published_specification():
    designs = shipped()
    assert list(designs) == [*SIZES, *BEHAVIOUR]
    assert {len(one) for one in designs.values()} == {1500}
    assert all(np.isfinite(one).all() for one in designs.values())
    for name, (low, high) in maker.RANGES.items():
        assert low <= designs[name].min() <= designs[name].max() <= high
    assert (designs["w6"] <= maker.WIDEST).all()
    for name, least in opamp.SPECIFICATION.items():
        assert designs[name].min() < least < np.median(designs[name])
    assert opamp.FILE.stat().st_size < 100_000


@needs_ngspice
def test_shipped_designs_are_what_the_simulator_finds():
    designs = shipped()
    places = np.arange(0, 1500, 60)
    found = simulate({name: designs[name][places] for name in SIZES})
    assert all(fine.all() for fine in works(found).values())
    for name in BEHAVIOUR:
        np.testing.assert_allclose(found[name], designs[name][places], rtol=1e-4, err_msg=name)


@needs_ngspice
def test_the_same_seed_makes_the_same_file_and_the_shipped_one_begins_so(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(maker, "BATCH", 40)
    files = [tmp_path / "a" / "one.csv.gz", tmp_path / "two.csv.gz"]
    for file in files:
        monkeypatch.setattr(sys, "argv", ["opamp", "--count", "12", "--seed", "3", "--file", str(file)])
        assert maker.main() == 0
    assert "12 designs; 40 drawn, dropped for width" in capsys.readouterr().out
    assert files[0].read_bytes() == files[1].read_bytes()
    lines = gzip.decompress(files[0].read_bytes()).decode().splitlines()
    assert (len(lines), lines[0]) == (13, ",".join([*SIZES, *BEHAVIOUR]))
    made = shipped(files[0])
    assert float(f"{made['gain'][0]:.6g}") == made["gain"][0]


def test_without_a_file_the_error_names_the_command_and_the_maker_refuses_nonsense(tmp_path, monkeypatch, capsys):
    with pytest.raises(FileNotFoundError, match=r"python -m benchmarks\.makers\.opamp"):
        shipped(tmp_path / "none.csv.gz")
    monkeypatch.setattr(sys, "argv", ["opamp", "--count", "0"])
    assert maker.main() == 2
    assert "--count must be at least 1, got 0" in capsys.readouterr().err
