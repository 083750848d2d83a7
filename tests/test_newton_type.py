"""Conjugate gradients, Hessian and Gauss-Newton products, and the methods that are made of them."""

import copy
import itertools
import math
import pickle

import numpy as np
import pytest
import scipy.linalg
import scipy.sparse.linalg
import torch
from torch import nn

from optimizers._products import Differentiated, dense_hessian
from optimizers.quasi_newton._steihaug import steihaug
from optimizers.second_order._cg import cg, pcg, superlinear
from optimizers.second_order._curvature import GaussNewton, hold_unused, reduction_ratio
from optimizers.second_order.damped_newton import DampedNewton
from optimizers.second_order.hessian_free import HessianFree
from optimizers.second_order.newton import Newton
from optimizers.second_order.newton_cg import NewtonCG

torch.set_num_threads(1)


def saddle_free(params, **options):
    return DampedNewton(params, indefinite="abs", **options)


def hessian_free(params, **options):
    return HessianFree(params, product="hessian", **options)


METHODS = [Newton, DampedNewton, saddle_free, NewtonCG, HessianFree, hessian_free]
DESCENDING = METHODS[1:]


def draw(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def definite(*shape, seed=0):
    """Positive definite matrices (*shape, n, n), condition about 100."""
    *before, n = shape
    Q = torch.linalg.qr(draw(*before, n, n, seed=seed)).Q
    return Q * torch.logspace(0, 2, n, dtype=torch.float64) @ Q.mT


def times(A):
    return lambda v: (A @ v.unsqueeze(-1)).squeeze(-1)


def closure_of(optimizer, outputs_of, loss_of):
    """A closure for all methods; HessianFree with Gauss-Newton products gets outputs."""
    wants_outputs = isinstance(optimizer, HessianFree) and optimizer.option("product") == "gauss_newton"

    def closure(backward=True):
        optimizer.zero_grad()
        outputs = outputs_of()
        loss = loss_of(outputs)
        if backward:
            loss.sum().backward()
        return (loss, outputs) if wants_outputs else loss

    return closure


def rosenbrock(w):
    """Residuals whose squares add up to Rosenbrock's function, (*members, 2 (n - 1))."""
    return torch.cat([10 * (w[..., 1:] - w[..., :-1] ** 2), 1 - w[..., :-1]], -1)


def squares(r):
    return (r**2).sum(-1)


def start(n, members=()):
    w = torch.tensor([-1.2, 1.0], dtype=torch.float64).repeat(n)[:n].expand(*members, n).clone()
    if members:
        w += 0.3 * draw(*members, n)
    return w.requires_grad_()


def network(seed=0, frozen=False):
    """A network 3-4-2, inputs and classes; returns (parameters, outputs(), loss(outputs))."""
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2)).double()
    x, t = draw(20, 3, seed=seed), (draw(20, seed=seed + 1) > 0).long()
    if frozen:
        model[0].bias.requires_grad_(False)
    return list(model.parameters()), lambda: model(x), lambda z: nn.functional.cross_entropy(z, t)


def flat(tensors):
    return torch.cat([one.detach().reshape(-1) for one in tensors])


def differentiated(kind, optimizer, closure):
    """A Differentiated or GaussNewton where the optimizer's weights are."""
    with torch.no_grad():
        w = optimizer._begin()
        optimizer._closure, optimizer._returned, optimizer._at = closure, None, w
        return kind(optimizer, w)


# ---- conjugate gradients


@pytest.mark.parametrize("members", [(), (4,), (2, 3)])
def test_cg_and_pcg_solve_linear_systems(members):
    A, b = definite(*members, 15), draw(*members, 15, seed=1)
    exact = torch.linalg.solve(A, b)
    M = 1 / A.diagonal(dim1=-2, dim2=-1)
    for found in (
        cg(times(A), b, rtol=1e-13),
        cg(times(A), b, x0=draw(*members, 15, seed=2), rtol=1e-13),
        pcg(times(A), b, M, rtol=1e-13),
        pcg(times(A), b, lambda r: M * r, rtol=1e-13),
        cg(times(A), b, rtol=1e-13, max_iterations=60, check_every=0),
    ):
        assert found.converged.all()
        assert not found.negative.any()
        torch.testing.assert_close(found.x, exact, rtol=1e-10, atol=1e-11)


def test_cg_ends_within_as_many_steps_as_there_are_eigenvalues():
    Q = torch.linalg.qr(draw(20, 20)).Q
    A = Q * torch.tensor([1.0, 4.0, 9.0, 100.0], dtype=torch.float64).repeat(5) @ Q.T
    assert cg(times(A), draw(20, seed=1), rtol=1e-10).iterations == 4


def test_pcg_with_the_inverse_takes_one_step():
    A = definite(3, 8)
    found = pcg(times(A), draw(3, 8, seed=1), times(torch.linalg.inv(A)), rtol=1e-10)
    assert found.iterations.tolist() == [1, 1, 1]


# rounding decides about the last step of the first tolerances; the others lie between two residuals far apart
@pytest.mark.parametrize(("tolerances", "slack"), [([1e-2, 1e-10, 1e-6], 1), ([1e-2, 3e-5, 1e-1], 0)])
def test_a_member_stops_by_its_own_tolerance_and_is_not_moved_by_others(tolerances, slack):
    A, b = definite(3, 12), draw(3, 12, seed=1)
    b[1] *= 1e-6
    rtol = torch.tensor(tolerances, dtype=torch.float64)
    together = cg(times(A), b, rtol=rtol)
    assert (together.residual <= rtol * torch.linalg.vector_norm(b, dim=-1)).all()
    for i in range(3):
        alone = cg(times(A[i]), b[i], rtol=float(rtol[i]))
        assert abs(int(alone.iterations) - int(together.iterations[i])) <= slack
        assert (alone.x - together.x[i]).norm() <= 2 * rtol[i] * b[i].norm()  # least eigenvalue 1
    near = torch.linalg.solve(A, b) * (1 + 1e-6)  # the tolerance is relative to b, wherever the start is
    assert cg(times(A), b, x0=near, rtol=1e-5).iterations.tolist() == [0, 0, 0]
    assert cg(times(A), b, rtol=0.0, atol=1e9).iterations.tolist() == [0, 0, 0]


def test_cg_reports_a_direction_of_negative_curvature():
    A, b = definite(2, 9), draw(2, 9, seed=1)
    A[1] -= 20 * torch.eye(9, dtype=torch.float64)
    found = cg(times(A), b, rtol=1e-12)
    assert found.negative.tolist() == [False, True]
    assert found.converged.tolist() == [True, False]
    d = found.direction[1]
    assert d @ A[1] @ d < 0
    assert not found.direction[0].any()


def test_cg_leaves_a_member_whose_products_are_not_finite_at_its_last_iterate():
    A, b = definite(2, 6), draw(2, 6, seed=1)
    A[1, 0, 0] = torch.nan
    found = cg(times(A), b, rtol=1e-12)
    assert found.converged.tolist() == [True, False]
    assert not found.x[1].any()
    torch.testing.assert_close(found.x[0], torch.linalg.solve(A[0], b[0]))


def test_superlinear_tolerance_falls_with_the_gradient():
    b = torch.tensor([[100.0, 0.0], [1e-4, 0.0]], dtype=torch.float64)
    torch.testing.assert_close(superlinear(b), torch.tensor([0.5, 1e-2], dtype=torch.float64))


# ---- Steihaug


def trust_region_optimum(H, g, radius):
    """Largest decrease of the model within the radius, by eigenvalues and bisection."""
    values, Q = np.linalg.eigh(H.numpy())
    a = Q.T @ g.numpy()

    def length(sigma):
        return np.linalg.norm(a / (values + sigma))

    low = max(0.0, -values[0]) + 1e-14
    if values[0] > 0 and length(0.0) <= radius:
        sigma = 0.0
    else:
        high = low + 1.0
        while length(high) > radius:
            high *= 2
        for _ in range(200):
            middle = 0.5 * (low + high)
            low, high = (middle, high) if length(middle) > radius else (low, middle)
        sigma = high
    p = -Q @ (a / (values + sigma))
    return -(g.numpy() @ p + 0.5 * p @ H.numpy() @ p)


def test_steihaug_within_a_large_region_is_the_newton_step():
    H, g = definite(3, 10), draw(3, 10, seed=1)
    found = steihaug(times(H), g, torch.full((3,), 1e3, dtype=torch.float64), 1e-12, 100)
    assert not found.boundary.any()
    torch.testing.assert_close(found.p, -torch.linalg.solve(H, g), rtol=1e-9, atol=1e-10)
    torch.testing.assert_close(found.predicted, 0.5 * (g * torch.linalg.solve(H, g)).sum(-1))


@pytest.mark.parametrize("radius", [1e-3, 0.05, 0.3])
def test_steihaug_on_the_boundary_takes_at_least_half_of_the_best_decrease(radius):
    # the bound for definite H is Yuan's (2000)
    H, g = definite(6, 10), draw(6, 10, seed=1)
    found = steihaug(times(H), g, torch.full((6,), radius, dtype=torch.float64), 1e-10, 100)
    assert found.boundary.any()
    lengths = torch.linalg.vector_norm(found.p, dim=-1)
    torch.testing.assert_close(lengths[found.boundary], torch.full_like(lengths[found.boundary], radius))
    torch.testing.assert_close(found.Bp, times(H)(found.p), rtol=1e-10, atol=1e-12)
    for i in range(6):
        best = trust_region_optimum(H[i], g[i], radius)
        assert 0.5 * best <= found.predicted[i] <= best * (1 + 1e-8)


def test_steihaug_follows_negative_curvature_to_the_boundary():
    H, g = definite(2, 10), draw(2, 10, seed=1)
    H[0] -= 30 * torch.eye(10, dtype=torch.float64)
    radius = torch.tensor([2.0, 100.0], dtype=torch.float64)
    found = steihaug(times(H), g, radius, 1e-10, 100)
    assert found.negative.tolist() == [True, False]
    p = found.p[0]
    torch.testing.assert_close(p.norm(), radius[0])
    torch.testing.assert_close(found.predicted[0], -(g[0] @ p + 0.5 * p @ H[0] @ p))
    cauchy = 2.0 * g[0].norm() - 0.5 * 4.0 * (g[0] @ H[0] @ g[0]) / (g[0] @ g[0])  # to the boundary along -g
    assert cauchy * (1 - 1e-12) <= found.predicted[0] <= trust_region_optimum(H[0], g[0], 2.0) * (1 + 1e-6)


def test_steihaug_of_a_zero_or_nan_gradient_takes_no_step():
    g = draw(3, 4)
    g[0], g[1, 2] = 0.0, torch.nan
    found = steihaug(times(definite(3, 4)), g, torch.ones(3, dtype=torch.float64), 1e-10, 100)
    assert not found.p[:2].any()
    assert found.p[2].any()


# ---- products


@pytest.mark.parametrize("options", [{}, {"weight_decay": 0.3}, {"maximize": True, "weight_decay": 0.3}], ids=str)
def test_products_are_those_of_the_dense_hessian(options):
    params, outputs_of, loss_of = network()
    optimizer = Newton(params, **options)
    of = differentiated(Differentiated, optimizer, closure_of(optimizer, outputs_of, loss_of))
    shapes = [one.shape for one in params]

    def objective(w):
        parts = [part.view(shape) for part, shape in zip(w.split([one.numel() for one in params]), shapes, strict=True)]
        hidden = torch.tanh(draw(20, 3) @ parts[0].T + parts[1])
        loss = loss_of(hidden @ parts[2].T + parts[3])
        return (-loss if options.get("maximize") else loss) + 0.5 * options.get("weight_decay", 0.0) * w @ w

    H = torch.autograd.functional.hessian(objective, flat(params))
    torch.testing.assert_close(dense_hessian(of), H, rtol=1e-9, atol=1e-12)
    v = draw(len(H), seed=3)
    torch.testing.assert_close(of.product(v), H @ v, rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(of.products(draw(5, len(H)), chunk=2), draw(5, len(H)) @ H, rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(of.gradient, torch.autograd.functional.jacobian(objective, flat(params)))


def test_products_of_a_population_are_those_of_each_member():
    w = start(4, (3,))
    decay = [{"params": [w], "weight_decay": 0.2}]
    optimizer = Newton(decay, member_dims=1)
    of = differentiated(Differentiated, optimizer, closure_of(optimizer, lambda: rosenbrock(w), squares))
    H = dense_hessian(of)
    for i in range(3):
        alone = torch.autograd.functional.hessian(lambda u: squares(rosenbrock(u)) + 0.1 * u @ u, w[i].detach())
        torch.testing.assert_close(H[i], alone)
        v = draw(3, 4, seed=5)
        torch.testing.assert_close(of.product(v)[i], alone @ v[i])


def test_weight_decay_of_groups_is_theirs_in_products_of_a_population():
    a, b = draw(2, 2).requires_grad_(), draw(2, 1).requires_grad_()
    optimizer = Newton([{"params": [a], "weight_decay": 0.5}, {"params": [b], "weight_decay": 2.0}], member_dims=1)
    of = differentiated(Differentiated, optimizer, closure_of(optimizer, lambda: a, lambda a: a.sum(-1)))
    H = torch.diag(torch.tensor([0.5, 0.5, 2.0], dtype=torch.float64)).expand(2, 3, 3)
    torch.testing.assert_close(dense_hessian(of), H)
    torch.testing.assert_close(of.product(draw(2, 3)), times(H)(draw(2, 3)))


class Cube(torch.autograd.Function):
    """x^3 with a backward pass that looks at numbers, which torch cannot batch."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x**3

    @staticmethod
    def backward(ctx, grad):
        (x,) = ctx.saved_tensors
        return 3 * x**2 * grad if float(grad.detach().abs().sum()) > 0 else torch.zeros_like(x)


def test_products_of_an_operation_that_does_not_batch_are_taken_one_by_one():
    w = draw(3).requires_grad_()
    optimizer = Newton([w])
    of = differentiated(Differentiated, optimizer, closure_of(optimizer, lambda: Cube.apply(w), lambda z: z.sum()))
    torch.testing.assert_close(dense_hessian(of), torch.diag(6 * w.detach()))


def test_weights_that_are_frozen_or_unused_have_no_curvature():
    params, outputs_of, loss_of = network(frozen=True)
    optimizer = Newton([*params, draw(2).requires_grad_()])
    H = dense_hessian(differentiated(Differentiated, optimizer, closure_of(optimizer, outputs_of, loss_of)))
    assert not H[12:16].any()
    assert not H[-2:].any()
    assert H[:12].any()


@pytest.mark.parametrize("kind", ["one tensor", "two tensors"])
def test_gauss_newton_products_are_those_of_the_dense_matrix(kind):
    params, outputs_of, loss_of = network()
    optimizer = HessianFree(params, weight_decay=0.1)

    def closure(backward=True):
        z = outputs_of()
        if kind == "one tensor":
            return loss_of(z), z
        left, right = z[:, :1] * 1.0, z[:, 1:] * 1.0
        return loss_of(torch.cat([left, right], 1)), (left, right)

    of = differentiated(GaussNewton, optimizer, closure)
    rows = [torch.autograd.grad(one, params, retain_graph=True) for one in outputs_of().reshape(-1)]
    J = torch.stack([flat(row) for row in rows])
    z = outputs_of().detach()
    D = torch.autograd.functional.hessian(loss_of, z).reshape(z.numel(), z.numel())
    G = J.T @ D @ J + 0.1 * torch.eye(len(J.T), dtype=torch.float64)
    V = draw(4, len(G), seed=2)
    torch.testing.assert_close(of.products(V), V @ G, rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(of.gradient, flat(torch.autograd.grad(loss_of(outputs_of()), params)) + 0.1 * of.at)


def test_gauss_newton_products_of_a_population_are_those_of_each_member():
    w = start(3, (4,))
    optimizer = HessianFree([w], member_dims=1)
    of = differentiated(GaussNewton, optimizer, closure_of(optimizer, lambda: rosenbrock(w), squares))
    v = draw(4, 3, seed=1)
    for i in range(4):
        J = torch.autograd.functional.jacobian(rosenbrock, w[i].detach())
        torch.testing.assert_close(of.product(v)[i], 2 * J.T @ J @ v[i])


def test_the_diagonal_is_the_mean_squared_gradient_of_an_example():
    params, outputs_of, _ = network()
    optimizer = HessianFree(params)
    of = differentiated(
        GaussNewton, optimizer, closure_of(optimizer, lambda: outputs_of()[:6], lambda z: z.square().mean())
    )
    each = [flat(torch.autograd.grad(outputs_of()[i].square().mean(), params)) ** 2 for i in range(6)]
    exact = torch.stack(each).mean(0)
    torch.testing.assert_close(of.fisher_diagonal(), exact)
    torch.testing.assert_close(of.fisher_diagonal(chunk=4), exact)
    signs = [torch.tensor(one) for one in itertools.product([-1, 1], repeat=6)]  # all of them: the expectation
    torch.testing.assert_close(sum(of.fisher_diagonal(one) for one in signs) / len(signs), exact)


def test_the_diagonal_of_a_population_is_that_of_each_member():
    w = draw(3, 2).requires_grad_()
    x = draw(5, 2, seed=1)
    optimizer = HessianFree([w], member_dims=1)
    of = differentiated(
        GaussNewton, optimizer, closure_of(optimizer, lambda: torch.tanh(w @ x.T), lambda z: z.square().mean(-1))
    )
    for i in range(3):
        z = torch.tanh(x @ w[i].detach())
        exact = ((2 * z * (1 - z**2)).unsqueeze(-1) * x).square().mean(0)
        torch.testing.assert_close(of.fisher_diagonal()[i], exact)


def test_hold_unused_touches_only_weights_without_curvature_and_gradient():
    H = torch.diag(torch.tensor([2.0, 0.0, 0.0]))
    assert torch.equal(hold_unused(H, torch.tensor([1.0, 0.0, 3.0])), torch.diag(torch.tensor([2.0, 1.0, 0.0])))


def test_reduction_ratio_is_one_where_the_model_told_the_loss_and_minus_infinity_where_it_told_nothing():
    before = torch.tensor([5.0, 5.0, 5.0, 5.0, 1e6], dtype=torch.float64)
    after = torch.tensor([4.0, 6.0, torch.nan, 4.0, 1e6 + 1e-10], dtype=torch.float64)
    predicted = torch.tensor([1.0, 2.0, 1.0, 0.0, 1e-13], dtype=torch.float64)
    ratio = reduction_ratio(before, after, predicted)
    torch.testing.assert_close(ratio[:4], torch.tensor([1.0, -0.5, -math.inf, -math.inf], dtype=torch.float64))
    assert ratio[4] > 0.8  # differences below rounding say nothing


# ---- theory of the methods


@pytest.mark.parametrize(
    "make",
    [
        Newton,
        DampedNewton,
        saddle_free,
        lambda p, **o: NewtonCG(p, Delta=1e3, cg_tol=1e-14, **o),
        lambda p, **o: HessianFree(p, damping=0.0, cg_tol=0.0, preconditioner="none", **o),
        lambda p, **o: HessianFree(p, damping=0.0, cg_tol=0.0, preconditioner="exact", **o),
        lambda p, **o: hessian_free(p, damping=0.0, cg_tol=0.0, **o),
    ],
    ids=["newton", "damped", "abs", "newton_cg", "hf", "hf preconditioned", "hf hessian"],
)
@pytest.mark.parametrize("members", [(), (3,)])
def test_one_step_reaches_the_minimum_of_a_quadratic(make, members):
    R, b = torch.linalg.cholesky(definite(*members, 8)).mT, draw(*members, 8, seed=1)
    w = draw(*members, 8, seed=2).requires_grad_()
    optimizer = make([w], member_dims=len(members))
    optimizer.step(closure_of(optimizer, lambda: times(R)(w) - b, lambda r: 0.5 * squares(r)))
    torch.testing.assert_close(w.detach(), torch.linalg.solve(R, b), rtol=1e-7, atol=1e-8)


def test_newton_on_linear_regression_solves_the_normal_equations():
    x, t = draw(30, 5), draw(30, 1, seed=1)
    model = nn.Linear(5, 1, bias=False).double()
    optimizer = Newton(model.parameters())
    optimizer.step(closure_of(optimizer, lambda: model(x), lambda z: nn.functional.mse_loss(z, t)))
    solution = np.linalg.solve((x.T @ x).numpy(), (x.T @ t).numpy())
    np.testing.assert_allclose(model.weight.detach().numpy().T, solution, rtol=1e-10)


def test_newton_converges_quadratically():
    w = torch.full((1,), 0.1, dtype=torch.float64, requires_grad=True)
    optimizer = Newton([w])
    errors = [0.1]
    for _ in range(3):
        optimizer.step(closure_of(optimizer, lambda: w, lambda w: (w.exp() - w).sum()))
        errors.append(abs(w.item()))
    assert all(0.45 * a**2 < b < 0.55 * a**2 for a, b in itertools.pairwise(errors))  # w -> w^2 / 2 near 0


def double_well(w):
    """A saddle at 0, minima at (+-1, 0)."""
    return (w[..., 0] ** 4 / 4 - w[..., 0] ** 2 / 2) + w[..., 1] ** 2 / 2


@pytest.mark.parametrize("make", [DampedNewton, saddle_free, NewtonCG, hessian_free])
def test_descending_methods_leave_a_saddle_that_newton_walks_to(make):
    ends = []
    for method in (Newton, make):
        w = torch.tensor([1e-3, 1.0], dtype=torch.float64, requires_grad=True)
        optimizer = method([w])
        for _ in range(60):
            optimizer.step(closure_of(optimizer, lambda w=w: w, double_well))
        ends.append(w.detach())
    torch.testing.assert_close(ends[0], torch.zeros(2, dtype=torch.float64), rtol=0, atol=1e-8)
    torch.testing.assert_close(ends[1], torch.tensor([1.0, 0.0], dtype=torch.float64), rtol=0, atol=1e-6)


def test_damped_steps_are_those_of_a_matrix_whose_least_eigenvalue_is_the_shift():
    H, w = definite(2, 5), draw(2, 5, seed=1).requires_grad_()
    H[0] -= 30 * torch.eye(5, dtype=torch.float64)
    before = w.detach().clone()
    optimizer = DampedNewton([w], member_dims=1, shift=0.01, lr=1e-3, eta=1e-12)
    optimizer.step(closure_of(optimizer, lambda: w, lambda w: 0.5 * (w * times(H)(w)).sum(-1)))
    for i, tau in enumerate([29.0 + 0.01 * 70.0, 0.0]):  # eigenvalues of the first: -29 ... 70
        step = -np.linalg.solve(H[i].numpy() + tau * np.eye(5), (H[i] @ before[i]).numpy())
        np.testing.assert_allclose((w[i].detach() - before[i]).numpy(), 1e-3 * step, rtol=1e-8)


def test_saddle_free_steps_divide_by_absolute_eigenvalues():
    H, w = definite(2, 5), draw(2, 5, seed=1).requires_grad_()
    H[0] -= 30 * torch.eye(5, dtype=torch.float64)
    H[1] -= 3 * torch.eye(5, dtype=torch.float64)
    before = w.detach().clone()
    optimizer = saddle_free([w], member_dims=1)
    optimizer.step(closure_of(optimizer, lambda: w, lambda w: 0.5 * (w * times(H)(w)).sum(-1)))
    for i in range(2):
        root = scipy.linalg.sqrtm((H[i] @ H[i]).numpy()).real  # |H|
        step = -np.linalg.solve(root, (H[i] @ before[i]).numpy())
        np.testing.assert_allclose((w[i].detach() - before[i]).numpy(), step, rtol=1e-9)


def test_newton_says_what_else_there_is_where_the_hessian_is_indefinite():
    w = torch.tensor([0.1, 1.0], dtype=torch.float64, requires_grad=True)
    optimizer = Newton([w], indefinite="raise")
    with pytest.raises(RuntimeError, match="DampedNewton"):
        optimizer.step(closure_of(optimizer, lambda: w, double_well))
    assert w.tolist() == [0.1, 1.0]


def test_newton_damps_when_asked():
    w = torch.tensor([0.1, 1.0], dtype=torch.float64, requires_grad=True)
    optimizer = Newton([w], indefinite="damp")
    optimizer.step(closure_of(optimizer, lambda: w, double_well))
    assert w[0] > 0.1
    assert optimizer.counters()["n_rejected"] == 1


def test_weights_without_curvature_do_not_stop_the_others():
    params, outputs_of, loss_of = network(frozen=True)
    unused = draw(2).requires_grad_()
    before = params[1].clone(), unused.detach().clone()
    optimizer = DampedNewton([*params, unused])
    first = float(optimizer.step(closure_of(optimizer, outputs_of, loss_of)))
    assert loss_of(outputs_of()) < first
    assert torch.equal(params[1], before[0])
    assert torch.equal(unused, before[1])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_newton_stands_still_where_the_hessian_is_singular_and_damped_newton_does_not(dtype):
    def loss_of(w):
        return (w[0] + 0.1 * w[1]) ** 2 + w[0]

    w = torch.ones(2, dtype=dtype, requires_grad=True)
    optimizer = Newton([w])
    optimizer.step(closure_of(optimizer, lambda: w, loss_of))
    assert w.tolist() == [1.0, 1.0]
    assert optimizer.counters()["n_nonfinite"] == 1
    optimizer = DampedNewton([w])
    first = optimizer.step(closure_of(optimizer, lambda: w, loss_of))
    assert loss_of(w) < first
    assert w.abs().max() < 1e4


def test_badly_scaled_weights_are_no_trouble_for_newton():
    scale = torch.tensor([1e-12, 1.0, 1e12], dtype=torch.float64)
    w = torch.ones(3, dtype=torch.float64, requires_grad=True)
    optimizer = Newton([w])
    optimizer.step(closure_of(optimizer, lambda: w, lambda w: (scale * (w - 3) ** 2).sum()))
    torch.testing.assert_close(w.detach(), torch.full((3,), 3.0, dtype=torch.float64))


@pytest.mark.parametrize("make", METHODS)
@pytest.mark.parametrize("n", [2, 10])
def test_rosenbrock_ends_at_a_gradient_of_1e_8(make, n):
    w = start(n)
    optimizer = make([w])
    closure = closure_of(optimizer, lambda: rosenbrock(w), squares)
    for _ in range(150):
        optimizer.step(closure)
        if float(torch.autograd.grad(squares(rosenbrock(w)), w)[0].norm()) <= 1e-8:
            break
    else:
        pytest.fail("no convergence")
    assert torch.linalg.eigvalsh(torch.autograd.functional.hessian(lambda u: squares(rosenbrock(u)), w.detach()))[0] > 0


@pytest.mark.parametrize("make", DESCENDING)
def test_a_network_is_trained_without_a_step_upwards(make):
    params, outputs_of, loss_of = network()
    optimizer = make(params, weight_decay=1e-2)
    closure = closure_of(optimizer, outputs_of, loss_of)

    def objective():
        loss = loss_of(outputs_of()) + 5e-3 * sum((one**2).sum() for one in params)
        return float(loss.detach()), flat(torch.autograd.grad(loss, params)).norm()

    told = [objective()]
    for _ in range(50):
        optimizer.step(closure)
        told.append(objective())
    assert all(after <= before * (1 + 1e-14) for (before, _), (after, _) in itertools.pairwise(told))
    assert told[-1][1] < 1e-2 * told[0][1]


# ---- rules of single methods


def test_the_radius_grows_on_the_boundary_and_shrinks_below_a_rejected_step():
    w = torch.tensor([10.0, 10.0], dtype=torch.float64, requires_grad=True)
    optimizer = NewtonCG([w], Delta=1.0, Delta_max=3.0)
    closure = closure_of(optimizer, lambda: w, lambda w: 0.5 * (w**2).sum())
    radii, lengths = [], []
    for _ in range(7):
        before = w.detach().clone()
        optimizer.step(closure)
        radii.append(float(optimizer.memory["Delta"]))
        lengths.append(float((w.detach() - before).norm()))
    assert radii[:3] == [2.0, 3.0, 3.0]
    assert lengths[:3] == pytest.approx([1.0, 2.0, 3.0])
    assert w.detach().norm() < 1e-12
    w = torch.tensor([0.5], dtype=torch.float64, requires_grad=True)
    optimizer = NewtonCG([w], Delta=8.0)
    optimizer.step(closure_of(optimizer, lambda: w, lambda w: 0.5 * (w**2).sum()))
    assert optimizer.memory["Delta"] == 8.0  # a good step that the radius did not limit
    w = torch.tensor([0.0], dtype=torch.float64, requires_grad=True)
    optimizer = NewtonCG([w], Delta=8.0)
    optimizer.step(closure_of(optimizer, lambda: w, lambda w: (w + 0.5 * w**2 + 100 * w**4).sum()))  # Newton: -1
    assert w.item() == 0.0
    assert optimizer.memory["Delta"] == 0.25
    assert optimizer.counters()["n_rejected"] == 1


def test_a_failed_search_of_damped_newton_damps_the_next_step():
    w = torch.tensor([1.0], dtype=torch.float64, requires_grad=True)
    optimizer = DampedNewton([w], max_trials=1)
    closure = closure_of(optimizer, lambda: w, lambda w: (1 + 100 * w**2).sqrt().sum())  # the full step overshoots
    for _ in range(30):
        optimizer.step(closure)
    assert optimizer.counters()["n_rejected"] > 0
    assert abs(w.item()) < 1e-6


def test_hessian_free_keeps_the_iterates_of_conjugate_gradients():
    A, b = definite(40), draw(40, seed=1)
    w = torch.zeros(40, dtype=torch.float64, requires_grad=True)
    optimizer = HessianFree([w], damping=0.5, cg_tol=0.0, cg_max=20, preconditioner="none")
    R = torch.linalg.cholesky(A).mT
    t = torch.linalg.solve(R.mT, b)
    of = differentiated(GaussNewton, optimizer, closure_of(optimizer, lambda: R @ w, lambda z: 0.5 * squares(z - t)))
    kept = optimizer._iterates(of, of.gradient, None)
    oracle = []
    scipy.sparse.linalg.cg(
        A.numpy() + 0.5 * np.eye(40), b.numpy(), rtol=0, maxiter=20, callback=lambda x: oracle.append(x.copy())
    )
    wanted = sorted({math.ceil(1.3**j) for j in range(20)} & set(range(1, 21)))
    assert len(kept) == len(wanted) + 1
    for i, one in zip([*wanted, 20], kept, strict=True):
        x = oracle[i - 1]
        np.testing.assert_allclose(one.delta.numpy(), x, rtol=1e-6, atol=1e-9)
        q = 0.5 * x @ (A.numpy() + 0.5 * np.eye(40)) @ x - b.numpy() @ x
        assert float(one.q) == pytest.approx(q, rel=1e-9)


def test_hessian_free_stops_where_conjugate_gradients_progress_no_more():
    A = torch.logspace(0, 6, 200, dtype=torch.float64)
    taken = {}
    for cg_tol in (5e-4, 0.0):
        w = draw(200, seed=1).requires_grad_()
        optimizer = hessian_free([w], damping=0.0, cg_tol=cg_tol)
        optimizer.step(closure_of(optimizer, lambda w=w: w, lambda w: 0.5 * (A * w**2).sum()))
        taken[cg_tol] = optimizer.counters()["n_products"]
    assert 10 < taken[5e-4] < taken[0.0] == 250


def test_hessian_free_goes_back_to_an_earlier_iterate_where_the_last_one_climbs():
    # the loss is the quadratic model near 0 only: long steps climb
    A = torch.logspace(0, 3, 30, dtype=torch.float64)
    w = (0.1 * draw(30)).requires_grad_()
    optimizer = hessian_free([w], damping=0.0, cg_tol=0.0, cg_max=20)  # ends before rounding tells iterates apart
    at = w.detach().clone()

    def loss_of(w):
        return 0.5 * (A * w**2).sum() + 1e4 * ((w - at) ** 2).sum() ** 2

    of = differentiated(Differentiated, optimizer, closure_of(optimizer, lambda: w, loss_of))
    kept = optimizer._iterates(of, of.gradient, None)
    with torch.no_grad():
        best, after = optimizer._best(at, kept)
    losses = [float(loss_of(at + one.delta)) for one in kept]
    assert losses[-1] > min(losses)
    assert float(after) == min(losses)
    torch.testing.assert_close(loss_of(at + best.delta), after)


@pytest.mark.parametrize("damped", [False, True])
def test_hessian_free_judges_lambda_by_the_ratio(damped):
    w = torch.tensor([1.0, -2.0], dtype=torch.float64, requires_grad=True)
    optimizer = HessianFree([w], damping=5.0, damped_ratio=damped, cg_tol=0.0, preconditioner="none")
    optimizer.step(closure_of(optimizer, lambda: w, lambda z: 0.5 * squares(z)))
    # delta = g / 6: the loss falls by (11/72) gg; q holds 11/72 without lambda, 6/72 with it
    assert float(optimizer.memory["lambda"]) == pytest.approx(5.0 * 2 / 3)
    torch.testing.assert_close(w.detach(), torch.tensor([1.0, -2.0], dtype=torch.float64) * 5 / 6)
    chosen = type("Chosen", (), {"q": torch.tensor(-6 / 72), "delta": torch.tensor([1 / 6, 0.0])})
    optimizer.memory["lambda"].fill_(5.0)
    assert float(optimizer._told(chosen)) == pytest.approx(-6 / 72 if damped else -11 / 72)


def test_hessian_free_starts_from_its_last_step():
    w = start(6)
    optimizer = HessianFree([w], decay=0.5)
    closure = closure_of(optimizer, lambda: rosenbrock(w), squares)
    optimizer.step(closure)
    delta = optimizer.memory["delta"].clone()
    assert delta.any()
    optimizer.param_groups[0]["cg_max"] = 1
    of = differentiated(GaussNewton, optimizer, closure)
    r = -of.gradient - (of.product(0.5 * delta) + optimizer.memory["lambda"] * 0.5 * delta)
    [_, last] = optimizer._iterates(of, of.gradient, None)
    step = last.delta - 0.5 * delta
    torch.testing.assert_close(step @ r, step.norm() * r.norm())  # the first direction is the residual there


def test_hessian_free_goes_down_the_gradient_where_the_first_curvature_is_negative():
    w = torch.tensor([0.1, 0.0], dtype=torch.float64, requires_grad=True)
    optimizer = hessian_free([w], damping=0.1)
    optimizer.step(closure_of(optimizer, lambda: w, double_well))
    assert w.tolist() == pytest.approx([0.1 + (0.1 - 0.1**3), 0.0])
    assert float(optimizer.memory["lambda"]) == pytest.approx(0.15)


def test_hessian_free_forgets_its_step_after_a_failed_search():
    w = start(4)
    optimizer = HessianFree([w], max_trials=3)
    calls = itertools.count()

    def closure(backward=True):
        r = rosenbrock(w)
        return squares(r) + 1e6 * (next(calls) > 0), r  # nothing but the first call is below

    optimizer.step(closure)
    assert torch.equal(w, start(4))
    assert not optimizer.memory["delta"].any()
    assert optimizer.memory["lambda"] == 1.5
    assert optimizer.counters()["n_rejected"] == 1


def test_hessian_free_draws_new_signs_each_step():
    w = start(4)
    optimizer = HessianFree([w])
    closure = closure_of(optimizer, lambda: rosenbrock(w), squares)
    optimizer.step(closure)
    before = optimizer.memory["generator"].clone()
    optimizer.step(closure)
    assert not torch.equal(before, optimizer.memory["generator"])


def test_damped_newton_takes_the_gradient_where_learning_rates_turn_the_step_uphill():
    H = torch.tensor([[1.0, 0.9], [0.9, 1.0]], dtype=torch.float64)
    a = torch.tensor([1.0], dtype=torch.float64, requires_grad=True)
    b = torch.tensor([-1.2], dtype=torch.float64, requires_grad=True)
    g, rate = H @ torch.cat([a, b]).detach(), torch.tensor([1.0, 0.1], dtype=torch.float64)
    optimizer = DampedNewton([{"params": [a], "lr": 1.0}, {"params": [b], "lr": 0.1}])
    optimizer.step(closure_of(optimizer, lambda: torch.cat([a, b]), lambda w: 0.5 * w @ H @ w))
    torch.testing.assert_close(torch.cat([a, b]).detach(), torch.tensor([1.0, -1.2], dtype=torch.float64) - rate * g)


# ---- what every user meets


@pytest.mark.parametrize("make", METHODS)
def test_members_move_as_they_do_alone(make):
    together = start(3, (4,))
    optimizer = make([together], member_dims=1, weight_decay=1e-3)
    alone = [together[i].detach().clone().requires_grad_() for i in range(4)]
    ones = [make([w], weight_decay=1e-3) for w in alone]
    for _ in range(8):
        optimizer.step(closure_of(optimizer, lambda: rosenbrock(together), squares))
        for one, w in zip(ones, alone, strict=True):
            one.step(closure_of(one, lambda w=w: rosenbrock(w), squares))
    torch.testing.assert_close(together.detach(), torch.stack(alone).detach(), rtol=1e-8, atol=1e-9)


@pytest.mark.parametrize("make", METHODS)
@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_member_that_is_not_finite_stands_still_and_leaves_the_others_alone(make, bad):
    scale = torch.tensor([[1.0], [1.0], [1.0]], dtype=torch.float64)
    ends = []
    for value in (bad, 1.0):
        scale[1] = value
        w = start(3, (3,))
        begin = w.detach().clone()
        optimizer = make([w], member_dims=1)
        for _ in range(4):
            optimizer.step(closure_of(optimizer, lambda w=w: scale * rosenbrock(w), squares))
        ends.append(w.detach())
        if value is bad:
            assert torch.equal(w[1].detach(), begin[1])
            assert optimizer.counters()["n_nonfinite"] == [0, 4, 0]
    torch.testing.assert_close(ends[0][[0, 2]], ends[1][[0, 2]], rtol=1e-12, atol=1e-12)
    assert not torch.equal(ends[1], begin)


@pytest.mark.parametrize("make", METHODS)
@pytest.mark.parametrize("members", [(), (2,)])
def test_a_checkpoint_in_the_middle_changes_nothing(make, members):
    w = start(5, members)
    optimizer = make([w], member_dims=len(members))
    for _ in range(3):
        optimizer.step(closure_of(optimizer, lambda: rosenbrock(w), squares))
    other_w = w.detach().clone().requires_grad_()
    other = make([other_w], member_dims=len(members))
    other.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    third = pickle.loads(pickle.dumps(optimizer))
    third_w = third.param_groups[0]["params"][0]
    for one, u in ((optimizer, w), (other, other_w), (third, third_w)):
        for _ in range(3):
            one.step(closure_of(one, lambda u=u: rosenbrock(u), squares))
    assert torch.equal(w, other_w)
    assert torch.equal(w, third_w)
    assert optimizer.counters() == other.counters() == third.counters()


@pytest.mark.parametrize("make", METHODS)
def test_learning_rates_scale_the_step_and_follow_schedulers(make):
    def step(params, lr=None):
        a, b = torch.tensor([1.0], dtype=torch.float64), torch.tensor([2.0], dtype=torch.float64)
        a.requires_grad_(), b.requires_grad_()
        optimizer = make(params(a, b))
        if lr is not None:
            torch.optim.lr_scheduler.LambdaLR(optimizer, lambda _: lr)
        optimizer.step(closure_of(optimizer, lambda: torch.stack([a, 3 * b]), lambda z: 0.5 * (z**2).sum()))
        return torch.cat([1 - a.detach(), 2 - b.detach()])

    whole = step(lambda a, b: [a, b])
    assert (whole > 0).all()
    torch.testing.assert_close(step(lambda a, b: [a, b], 0.25), 0.25 * whole)
    mixed = step(lambda a, b: [{"params": [a], "lr": 0.5}, {"params": [b]}])
    torch.testing.assert_close(mixed, whole * torch.tensor([0.5, 1.0], dtype=torch.float64))


@pytest.mark.parametrize("make", METHODS)
def test_climbing_is_descending_on_the_negative(make):
    ends = []
    for sign in (1, -1):
        w = start(4)
        optimizer = make([w], maximize=sign < 0)
        for _ in range(5):
            optimizer.step(closure_of(optimizer, lambda w=w: rosenbrock(w), lambda r, sign=sign: sign * squares(r)))
        ends.append(w.detach())
    torch.testing.assert_close(*ends)


@pytest.mark.parametrize("make", METHODS)
def test_a_step_returns_a_loss_without_its_graph(make):
    w = start(2)
    optimizer = make([w])
    loss = optimizer.step(closure_of(optimizer, lambda: rosenbrock(w), squares))
    assert float(loss) == pytest.approx(24.2)
    assert not loss.requires_grad


@pytest.mark.parametrize("make", METHODS)
def test_a_closure_that_goes_backwards_itself_is_refused_with_a_template(make):
    w = start(2)
    optimizer = make([w])

    def closure():
        optimizer.zero_grad()
        outputs = rosenbrock(w)
        loss = squares(outputs)
        loss.backward()
        return (loss, outputs) if make is HessianFree else loss

    with pytest.raises(TypeError, match="def closure"):
        optimizer.step(closure)
    with pytest.raises(TypeError, match="def closure"):
        optimizer.step(lambda: squares(rosenbrock(w.detach())))
    assert torch.equal(w, start(2))


def test_hessian_free_says_what_its_closure_returns():
    w = start(2)
    optimizer = HessianFree([w])
    wrong = {
        "returned the loss alone": lambda: squares(rosenbrock(w)),
        "not attached": lambda: (squares(rosenbrock(w)), rosenbrock(w).detach()),
        "not made from": lambda: (squares(rosenbrock(w)), rosenbrock(w)),
    }
    for text, closure in wrong.items():
        with pytest.raises(TypeError, match=text) as caught:
            optimizer.step(closure)
        assert "return loss, outputs" in str(caught.value)
        assert "product='hessian'" in str(caught.value)


def test_an_operation_without_a_second_derivative_is_named_with_the_way_out():
    layer = nn.Linear(8, 24).double()
    x = draw(2, 5, 8)

    def loss_of(z):
        q, k, v = z.view(2, 5, 1, 24).transpose(1, 2).chunk(3, -1)
        return nn.functional.scaled_dot_product_attention(q, k, v).square().mean()

    optimizer = NewtonCG(layer.parameters())
    closure = closure_of(optimizer, lambda: layer(x), loss_of)
    with pytest.raises(RuntimeError, match=r"cudnn\.flags\(enabled=False\)"):
        optimizer.step(closure)
    with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
        first = optimizer.step(closure)
        assert loss_of(layer(x)) < first


@pytest.mark.parametrize("cell", [nn.RNN, nn.GRU, nn.LSTM])
def test_recurrent_networks_are_differentiated_twice(cell):
    torch.manual_seed(0)
    model = cell(2, 3, batch_first=True).double()
    x = draw(4, 5, 2)
    for optimizer in (NewtonCG(model.parameters()), HessianFree(model.parameters())):
        closure = closure_of(optimizer, lambda: model(x)[0], lambda z: (z - 0.3).square().mean())
        first = optimizer.step(closure)
        assert (model(x)[0] - 0.3).square().mean() < first


@pytest.mark.parametrize("make", [Newton, DampedNewton])
def test_a_dense_method_refuses_many_weights_and_names_another(make):
    w = torch.zeros(11, requires_grad=True)
    optimizer = make([w], max_numel=10)
    with pytest.raises(ValueError, match=r"n = 11 .* max_numel = 10 .* GB.*newton_cg"):
        optimizer.step(closure_of(optimizer, lambda: w, lambda w: (w**2).sum()))


@pytest.mark.parametrize(
    ("make", "option"),
    [
        (Newton, {"indefinite": "abs"}),
        (DampedNewton, {"indefinite": "solve"}),
        (DampedNewton, {"eta": 0.5}),
        (NewtonCG, {"Delta": 2000.0}),
        (NewtonCG, {"eta": 0.25}),
        (HessianFree, {"product": "fisher"}),
        (HessianFree, {"damping": -1.0}),
        (HessianFree, {"preconditioner": "jacobi"}),
    ],
    ids=str,
)
def test_options_out_of_range_are_refused_by_name(make, option):
    with pytest.raises(ValueError, match=next(iter(option))):
        make([torch.zeros(1, requires_grad=True)], **option)
