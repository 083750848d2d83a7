"""S-LBFGS and S-LSR1: the published runs, Newton's step, populations."""

import copy

import numpy as np
import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from optimizers.second_order.slbfgs import SLBFGS, kept_pairs, two_loop
from optimizers.second_order.slsr1 import SLSR1

torch.set_num_threads(1)

# losses before each step; published with the method, numbers of steps that were refused repeat
SLSR1_LOSSES = {
    0: 0.7568820772, 1: 0.6952455338, 2: 0.6795686674, 3: 0.6305025884, 4: 0.6305025884, 5: 0.6305025884,
    6: 0.5776401234, 7: 0.4973679646, 8: 0.4224807440, 9: 0.3387539206, 10: 0.3387539206, 11: 0.3387539206,
    12: 0.3387539206, 13: 0.3259174782, 20: 0.2847369289,
}  # fmt: skip
SLSR1_RADII = [1, 2, 2, 4, 2, 1, 1, 1, 2, 4, 2]
SLBFGS_LOSSES = {
    1: 0.6956258551, 2: 0.6928303728, 3: 0.6921769917, 4: 0.6910937151, 5: 0.6869002624, 6: 0.6778780169,
    7: 0.6778365436, 8: 0.6770420397, 9: 0.6769673131, 10: 0.6762432711,
}  # fmt: skip
SLBFGS_ALPHAS = [1, 1, 1, 1, 2**-2, 2**-11, 2**-10, 2**-9, 2**-8, 2**-7]


class Waves:
    """Two sine waves, one above the other, told apart by six layers of two units: 36 weights."""

    def __init__(self, method, **options):
        x = torch.arange(50, dtype=torch.float64) * 0.02
        wave = torch.sin(8 * x)
        self.points = torch.cat([torch.stack([x, wave + 0.8], -1), torch.stack([x, wave - 0.8], -1)])
        self.labels = torch.arange(100) < 50
        self.w = torch.nn.Parameter(torch.tensor(np.random.RandomState(67).randn(36)))
        draws = np.random.RandomState(67)

        class Fed(method):
            def directions(self, w):
                return torch.tensor(draws.randn(36, self.option("m")).T.copy())

        self.optimizer = Fed([self.w], **options)

    def scores(self):
        a = self.points
        for layer, weights in enumerate(self.w.split(6)):
            a = a @ weights[:4].view(2, 2) + weights[4:]
            a = torch.sigmoid(a) if layer < 5 else a
        return a

    def closure(self, backward=True):
        self.optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(self.scores(), self.labels.long())
        if backward:
            loss.backward()
        return loss

    def accuracy(self):
        return (self.scores().argmax(-1) == self.labels).double().mean().item()


def test_slsr1_repeats_the_published_run():
    run = Waves(SLSR1)
    losses, radii, accuracy = [], [], []
    for _ in range(37):
        losses.append(run.closure().item())
        accuracy.append(run.accuracy())
        run.optimizer.step(run.closure)
        radii.append(run.optimizer.memory["delta"].item())
    for k, loss in SLSR1_LOSSES.items():
        assert losses[k] == pytest.approx(loss, rel=1e-6)
    assert losses[30] == pytest.approx(0.1885713114, rel=1e-5)
    assert losses[35] == pytest.approx(0.0868778, rel=1e-5)
    assert losses[36] == pytest.approx(0.0541429, rel=1e-4)
    assert [1, *radii[:10]] == SLSR1_RADII
    assert accuracy[36] == 1.0
    assert max(accuracy[:36]) < 1.0


def test_slbfgs_repeats_the_published_run():
    run = Waves(SLBFGS)
    alphas = []
    for k in range(1, 11):
        run.optimizer.step(run.closure)
        alphas.append(run.optimizer.memory["alpha"].item())
        assert run.closure(backward=False).item() == pytest.approx(SLBFGS_LOSSES[k], rel=1e-6)
    assert alphas == SLBFGS_ALPHAS


# ---- theory


def minimise(method, loss, start, steps, **options):
    """(optimizer, weights, closure) after at most ``steps``, or at a gradient of norm 1e-8."""
    w = torch.nn.Parameter(start.clone())
    optimizer = method([w], **options)

    def closure(backward=True):
        optimizer.zero_grad()
        value = loss(w)
        if backward:
            value.sum().backward()
        return value

    for _ in range(steps):
        closure()
        if w.grad.norm() <= 1e-8:
            break
        optimizer.step(closure)
    closure()
    return optimizer, w, closure


def quadratic(seed, n, condition=20.0):
    random = np.random.RandomState(seed)
    V = np.linalg.qr(random.randn(n, n))[0]
    A = torch.tensor(V @ np.diag(np.linspace(1, condition, n)) @ V.T)
    solution = torch.tensor(random.randn(n))
    return (lambda w: 0.5 * ((w - solution) @ A * (w - solution)).sum(-1)), A, solution


def rosenbrock(coefficient):
    return lambda w: (1 - w[..., 0]) ** 2 + coefficient * (w[..., 1] - w[..., 0] ** 2) ** 2


@pytest.mark.parametrize("pairs", ["products", "differences"])
def test_as_many_samples_as_weights_make_newtons_step(pairs):
    loss, _, solution = quadratic(0, 6)
    _, w, _ = minimise(SLSR1, loss, torch.zeros(6).double(), 1, m=6, delta=1e3, pairs=pairs)
    torch.testing.assert_close(w.detach(), solution, rtol=1e-8, atol=1e-8)


def test_the_length_of_the_samples_does_not_matter_to_products():
    loss, _, _ = quadratic(1, 8)
    a, b = (minimise(SLSR1, loss, torch.zeros(8).double(), 4, m=3, r=r)[1] for r in (1.0, 2.0**-20))
    torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)


def test_differences_on_a_quadratic_are_products():
    loss, _, _ = quadratic(1, 8)
    for method in (SLSR1, SLBFGS):
        runs = [
            minimise(method, loss, torch.zeros(8).double(), 4, m=3, pairs=pairs)
            for pairs in ("products", "differences")
        ]
        torch.testing.assert_close(runs[0][1], runs[1][1], rtol=1e-9, atol=1e-9)
        assert runs[1][0].counters()["n_products"] == 0


def test_the_two_loops_equal_the_update_of_the_matrix():
    random = np.random.RandomState(3)
    S, Y, g = (torch.tensor(random.randn(*shape)) for shape in ((6, 9), (6, 9), (9,)))
    kept = kept_pairs(S, Y, 1e-8)
    assert 0 < kept.sum() < 6
    for s, y in zip(S[kept], Y[kept], strict=True):
        last = (s @ y) / (y @ y)
    H = last * torch.eye(9, dtype=torch.float64)
    for s, y in zip(S[kept], Y[kept], strict=True):
        P = torch.eye(9, dtype=torch.float64) - torch.outer(s, y) / (s @ y)
        H = P @ H @ P.T + torch.outer(s, s) / (s @ y)
    torch.testing.assert_close(two_loop(S, Y, kept, g), H @ g, rtol=1e-12, atol=1e-12)
    assert torch.equal(two_loop(S, Y, torch.zeros_like(kept), g), g)


@pytest.mark.parametrize("coefficient", [1.0, 100.0])
@pytest.mark.parametrize("method", [SLSR1, SLBFGS])
def test_rosenbrocks_valley_is_followed_to_its_end(method, coefficient):
    _, w, _ = minimise(method, rosenbrock(coefficient), torch.tensor([-1.2, 1.0]).double(), 300)
    assert w.grad.norm() <= 1e-8
    torch.testing.assert_close(w.detach(), torch.ones(2).double(), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("method", [SLSR1, SLBFGS])
def test_convex_quadratics_are_solved(method):
    for seed in range(3):
        loss, _, solution = quadratic(seed, 8)
        _, w, _ = minimise(method, loss, torch.zeros(8).double(), 300, seed=seed)
        assert w.grad.norm() <= 1e-8
        torch.testing.assert_close(w.detach(), solution, rtol=1e-7, atol=1e-7)


# ---- populations


def shared(method, starts, scale, steps, **options):
    """(weights after steps, optimizer) on a valley of each member's own scale."""
    w = torch.nn.Parameter(starts.clone())
    optimizer = method([w], member_dims=1, m=4, **options)

    def closure(backward=True):
        optimizer.zero_grad()
        x = w * scale[:, None]
        loss = (x**2 + torch.cos(3 * x)).sum(-1) + (x[:, 1:] - x[:, :-1] ** 2).square().sum(-1)
        if backward:
            loss.sum().backward()
        return loss

    for _ in range(steps):
        optimizer.step(closure)
    return w.detach(), optimizer


@pytest.mark.parametrize("method", [SLSR1, SLBFGS])
def test_members_move_as_if_alone(method):
    starts = torch.tensor(np.random.RandomState(5).randn(5, 13))
    scale = torch.linspace(0.5, 2, 5, dtype=torch.float64)
    order = torch.tensor([3, 1, 4, 0, 2])
    together = shared(method, starts, scale, 6)[0]
    assert torch.equal(shared(method, starts[order], scale[order], 6)[0], together[order])
    for i in range(5):
        alone = shared(method, starts[i : i + 1], scale[i : i + 1], 6)[0]
        torch.testing.assert_close(alone[0], together[i], rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("method", [SLSR1, SLBFGS])
def test_members_may_have_seeds_of_their_own(method):
    starts = torch.tensor(np.random.RandomState(5).randn(1, 13)).expand(3, 13)
    scale = torch.ones(3, dtype=torch.float64)
    found, _ = shared(method, starts, scale, 4, seed=[7, 8, 7])
    assert torch.equal(found[0], found[2])
    assert not torch.equal(found[0], found[1])
    alone, _ = shared(method, starts[:1], scale[:1], 4, seed=8)
    torch.testing.assert_close(alone[0], found[1], rtol=1e-10, atol=1e-10)
    with pytest.raises(ValueError, match="2 numbers"):
        shared(method, starts, scale, 1, seed=[1, 2])


@pytest.mark.parametrize("method", [SLSR1, SLBFGS])
def test_a_member_of_nan_stands_still_alone(method):
    starts = torch.tensor(np.random.RandomState(5).randn(4, 13))
    scale = torch.ones(4, dtype=torch.float64)
    good, _ = shared(method, starts, scale, 4)
    scale[2] = torch.nan
    found, optimizer = shared(method, starts, scale, 4)
    assert torch.equal(found[2], starts[2])
    others = torch.tensor([0, 1, 3])
    assert torch.equal(found[others], good[others])
    assert optimizer.counters()["n_nonfinite"] == [0, 0, 4, 0]


@pytest.mark.parametrize("method", [SLSR1, SLBFGS])
def test_a_copy_goes_on_with_the_same_samples(method):
    loss, _, _ = quadratic(2, 8)
    optimizer, w, closure = minimise(method, loss, torch.zeros(8).double(), 3, m=2)
    saved, there = copy.deepcopy(optimizer.state_dict()), w.detach().clone()
    for _ in range(3):
        optimizer.step(closure)
    expected = w.detach().clone()
    with torch.no_grad():
        w.copy_(there)
    optimizer.load_state_dict(saved)
    for _ in range(3):
        optimizer.step(closure)
    assert torch.equal(w.detach(), expected)
    assert not torch.equal(expected, there)


def test_a_learning_rate_of_a_half_halves_the_step():
    loss, _, solution = quadratic(0, 6)
    _, w, _ = minimise(SLSR1, loss, torch.zeros(6).double(), 1, m=6, delta=1e3, lr=0.5)
    torch.testing.assert_close(w.detach(), 0.5 * solution, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("method", [SLSR1, SLBFGS])
def test_a_step_reads_nothing_from_the_device(method):
    class Fed(method):
        def directions(self, w):
            return torch.randn(*w.shape[:-1], 2, w.shape[-1], dtype=w.dtype)

        def initial(self, w):  # without a generator, whose state lies on the host
            return {("delta" if method is SLSR1 else "alpha"): torch.ones_like(w[..., 0])}

    with FakeTensorMode():
        w = torch.nn.Parameter(torch.randn(3, 7))
        fewer = {"max_trials": 3} if method is SLBFGS else {}
        optimizer = Fed([w], member_dims=1, m=2, capturable=True, **fewer)

        def closure(backward=True):
            optimizer.zero_grad()
            loss = (w**4).sum(-1)
            if backward:
                loss.sum().backward()
            return loss

        for _ in range(2):
            optimizer.step(closure)
        assert w.shape == (3, 7)
