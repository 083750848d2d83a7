"""Steps that read nothing from the device: under fake tensors, which hold no data, and in a CUDA graph."""

import pytest
import torch
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode
from training import METHODS, Toy, has, in_populations, run, weights

from optimizers import pick
from optimizers.capturing import obstacle
from optimizers.quasi_newton._fisher import Fisher

AGGREGATED = 5  # plain steps, the first aggregation and one more
PLAIN = 2
SWITCHED = has("capturable")  # full-batch methods, on request
CAPTURABLE = [name for name in METHODS if obstacle(name, {"capturable": True} if name in SWITCHED else {}) is None]


def options(name):
    """What makes a method capturable."""
    found = {"L": 2, "mF": 3} if issubclass(pick(name), Fisher) else {}
    if name in SWITCHED:
        found["capturable"] = True
        if pick(name).options().get("line_search") == "strong_wolfe":
            found["line_search"] = "armijo"
    return found


def steps_of(name):
    return AGGREGATED if issubclass(pick(name), Fisher) else PLAIN


def populations(name):
    return [0, [0, 1, 2]] if in_populations(name) else [0]


CASES = pytest.mark.parametrize(
    ("name", "which"), [(name, which) for name in CAPTURABLE for which in populations(name)]
)


def test_the_check_notices_a_read():
    with FakeTensorMode(), pytest.raises(DataDependentOutputException):
        bool(torch.zeros(2).sum() > 0)


def test_every_stochastic_quasi_newton_method_is_among_them():
    assert {"adam", "olnaq", "olmoq", "asnaq", "adaqn", "bfgs"} <= set(CAPTURABLE)


@CASES
def test_steps_read_nothing_from_the_device(name, which):
    with FakeTensorMode():
        toy = Toy(name, which)
        optimizer = toy.make(**options(name))
        run(toy, optimizer, steps_of(name))
        assert weights(optimizer).shape == (*toy.members, 7)
    assert optimizer.k == steps_of(name)


@CASES
def test_what_is_fake_is_a_real_step(name, which):
    """The same steps with data move the weights: nothing was tested on steps that stand still."""
    toy = Toy(name, which)
    optimizer = toy.make(**options(name))
    found = run(toy, optimizer, 8)  # a trust-region method may refuse the first ones
    assert torch.isfinite(found).all()
    assert (found[-1] != found[0]).any(-1).all()


@pytest.mark.parametrize("name", SWITCHED)
def test_the_switch_changes_what_is_read_and_not_the_steps(name):
    toy, found = Toy(name), options(name)
    read = {key: value for key, value in found.items() if key != "capturable"}
    torch.testing.assert_close(
        run(toy, toy.make(**found), steps_of(name)), run(toy, toy.make(**read), steps_of(name)), rtol=1e-9, atol=1e-9
    )


@pytest.mark.parametrize("name", [name for name in CAPTURABLE if "schedule" in pick(name).options()])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("schedule", ["rsqrt", "robbins-monro", "constant"])
def test_a_schedule_on_the_device_is_the_schedule(name, dtype, schedule):
    toy = Toy(name, [0, 1, 2], dtype=dtype)
    # a tensor, as graphs need it: torch divides a number by a tensor in two roundings, a tensor in one
    rates = [torch.tensor([0.1, 0.05, 0.2], dtype=dtype) for _ in range(2)]
    plain, ticked = (toy.make(schedule=schedule, lr=lr, **options(name)) for lr in rates)
    for _ in range(6):
        ticked.tick()
        run(toy, plain, 1)
        run(toy, ticked, 1)
        assert torch.equal(weights(plain), weights(ticked))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@CASES
def test_a_cuda_graph_repeats_the_steps(name, which):
    """Each kind of step is captured once and replayed; host counters are moved on by hand."""
    toy = Toy(name, which, device="cuda")
    plain, captured = (toy.make(**options(name)) for _ in range(2))
    stream = torch.cuda.Stream()
    graphs = {}
    for _ in range(20):
        run(toy, plain, 1)
        captured.tick()
        kind = captured.coming()
        if kind in ("start", "first"):
            run(toy, captured, 1)
            continue
        if kind not in graphs:
            warmed(toy, captured, stream)
            graphs[kind] = torch.cuda.CUDAGraph()
            k = captured.k
            with torch.cuda.graph(graphs[kind], stream=stream):
                captured.step(toy.closure(captured, 0))
            captured.memory["k"] = k
        graphs[kind].replay()
        captured.memory["k"] += 1
        torch.cuda.synchronize()
        torch.testing.assert_close(weights(captured), weights(plain), rtol=0, atol=1e-12)


def warmed(toy, optimizer, stream):
    """Gradients and library handles exist before the capture; the optimizer stays as it is."""
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream), torch.enable_grad():
        toy.closure(optimizer, 0)()
    torch.cuda.current_stream().wait_stream(stream)
