"""The yardsticks measure the same thing as what they are compared with; tables and comparisons say what was found."""

import json
import math

import gymnasium
import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from scipy.optimize import minimize

import routing_env
from agents.population import Population
from benchmarks import closure_calls, growth
from benchmarks.baselines import measure, summarise
from benchmarks.bases.functions import functions
from benchmarks.reporting.tables import text_table
from benchmarks.study.comparison import compare
from benchmarks.timing import agent_populations, networks
from benchmarks.timing.measure import Measure, measured
from benchmarks.timing.optimizer_steps import Apart, bowl
from benchmarks.timing.plain_env import PlainRouting
from routing_env.generators.published import published


@pytest.mark.parametrize(("seed", "max_pins"), [(0, 2), (1, 4)])
def test_the_plain_environment_plays_the_same_game(seed, max_pins):
    problem = published(seed=seed, nets=12, max_pins=max_pins, capacity=2, reduced_capacity=1)
    env, plain = gymnasium.make("GlobalRouting-v0", problem=problem), PlainRouting(problem)
    rng = np.random.default_rng(seed)
    (obs, info), (plain_obs, plain_mask) = env.reset(seed=0), plain.reset()
    passes = 0
    for _ in range(3000):
        np.testing.assert_array_equal(obs, plain_obs)
        np.testing.assert_array_equal(info["action_mask"], plain_mask)
        move = int(rng.integers(6))
        obs, reward, over, _, info = env.step(move)
        plain_obs, plain_reward, plain_over, plain_mask = plain.step(move)
        assert (reward, over) == (plain_reward, plain_over)
        if over:
            passes += 1
            (obs, info), (plain_obs, plain_mask) = env.reset(), plain.reset()
    assert passes >= 2


def test_a_comparison_writes_what_it_prints(tmp_path):
    problem = published(seed=0, nets=6)
    found = compare(problem, [], tmp_path, time_limit=20)
    kept = json.loads((tmp_path / "comparison.json").read_text())
    by_name = {entry["router"]: entry for entry in kept["routers"]}
    assert set(by_name) == {"A* (pair by pair)", "A* (net trees)", "negotiated", "exact"}
    assert by_name["exact"]["wirelength"] == kept["bound"]["value"]
    assert by_name["exact"]["gap"] == 0
    assert all(entry["wirelength"] >= kept["bound"]["value"] for entry in kept["routers"])
    score = routing_env.official_score(problem, tmp_path / "negotiated.route")
    assert (score.wirelength, score.total_overflow) == (by_name["negotiated"]["wirelength"], 0)
    assert str(kept["bound"]["value"]) in found.text().split("\n")[-1]
    assert {"routes.png", "congestion.png"} <= {path.name for path in tmp_path.iterdir()}


def test_baselines_are_scored_by_the_written_file(tmp_path):
    paths = []
    for seed in (0, 1):
        paths.append(tmp_path / f"{seed}.gr")
        routing_env.write_problem(published(seed=seed, nets=8), paths[-1])
    rows = measure("negotiated", paths)
    bounds = [row["metrics"]["wirelength"] for row in measure("exact", paths)]
    assert [row["metrics"]["netlist"] for row in rows] == [f"{tmp_path.name}/{seed}.gr" for seed in (0, 1)]
    assert all(row["metrics"]["wirelength"] >= least for row, least in zip(rows, bounds, strict=True))
    assert summarise("negotiated", rows)["without overflow"] == 2


def test_a_table_aligns_names_left_and_numbers_right():
    table = text_table([{"name": "a", "value": 1.5}, {"name": "longer", "value": None}])
    assert table == "name    value\n------  -----\na        1.50\nlonger      -"


def test_a_measure_gives_the_median_of_the_rounds_ratios():
    ours, other = iter([9.0, 1.0, 2.0, 6.0]), iter([1.0, 4.0, 2.0])  # the first of ours is for warming up
    found = measured(Measure("w", "u", lambda: next(ours), lambda: next(other), "them"), 3)
    assert (found["ours"], found["other"], found["ratio"]) == (2, 2, 1)
    never = measured(Measure("w", "u", lambda: math.inf, lambda: 3.0, "them", counts=True), 3)
    assert (never["ours"], never["other"], never["ratio"]) == (None, 3, None)


def test_the_time_inside_a_closure_is_kept_apart():
    now = [0.0]

    def closure(backward):
        now[0] += 100

    apart = Apart(closure, lambda: now[0])

    def step():
        for _ in range(3):
            now[0] += 1
            apart()

    step()
    assert apart.besides(step) == 3
    assert apart.calls == 3


def test_a_bowl_gives_each_member_its_own_gradient():
    w, closure = bowl(5, members=3)
    loss = closure()
    scales = torch.logspace(0, 3, 5) * torch.tensor([[1.0], [1.5], [2.0]])
    point = w.detach().clone().requires_grad_()
    expected = (scales * point**2 / 2).sum(-1)
    expected.sum().backward()
    torch.testing.assert_close(loss, expected.detach())
    torch.testing.assert_close(w.grad, point.grad)


def test_a_population_computes_what_lone_networks_compute():
    weights, x, y = networks.draw(3)
    weights = [one.double().requires_grad_() for one in weights]
    x, y = x.double(), y.double()
    assert sum(one[0].numel() for one in weights) == 4806
    found = networks.closure_of(weights, x, y)()
    for i in range(3):
        lone = torch.nn.Sequential()
        for W, b in zip(weights[::2], weights[1::2], strict=True):
            layer = torch.nn.Linear(W.shape[2], W.shape[1]).double()
            layer.load_state_dict({"weight": W[i], "bias": b[i]})
            lone.extend([layer, torch.nn.ReLU()])
        lone.pop(-1)
        loss = torch.nn.functional.mse_loss(lone(x[i]), y[i])
        loss.backward()
        torch.testing.assert_close(found[i], loss)
        for one, alone in zip(weights, lone.parameters(), strict=True):
            torch.testing.assert_close(one.grad[i], alone.grad)
        copies = [one[i].detach().clone().requires_grad_() for one in weights]
        torch.testing.assert_close(networks.closure_of(copies, x[i], y[i])(), loss)


@pytest.mark.parametrize("name", ["beale", "helical_valley", "trigonometric"])
def test_calls_are_counted_as_the_solvers_themselves_count(name):
    function = functions(10)[name]
    w = torch.tensor(function.start, dtype=torch.float64, requires_grad=True)

    def value(x):
        point = torch.tensor(x, requires_grad=True)
        loss = function.f(point)
        loss.backward()
        return loss.item(), point.grad.numpy()

    theirs = minimize(value, function.start, jac=True, method="BFGS", options={"gtol": 1e-8})
    counted = closure_calls.ends("scipy.bfgs", function)
    assert (counted.calls, counted.reached) == (theirs.nfev, True)
    np.testing.assert_allclose(counted.at, theirs.x)

    search = {"history_size": 10, "line_search_fn": "strong_wolfe", "max_iter": 1000}
    optimizer = torch.optim.LBFGS([w], tolerance_grad=1e-8, tolerance_change=0, **search)

    def closure():
        optimizer.zero_grad()
        loss = function.f(w)
        loss.backward()
        return loss

    optimizer.step(closure)
    counted = closure_calls.ends("torch.lbfgs", function)
    assert (counted.calls, counted.reached) == (optimizer.state[w]["func_evals"], True)
    torch.testing.assert_close(counted.at, w.detach())


@pytest.mark.parametrize("name", ["beale", "wood"])
@pytest.mark.parametrize("solver", ["bfgs", "lbfgs"])
def test_our_count_ends_at_the_first_small_gradient(name, solver):
    function = functions(10)[name]
    counted = closure_calls.ends(solver, function)
    point = counted.at.requires_grad_()
    function.f(point).backward()
    assert point.grad.abs().max() <= 1e-8
    torch.testing.assert_close(counted.at.detach(), torch.tensor(function.minimum, dtype=torch.float64))
    before = closure_calls.Counted(function.f, most=counted.calls - 1)
    with pytest.raises(closure_calls.Reached):
        closure_calls.SOLVERS[solver](before, torch.tensor(function.start, dtype=torch.float64))
    assert not before.reached


def _calls(name, method, against, ours, other, same=True):
    settings = {"kind": "calls", "function": name, "method": method, "against": against, "same_minimiser": same}
    return {"settings": settings, "metrics": {"ours": ours, "other": other}}


def test_totals_are_over_functions_that_all_solve_alike():
    rows = [{"settings": {"rounds": 5}, "metrics": {}}]
    found = {"a": (1, 2, 3, 4), "b": (10, 20, 30, None), "c": (5, 6, 7, 8), "d": (1, 1, 1, 1)}
    for name, calls in found.items():
        for i, method in enumerate(("bfgs", "lbfgs")):
            for j, against in enumerate(("scipy.bfgs", "torch.lbfgs"), 2):
                rows.append(_calls(name, method, against, calls[i], calls[j], name != "c" or method == "bfgs"))
    lines = closure_calls.table(rows)
    assert [line["function"] for line in lines] == ["a", "b", "c *", "d", "total"]
    assert [line["torch.lbfgs"] for line in lines] == [4, None, 8, 1, 5]
    assert [lines[-1][solver] for solver in closure_calls.SOLVERS] == [2, 3, 4, 5]


def _grown(method, along, n, members, time):
    settings = {"kind": "growth", "method": method, "along": along, "n": n, "members": members}
    return {"settings": settings, "metrics": {"ours": time}}


def test_growth_is_read_and_drawn_from_rows():
    rows = [_grown("asnaq", "n", 10, None, 99.0), {"settings": {}, "metrics": {}}]
    rows += [_grown("asnaq", "n", n, None, 3 * n**0.7) for n in (1000, 10, 100)]
    rows += [_grown("asnaq", "members", 10, members, time) for members, time in ((1, 5.0), (4, 5.0), (16, 20.0))]
    found = growth.points(rows)
    assert [size for size, _ in found["n", "asnaq"]] == [10, 100, 1000]
    assert growth.exponents(found["n", "asnaq"]) == pytest.approx((0.7, 0.7))
    assert growth.exponents(found["members", "asnaq"]) == pytest.approx((0.5, 1.0))
    ax = Figure().subplots()
    growth.draw(rows, ax, "members")
    (line,) = ax.lines
    np.testing.assert_array_equal(line.get_xydata(), found["members", "asnaq"])
    assert line.get_label() == "asnaq"


def test_growth_of_populations_is_read_and_drawn_from_rows():
    def row(method, members, ours, other):
        settings = {"kind": "population-growth", "method": method, "members": members}
        return {"settings": settings, "metrics": {"ours": ours, "other": other}}

    rows = [row("adam", 4, 1.0, 2.0), row("adam", 4, 30.0, 90.0), row("adam", 1, 10.0, 40.0)]
    rows += [{"settings": {"kind": "population-core"}, "metrics": {"ours": 99.0}}]
    rows += [row("asnaq", 1, 5.0, 40.0), _grown("asnaq", "n", 10, None, 99.0)]
    found = agent_populations.points(rows)
    assert found == {"adam": [(1, 10.0, 40.0), (4, 30.0, 90.0)], "asnaq": [(1, 5.0, 40.0)]}
    ax = Figure().subplots()
    agent_populations.draw(rows, ax)
    assert [line.get_label() for line in ax.lines] == [
        "adam", "asnaq", "the matrix products alone", "matrix products of 512 x 512",
    ]  # fmt: skip
    np.testing.assert_array_equal(ax.lines[2].get_xydata(), [(1, 40.0), (4, 90.0)])


def test_the_operations_of_an_update_are_counted_as_torch_counts_them(monkeypatch):
    from torch.utils.flop_counter import FlopCounterMode

    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)  # the form in torch, whose operations it sees
    config = agent_populations.settings("adam")
    found = Population([published(seed=0)] * 3, config, range(3))
    with FlopCounterMode(display=False) as counted:
        for _ in range(agent_populations.WARM + 1):
            found.advance()
    moves = agent_populations.WARM * 2 * sum(a * b for a, b in ((12, 32), (32, 64), (64, 32), (32, 6)))
    assert counted.get_total_flops() == 3 * (agent_populations.flops(config, 12) + moves)


def test_populations_and_single_agents_of_the_speed_measure_do_the_same_work():
    for method in agent_populations.METHODS:
        chosen = agent_populations.settings(method)
        assert (chosen.train_every, chosen.updates, chosen.batch, chosen.hidden) == (1, 1, 32, (32, 64, 32))
    assert agent_populations.population("adam", 2)() > 0
    assert agent_populations.limit(2)() > 0
