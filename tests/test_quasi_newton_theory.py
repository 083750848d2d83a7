"""Theorems about quasi-Newton methods, on the steps that the optimizers make."""

import numpy as np
import pytest
import torch

import optimizers
from optimizers.quasi_newton._trust import TrustRegion
from tests import references

torch.set_num_threads(1)


def normal(seed, *shape):
    return torch.tensor(np.random.RandomState(seed).randn(*shape))


class Bowl:
    """(w - lowest)'A(w - lowest) / 2 with the eigenvalues given, or geometrically from 1 to a condition number."""

    def __init__(self, n, condition=100.0, seed=0, values=None):
        axes, _ = torch.linalg.qr(normal(seed, n, n))
        values = torch.logspace(0, np.log10(condition), n, dtype=torch.float64) if values is None else values
        self.A = axes @ torch.diag(torch.as_tensor(values, dtype=torch.float64)) @ axes.T
        self.lowest, self.start = normal(seed + 1, n), normal(seed + 2, n)

    def __call__(self, w):
        away = w - self.lowest
        return 0.5 * away @ self.A @ away

    def gradient(self, w):
        return self.A @ (w - self.lowest)


def wavy(w):
    """A bowl with waves: curvature along the axes between -2 and 4, and a coupling of neighbours."""
    return (0.5 * w * w + 0.75 * torch.cos(2 * w)).sum() + 0.1 * (w[1:] * w[:-1]).sum() + 0.02 * (w**4).sum()


def slope(loss, w):
    at = w.clone().requires_grad_()
    return torch.autograd.grad(loss(at), at)[0]


class Walk:
    """Weights w[0], w[1], ... of an optimizer; ``after`` is called after each step with the optimizer."""

    def __init__(self, name, loss, start, steps, after=None, **options):
        weights = start.clone().requires_grad_()
        self.optimizer = optimizers.make(name, [weights], **options)
        self.w = [start.clone()]

        def closure(backward=True):
            self.optimizer.zero_grad()
            value = loss(weights)
            if backward:
                value.backward()
            return value

        for _ in range(steps):
            self.optimizer.step(closure)
            self.w.append(weights.detach().clone())
            if after is not None:
                after(self)

    def path(self):
        return torch.stack(self.w)


def assert_same_path(one, other, tolerance=1e-12):
    assert one.path().shape == other.path().shape
    np.testing.assert_allclose(one.path().numpy(), other.path().numpy(), rtol=tolerance, atol=tolerance)


# ---- the secant equation

MU = 0.7
FULL_BATCH = {
    "bfgs": {}, "dfp": {}, "broyden_family": {"phi": 0.3}, "broyden": {}, "sr1_inverse": {}, "lbfgs": {"m": 3},
    "naq": {"mu": MU, "restart": False}, "lnaq": {"mu": MU, "m": 3, "restart": False},
    "moq": {"mu": MU}, "lmoq": {"mu": MU, "m": 3},
    "mnaq": {"mu": MU}, "mbfgs": {}, "amnaq": {},
}  # fmt: skip
ONLINE = {
    "obfgs": {"schedule": "constant"}, "olbfgs": {"m": 3, "schedule": "constant"},
    "onaq": {"mu": MU, "schedule": "constant"}, "olnaq": {"mu": MU, "m": 3, "schedule": "constant"},
    "omoq": {"mu": MU, "schedule": "constant"}, "olmoq": {"mu": MU, "m": 3, "schedule": "constant"},
}  # fmt: skip
LAM = 0.5


def last_pair(name, w, mu):
    """(s, y) of the last step, from weights and the loss alone: the velocity is the last displacement."""
    v = w[-2] - w[-3] if len(w) > 2 else torch.zeros_like(w[0])
    s = w[-1] - w[-2] - mu * v
    if "moq" in name:
        before = w[-3] if len(w) > 2 else w[-2]
        g1 = (1 + mu) * slope(wavy, w[-2]) - mu * slope(wavy, before)
    else:
        g1 = slope(wavy, w[-2] + mu * v)
    y = slope(wavy, w[-1]) - g1
    if name in ("mnaq", "mbfgs", "amnaq"):
        y = torch.tensor(references.modified_secant(s.numpy(), y.numpy(), g1.numpy()))
    return s, y + LAM * s if name in ONLINE else y


@pytest.mark.parametrize("name", [*FULL_BATCH, *ONLINE])
def test_h_maps_y_to_s_after_every_accepted_pair(name):
    """A method that closes its pair one step later has learnt the pair of the step before."""
    deferred = name in ("omoq", "olmoq")
    schedule, checked, accepted = references.nesterov_schedule(), [], [0]

    def after(walk):
        of = walk.optimizer
        n_accepted = of.counters()["n_accepted"]
        if n_accepted > accepted[0]:
            w = walk.w[:-1] if deferred else walk.w
            mu = schedule(len(w) - 2) if name == "amnaq" else of.defaults.get("mu", 0.0)
            s, y = last_pair(name, w, mu)
            checked.append(((of.matrix.times(of, y) - s).norm().item(), s.norm().item()))
        accepted[0] = n_accepted

    options = FULL_BATCH.get(name) or {**ONLINE.get(name, {}), **({"lr": 0.2, "lam": LAM} if name in ONLINE else {})}
    Walk(name, wavy, normal(3, 6), 14, after, **options)
    errors, lengths = np.array(checked).T
    assert (lengths > 1e-2).sum() >= 4
    assert (errors < 1e-14 + 1e-12 * lengths).all()


@pytest.mark.parametrize("name", ["sr1", "lsr1", "sr1n", "lsr1n", "mosr1", "lmosr1"])
def test_b_maps_s_to_y_after_every_accepted_step(name):
    checked, accepted = [], [0]

    def after(walk):
        of, w = walk.optimizer, walk.w
        n_accepted = of.counters()["n_accepted"]
        moved = not torch.equal(w[-1], w[-2])
        if n_accepted > accepted[0] and moved:
            s, y = last_pair("moq" if "mo" in name else name, w, 0.0 if name in ("sr1", "lsr1") else 0.3)
            checked.append(((of.matrix.product(of, s) - y).norm() / y.norm()).item())
        accepted[0] = n_accepted

    options = {} if name in ("sr1", "lsr1") else {"mu": 0.3}
    Walk(name, wavy, 0.3 * normal(3, 6), 8, after, **options)
    assert len(checked) >= 3
    assert max(checked) < 1e-6


# ---- quadratics

PHIS = (0.0, 0.2, 0.5, 0.9, 1.0)


def exactly(name, bowl, steps, **options):
    return Walk(name, bowl, bowl.start, steps, line_search="quadratic", **options)


@pytest.mark.parametrize("rescale", [True, False])
@pytest.mark.parametrize("n", [2, 5, 8])
def test_exact_searches_make_one_path_of_the_whole_family(n, rescale):
    """Dixon 1972."""
    bowl = Bowl(n, 30.0, seed=n)
    bfgs = exactly("bfgs", bowl, n, rescale=rescale)
    assert_same_path(exactly("dfp", bowl, n, rescale=rescale), bfgs, 1e-8)
    for phi in PHIS:
        for inverse_form in (False, True):
            member = exactly("broyden_family", bowl, n, rescale=rescale, phi=phi, inverse_form=inverse_form)
            assert_same_path(member, bfgs, 1e-8)


def test_without_exact_searches_members_of_the_family_part():
    """The theorem is one about the search: the same methods differ with Armijo's rule."""
    bowl = Bowl(5, 30.0)
    bfgs, dfp = (Walk(name, bowl, bowl.start, 5, line_search="armijo") for name in ("bfgs", "dfp"))
    assert (bfgs.w[-1] - dfp.w[-1]).norm() > 1e-3


@pytest.mark.parametrize(
    ("name", "options"),
    [("bfgs", {}), ("dfp", {}), ("lbfgs", {"m": 8}), ("lbfgs", {"m": 8, "h0": "identity"})]
    + [("sr1_inverse", {"rescale": False})]
    + [("broyden_family", {"phi": phi}) for phi in PHIS],
)
def test_exact_searches_end_within_n_steps_at_the_minimum_of_a_bowl(name, options):
    for n in (1, 2, 5, 8):
        bowl = Bowl(n, 30.0, seed=n)
        walk = exactly(name, bowl, n, **options)
        first = bowl.gradient(bowl.start).norm()
        assert bowl.gradient(walk.w[-1]).norm() < 1e-7 * first
        if n > 2:
            assert bowl.gradient(walk.w[n - 1]).norm() > 1e-4 * first  # and not before


@pytest.mark.parametrize("clusters", [1, 2, 3])
def test_exact_searches_end_after_as_many_steps_as_there_are_eigenvalues(clusters):
    values = [1.0, 3.0, 10.0][:clusters]
    bowl = Bowl(9, values=[values[i % clusters] for i in range(9)])
    for name, options in (("bfgs", {}), ("dfp", {}), ("lbfgs", {"m": 1}), ("lbfgs", {"m": 9})):
        walk = exactly(name, bowl, clusters, **options)
        assert bowl.gradient(walk.w[-1]).norm() < 1e-9 * bowl.gradient(bowl.start).norm()


@pytest.mark.parametrize("name", ["bfgs", "dfp", "broyden_family"])
def test_exact_searches_find_the_inverse_hessian_in_n_steps(name):
    bowl = Bowl(6, 30.0)
    walk = exactly(name, bowl, 6)
    torch.testing.assert_close(walk.optimizer.memory["H"] @ bowl.A, torch.eye(6).double(), rtol=0, atol=1e-6)


def test_directions_of_exact_searches_are_conjugate_and_gradients_orthogonal():
    bowl = Bowl(6, 30.0)
    w = exactly("bfgs", bowl, 6).path()
    s, g = w[1:] - w[:-1], torch.stack([bowl.gradient(x) for x in w[:-1]])
    s, g = s / s.norm(dim=1, keepdim=True), g / g.norm(dim=1, keepdim=True)
    conjugate = s @ bowl.A @ s.T
    assert (conjugate - torch.diag(conjugate.diagonal())).abs().max() < 1e-7
    assert (g @ g.T - torch.eye(6).double()).abs().max() < 1e-6


@pytest.mark.parametrize("values", [[1.0, 3.0, 9.0], [1.0, 2.0, 4.0, 7.0], [-3.0, -1.0, 2.0, 5.0]])
def test_sr1_finds_the_matrix_of_a_quadratic_after_n_steps(values):
    """Whatever the steps, if they are independent, and also where the matrix is indefinite."""
    bowl, n = Bowl(len(values), values=values), len(values)
    walk = Walk("sr1", bowl, 3 * bowl.start, n, delta0=3.0)
    s = walk.path()[1:] - walk.path()[:-1]
    assert torch.linalg.svdvals(s / s.norm(dim=1, keepdim=True)).min() > 1e-3  # independent
    torch.testing.assert_close(walk.optimizer.memory["B"], bowl.A, rtol=0, atol=1e-9)


@pytest.mark.parametrize("name", [*FULL_BATCH, "sr1", "lsr1"])
def test_the_first_pair_of_a_convex_function_is_learnt(name):
    bowl = Bowl(5, 30.0)
    assert Walk(name, bowl, bowl.start, 1, **FULL_BATCH.get(name, {})).optimizer.counters()["n_accepted"] == 1


def test_sr1_on_h_finds_the_inverse_of_a_quadratic_after_n_steps_without_any_search():
    bowl = Bowl(5, values=[0.5, 0.7, 0.9, 1.1, 1.3])
    walk = Walk("sr1_inverse", bowl, bowl.start, 6, line_search="none", rescale=False)
    torch.testing.assert_close(walk.optimizer.memory["H"] @ bowl.A, torch.eye(5).double(), rtol=0, atol=1e-8)


# ---- one method as a case of another


@pytest.mark.parametrize(
    ("limited", "dense", "more"),
    [
        ("lbfgs", "bfgs", {}),
        ("lbfgs", "bfgs", {"line_search": "armijo"}),
        ("lnaq", "naq", {"mu": MU}),
        ("lnaq", "naq", {"mu": MU, "restart": False}),
        ("lmoq", "moq", {"mu": MU}),
        ("olbfgs", "obfgs", {"lr": 0.2, "lam": 0.1}),
        ("olnaq", "onaq", {"lr": 0.2, "lam": 0.1, "mu": MU}),
        ("olmoq", "omoq", {"lr": 0.2, "lam": 0.1, "mu": MU}),
    ],
)
def test_a_limited_memory_that_holds_every_pair_is_the_dense_matrix(limited, dense, more):
    start = normal(5, 7)  # bfgs is at a gradient of 1e-11 after 18 steps; later ones would count roundings
    one = Walk(limited, wavy, start, 18, m=30, h0="identity", **more)
    other = Walk(dense, wavy, start, 18, rescale=False, **more)
    assert_same_path(one, other, 1e-8)
    assert one.optimizer.counters() == other.optimizer.counters()
    assert (one.w[1] - one.w[0]).norm() > 0.01


def test_a_limited_memory_that_forgets_is_not_the_dense_matrix():
    one = Walk("lbfgs", wavy, normal(5, 7), 10, m=3, h0="identity")
    other = Walk("bfgs", wavy, normal(5, 7), 10, rescale=False)
    assert (one.w[4] - other.w[4]).norm() < 1e-10
    assert (one.path() - other.path()).abs().max() > 1e-4


@pytest.mark.parametrize(
    ("accelerated", "plain", "more"),
    [
        ("naq", {"name": "bfgs", "line_search": "armijo"}, {}),
        ("moq", {"name": "bfgs", "line_search": "armijo"}, {}),
        ("lnaq", {"name": "lbfgs", "line_search": "armijo"}, {"m": 4, "h0": "mean"}),
        ("lmoq", {"name": "lbfgs", "line_search": "armijo"}, {"m": 4, "h0": "mean"}),
        ("mnaq", {"name": "mbfgs"}, {"step": "explicit"}),
        ("mnaq", {"name": "mbfgs"}, {"step": "backtracking"}),
        ("onaq", {"name": "obfgs"}, {"lr": 0.2, "schedule": "rsqrt"}),
        ("olnaq", {"name": "olbfgs"}, {"lr": 0.2, "schedule": "rsqrt", "m": 4}),
        ("sr1n", {"name": "sr1"}, {}),
        ("mosr1", {"name": "sr1"}, {}),
        ("lsr1n", {"name": "lsr1"}, {"m": 4}),
        ("lmosr1", {"name": "lsr1"}, {"m": 4}),
    ],
)
def test_without_momentum_an_accelerated_method_is_the_plain_one(accelerated, plain, more):
    plain = dict(plain)
    for seed in range(3):
        start = normal(seed, 6)
        one = Walk(accelerated, wavy, start, 25, mu=0.0, **more)
        other = Walk(plain["name"], wavy, start, 25, **{k: v for k, v in plain.items() if k != "name"}, **more)
        assert_same_path(one, other, 1e-10)
        with_momentum = Walk(accelerated, wavy, start, 25, mu=0.5, **more)
        assert (with_momentum.path() - other.path()).abs().max() > 1e-3


def test_momentum_that_is_never_let_to_grow_makes_amnaq_mbfgs():
    one = Walk("amnaq", wavy, normal(1, 6), 20, mu_max=0.0)
    other = Walk("mbfgs", wavy, normal(1, 6), 20, step="explicit")
    assert_same_path(one, other, 1e-12)


def hills(w):
    """A bowl with many minima."""
    return 0.05 * w @ w + torch.cos(3 * w).sum() + torch.sin(2 * w[1:] + w[:-1]).sum()


def test_further_descents_begin_at_the_length_of_the_first_and_the_lowest_end_is_kept():
    start, restarts, ends = 2 * normal(18, 6), [], []

    def after(walk):
        memory = walk.optimizer.memory
        if len(ends) < 3 - int(memory["left"]):
            ends.append(float(memory["f_best"]))
            restarts.append(walk.w[-1])
            assert torch.equal(memory["H"], torch.eye(6, dtype=torch.float64))
            assert not memory["v"].any()
            assert memory["lipschitz"] == 0

    walk = Walk("mnaq", hills, start, 600, after, mu=0.8, descents=3)
    once = Walk("mnaq", hills, start, 600, mu=0.8)
    assert len(ends) == 3
    for w in restarts[:2]:
        assert abs(w.norm() - start.norm()) < 1e-12
    assert ends == sorted(ends, reverse=True)
    assert ends[-1] < hills(once.w[-1]) - 0.1  # the second descent finds a lower minimum
    assert abs(hills(walk.w[-1]) - ends[-1]) < 1e-12
    assert slope(hills, walk.w[-1]).norm() <= 1e-6


def test_members_begin_their_further_descents_at_their_own_time():
    starts = normal(4, 3, 6)
    together = starts.clone().requires_grad_()
    population = optimizers.make("mnaq", [together], mu=0.8, descents=2, member_dims=1)

    def closure(backward=True):
        population.zero_grad()
        losses = torch.stack([wavy(w) for w in together])
        if backward:
            losses.sum().backward()
        return losses

    for _ in range(300):
        population.step(closure)
    alone = torch.stack([Walk("mnaq", wavy, start, 300, mu=0.8, descents=2).w[-1] for start in starts])
    assert not population.memory["left"].any()
    np.testing.assert_allclose(together.detach(), alone, atol=1e-6)


@pytest.mark.parametrize("wrong", [{"descents": 0}, {"descents": 2, "reuse": False}, {"descents": 2, "stationary": -1}])
def test_further_descents_refuse_what_they_cannot_do(wrong):
    with pytest.raises(ValueError, match=f"^{list(wrong)[-1]} = "):
        optimizers.make("mnaq", [torch.zeros(2, requires_grad=True)], **wrong)


def rising(k):
    return 0.9 * k / (k + 3)


def waving(k):
    return 0.45 + 0.4 * np.sin(k)


@pytest.mark.parametrize("mu", [lambda k: 0.8, rising, waving], ids=["constant", "rising", "waving"])
@pytest.mark.parametrize(("estimated", "exact", "more"), [("moq", "naq", {}), ("lmoq", "lnaq", {"m": 3})])
def test_estimated_gradients_are_nesterovs_on_a_quadratic(estimated, exact, more, mu):
    """Because the velocity is the last displacement, also with a momentum that changes."""
    bowl = Bowl(6, 20.0)

    def after(walk):
        walk.optimizer.param_groups[0]["mu"] = mu(len(walk.w) - 1)

    options = {"restart": False, "mu": mu(0), **more}
    one, other = (Walk(name, bowl, bowl.start, 12, after, **options) for name in (estimated, exact))
    assert_same_path(one, other, 1e-8)
    assert one.optimizer.counters()["n_gradients"] < other.optimizer.counters()["n_gradients"]


def test_estimated_gradients_are_not_nesterovs_elsewhere():
    one, other = (Walk(name, wavy, normal(1, 6), 12, mu=0.8, restart=False) for name in ("moq", "naq"))
    assert (one.path() - other.path()).abs().max() > 1e-3


@pytest.mark.parametrize("name", ["onaq", "olnaq"])
def test_estimated_gradients_of_online_methods_are_nesterovs_on_a_quadratic(name):
    bowl, estimated = Bowl(6, 20.0), name.replace("naq", "moq")
    one, other = (Walk(each, bowl, bowl.start, 15, lr=0.2, mu=0.6) for each in (estimated, name))
    assert_same_path(one, other, 1e-8)


@pytest.mark.parametrize(
    "name", ["bfgs", "dfp", "lbfgs", "naq", "lnaq", "moq", "lmoq", "mnaq", "amnaq", "mbfgs", "sr1"]
)
def test_a_shift_and_a_rotation_of_the_axes_move_the_path_with_them(name):
    """Updates and searches know inner products only; the first length knows the 1-norm and is shut off."""
    turn, _ = torch.linalg.qr(normal(9, 6, 6))
    shift, start = normal(10, 6), 0.05 * normal(1, 6)
    assert slope(wavy, start).abs().sum() < 1 or name == "sr1"

    def moved(w):
        return wavy(turn.T @ (w - shift))

    plain, other = Walk(name, wavy, start, 10), Walk(name, moved, turn @ start + shift, 10)
    near = 1e-6 if name == "amnaq" else 1e-7  # its momentum is a quotient, which makes more of a rounding
    np.testing.assert_allclose(other.path().numpy(), (plain.path() @ turn.T + shift).numpy(), rtol=1e-6, atol=near)


@pytest.mark.parametrize("name", ["bfgs", "dfp", "broyden_family", "lbfgs"])
def test_exact_searches_do_not_see_the_units_of_the_loss(name):
    """f and 16 f have one path, because the first pair scales the matrix."""
    bowl = Bowl(5, 30.0)
    one = exactly(name, bowl, 5)
    other = Walk(name, lambda w: 16 * bowl(w), bowl.start, 5, line_search="quadratic")
    assert_same_path(one, other, 1e-8)


REGIONS = [name for name in optimizers.names() if issubclass(optimizers.pick(name), TrustRegion)]


@pytest.mark.parametrize("subproblem", ["exact", "steihaug"])
@pytest.mark.parametrize("name", REGIONS)
def test_a_scaled_step_is_judged_by_what_the_model_promises_for_it(name, subproblem):
    """The first model, B = I, is the loss itself: the ratio is 1 whatever lr, and the radius is doubled."""
    w = torch.ones(3, dtype=torch.float64, requires_grad=True)

    def closure(backward=True):
        w.grad = w.detach().clone()
        return 0.5 * w.detach().square().sum()

    optimizer = optimizers.make(name, [w], lr=0.1, delta0=10.0, radius="basic", subproblem=subproblem)
    optimizer.step(closure)
    torch.testing.assert_close(w.detach(), torch.full_like(w, 0.9))
    assert optimizer.memory["delta"] == 20.0


@pytest.mark.parametrize("members", [0, 1])
@pytest.mark.parametrize("name", ["lbfgs", "lnaq", "lmoq", "bfgs", "mnaq"])
def test_a_pair_whose_square_is_too_small_for_its_dtype_is_left_out(name, members):
    """s'y is 2e-24 there and y'y, 2e-48, is zero in float32: s'y / y'y is no number."""
    w = torch.ones((1, 2) if members else 2, requires_grad=True)
    optimizer = optimizers.make(name, [w], lr=1e24, member_dims=members)

    def closure(backward=True):
        w.grad = None
        loss = 0.5e-24 * w.square().sum(-1)
        if backward:
            loss.sum().backward()
        return loss

    for _ in range(3):
        optimizer.step(closure)
    assert not w.any(), "the first step ends at the minimum"
    assert not torch.as_tensor(optimizer.counters()["n_accepted"]).any()
