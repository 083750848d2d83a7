"""Optimizers on test functions: evaluations are counted as they are made, and tables and pictures follow from rows."""

import math

import numpy as np
import pytest
import torch
from PIL import Image, ImageSequence
from scipy import optimize
from training import METHODS, in_parts, needs_model, residuals, stochastic

import optimizers
from benchmarks.bases.functions import functions
from benchmarks.harness.experiment import Size, carry_out
from benchmarks.reporting.animation import frame, save_frames
from benchmarks.reporting.profiles import ratios, share_within
from benchmarks.tasks.surfaces import Surfaces
from benchmarks.tasks.surfaces.problems import MANY_VALLEYS, chosen_functions, start_of
from benchmarks.tasks.surfaces.runs import MARKS, MOST, PEERS, Ended, Watched, outcome
from benchmarks.tasks.surfaces.tables import compare, costs_of

TABLE = functions(10)


def run(name, function, **options):
    one = TABLE[function]
    return outcome(one, start_of(one, 0), name, options)


# ---- problems


def test_the_named_functions_are_there_with_their_dimensions():
    found = chosen_functions(10)
    assert len(found) == 23
    assert all(one.n == 2 for name, one in found.items() if name.endswith("_2"))
    assert found["levy"].n == found["rosenbrock_chained"].n == 10
    assert set(found) >= MANY_VALLEYS
    assert all(one.name == name.removesuffix("_2") for name, one in found.items())


def test_seed_zero_is_the_usual_start_and_others_lie_anywhere_in_the_box():
    for one in chosen_functions(10).values():
        assert start_of(one, 0).tolist() == list(one.start)
        drawn = torch.stack([start_of(one, seed) for seed in range(1, 200)])
        low, high = one.box
        assert low <= drawn.min() < low + 0.1 * (high - low)
        assert high - 0.1 * (high - low) < drawn.max() <= high
        assert torch.equal(start_of(one, 7), drawn[6])


def ends_in_a_higher_minimum(name, seed):
    one = chosen_functions(10)[name]
    watched = outcome(one, start_of(one, seed), "bfgs", {}, most=500)
    if watched.solved:
        return False
    at = watched.last.requires_grad_()
    (slope,) = torch.autograd.grad(one.f(at), at)
    curvatures = torch.linalg.eigvalsh(torch.autograd.functional.hessian(one.f, at.detach()))
    return slope.abs().max() < 1e-5 and curvatures[0] > -1e-6 * curvatures[-1]


@pytest.mark.parametrize("name", chosen_functions(10))
def test_many_valleys_are_functions_on_which_bfgs_ends_in_a_higher_minimum(name):
    found = (ends_in_a_higher_minimum(name, seed) for seed in range(6))
    assert any(found) == (name in MANY_VALLEYS)


# ---- counting


@pytest.mark.parametrize("name", ["bfgs", "lnaq", "mosr1", "newton", "damped_newton", "newton_cg", "slbfgs", "arclsr1"])
def test_evaluations_are_those_that_the_optimizer_counts(name):
    one = TABLE["rosenbrock_extended"]
    watched = run(name, "rosenbrock_extended")
    w = start_of(one, 0).requires_grad_()
    optimizer = optimizers.make(name, [w])

    def closure(backward=True):
        w.grad = None
        loss = one.f(w)
        if backward:
            loss.backward()
        return loss

    for _ in range(watched.iterations):
        optimizer.step(closure)
    counted = optimizer.counters()
    made = counted["n_losses"] + counted["n_gradients"] + counted["n_products"]
    # the last step was left at the evaluation that solved the function
    assert made <= watched.evaluations
    optimizer.step(closure)
    counted = optimizer.counters()
    assert watched.evaluations <= counted["n_losses"] + counted["n_gradients"] + counted["n_products"]
    assert watched.end in ("solved", "limit", "stationary")


@pytest.mark.parametrize(("label", "method"), [("scipy.bfgs", "BFGS"), ("scipy.l-bfgs-b", "L-BFGS-B")])
def test_peers_are_counted_until_their_first_value_that_is_low_enough(label, method):
    one, values = TABLE["rosenbrock_100"], []

    def value(x):
        at = torch.from_numpy(x).requires_grad_()
        found = one.f(at)
        values.append(found.item())
        return values[-1], torch.autograd.grad(found, at)[0].numpy()

    optimize.minimize(value, np.array(one.start), jac=True, method=method, tol=1e-9)
    first = next(k for k, found in enumerate(values, 1) if found <= 1e-6)
    assert run(label, "rosenbrock_100").evaluations == first


def test_hessian_products_of_trust_krylov_are_counted():
    watched = run("scipy.trust-krylov", "rosenbrock_100")
    assert watched.end == "solved"
    assert watched.products() > 0
    assert watched.evaluations == watched.calls + watched.products()


def test_newton_solves_a_bowl_in_one_step_of_n_products():
    watched = run("newton", "quadratic_1e6")
    assert (watched.end, watched.iterations, watched.products()) == ("solved", 1, 10)
    assert watched.curve[-1][2] <= 1e-6


def test_runs_end_for_the_reason_they_say():
    assert run("lbfgs", "rastrigin").end == "stationary"
    assert run("sgd", "rosenbrock_100", lr=1e-9).end == "limit"
    assert run("sgd", "rosenbrock_100", lr=0.0).end == "stalled"
    assert run("sgd", "rosenbrock_100", lr=1e-9).evaluations == MOST
    assert outcome(TABLE["wood"], start_of(TABLE["wood"], 0), "lbfgs", {}, most=7).evaluations == 7
    gave_up = run("scipy.l-bfgs-b", "ackley")
    assert gave_up.end in ("stationary", "gave up", "solved")


def test_peers_that_see_values_alone_get_ten_times_as_many_and_a_generation_counts_its_points():
    one = TABLE["rosenbrock_chained"]
    for label in ("scipy.differential-evolution", "scipy.dual-annealing"):
        watched = outcome(one, start_of(one, 0), label, {}, most=50)
        assert watched.end == "limit"
        assert 500 <= watched.evaluations <= 500 + 150
        assert watched.lowest == pytest.approx(one.f(watched.at).item())
    assert run("scipy.dual-annealing", "rastrigin").end == "solved"


def test_the_curve_never_rises_and_ends_where_the_run_did():
    watched = run("bfgs", "rosenbrock_100")
    evaluations, iterations, values, distances = (np.array(column) for column in zip(*watched.curve, strict=True))
    assert (np.diff(values) <= 0).all()
    assert (np.diff(evaluations) >= 0).all()
    assert (np.diff(iterations) >= 0).all()
    assert evaluations[-1] == watched.evaluations
    assert values[0] == pytest.approx(24.2)
    assert distances[0] == pytest.approx(2.2)
    assert distances[-1] == pytest.approx(np.linalg.norm(watched.at.numpy() - 1))


def test_the_way_holds_the_points_after_the_marked_iterations():
    one = TABLE["beale"]
    watched = run("bfgs", "beale")
    w = start_of(one, 0).requires_grad_()
    optimizer, points = optimizers.make("bfgs", [w]), [w.tolist()]

    def closure(backward=True):
        w.grad = None
        loss = one.f(w)
        loss.backward()
        return loss

    for _ in range(watched.iterations):
        optimizer.step(closure)
        points.append(w.tolist())
    assert watched.way == [points[mark] for mark in MARKS if mark <= watched.iterations]


def test_values_that_are_not_numbers_are_never_the_lowest():
    watched = Watched(TABLE["booth"])
    watched.value(torch.tensor([[math.nan, 0.0], [0.0, 0.0]], dtype=torch.float64))
    assert watched.lowest == 74
    with pytest.raises(Ended, match="solved"):
        watched.value(torch.tensor([1.0, 3.0], dtype=torch.float64))
    assert watched.calls == 3


# ---- profiles


def test_profiles_are_those_of_a_table_made_by_hand():
    costs = {"a": [10, 40, math.inf, math.inf], "b": [20, 10, 5, math.inf]}
    found = ratios(costs)
    assert found == {"a": [1, 4, math.inf, math.inf], "b": [2, 1, 1, math.inf]}
    assert [share_within(found["a"], tau) for tau in (1, 3.9, 4, 1e9)] == [0.25, 0.25, 0.5, 0.5]
    assert share_within(found["b"], 1) == 0.5
    assert share_within([], 1) == 0
    with pytest.raises(ValueError, match="numbers of problems differ"):
        ratios({"a": [1], "b": [1, 2]})
    with pytest.raises(ValueError, match="positive"):
        ratios({"a": [0.0]})


def test_pairs_are_compared_on_what_both_solve():
    a, b = {1: 10.0, 2: 10.0, 3: math.inf, 4: 1.0}, {1: 20.0, 2: 5.0, 3: 7.0, 4: math.inf}
    assert compare(a, b, "x", "y") == "`x` / `y` 1.25 (2 of both, 1 of the first alone, 1 of the second)"
    assert compare({1: math.inf}, {1: 1.0}, "x", "y").startswith("`x` / `y` - (0 of both")


# ---- the experiment


def test_every_deterministic_optimizer_of_a_plain_loss_is_run():
    expected = {
        name for name in METHODS if not (stochastic(name) or residuals(name) or needs_model(name) or in_parts(name))
    }
    first = {"sgd", "momentum", "nag", "rmsprop", "adam"}
    assert set(Surfaces.methods) == expected | first | set(PEERS)


@pytest.mark.parametrize(("label", "what"), [("levenberg", "residuals"), ("proxprop", "model"), ("olmoq_mb", "parts")])
def test_what_wants_more_than_a_loss_is_refused(label, what):
    with pytest.raises(ValueError, match=f"{label} wants {what}"):
        Surfaces.check(label)
    with pytest.raises(ValueError, match=r"no method 'scipy\.bfg'; did you mean 'scipy\.bfgs'"):
        Surfaces.check("scipy.bfg")
    with pytest.raises(ValueError, match="of 3 coordinates"):
        Surfaces.chosen({"n": 3})


def test_rows_are_the_runs_and_the_usual_start_alone_keeps_its_way(tmp_path):
    labels, size = ["lbfgs", "torch.adam", "newton_cg"], Size(0, 2, {"most": 40})
    rows = carry_out(Surfaces, labels, [0, 3], tmp_path / "rows", size=size)
    by = {(row["method"], row["seed"]): row for row in rows}
    one = chosen_functions(10)["wood"]
    told = by["lbfgs", 3]["metrics"]["wood"]
    again = outcome(one, start_of(one, 3), "lbfgs", {}, most=40)
    assert (told["end"], told["evaluations"], told["iterations"]) == (again.end, again.evaluations, again.iterations)
    assert told["value"] == pytest.approx(again.lowest, rel=1e-2)
    assert "curve" not in told
    assert "way" in by["lbfgs", 0]["metrics"]["beale"]
    assert "way" not in by["lbfgs", 0]["metrics"]["wood"]
    calls = by["newton_cg", 0]["evaluations"]
    assert sum(calls.values()) == sum(one["evaluations"] for one in by["newton_cg", 0]["metrics"].values())
    assert calls["products"] > 0
    costs = costs_of(rows, "lbfgs")
    assert len(costs) == 46
    table = {line["method"]: line for line in Surfaces.table(rows)}
    assert table["lbfgs"]["solved"] == f"{sum(math.isfinite(cost) for cost in costs.values())}/46"
    assert len(Surfaces.findings(rows)) >= 2
    (tmp_path / "drawn").mkdir()
    first = {path.name: path.read_bytes() for path in Surfaces.draw(rows, tmp_path / "drawn")}
    assert {path.name: path.read_bytes() for path in Surfaces.draw(rows, tmp_path / "drawn")} == first
    assert {path.split(".")[-1] for path in first} == {"png", "gif"}
    later = [row for row in rows if row["seed"]]
    assert len(Surfaces.draw(later, tmp_path / "drawn")) == 2, "without the usual start: profiles and shares alone"


def test_animations_show_their_frames_in_order_and_equal_ones_leave_the_file_alone(tmp_path):
    from matplotlib.figure import Figure

    figure = Figure(figsize=(1, 1), dpi=40)
    ax = figure.subplots()
    shown = []
    for height in range(3):
        ax.axhline(height)
        shown.append(frame(figure))
    path = save_frames(shown, tmp_path / "a.gif", seconds=0.1, last=1.5)
    with Image.open(path) as moving:
        durations = [one.info["duration"] for one in ImageSequence.Iterator(moving)]
    assert durations == [100, 100, 1500]
    before = path.stat().st_mtime_ns
    assert save_frames(shown, path, seconds=0.1, last=1.5).stat().st_mtime_ns == before
    with pytest.raises(ValueError, match="at least one frame"):
        save_frames([], path, seconds=0.1, last=1.0)
