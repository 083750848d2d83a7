"""Several processes walk the trajectory of one, and send what the formulas say."""

import numpy as np
import pytest
import torch

from benchmarks.harness.experiment import Size, carry_out
from benchmarks.tasks.processes import Processes
from benchmarks.tasks.processes.group import sent, together
from benchmarks.tasks.processes.shares import METHODS, expected, trial

pytest.importorskip("sklearn")
WEIGHTS, STEPS, DIGITS = 2410, 3, 120


def every_method(rank, processes):
    return {label: trial(rank, processes, label, [4], [DIGITS], STEPS)[4, DIGITS] for label in METHODS}


@pytest.fixture(scope="module")
def found():
    """Processes -> what each found."""
    return {processes: together(every_method, processes) for processes in (1, 2)}


@pytest.mark.parametrize("label", METHODS)
def test_two_processes_walk_the_trajectory_of_one(found, label):
    (alone,), (first, second) = ([one[label] for one in found[processes]] for processes in (1, 2))
    assert alone["weights"].shape == (WEIGHTS,)
    np.testing.assert_array_equal(first["weights"], second["weights"])
    np.testing.assert_allclose(first["weights"], alone["weights"], rtol=0, atol=1e-12)
    assert alone["losses"][1] < alone["losses"][0]


@pytest.mark.parametrize("label", METHODS)
def test_what_is_averaged_is_what_the_method_says(found, label):
    assert found[1][0][label]["sent"].calls == 0
    for one in (ranks[label] for ranks in found[2]):
        losses = one["counters"]["n_losses"] / STEPS
        numbers = STEPS * expected(label, WEIGHTS, losses, DIGITS)
        if label == "S-LBFGS":
            numbers -= 10 * WEIGHTS  # its first step follows the gradient
        assert one["sent"].numbers == numbers
        assert one["sent"].bytes == 8 * numbers


def fails(rank, processes):
    if rank == 1:
        raise KeyError("a reason")
    torch.distributed.barrier()  # waits for the other


def test_a_process_that_fails_ends_all_and_says_why():
    with pytest.raises(RuntimeError, match=r"process [01] of 2: (?s:.)*(a reason|onnection)"):
        together(fails, 2)
    with pytest.raises(ValueError, match="at least 1, got 0"):
        together(fails, 0)


def test_tensors_are_counted_while_it_is_asked_for(monkeypatch):
    given = []
    monkeypatch.setattr(torch.distributed, "all_reduce", lambda tensor, group=None: given.append(tensor))
    with sent() as counted:
        torch.distributed.all_reduce(torch.zeros(3, dtype=torch.float32))
        torch.distributed.all_reduce(torch.zeros(2, 2, dtype=torch.float64), group=None)
    torch.distributed.all_reduce(torch.zeros(5))
    assert (counted.calls, counted.numbers, counted.bytes) == (2, 7, 44)
    assert len(given) == 3


def test_one_process_alone_makes_rows_without_differences(tmp_path):
    size = Size(5, 2, {"digits": [600], "processes": [1]})
    rows = carry_out(Processes, ["S-LSR1"], [0, 1], tmp_path / "rows", size=size)
    assert [row["seed"] for row in rows] == [0, 1]
    for row in rows:
        (cell,) = row["metrics"]["cells"]
        assert (cell["difference"], cell["calls"], cell["one_trajectory"]) == (0, 0, True)
        assert cell["loss_after"] < cell["loss_before"]
    assert "nothing to compare" in Processes.findings(rows)[0]


def made(label, seed, apart=0.0):
    cells = [
        {"digits": digits, "processes": processes, "wall_ms": 10.0, "cpu_ms": 8.0 / processes, "difference": apart,
         "one_trajectory": True, "calls": 4.0, "numbers": 100.0 * (processes > 1), "bytes": 800.0, "loss_before": 2.0,
         "loss_after": 1.0}
        for digits in (60, 120) for processes in (1, 2, 4)
    ]  # fmt: skip
    return {"method": label, "seed": seed, "step": 5, "metrics": {"cells": cells, "cores": 2}}


def test_findings_say_what_the_clock_cannot_and_whose_trajectory_differs(tmp_path):
    rows = [made("S-LSR1", seed) for seed in range(2)] + [made("oLMoQ-mb", 0)]
    said = Processes.findings(rows)
    assert "of all methods" in said[0]
    assert "works 8 ms a step alone, 4 ms with 2 (equal shares: 4), 2 ms with 4 (equal shares: 2)" in said[1]
    assert "`S-LSR1` 100 numbers with 60 digits, 100 with 120" in said[3]
    assert "2 cores" in said[-1]
    assert "nothing about scaling to 4 processes" in said[-1]
    assert "not of oLMoQ-mb" in Processes.findings([*rows[:2], made("oLMoQ-mb", 0, apart=1e-3)])[0]
    assert len(Processes.table(rows)) == 2 * 6
    assert [path.name for path in Processes.draw(rows, tmp_path)] == ["processes-times.png"]
    with pytest.raises(ValueError, match="did you mean 'S-LSR1'"):
        Processes.check("S-LSR")
