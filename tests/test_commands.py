"""The commands that the gallery prints give the rows again that they are read from."""

import json
import shlex
import sys
from pathlib import Path

import pytest
from marks import needs_ngspice

from agents import records
from benchmarks.harness.commands import commands
from benchmarks.harness.experiment import Size, carry_out
from benchmarks.harness.race import Method
from benchmarks.tasks.characters import Characters
from benchmarks.tasks.digits import Digits
from benchmarks.tasks.eigenvalues import Eigenvalues
from benchmarks.tasks.learned import LearnedOptimizers
from benchmarks.tasks.levy import Levy
from benchmarks.tasks.opamp_proposals import OpampProposals
from benchmarks.tasks.products import Products
from scripts import benchmark

DIGITS = "python -m scripts.benchmark digits"


def told(kind, labels, seeds, size, options=None):
    """What the rows of a run say of themselves."""
    options = kind.chosen(options or {})
    return [json.loads(json.dumps({"method": label, "seed": seed, "settings": kind.settings(label, size, options)}))
            for label in labels for seed in seeds]  # fmt: skip


class Caught(Exception):
    """What would have been run."""


def asked_by(command, monkeypatch):
    """The rows that a command would make, told as above."""

    def caught(kind, labels, seeds, path, *, size, options, **_):
        raise Caught(told(kind, labels, seeds, size, options))

    monkeypatch.setattr(benchmark, "carry_out", caught)
    words = shlex.split(command)
    assert words[:3] == ["python", "-m", "scripts.benchmark"]
    monkeypatch.setattr(sys, "argv", words[2:])
    monkeypatch.setattr(Path, "mkdir", lambda *_, **__: None)
    with pytest.raises(Caught) as made:
        benchmark.main()
    return made.value.args[0]


def unordered(rows):
    return sorted(json.dumps(row, sort_keys=True) for row in rows)


@pytest.mark.parametrize(
    ("kind", "size", "options"),
    [
        (Digits, Digits.sizes["fast"], {}),
        (Digits, Size(60, 4), {}),
        (Levy, Size(70, 3, {"points": 50, "hidden": 7}), {}),
        (Levy, Size(1000, 10, {"points": 1000, "hidden": 50}), {"variables": 3}),
        (Characters, Size(600, 3, {"hidden": 64, "length": 32, "measured": 299}), {"network": "lstm2"}),
        (Products, Size(0, 10, {"batches": [1, 8], "calls": 5}), {"m": 4}),
        (Eigenvalues, Size(77, 20), {}),
        (LearnedOptimizers, Size(7, 1, {"problems": 5}), {}),
        pytest.param(OpampProposals, Size(30, 2), {"scale": "lengths"}, marks=needs_ngspice),
    ],
)
def test_one_command_gives_back_rows_of_any_size(kind, size, options, monkeypatch):
    rows = told(kind, kind.labels(), range(size.trials), size, options)
    (command,) = commands(kind, rows)
    assert unordered(asked_by(command, monkeypatch)) == unordered(rows)


def test_a_command_says_no_more_than_it_has_to():
    fast, default = Digits.sizes["fast"], Digits.sizes["default"]
    assert commands(Digits, told(Digits, Digits.labels(), range(5), default)) == [DIGITS]
    assert commands(Digits, told(Digits, ["adam", "olmoq"], range(2), fast)) == [
        f"{DIGITS} --fast --optimizers adam olmoq"
    ]
    assert commands(Digits, told(Digits, ["adam"], [0], Size(3, 1))) == [
        f"{DIGITS} --steps 3 --optimizers adam --trials 1"
    ]
    levy = Levy.sizes["full"]
    rows = told(Levy, Levy.labels(), range(levy.trials), Size(levy.steps, levy.trials, {**levy.scale, "points": 9}))
    assert commands(Levy, rows) == ["python -m scripts.benchmark levy --full --scale points=9 --option variables=5"]


def test_methods_run_at_other_sizes_or_seeds_get_commands_of_their_own():
    rows = told(Digits, ["adam", "olmoq"], range(5), Digits.sizes["default"])
    rows += told(Digits, ["obfgs"], range(5), Digits.sizes["fast"]) + told(Digits, ["onaq"], range(3), Size(475, 5))
    assert commands(Digits, rows) == [
        f"{DIGITS} --optimizers adam olmoq",
        f"{DIGITS} --optimizers onaq --trials 3",
        f"{DIGITS} --fast --optimizers obfgs --trials 5",
    ]


def test_what_no_command_can_say_is_said_beside_it(monkeypatch):
    rows = told(Digits, ["adam"], [1, 3], Digits.sizes["fast"])
    monkeypatch.setitem(Digits.methods, "adam", Method("torch.adam", {"lr": 0.5}, length=2))
    assert commands(Digits, rows) == [
        '# rows of adam were made with other settings: options {"lr": 0.001}, now {"lr": 0.5}',
        "# the rows are those of the seeds 1, 3 alone",
        f"{DIGITS} --fast --optimizers adam --trials 4",
    ]


def test_the_printed_command_makes_the_rows_again(tmp_path, monkeypatch):
    rows = carry_out(Digits, ["adam", "olmoq"], range(2), tmp_path / "rows", size=Size(4, 2))
    (command,) = commands(Digits, rows)
    again = tmp_path / "again"
    monkeypatch.setattr(sys, "argv", [*shlex.split(command)[2:], "--quiet", "--file", str(again)])
    assert benchmark.main() == 0
    made = records.read_rows(again)
    assert [(row["method"], row["seed"], row["settings"], row["metrics"]) for row in made] == [
        (row["method"], row["seed"], row["settings"], row["metrics"]) for row in records.read_rows(tmp_path / "rows")
    ]


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (["digits", "--steps", "0"], "steps must be at least 1, got 0"),
        (["products", "--steps", "5"], "products has no steps, got 5"),
        (["levy", "--scale", "pionts=5"], "the sizes of levy have no 'pionts'; did you mean 'points'"),
    ],
)
def test_sizes_that_cannot_be_are_refused(wrong, said, monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(sys, "argv", ["benchmark", *wrong, "--file", str(tmp_path / "rows")])
    assert benchmark.main() == 2
    assert said in capsys.readouterr().err
