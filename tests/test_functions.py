"""Test functions against their published starts and minima, numpy formulas and numerical slopes."""

import numpy as np
import pytest
import torch
from scipy.optimize import minimize

from benchmarks.bases.functions import functions, names, quadratic

# values at the standard starts, published with the set and in the codes of its users
PUBLISHED_STARTS = {
    "rosenbrock_100": 24.2,
    "beale": 14.203125,
    "helical_valley": 2500.0,
    "brown_badly_scaled": 999998000003.0,
    "powell_singular": 215.0,
    "wood": 19192.0,
    "rosenbrock_extended": 121.0,
    "variably_dimensioned": 2198551.1625,
    "trigonometric": 0.00707575946622,
    "broyden_tridiagonal": 21.0,
}


def point(values):
    return torch.tensor(values, dtype=torch.float64)


def around(function, count=7, seed=0):
    draw = torch.Generator().manual_seed(seed)
    start = point(function.start)
    return start + 0.1 * torch.randn(count, function.n, dtype=torch.float64, generator=draw)


@pytest.mark.parametrize("name", names())
def test_listed_minima_have_the_listed_value_and_no_slope(name):
    function = functions()[name]
    if function.minimum is None:
        found = minimize(lambda x: function.f(point(x)).item(), function.start, tol=1e-14)
        assert found.fun == pytest.approx(function.value, abs=1e-10)
        return
    lowest = point(function.minimum).requires_grad_()
    value = function.f(lowest)
    assert value.item() == pytest.approx(function.value, rel=1e-14, abs=1e-13)
    (slope,) = torch.autograd.grad(value, lowest)
    scale = max(1.0, torch.autograd.functional.hessian(function.f, lowest.detach()).abs().max().item())
    assert slope.abs().max().item() < 1e-13 * scale


@pytest.mark.parametrize("name", names())
def test_nothing_in_the_box_is_lower_than_the_listed_value(name):
    function = functions()[name]
    draw = torch.Generator().manual_seed(1)
    low, high = function.box
    inside = low + (high - low) * torch.rand(20000, function.n, dtype=torch.float64, generator=draw)
    assert function.f(inside).min().item() >= function.value
    assert all(low <= x <= high for x in [*function.start, *(function.minimum or ())])


@pytest.mark.parametrize("name", [name for name in names() if functions()[name].minimum and name != "ackley"])
def test_listed_minima_are_no_saddles(name):
    function = functions()[name]
    hessian = torch.autograd.functional.hessian(function.f, point(function.minimum))
    assert torch.linalg.eigvalsh(hessian)[0] >= -1e-12 * torch.linalg.eigvalsh(hessian)[-1]


@pytest.mark.parametrize("name", PUBLISHED_STARTS)
def test_starts_of_the_published_set_have_the_published_values(name):
    function = functions(10)[name]
    assert "More" in function.source
    assert function.f(point(function.start)).item() == pytest.approx(PUBLISHED_STARTS[name], rel=1e-11)


@pytest.mark.parametrize("name", names())
def test_points_in_a_batch_do_not_know_of_each_other(name):
    function = functions()[name]
    points = around(function, 6)
    singles = torch.stack([function.f(x) for x in points])
    torch.testing.assert_close(function.f(points.view(2, 3, -1)), singles.view(2, 3), rtol=1e-14, atol=0)
    assert function.f(points.float()).dtype == torch.float32


@pytest.mark.parametrize("name", names())
def test_first_and_second_derivatives_are_right(name):
    function = functions(4)[name]
    points = around(function, 2).requires_grad_()
    scale = function.f(points).detach().abs().max().clamp(min=1)

    def scaled(x):
        return function.f(x) / scale

    assert torch.autograd.gradcheck(scaled, points, atol=1e-6, rtol=1e-4)
    assert torch.autograd.gradgradcheck(scaled, points, atol=1e-6, rtol=1e-4)


@pytest.mark.parametrize("n", [2, 6])
def test_sums_of_residuals_follow_the_printed_formulas(n):
    x, table = np.random.default_rng(n).normal(size=n), functions(n)
    i = np.arange(1, n + 1)
    residuals = {
        "trigonometric": n - np.cos(x).sum() + i * (1 - np.cos(x)) - np.sin(x),
        "broyden_tridiagonal": [
            (3 - 2 * x[j]) * x[j] - (x[j - 1] if j else 0) - 2 * (x[j + 1] if j < n - 1 else 0) + 1 for j in range(n)
        ],
        "variably_dimensioned": [*(x - 1), (i * (x - 1)).sum(), (i * (x - 1)).sum() ** 2],
        "rosenbrock_extended": [
            r for j in range(0, n, 2) for r in (10 * (x[j + 1] - x[j] ** 2), 1 - x[j])
        ],
        "rosenbrock_chained": [r for j in range(n - 1) for r in (10 * (x[j + 1] - x[j] ** 2), 1 - x[j])],
        "dixon_price": [x[0] - 1, *(np.sqrt(j + 1) * (2 * x[j] ** 2 - x[j - 1]) for j in range(1, n))],
    }  # fmt: skip
    for name, r in residuals.items():
        assert table[name].f(point(x)).item() == pytest.approx(np.sum(np.square(r)), rel=1e-12), name


@pytest.mark.parametrize(("angle", "turns"), [(0.1, 0.1), (0.3, 0.3), (0.5, 0.5), (0.7, 0.7), (0.8, -0.2)])
def test_the_helical_valleys_angle_runs_from_minus_a_quarter_to_three_quarters(angle, turns):
    on_circle = point([np.cos(2 * np.pi * angle), np.sin(2 * np.pi * angle), 10 * turns])
    assert functions()["helical_valley"].f(on_circle).item() == pytest.approx((10 * turns) ** 2)


def test_himmelblau_has_four_minima_and_the_saddle_two():
    table = functions()
    others = [(-2.805118086952745, 3.131312518250573), (-3.779310253377747, -3.283185991286170)]
    others.append((3.584428340330492, -1.848126526964404))
    assert table["himmelblau"].f(point(others)).max() < 1e-25
    assert table["saddle"].f(point((0.0, -1.0))) == -0.25
    hessian = torch.autograd.functional.hessian(table["saddle"].f, point((0.0, 0.0)))
    assert torch.equal(hessian, torch.diag(point((1.0, -1.0))))


@pytest.mark.parametrize("condition", [1.0, 30.0, 1e4])
def test_bowls_have_the_condition_number_they_were_asked_for(condition):
    bowl, other = quadratic(5, condition, seed=3), quadratic(5, condition, seed=4)
    values = torch.linalg.eigvalsh(torch.autograd.functional.hessian(bowl.f, point(bowl.start)))
    assert (values[-1] / values[0]).item() == pytest.approx(condition)
    assert bowl.minimum != other.minimum
    assert bowl.minimum == quadratic(5, condition, seed=3).minimum


def test_the_plateau_is_almost_flat_at_its_start():
    plateau = functions()["plateau"]
    start = point(plateau.start).requires_grad_()
    (slope,) = torch.autograd.grad(plateau.f(start), start)
    assert 0 < slope.norm().item() < 1e-3


@pytest.mark.parametrize("n", [1, 3, 0, -2])
def test_odd_dimensions_are_refused(n):
    with pytest.raises(ValueError, match=f"of {n} coordinates"):
        functions(n)


def test_bowls_without_coordinates_are_refused():
    with pytest.raises(ValueError, match="condition"):
        quadratic(3, 0.5)


def test_names_are_unique_and_those_of_the_table():
    assert names() == list(functions()) == [function.name for function in functions(4).values()]
