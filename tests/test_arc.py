"""ARCs-LSR1: the closed form, the rule of sigma, convergence, populations."""

import copy

import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from torch._subclasses.fake_tensor import FakeTensorMode

from optimizers.quasi_newton._lsr1 import lsr1
from optimizers.second_order.arclsr1 import ARCLSR1, cubic_diagonal, cubic_step, next_sigma

torch.set_num_threads(1)


def normal(seed, *shape):
    return torch.tensor(np.random.RandomState(seed).randn(*shape))


def best_of_twenty(slope, curvature, sigma):
    """The least value of slope x + curvature x^2 / 2 + sigma |x|^3 / 3 that twenty numerical searches find."""
    reach = 2 * (abs(curvature) + np.sqrt(curvature**2 + 4 * sigma * abs(slope))) / sigma + 1e-3

    def value(x):
        x = x.item()
        return slope * x + curvature * x**2 / 2 + sigma / 3 * abs(x) ** 3, slope + curvature * x + sigma * abs(x) * x

    return min(minimize(value, [x], jac=True, tol=1e-12).fun for x in np.linspace(-reach, reach, 20))


@pytest.mark.parametrize("slope", [0.0, 1e-9, -0.7, 5.0])
@pytest.mark.parametrize("curvature", [-3.0, -1e-6, 0.0, 1e-6, 2.0])
def test_the_closed_form_is_at_most_what_searches_find(slope, curvature):
    for sigma in (1e-2, 1.0, 50.0):
        exact = [torch.tensor(one, dtype=torch.float64) for one in ([curvature], [slope], sigma)]
        x = cubic_diagonal(*exact).item()
        found = slope * x + curvature * x**2 / 2 + sigma / 3 * abs(x) ** 3
        least = best_of_twenty(slope, curvature, sigma)
        assert found <= least + 1e-12 * (1 + abs(least))
        terms = (slope, curvature * x, sigma * abs(x) * x)
        assert abs(sum(terms)) <= 1e-14 * sum(abs(term) for term in terms)


def test_negative_curvature_moves_without_a_slope():
    x = cubic_diagonal(torch.tensor([-3.0]), torch.tensor([0.0]), torch.tensor(0.5))
    assert abs(x.item()) == pytest.approx(6.0)
    assert cubic_diagonal(torch.tensor([0.0, 2.0]), torch.zeros(2), torch.tensor(0.5)).tolist() == [0.0, 0.0]


def test_the_step_minimises_the_cubic_model_in_its_basis():
    for seed in range(2):
        S, Y, g = normal(seed, 4, 9), normal(seed + 1, 4, 9), normal(seed + 2, 9) * 10.0 ** (seed % 4 - 2)
        gamma = torch.tensor(1.7, dtype=torch.float64)
        sigma = torch.tensor(10.0 ** (seed % 3 - 1), dtype=torch.float64)
        basis = lsr1(S, Y, torch.ones(4, dtype=torch.bool), gamma).eigenbasis()
        step = cubic_step(basis, g, sigma)
        # a full basis, whose first vector outside is along the rest of g
        outside = g - basis.vectors.T @ (basis.vectors @ g)
        U = torch.linalg.qr(torch.cat([basis.vectors, outside[None], normal(seed + 3, 4, 9)]).T)[0].T
        values = torch.cat([basis.values, gamma.expand(5)])
        total = 0.0
        for u, value in zip(U, values, strict=True):
            total += best_of_twenty((u @ g).item(), value.item(), sigma.item())
        x = U @ step.p
        model = (U @ g * x + values * x**2 / 2 + sigma / 3 * x.abs() ** 3).sum()
        torch.testing.assert_close(step.predicted, -model, rtol=1e-9, atol=1e-12)
        assert model <= total + 1e-9 * abs(total)


def test_sigma_follows_its_rule():
    ratio = torch.tensor([0.95, 0.9, 0.5, 0.01, 0.009, -3.0, torch.nan, -torch.inf, torch.inf])
    sigma = torch.full((9,), 2.0)
    assert next_sigma(sigma, ratio).tolist() == [1.0, 2.0, 2.0, 2.0, 4.0, 4.0, 4.0, 4.0, 1.0]
    rule = next_sigma(sigma, ratio, 0.1, 0.9, 1.5, 2.5).tolist()
    assert rule == [1.0, 2.5, 2.5, 4.0, 4.0, 4.0, 4.0, 4.0, 1.0]


def setting(loss, start, **options):
    w = torch.nn.Parameter(start.clone())
    optimizer = ARCLSR1([w], **options)

    def closure(backward=True):
        optimizer.zero_grad()
        value = loss(w)
        if backward:
            value.sum().backward()
        return value

    return optimizer, w, closure


def minimise(loss, start, steps, **options):
    optimizer, w, closure = setting(loss, start, **options)
    for _ in range(steps):
        closure()
        if w.grad.norm() <= 1e-8:
            break
        optimizer.step(closure)
    closure()
    return optimizer, w


def rosenbrock(coefficient):
    return lambda w: (1 - w[0]) ** 2 + coefficient * (w[1] - w[0] ** 2) ** 2


@pytest.mark.parametrize("gamma", ["newest", "below"])
@pytest.mark.parametrize("coefficient", [1.0, 100.0])
def test_rosenbrocks_valley_is_followed_to_its_end(coefficient, gamma):
    _, w = minimise(rosenbrock(coefficient), torch.tensor([-1.2, 1.0]).double(), 250, gamma=gamma, full_batch=True)
    assert w.grad.norm() <= 1e-8
    torch.testing.assert_close(w.detach(), torch.ones(2).double(), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("gamma", ["newest", "below"])
def test_convex_quadratics_are_solved(gamma):
    for seed in range(3):
        V = torch.linalg.qr(normal(seed, 8, 8))[0]
        A, solution = V @ torch.diag(torch.linspace(1, 20, 8).double()) @ V.T, normal(seed + 9, 8)
        _, w = minimise(
            lambda w, A=A, x=solution: 0.5 * (w - x) @ A @ (w - x), torch.zeros(8).double(), 200, gamma=gamma
        )
        assert w.grad.norm() <= 1e-8
        torch.testing.assert_close(w.detach(), solution, rtol=1e-7, atol=1e-7)


def test_a_saddle_is_left_once_its_curvature_was_seen():
    _, w = minimise(lambda w: (w[0] ** 2 - 1) ** 2 + w[1] ** 2, torch.tensor([1e-3, 0.5]).double(), 100)
    torch.testing.assert_close(w.detach().abs(), torch.tensor([1.0, 0.0]).double(), rtol=1e-7, atol=1e-7)


def test_a_full_batch_needs_one_gradient_a_step():
    runs = []
    for flag in (False, True):
        optimizer, w, closure = setting(rosenbrock(1.0), torch.tensor([-1.2, 1.0]).double(), full_batch=flag)
        for _ in range(8):
            optimizer.step(closure)
        runs.append((w.detach(), optimizer.counters()["n_gradients"]))
    assert torch.equal(runs[0][0], runs[1][0])
    assert [count for _, count in runs] == [16, 9]


def test_both_losses_and_both_gradients_of_a_step_are_of_one_batch():
    batches = normal(0, 12, 4, 6)
    seen = []
    w = torch.nn.Parameter(torch.zeros(6, dtype=torch.float64))
    optimizer = ARCLSR1([w])
    for k, batch in enumerate(batches):
        before = w.detach().clone()

        def closure(backward=True, batch=batch, k=k):
            optimizer.zero_grad()
            loss = ((batch @ w - 1) ** 2).mean()
            if backward:
                loss.backward()
            seen.append(k)
            return loss

        optimizer.step(closure)
        s, y = optimizer.memory["S"][-1], optimizer.memory["Y"][-1]
        torch.testing.assert_close(y, batch.T @ (batch @ s) / 2, rtol=1e-6, atol=1e-9)
        loss = [((batch @ x - 1) ** 2).mean() for x in (before, w.detach())]
        assert loss[1] <= loss[0]
    assert seen == [k for k in range(12) for _ in range(2)]


def test_the_pair_of_a_refused_step_gives_way_to_the_next():
    optimizer, _, closure = setting(rosenbrock(100.0), torch.tensor([-1.2, 1.0]).double(), sigma=1e-6)
    refused = [0]
    for _ in range(40):
        before = optimizer.memory["S"].clone() if optimizer.k else None
        passing = optimizer.k > 0 and bool(optimizer.memory["passing"])
        optimizer.step(closure)
        refused.append(optimizer.counters()["n_rejected"])
        after = optimizer.memory["S"]
        if before is not None and not torch.equal(before, after):
            kept = before[:-1] if passing else before[1:]
            assert torch.equal(after[:-1], kept)
    assert 0 < refused[-1] < 40


# ---- populations


def population(starts, scale, steps, **options):
    def loss(w):
        x = w * scale[:, None]
        return (x**2 + torch.cos(3 * x)).sum(-1) + (x[:, 1:] - x[:, :-1] ** 2).square().sum(-1)

    optimizer, w, closure = setting(loss, starts, member_dims=1, m=4, **options)
    for _ in range(steps):
        optimizer.step(closure)
    return w.detach(), optimizer


@pytest.mark.parametrize("options", [{}, {"capturable": True, "gamma": "below"}, {"pairs": "accepted", "lr": 0.7}])
def test_members_move_as_if_alone(options):
    starts, scale = normal(5, 5, 13), torch.linspace(0.5, 2, 5, dtype=torch.float64)
    order = torch.tensor([3, 1, 4, 0, 2])
    together, _ = population(starts, scale, 4, **options)
    assert torch.equal(population(starts[order], scale[order], 4, **options)[0], together[order])
    for i in range(5):
        alone, _ = population(starts[i : i + 1], scale[i : i + 1], 4, **options)
        torch.testing.assert_close(alone[0], together[i], rtol=1e-10, atol=1e-10)


def test_one_network_moves_as_a_population_of_one():
    start = normal(3, 13)
    together, _ = population(start[None], torch.ones(1).double(), 6)

    def loss(x):
        return (x**2 + torch.cos(3 * x)).sum() + (x[1:] - x[:-1] ** 2).square().sum()

    optimizer, w, closure = setting(loss, start, m=4)
    for _ in range(6):
        optimizer.step(closure)
    torch.testing.assert_close(w.detach(), together[0], rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("full_batch", [False, True])
def test_a_member_of_nan_stands_still_alone(full_batch):
    starts, scale = normal(5, 4, 13), torch.ones(4, dtype=torch.float64)
    good, _ = population(starts, scale, 4, full_batch=full_batch)
    scale[2] = torch.nan
    found, optimizer = population(starts, scale, 4, full_batch=full_batch)
    others = torch.tensor([0, 1, 3])
    assert torch.equal(found[2], starts[2])
    assert torch.equal(found[others], good[others])
    assert optimizer.counters()["n_nonfinite"] == [0, 0, 4, 0]
    assert not optimizer.memory["valid"][2].any()
    assert optimizer.memory["valid"][others].any(-1).all()


def test_a_trial_that_is_not_finite_is_refused():
    optimizer, w, closure = setting(
        lambda w: w[0] - torch.log(w[0]) + w[1] ** 2, torch.tensor([0.01, 1.0]).double(), sigma=1e-8
    )
    for _ in range(60):
        optimizer.step(closure)
        assert torch.isfinite(closure())
    torch.testing.assert_close(w.detach(), torch.tensor([1.0, 0.0]).double(), rtol=1e-6, atol=1e-6)
    assert optimizer.counters()["n_nonfinite"] == 0


@pytest.mark.parametrize("full_batch", [False, True])
def test_a_copy_goes_on_bit_for_bit(full_batch):
    start = torch.tensor([-1.2, 1.0]).double()
    optimizer, w, closure = setting(rosenbrock(100.0), start, full_batch=full_batch)
    for _ in range(7):
        optimizer.step(closure)
    saved, there = copy.deepcopy(optimizer.state_dict()), w.detach().clone()
    other, x, again = setting(rosenbrock(100.0), there, full_batch=full_batch)
    other.load_state_dict(saved)
    for _ in range(5):
        optimizer.step(closure)
        other.step(again)
    assert torch.equal(w.detach(), x.detach())
    assert not torch.equal(w.detach(), there)


def test_a_step_reads_nothing_from_the_device():
    with FakeTensorMode():
        w = torch.nn.Parameter(torch.randn(3, 7))
        optimizer = ARCLSR1([w], member_dims=1, m=2, capturable=True)

        def closure(backward=True):
            optimizer.zero_grad()
            loss = (w**4).sum(-1)
            if backward:
                loss.sum().backward()
            return loss

        for _ in range(2):
            optimizer.step(closure)
        assert w.shape == (3, 7)
