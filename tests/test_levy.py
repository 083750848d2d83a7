"""The Levy function, its points and networks are what the formulas say."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from benchmarks.harness.race import run
from benchmarks.tasks.levy import Levy, drawn_points, levy


def by_hand(x):
    p = len(x)
    found = 10 * math.sin(math.pi * x[0]) ** 2 + (x[-1] - 1) ** 2
    for i in range(p - 1):
        found += (x[i] - 1) ** 2 * (1 + 10 * math.sin(math.pi * x[i + 1]) ** 2)
    return math.pi / p * found


def test_the_function_is_its_formula_and_zero_at_ones():
    x = np.random.default_rng(0).uniform(-4, 4, (5, 7))
    expected = [by_hand(point) for point in x.T]
    np.testing.assert_allclose(levy(torch.from_numpy(x)).numpy(), expected, rtol=1e-12)
    assert levy(torch.ones(3, 1, dtype=torch.float64)).item() == pytest.approx(0, abs=1e-25)
    assert (levy(torch.from_numpy(x)) > 0).all()


def test_training_points_fill_the_range_and_test_points_have_their_scale():
    (x, t), (other, other_t) = drawn_points(3, 400)
    assert (x.shape, t.shape, other.shape, other_t.shape) == ((3, 400), (1, 400), (3, 2000), (1, 2000))
    assert x.amin(1).tolist() == [-1] * 3
    assert x.amax(1).tolist() == [1] * 3
    assert (t.min(), t.max()) == (-1, 1)
    # targets are a linear function of what the formula gives at the points before they were scaled, the same for both
    draw = torch.Generator().manual_seed(20_220_000)
    raw, other_raw = (8 * torch.rand(3, many, generator=draw, dtype=torch.float64) - 4 for many in (400, 2000))
    low, high = levy(raw).min(), levy(raw).max()
    np.testing.assert_allclose(t[0], np.interp(levy(raw), [low, high], [-1, 1]), atol=1e-12)
    inside = (levy(other_raw) >= low) & (levy(other_raw) <= high)
    np.testing.assert_allclose(other_t[0][inside], np.interp(levy(other_raw)[inside], [low, high], [-1, 1]), atol=1e-12)
    lows, highs = raw.amin(1, keepdim=True), raw.amax(1, keepdim=True)
    torch.testing.assert_close(other, 2 * (other_raw - lows) / (highs - lows) - 1)


def test_a_member_is_a_network_of_torch():
    task = Levy([3, 8], 1, points=100, hidden=6, variables=4)
    for member in range(2):
        network = nn.Sequential(nn.Linear(4, 6), nn.Sigmoid(), nn.Linear(6, 1)).double()
        weights = [one.detach()[member] for one in task.params]
        for own, one in zip(network.parameters(), weights, strict=True):
            own.data.copy_(one.reshape(own.shape))
        x, t = task.train
        loss = nn.functional.mse_loss(network(x.T)[:, 0], t[0]) / 2
        torch.testing.assert_close(task.losses(0, 0)[member], loss.detach())


def test_the_published_size_has_351_weights_and_the_points_do_not_depend_on_the_trial():
    scale = Levy.sizes["full"].scale
    tasks = [Levy([seed], 1, variables=5, points=50, hidden=scale["hidden"]) for seed in (0, 1)]
    assert sum(one.numel() for one in tasks[0].params) == 351
    assert torch.equal(tasks[0].train[0], tasks[1].train[0])
    assert not torch.equal(tasks[0].params[0], tasks[1].params[0])


@pytest.mark.parametrize("label", Levy.methods)
def test_every_method_lowers_the_error_and_the_seconds_rise(label):
    arguments = {"points": 100, "hidden": 5, "variables": 2}
    rows = run(Levy([0, 1], 30, **arguments), Levy.methods[label])
    for row, first in zip(rows, Levy([0, 1], 1, **arguments).losses(0, 0).tolist(), strict=True):
        curve = row["metrics"]["curve"]
        assert row["metrics"]["loss"] < 0.6 * first
        assert curve["step"][-1] == 30
        assert curve["seconds"] == sorted(curve["seconds"])


def made(label, seed, losses, seconds):
    curve = {"step": [1, 2], "loss": losses, "seconds": seconds}
    metrics = {"loss": losses[-1], "test_loss": losses[-1], "seconds": seconds[-1], "curve": curve}
    return {"method": label, "seed": seed, "step": 2, "metrics": metrics, "evaluations": {"losses": 1, "gradients": 3}}


def test_findings_compare_methods_trial_by_trial_and_at_equal_time(tmp_path):
    rows = [made("L-SR1", seed, [0.5, 0.2], [1.0, 2.0]) for seed in range(10)]
    rows += [made("L-SR1-N", seed, [0.6, 0.1 if seed else 0.3], [2.0, 5.0]) for seed in range(10)]
    best, compared, equal = Levy.findings(rows)
    assert "`L-SR1-N` ends at the least mean E x 1000, 120" in best
    assert "accelerates `L-SR1` holds here: `L-SR1-N` ends lower in 9 of 10 trials (60 to 98 %)" in compared
    assert "`L-SR1` is lowest: E x 1000 200" in equal
    assert "is open here" in Levy.findings([*rows[:2], *rows[10:12]])[1]
    lines = Levy.table(rows)
    assert [line["calls a step"] for line in lines] == [2, 2]
    (path,) = Levy.draw(rows, tmp_path)
    assert path.name == "levy-curves.png"
