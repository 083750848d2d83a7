"""The gallery says what the rows say, and every experiment runs at its fast size."""

import json
import re
import sys
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure

from agents import records
from benchmarks.harness import gallery
from benchmarks.harness.experiment import Size, carry_out, experiments, pick
from benchmarks.reporting.pictures import draw_band, finish, save, styles
from benchmarks.tasks.digits import Digits
from scripts import benchmark

FOLDER = Path(__file__).parent.parent / "docs" / "gallery"
LOOK = {"color": "#000000", "linestyle": "-"}


def test_the_gallery_is_what_the_rows_give():
    assert gallery.page(gallery.RESULTS, FOLDER) == (FOLDER / "README.md").read_text(), "run python -m scripts.figures"


@pytest.mark.parametrize("name", [name for name in experiments() if gallery.rows_of(pick(name))])
def test_rows_draw_the_same_picture_twice_and_every_picture_is_in_the_gallery(name, tmp_path):
    kind = pick(name)
    rows = gallery.rows_of(kind)
    first = {path.name: path.read_bytes() for path in kind.draw(rows, tmp_path)}
    assert first
    assert all(path.name in first for path in FOLDER.glob(f"{kind.name}-*") if path.name.startswith(f"{kind.name}-"))
    assert all((FOLDER / name).exists() and name.startswith(f"{kind.name}-") for name in first)
    assert {path.name: path.read_bytes() for path in kind.draw(rows, tmp_path)} == first


def test_a_page_holds_table_finding_and_pictures_of_each_experiment_with_rows(tmp_path):
    results, folder = tmp_path / "results", tmp_path / "gallery"
    results.mkdir()
    assert gallery.draw(results, folder) == []
    assert "##" not in gallery.page(results, folder)
    rows = carry_out(Digits, ["adam"], range(2), results / "digits.jsonl", size=Size(38, 2))
    drawn = gallery.draw(results, folder)
    page = gallery.page(results, folder)
    assert [path.name for path in drawn] == re.findall(r"!\[.*?\]\((.*?)\)", page)
    assert f"| adam | 2 | {np.mean([row['metrics']['accuracy'] for row in rows]):.2f} |" in page
    assert "`adam` ends at the highest mean test accuracy" in page


def test_a_band_is_the_quartiles_and_ended_trials_go_on_with_their_last_value():
    ax = Figure().subplots()
    draw_band(ax, [1, 2, 3], [[1.0, 2.0, 3.0], [3.0], [5.0, 6.0, None]], LOOK, "a")
    (line,) = ax.get_lines()
    np.testing.assert_allclose(line.get_xydata(), [[1, 3], [2, 11 / 3]])  # the third trial is not finite at the end
    band = ax.collections[0].get_paths()[0].vertices
    assert {(1.0, 2.0), (1.0, 4.0)} <= {tuple(point) for point in band.round(9)}
    draw_band(ax, [1, 2], [[1.0, 2.0], [2.0, 3.0], [9.0, 9.0]], LOOK, "b", middle="median")
    np.testing.assert_allclose(ax.get_lines()[1].get_ydata(), [2, 3])
    with pytest.raises(ValueError, match="neither mean nor median"):
        draw_band(ax, [1], [[1.0]], LOOK, "c", middle="mode")


def test_equal_pictures_leave_the_file_alone(tmp_path):
    def drawn(height):
        figure = Figure(figsize=(2, 2), dpi=50)
        ax = figure.subplots()
        ax.plot([0, 1], [0, height], label="a")
        finish(ax)
        return save(figure, tmp_path / "a.png")

    before = drawn(1).stat()
    assert drawn(1).stat().st_mtime_ns == before.st_mtime_ns
    assert drawn(2).stat().st_mtime_ns != before.st_mtime_ns


def test_labels_keep_their_look_and_no_two_look_alike():
    looks = styles("abcdefghij")
    assert len({json.dumps(look) for look in looks.values()}) == 10
    assert styles("ab")["b"] == looks["b"]


@pytest.mark.slow
@pytest.mark.parametrize("name", experiments())
def test_every_experiment_runs_at_its_fast_size_from_the_command_line(name, tmp_path, monkeypatch, capsys):
    path = tmp_path / "rows"
    asked = ["benchmark", name, "--fast", "--quiet", "--file", str(path), "--pictures", str(tmp_path / "drawn")]
    monkeypatch.setattr(sys, "argv", asked)
    code, error = benchmark.main(), capsys.readouterr()
    if "apt-get install" in error.err:
        pytest.skip(error.err.strip())
    assert code == 0, error.err
    said, kind = error.out, pick(name)
    assert f"{kind.name}: {kind.sizes['fast']}" in said
    assert {row["method"] for row in records.read_rows(path)} == set(kind.labels())
    assert list((tmp_path / "drawn").iterdir())
