"""A step of length zero says nothing about a model: radii, pairs and counts stay as they are, each member's own."""

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from training import METHODS, normal

from optimizers import pick
from optimizers.quasi_newton._trust import TrustRegion

torch.set_num_threads(1)

REGIONS = [name for name in METHODS if issubclass(pick(name), TrustRegion)]
STOCHASTIC = [*(name for name in REGIONS if pick(name).stochastic), "arclsr1"]
LENGTH = {**dict.fromkeys(REGIONS, "delta"), "arclsr1": "sigma", "newton_cg": "Delta", "slsr1": "delta"}
"""what in the memory bounds the length of a step"""
REMEMBERED = {**LENGTH, "slbfgs": "alpha", "damped_newton": "tau", "hessian_free": "lambda"}
OPTIONS = {"hessian_free": {"product": "hessian"}}
COUNTS = ("n_accepted", "n_rejected", "n_resets", "n_nonfinite")
HELD = ("S", "Y", "valid", "passing", "g_before", "fresh", "pending", "s", "g1", "delta", "sigma")
"""what a batch without a gradient leaves as it is"""
FLAT = 0.7  # the loss of such a batch
MASKED = 5  # how many of them come in a row
CENTRE = normal(1, 4, 6)  # of each member's bowl
STEEP = torch.linspace(1.0, 4.0, 6, dtype=torch.float64)


def wavy(w, which, batch):
    """Losses with curvature of either sign, (*members,)."""
    x = w - CENTRE[which] + 0.01 * normal(batch, 6)
    return (STEEP * (0.1 * x**2 + torch.cos(x))).sum(-1)


def bowl(w, which, batch):
    return 0.5 * (STEEP * (w - CENTRE[which]) ** 2).sum(-1)


class Run:
    """A method on a loss, of one network (``which`` a number) or of a population."""

    def __init__(self, name, loss, which, start=None, **options):
        self.loss, self.which = loss, which
        population = {} if isinstance(which, int) else {"member_dims": 1}
        start = (CENTRE + 0.3 * normal(7, 4, 6))[which] if start is None else start
        self.w = torch.nn.Parameter(start.clone())
        self.optimizer = pick(name)([self.w], **OPTIONS.get(name, {}), **population, **options)

    def step(self, batch=0, live=None):
        """One step; members where ``live`` is zero see a constant loss."""

        def closure(backward=True):
            self.optimizer.zero_grad()
            loss = self.loss(self.w, self.which, batch)
            if live is not None:
                loss = live * loss + (1.0 - live) * FLAT
            if backward:
                loss.sum().backward()
            return loss

        self.optimizer.step(closure)

    @property
    def memory(self):
        return self.optimizer.memory

    def kept(self):
        """Copies of all tensors: the weights and the memory."""
        found = {name: one.clone() for name, one in self.memory.items() if isinstance(one, torch.Tensor)}
        return {"w": self.w.detach().clone(), **found}

    def counts(self):
        return {name: self.optimizer.counters()[name] for name in COUNTS}


def until_a_model_bends_down(run, member=...):
    """Steps until a member's matrix has negative curvature, along which it would step without a gradient."""
    for k in range(8):
        run.step(k)
        matrix = run.optimizer.matrix
        B = matrix() if callable(matrix) else matrix.matrix(run.optimizer)
        if bool((B.eigenbasis().values[member] < 0).any()):
            return k + 1
    raise AssertionError("the matrix stays positive definite")


# ---- batches without a gradient


@pytest.mark.parametrize("name", STOCHASTIC)
def test_a_batch_without_a_gradient_changes_nothing_that_was_learnt(name):
    run, zero = Run(name, wavy, 0), torch.zeros((), dtype=torch.float64)
    made = until_a_model_bends_down(run)
    before, counts = run.kept(), run.counts()
    for k in range(MASKED):
        run.step(made + k, zero)
    after = run.kept()
    for held in ("w", *HELD):
        assert held not in before or torch.equal(after[held], before[held]), held
    assert run.counts() == counts
    assert run.optimizer.counters()["k"] == made + MASKED


@pytest.mark.parametrize("name", STOCHASTIC)
def test_without_momentum_steps_go_on_as_if_there_had_been_no_such_batch(name):
    still = {"mu": 0.0} if "mu" in pick(name).options() else {}
    plain, masked = Run(name, wavy, 0, **still), Run(name, wavy, 0, **still)
    zero = torch.zeros((), dtype=torch.float64)
    for k in range(10):
        plain.step(k)
        masked.step(k)
        for _ in range(k % 3):
            masked.step(100 + k, zero)
    a, b = plain.kept(), masked.kept()
    assert all(torch.equal(a[one], b[one]) for one in a if one != "theta")
    assert plain.counts() == masked.counts()


@pytest.mark.parametrize("name", [name for name in STOCHASTIC if "mu" in pick(name).options()])
def test_the_velocity_fades_while_no_batch_has_a_gradient(name):
    run, zero = Run(name, bowl, 0, mu=0.5), torch.zeros((), dtype=torch.float64)
    for k in range(3):
        run.step(k)
    v = run.memory["v"].clone()
    assert v.norm() > 0
    for _ in range(4):
        run.step(3, zero)
    assert torch.equal(run.memory["v"], v / 16)


@pytest.mark.parametrize("name", STOCHASTIC)
def test_a_member_without_a_gradient_stands_still_and_its_neighbours_go_on(name):
    everyone = torch.arange(4)
    plain, masked = Run(name, wavy, everyone), Run(name, wavy, everyone)
    live = torch.tensor([1.0, 1.0, 0.0, 1.0], dtype=torch.float64)
    others = live > 0
    made = until_a_model_bends_down(masked, 2)
    for k in range(made):
        plain.step(k)
    before, counts = masked.kept(), masked.counts()
    for k in range(made, made + MASKED):
        plain.step(k)
        masked.step(k, live)
    a, b = plain.kept(), masked.kept()
    for one in a:
        assert torch.equal(a[one][others], b[one][others]), one
    for held in ("w", *HELD):
        assert held not in before or torch.equal(b[held][2], before[held][2]), held
    for one in COUNTS:
        assert masked.counts()[one][2] == counts[one][2]
        assert [masked.counts()[one][i] for i in (0, 1, 3)] == [plain.counts()[one][i] for i in (0, 1, 3)]


@pytest.mark.parametrize("name", STOCHASTIC)
def test_nine_masked_batches_in_ten_do_not_stall(name):
    start = CENTRE[0] + 3.0 * normal(3, 6)
    run = Run(name, bowl, 0, start)
    first = bowl(run.w, 0, 0).item()
    for k in range(200):
        run.step(0, torch.tensor(float(k % 10 == 9), dtype=torch.float64))
    assert bowl(run.w, 0, 0).item() <= 1e-6 * first


@pytest.mark.parametrize("name", STOCHASTIC)
def test_a_masked_step_reads_nothing_from_the_device(name):
    options = {"capturable": True} if "capturable" in pick(name).options() else {}
    if name in REGIONS:
        options |= {"subproblem": "steihaug"}  # LAPACK's eigenvalues are read on the host
    with FakeTensorMode():
        run = Run(name, lambda w, which, batch: (w**4).sum(-1), range(3), torch.randn(3, 6).double(), m=2, **options)
        for _ in range(2):
            run.step(0, torch.rand(3).double())
        assert run.w.shape == (3, 6)


# ---- at a stationary point, and at a learning rate of zero


@pytest.mark.parametrize("name", REMEMBERED)
def test_where_the_gradient_is_zero_nothing_is_accepted_or_refused(name):
    run = Run(name, bowl, 0, CENTRE[0])
    run.step()
    first = run.memory[REMEMBERED[name]].clone()
    for _ in range(MASKED):
        run.step()
    assert torch.equal(run.w.detach(), CENTRE[0])
    assert torch.equal(run.memory[REMEMBERED[name]], first)
    assert run.counts() == dict.fromkeys(COUNTS, 0)
    own = pick(name).options()
    given = {"delta": own.get("delta0", own.get("delta")), "sigma": own.get("sigma"), "Delta": own.get("Delta")}
    assert first.item() == given.get(REMEMBERED[name], first.item())


@pytest.mark.parametrize("name", REMEMBERED)
def test_a_member_that_stands_where_its_gradient_is_zero_leaves_the_others_alone(name):
    everyone, start = torch.arange(4), normal(7, 4, 6)
    plain = Run(name, bowl, everyone, start)
    start = start.clone()
    start[2] = CENTRE[2]
    found = Run(name, bowl, everyone, start)
    for _ in range(3):
        plain.step()
        found.step()
    others = torch.tensor([0, 1, 3])
    key = REMEMBERED[name]
    assert torch.equal(found.w[2].detach(), CENTRE[2])
    assert torch.equal(found.w.detach()[others], plain.w.detach()[others])
    assert torch.equal(found.memory[key][others], plain.memory[key][others])
    assert [found.counts()[one][2] for one in COUNTS] == [0, 0, 0, 0]


@pytest.mark.parametrize("name", LENGTH)
def test_a_learning_rate_of_zero_leaves_the_radius_as_it_is(name):
    run = Run(name, wavy, 0)
    for _ in range(3):
        run.step()
    (group,) = run.optimizer.param_groups
    group["lr"] = 0.0
    before, counts = run.kept(), run.counts()
    for _ in range(MASKED):
        run.step()
    after = run.kept()
    assert torch.equal(after["w"], before["w"])
    assert torch.equal(after[LENGTH[name]], before[LENGTH[name]])
    if name != "omosr1":  # closes the pair of its last step
        assert run.counts() == counts
