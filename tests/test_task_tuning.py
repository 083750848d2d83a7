"""Learning rates are searched on seeds of their own, with one budget, and kept beside the published settings."""

import sys

import pytest

from agents import records
from benchmarks import task_tuning
from benchmarks.harness.experiment import Size
from benchmarks.harness.race import Method
from benchmarks.task_tuning import SEEDS, SPAN, tune, tuned
from benchmarks.tasks.digits import Digits
from benchmarks.tasks.function_modelling import FunctionModelling

pytest.importorskip("optuna", reason="tuning needs the extra: pip install 'quasiroute[tune]'")


def test_the_best_rate_of_a_search_is_kept_beside_the_published_one(tmp_path):
    path = tmp_path / "rows"
    rows = tune(Digits, "adam", trials=4, size=Size(10, 1), options={}, path=path)
    rates = [row["settings"]["lr"] for row in rows]
    assert len(set(rates)) == 4
    assert all(1e-3 / SPAN <= rate <= 1e-3 * SPAN for rate in rates)
    assert all(row["settings"]["seeds"] == list(SEEDS) for row in rows)
    best = min(rows, key=lambda row: row["metrics"]["score"])["settings"]["lr"]
    assert tuned(Digits, "adam", path).options == {"lr": best}
    assert tuned(Digits, "adam", path).length == Digits.methods["adam"].length
    before = path.read_text()
    assert tune(Digits, "adam", trials=4, size=Size(10, 1), options={}, path=path) == rows
    assert path.read_text() == before, "nothing is run twice"
    more = tune(Digits, "adam", trials=5, size=Size(10, 1), options={}, path=path)
    assert more[:4] == rows
    assert records.read_rows(path) == more


def test_the_score_is_that_of_a_race_with_this_rate(tmp_path, monkeypatch):
    (row,) = tune(Digits, "olmoq", trials=1, size=Size(5, 1), options={}, path=tmp_path / "rows")
    method = Digits.methods["olmoq"]
    monkeypatch.setitem(Digits.methods, "olmoq", Method("olmoq", method.options | {"lr": row["settings"]["lr"]}))
    alone = Digits.run("olmoq", SEEDS, Size(5, 1), {})
    assert row["metrics"]["score"] == pytest.approx(sum(one["metrics"]["loss"] for one in alone) / 3)


def test_rates_of_a_grid_lie_around_the_own_one_and_need_no_optuna(tmp_path, monkeypatch):
    monkeypatch.setattr(task_tuning, "sampled_study", None)
    path = tmp_path / "rows"
    asked = {"size": Size(5, 1), "options": {}, "path": path, "grid": True, "seeds": (1000,)}
    rows = tune(Digits, "adam", trials=5, **asked)
    assert [row["settings"]["lr"] for row in rows] == [1e-4, 3.16e-4, 1e-3, 3.16e-3, 1e-2]
    assert all(row["settings"]["seeds"] == [1000] for row in rows)
    (alone,) = Digits.run("adam", [1000], Size(5, 1), {})
    assert rows[2]["metrics"]["score"] == alone["metrics"]["loss"]
    assert tune(Digits, "adam", trials=5, **asked) == rows == records.read_rows(path), "nothing is run twice"
    assert tune(Digits, "adam", trials=3, **asked) == rows[1:4]
    assert tune(Digits, "adam", trials=7, **asked)[1:6] == rows
    assert len(records.read_rows(path)) == 7, "a longer grid goes on at both ends"


def test_a_rate_that_diverges_loses(tmp_path, monkeypatch):
    monkeypatch.setitem(FunctionModelling.methods, "wild", Method("torch.sgd", {"lr": 1e9}))
    rows = tune(FunctionModelling, "wild", trials=2, size=Size(400, 1), options={}, path=tmp_path / "rows")
    assert all(row["metrics"]["score"] is None for row in rows)
    with pytest.raises(ValueError, match="no trials of 'wild'"):
        tuned(FunctionModelling, "wild", tmp_path / "rows")


def test_a_tuned_method_is_named_so_and_needs_trials(tmp_path, monkeypatch):
    monkeypatch.setattr(task_tuning, "RESULTS", tmp_path)
    with pytest.raises(ValueError, match=r"run python -m benchmarks\.task_tuning digits --optimizers adam"):
        Digits.check("adam-tuned")
    tune(Digits, "adam", trials=1, size=Size(5, 1), options={}, path=tmp_path / "digits.jsonl")
    assert Digits.method("adam-tuned") == tuned(Digits, "adam")
    assert (
        Digits.settings("adam-tuned", Size(5, 1), {})["options"] != Digits.settings("adam", Size(5, 1), {})["options"]
    )


def test_the_command_tunes_and_refuses_what_has_no_rate(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(Digits.sizes, "fast", Size(3, 1))
    asked = ["task_tuning", "digits", "--fast", "--trials", "1", "--quiet", "--results", str(tmp_path)]
    monkeypatch.setattr(sys, "argv", [*asked, "--optimizers", "adam"])
    assert task_tuning.main() == 0
    assert capsys.readouterr().out.startswith("adam: lr ")
    monkeypatch.setattr(sys, "argv", [*asked, "--optimizers", "adam", "--grid", "--steps", "2", "--seeds", "1"])
    assert task_tuning.main() == 0
    assert capsys.readouterr().out.startswith("adam: lr 0.001 of 0.001 (")
    assert records.read_rows(tmp_path / "digits.jsonl")[-1]["settings"]["of"]["steps"] == 4
    monkeypatch.setattr(sys, "argv", [*asked, "--optimizers", "adm"])
    assert task_tuning.main() == 2
    assert "did you mean 'adam'" in capsys.readouterr().err
