"""Full-batch quasi-Newton methods step as plain twins written from the papers do, and end where scipy's do."""

import numpy as np
import pytest
import torch
from scipy.optimize import minimize, rosen, rosen_der

import optimizers
from benchmarks.bases.functions import functions
from tests import references

torch.set_num_threads(1)

STEPS = 40
HALVINGS = {"max_trials": 11, "restart": False}  # what the twins do


# ---- problems: loss and gradient in numpy, the loss in torch for stacked members


class Valley:
    """Rosenbrock's chained valley."""

    def __init__(self, seed, n=5):
        self.start = 0.7 * np.random.RandomState(seed).randn(n)

    def f(self, w, k):
        return rosen(w)

    def g(self, w, k):
        return rosen_der(w)

    def torch(self, w):
        return ((1 - w[..., :-1]) ** 2 + 100 * (w[..., 1:] - w[..., :-1] ** 2) ** 2).sum(-1)


class Waves:
    """A bowl with waves in a turned basis: curvature of both signs."""

    def __init__(self, seed, n=10):
        draw = np.random.RandomState(seed)
        self.turn, _ = np.linalg.qr(draw.randn(n, n))
        self.start, self.c = 1.5 * draw.randn(n), np.logspace(0, 1.5, n)

    def f(self, w, k):
        x = self.turn @ w
        return np.sum(0.5 * self.c * x**2 + 0.6 * np.cos(2 * x) + 0.02 * x**4)

    def g(self, w, k):
        x = self.turn @ w
        return self.turn.T @ (self.c * x - 1.2 * np.sin(2 * x) + 0.08 * x**3)

    def torch(self, w):
        x = w @ torch.tensor(self.turn).T
        return (0.5 * torch.tensor(self.c) * x**2 + 0.6 * torch.cos(2 * x) + 0.02 * x**4).sum(-1)


class Curve:
    """A network of one hidden layer of tanh fits a curve."""

    def __init__(self, seed, hidden=4):
        draw = np.random.RandomState(seed)
        self.x = np.linspace(-2, 2, 30)
        self.t = np.sin(2 * self.x) + 0.3 * self.x
        self.h, self.start = hidden, draw.randn(3 * hidden + 1)

    def f(self, w, k):
        a, b, c = w[:-1].reshape(3, self.h)
        return 0.5 * np.mean((np.tanh(np.outer(self.x, a) + b) @ c + w[-1] - self.t) ** 2)

    def g(self, w, k):
        a, b, c = w[:-1].reshape(3, self.h)
        z = np.tanh(np.outer(self.x, a) + b)
        error = (z @ c + w[-1] - self.t) / len(self.x)
        back = np.outer(error, c) * (1 - z**2)
        return np.concatenate([self.x @ back, back.sum(0), error @ z, [error.sum()]])

    def torch(self, w):
        a, b, c = w[..., :-1].unflatten(-1, (3, self.h)).unsqueeze(-2).unbind(-3)  # each (..., 1, h)
        x, t = torch.tensor(self.x), torch.tensor(self.t)
        out = (torch.tanh(x[:, None] * a + b) * c).sum(-1) + w[..., -1:]
        return 0.5 * ((out - t) ** 2).mean(-1)


PROBLEMS = {"valley": Valley, "waves": Waves, "curve": Curve}


def path(name, loss, start, steps=STEPS, each=None, **options):
    """Weights after each step, (steps, *start.shape), and the optimizer; ``each(k)`` is options to set at step k."""
    w = torch.tensor(start).requires_grad_()
    optimizer = optimizers.make(name, [w], **options)

    def closure(backward=True):
        optimizer.zero_grad()
        value = loss(w)
        if backward:
            value.sum().backward()
        return value

    found = []
    for k in range(steps):
        optimizer.param_groups[0].update(each(k) if each else {})
        optimizer.step(closure)
        found.append(w.detach().numpy().copy())
    return np.stack(found), optimizer


def dense(problem, steps, **options):
    return references.quasi_newton(problem.f, problem.g, problem.start, steps, **options)


def bfgs(problem, steps):
    return dense(problem, steps)


def dfp(problem, steps):
    return dense(problem, steps, matrix=references.Dense(references.dfp_update))


def broyden_family(problem, steps):
    def update(H, s, y):
        return references.broyden_family_update(H, s, y, references.phi_hat_of(0.4, H, s, y))

    return dense(problem, steps, matrix=references.Dense(update))


def lbfgs(problem, steps):
    return dense(problem, steps, matrix=references.Limited(5, mean=False))


def accelerated(name, **options):
    def twin(problem, steps):
        return getattr(references, name)(problem.f, problem.g, problem.start, steps, **options)

    return twin


MU = 0.7
TWINS = {
    "bfgs": (bfgs, {"line_search": "armijo", **HALVINGS}),
    "dfp": (dfp, {"line_search": "armijo", **HALVINGS}),
    "broyden_family": (broyden_family, {"phi": 0.4, "line_search": "armijo", **HALVINGS}),
    "lbfgs": (lbfgs, {"m": 5, "line_search": "armijo", **HALVINGS}),
    "naq": (accelerated("naq", mu=MU), {"mu": MU, **HALVINGS}),
    "lnaq": (accelerated("naq", mu=MU, memory=4), {"mu": MU, "m": 4, **HALVINGS}),
    "moq": (accelerated("moq", mu=MU), {"mu": MU, **HALVINGS}),
    "lmoq": (accelerated("moq", mu=MU, memory=4), {"mu": MU, "m": 4, **HALVINGS}),
    "mnaq": (accelerated("mnaq", mu=MU), {"mu": MU, **HALVINGS}),
    "mbfgs": (accelerated("mbfgs"), {"step": "explicit", **HALVINGS}),
    "amnaq": (accelerated("amnaq"), HALVINGS),
}


class From:
    """A problem that starts somewhere else, and whose gradients may have an error as by rounding."""

    def __init__(self, problem, start, seed=None):
        self.f, self.torch, self.start, self.exact = problem.f, problem.torch, start, problem.g
        self.draw = seed and np.random.RandomState(seed)
        self.size = 3e-17 * np.abs(problem.g(start, 0)).max()

    def g(self, w, k):
        return self.exact(w, k) + (self.size * self.draw.randn(w.size) if self.draw else 0.0)


def expected_path(name, problem, near=3e-10):
    """The twin's weights, as far as they do not depend on rounding: twins with other roundings agree there.

    And as long as the loss can tell steps apart, which it cannot near the minimum: there methods with a tolerance for
    rounding differ from those without.
    """
    twin, _ = TWINS[name]
    one = np.stack(twin(problem, STEPS))
    others = [np.stack(twin(From(problem, problem.start, seed), STEPS)) for seed in (1, 2, 3)]
    apart = np.max([np.abs(one - other).max(1) for other in others], 0) > near
    apart |= np.array([np.abs(problem.g(w, 0)).max() < 1e-5 for w in one])
    return one[: np.argmax(apart)] if apart.any() else one


def assert_steps_as(found, expected):
    np.testing.assert_allclose(found[: len(expected)], expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("problem", PROBLEMS)
@pytest.mark.parametrize("name", TWINS)
def test_a_full_batch_method_steps_as_its_twin(name, problem):
    _, options = TWINS[name]
    lengths = []
    for seed in (1, 2, 3, 4):
        one = PROBLEMS[problem](seed)
        expected = expected_path(name, one)
        found, _ = path(name, one.torch, one.start, **options)
        assert_steps_as(found, expected)
        lengths.append(len(expected))
    assert max(lengths) >= 25
    assert min(lengths) >= 8


@pytest.mark.parametrize("problem", PROBLEMS)
@pytest.mark.parametrize("name", TWINS)
def test_members_of_a_population_step_as_the_twin_does_alone(name, problem):
    """Also where one member halves, leaves a pair out or takes an explicit step and its neighbours do not."""
    _, options = TWINS[name]
    one = PROBLEMS[problem](1)
    starts = np.stack([one.start, 0.3 * one.start, -one.start[::-1]])
    together, optimizer = path(name, one.torch, starts, member_dims=1, **options)
    for i, start in enumerate(starts):
        assert_steps_as(together[:, i], expected_path(name, From(one, start.copy()), near=3e-11))
    assert optimizer.counters()["n_nonfinite"] == [0, 0, 0]


@pytest.mark.parametrize("name", ["naq", "moq", "lnaq", "lmoq", "mnaq"])
def test_momentum_may_change_from_step_to_step(name):
    def mu(k):
        return 0.4 + 0.3 * np.sin(k)

    one, limited = Waves(4), {"memory": 4} if name.startswith("l") else {}
    expected = getattr(references, name.removeprefix("l"))(one.f, one.g, one.start, 12, mu=mu, **limited)
    memory = {"m": 4} if limited else {}
    found, _ = path(name, one.torch, one.start, 12, each=lambda k: {"mu": mu(k)}, mu=0.5, **memory, **HALVINGS)
    assert_steps_as(found, np.stack(expected))


@pytest.mark.parametrize("name", ["mnaq", "mbfgs"])
def test_explicit_steps_are_taken_where_the_unit_step_is_too_long(name):
    """Those of the twin too: a path on which both kinds occur, which the explicit step's tiny length shows."""
    twin, options = TWINS[name]
    one = From(Valley(17), 0.05 * Valley(17).start)
    found, _ = path(name, one.torch, one.start, 15, **options)
    expected = np.stack(twin(one, 15))
    np.testing.assert_allclose(found, expected, rtol=1e-8, atol=1e-8)  # a pair of a tiny step has fewer digits
    w = np.concatenate([[one.start], expected])
    mu = MU if name == "mnaq" else 0.0
    v = np.diff(w, axis=0)
    s = np.linalg.norm(v[1:] - mu * v[:-1], axis=1)
    assert (s < 1e-5).any()
    assert (s > 1e-1).any()


def uphill(w, bad=float("nan")):
    """A closure whose gradient has the wrong sign, so that every trial is refused; the loss is bad above w = 3."""

    def closure(backward=True):
        w.grad = -w.detach()
        loss = 0.5 * w.detach().square().sum(-1)
        return torch.where(loss > 4.5, bad, loss)

    return closure


@pytest.mark.parametrize("members", [None, 2])
@pytest.mark.parametrize(("rule", "step"), [("skip", 0.0), ("reset", 0.0), ("last", 0.25)])
def test_a_search_that_fails_takes_the_last_trial_if_asked_to(rule, step, members):
    w = torch.full((1,) if members is None else (members, 1), 0.5, dtype=torch.float64, requires_grad=True)
    options = {"line_search": "armijo", "max_trials": 3, "on_failure": rule, "member_dims": int(members is not None)}
    optimizers.make("bfgs", [w], **options).step(uphill(w))
    torch.testing.assert_close(w.detach(), torch.full_like(w, 0.5 + 0.5 * step))


def test_a_last_trial_that_is_not_finite_is_not_taken():
    w = torch.full((1,), 2.9, dtype=torch.float64, requires_grad=True)
    optimizers.make("bfgs", [w], line_search="armijo", max_trials=1, on_failure="last").step(uphill(w))
    assert w.item() == 2.9


@pytest.mark.parametrize("problem", PROBLEMS)
def test_the_problems_gradients_are_their_losses_slopes(problem):
    one = PROBLEMS[problem](7)
    w = torch.tensor(one.start).requires_grad_()
    value = one.torch(w)
    value.backward()
    assert value.item() == pytest.approx(one.f(one.start, 0), rel=1e-12)
    np.testing.assert_allclose(w.grad, one.g(one.start, 0), rtol=1e-10, atol=1e-12)


# ---- scipy


def numpy_loss(function):
    """Loss and gradient for scipy, and the list that each evaluation enters."""
    calls = []

    def fun(x):
        calls.append(x)
        at = torch.tensor(x).requires_grad_()
        value = function.f(at)
        value.backward()
        return value.item(), at.grad.numpy().copy()

    return fun, calls


def scipys(function, method):
    fun, calls = numpy_loss(function)
    exact = {"gtol": 1e-8, "maxiter": 3000} | ({"ftol": 0, "maxfun": 100_000} if method == "L-BFGS-B" else {})
    return minimize(fun, function.start, jac=True, method=method, options=exact), len(calls)


def ours(name, function, tolerance=1e-8, steps=1000):
    """(weights, closure calls, largest entry of the gradient) where that is below the tolerance."""
    w = torch.tensor(function.start, dtype=torch.float64).requires_grad_()
    optimizer, calls = optimizers.make(name, [w]), []

    def closure():
        calls.append(1)
        optimizer.zero_grad()
        value = function.f(w)
        value.backward()
        return value

    fun, _ = numpy_loss(function)
    for _ in range(steps):
        size = np.abs(fun(w.detach().numpy())[1]).max()
        if size <= tolerance:
            break
        optimizer.step(closure)
    return w.detach().numpy(), len(calls), size


ELSEWHERE = ("levy", "rosenbrock_chained")  # several minima: scipy's own two methods end at different ones too
FLAT = ("powell_singular",)  # the Hessian is singular at the minimum
CONE = ("ackley",)  # no gradient at the minimum
SAME = [name for name in functions() if name not in (*ELSEWHERE, *CONE)]


@pytest.mark.parametrize("function", SAME)
@pytest.mark.parametrize(("name", "method"), [("bfgs", "BFGS"), ("lbfgs", "L-BFGS-B")])
def test_a_minimiser_is_the_one_that_scipy_finds(name, method, function):
    one = functions()[function]
    expected, _ = scipys(one, method)
    found, _, size = ours(name, one)
    assert size <= 1e-8
    tight = 2e-3 if function in FLAT else 1e-6
    np.testing.assert_allclose(found, expected.x, rtol=tight, atol=tight)
    assert one.f(torch.tensor(found)).item() == pytest.approx(expected.fun, rel=1e-9, abs=1e-9)


@pytest.mark.parametrize("function", ELSEWHERE)
@pytest.mark.parametrize("name", ["bfgs", "lbfgs"])
def test_where_minima_are_many_one_of_them_is_found(name, function):
    one = functions()[function]
    found, _, size = ours(name, one)
    assert size <= 1e-8
    hessian = torch.autograd.functional.hessian(one.f, torch.tensor(found))
    assert torch.linalg.eigvalsh(hessian).min() > 0


COUNTED = [("rosenbrock_extended", n) for n in (2, 10, 50, 100)] + [
    (name, 10)
    for name in (
        "beale", "powell_singular", "wood", "booth", "himmelblau", "helical_valley", "broyden_tridiagonal",
        "trigonometric",
    )
]  # fmt: skip


@pytest.mark.parametrize("name", ["bfgs", "lbfgs"])
def test_no_function_takes_many_more_evaluations_than_scipys_bfgs(name):
    """To a gradient of 1e-8: each at most one and a half times as many, all together fewer."""
    total, theirs = 0, 0
    for function, n in COUNTED:
        one = functions(n)[function]
        _, calls, size = ours(name, one)
        _, expected = scipys(one, "BFGS")
        assert size <= 1e-8
        assert calls <= 1.5 * expected, (function, n, calls, expected)
        total, theirs = total + calls, theirs + expected
    assert total < theirs
