"""SR1 matrices and trust-region steps against dense oracles."""

import numpy as np
import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from optimizers.quasi_newton._eigenvalues import eigh_small, jacobi
from optimizers.quasi_newton._lsr1 import (
    compiled,
    curvature_below,
    lsr1,
    newest_curvature,
    pair_test,
)
from optimizers.quasi_newton._steihaug import steihaug
from optimizers.quasi_newton._trust_region import (
    agreement,
    new_radius,
    obs,
    trust_region_dense,
    trust_region_diagonal,
)

torch.set_num_threads(1)


def normal(seed, *shape):
    return torch.tensor(np.random.RandomState(seed).randn(*shape))


def symmetric(seed, *shape):
    A = normal(seed, *shape, shape[-1])
    return A + A.mT


def recursion(S, Y, gamma, r=1e-8):
    """B by the update as it is printed, which pairs it used, and the largest number on the way."""
    B, kept, largest = gamma * np.eye(S.shape[1]), [], 1.0
    for s, y in zip(S, Y, strict=True):
        u = y - B @ s
        kept.append(bool(abs(u @ s) > r * np.linalg.norm(u) * np.linalg.norm(s)))
        if kept[-1]:
            B = B + np.outer(u, u) / (u @ s)
        largest = max(largest, np.abs(B).max())
    return B, kept, largest


def dense(B, n):
    eye = torch.eye(n, dtype=torch.float64)
    return torch.stack([B.product(e.expand(*B.gamma.shape, n)) for e in eye], -1)


def everywhere(S):
    return torch.ones(S.shape[:-1], dtype=torch.bool)


# ---- SR1


@pytest.mark.parametrize("gamma", [0.7, -1.3, 0.0])
@pytest.mark.parametrize(("m", "n"), [(5, 12), (7, 7), (1, 3)])
def test_the_matrix_equals_the_recursion(gamma, m, n):
    for seed in range(20):
        S = normal(seed, m, n)
        Y = S @ symmetric(seed + 100, n)
        expected, kept, largest = recursion(S.numpy(), Y.numpy(), gamma)
        B = lsr1(S, Y, everywhere(S), torch.tensor(gamma, dtype=torch.float64))
        assert B.kept.tolist() == kept
        assert np.abs(dense(B, n).numpy() - expected).max() <= 1e-12 * largest


def test_the_matrix_equals_the_compact_form():
    for gamma in (0.7, -1.3):
        S = normal(3, 4, 9)
        Y = S @ symmetric(4, 9) + 0.1 * normal(5, 4, 9)  # S'Y is not symmetric
        SY, psi = S @ Y.T, (Y - gamma * S).T
        middle = SY.tril() + SY.tril(-1).T - gamma * S @ S.T
        expected = gamma * torch.eye(9, dtype=torch.float64) + psi @ torch.linalg.solve(middle, psi.T)
        found = dense(lsr1(S, Y, everywhere(S), torch.tensor(gamma, dtype=torch.float64)), 9)
        torch.testing.assert_close(found, expected, rtol=1e-11, atol=1e-11)


def test_pairs_that_are_not_valid_may_hold_anything():
    S, Y = normal(0, 5, 8), normal(1, 5, 8)
    valid = torch.tensor([True, False, True, False, True])
    expected = recursion(S[valid].numpy(), Y[valid].numpy(), 0.5)[0]
    S[1], Y[3] = torch.nan, torch.inf
    found = dense(lsr1(S, Y, valid, torch.tensor(0.5).double()), 8)
    np.testing.assert_allclose(found, expected, rtol=1e-11, atol=1e-11)


def test_without_pairs_the_matrix_is_gamma_times_the_identity():
    S = normal(0, 3, 4)
    B = lsr1(S, S, torch.zeros(3, dtype=torch.bool), torch.tensor(2.5).double())
    torch.testing.assert_close(dense(B, 4), 2.5 * torch.eye(4, dtype=torch.float64))


def test_as_many_independent_steps_as_coordinates_give_the_matrix():
    A = symmetric(2, 8)
    S = normal(3, 8, 8)
    found = dense(lsr1(S, S @ A, everywhere(S), torch.tensor(1.0).double()), 8)
    torch.testing.assert_close(found, A, rtol=1e-10, atol=1e-10)


def test_more_pairs_than_coordinates_do_no_harm():
    A = symmetric(2, 4)
    S = normal(3, 11, 4) * torch.logspace(3, -9, 11).double().unsqueeze(-1)
    B = lsr1(S, S @ A, everywhere(S), torch.tensor(1.0).double())
    torch.testing.assert_close(dense(B, 4), A, rtol=1e-8, atol=1e-8)
    basis = B.eigenbasis()
    assert not basis.rest
    values = basis.values[basis.present]
    torch.testing.assert_close(values.sort()[0], torch.linalg.eigvalsh(A), rtol=1e-8, atol=1e-8)


def test_a_pair_that_makes_the_middle_matrix_singular_is_left_out():
    S, Y = normal(0, 3, 6), normal(1, 3, 6)
    gamma = (S[0] @ Y[0]) / (S[0] @ S[0])  # the first denominator vanishes
    B = lsr1(S, Y, everywhere(S), gamma)
    assert B.kept.tolist() == [False, True, True]
    expected = recursion(S[1:].numpy(), Y[1:].numpy(), gamma.item())[0]
    np.testing.assert_allclose(dense(B, 6), expected, rtol=1e-9, atol=1e-9)


def test_pairs_stay_usable_after_the_oldest_is_dropped():
    # the second pair passes the test behind the first one only
    S, Y = normal(0, 3, 6), normal(1, 3, 6)
    Y[1] -= S[1] * ((S[1] @ Y[1]) / (S[1] @ S[1]) - 0.5)
    assert lsr1(S, Y, everywhere(S), torch.tensor(0.5).double()).kept.all()
    B = lsr1(S[1:], Y[1:], everywhere(S[1:]), torch.tensor(0.5).double())
    assert B.kept.tolist() == [False, True]
    assert torch.isfinite(dense(B, 6)).all()


def test_the_pair_test_refuses_what_would_not_be_bounded():
    s, y = normal(0, 5), normal(1, 5)
    Bs = normal(2, 5)
    u = y - Bs
    assert pair_test(s, y, Bs)
    assert not pair_test(s - u * (s @ u) / (u @ u), y, Bs, 1e-8)
    assert not pair_test(s, Bs, Bs)
    assert not pair_test(torch.zeros(5, dtype=torch.float64), y, Bs)
    assert not pair_test(s, y * torch.nan, Bs)
    assert not pair_test(s, y * torch.inf, Bs)


def test_gamma_of_the_newest_pair_keeps_its_sign():
    s = torch.tensor([[1.0, 2.0], [1.0, 2.0], [0.0, 1.0]])
    y = torch.tensor([[3.0, 1.0], [-3.0, -1.0], [1.0, 0.0]])
    torch.testing.assert_close(newest_curvature(s, y), torch.tensor([2.0, -2.0, 1.0]).double())


@pytest.mark.parametrize("capturable", [False, True])
def test_gamma_below_the_generalised_eigenvalues_makes_the_middle_matrix_positive(capturable):
    for seed in range(9 if capturable else 30):
        S = normal(seed, 4, 9) * torch.logspace(0, -6, 4).double().unsqueeze(-1)
        Y = S @ (symmetric(seed + 50, 9) + (seed % 3) * 4 * torch.eye(9, dtype=torch.float64))
        gamma = curvature_below(S, Y, everywhere(S), capturable)
        scale = 1 / S.norm(dim=-1)
        SY = (S @ Y.T) * scale * scale[:, None]
        A, gram = SY.tril() + SY.tril(-1).T, (S @ S.T) * scale * scale[:, None]
        assert torch.linalg.eigvalsh(A - gamma * gram)[0] > 0
        found = dense(lsr1(S, Y, everywhere(S), gamma), 9)
        assert torch.linalg.eigvalsh(found)[0] >= gamma - 1e-9 * found.abs().max()


@pytest.mark.parametrize("capturable", [False, True])
@pytest.mark.parametrize("gamma", [0.7, -1.3])
def test_the_eigenbasis_is_that_of_the_matrix(gamma, capturable):
    for m, n in ((5, 12), (6, 6), (1, 4)):
        S, Y = normal(m, m, n), normal(n, m, n)
        valid = torch.arange(m) != 2
        B = lsr1(S, Y, valid, torch.tensor(gamma, dtype=torch.float64))
        basis = B.eigenbasis(capturable)
        U, present = basis.vectors, basis.present
        torch.testing.assert_close(U @ U.T, torch.diag(present.double()), rtol=0, atol=1e-12)
        rebuilt = gamma * torch.eye(n, dtype=torch.float64) + U.T @ torch.diag(basis.values - gamma) @ U
        matrix = dense(B, n)
        torch.testing.assert_close(rebuilt, matrix, rtol=0, atol=1e-12 * matrix.abs().max())
        assert int(present.sum()) == int(valid.sum())
        assert bool(basis.rest) == (valid.sum() < n).item()


@pytest.mark.parametrize("m", [1, 2, 3, 4, 7, 10, 16])
def test_jacobi_gives_eigenvalues_and_eigenvectors(m):
    A = symmetric(m, 6, m)
    A[1] *= torch.logspace(-8, 8, m).double().unsqueeze(-1) * torch.logspace(-8, 8, m).double()
    A[2] = torch.eye(m, dtype=torch.float64)
    A[3] = 0.0
    values, V = jacobi(A)
    expected = torch.linalg.eigvalsh(A)
    scale = expected.abs().amax(-1, keepdim=True).clamp(min=1e-300)
    assert ((values - expected).abs() / scale).max() <= 1e-13
    torch.testing.assert_close(V.mT @ V, torch.eye(m, dtype=torch.float64).expand(6, m, m).double(), rtol=0, atol=1e-13)
    rebuilt = V @ torch.diag_embed(values) @ V.mT
    assert ((rebuilt - A).abs().amax(-1) / scale).max() <= 1e-13


def test_a_matrix_that_is_not_finite_does_not_raise():
    A = symmetric(0, 3, 4)
    A[1, 0, 0] = torch.nan
    values, _ = eigh_small(A)
    torch.testing.assert_close(values[[0, 2]], torch.linalg.eigvalsh(A[[0, 2]]))


# ---- trust regions


def check_optimal(B, g, delta, step, tolerance=1e-10):
    """The conditions that make p a global minimiser, with sigma as given."""
    p, sigma = step.p, step.sigma
    scale = max(1.0, float(B.abs().max()), float(g.norm()))
    assert (B @ p + sigma * p + g).norm() <= tolerance * scale * max(1.0, float(delta))
    assert p.norm() <= delta * (1 + tolerance)
    assert sigma >= -tolerance * scale
    assert sigma * (delta - p.norm()) <= tolerance * scale * max(1.0, float(delta))
    assert torch.linalg.eigvalsh(B)[0] + sigma >= -tolerance * scale
    torch.testing.assert_close(step.predicted, -(g @ p + p @ B @ p / 2), rtol=1e-9, atol=1e-12 * scale)


def random_lsr1(seed, m=5, n=12):
    S, Y = normal(seed, m, n), normal(seed + 1000, m, n)
    gamma = torch.tensor([0.9, -0.8, 0.0, 3.0][seed % 4]).double()
    return lsr1(S, Y, everywhere(S), gamma), n


@pytest.mark.parametrize("capturable", [False, True])
def test_obs_solves_the_subproblem(capturable):
    for seed in range(15 if capturable else 60):
        B, n = random_lsr1(seed, n=12 if seed % 5 else 5)
        g = normal(seed + 2000, n) * 10.0 ** (seed % 7 - 4)
        matrix = dense(B, n)
        delta = torch.tensor(10.0 ** (seed % 5 - 2), dtype=torch.float64)
        step = obs(B.eigenbasis(capturable), g, delta)
        check_optimal(matrix, g, delta, step)
        value = trust_region_dense(matrix, g, delta)
        torch.testing.assert_close(step.predicted, value.predicted, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("noise", [0.0, 1e-17, 1e-14, 1e-11, 1e-8, 1e-4])
def test_obs_solves_the_hard_case_and_its_neighbours(noise):
    for seed in range(20):
        B, n = random_lsr1(seed)
        matrix, basis = dense(B, n), B.eigenbasis()
        u = torch.linalg.eigh(matrix)[1][:, 0]
        if basis.gamma <= basis.values.min():  # the smallest eigenvalue is gamma's, with a space of its own
            g = normal(seed + 3000, 5) @ basis.vectors + noise * u
        else:
            g = normal(seed + 3000, n)
            g = g - (g @ u) * u + noise * u
        for delta in (0.1, 1e3):
            delta = torch.tensor(delta, dtype=torch.float64)
            step = obs(basis, g, delta)
            check_optimal(matrix, g, delta, step, 1e-10)
            assert abs(step.p.norm() / delta - 1) <= 1e-10


def test_a_gradient_of_zero_leaves_along_negative_curvature_only():
    for seed in range(8):
        B, n = random_lsr1(seed)
        matrix = dense(B, n)
        step = obs(B.eigenbasis(), torch.zeros(n).double(), torch.tensor(2.0).double())
        smallest = torch.linalg.eigvalsh(matrix)[0]
        assert smallest < 0
        torch.testing.assert_close(step.p @ matrix @ step.p, 4 * smallest, rtol=1e-9, atol=1e-9)
    S = normal(0, 3, 4)
    B = lsr1(S, S, torch.zeros(3, dtype=torch.bool), torch.tensor(1.0).double())
    assert obs(B.eigenbasis(), torch.zeros(4).double(), torch.tensor(2.0).double()).p.norm() == 0


def test_the_dense_solver_meets_the_optimality_conditions():
    for seed in range(40):
        B, g = symmetric(seed, 7), normal(seed + 10, 7)
        if seed % 2:
            V = torch.linalg.eigh(B)[1]
            g = g - V[:, 0] * (V[:, 0] @ g)
        for delta in (1e-3, 1.0, 1e4):
            delta = torch.tensor(delta, dtype=torch.float64)
            check_optimal(B, g, delta, trust_region_dense(B, g, delta))


def test_newtons_iteration_ends_within_its_number():
    values = torch.tensor(np.sort(np.random.RandomState(0).standard_cauchy((2000, 8)), -1))
    a = normal(1, 2000, 8) * 10.0 ** torch.randint(-9, 4, (2000, 8), generator=torch.Generator().manual_seed(0))
    delta = 10.0 ** torch.linspace(-6, 6, 2000).double()
    everyone = torch.ones_like(values, dtype=torch.bool)
    x, _ = trust_region_diagonal(values, a, delta, everyone)
    longer, _ = trust_region_diagonal(values, a, delta, everyone, iterations=60)
    torch.testing.assert_close(x, longer, rtol=1e-9, atol=0)


def test_steihaug_equals_obs_where_the_step_stays_inside():
    for seed in range(10):
        S = normal(seed, 5, 12)
        A = normal(seed + 7, 12, 12)
        B = lsr1(
            S, S @ (A @ A.T + torch.eye(12, dtype=torch.float64)), everywhere(S), torch.tensor(0.05).double()
        )  # below: B is positive definite
        g, delta = normal(seed + 9, 12), torch.tensor(1e3).double()
        exact = obs(B.eigenbasis(), g, delta)
        assert exact.sigma == 0
        step = steihaug(B.product, g, delta, 1e-12, 100)
        torch.testing.assert_close(step.p, exact.p, rtol=1e-8, atol=1e-9)
        torch.testing.assert_close(step.predicted, exact.predicted, rtol=1e-9, atol=1e-9)


def test_steihaug_keeps_to_the_region_and_beats_the_steepest_point():
    for seed in range(40):
        B, n = random_lsr1(seed)
        g = normal(seed + 5, n)
        delta = torch.tensor(10.0 ** (seed % 4 - 2), dtype=torch.float64)
        matrix, step = dense(B, n), steihaug(B.product, g, delta, 1e-10, 50)
        torch.testing.assert_close(step.predicted, -(g @ step.p + step.p @ matrix @ step.p / 2), rtol=1e-9, atol=1e-12)
        assert step.p.norm() <= delta * (1 + 1e-12)
        curvature, length = g @ matrix @ g, g.norm()
        t = delta / length if curvature <= 0 else torch.minimum(delta / length, length**2 / curvature)
        assert step.predicted >= (t * length**2 - t**2 * curvature / 2) * (1 - 1e-9)
        assert step.predicted <= obs(B.eigenbasis(), g, delta).predicted * (1 + 1e-9)


@pytest.mark.parametrize("unit", [1.0, 1e-4, 1e-8])
def test_steihaug_tells_flat_directions_in_any_unit(unit):
    """A short gradient makes d'Bd small, which is not negative curvature."""
    B, g = torch.diag(torch.tensor([1.0, 2.0, 3.0])).double(), normal(0, 3)
    step = steihaug(lambda v: B @ v, unit * g, torch.tensor(1.0).double() * 10, 1e-14 * unit, 20)
    torch.testing.assert_close(step.p / unit, -g / torch.diagonal(B))


def test_the_number_of_iterations_of_steihaug_is_a_bound_not_a_result():
    B = torch.stack([torch.diag(torch.tensor([1.0, 2.0, 3.0])), torch.diag(torch.tensor([1.0, -2.0, 3.0]))]).double()
    g, delta = normal(0, 2, 3), torch.tensor([5.0, 0.3]).double()
    runs = [
        steihaug(lambda v: (B @ v.unsqueeze(-1)).squeeze(-1), g, delta, 1e-10, 40, early_exit=flag)
        for flag in (True, False)
    ]
    assert torch.equal(runs[0].p, runs[1].p)
    torch.testing.assert_close(runs[0].p[0], -g[0] / torch.tensor([1.0, 2.0, 3.0]), rtol=1e-9, atol=1e-10)


def test_members_do_not_see_each_other():
    S, Y, g = normal(0, 6, 5, 37), normal(1, 6, 5, 37), normal(2, 6, 37)
    A = symmetric(3, 6, 37)
    gamma = torch.tensor([0.5, -0.5, 1.0, 2.0, 0.0, 1.0]).double()
    delta = torch.logspace(-2, 2, 6).double()
    Y[4, 2, 3] = torch.nan
    order = torch.tensor([3, 0, 4, 5, 1, 2])

    def solve(index):
        B = lsr1(S[index], Y[index], everywhere(S[index]), gamma[index])
        found = [obs(B.eigenbasis(flag), g[index], delta[index]).p for flag in (False, True)]
        below = curvature_below(S[index], Y[index], everywhere(S[index]))
        whole = trust_region_dense(A[index], g[index], delta[index]).p
        return [*found, steihaug(B.product, g[index], delta[index], 1e-10, 30).p, whole, below]

    everyone, permuted = solve(torch.arange(6)), solve(order)
    for a, b in zip(everyone, permuted, strict=True):
        assert torch.equal(a[order], b)
        assert torch.isfinite(a).all()
    for i in range(6):
        for a, b in zip(everyone, solve(torch.tensor(i)), strict=True):
            torch.testing.assert_close(a[i], b, rtol=1e-10, atol=1e-10)


def test_steps_in_single_precision_are_near_those_in_double():
    B, n = random_lsr1(3)
    g, delta = normal(8, n), torch.tensor(0.7).double()
    single = obs(B.eigenbasis(), g.float(), delta.float())
    assert single.p.dtype == torch.float32
    torch.testing.assert_close(single.p.double(), obs(B.eigenbasis(), g, delta).p, rtol=1e-5, atol=1e-5)


def test_nothing_is_read_from_the_device():
    with FakeTensorMode():
        S, Y, g = torch.randn(3, 2, 9), torch.randn(3, 2, 9), torch.randn(3, 9)
        valid, delta = torch.rand(3, 2) > 0.5, torch.rand(3)
        gamma = curvature_below(S, Y, valid, capturable=True) + newest_curvature(S[:, -1], Y[:, -1])
        B = lsr1(S, Y, valid, gamma)
        exact = obs(B.eigenbasis(capturable=True), g, delta)
        step = steihaug(B.product, g, delta, 1e-6, 6, early_exit=False)
        whole = trust_region_dense(torch.randn(3, 9, 9), g, delta)
        for p in (exact.p, step.p, whole.p):
            assert p.shape == (3, 9)
        ratio = agreement(torch.rand(3), torch.rand(3), exact.predicted)
        assert new_radius(delta, ratio, exact.p.norm(dim=-1)).shape == (3,)


# ---- the radius


def test_the_radius_follows_the_rules():
    nan, inf = torch.nan, torch.inf
    ratio = torch.tensor([0.76, 0.76, 0.75, 0.1, 0.09, -1.0, nan, -inf, inf])
    length = torch.tensor([0.5, 2.0, 2.0, 2.0, 2.0, 2.0, 2.0, 2.0, 2.0])
    delta = torch.full((9,), 2.0)
    safer = [2.0, 4.0, 2.0, 2.0, 1.0, 1.0, 1.0, 1.0, 4.0]
    assert new_radius(delta, ratio, length).tolist() == safer
    assert new_radius(delta, ratio, length, "basic").tolist() == [4.0, *safer[1:]]
    assert new_radius(delta, ratio, length, largest=3.0).tolist() == [3.0 if x == 4.0 else x for x in safer]
    with pytest.raises(ValueError, match="rule = 'safest'"):
        new_radius(delta, ratio, length, "safest")


def test_agreement_refuses_what_is_not_finite_and_steps_that_promise_nothing():
    nan, inf = torch.nan, torch.inf
    before = torch.tensor([1.0, 1.0, 1.0, 1.0, nan, 1.0]).double()
    after = torch.tensor([0.5, nan, inf, -inf, 0.0, 0.5]).double()
    predicted = torch.tensor([1.0, 1.0, 1.0, 1.0, 1.0, 0.0]).double()
    found = agreement(before, after, predicted)
    torch.testing.assert_close(found, torch.tensor([0.5, -inf, -inf, -inf, -inf, -inf]).double())
    drowned = agreement(torch.tensor(1.0), torch.tensor(1.0 + 1.2e-7), torch.tensor(1e-12))
    assert drowned > 0.5


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("shape", [(5, 12), (6, 4), (1, 3)], ids=str)
def test_a_population_compiled_has_the_matrices_in_torch(shape, dtype, monkeypatch):
    """On one thread of the processor they are compiled; with several torch makes them."""
    m, n = shape
    S, Y, gamma = normal(1, 6, m, n).to(dtype), normal(2, 6, m, n).to(dtype), normal(3, 6).double()
    Y[1] = S[1] @ symmetric(4, n).to(dtype)  # that B satisfies all pairs once they span the space
    S[2, -1], Y[3, 0] = 0.0, torch.nan
    valid = torch.rand(6, m, generator=torch.Generator().manual_seed(5)) > 0.3
    valid[0], valid[4] = True, False
    v, found = normal(6, 6, n).double(), []
    for threads in (1, 2):
        monkeypatch.setattr(torch, "get_num_threads", lambda threads=threads: threads)
        assert (compiled(S) is None) == (threads == 2)
        B = lsr1(S, Y, valid, gamma)
        basis = B.eigenbasis()
        product = (basis.vectors * basis.values.unsqueeze(-1) * (basis.vectors @ v.unsqueeze(-1))).sum(1)
        found.append((B.present, B.kept, B.T, B.product(v), basis.present, basis.values, product))
    for mine, theirs in zip(*found, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-9, atol=1e-9)
    kept = found[0][1]
    assert kept[0].any()
    assert not torch.cat([kept[4], kept[3, :1], kept[2, -1:]]).any()
