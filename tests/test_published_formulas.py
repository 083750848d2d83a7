"""Formulas of quasi-Newton methods as published: matrices, pairs, momentum, memories."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

import optimizers
from optimizers.quasi_newton._lbfgs import LimitedMemory
from optimizers.quasi_newton._momentum import advance
from tests import references

torch.set_num_threads(1)


def normal(seed, *shape):
    return torch.tensor(np.random.RandomState(seed).randn(*shape))


def wavy(w):
    """(..., n) -> (...): a bowl with waves, curvature along the axes between -2 and 4."""
    waves = (0.5 * w * w + 0.75 * torch.cos(2 * w) + 0.02 * w**4).sum(-1)
    return waves + 0.1 * (w[..., 1:] * w[..., :-1]).sum(-1)


def valley(w):
    return ((1 - w[..., :-1]) ** 2 + 100 * (w[..., 1:] - w[..., :-1] ** 2) ** 2).sum(-1)


def slope(loss, w):
    at = w.detach().clone().requires_grad_()
    return torch.autograd.grad(loss(at).sum(), at)[0]


class Run:
    """An optimizer on one loss. ``w``: weights before the first step and after each; ``at``: of each call by steps."""

    def __init__(self, name, loss, start, **options):
        self.loss, self.weights = loss, start.clone().requires_grad_()
        self.optimizer = optimizers.make(name, [self.weights], **options)
        self.w, self.at = [start.clone()], []

    def closure(self, backward=True):
        self.at[-1].append(self.weights.detach().clone())
        self.optimizer.zero_grad()
        value = self.loss(self.weights)
        if backward:
            value.sum().backward()
        return value

    def step(self):
        self.at.append([])
        self.optimizer.step(self.closure)
        self.w.append(self.weights.detach().clone())

    @property
    def v(self):
        """The velocity before the last step, which is the last displacement but one."""
        return self.w[-2] - self.w[-3] if len(self.w) > 2 else torch.zeros_like(self.w[0])

    def spy_on_pairs(self):
        """The list that each pair will enter: s, g2 - g1, g1, what the rule makes of s and y, whether it accepts."""
        seen, rule = [], self.optimizer.pair_rule

        def spy(s, y, g1):
            found = rule(s, y, g1)
            seen.append((s, y, g1, found[0], found[1], bool(found[2])))
            return found

        self.optimizer.pair_rule = spy
        return seen


# ---- dense matrices


def mixed(H, s, y, phi):
    """The inverse of (1 - phi) B_BFGS + phi B_DFP, for B the inverse of H."""
    H, s, y = H.numpy(), s.numpy(), y.numpy()
    B = np.linalg.inv(H)
    mean = (1 - phi) * references.hessian_bfgs_update(B, s, y) + phi * references.hessian_dfp_update(B, s, y)
    return np.linalg.inv(mean)


@pytest.mark.parametrize("lr", [1.0, 0.3])
@pytest.mark.parametrize("search", ["strong_wolfe", "armijo", "exact"])
@pytest.mark.parametrize("phi", [0.0, 0.25, 0.5, 0.8, 1.0])
def test_the_family_mixes_hessians_though_it_never_forms_one(phi, search, lr):
    run = Run("broyden_family", wavy, 0.4 * normal(2, 5), phi=phi, line_search=search, lr=lr)
    checked = 0
    for _ in range(6):
        before = run.optimizer.memory["H"].clone() if run.optimizer.k else torch.eye(5).double()
        accepted = run.optimizer.counters()["n_accepted"]
        run.step()
        s, y = run.w[-1] - run.w[-2], slope(wavy, run.w[-1]) - slope(wavy, run.w[-2])
        if run.optimizer.counters()["n_accepted"] == accepted or s.norm() < 1e-4:
            continue
        if accepted == 0:
            before = before * (s @ y) / (y @ y)
        found = run.optimizer.memory["H"].numpy()
        np.testing.assert_allclose(found, mixed(before, s, y, phi), rtol=1e-7, atol=1e-8)
        checked += 1
    assert checked >= 3


@pytest.mark.parametrize(("name", "phi_hat"), [("bfgs", 1.0), ("dfp", 0.0)])
def test_the_ends_of_the_family_are_bfgs_and_dfp(name, phi_hat):
    start = normal(3, 5)
    for options in ({"phi": phi_hat, "inverse_form": True}, {"phi": 1 - phi_hat}):
        one = Run("broyden_family", wavy, start, line_search="armijo", **options)
        other = Run(name, wavy, start, line_search="armijo")
        for _ in range(15):
            one.step()
            other.step()
        np.testing.assert_allclose(torch.stack(one.w), torch.stack(other.w), rtol=1e-8, atol=1e-9)


UPDATES = {
    "bfgs": references.bfgs_update, "dfp": references.dfp_update, "broyden": references.good_broyden_update,
}  # fmt: skip


@pytest.mark.parametrize("name", UPDATES)
def test_a_dense_matrix_is_updated_by_the_printed_formula(name):
    run = Run(name, wavy, normal(4, 5), line_search="armijo", rescale=False)
    H, many = np.eye(5), 0
    for _ in range(12):
        accepted = run.optimizer.counters()["n_accepted"]
        run.step()
        if run.optimizer.counters()["n_resets"]:
            break
        if run.optimizer.counters()["n_accepted"] > accepted:
            s, y = run.w[-1] - run.w[-2], slope(wavy, run.w[-1]) - slope(wavy, run.w[-2])
            H, many = UPDATES[name](H, s.numpy(), y.numpy()), many + 1
        np.testing.assert_allclose(run.optimizer.memory["H"], H, rtol=1e-6, atol=1e-6)
        if (run.w[-1] - run.w[-2]).norm() < 1e-3:
            break
    assert many >= 3


@pytest.mark.parametrize("n", [3, 6])
def test_sr1_updates_along_any_independent_steps_recover_a_matrix(n):
    for seed in range(5):
        A, S = normal(seed, n, n), normal(seed + 50, n, n)
        A = A + A.T
        direct, inverse = (
            Run(name, lambda w: (w * w).sum(-1), torch.ones(n).double(), **more)
            for name, more in (("sr1", {}), ("sr1_inverse", {"rescale": False}))
        )
        for run in (direct, inverse):
            run.step()
            run.optimizer.matrix.clear(run.optimizer, torch.tensor(True))
        yes = torch.tensor(True)
        for s in S:
            y = A @ s
            direct.optimizer.matrix.update(direct.optimizer, s, y, yes)
            inverse.optimizer.matrix.update(inverse.optimizer, s, y, yes, s @ y, y @ y)
        np.testing.assert_allclose(direct.optimizer.memory["B"], A, atol=1e-7)
        np.testing.assert_allclose(inverse.optimizer.memory["H"] @ A, np.eye(n), atol=1e-6)


# ---- pairs


@pytest.mark.parametrize(("search", "lr"), [("none", 0.2), ("armijo", 1.0)])
def test_damping_keeps_a_fifth_of_the_curvature(search, lr):
    """s'y >= 0.2 y'Hy for every pair of a function with negative curvature, so none is left out."""
    damped_pairs = 0
    for seed in range(6):
        run = Run("bfgs", wavy, 0.4 * normal(seed, 5), damping=True, line_search=search, rescale=False, lr=lr)
        seen = run.spy_on_pairs()
        for _ in range(10):
            H = run.optimizer.memory["H"].clone() if run.optimizer.k else torch.eye(5).double()
            run.step()
            raw, y, _, s, y_kept, accepted = seen[-1]
            if raw.norm() < 1e-5 or run.optimizer.counters()["n_resets"]:
                break
            bend = y @ H @ y
            assert accepted
            assert torch.equal(y_kept, y)
            assert s @ y >= 0.2 * bend * (1 - 1e-9)
            expected = references.powell_damped(H.numpy(), raw.numpy(), y.numpy())
            np.testing.assert_allclose(s, expected, rtol=1e-9, atol=1e-12)
            np.testing.assert_allclose(run.optimizer.memory["H"] @ y, s, rtol=1e-7, atol=1e-9)
            assert torch.linalg.eigvalsh(run.optimizer.memory["H"]).min() > 0
            damped_pairs += int(raw @ y < 0.2 * bend)
    assert damped_pairs >= 5


@pytest.mark.parametrize(
    ("name", "options"), [("mnaq", {"mu": 0.8}), ("mnaq", {"mu": 0.0}), ("amnaq", {}), ("mbfgs", {})]
)
@pytest.mark.parametrize("loss", [wavy, valley])
def test_the_modified_secant_bounds_the_curvature_of_every_pair(name, options, loss):
    """s'y >= omega ||g1|| ||s||^2, so that H stays positive definite whatever the function."""
    bent, omegas = 0, set()
    for seed in range(4):
        run = Run(name, loss, (0.1 if loss is wavy else 0.5) * normal(seed, 5), **options)
        seen = run.spy_on_pairs()
        for _ in range(60):
            run.step()
            raw_s, raw_y, g1, s, y, accepted = seen[-1]
            if raw_s.norm() < 1e-9:
                break
            omega = 2.0 if g1.norm() ** 2 > 1e-2 else 100.0
            assert accepted
            assert torch.equal(s, raw_s)
            assert s @ y >= omega * g1.norm() * (s @ s) * (1 - 1e-9)
            np.testing.assert_allclose(
                y, references.modified_secant(s.numpy(), raw_y.numpy(), g1.numpy()), rtol=1e-12, atol=1e-15
            )
            bent, omegas = bent + int(raw_s @ raw_y < 0), omegas | {omega}
        H = run.optimizer.memory["H"]
        assert torch.linalg.eigvalsh(0.5 * (H + H.T)).min() > 0
    if loss is wavy:
        assert bent > 0
        assert omegas == {2.0, 100.0}


def wall(w):
    """A bowl that begins with a wall: steps longer than a tenth climb it."""
    return (w * w).sum(-1) + 1e8 * torch.relu(2.9 - w[..., 0]) ** 2


@pytest.mark.parametrize("name", ["mnaq", "mbfgs", "amnaq"])
def test_a_modified_method_searches_until_it_has_a_pair(name):
    """The explicit step needs a pair; where the first search failed there is none, and the next one searches again."""
    run = Run(name, wall, torch.tensor([3.0, -2.0]).double(), max_trials=2, step="explicit")
    run.step()
    assert torch.equal(run.w[0], run.w[1])  # two trials were too few
    run.optimizer.param_groups[0]["max_trials"] = 40
    run.step()
    assert wall(run.w[-1]) < wall(run.w[0])


@pytest.mark.parametrize("name", ["bfgs", "lbfgs", "naq", "obfgs", "olbfgs", "olnaq"])
def test_pairs_of_negative_curvature_are_left_out(name):
    hill = {"lam": 0.0, "lr": 0.1} if name.startswith("o") else {"line_search": "none"}
    run = Run(name, lambda w: -0.01 * (w * w).sum(-1), normal(1, 4), **hill)
    for _ in range(5):
        run.step()
    counted = run.optimizer.counters()
    assert (counted["n_accepted"], counted["n_rejected"]) == (0, 5)


# ---- lengths of steps


def explicit_schedule(name, k):
    return {"constant": 1.0, "rsqrt": (k + 1) ** -0.5, "robbins-monro": 7 / (7 + k)}[name]


@pytest.mark.parametrize("schedule", ["constant", "rsqrt", "robbins-monro"])
@pytest.mark.parametrize("name", ["obfgs", "olbfgs", "onaq", "olnaq", "omoq", "olmoq"])
def test_a_normalised_step_is_as_long_as_its_schedule_says(name, schedule):
    mu = 0.6 if "aq" in name or "oq" in name else 0.0
    run = Run(name, wavy, normal(5, 6), lr=0.3, schedule=schedule, tau=7.0, **({"mu": mu} if mu else {}))
    for k in range(20):
        run.step()
        s = run.w[-1] - run.w[-2] - mu * run.v
        np.testing.assert_allclose(s.norm(), 0.3 * explicit_schedule(schedule, k), rtol=1e-12)


@pytest.mark.parametrize("search", ["strong_wolfe", "armijo"])
@pytest.mark.parametrize("name", ["bfgs", "dfp", "lbfgs", "naq", "lnaq", "moq", "lmoq", "mnaq", "mbfgs"])
def test_the_first_trial_is_as_long_as_the_gradient_says(name, search):
    """min(1, 1 / ||g||_1) along -g."""
    for scale in (1e-3, 1.0, 1e4):
        run = Run(name, lambda w, scale=scale: scale * wavy(w), normal(6, 6), line_search=search)
        run.step()
        g = scale * slope(wavy, run.w[0])
        trial = next(at for at in run.at[0] if not torch.equal(at, run.w[0]))
        np.testing.assert_allclose(trial, run.w[0] - g * min(1.0, 1 / g.abs().sum().item()), rtol=1e-12)


@pytest.mark.parametrize(("name", "c2"), [("bfgs", 0.9), ("lbfgs", 0.9), ("dfp", 0.1), ("broyden_family", 0.9)])
@pytest.mark.parametrize("loss", [wavy, valley])
def test_every_step_satisfies_the_strong_wolfe_conditions(name, c2, loss):
    run = Run(name, loss, normal(7, 6))
    for _ in range(30):
        run.step()
        old, new = run.w[-2], run.w[-1]
        along, f = slope(loss, old) @ (new - old), loss(old).item()
        if along > -1e-12 * max(1.0, f):  # rounding of the loss hides the decrease
            break
        assert loss(new) <= f + 1e-4 * along + 1e-14 * abs(f)
        assert abs(slope(loss, new) @ (new - old)) <= -c2 * along * (1 + 1e-9)
    assert len(run.w) > 8


@pytest.mark.parametrize(
    ("name", "options"), [("naq", {"mu": 0.8}), ("lnaq", {"mu": 0.8}), ("bfgs", {}), ("lbfgs", {})]
)
@pytest.mark.parametrize("loss", [wavy, valley])
def test_a_step_by_armijos_rule_is_the_largest_that_descends_enough(name, options, loss):
    """From the look-ahead point; twice the step does not descend enough unless it was the first trial."""
    restart = {"restart": False} if "naq" in name else {}
    run = Run(name, loss, 0.5 * normal(8, 6), line_search="armijo", **options, **restart)
    halved = 0
    for _ in range(30):
        losses = run.optimizer.counters().get("n_losses", 0)
        run.step()
        point = run.w[-2] + options.get("mu", 0.0) * run.v
        s, f = run.w[-1] - point, loss(point).item()
        along = s @ slope(loss, point)
        if along > -1e-10 * max(1.0, f):
            break
        assert loss(run.w[-1]) <= f + 1e-3 * along + 1e-13 * abs(f)
        if run.optimizer.counters()["n_losses"] - losses > 1:
            assert loss(point + 2 * s) > f + 2e-3 * along
            halved += 1
    assert len(run.w) > 8
    assert halved >= 1 or loss is wavy


# ---- momentum


def test_momentum_of_amnaq_is_the_published_schedule():
    """Seen from outside: the first call of a step is at w + mu v."""
    run, found = Run("amnaq", valley, 0.5 * normal(1, 4)), []
    for _ in range(8):
        run.step()
        away = run.at[-1][0] - run.w[-2]
        found.append((away.norm() / run.v.norm()).item() if len(found) else 0.0)
        np.testing.assert_allclose(away, found[-1] * run.v, rtol=1e-7, atol=1e-12)
    np.testing.assert_allclose(found[:5], [0, 0.2818, 0.4340, 0.5311, 0.5988], atol=1e-4)
    np.testing.assert_allclose(found, [references.nesterov_schedule()(k) for k in range(8)], rtol=1e-6, atol=1e-9)


def test_nesterovs_schedule_reaches_nine_tenths_at_step_26_and_goes_to_its_limit():
    theta, gamma, mus = torch.ones((), dtype=torch.float64), 1e-5, []
    for _ in range(6000):
        before = theta
        mu, theta = advance(theta, gamma, 1.0)
        mus.append(mu.item())
        assert abs(theta**2 - ((1 - theta) * before**2 + gamma * theta)) < 1e-15
    assert [mu >= 0.9 for mu in mus].index(True) == 26
    assert [mu >= 0.95 for mu in mus].index(True) == 56
    assert mus[-1] == pytest.approx((1 - gamma**0.5) / (1 + gamma**0.5), abs=1e-7)
    assert advance(torch.tensor(0.01), gamma, 0.95)[0].item() == pytest.approx(0.95)


# ---- limited memories


def memory_of(members, n, m, h0, dtype=torch.float64):
    """A limited memory and what holds its tensors."""
    matrix, options = LimitedMemory(), {"m": m, "h0": h0}
    holder = SimpleNamespace(option=options.__getitem__)
    holder.memory = matrix.initial(holder, torch.zeros(*members, n, dtype=dtype))
    return matrix, holder


def random_pair(draw, n):
    """s and y with curvature between 1e-3 and 1e3, about a third of them nearly along the same direction."""
    s = draw.randn(n) + (20 * np.ones(n) if draw.rand() < 0.3 else 0)
    y = np.exp(draw.uniform(-7, 7) * np.linspace(-1, 1, n) / 2) * s + 0.1 * draw.randn(n)
    return (s, y) if s @ y > 0 else (s, -y)


def first_matrix(pairs, h0):
    ratios = [(s @ y) / (y @ y) for s, y in pairs]
    return {"newest": ratios[-1], "mean": np.mean(ratios), "identity": 1.0}[h0] if pairs else 1.0


@pytest.mark.parametrize("h0", ["newest", "mean", "identity", "diagonal"])
@pytest.mark.parametrize("m", [1, 2, 5])
@pytest.mark.parametrize("members", [(), (4,)], ids=["one", "four"])
def test_the_compact_form_is_the_two_loop_recursion(members, m, h0):
    """Through rejected pairs, different in each member, a turn of the ring and more, and clearing of one member."""
    n, many, draw = 12, members[0] if members else 1, np.random.RandomState(m)
    matrix, holder = memory_of(members, n, m, "newest" if h0 == "diagonal" else h0)
    kept, shape = [[] for _ in range(many)], (*members, n)
    for step in range(6 * m + 8):
        accept = draw.rand(many) < 0.6
        pairs = [random_pair(draw, n) for _ in range(many)]
        s, y = (torch.tensor(np.stack(x)) for x in zip(*pairs, strict=True))
        if step == 3:  # what is not accepted may be anything
            s[0], accept[0] = float("nan"), False
        sy, yy = (s * y).sum(-1).reshape(members), (y * y).sum(-1).reshape(members)
        matrix.update(holder, s.reshape(shape), y.reshape(shape), torch.tensor(accept).reshape(members), sy, yy)
        kept = [[*k, pair][-m:] if a else k for k, pair, a in zip(kept, pairs, accept, strict=True)]
        if step == 2 * m + 4:
            matrix.clear(holder, torch.tensor([True] + [False] * (many - 1)).reshape(members))
            kept[0] = []
        g = draw.randn(many, n)
        diagonal = np.exp(draw.randn(many, n))
        h = torch.tensor(diagonal).reshape(shape) if h0 == "diagonal" else None
        found = matrix.times(holder, torch.tensor(g).reshape(shape), h).reshape(many, n).numpy()
        for i in range(many):
            start = diagonal[i] if h0 == "diagonal" else first_matrix(kept[i], h0)
            expected = references.two_loop(g[i], kept[i], start)
            assert np.abs(found[i] - expected).max() <= 1e-9 * np.abs(expected).max()
    assert any(len(k) == m for k in kept)


@pytest.mark.parametrize("name", ["lbfgs", "lnaq", "lmoq"])
def test_a_member_of_a_population_keeps_its_own_pairs(name):
    """Members of different curvature accept and reject at different steps and walk as they do alone."""
    start, scales = normal(3, 3, 5), torch.tensor([1.0, 4.0, -0.3]).double()

    def loss(w):
        return scales[: len(w)] * wavy(w) + 0.6 * (w * w).sum(-1)

    options = {"m": 3, "line_search": "armijo"}
    together = Run(name, loss, start, member_dims=1, **options)
    alone = [
        Run(name, lambda w, i=i: scales[i] * wavy(w) + 0.6 * (w * w).sum(-1), start[i], **options) for i in range(3)
    ]
    for _ in range(15):
        together.step()
        for run in alone:
            run.step()
    np.testing.assert_allclose(together.w[-1], torch.stack([run.w[-1] for run in alone]), rtol=1e-7, atol=1e-8)
    counted = together.optimizer.counters()
    assert counted["n_accepted"] == [run.optimizer.counters()["n_accepted"] for run in alone]


# ---- empirical Fisher matrices


class Fisher:
    """F of each member as a plain list of the gradients that the closure saw."""

    def __init__(self, name, members, seed, bad=None, **options):
        self.name, self.mF, self.bad = name, options["mF"], bad
        self.F = [[] for _ in range(members)]
        draw = np.random.RandomState(seed)
        self.noise = torch.tensor(draw.randn(400, members, 7))
        self.run = Run(name, self.loss, torch.tensor(draw.randn(members, 7)), member_dims=1, **options)

    def loss(self, w):
        value = wavy(w) + (self.noise[self.run.optimizer.k] * w).sum(-1)
        if self.bad is not None and self.run.optimizer.k in self.bad:
            value = value * torch.tensor([float("nan")] + [1.0] * (len(self.F) - 1))
        return value

    def step(self):
        resets = self.run.optimizer.counters()["n_resets"] or [0] * len(self.F)
        k = self.run.optimizer.k
        self.run.step()
        stored = self.run.at[-1][0 if self.name == "adaqn" else 1]
        g = slope(lambda w: wavy(w) + (self.noise[k] * w).sum(-1), stored)
        for i, one in enumerate(self.F):
            one.append(g[i].numpy())
            if self.bad is not None and k in self.bad and i == 0:
                one.clear()
                one.append(None)  # a row that holds nothing
            del one[: -self.mF]
            if self.run.optimizer.counters()["n_resets"][i] > resets[i]:
                one.clear()

    def gradients(self, i):
        return [g for g in self.F[i] if g is not None]


@pytest.mark.parametrize("bad", [None, {5, 17}], ids=["finite", "not finite twice"])
@pytest.mark.parametrize("mF", [1, 4, 10])
@pytest.mark.parametrize("name", ["adaqn", "asnaq"])
def test_fisher_products_and_sums_of_squares_are_those_of_the_last_gradients(name, mF, bad):
    """y = F'F s / |F|, and the sum that is kept up to date as gradients enter and leave, through resets."""
    fisher = Fisher(name, 3, 1, bad, lr=0.3 if name == "asnaq" else 0.2, L=3, mL=4, mF=mF, gamma=1.0)
    optimizer = fisher.run.optimizer
    for k in range(45):
        fisher.step()
        s = normal(k, 3, 7)
        found, squares = optimizer.fisher_times(s), optimizer.memory["squares"]
        for i in range(3):
            F = fisher.gradients(i)
            np.testing.assert_allclose(found[i], references.fisher_product(F, s[i].numpy(), "mean") if F else 0 * s[i],
                                       rtol=1e-9, atol=1e-12)  # fmt: skip
            np.testing.assert_allclose(squares[i], sum((g**2 for g in F), np.zeros(7)), rtol=1e-9, atol=1e-10)
    counted = optimizer.counters()
    assert sum(counted["n_resets"]) > 0
    assert (counted["n_nonfinite"][0] > 0) == (bad is not None)


@pytest.mark.parametrize("name", ["adaqn", "asnaq"])
def test_the_sum_of_squares_does_not_drift_over_many_steps(name):
    """Gradients of very different sizes enter and leave; a sum that is only updated would keep their rounding."""
    clip = {"clip": 0.1} if name == "adaqn" else {}
    fisher = Fisher(name, 2, 2, lr=0.05, L=7, mL=3, mF=5, gamma=100.0, **clip)
    fisher.noise *= torch.logspace(0, 8, 2).double()[torch.arange(400) // 6 % 2][:, None, None]
    largest = 0.0
    for _ in range(210):
        fisher.step()
        exact = torch.tensor(np.stack([sum((g**2 for g in fisher.gradients(i)), np.zeros(7)) for i in range(2)]))
        error = (fisher.run.optimizer.memory["squares"] - exact).abs().max().item()
        if (fisher.run.optimizer.k) % 7 == 0:
            np.testing.assert_allclose(fisher.run.optimizer.memory["squares"], exact, rtol=1e-12)
        assert (fisher.run.optimizer.memory["squares"] >= 0).all()
        largest = max(largest, error)
    assert largest < 1e-14 * 1e17


@pytest.mark.parametrize("name", ["adaqn", "asnaq"])
def test_a_gradient_of_another_size_leaves_nothing_in_a_sum_of_squares_in_float32(name):
    """Whether or not the sum was computed anew while the large one was in the ring."""
    w = torch.nn.Parameter(torch.ones(2, 3))
    optimizer = optimizers.make(name, [w], lr=1e-9, L=2, mF=6, member_dims=1, gamma=1e9)
    scale = 1.0

    def closure():
        optimizer.zero_grad()
        losses = scale * w.sum(-1)
        losses.sum().backward()
        return losses

    for k in range(24):
        scale = 1e3 if k == 4 else 1e-2
        optimizer.step(closure)
        held = optimizer.memory["held"][..., None] * optimizer.memory["F"].double().square()
        torch.testing.assert_close(optimizer.memory["squares"], held.sum(1), rtol=1e-6, atol=1e-12)


def test_kinds_of_steps_name_the_aggregations_that_sum_anew():
    optimizer = optimizers.make("asnaq", [torch.nn.Parameter(torch.ones(2))], L=3, mF=6)
    kinds = []
    for _ in range(13):
        kinds.append(optimizer.coming())
        assert optimizer.refreshes() == (kinds[-1] == "refresh")
        w = optimizer.param_groups[0]["params"][0]

        def closure(w=w):
            optimizer.zero_grad()
            loss = w.square().sum()
            loss.backward()
            return loss

        optimizer.step(closure)
    assert kinds == ["start", "plain", "first", "plain", "plain", "refresh", "plain", "plain", "aggregate", "plain",
                     "plain", "refresh", "plain"]  # fmt: skip
