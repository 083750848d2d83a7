"""Matrices at the points of a run are what the methods say, and errors are norms."""

import numpy as np
import pytest
import torch
from torch.nn import functional

from benchmarks.harness.experiment import Size
from benchmarks.tasks.eigenvalues import Eigenvalues
from benchmarks.tasks.eigenvalues.points import hessian, matrix_at, path
from benchmarks.tasks.toy_classification import ToyClassification, waves

SIZE = Size(25, 1)
OPTIONS = {"network": "small", "m": 10}


@pytest.fixture(scope="module")
def points():
    return path(1, 25, "small", 10)


def test_the_hessian_is_that_of_differences_of_gradients():
    task = ToyClassification([2], 1, "small")
    found, flat = hessian(task), torch.cat([one.detach().flatten() for one in task.params])

    def gradient(at):
        for one, part in zip(task.params, at.split([one.numel() for one in task.params]), strict=True):
            one.data.copy_(part.view_as(one))
        slopes = torch.autograd.grad(task.losses(0, 0).sum(), task.params)
        return torch.cat([one.flatten() for one in slopes])

    for k in (0, 7, 35):
        step = torch.zeros_like(flat)
        step[k] = 1e-5
        torch.testing.assert_close(
            found[k], (gradient(flat + step) - gradient(flat - step)) / 2e-5, atol=1e-9, rtol=1e-6
        )
    assert torch.equal(found, found.T)


def test_points_lie_in_order_on_the_run(points):
    assert list(points) == ["A", "B", "C"]
    assert points["A"].step == 10
    assert points["A"].step <= points["B"].step <= points["C"].step == 25
    assert points["A"].loss > points["C"].loss


def test_the_matrix_that_remembers_is_made_of_the_pairs_of_the_run(points):
    S, Y = (one.numpy() for one in points["C"].pairs)
    B = np.eye(36)
    for k, (s, y) in enumerate(zip(S, Y, strict=True)):
        if not k:
            B = (y @ y) / (s @ y) * B
        u = y - B @ s
        if abs(u @ s) >= 1e-8 * np.linalg.norm(s) * np.linalg.norm(u):
            B = B + np.outer(u, u) / (u @ s)
    np.testing.assert_allclose(points["C"].B.numpy(), B, rtol=1e-6, atol=1e-8 * np.abs(B).max())
    limited = matrix_at("L-SR1", points["C"], 10, 0)
    # the newest pair is satisfied
    torch.testing.assert_close(limited @ points["C"].pairs[0][-1], points["C"].pairs[1][-1], rtol=1e-6, atol=1e-9)
    assert torch.equal(matrix_at("SR1", points["C"], 10, 0), points["C"].B)


def test_samples_of_every_direction_are_the_hessian_and_ten_of_them_its_projection(points):
    H = points["B"].hessian
    whole = matrix_at("S-LSR1", points["B"], 36, 3)
    torch.testing.assert_close(whole, H, atol=1e-6 * H.abs().max().item(), rtol=0)
    found = matrix_at("S-LSR1", points["B"], 10, 3)
    S = torch.randn(10, 36, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    expected = H @ S.T @ torch.linalg.solve(S @ H @ S.T, S @ H)
    torch.testing.assert_close(found, expected, atol=1e-6 * H.abs().max().item(), rtol=0)


@pytest.fixture(scope="module")
def rows():
    return [row for label in Eigenvalues.labels() for row in Eigenvalues.run(label, [1], SIZE, OPTIONS)]


def test_errors_of_rows_are_those_of_their_eigenvalues(rows, points):
    for row in rows:
        for name, point in points.items():
            found = row["metrics"][name]
            true, own = (np.array(found[which]) for which in ("hessian", "matrix"))
            np.testing.assert_allclose(true, np.linalg.eigvalsh(point.hessian), rtol=1e-4, atol=1e-12)
            error = 100 * np.linalg.norm(own - true) / np.linalg.norm(true)
            assert found["error"] == pytest.approx(error, rel=1e-3, abs=0.01)
            assert found["error"] <= found["matrix_error"] * 1.001, "Hoffman and Wielandt"
    sampled = rows[-1]["metrics"]
    assert all(sampled[name]["matrix_error"] >= sampled[name]["least_error"] for name in "ABC"), "Eckart and Young"


def test_tables_findings_and_pictures_come_from_rows(rows, tmp_path):
    lines = Eigenvalues.table(rows)
    assert [line["method"] for line in lines] == ["SR1", "L-SR1", "S-LSR1", "nearest of rank m"]
    nearest, negative = Eigenvalues.findings(rows)
    assert "at C in 1 of 1 runs (21 to 100 %)" in nearest
    true = np.mean([rows[0]["metrics"][name]["true_negative"] for name in "ABC"])
    assert f"{true:.1f} of the Hessian" in negative
    assert Eigenvalues.findings(rows[:2]) == []
    (path,) = Eigenvalues.draw(rows, tmp_path)
    assert path.name == "eigenvalues-small.png"


def test_memory_below_one_pair_and_unknown_methods_are_refused():
    with pytest.raises(ValueError, match="m must be at least 1, got 0"):
        Eigenvalues.chosen({"m": 0})
    with pytest.raises(ValueError, match="no network 'big'"):
        Eigenvalues.chosen({"network": "big"})
    with pytest.raises(ValueError, match="did you mean 'L-SR1'"):
        Eigenvalues.check("L-SR")


def test_the_loss_at_the_points_is_the_task_s(points):
    x, t = waves()
    assert len(x) == len(t) == 100
    task = ToyClassification([1], 1, "small")
    start = functional.cross_entropy(task.outputs(x)[0], t).item()
    assert points["A"].loss < start
