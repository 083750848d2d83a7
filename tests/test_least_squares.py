"""Gauss-Newton, Levenberg and Levenberg-Marquardt against their formulas and scipy's least squares."""

import copy
import pickle

import numpy as np
import pytest
import scipy.optimize
import torch

from optimizers import make

METHODS = ("gauss_newton", "levenberg", "levenberg_marquardt")
DAMPED = METHODS[1:]


def parameter(values):
    return torch.nn.Parameter(torch.as_tensor(values, dtype=torch.float64).clone())


def system(rows, columns, seed=0):
    generator = torch.Generator().manual_seed(seed)
    A = torch.randn(rows, columns, generator=generator, dtype=torch.float64)
    return A, torch.randn(rows, generator=generator, dtype=torch.float64)


def normal_weights(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(8), dtype=torch.float64)


def jacobian(r, at):
    return torch.autograd.functional.jacobian(r, at)


# ---- problems: name -> (residuals, start)


def rosenbrock(w):
    return torch.stack([10 * (w[1] - w[0] ** 2), 1 - w[0]])


X = torch.tensor([4, 2, 1, 0.5, 0.25, 0.167, 0.125, 0.1, 0.0833, 0.0714, 0.0625], dtype=torch.float64)
Y = [0.1957, 0.1947, 0.1735, 0.1600, 0.0844, 0.0627, 0.0456, 0.0342, 0.0323, 0.0235, 0.0246]


def kowalik_osborne(w):
    return w[0] * (X * X + X * w[1]) / (X * X + X * w[2] + w[3]) - torch.tensor(Y, dtype=torch.float64)


T = torch.linspace(0, 3, 25, dtype=torch.float64)
DECAYING = 2.0 * torch.exp(-1.3 * T) + 0.5 * torch.exp(-0.2 * T) + 0.01 * torch.sin(20 * T)


def exponentials(w):
    return w[0] * torch.exp(-w[1] * T) + w[2] * torch.exp(-w[3] * T) - DECAYING


PROBLEMS = {
    "rosenbrock": (rosenbrock, [-1.2, 1.0]),
    "kowalik_osborne": (kowalik_osborne, [0.25, 0.39, 0.415, 0.39]),
    "exponentials": (exponentials, [1.0, 1.0, 1.0, 0.1]),
}


def run(method, residuals, start, steps, **options):
    w = parameter(start)
    optimizer = make(method, [w], **options)
    losses = [optimizer.step(lambda: residuals(w)) for _ in range(steps)]
    return w.detach(), torch.stack(losses), optimizer


@pytest.mark.parametrize("problem", PROBLEMS)
@pytest.mark.parametrize(
    ("method", "options"),
    [("gauss_newton", {}), *((name, {"rule": rule}) for name in DAMPED for rule in ("factor", "nielsen"))],
)
def test_minima_are_those_of_scipy(method, options, problem):
    residuals, start = PROBLEMS[problem]
    w, losses, _ = run(method, residuals, start, 60, **options)
    found = scipy.optimize.least_squares(
        lambda w: residuals(torch.as_tensor(w)).numpy(), start, xtol=1e-15, ftol=1e-15, gtol=1e-15
    )
    assert (losses.diff() <= 0).all()
    np.testing.assert_allclose(w, found.x, rtol=2e-5, atol=1e-9)
    np.testing.assert_allclose(losses[-1], found.cost, rtol=1e-9, atol=1e-20)


def network(inputs=2, hidden=5, seed=1):
    torch.manual_seed(seed)
    layers = torch.nn.Linear(inputs, hidden), torch.nn.Tanh(), torch.nn.Linear(hidden, 1)
    return torch.nn.Sequential(*layers).double()


def waves(rows=60):
    x = torch.rand(rows, 2, generator=torch.Generator().manual_seed(2), dtype=torch.float64) * 2 - 1
    return x, torch.sin(2 * x[:, 0]) * x[:, 1]


@pytest.mark.parametrize("rule", ["factor", "nielsen"])
def test_a_network_reaches_the_minimum_that_scipy_reaches(rule):
    net, x = network(hidden=2, seed=3), waves()[0]
    with torch.no_grad():
        for one in net.parameters():
            one.mul_(2)
    noise = torch.randn(len(x), generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    target = (net(x)[:, 0] + 0.05 * noise).detach()  # the first weights are near a minimum
    shapes = {name: one.shape for name, one in net.named_parameters()}

    def residuals(flat):
        parts = torch.as_tensor(flat).split([shape.numel() for shape in shapes.values()])
        weights = {name: part.view(shape) for (name, shape), part in zip(shapes.items(), parts, strict=True)}
        return (torch.func.functional_call(net, weights, x)[:, 0] - target).detach().numpy()

    start = torch.cat([one.detach().flatten() for one in net.parameters()]).numpy()
    found = scipy.optimize.least_squares(residuals, start, xtol=1e-15, ftol=1e-15, gtol=1e-12)
    optimizer = make("levenberg_marquardt", net.parameters(), rule=rule)
    for _ in range(40):
        loss = optimizer.step(lambda: net(x)[:, 0] - target)
    reached = torch.cat([one.detach().flatten() for one in net.parameters()]).numpy()
    np.testing.assert_allclose(loss, found.cost, rtol=1e-10)
    np.testing.assert_allclose(reached, found.x, rtol=1e-5, atol=1e-5)


# ---- the formulas


@pytest.mark.parametrize("shape", [(12, 5), (5, 12), (6, 6)])
def test_gauss_newton_solves_linear_least_squares_in_one_step(shape):
    A, b = system(*shape)
    w = parameter(torch.zeros(shape[1]))
    make("gauss_newton", [w]).step(lambda: A @ w - b)
    torch.testing.assert_close(w.detach(), torch.linalg.pinv(A) @ b)


def test_gauss_newton_takes_the_shortest_step_where_the_rank_is_missing():
    A, b = system(12, 5)
    A = A[:, [0, 1, 2, 0, 1]]
    w = parameter(torch.zeros(5))
    make("gauss_newton", [w]).step(lambda: A @ w - b)
    torch.testing.assert_close(w.detach(), torch.linalg.pinv(A) @ b)


def test_gauss_newton_is_accurate_where_normal_equations_are_not():
    A, _ = system(30, 6)
    U, _, V = torch.linalg.svd(A, full_matrices=False)
    A = U * torch.logspace(0, -9, 6, dtype=torch.float64) @ V
    solution = torch.ones(6, dtype=torch.float64)
    w = parameter(torch.zeros(6))
    make("gauss_newton", [w]).step(lambda: A @ w - A @ solution)
    torch.testing.assert_close(w.detach(), solution, rtol=1e-5, atol=0)
    normal = torch.linalg.lstsq(A.T @ A, A.T @ A @ solution, driver="gelsd").solution
    assert (normal - solution).norm() > 1e-2


def test_without_tries_gauss_newton_takes_the_full_step_even_uphill():
    w, losses, _ = run("gauss_newton", rosenbrock, [-1.2, 1.0], 3, max_tries=0)
    assert losses[1] > losses[0]
    torch.testing.assert_close(w, torch.ones(2, dtype=torch.float64))  # two steps are known to solve it


@pytest.mark.parametrize("shape", [(15, 6), (6, 15)])
@pytest.mark.parametrize("decay", [0.0, 0.3])
@pytest.mark.parametrize("method", DAMPED)
def test_one_damped_step_is_the_dense_formula(method, decay, shape):
    A, b = system(*shape)
    start = torch.linspace(-1, 1, shape[1], dtype=torch.float64)
    w = parameter(start)

    def r(w):
        return torch.tanh(A @ w) - b

    J, lam = jacobian(r, start), 10.0
    gram = J.T @ J + decay * torch.eye(shape[1], dtype=torch.float64)
    D = torch.eye(shape[1], dtype=torch.float64) if method == "levenberg" else gram.diag().diag()
    step = -torch.linalg.solve(gram + lam * D, J.T @ r(start) + decay * start)
    optimizer = make(method, [w], lam=lam, weight_decay=decay)
    optimizer.step(lambda: r(w))
    assert optimizer.counters()["n_accepted"] == 1
    torch.testing.assert_close(w.detach() - start, step, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("method", METHODS)
def test_weight_decay_is_one_more_residual_a_weight(method):
    A, b = system(9, 4)
    plain, decayed = parameter(torch.ones(4)), parameter(torch.ones(4))
    two = make(method, [decayed], weight_decay=0.25)
    one = make(method, [plain])
    for _ in range(5):
        one.step(lambda: torch.cat([torch.tanh(A @ plain) - b, 0.5 * plain]))
        two.step(lambda: torch.tanh(A @ decayed) - b)
    torch.testing.assert_close(decayed.detach(), plain.detach(), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("shape", [(15, 6), (6, 15)])
@pytest.mark.parametrize("method", DAMPED)
def test_vanishing_damping_is_gauss_newton(method, shape):
    A, b = system(*shape)
    start = torch.linspace(-0.1, 0.1, shape[1], dtype=torch.float64)
    newton, w = parameter(start), parameter(start)
    make("gauss_newton", [newton]).step(lambda: A @ newton + 0.01 * (A @ newton) ** 2 - b)
    make(method, [w], lam=1e-12).step(lambda: A @ w + 0.01 * (A @ w) ** 2 - b)
    if shape[0] > shape[1]:
        torch.testing.assert_close(w.detach(), newton.detach(), rtol=1e-7, atol=1e-9)
    elif method == "levenberg":  # where solutions are many, Levenberg's is the shortest as well
        torch.testing.assert_close(w.detach(), newton.detach(), rtol=1e-6, atol=1e-8)
    else:
        torch.testing.assert_close(A @ (w.detach() - start), A @ (newton.detach() - start), rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("method", DAMPED)
def test_large_damping_is_a_gradient_step(method):
    A, b = system(15, 6)
    start = torch.linspace(-1, 1, 6, dtype=torch.float64)
    w, lam = parameter(start), 1e7
    make(method, [w], lam=lam).step(lambda: torch.tanh(A @ w) - b)
    J = jacobian(lambda w: torch.tanh(A @ w) - b, start)
    g, D = J.T @ (torch.tanh(A @ start) - b), (J * J).sum(0) if method == "levenberg_marquardt" else 1.0
    torch.testing.assert_close(w.detach() - start, -g / (lam * D), rtol=1e-5, atol=1e-14)


def test_marquardts_steps_do_not_depend_on_the_scale_of_a_weight():
    scale = torch.tensor([1e3, 1e-2], dtype=torch.float64)
    w, v = parameter([-1.2, 1.0]), parameter(torch.tensor([-1.2, 1.0], dtype=torch.float64) / scale)
    one, two = (make("levenberg_marquardt", [x]) for x in (w, v))
    for _ in range(10):
        one.step(lambda: rosenbrock(w))
        two.step(lambda: rosenbrock(v * scale))
    torch.testing.assert_close(v.detach() * scale, w.detach(), rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("form", ["rows", "columns"])
@pytest.mark.parametrize("chunk", [1, 4, 1000])
def test_both_forms_of_the_jacobian_and_all_chunks_agree(form, chunk):
    x, y = waves(23)
    nets = [network(hidden=3), network(hidden=3)]
    for net in nets:
        net[0].bias.requires_grad_(False)
    before = nets[0][0].bias.clone()
    one = make("levenberg_marquardt", nets[0].parameters(), jacobian=form, chunk=chunk, weight_decay=0.1)
    two = make("levenberg_marquardt", nets[1].parameters(), weight_decay=0.1)
    for _ in range(4):
        one.step(lambda: nets[0](x)[:, 0] - y)
        two.step(lambda: nets[1](x)[:, 0] - y)
    assert torch.equal(nets[0][0].bias, before)
    for a, b in zip(nets[0].parameters(), nets[1].parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-12)


def test_a_parameter_without_influence_stays():
    used, unused = parameter([1.0, 2.0]), parameter([3.0])
    for method in METHODS:
        make(method, [used, unused]).step(lambda: rosenbrock(used))
    assert unused.item() == 3.0


# ---- rejected steps, damping, counters


def test_a_rejected_step_leaves_the_weights_bit_for_bit_and_costs_one_jacobian():
    start = [0.1, 1 / 3]
    w, calls = parameter(start), []

    def closure():
        calls.append(torch.is_grad_enabled())
        r = rosenbrock(w)
        return r if len(calls) == 1 else r * 1e3

    optimizer = make("levenberg_marquardt", [w], max_tries=4, lam=1e-3)
    optimizer.step(closure)
    assert w.tolist() == start
    counters = optimizer.counters()
    assert (counters["n_gradients"], counters["n_losses"], counters["n_products"]) == (1, 4, 2)
    assert (counters["n_rejected"], counters["n_accepted"], len(calls)) == (4, 0, 5)
    assert optimizer.memory["lam"].item() == pytest.approx(1e-3 * 10**4)


def test_the_second_try_is_solved_with_the_larger_damping():
    A, b = system(8, 3)
    w, calls = parameter(torch.zeros(3)), []

    def closure():
        calls.append(w.detach().clone())
        return A @ w - b + (1e3 if len(calls) == 2 else 0)

    make("levenberg", [w], lam=1.0).step(closure)
    for tried, lam in zip(calls[1:], (1.0, 10.0), strict=True):
        torch.testing.assert_close(tried, torch.linalg.solve(A.T @ A + lam * torch.eye(3, dtype=A.dtype), A.T @ b))
    assert torch.equal(w.detach(), calls[2])


def test_a_trial_that_is_not_finite_is_a_failure():
    w = parameter([2.0])
    # the full step leads beyond 0, where the logarithm is not defined
    optimizer = make("levenberg", [w], lam=1e-6, up=100.0)
    optimizer.step(lambda: torch.log(w) + 5)
    counters = optimizer.counters()
    assert counters["n_rejected"] > 0
    assert counters["n_accepted"] == 1
    assert counters["n_nonfinite"] == 0
    assert 0 < w.item() < 2


@pytest.mark.parametrize("method", METHODS)
def test_residuals_that_are_not_finite_move_nothing_and_forget_the_damping(method):
    w = parameter([1.0, 2.0])
    optimizer = make(method, [w])
    optimizer.step(lambda: rosenbrock(w))
    before = w.detach().clone()
    optimizer.step(lambda: rosenbrock(w) * torch.nan)
    assert torch.equal(w.detach(), before)
    assert optimizer.counters()["n_nonfinite"] == 1
    if method != "gauss_newton":
        assert optimizer.memory["lam"].item() == 1e-3


@pytest.mark.parametrize("method", METHODS)
def test_at_the_minimum_nothing_moves_and_nothing_is_tried(method):
    w = parameter([1.0, 1.0])
    optimizer = make(method, [w])
    optimizer.step(lambda: rosenbrock(w))
    assert w.tolist() == [1.0, 1.0]
    assert optimizer.counters()["n_losses"] == 0


def test_nielsens_rule():
    A, b = system(8, 3)
    w = parameter(torch.zeros(3))
    optimizer = make("levenberg", [w], rule="nielsen", lam=0.5)
    optimizer.step(lambda: A @ w - b)  # linear: the model is true, rho = 1
    assert optimizer.memory["lam"].item() == pytest.approx(0.5 / 3)
    calls = []

    def worse():
        calls.append(None)
        return A @ w - b + (len(calls) > 1) * 100

    optimizer.param_groups[0]["max_tries"] = 3
    optimizer.step(worse)
    assert optimizer.memory["lam"].item() == pytest.approx(0.5 / 3 * 2 * 4 * 8)
    assert optimizer.memory["nu"].item() == 16


# ---- populations, groups, checkpoints


@pytest.mark.parametrize("rows", [25, 3])
@pytest.mark.parametrize("method", METHODS)
def test_a_population_is_its_members(method, rows):
    generator = torch.Generator().manual_seed(3)
    start = torch.randn(4, 5, generator=generator, dtype=torch.float64)
    A = torch.randn(4, rows, 5, generator=generator, dtype=torch.float64)
    b = torch.randn(4, rows, generator=generator, dtype=torch.float64)
    b[2] *= torch.nan  # this member stands still and disturbs nobody

    def r(A, w, b):
        return torch.tanh(A @ w.unsqueeze(-1)).squeeze(-1) * 2 - b

    together = parameter(start)
    many = make(method, [together], member_dims=1, weight_decay=0.01)
    alone = [parameter(one) for one in start]
    single = [make(method, [one], weight_decay=0.01) for one in alone]
    for _ in range(6):  # near the minimum rounding decides what is rejected
        losses = many.step(lambda: r(A, together, b))
        each = [one.step(lambda i=i: r(A[i], alone[i], b[i])) for i, one in enumerate(single)]
        torch.testing.assert_close(losses, torch.stack(each), equal_nan=True)
    torch.testing.assert_close(together.detach(), torch.stack([one.detach() for one in alone]))
    assert torch.equal(together[2], start[2])
    for name, counts in many.counters().items():
        if name.startswith("n_") and isinstance(counts, list):
            assert counts == [one.counters()[name] for one in single], name


def test_members_have_their_own_rates():
    start, rates = normal_weights(3, 2), torch.tensor([1.0, 0.5, 0.0], dtype=torch.float64)
    for method in METHODS:
        w = parameter(start)
        full = make(method, [parameter(start)], member_dims=1)
        scaled = make(method, [w], lr=rates, member_dims=1)
        (v,) = full.param_groups[0]["params"]
        full.step(lambda v=v: 3 * v - 1)
        scaled.step(lambda w=w: 3 * w - 1)
        torch.testing.assert_close(w.detach() - start, rates[:, None] * (v.detach() - start))


def test_groups_have_their_own_rates_and_decay():
    A, b = system(9, 4)
    u, v = parameter([0.5, 0.5]), parameter([0.5, 0.5])
    groups = [{"params": [u], "lr": 0.5}, {"params": [v], "weight_decay": 0.2}]
    make("levenberg", groups, lam=1.0).step(lambda: A @ torch.cat([u, v]) - b)
    decay = torch.tensor([0, 0, 0.2, 0.2], dtype=torch.float64)
    start = torch.full((4,), 0.5, dtype=torch.float64)
    gram = A.T @ A + decay.diag() + torch.eye(4, dtype=torch.float64)
    step = -torch.linalg.solve(gram, A.T @ (A @ start - b) + decay * start)
    moved = torch.cat([u, v]).detach() - start
    torch.testing.assert_close(moved, step * torch.tensor([0.5, 0.5, 1, 1], dtype=torch.float64))


@pytest.mark.parametrize("way", ["state_dict", "pickle", "deepcopy"])
@pytest.mark.parametrize("method", METHODS)
def test_runs_resume_bit_for_bit(method, way):
    options = {} if method == "gauss_newton" else {"rule": "nielsen"}
    w, _, optimizer = run(method, kowalik_osborne, PROBLEMS["kowalik_osborne"][1], 3, **options)
    v = parameter(w)
    if way == "state_dict":
        other = make(method, [v], **options)
        other.load_state_dict(optimizer.state_dict())
    else:
        other = copy.deepcopy(optimizer) if way == "deepcopy" else pickle.loads(pickle.dumps(optimizer))
        v = other.param_groups[0]["params"][0]
    w = optimizer.param_groups[0]["params"][0]
    for _ in range(5):
        optimizer.step(lambda: kowalik_osborne(w))
        other.step(lambda: kowalik_osborne(v))
    assert torch.equal(w, v)
    assert optimizer.counters() == other.counters()


def test_single_precision_reaches_single_precision():
    w = torch.nn.Parameter(torch.tensor([-1.2, 1.0]))
    for method in METHODS:
        w.data.copy_(torch.tensor([-1.2, 1.0]))
        optimizer = make(method, [w])
        for _ in range(60):
            optimizer.step(lambda: rosenbrock(w))
        torch.testing.assert_close(w.detach(), torch.ones(2), rtol=1e-5, atol=1e-5)


# ---- what is refused


@pytest.mark.parametrize("method", METHODS)
def test_closures_without_residuals_are_refused_with_the_template(method):
    w = parameter([1.0, 2.0])
    optimizer = make(method, [w])
    wrong = {
        r"returned a loss": lambda: (w * w).sum(),
        r"without a graph": lambda: w.detach() * 2,
        r"a float": lambda: 1.5,
    }
    for text, closure in wrong.items():
        with pytest.raises(TypeError, match=text) as caught:
            optimizer.step(closure)
        assert "def closure" in str(caught.value)
    with pytest.raises(TypeError, match="had no closure"):
        optimizer.step()

    def calls_backward():
        r = rosenbrock(w)
        (r @ r).backward()
        return r

    with pytest.raises(RuntimeError) as caught:
        optimizer.step(calls_backward)
    assert "def closure" in "".join(caught.value.__notes__)
    assert w.tolist() == [1.0, 2.0]
    population = make(method, [parameter(torch.zeros(3, 2))], member_dims=1)
    with pytest.raises(TypeError, match="returned a loss"):
        population.step(lambda: torch.zeros(3, requires_grad=True))


@pytest.mark.parametrize("method", METHODS)
def test_maximising_and_wrong_options_are_refused(method):
    w = [parameter([1.0])]
    with pytest.raises(ValueError, match="no maximum"):
        make(method, w, maximize=True)
    with pytest.raises(ValueError, match="columns"):
        make(method, w, jacobian="forward")
    with pytest.raises(ValueError, match="chunk = 0"):
        make(method, w, chunk=0)
    with pytest.raises(TypeError, match="did you mean 'max_tries'"):
        make(method, w, max_trys=3)


def test_a_jacobian_that_is_too_large_is_refused_with_its_size():
    w = parameter(torch.zeros(50))
    optimizer = make("levenberg_marquardt", [w], max_numel=30)
    with pytest.raises(ValueError, match=r"20 residuals by n = 50 parameters.*GB"):
        optimizer.step(lambda: w[:20] - 1)


@pytest.mark.parametrize(
    ("option", "value"), [("lam", 0.0), ("up", 1.0), ("down", 0.5), ("rule", "x"), ("max_tries", 0)]
)
def test_options_out_of_range_are_refused(option, value):
    with pytest.raises(ValueError, match=f"^{option} = "):
        make("levenberg", [parameter([1.0])], **{option: value})


# ---- several processes


def _shared_run(rank, folder):
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
    A, b = system(13, 6)
    own = slice(0, 4) if rank == 0 else slice(4, 13)  # one share with fewer rows than weights
    for method in METHODS:
        w = parameter(torch.zeros(6))
        optimizer = make(method, [w], weight_decay=0.1)
        optimizer.distribute()
        for _ in range(4):
            optimizer.step(lambda w=w: torch.tanh(A[own] @ w) - b[own])
        torch.save(w.detach(), f"{folder}/{method}{rank}.pt")
    torch.distributed.destroy_process_group()


@pytest.mark.slow
def test_two_processes_move_as_one(tmp_path):
    torch.multiprocessing.spawn(_shared_run, (str(tmp_path),), nprocs=2)
    A, b = system(13, 6)
    for method in METHODS:
        w = parameter(torch.zeros(6))
        optimizer = make(method, [w], weight_decay=0.1)
        for _ in range(4):
            optimizer.step(lambda w=w: torch.tanh(A @ w) - b)
        first, second = (torch.load(tmp_path / f"{method}{rank}.pt") for rank in (0, 1))
        assert torch.equal(first, second)
        torch.testing.assert_close(first, w.detach(), rtol=1e-9, atol=1e-12)
