"""The references judge the optimizers; here theory judges the references."""

import numpy as np
import pytest
import references as ref
import torch
from scipy.optimize import approx_fprime, minimize

norm = np.linalg.norm


def random_spd(rng, d, condition=50.0):
    Q, _ = np.linalg.qr(rng.normal(size=(d, d)))
    return (Q * np.geomspace(1, condition, d)) @ Q.T


def symmetric(rng, d):
    A = rng.normal(size=(d, d))
    return (A + A.T) / 2


def bowl(seed=0, d=6, condition=50.0):
    """Loss and gradient of a quadratic, the same on every mini-batch, and its minimum."""
    rng = np.random.default_rng(seed)
    A, lowest = random_spd(rng, d, condition), rng.normal(size=d)
    return lambda w, k: (w - lowest) @ A @ (w - lowest) / 2, lambda w, k: A @ (w - lowest), lowest


def batches(seed=0, d=5, size=8):
    """Logistic losses of mini-batches drawn one by one: stochastic and not quadratic."""

    def data(k):
        rng = np.random.default_rng((seed, k))
        X = rng.normal(size=(size, d))
        return X, np.sign(X @ np.arange(1, d + 1) + rng.normal(size=size))

    def f(w, k):
        X, t = data(k)
        return np.log1p(np.exp(-t * (X @ w))).mean()

    def g(w, k):
        X, t = data(k)
        return -X.T @ (t / (1 + np.exp(t * (X @ w)))) / len(t)

    return f, g


def rosenbrock(w, k):
    return (1 - w[0]) ** 2 + 100 * (w[1] - w[0] ** 2) ** 2


def rosenbrock_gradient(w, k):
    return np.array([-2 * (1 - w[0]) - 400 * w[0] * (w[1] - w[0] ** 2), 200 * (w[1] - w[0] ** 2)])


START = np.array([-1.2, 1.0])


class Noted:
    """A gradient that remembers where it was taken."""

    def __init__(self, g):
        self.g, self.points = g, []

    def __call__(self, w, k):
        self.points.append(w)
        return self.g(w, k)


def close(one, two, tolerance=1e-9):
    np.testing.assert_allclose(np.array(one), np.array(two), rtol=tolerance, atol=tolerance)


# --- updates


@pytest.mark.parametrize("update", [
    ref.bfgs_update, ref.dfp_update, ref.good_broyden_update, ref.sr1_inverse_update,
    lambda H, s, y: ref.broyden_family_update(H, s, y, 0.3),
])  # fmt: skip
def test_inverse_updates_satisfy_the_secant_equation(update):
    rng = np.random.default_rng(1)
    s, A = rng.normal(size=6), random_spd(rng, 6)
    close(update(random_spd(rng, 6), s, A @ s) @ (A @ s), s)


@pytest.mark.parametrize("update", [ref.hessian_bfgs_update, ref.hessian_dfp_update, ref.sr1_update])
def test_hessian_updates_satisfy_the_secant_equation(update):
    rng = np.random.default_rng(2)
    s, A = rng.normal(size=6), random_spd(rng, 6)
    close(update(random_spd(rng, 6), s, A @ s) @ s, A @ s)


@pytest.mark.parametrize(("inverse", "direct"), [
    (ref.bfgs_update, ref.hessian_bfgs_update), (ref.dfp_update, ref.hessian_dfp_update),
    (ref.sr1_inverse_update, ref.sr1_update),
])  # fmt: skip
def test_inverse_and_hessian_forms_are_inverses(inverse, direct):
    rng = np.random.default_rng(3)
    H, s = random_spd(rng, 5), rng.normal(size=5)
    y = random_spd(rng, 5) @ s
    close(inverse(H, s, y) @ direct(np.linalg.inv(H), s, y), np.eye(5), 1e-8)


@pytest.mark.parametrize("phi", [0.0, 0.2, 0.7, 1.0])
def test_the_familys_inverse_parameter_belongs_to_the_mixed_hessians(phi):
    rng = np.random.default_rng(4)
    H, s = random_spd(rng, 5), rng.normal(size=5)
    y, B = random_spd(rng, 5) @ s, np.linalg.inv(H)
    mixed = (1 - phi) * ref.hessian_bfgs_update(B, s, y) + phi * ref.hessian_dfp_update(B, s, y)
    close(ref.broyden_family_update(H, s, y, ref.phi_hat_of(phi, H, s, y)) @ mixed, np.eye(5), 1e-8)


def test_sr1_finds_the_hessian_after_d_independent_steps():
    rng = np.random.default_rng(5)
    A, B = symmetric(rng, 6), np.eye(6)
    for s in rng.normal(size=(6, 6)):
        B = ref.sr1_update(B, s, A @ s)
    close(B, A, 1e-8)


@pytest.mark.parametrize("curvature", [-2.0, 0.01, 5.0])
def test_a_damped_pair_has_curvature(curvature):
    rng = np.random.default_rng(6)
    H, y = random_spd(rng, 4), rng.normal(size=4)
    s = ref.powell_damped(H, curvature * y, y)
    assert s @ y >= 0.2 * (y @ H @ y) * (1 - 1e-12)


def test_the_two_loops_equal_dense_updates_of_the_same_first_matrix():
    rng = np.random.default_rng(7)
    A, first, pairs = random_spd(rng, 7), rng.uniform(0.5, 2, 7), []
    H = np.diag(first)
    for s in rng.normal(size=(5, 7)):
        pairs.append((s, A @ s))
        H = ref.bfgs_update(H, s, A @ s)
    g = rng.normal(size=7)
    close(ref.two_loop(g, pairs, first), H @ g)


# --- quadratic termination and reductions


def conjugate_gradients(g, w0, steps):
    """Iterates of linear conjugate gradients, products with the matrix from differences of gradients."""
    w, seen = w0.copy(), []
    r, zero = g(w, 0), g(np.zeros_like(w0), 0)
    p = -r
    for _ in range(steps):
        Ap = g(p, 0) - zero
        a = (r @ r) / (p @ Ap)
        w, after = w + a * p, r + a * Ap
        p, r = -after + (after @ after) / (r @ r) * p, after
        seen.append(w)
    return seen


@pytest.mark.parametrize("rescale", [False, True])
@pytest.mark.parametrize("phi_hat", [0.0, 0.4, 1.0])
def test_exact_searches_make_the_whole_family_conjugate_gradients(phi_hat, rescale):
    f, g, lowest = bowl(d=6)
    matrix = ref.Dense(lambda H, s, y: ref.broyden_family_update(H, s, y, phi_hat), rescale)
    found = ref.quasi_newton(f, g, np.ones(6), 6, matrix=matrix, search="exact")
    close(found, conjugate_gradients(g, np.ones(6), 6), 1e-6)
    close(found[-1], lowest, 1e-6)


def test_l_bfgs_that_remembers_everything_is_bfgs_from_the_same_first_matrix():
    f, g, _ = bowl(d=6)
    limited = ref.quasi_newton(f, g, np.ones(6), 9, matrix=FromIdentity(), search=0.02)
    close(limited, ref.quasi_newton(f, g, np.ones(6), 9, matrix=ref.Dense(rescale=False), search=0.02))


class FromIdentity(ref.Limited):
    def __init__(self):
        super().__init__(99)

    def times(self, g):
        return ref.two_loop(g, self.pairs, 1.0)


@pytest.mark.parametrize("normalize", [True, False])
def test_online_naq_without_momentum_is_online_bfgs(normalize):
    f, g = batches()
    options = {"alpha": lambda k: 0.5 / (k + 1), "lam": 0.1, "normalize": normalize}
    close(ref.onaq(f, g, np.zeros(5), 20, mu=0.0, **options), ref.obfgs(f, g, np.zeros(5), 20, **options))
    close(ref.olnaq(f, g, np.zeros(5), 20, mu=0.0, **options), ref.olbfgs(f, g, np.zeros(5), 20, **options))


@pytest.mark.parametrize("memory", [None, 4])
def test_naq_without_momentum_is_bfgs(memory):
    matrix = ref.Dense() if memory is None else ref.Limited(memory)
    plain = ref.quasi_newton(rosenbrock, rosenbrock_gradient, START, 30, matrix=matrix)
    close(ref.naq(rosenbrock, rosenbrock_gradient, START, 30, mu=0.0, memory=memory), plain)


@pytest.mark.parametrize("memory", [None, 4])
def test_estimated_gradients_are_exact_on_quadratics(memory):
    f, g, _ = bowl(seed=3)

    def mu(k):
        return 0.9 - 0.5 / (k + 1)

    online = {"alpha": lambda k: 0.3 / (k + 1), "mu": mu}
    if memory is None:
        close(ref.omoq(f, g, np.ones(6), 25, **online), ref.onaq(f, g, np.ones(6), 25, **online))
    else:
        close(ref.olmoq(f, g, np.ones(6), 25, **online), ref.olnaq(f, g, np.ones(6), 25, **online))
    options = {"memory": memory, "mu": mu, "alpha": 0.1}
    close(ref.moq(f, g, np.ones(6), 25, **options), ref.naq(f, g, np.ones(6), 25, **options), 1e-7)


def test_estimated_gradients_are_not_exact_elsewhere():
    f, g = batches()
    options = {"alpha": 0.3, "mu": 0.9}
    assert norm(ref.omoq(f, g, np.zeros(5), 9, **options)[-1] - ref.onaq(f, g, np.zeros(5), 9, **options)[-1]) > 1e-3


def test_overlapping_batches_of_equal_parts_are_one_batch():
    _, g = batches()
    options = {"alpha": lambda k: 0.5 / (k + 1), "mu": 0.8, "lam": 0.05}
    parts = ref.olmoq_mb(None, lambda w, j: g(w, 0), np.zeros(5), 20, **options)
    close(parts, ref.olmoq(None, lambda w, k: g(w, 0), np.zeros(5), 20, **options))


def test_overlapping_batches_use_sub_batches_k_to_k_plus_2():
    _, g = batches()
    asked = []

    def noted(w, j):
        asked.append(j)
        return g(w, j)

    first = ref.olmoq_mb(None, noted, np.zeros(5), 4, alpha=0.1)[0]
    assert asked == [0, 1, 2, 1, 2, 3, 2, 3, 4, 3, 4, 5]
    whole = np.mean([g(np.zeros(5), j) for j in range(3)], axis=0)
    close(first, -0.1 * whole / norm(whole))


# --- steps and pairs


def moving_bowls(seed=0, d=5):
    """Quadratics of one Hessian A whose minima c(k) jump from batch to batch."""
    rng = np.random.default_rng(seed)
    A, centres = random_spd(rng, d, 10.0), rng.normal(size=(99, d))
    return A, centres, lambda w, k: A @ (w - centres[k])


@pytest.fixture
def pairs(monkeypatch):
    """Every (s, y) that a method considers."""
    seen, is_pair = [], ref.is_pair

    def noted(s, y, delta):
        seen.append((s, y))
        return is_pair(s, y, delta)

    monkeypatch.setattr(ref, "is_pair", noted)
    return seen


@pytest.mark.parametrize("method", [ref.obfgs, ref.onaq, ref.olbfgs, ref.olnaq])
def test_pairs_of_one_batch_do_not_see_the_noise_between_batches(method, pairs):
    A, _, g = moving_bowls()
    method(None, g, np.ones(5), 12, alpha=0.2, lam=0.3)
    assert len(pairs) == 12
    close([y for _, y in pairs], [A @ s + 0.3 * s for s, _ in pairs])


def test_overlapping_batches_close_their_pairs_on_a_common_part(pairs):
    A, centres, g = moving_bowls()
    ref.olmoq_mb(None, g, np.ones(5), 12, alpha=0.2, mu=lambda k: 0.5 + 0.02 * k, lam=0.3)
    (s0, y0), *later = pairs
    assert len(later) == 10
    close([y for _, y in later], [A @ s + 0.3 * s for s, _ in later])
    close(y0, A @ s0 + 0.3 * s0 - A @ (centres[1:4].mean(axis=0) - centres[:3].mean(axis=0)))


@pytest.mark.parametrize("method", [ref.omoq, ref.olmoq])
def test_deferred_pairs_see_the_noise_of_three_batches(method, pairs):
    A, c, g = moving_bowls()
    m = [0.5 + 0.02 * k for k in range(12)]
    method(None, g, np.ones(5), 12, alpha=0.2, mu=lambda k: m[k], lam=0.3)
    assert len(pairs) == 11
    noise = [(1 + m[k]) * c[k] - m[k] * c[max(k - 1, 0)] - c[k + 1] for k in range(11)]
    close([y for _, y in pairs], [A @ (s + n) + 0.3 * s for (s, _), n in zip(pairs, noise, strict=True)])


@pytest.mark.parametrize("method", [ref.obfgs, ref.olbfgs])
def test_normalised_steps_are_as_long_as_the_schedule_says(method):
    f, g = batches()
    path = np.array([np.zeros(5), *method(f, g, np.zeros(5), 12, alpha=lambda k: 1 / (k + 2))])
    close(norm(np.diff(path, axis=0), axis=1), 1 / (np.arange(12) + 2))


@pytest.mark.parametrize("method", [ref.obfgs, ref.olbfgs])
def test_pairs_of_negative_curvature_are_not_stored(method):
    def g(w, k):
        return -w * np.arange(1, 4)

    w, expected = np.ones(3), []
    for _ in range(6):
        w = w - 0.2 * g(w, 0) / norm(g(w, 0))
        expected.append(w)
    close(method(None, g, np.ones(3), 6, alpha=0.2, lam=0.0), expected)


def test_the_first_limited_matrix_is_the_mean_of_the_stored_ratios():
    matrix = ref.Limited(2)
    for scale in (7.0, 1.0, 3.0):
        matrix.push(np.array([scale, 0.0]), np.array([1.0, 0.0]))
    close(matrix.times(np.array([0.0, 1.0])), [0.0, 2.0])


@pytest.mark.parametrize("length", [1.0, 1e9])
def test_a_unit_step_that_fails_becomes_the_explicit_one(length):
    w0 = np.array([0.02, 0.01])

    def f(w, k):  # the second loss grows wherever one goes from the first step's end
        return w @ np.diag([1.0, 2.0]) @ w / 2 if k == 0 else norm(w - first_end) ** 2

    def g(w, k):
        return np.diag([1.0, 2.0]) @ w * (1 if k == 0 else length)

    first_end = w0 - g(w0, 0)
    path = ref.mnaq(f, g, w0, 2, mu=0.0, first="unit")
    s, g0 = path[0] - w0, g(w0, 0)
    close(s, -g0)
    q = g(path[0], 0) - g0 + 100 * norm(g0) * s  # ||g0|| < 0.1
    H = ref.bfgs_update(np.eye(2) * (s @ q) / (q @ q), s, q)
    p = -H @ g(path[0], 1)
    assert (norm(p) > 1000) == (length > 1e6)
    delta, L = 1e-4 if norm(p) <= 1000 else 1e-7, 100 * norm(q) / norm(s)
    close(path[1] - path[0], p * -delta * (g(path[0], 1) @ p) / (L * p @ p), 1e-12)


def test_the_modified_secant_bounds_curvature_from_below():
    rng = np.random.default_rng(8)
    for scale in np.geomspace(1e-6, 1e3, 30):
        p, difference, g1 = rng.normal(size=(3, 5)) * np.array([[1.0], [10.0], [scale]])
        omega = 2 if norm(g1) ** 2 > 1e-2 else 100
        assert p @ ref.modified_secant(p, difference, g1) >= omega * norm(g1) * (p @ p) * (1 - 1e-9)


def test_the_momentum_schedule_is_nesterovs():
    gamma = 1e-5
    theta, thetas = 1.0, [1.0]
    for _ in range(20000):
        theta = ref.next_theta(theta, gamma)
        thetas.append(theta)
    thetas = np.array(thetas)
    close(thetas[1:] ** 2, (1 - thetas[1:]) * thetas[:-1] ** 2 + gamma * thetas[1:], 1e-12)
    limit = (1 - np.sqrt(gamma)) / (1 + np.sqrt(gamma))
    assert ref.nesterov_mu(theta, gamma, 1.0) == pytest.approx(limit, abs=1e-9)
    assert ref.nesterov_schedule(gamma)(0) == 0
    assert ref.nesterov_schedule(gamma)(500) == 0.95


def test_a_search_uphill_fails_and_moves_nothing():
    f, g, _ = bowl()
    assert ref.armijo(f, np.ones(6), g(np.ones(6), 0), g(np.ones(6), 0) @ g(np.ones(6), 0), 0) is None
    uphill = [ref.naq, ref.moq, ref.mnaq, ref.quasi_newton]
    for method in uphill:
        close(method(f, lambda w, k: -g(w, k), np.ones(6), 3), [np.ones(6)] * 3)


@pytest.mark.parametrize("options", [{"mu": 0.5}, {"mu": 0.5, "memory": 5}, {"mu": ref.nesterov_schedule()}])
@pytest.mark.parametrize("method", [ref.naq, ref.moq])
def test_accelerated_methods_reach_the_minimum(method, options):
    close(method(rosenbrock, rosenbrock_gradient, START, 400, **options)[-1], np.ones(2), 1e-5)


@pytest.mark.parametrize("method", [ref.mnaq, ref.mbfgs, ref.amnaq])
def test_modified_methods_lower_the_loss_of_a_bowl(method):
    f, g, _ = bowl(condition=5.0)
    path = method(f, g, np.ones(6), 100)
    assert f(path[-1], 0) < 1e-3 * f(np.ones(6), 0)


# --- empirical Fisher matrices


def test_adaqn_before_its_first_pair_is_adagrad():
    f, g = batches()
    w = torch.zeros(5, dtype=torch.float64, requires_grad=True)
    adagrad = torch.optim.Adagrad([w], lr=0.1, initial_accumulator_value=1e-4, eps=0.0)
    path = []
    for k in range(15):
        w.grad = torch.from_numpy(g(w.detach().numpy(), k))
        adagrad.step()
        path.append(w.detach().numpy().copy())
    close(ref.adaqn(f, g, np.zeros(5), 15, alpha=0.1, L=99)[0], path, 1e-12)


@pytest.mark.parametrize(("method", "alpha"), [(ref.adaqn, 0.1), (ref.asnaq, 0.05)])
def test_aggregations_are_counted_and_lower_the_loss(method, alpha):
    f, g = batches(size=64)
    path, events = method(f, g, np.zeros(5), 100, alpha=alpha, L=4, mF=20)
    assert sum(events.values()) == 100 // 4 - 1
    assert events["accepted"] > 10
    assert f(path[-1], 0) < 0.8 * f(np.zeros(5), 0)


@pytest.mark.parametrize("method", [ref.adaqn, ref.asnaq])
def test_a_grown_loss_takes_the_weights_back_to_the_first_average(method):
    f, g, lowest = bowl()
    path, events = method(f, lambda w, k: -g(w, k), lowest + 0.01, 60, alpha=0.1, L=3)  # uphill
    assert events == {"accepted": 0, "rejected": 0, "resets": 60 // 3 - 1}
    first = [lowest + 0.01, *path[:2]] if method is ref.adaqn else path[:3]
    close(path[5::3], [np.mean(first, axis=0)] * 19)


def test_the_first_steps_of_asnaq_are_the_formulas():
    f, g = batches()
    path, _ = ref.asnaq(f, g, np.zeros(5), 2, alpha=0.1, mu0=0.3)
    g1 = g(np.zeros(5), 0)
    p = g1 / np.sqrt(g1**2 + 1e-4)
    v = -0.1 * p / norm(p)
    close(path[0], v)
    h = 1 / np.sqrt(g(v, 0) ** 2 + 1e-4)
    p = h * g(v + 0.3 * v, 1)
    close(path[1], v + 0.3 * v - 0.1 * p / norm(p))


def test_momentum_of_asnaq_grows_with_every_aggregation_that_is_no_reset():
    f, g = batches(size=64)
    noted = Noted(g)
    path, events = ref.asnaq(f, noted, np.zeros(5), 40, alpha=0.001, L=1, mu_max=0.9)
    assert events["resets"] == 0
    points = np.array([np.zeros(5), np.zeros(5), *path])
    mu = [(noted.points[2 * k] - points[k + 1])[0] / (points[k + 1] - points[k])[0] for k in range(1, 40)]
    close(mu, np.minimum(0.1 * 1.1 ** np.arange(39), 0.9), 1e-6)


def test_a_reset_of_asnaq_takes_back_the_mean_velocity_and_shrinks_momentum():
    f, g, lowest = bowl()
    noted = Noted(lambda w, k: -g(w, k))  # uphill
    path, _ = ref.asnaq(f, noted, lowest + 0.01, 30, alpha=0.1, L=3, mu0=0.2, mu_min=0.15)
    mean_velocity = (path[2] - (lowest + 0.01)) / 3
    mu = np.maximum(0.2 * 1.1 ** -np.arange(1, 9), 0.15)
    ahead = [noted.points[2 * k] - path[k - 1] for k in range(6, 30, 3)]
    close(ahead, mu[:, None] * mean_velocity)


@pytest.mark.parametrize("method", [ref.adaqn, ref.asnaq])
def test_fisher_pairs_come_from_the_last_gradients_and_the_last_pairs_are_kept(method, monkeypatch):
    f, g = batches(size=64)
    products, remembered, noted = [], [], Noted(g)
    product, two_loop = ref.fisher_product, ref.two_loop
    monkeypatch.setattr(ref, "fisher_product", lambda F, s, how: products.append(F) or product(F, s, how))
    monkeypatch.setattr(ref, "two_loop", lambda g, P, h: remembered.append(len(P)) or two_loop(g, P, h))
    _, events = method(f, noted, np.zeros(5), 30, alpha=0.02, L=3, mF=4, mL=2)
    assert events == {"accepted": 9, "rejected": 0, "resets": 0}
    assert remembered == [0] * 6 + [1] * 3 + [2] * 21
    points = noted.points if method is ref.adaqn else noted.points[1::2]
    for t, F in enumerate(products):
        last = 3 * t + 5
        close(F, [g(points[k], k) for k in range(last - 3, last + 1)])


@pytest.mark.parametrize("method", [ref.adaqn, ref.asnaq])
def test_a_reset_forgets_the_gradients(method, monkeypatch):
    f, g, lowest = bowl()
    diagonals, two_loop = [], ref.two_loop
    monkeypatch.setattr(ref, "two_loop", lambda g, P, h: diagonals.append((g, h)) or two_loop(g, P, h))
    method(f, lambda w, k: -g(w, k), lowest + 0.01, 30, alpha=0.1, L=3)  # uphill
    for gradient, diagonal in diagonals[6::3]:
        close(diagonal, 1 / np.sqrt((gradient**2 if method is ref.adaqn else 0 * gradient) + 1e-4))


@pytest.mark.parametrize(("method", "anchor"), [
    (ref.adaqn, "accepted"), (ref.adaqn, "always"), (ref.asnaq, "accepted"), (ref.asnaq, "always"),
])  # fmt: skip
def test_displacements_start_at_the_anchor(method, anchor, monkeypatch):
    _, g = batches(size=64)
    seen, product = [], ref.fisher_product
    monkeypatch.setattr(ref, "fisher_product", lambda F, s, how: seen.append(s) or product(F, s, how))
    path, events = method(lambda w, k: 1.0, lambda w, k: 1e4 * g(w, k), np.zeros(5), 30, alpha=0.1, L=3, anchor=anchor)
    assert events == {"accepted": 0, "rejected": 9, "resets": 0}
    points = [np.zeros(5), *path[:-1]] if method is ref.adaqn else path
    means = np.array(points).reshape(10, 3, 5).mean(axis=1)
    close(seen, means[1:] - means[:1] if anchor == "accepted" else np.diff(means, axis=0))


def test_large_gradients_reject_every_pair_and_only_the_papers_anchor_moves_on():
    f, g = batches(size=64)
    scaled = {"f": lambda w, k: 1e4 * f(w, k), "g": lambda w, k: 1e4 * g(w, k)}
    for scale_y in ("mean", "sum"):
        _, events = ref.asnaq(**scaled, w0=np.zeros(5), steps=50, alpha=0.01, scale_y=scale_y)
        assert events == {"accepted": 0, "rejected": 9, "resets": 0}
    _, events = ref.asnaq(**scaled, w0=np.zeros(5), steps=50, alpha=0.01, pair_test="scale_free")
    assert events["accepted"] == 9


def test_the_mean_and_the_sum_of_fisher_products_differ_by_their_number():
    rng = np.random.default_rng(9)
    F, s = list(rng.normal(size=(7, 4))), rng.normal(size=4)
    close(ref.fisher_product(F, s, "sum"), np.array(F).T @ (np.array(F) @ s))
    close(ref.fisher_product(F, s, "mean"), np.array(F).T @ (np.array(F) @ s) / 7)


def test_a_loss_that_is_not_a_number_counts_as_grown():
    assert ref.grew(np.nan, 1.0, 1.01)
    assert ref.grew(1.02, 1.0, 1.01)
    assert not ref.grew(1.005, 1.0, 1.01)
    assert ref.grew(-0.9, -1.0, 1.01)
    assert not ref.grew(-0.995, -1.0, 1.01)


# --- oracles


def planted(kind, seed):
    rng = np.random.default_rng(seed)
    B, g, delta = symmetric(rng, 6), rng.normal(size=6), 0.7
    if kind == "inside":
        B, delta = random_spd(rng, 6), 50.0
    if kind in ("hard", "almost hard"):
        _, vectors = np.linalg.eigh(B)
        g = g - vectors[:, 0] * (vectors[:, 0] @ g) + (1e-9 if kind == "almost hard" else 0) * vectors[:, 0]
        delta = 20.0
    if kind == "no gradient":
        g = np.zeros(6)
    return B, g, delta


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("kind", ["inside", "boundary", "hard", "almost hard", "no gradient"])
def test_the_trust_region_oracle_satisfies_the_optimality_conditions(kind, seed):
    B, g, delta = planted(kind, seed)
    p, sigma = ref.trust_region_exact(B, g, delta)
    assert norm((B + sigma * np.eye(6)) @ p + g) < 1e-8
    assert norm(p) <= delta * (1 + 1e-9)
    assert abs(sigma * (delta - norm(p))) < 1e-8
    assert np.linalg.eigvalsh(B + sigma * np.eye(6))[0] > -1e-12
    assert (sigma == 0) == (kind == "inside")


@pytest.mark.parametrize("seed", range(4))
def test_no_numerical_minimisation_beats_the_cubic_oracle(seed):
    rng = np.random.default_rng(seed)
    B, g, sigma = symmetric(rng, 4), rng.normal(size=4), rng.uniform(0.2, 3)
    U = ref.eigenbasis(B, g)
    s, value = ref.cubic_exact(B, g, sigma)
    slope = g + B @ s + sigma * U @ (abs(U.T @ s) * (U.T @ s))
    assert norm(slope) < 1e-5
    others = [minimize(ref.cubic_value, x, args=(B, g, sigma, U)).fun for x in 3 * rng.normal(size=(20, 4))]
    assert value <= min(others) + 1e-9
    assert value == pytest.approx(min(others), abs=1e-6)


def test_the_cubic_oracle_puts_a_repeated_eigenvalues_gradient_on_one_axis():
    rng = np.random.default_rng(5)
    gamma, U1, g = 0.7, np.linalg.qr(rng.normal(size=(6, 2)))[0], rng.normal(size=6)
    B = gamma * np.eye(6) + U1 @ np.diag([-2.0, 3.0]) @ U1.T
    U = ref.eigenbasis(B, g)
    close(U.T @ U, np.eye(6))
    close(B @ U, U * (U * (B @ U)).sum(axis=0))
    assert sum(abs(U.T @ (g - U1 @ (U1.T @ g))) > 1e-9) == 1


def test_the_cubic_oracle_takes_negative_curvature_without_a_gradient():
    s, _ = ref.cubic_exact(np.diag([-2.0, 1.0]), np.array([0.0, 0.0]), 0.5)
    close(abs(s), [4.0, 0.0], 1e-6)


@pytest.mark.parametrize("options", [
    {}, {"mu": 0.0}, {"memory": 10}, {"momentum": True}, {"momentum": True, "memory": 10}, {"mu": 0.0, "memory": 1},
])  # fmt: skip
def test_sr1_in_a_trust_region_reaches_the_minimum(options):
    close(ref.sr1n(rosenbrock, rosenbrock_gradient, START, 300, **options)[-1], np.ones(2), 1e-6)


def test_a_trust_regions_ratio_starts_at_the_look_ahead_point(monkeypatch):
    ratios, radius = [], ref._radius
    monkeypatch.setattr(ref, "_radius", lambda *told: ratios.append(told[1]) or radius(*told))
    path = ref.sr1n(lambda w, k: w @ w / 2, lambda w, k: w, np.array([30.0, 40.0]), 4, mu=0.9)
    close(ratios, np.ones(4))
    close(path[0], [29.4, 39.2])


def test_a_rejected_step_stands_still_and_stops():
    g = Noted(rosenbrock_gradient)
    path = ref.sr1n(lambda w, k: rosenbrock(w, k) * (-1 if k == 1 else 1), g, START, 3, mu=0.5, radius=0.01)
    assert norm(path[0] - START) > 0
    close(path[1], path[0])
    close(g.points, [START, path[0], path[0] + 0.5 * (path[0] - START), path[0], path[2]])


@pytest.mark.parametrize(("radius", "ratio", "length", "after"), [
    (1.0, 0.9, 0.5, 1.0), (1.0, 0.9, 0.9, 2.0), (8.0, 0.9, 8.0, 9.0), (1.0, 0.5, 1.0, 1.0), (1.0, 0.05, 1.0, 0.5),
    (1.0, np.nan, 1.0, 0.5), (1.0, -np.inf, 1.0, 0.5),
])  # fmt: skip
def test_the_radius_grows_after_long_good_steps_alone(radius, ratio, length, after):
    assert ref._radius(radius, ratio, length, 9.0) == after


def test_a_limited_sr1_that_remembers_everything_from_a_fixed_matrix_is_the_dense_one():
    f, g, _ = bowl(condition=10.0)
    options = {"mu": 0.0, "scale": lambda s, y: 1.0}
    dense = ref.sr1n(f, g, np.ones(6), 12, **options)
    close(ref.sr1n(f, g, np.ones(6), 12, memory=50, **options)[:8], dense[:8], 1e-6)
    assert norm(g(dense[-1], 0)) < 1e-8


def test_the_problems_gradients_are_their_losses_slopes():
    f, g = batches()
    w = np.linspace(-1, 1, 5)
    close(approx_fprime(w, f, 1e-7, 3), g(w, 3), 1e-6)
    close(approx_fprime(START, rosenbrock, 1e-7, 0), rosenbrock_gradient(START, 0), 1e-3)
