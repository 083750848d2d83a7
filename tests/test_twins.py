"""Stochastic quasi-Newton methods step as the plain single-network twins written from the papers do."""

import numpy as np
import pytest
import torch

import optimizers
from optimizers import ASNAQ, _vector
from optimizers.quasi_newton import _host, _host_lsr1
from tests import references

N, STEPS = 17, 60


class Problem:
    """A quartic bowl with a tilt that changes with the mini-batch: f(w, k), g(w, k), in numpy and in torch."""

    def __init__(self, seed, scale=1.0):
        rng = np.random.default_rng(seed)
        A = rng.normal(size=(N, N))
        self.A = scale * (A @ A.T / N + 0.1 * np.eye(N))
        self.noise = 0.05 * scale * rng.normal(size=(1000, N))
        self.w0 = rng.normal(size=N)

    def f(self, w, k):
        return 0.5 * w @ self.A @ w + 0.02 * np.sum(w**4) + self.noise[k] @ w

    def g(self, w, k):
        return self.A @ w + 0.08 * w**3 + self.noise[k]


def torch_loss(w, A, noise):
    return 0.5 * (w * (A @ w.unsqueeze(-1)).squeeze(-1)).sum(-1) + 0.02 * (w**4).sum(-1) + (noise * w).sum(-1)


def path(make, problems, members, steps=STEPS):
    """Weights after every step: (steps, n), or (steps, P, n) for a population."""
    stack = (lambda xs: torch.tensor(np.stack(xs))) if members else (lambda xs: torch.tensor(xs[0]))
    w = stack([p.w0 for p in problems]).requires_grad_()
    A = stack([p.A for p in problems])
    optimizer = make([w], **({"member_dims": 1} if members else {}))
    found = []
    for k in range(steps):
        noise = stack([p.noise[k] for p in problems])

        def closure(backward=True, noise=noise):
            w.grad = None
            loss = torch_loss(w, A, noise)
            if backward:
                loss.sum().backward()
            return loss

        optimizer.step(closure)
        found.append(w.detach().clone().numpy())
    return np.stack(found), optimizer


def rsqrt(k):
    return 0.3 * (k + 1) ** -0.5


ONLINE = {
    "obfgs": ({}, {}),
    "onaq": ({"mu": 0.8}, {"mu": 0.8}),
    "omoq": ({"mu": 0.8}, {"mu": 0.8}),
    "olbfgs": ({"m": 4}, {"memory": 4}),
    "olnaq": ({"mu": 0.8, "m": 4}, {"mu": 0.8, "memory": 4}),
    "olmoq": ({"mu": 0.8, "m": 4}, {"mu": 0.8, "memory": 4}),
}


@pytest.mark.parametrize("lam", [1.0, 0.0])
@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize("name", ONLINE)
def test_an_online_method_steps_as_its_twin(name, normalize, lam):
    ours, theirs = ONLINE[name]
    problem = Problem(1)
    schedule = {"lr": 0.3, "schedule": "rsqrt"} if normalize else {"lr": 0.05, "schedule": "constant"}

    def make(params, **more):
        return optimizers.make(name, params, **ours, **more, **schedule, normalize=normalize, lam=lam)

    alpha = rsqrt if normalize else (lambda k: 0.05)
    steps = STEPS if normalize else 10  # without normalisation some of these runs diverge
    expected = getattr(references, name)(
        problem.f, problem.g, problem.w0, steps, alpha=alpha, normalize=normalize, lam=lam, **theirs
    )
    found, _ = path(make, [problem], members=False, steps=steps)
    tight = {"rtol": 1e-9, "atol": 1e-10} if normalize else {"rtol": 1e-6, "atol": 1e-7}
    np.testing.assert_allclose(found, np.stack(expected), **tight)
    problems = [Problem(1), Problem(2, scale=3.0), Problem(3, scale=0.2)]
    together, _ = path(make, problems, members=True, steps=steps)
    for i, one in enumerate(problems):
        alone, _ = path(make, [one], members=False, steps=steps)
        np.testing.assert_allclose(together[:, i], alone, **tight)


AGGREGATING = {
    "paper": ({}, {}),
    "program": ({"scale_y": "sum", "anchor": "accepted"}, {"scale_y": "sum", "anchor": "accepted"}),
    "adagrad": ({"h0": "adagrad", "pair_test": "angle"}, {"h0": "adagrad", "pair_test": "angle"}),
}


@pytest.mark.parametrize("scale", [1.0, 1e6])
@pytest.mark.parametrize("variant", AGGREGATING)
@pytest.mark.parametrize("name", ["adaqn", "asnaq"])
def test_an_aggregating_method_steps_as_its_twin(name, variant, scale):
    """Scale 1e6 makes gradients so large that pairs are rejected; a tight gamma makes resets."""
    ours, theirs = AGGREGATING[variant]
    gamma = 1.01 if scale > 1 else 1.0
    rate = {"adaqn": 0.2, "asnaq": 0.3}[name] if scale == 1 else {"adaqn": 0.02, "asnaq": 0.05}[name]
    small = {"L": 3, "mL": 4, "mF": 10, "gamma": gamma}

    def make(params, **more):
        return optimizers.make(name, params, lr=rate, **ours, **small, **more)

    problems = [Problem(seed, scale=scale) for seed in (1, 2, 3)]
    together, population = path(make, problems, members=True, steps=90)
    # in 90 steps of the program's form one rounding of the first weights grows to 1e-9
    close = {"rtol": 1e-7, "atol": 1e-8}
    happened = dict.fromkeys(("accepted", "rejected", "resets"), 0)
    for i, one in enumerate(problems):
        expected, events = getattr(references, name)(one.f, one.g, one.w0, 90, alpha=rate, **theirs, **small)
        alone, optimizer = path(make, [one], members=False, steps=90)
        np.testing.assert_allclose(alone, np.stack(expected), **close)
        np.testing.assert_allclose(together[:, i], alone, **close)
        counted = optimizer.counters()
        assert {name: counted[f"n_{name}"] for name in events} == events
        assert {name: population.counters()[f"n_{name}"][i] for name in events} == events
        happened = {name: happened[name] + events[name] for name in events}
    if scale == 1:
        assert happened["accepted"]
        assert happened["resets"]
    else:
        assert happened["rejected"] or variant == "adagrad"


@pytest.mark.parametrize("normalize", [True, False])
def test_olmoq_on_overlapping_batches_steps_as_its_twin(normalize):
    """Here ``k`` counts sub-batches: batch k is k, k + 1, k + 2."""
    problem, steps = Problem(4), 40 if normalize else 10
    expected = references.olmoq_mb(
        problem.f, problem.g, problem.w0, steps, alpha=lambda k: 0.1, mu=0.8, memory=4, normalize=normalize
    )
    w = torch.tensor(problem.w0, requires_grad=True)
    A, noise = torch.tensor(problem.A), torch.tensor(problem.noise)
    optimizer = optimizers.make("olmoq_mb", [w], lr=0.1, schedule="constant", mu=0.8, m=4, normalize=normalize)
    for k in range(steps):

        def closure(part=0, k=k):
            w.grad = None
            loss = torch_loss(w, A, noise[k + part])
            loss.backward()
            return loss

        optimizer.step([lambda part=part: closure(part) for part in range(3)] if k % 2 else closure)
        np.testing.assert_allclose(w.detach().numpy(), expected[k], rtol=1e-8, atol=1e-9)
    assert optimizer.counters()["n_accepted"] > 0


class FullBatch(Problem):
    """The same loss at every step."""

    def __init__(self, seed, scale=1.0):
        super().__init__(seed, scale)
        self.noise[:] = 0.0


@pytest.mark.parametrize(
    ("name", "options", "theirs"),
    [
        ("sr1", {}, {"mu": 0}),
        ("lsr1", {"m": 4}, {"mu": 0, "memory": 4}),
        ("sr1n", {"restart": False}, {}),
        ("sr1n", {"mu": 0.5, "restart": False}, {"mu": 0.5}),
        ("lsr1n", {"m": 4, "restart": False}, {"memory": 4}),
        ("mosr1", {"restart": False}, {"momentum": True}),
        ("lmosr1", {"m": 4, "restart": False}, {"momentum": True, "memory": 4}),
    ],
)
def test_an_sr1_method_steps_as_its_twin(name, options, theirs):
    problem = FullBatch(1)

    def make(params, **more):
        return optimizers.make(name, params, refused_pairs=False, **options, **more)

    expected = references.sr1n(problem.f, problem.g, problem.w0, 25, **theirs)
    found, optimizer = path(make, [problem], members=False, steps=25)
    np.testing.assert_allclose(found, np.stack(expected), rtol=1e-7, atol=1e-9)
    assert optimizer.counters()["n_rejected"] or name in ("sr1", "lsr1")


def test_sqn_steps_as_the_two_loop_recursion_on_averages():
    problem, L, m, steps = Problem(5), 4, 3, 60
    H = lambda pairs, g: references.two_loop(g, pairs, pairs[-1][0] @ pairs[-1][1] / (pairs[-1][1] @ pairs[-1][1]))  # noqa: E731
    w, total, anchor, pairs, expected = problem.w0.copy(), 0.0, None, [], []
    for k in range(steps):
        g = problem.g(w, k)
        total = total + w
        w = w - 0.1 * 10 / (10 + k) * (H(pairs, g) if pairs else g)
        if (k + 1) % L == 0:
            average, total = total / L, 0.0
            if anchor is not None:
                s = average - anchor
                y = problem.A @ s + 0.24 * average**2 * s
                pairs = [*pairs, (s, y)][-m:]
            anchor = average
        expected.append(w)
    found, optimizer = path(lambda p, **o: optimizers.make("sqn", p, L=L, m=m, **o), [problem], False, steps)
    np.testing.assert_allclose(found, np.stack(expected), rtol=1e-8, atol=1e-9)
    assert optimizer.counters()["n_accepted"] == steps // L - 1


@pytest.mark.parametrize("name", ["adaqn", "asnaq", "olnaq", "olmoq", "omoq", "sqn", "osr1", "lnaq", "adam"])
def test_steps_without_masks_are_the_masked_steps(name, monkeypatch):
    """On the host a mask that holds for all members, or for none, is passed over; on a device it cannot be asked."""
    problems = [Problem(1), Problem(2, scale=3.0), Problem(3)]
    problems[1].noise[7] = np.nan
    small = {"L": 3, "mL": 4, "mF": 10, "gamma": 1.0} if name in ("adaqn", "asnaq") else {}
    found = []
    for asked in (True, False):
        if not asked:
            monkeypatch.setattr(_vector, "_on_host", lambda mask: False)
        found.append(path(lambda p, **more: optimizers.make(name, p, **small, **more), problems, True, 60))
    (w, optimizer), (w_masked, masked) = found
    np.testing.assert_array_equal(w, w_masked)
    assert optimizer.counters() == masked.counters()
    assert optimizer.counters()["n_nonfinite"][1] > 0


COMPILED = {
    "adaqn": (_host, "times"), "asnaq": (_host, "direction"), "olbfgs": (_host, "direction"),
    "olnaq": (_host, "direction"), "olmoq": (_host, "deferred"), "sqn": (_host, "direction"),
    "osr1": (_host_lsr1, "lsr1"), "osr1n": (_host_lsr1, "lsr1"), "omosr1": (_host_lsr1, "lsr1"),
}  # fmt: skip


@pytest.mark.parametrize("options", [{}, {"normalize": True}, {"normalize": False}, {"h0": "newest"}], ids=str)
@pytest.mark.parametrize("name", COMPILED)
def test_compiled_steps_are_the_steps_in_torch(name, options, monkeypatch):
    """On one thread of the processor a population's steps are compiled; with several torch makes them."""
    if not set(options) <= set(optimizers.default_options(name)) or ("h0" in options and name in ("adaqn", "asnaq")):
        pytest.skip("not an option of its own, or its H0 is a sum of squares")
    problems = [Problem(1), Problem(2, scale=3.0), Problem(3)]
    problems[1].noise[7] = np.nan
    small = {"L": 3, "mL": 4, "mF": 10, "gamma": 1.0} if name in ("adaqn", "asnaq") else {}
    steps = 16 if "sr1" in name else 40 if options.get("normalize") is False else 60  # how fast roundings grow
    found, calls, made = [], [], []
    module, entry = COMPILED[name]
    step = getattr(module, entry)
    monkeypatch.setattr(module, entry, lambda *args, **more: calls.append(1) or step(*args, **more))
    for threads in (1, 2):
        monkeypatch.setattr(torch, "get_num_threads", lambda threads=threads: threads)
        found.append(
            path(lambda p, **more: optimizers.make(name, p, **small, **options, **more), problems, True, steps)
        )
        made.append(len(calls))
    (w, optimizer), (w_torch, masked) = found
    assert made[1] == made[0] >= steps * 5 / 6, "those of one thread, none with two"
    np.testing.assert_allclose(w, w_torch, rtol=1e-8, atol=1e-10)
    assert optimizer.counters() == masked.counters()
    assert optimizer.counters()["n_nonfinite"][1] > 0
    assert max(optimizer.counters()["n_accepted"]) > (3 if steps == 60 else 2)
    for name, one in optimizer.memory.items():
        if isinstance(one, torch.Tensor):
            spare = name in ("S", "Y") and "slot" in optimizer.memory  # pairs that were refused lie there
            a, b = (x[:, :-1] if spare else x for x in (one, masked.memory[name]))
            torch.testing.assert_close(a, b, rtol=1e-7, atol=1e-9, msg=lambda told, name=name: f"{name}: {told}")


@torch.no_grad()
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_ring_of_gradients_is_the_same_compiled_or_not(dtype, monkeypatch):
    generator = torch.Generator().manual_seed(4)
    gradients = torch.randn(40, 3, 11, generator=generator, dtype=dtype)
    passed = torch.rand(40, 3, generator=generator) > 0.2
    found = []
    for threads in (1, 2):
        monkeypatch.setattr(torch, "get_num_threads", lambda threads=threads: threads)
        w = torch.zeros(3, 11, dtype=dtype, requires_grad=True)
        optimizer = ASNAQ([w], member_dims=1, mF=7, L=5)
        optimizer._begin()
        for k, (g, ok) in enumerate(zip(gradients, passed, strict=True)):
            optimizer.remember(g.clone(), ok)
            if k == 20:
                optimizer.forget(torch.tensor([False, True, False]))
        running = optimizer.memory["squares"].clone()
        optimizer.memory["k"] = 9  # two aggregations: the ring has turned
        optimizer.refresh()
        found.append([running, *(optimizer.memory[name] for name in ("F", "held", "turn", "squares"))])
    exact = (found[0][1].double().square() * found[0][2].double()[..., None]).sum(1)
    torch.testing.assert_close(found[0][-1], exact, rtol=1e-13, atol=0)
    for mine, theirs in zip(found[0][:-1], found[1][:-1], strict=True):
        # squares of float32 are exact in float64; those of float64 torch may round together with the sum
        torch.testing.assert_close(mine, theirs, rtol=0 if dtype is torch.float32 else 1e-13, atol=0)
    torch.testing.assert_close(found[0][-1], found[1][-1], rtol=1e-13, atol=0)
