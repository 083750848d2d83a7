"""Line searches keep their conditions, need no more evaluations than scipy's, and do not mix the members."""

import functools
import itertools
import math

import numpy as np
import pytest
import scipy.optimize
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode

from optimizers._armijo import armijo_masked, backtracking
from optimizers._brent import exact
from optimizers._linesearch import Outcome, lockstep
from optimizers._strong_wolfe import strong_wolfe


def drive(search, f, slope=None):
    """The outcome of one search, and the trials it made."""
    trials, reply = [], None
    try:
        while True:
            alpha, _ = search.send(reply)
            trials.append(alpha)
            reply = f(alpha), slope(alpha) if slope else None
    except StopIteration as end:
        return end.value, trials


def wavy(seed):
    """A bounded-below 1-D function with many minima that descends at 0, its slope, and a first trial far off."""
    rng = np.random.default_rng(seed)
    height, phase = rng.normal(size=(2, 4))
    pitch, bowl = np.exp(rng.normal(size=4)), math.exp(2 * rng.normal())

    def f(alpha):
        return 0.5 * bowl * alpha**2 + float((sign * height * np.sin(pitch * alpha + phase)).sum())

    def slope(alpha):
        return bowl * alpha + float((sign * height * pitch * np.cos(pitch * alpha + phase)).sum())

    sign = -np.sign((height * pitch * np.cos(phase)).sum())
    return f, slope, float(10 ** rng.uniform(-3, 3))


def more_thuente():
    """The six functions of the paper, their slopes and the (c1, c2) it searches them with."""

    def fold(alpha, beta=0.01):
        return abs(alpha - 1) if abs(alpha - 1) >= beta else (alpha - 1) ** 2 / (2 * beta) + beta / 2

    def fold_slope(alpha, beta=0.01):
        return min(max((alpha - 1) / beta, -1), 1)

    def ripples(alpha, beta=0.01, times=39):
        wave = math.sin(times * math.pi / 2 * alpha)
        return fold(alpha) + 2 * (1 - beta) / (times * math.pi) * wave

    def ripples_slope(alpha, beta=0.01, times=39):
        return fold_slope(alpha) + (1 - beta) * math.cos(times * math.pi / 2 * alpha)

    def roots(left, right):
        a, b = (math.hypot(1, beta) - beta for beta in (left, right))
        return (
            lambda alpha: a * math.hypot(1 - alpha, right) + b * math.hypot(alpha, left),
            lambda alpha: a * (alpha - 1) / math.hypot(1 - alpha, right) + b * alpha / math.hypot(alpha, left),
        )

    return [
        (lambda a: -a / (a * a + 2), lambda a: (a * a - 2) / (a * a + 2) ** 2, 1e-3, 1e-1),
        (
            lambda a: (a + 0.004) ** 5 - 2 * (a + 0.004) ** 4,
            lambda a: 5 * (a + 0.004) ** 4 - 8 * (a + 0.004) ** 3,
            0.1,
            0.1,
        ),
        (ripples, ripples_slope, 0.1, 0.1),
        (*roots(0.001, 0.001), 1e-3, 1e-3),
        (*roots(0.01, 0.001), 1e-3, 1e-3),
        (*roots(0.001, 0.01), 1e-3, 1e-3),
    ]


def is_wolfe(alpha, f, slope, c1=1e-4, c2=0.9):
    return f(alpha) <= f(0.0) + c1 * alpha * slope(0.0) and abs(slope(alpha)) <= c2 * abs(slope(0.0))


@pytest.mark.parametrize("c2", [0.9, 0.1, 1e-3])
def test_the_strong_wolfe_conditions_hold_where_the_search_says_so(c2):
    for seed in range(200):
        f, slope, alpha0 = wavy(seed)
        outcome, trials = drive(strong_wolfe(f(0.0), slope(0.0), alpha0, c2=c2, max_trials=40), f, slope)
        assert outcome.ok, seed
        assert is_wolfe(outcome.alpha, f, slope, c2=c2), seed
        assert trials[outcome.trial] == outcome.alpha == trials[-1]


def test_a_strong_wolfe_search_stops_at_the_first_trial_that_satisfies_the_conditions():
    for seed in range(200):
        f, slope, alpha0 = wavy(seed)
        _, trials = drive(strong_wolfe(f(0.0), slope(0.0), alpha0), f, slope)
        assert not any(is_wolfe(alpha, f, slope) for alpha in trials[:-1])


def scipy_trials(f, slope, alpha0, c1, c2):
    """How many losses scipy's form of More and Thuente's search takes."""
    dcsrch = pytest.importorskip("scipy.optimize._dcsrch")
    trials = []
    search = dcsrch.DCSRCH(lambda alpha: trials.append(alpha) or f(alpha), slope, c1, c2, 1e-14, 0.0, 1e10)
    alpha, *_ = search(alpha0, phi0=f(0.0), derphi0=slope(0.0), maxiter=100)
    assert alpha is not None
    return len(trials)


def test_the_published_functions_take_no_more_trials_than_scipys_search():
    ours = theirs = 0
    for f, slope, c1, c2 in more_thuente():
        for alpha0 in (1e-3, 1e-1, 1e1, 1e3):
            outcome, trials = drive(strong_wolfe(f(0.0), slope(0.0), alpha0, c1=c1, c2=c2), f, slope)
            assert outcome.ok
            assert is_wolfe(outcome.alpha, f, slope, c1, c2)
            ours += len(trials)
            theirs += scipy_trials(f, slope, alpha0, c1, c2)
    assert ours <= 1.1 * theirs


@pytest.mark.parametrize("c2", [0.9, 0.1])
def test_random_functions_take_no_more_trials_than_scipys_search(c2):
    ours = theirs = 0
    for seed in range(300):
        f, slope, alpha0 = wavy(seed)
        ours += len(drive(strong_wolfe(f(0.0), slope(0.0), alpha0, c2=c2), f, slope)[1])
        theirs += scipy_trials(f, slope, alpha0, 1e-4, c2)
    assert ours <= 1.1 * theirs


def bfgs_evaluations(f, grad, x, tol):
    """Evaluations of scipy's BFGS with this package's line search in place of its own."""
    H, g, loss = np.eye(len(x)), grad(x), f(x)
    before, evaluations = loss + np.linalg.norm(g) / 2, 1
    while np.abs(g).max() > tol:
        p = -H @ g
        alpha0 = min(1.0, 1.01 * 2 * (loss - before) / (g @ p))
        search = strong_wolfe(loss, g @ p, alpha0 if alpha0 > 0 else 1.0)
        outcome, trials = drive(search, lambda a, x=x, p=p: f(x + a * p), lambda a, x=x, p=p: grad(x + a * p) @ p)
        assert outcome.ok
        evaluations += len(trials)
        s, y = outcome.alpha * p, grad(x + outcome.alpha * p) - g
        x, g, before, loss = x + s, g + y, loss, f(x + s)
        V = np.eye(len(x)) - np.outer(s, y) / (s @ y)
        H = V @ H @ V.T + np.outer(s, s) / (s @ y)
    return evaluations


def test_bfgs_takes_no_more_evaluations_than_scipys():
    f, grad = scipy.optimize.rosen, scipy.optimize.rosen_der
    ours = theirs = 0
    for seed in range(10):
        x = np.random.default_rng(seed).uniform(-2, 2, size=8)
        result = scipy.optimize.minimize(f, x, jac=grad, method="BFGS", options={"gtol": 1e-4})
        assert result.success
        ours += bfgs_evaluations(f, grad, x, 1e-4)
        theirs += result.nfev
    assert ours <= 1.1 * theirs


SEARCHES = {
    "strong_wolfe": strong_wolfe,
    "tight strong_wolfe": functools.partial(strong_wolfe, c2=1e-3),
    "short strong_wolfe": functools.partial(strong_wolfe, c2=1e-3, max_trials=3),
    "backtracking": backtracking,
    "exact": exact,
    "short exact": functools.partial(exact, max_trials=4),
}


class Valleys:
    """Member-wise losses of n weights along directions, with gradients as payload; not finite far out."""

    def __init__(self, members, n=5, seed=0):
        draw = functools.partial(torch.randn, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        self.w, self.A = draw(members, n), draw(members, n, n)
        self.p = -torch.stack([self.at(i, torch.tensor(0.0).double())[2] for i in range(members)])
        self.scale = 10 ** (3 * draw(members))
        self.p /= self.scale[:, None]

    def at(self, i, alpha):
        """Loss, slope and gradient of one member, always computed by itself."""
        w = (self.w[i] + (alpha * self.p[i] if hasattr(self, "p") else 0.0)).requires_grad_()
        loss = torch.where(w.norm() < 1e3, (self.A[i] @ w).cosh().log().sum() + 0.05 * w @ w + w.sin().sum(), torch.nan)
        (g,) = torch.autograd.grad(loss, w)
        return loss.detach(), g @ self.p[i] if hasattr(self, "p") else None, g

    def searched(self, search, alpha0=1.0):
        """The lockstep search of all members, and the steps evaluated, (trials, members)."""
        steps = []

        def evaluate(alpha):
            steps.append(alpha.clone())
            loss, slope, g = zip(*(self.at(i, a) for i, a in enumerate(alpha)), strict=True)
            return torch.stack(loss), torch.stack(slope), (torch.stack(g), alpha.clone())

        f0, slope0, _ = evaluate(torch.zeros(len(self.w)).double())
        return lockstep(search, evaluate, f0, slope0, torch.full_like(f0, alpha0)), torch.stack(steps[1:])

    def searched_alone(self, i, search, alpha0=1.0):
        """The search of one member as a single network, and the steps evaluated, (trials,)."""
        steps = []

        def evaluate(alpha):
            steps.append(alpha.clone())
            loss, slope, g = self.at(i, alpha)
            return loss, slope, (g, alpha.clone())

        f0, slope0, _ = evaluate(torch.tensor(0.0).double())
        return lockstep(search, evaluate, f0, slope0, torch.full_like(f0, alpha0)), torch.stack(steps[1:])


@pytest.mark.parametrize("name", SEARCHES)
def test_a_population_is_searched_as_its_members_one_by_one_bit_for_bit(name):
    valleys = Valleys(12)
    together, steps = valleys.searched(SEARCHES[name])
    assert together.trials == len(steps)
    assert len(set(together.alpha.tolist())) > 1
    for i in range(12):
        alone, own_steps = valleys.searched_alone(i, SEARCHES[name])
        assert torch.equal(steps[: len(own_steps), i], own_steps)
        assert (steps[len(own_steps) :, i] == alone.alpha).all(), "a member that is done stays"
        for field in ("alpha", "ok", "loss"):
            assert torch.equal(getattr(together, field)[i], getattr(alone, field))
        for value, own in zip(together.payload, alone.payload, strict=True):
            torch.testing.assert_close(value[i], own, rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize("name", SEARCHES)
def test_loss_and_payload_belong_to_the_step(name):
    valleys = Valleys(12)
    result, _ = valleys.searched(SEARCHES[name])
    assert result.alpha.count_nonzero() >= 6
    for i in result.alpha.nonzero()[:, 0]:
        loss, _, g = valleys.at(i, result.alpha[i])
        assert torch.equal(result.loss[i], loss)
        assert torch.equal(result.payload[0][i], g)
        assert torch.equal(result.payload[1][i], result.alpha[i])


def test_the_strong_wolfe_conditions_hold_for_every_member_of_a_population():
    valleys = Valleys(12)
    result, _ = valleys.searched(strong_wolfe)
    assert result.ok.all()
    for i in range(12):
        f0, slope0, _ = valleys.at(i, torch.tensor(0.0).double())
        _, slope, _ = valleys.at(i, result.alpha[i])
        assert result.loss[i] <= f0 + 1e-4 * result.alpha[i] * slope0
        assert slope.abs() <= 0.9 * slope0.abs()


def test_a_single_network_has_tensors_without_a_member_axis():
    def evaluate(alpha):
        return (alpha - 3) ** 2, 2 * (alpha - 3), (alpha * torch.ones(4),)

    f0, slope0, payload = evaluate(torch.tensor(0.0))
    result = lockstep(functools.partial(strong_wolfe, c2=0.01), evaluate, f0, slope0, torch.tensor(1.0))
    assert result.alpha.shape == result.ok.shape == result.loss.shape == ()
    assert result.payload[0].shape == payload[0].shape
    assert (result.payload[0] == result.alpha).all()
    torch.testing.assert_close(result.alpha, torch.tensor(3.0), rtol=0.01, atol=0)


def test_members_that_cannot_descend_are_not_searched():
    f0 = torch.tensor([1.0, 1.0, math.nan, 1.0, math.inf, 1.0])
    slope0 = torch.tensor([-2.0, 0.0, -1.0, 1.0, -1.0, math.nan])
    seen = []

    def evaluate(alpha):
        seen.append(alpha)
        return (alpha - 1) ** 2, 2 * (alpha - 1), (alpha,)

    for search in (strong_wolfe, backtracking, exact):
        result = lockstep(search, evaluate, f0, slope0, torch.full((6,), 0.5))
        assert result.ok.tolist() == [True] + 5 * [False]
        assert (result.alpha[1:] == 0).all()
        torch.testing.assert_close(result.loss[1:], f0[1:], equal_nan=True)
    assert all((alpha[1:] == 0).all() for alpha in seen)


def test_a_population_without_members_to_search_is_evaluated_once_where_it_stands():
    result = lockstep(
        strong_wolfe, lambda a: (a + 5, a + 1, (a[:, None] + 7,)), torch.ones(2), torch.ones(2), torch.ones(2)
    )
    assert result.trials == 1
    assert (result.payload[0] == 7).all()
    assert not result.ok.any()
    assert (result.alpha == 0).all()
    assert (result.loss == 1).all()


def test_more_than_one_member_axis_is_refused():
    with pytest.raises(ValueError, match=r"shape \(2, 2\)"):
        lockstep(exact, lambda a: (a, None, ()), *3 * [torch.ones(2, 2)])


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("edge", [1.5, 40.0])
def test_a_trial_that_is_not_finite_is_too_large(bad, edge):
    """A barrier: the loss is finite on [0, edge) only, its minimiser inside."""

    def f(alpha):
        return -math.log(alpha + 1) - 0.01 * math.log(edge - alpha) if alpha < edge else bad

    def slope(alpha):
        return -1 / (alpha + 1) + 0.01 / (edge - alpha) if alpha < edge else bad

    for alpha0 in (1e-3, 1.0, 1e4):
        for search in (functools.partial(strong_wolfe, c2=0.1), backtracking, exact):
            outcome, _ = drive(search(f(0.0), slope(0.0), alpha0, max_trials=50), f, slope)
            assert outcome.ok
            assert 0 < outcome.alpha < edge
            assert f(outcome.alpha) < f(0.0)
        outcome, _ = drive(strong_wolfe(f(0.0), slope(0.0), alpha0, c2=0.1), f, slope)
        assert is_wolfe(outcome.alpha, f, slope, c2=0.1)


def test_a_slope_that_is_not_finite_is_too_large():
    outcome, trials = drive(
        strong_wolfe(0.0, -1.0, 8.0, c2=0.1), lambda a: a * a - a, lambda a: 2 * a - 1 if a < 1 else math.nan
    )
    assert outcome.ok
    assert trials[0] > 1 > outcome.alpha


@pytest.mark.parametrize("search", [strong_wolfe, backtracking, exact])
@pytest.mark.parametrize("loss", [math.nan, 5.0])
def test_a_search_without_any_descent_fails_with_no_step(search, loss):
    outcome, trials = drive(search(0.0, -1.0, 1.0, max_trials=7), lambda _: loss, lambda _: -1.0)
    assert outcome == Outcome(0.0, False, None)
    assert len(trials) == 7


def test_a_loss_without_a_lower_bound_fails_with_the_best_step():
    for search in (strong_wolfe, exact):
        outcome, trials = drive(search(0.0, -1.0, 1.0, max_trials=9), lambda a: -a, lambda _: -1.0)
        assert (outcome.ok, len(trials)) == (False, 9)
        assert outcome.alpha == max(trials) == trials[outcome.trial]
    outcome, trials = drive(strong_wolfe(0.0, -1.0, 1.0, alpha_max=6.0), lambda a: -a, lambda _: -1.0)
    assert outcome == Outcome(6.0, False, len(trials) - 1)


def test_a_failed_strong_wolfe_search_returns_the_lowest_of_the_steps_that_decrease_enough():
    failed = 0
    for seed in range(300):
        f, slope, alpha0 = wavy(seed)
        outcome, trials = drive(strong_wolfe(f(0.0), slope(0.0), alpha0, c2=1e-6, max_trials=3), f, slope)
        if not outcome.ok:
            failed += 1
            enough = [a for a in trials if f(a) <= f(0.0) + 1e-4 * a * slope(0.0)]
            assert outcome.alpha == min(enough, key=f, default=0.0)
    assert failed > 100


numbers = st.one_of(st.floats(), st.floats(-10, 10), st.sampled_from([0.0, 1.0, -1.0]))


@settings(deadline=None, max_examples=200)
@given(st.sampled_from(sorted(SEARCHES)), *3 * [numbers], st.lists(st.tuples(numbers, numbers), min_size=1, max_size=8))
def test_no_sequence_of_losses_and_slopes_crashes_a_search(name, f0, slope0, alpha0, replies):
    cycle, told = itertools.cycle(replies), []

    def loss(_):
        told.append(next(cycle))
        return told[-1][0]

    for sign in (1, -1):  # so that half of the examples are searched at all
        outcome, trials = drive(SEARCHES[name](f0, sign * slope0, abs(alpha0)), loss, lambda _: told[-1][1])
        assert len(trials) <= 50
        assert not any(math.isnan(alpha) or alpha < 0 for alpha in trials)
        assert outcome.alpha == (0.0 if outcome.trial is None else trials[outcome.trial])
        assert outcome.trial is not None or not outcome.ok


def test_backtracking_takes_the_largest_of_its_steps():
    for seed in range(100):
        f, slope, alpha0 = wavy(seed)
        outcome, trials = drive(backtracking(f(0.0), slope(0.0), alpha0, max_trials=15), f)
        steps = [alpha0 * 0.5**j for j in range(15)]
        enough = [alpha for alpha in steps if f(alpha) <= f(0.0) + 1e-3 * alpha * slope(0.0)]
        assert (outcome.alpha, outcome.ok) == ((enough[0], True) if enough else (0.0, False))
        assert trials == steps[: len(trials)]


def bowls(dtype=torch.float64):
    """Losses of members with curvatures far apart, one that never decreases, one not finite far out, one ascending."""
    bend = torch.tensor([0.5, 3.0, 50.0, 1e9, 3.0, 1.0], dtype=dtype)
    slope0 = torch.tensor([-1.0, -1.0, -1.0, -1.0, -1.0, 1.0], dtype=dtype)

    def loss(alpha):
        f = slope0 * alpha + bend * alpha**2
        far = torch.tensor([False, False, False, False, True, False]) & (alpha > 0.3)
        return torch.where(far, torch.nan, f)

    return loss, torch.zeros_like(bend), slope0, torch.ones_like(bend)


@pytest.mark.parametrize("early_exit", [True, False])
@pytest.mark.parametrize("tau", [0.5, 0.8])
def test_the_masked_search_is_the_backtracking_of_every_member(early_exit, tau):
    loss, f0, slope0, alpha0 = bowls()
    masked = armijo_masked(loss, f0, slope0, alpha0, eta=1e-3, tau=tau, max_trials=20, early_exit=early_exit)
    search = functools.partial(backtracking, eta=1e-3, tau=tau, max_trials=20)
    run = lockstep(search, lambda alpha: (loss(alpha), None, ()), f0, slope0, alpha0)
    for value, other in zip(masked[:3], (run.alpha, run.ok, run.loss), strict=True):
        assert torch.equal(value, other)
    assert masked.ok.tolist() == [True, True, True, False, True, False]


def test_the_masked_search_tells_its_last_trial_where_it_failed():
    loss, f0, slope0, alpha0 = bowls()
    found = armijo_masked(loss, f0, slope0, alpha0, max_trials=3)
    assert found.ok.tolist() == [True, True, False, False, True, False]
    assert found.alpha.tolist() == [1.0, 0.25, 0.0, 0.0, 0.25, 0.0]
    assert found.last.tolist() == [1.0, 0.25, 0.25, 0.25, 0.25, 0.0]
    assert torch.equal(found.last_loss, loss(found.last))


def test_the_masked_search_ends_early_only_if_told_to():
    calls = []

    def loss(alpha):
        calls.append(alpha)
        return alpha**2 - alpha

    start = (torch.zeros(3), -torch.ones(3), torch.tensor([0.1, 1.0, 2.0]))
    early = armijo_masked(loss, *start)
    assert len(calls) == 3
    late = armijo_masked(loss, *start, early_exit=False)
    assert len(calls) == 3 + 10
    assert all(torch.equal(a, b) for a, b in zip(early, late, strict=True))


def test_the_masked_search_reads_nothing_from_the_device():
    with FakeTensorMode():
        f0, slope0 = torch.zeros(7), -torch.ones(7)
        result = armijo_masked(lambda alpha: alpha**2 - alpha, f0, slope0, torch.ones(7), early_exit=False)
        assert [value.shape for value in result] == 5 * [(7,)]
        with pytest.raises(DataDependentOutputException):
            armijo_masked(lambda alpha: alpha**2 - alpha, f0, slope0, torch.ones(7))


def test_the_exact_search_finds_scipys_minimiser_with_no_more_evaluations():
    ours = theirs = 0
    for seed in range(60):
        c, d = np.random.default_rng(seed).normal(size=2)
        alpha0 = 10.0 ** (seed % 7 - 3)

        def f(alpha, c=c, d=d):
            return math.exp(c) * float(np.logaddexp(alpha - 2, 2 - alpha)) + math.exp(d) * math.hypot(1.0, alpha - 1)

        slope0 = math.exp(c) * math.tanh(-2) - math.exp(d) / math.sqrt(2)
        outcome, trials = drive(exact(f(0.0), slope0, alpha0), f)
        minimum = scipy.optimize.minimize_scalar(f, bracket=(0.0, alpha0), tol=1e-6)
        precise = scipy.optimize.minimize_scalar(f, bounds=(0.0, 4.0), method="bounded", options={"xatol": 1e-9})
        assert outcome.ok
        assert outcome.alpha == pytest.approx(precise.x, rel=3e-6)
        ours, theirs = ours + len(trials), theirs + minimum.nfev
    assert ours <= 1.1 * theirs


def test_on_a_quadratic_the_exact_search_finds_the_step_that_makes_the_next_gradient_orthogonal():
    generator = torch.Generator().manual_seed(1)
    A = torch.randn(4, 6, 6, generator=generator, dtype=torch.float64)
    A = A @ A.mT
    w = torch.randn(4, 6, generator=generator, dtype=torch.float64)
    g = (A @ w[..., None])[..., 0]
    Hg = (A @ g[..., None])[..., 0]
    alpha = torch.linalg.vecdot(g, g) / torch.linalg.vecdot(g, Hg)
    following = g - alpha[:, None] * Hg
    assert (torch.linalg.vecdot(g, following).abs() <= 1e-12 * torch.linalg.vecdot(g, g)).all()

    def evaluate(step):
        moved = w - step[:, None] * g
        return 0.5 * torch.linalg.vecdot(moved, (A @ moved[..., None])[..., 0]), None, ()

    f0 = evaluate(torch.zeros(4).double())[0]
    searched = lockstep(exact, evaluate, f0, -torch.linalg.vecdot(g, g), torch.ones(4).double())
    assert searched.ok.all()
    torch.testing.assert_close(searched.alpha, alpha, rtol=3e-6, atol=0)
