"""Costs: bytes against formulas and against what is allocated, evaluations against the closure, sentences from rows."""

import gc

import pytest
import torch

from benchmarks.harness.experiment import Size, carry_out
from benchmarks.tasks.costs import Costs, memory, weights
from benchmarks.tasks.costs.findings import expected, exponent, findings, line_of, total
from benchmarks.tasks.costs.measures import Problem, Trial, bowl, regression
from benchmarks.tasks.costs.memory import UNIT, Live, kept, storage, working
from benchmarks.tasks.costs.methods import FAMILIES, METHODS, PUBLISHED, costed, memory_of

every_method = pytest.mark.parametrize("label", METHODS)

KEPT = {
    "sgd": "0", "momentum": "d", "nag": "d", "adam": "2 d",
    "bfgs": "d^2 + 2 d", "naq": "d^2 + 3 d", "moq": "d^2 + 4 d", "mnaq": "d^2 + 3 d",
    "obfgs": "d^2", "onaq": "d^2 + d", "omoq": "d^2 + 4 d",
    "lbfgs": "(2 m + 2) d", "lnaq": "(2 m + 3) d", "lmoq": "(2 m + 4) d",
    "olbfgs": "(2 m + 2) d", "olnaq": "(2 m + 3) d", "olmoq": "(2 m + 6) d",
    "sr1": "d^2 + 2 d", "sr1n": "d^2 + 3 d", "mosr1": "d^2 + 4 d",
    "lsr1": "(2 m + 2) d", "lsr1n": "(2 m + 3) d", "osr1": "2 m d", "arclsr1": "2 m d",
    "slbfgs": "0", "slsr1": "0", "newton": "0", "newton_cg": "0", "levenberg_marquardt": "0",
    "sqn": "(2 m + 4) d", "adaqn": "(2 m + mF + 6) d", "asnaq": "(2 m + mF + 9) d",
    "l2l": "80 d", "hierarchical": "21 d",
}  # fmt: skip
"""numbers kept between steps: pairs or matrix, velocity, last evaluation, averages; a sum in float64 counts twice"""


@every_method
def test_what_is_kept_is_the_formula(label):
    assert str(whole(label)) == KEPT[label]


@every_method
def test_the_formula_gives_the_bytes_of_other_sizes_but_for_what_does_not_grow(label):
    d, sizes = 211, {name: value for name, value in (("m", 7), ("mL", 7), ("mF", 21)) if name in memory_of(label)}
    memory, m, mF = whole(label), sizes.get("m", sizes.get("mL", 0)), sizes.get("mF", 0)
    found = sum(kept(Trial(label, bowl(costed(label).kind, d), **sizes).fill().optimizer).values())
    grows = UNIT * (memory.d2 * d * d + (memory.md * m + memory.mFd * mF + memory.d) * d)
    generator = torch.Generator().get_state().numel() if "generator" in state(label) else 0
    assert 0 <= found - grows - generator <= 16 * m * m + 40 * (m + mF) + 200


def whole(label):
    return total({"storage": storage(label)})


def state(label):
    return Trial(label, bowl(costed(label).kind, 10)).fill().optimizer.state["global"]


@every_method
def test_what_is_kept_is_what_was_allocated_and_is_still_there(label):
    d = 1000
    with Live() as live:
        live.foreign = True
        problem = bowl(costed(label).kind, d)
        live.foreign = False
        trial = Trial(label, problem).fill()
        if costed(label).family == "learned":
            live.now -= sum(one.nbytes for one in trial.optimizer.phi.values())
        problem.w.grad = None
        gc.collect()
        vector = UNIT * d  # where parameters are gathered: not part of the state
        tensors = sum(one for name, one in kept(trial.optimizer).items() if name not in ("SY", "YY"))
        assert live.now - vector == pytest.approx(tensors, abs=300)


def test_live_bytes_are_counted_while_a_storage_is_there():
    before = torch.zeros(10)
    with Live() as live:
        live.ignore(before)
        a = before + 1
        b = a[:5]
        assert (live.now, live.most) == (40, 40)
        c = torch.cat([a, a])
        del c
        assert (live.now, live.most) == (40, 120)
        del a
        assert live.now == 40
        del b
        assert (live.now, live.most) == (0, 120)
        before.add_(1)
        assert (live.now, live.most) == (0, 120)


def test_bytes_are_those_of_storages_each_counted_once_and_of_numbers_in_lists():
    w = torch.zeros(10, requires_grad=True)
    optimizer = torch.optim.SGD([w])
    big = torch.zeros(100)
    parts = {"row": big[:3], "same": big, "w": w.detach(), "numbers": [[1.0, 2.0], [3.0]], "k": 5}
    optimizer.state["global"] = parts
    optimizer.state[w] = {"momentum_buffer": torch.zeros(10, dtype=torch.float64)}
    assert kept(optimizer) == {"row": 400, "numbers": 24, "momentum_buffer": 80}


def test_a_step_of_a_dense_method_makes_no_second_matrix_and_others_no_more_vectors_than_they_did():
    most = {"sgd": 3, "adam": 2, "bfgs": 15, "naq": 15, "obfgs": 14, "omoq": 11, "olbfgs": 7, "olnaq": 8, "olmoq": 5,
            "lbfgs": 6, "adaqn": 9, "asnaq": 11, "lsr1": 73, "osr1": 63, "slbfgs": 56, "slsr1": 95}  # fmt: skip
    for label, vectors in most.items():
        found = working(label)
        assert found["power"] == 1, label
        assert 1 <= found["factor"] <= vectors, (label, found)
    assert working("sr1") == {"factor": 6.0, "power": 2}


def test_a_search_that_copies_the_pairs_would_be_seen(monkeypatch):
    def copying(trial):
        with Live() as live:
            state = trial.optimizer.state["global"]
            copies = [state[name].clone() for name in "SY"]
            assert len(copies) == 2
        return live.most

    monkeypatch.setattr(memory, "_in_use", copying)
    m = memory_of("olnaq")["m"]
    assert working.__wrapped__("olnaq") == {"factor": 2.0 * (m + 1), "power": 1}


@every_method
def test_evaluations_are_the_calls_of_the_closure(label):
    found = Trial(label, regression(costed(label).kind, 200)).fill().measured().evaluations
    assert found["calls"] == pytest.approx(found["gradients"] + found["losses"])
    said = PUBLISHED.get(label)
    if said is not None and not said.searches:
        assert found["gradients"] == said.gradients
    if said is not None and said.products:
        assert found["products"] == memory_of(label)["m"]


@pytest.mark.parametrize(("label", "loss"), [("lbfgs", 0.0), ("olnaq", float("nan"))])
def test_steps_that_do_not_move_or_with_evaluations_that_are_not_finite_are_not_measured(label, loss):
    w = torch.ones(5, requires_grad=True)

    def closure(backward=True):
        w.grad = torch.full((5,), loss)
        return torch.tensor(loss)

    with pytest.raises(RuntimeError, match=f"{label} with 5 weights makes no ordinary steps"):
        Trial(label, Problem(w, closure, closure)).fill().measured()


def test_published_formulas_are_of_methods_in_the_table_and_families_are_whole():
    assert set(PUBLISHED) <= set(METHODS)
    assert {one.family for one in METHODS.values()} == set(FAMILIES)
    texts = {label: str(PUBLISHED[label].storage) for label in ("bfgs", "moq", "lbfgs", "lmoq", "asnaq", "slsr1")}
    assert texts == {"bfgs": "d^2", "moq": "d^2 + d", "lbfgs": "2 m d", "lmoq": "(2 m + 1) d", "asnaq": "(2 m + mF) d",
                     "slsr1": "0"}  # fmt: skip
    assert PUBLISHED["lbfgs"].beyond(10, 3, 0, 1) == 4 * 3 * 10 + 2 * 10
    assert PUBLISHED["asnaq"].beyond(10, 3, 7, 5) == (4 * 3 + 7 + 3) * 10 + 4 * 10 / 5


def made_up(label, power, slope=1.0):
    """Metrics with time ~ d^power and m^slope."""
    d = weights(label, 1_000_000)
    found = {"at": d, "us": [5.0 * one**power for one in d], "products": [0.0] * 4}
    counts = {"gradients": [2.0], "losses": [0.0], "products": [0.0]}
    return {
        "storage": {name: list(one) for name, one in storage(label).items()},
        "in_use": {"factor": 7.0, "power": 1}, "d": found,
        "m": {"at": [2, 4, 8], "us": [one**slope for one in (2.0, 4.0, 8.0)], "products": [0.0] * 3},
        "n": {"at": [250, 1000], "us": [30.0, 90.0], "gradient_us": [10.0, 30.0], **counts},
    }  # fmt: skip


def test_growth_is_read_off_the_two_largest_sizes_and_compared_with_the_formula():
    metrics = made_up("olbfgs", 1.0, slope=0.5)
    assert exponent("olbfgs", metrics, "d") == pytest.approx(1)
    assert exponent("olbfgs", metrics, "m") == pytest.approx(0.5)
    assert expected("olbfgs", metrics, "m") == pytest.approx(1)
    assert 0.9 < expected("lbfgs", made_up("lbfgs", 1.0), "m") < 1
    assert expected("bfgs", made_up("bfgs", 2.0), "d") == pytest.approx(2)
    line = line_of("olbfgs", [metrics])
    assert (line["time by d"], line["time by m"], line["by n"], line["in gradients"]) == ("1.00", "0.50", "0.79", 3.0)
    assert (line["published storage"], line["kept"], line["evaluations"]) == ("2 m d", "(2 m + 2) d", "2")


def test_findings_follow_from_the_rows():
    slow, fast = made_up("olbfgs", 1.3, slope=0.5), made_up("olmoq", 1.0)
    storage, evaluations, by_d, by_m, *_ = findings({"olbfgs": [slow], "olmoq": [fast]})
    assert "`olbfgs` 2 d more; `olmoq` 5 d more" in storage
    assert "spare slot" in storage
    assert "published ones: `olbfgs`" in evaluations
    assert "They differ: `olmoq`" in evaluations
    assert "within 0.15, for `olmoq`; faster for `olbfgs` 1.30 for 1.00" in by_d
    assert "slower for `olbfgs` 0.50 for 1.00, where the least m already takes 50 to 50 %" in by_m
    assert "hold" not in storage


def test_what_a_product_takes_is_what_the_other_evaluations_leave():
    metrics = made_up("slbfgs", 1.0)
    metrics["n"] |= {"us": [1.0, 30 * 27.0], "gradients": [1.0], "losses": [2.0], "products": [10.0]}
    said = findings({"slbfgs": [metrics]})
    assert said[-1].endswith("counted as one: `slbfgs` 2.4.")
    assert any("zeta was, in evaluations a step: `slbfgs` 2.0" in one for one in said)


def test_a_row_of_the_command_says_it_all_and_pictures_follow_from_rows(tmp_path):
    threads = torch.get_num_threads()
    size = Size(0, 1, {"largest": 10_000, "examples": 64, "rounds": 1})
    rows = carry_out(Costs, ["onaq", "olnaq", "adaqn", "slsr1"], [0], tmp_path / "rows", size=size)
    assert torch.get_num_threads() == threads
    assert rows[0]["metrics"]["d"]["at"] == [25, 50, 100, 200]
    assert rows[1]["metrics"]["d"]["at"] == [10, 100, 1000, 10_000]
    assert rows[2]["settings"]["options"] == {"lr": 1e-4, "mL": 10, "mF": 100, "L": 5}
    assert set(rows[2]["metrics"]) == {"storage", "in_use", "d", "n", "m", "mF"}
    assert [line["method"] for line in Costs.table(rows)] == ["onaq", "olnaq", "adaqn", "slsr1"]
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
    first, second = (Costs.draw(rows, tmp_path / folder) for folder in ("one", "two"))
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]
    assert any("`slsr1`" in said and "hold" in said for said in Costs.findings(rows))
    with pytest.raises(ValueError, match="did you mean 'olnaq'"):
        Costs.check("olnaqq")
