"""Unit tests of stochastic optimizers: shapes and noise are their formulas, and colours follow from what is gained."""

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from matplotlib.colors import to_rgb
from training import METHODS, needs_model, stochastic

from benchmarks.harness.experiment import Size, carry_out
from benchmarks.tasks.unit_tests import UnitTests, pictures
from benchmarks.tasks.unit_tests.cases import NOISES, SCALES, SHAPES, Case, cases
from benchmarks.tasks.unit_tests.population import FAR, Population
from benchmarks.tasks.unit_tests.scores import CATEGORIES, SGD_RATES, category, gains, judged, score
from benchmarks.tasks.unit_tests.shapes import PIECES, evaluate, shape, stacked
from benchmarks.tasks.unit_tests.tables import kept, passed_somewhere, passes, working

SMALL = Size(12, 1, {"every": 61, "repetitions": 3, "rates": 3})


def curve(name):
    x = torch.from_numpy(X)
    return evaluate(stacked([shape(name)]).expand(len(x), -1, -1), x).numpy()


def case(name="quad_bowl", scale="normal", noise="none", **more):
    return Case((name, name), (scale, scale), noise, **more)


def slopes(population, x, step, part=0):
    x = x.clone().requires_grad_()
    (found,) = torch.autograd.grad(population.losses(x, step, part).sum(), x)
    return found


# ---- shapes

X = np.linspace(0, 1, 1001)
FORMULAS = {
    "line": X,
    "quad_bowl": X - X**2,
    "abs": 0.5 - abs(X - 0.5),
    "relu": np.minimum(X, 0.5),
    "bend": np.maximum(X - 0.5, 0),
    "ridge": np.maximum(X, 10 * X - 4.5),
    "cliff": np.minimum(X, 5.5 - 10 * X),
    "quad_convex": X - 0.45 * X**2,
    "exponential": (1 - 1000.0**-X) / np.log(1000),
    "laplace_nonconvex": np.expm1(7 * X) / 7,
    "laplace_convex": np.expm1(0.9 * X) / 0.9,
    "line-quad_bowl-line": np.where(abs(X - 0.5) < 1 / 6, 5 / 12 - 3 * (X - 0.5) ** 2, np.minimum(X, 1 - X)),
    "relu-bend-line": np.where(X < 1 / 6, X, np.maximum(1 / 6, X - 1 / 3)),
}  # fmt: skip


@pytest.mark.parametrize("name", FORMULAS)
def test_shapes_are_their_closed_forms(name):
    np.testing.assert_allclose(curve(name), FORMULAS[name], atol=1e-12)


def test_gaussian_pieces_begin_and_end_where_they_should_on_the_bell():
    def bell_slope(distance):  # of 1 - exp(-d^2), in bandwidths from the middle
        return 2 * distance * math.exp(-(distance**2))

    for name, first, last in [
        ("gauss_nonconvex", 4, math.sqrt(0.5)), ("gauss_convex", math.sqrt(0.5), 0.1), ("gauss_bowl", 0.1, -0.1)
    ]:  # fmt: skip
        (one,) = shape(name)
        assert one.slope(1) / one.slope(0) == pytest.approx(bell_slope(last) / bell_slope(first))
    up = shape("quad_bowl-gauss_nonconvex")[1]
    assert up.slope(1) / up.slope(0.5) == pytest.approx(bell_slope(4) / bell_slope(math.sqrt(0.5)))


@pytest.mark.parametrize("name", [*SHAPES, *PIECES])
def test_shapes_begin_at_zero_with_slope_one_and_run_on_from_piece_to_piece(name):
    segments = shape(name)
    assert segments[0].value(0) == pytest.approx(0)
    assert segments[0].slope(0) == pytest.approx(0 if name == "bend" else 1)
    kinks = {"abs": 1, "relu": 1, "bend": 1, "cliff": 1, "ridge": 1, "laplace_bowl": 1}
    jumps = 0
    for before, after in pairwise(segments):
        assert after.value(after.at) == pytest.approx(before.value(after.at), abs=1e-9 * max(1, abs(after.c)))
        jumps += not math.isclose(after.slope(after.at), before.slope(after.at), rel_tol=1e-6, abs_tol=1e-12)
    inner = sum(kinks.get(piece, 0) for piece in name.split("-"))
    assert jumps <= inner, "slopes jump at kinks alone"


@pytest.mark.parametrize("name", SHAPES)
def test_evaluation_agrees_with_its_segments_and_with_numerical_slopes(name):
    segments, table = shape(name), stacked([shape(name), shape(SHAPES[-1])])[0]
    x = torch.linspace(-0.2, 1.2, 83, dtype=torch.float64).requires_grad_()
    values = evaluate(table.expand(len(x), -1, -1), x)
    (found,) = torch.autograd.grad(values.sum(), x)
    for at, value, slope in zip(x.tolist(), values.tolist(), found.tolist(), strict=True):
        here = [one for one in segments if one.at <= at] or segments[:1]
        assert value == pytest.approx(here[-1].value(at), rel=1e-12, abs=1e-12)
        assert slope == pytest.approx(here[-1].slope(at), rel=1e-9, abs=1e-12)
        step = 1e-6
        numerical = (here[-1].value(at + step) - here[-1].value(at - step)) / (2 * step)
        assert slope == pytest.approx(numerical, rel=1e-5, abs=1e-5 * max(1, abs(value)))


def test_convex_pieces_stay_convex_uphill():
    for name in ("quad_convex-abs-quad_convex", "quad_convex-quad_bowl-quad_convex", "abs-gauss_convex"):
        downhill = -curve(name)
        assert np.diff(downhill, 2).min() > -1e-9, name


def test_an_unknown_piece_is_refused_with_the_nearest():
    with pytest.raises(ValueError, match=r"no piece 'quad_bowll' of a shape; did you mean 'quad_bowl'\?"):
        shape("line-quad_bowll")


# ---- noise and motion


def drawn(noise, motion="still"):
    return Population([case(noise=noise, motion=motion)], 2000, 40)


def test_additive_noise_has_mean_zero_and_its_size_and_cauchy_noise_its_quartiles():
    for noise in ("additive 0.01", "additive 0.1", "additive 10"):
        adds, size = drawn(noise).adds, NOISES[noise][1]
        assert abs(adds.mean()) < 4 * size / math.sqrt(adds.numel())
        assert adds.std().item() == pytest.approx(size, rel=0.02)
    quartiles = np.quantile(drawn("cauchy").adds.numpy(), [0.25, 0.5, 0.75])
    np.testing.assert_allclose(quartiles, [-1, 0, 1], atol=0.03)


def test_multiplicative_noise_has_median_one_and_the_lognormal_mean_and_masks_their_share():
    for noise, rel in (("multiplicative 0.1", 0.01), ("multiplicative 1", 0.03)):
        factors, size = drawn(noise).factors, NOISES[noise][1]
        assert factors.median().item() == pytest.approx(1, rel=rel)
        assert factors.mean().item() == pytest.approx(math.exp(size**2 / 2), rel=rel)
    for noise in ("masked 0.1", "masked 0.9"):
        factors = drawn(noise).factors
        assert set(factors.unique().tolist()) == {0.0, 1.0}
        assert 1 - factors.mean().item() == pytest.approx(NOISES[noise][1], abs=0.01)


@pytest.mark.parametrize("noise", NOISES)
def test_the_slope_of_a_loss_is_the_noisy_slope_and_the_same_at_every_call(noise):
    population = Population([case(noise=noise, n=2)], 3, 5)
    x = torch.tensor([[0.1, 0.3], [0.2, -0.4], [0.7, 2.0]], dtype=torch.float64)
    for step, part in ((0, 0), (4, 0), (4, 2)):
        draw = step + part
        expected = population.factors[draw] * -(1 - 2 * x) + population.adds[draw]
        torch.testing.assert_close(slopes(population, x, step, part), expected)
        assert torch.equal(slopes(population, x, step, part), slopes(population, x, step, part))
    if noise == "none":
        torch.testing.assert_close(population.losses(x, 0), 2 * 200 - (x - x**2).sum(1))
    else:
        assert not torch.equal(slopes(population, x, 3), slopes(population, x, 4))


def test_motion_waits_ten_steps_and_changes_what_it_says():
    steps = {}
    for motion in ("offset", "scale", "noise", "flip", "still"):
        population = drawn("additive 0.1", motion)
        parts = {"offset": population.offsets, "scale": population.stretches, "flip": population.signs}
        moving = {name for name, part in parts.items() if (part != part[0]).any()}
        assert moving == ({motion} if motion in parts else set())
        if motion in ("offset", "scale"):
            part = parts[motion]
            assert torch.equal(part[0], torch.full_like(part[0], float(motion == "scale")))
            steps[motion] = {k for k in range(1, 40) if (part[k] != part[k - 1]).any()}
            walk = part[10] if motion == "offset" else part[10].log()
            assert walk.std().item() == pytest.approx(0.1, rel=0.1)
        if motion == "noise":
            assert population.adds[:10].std().item() == pytest.approx(0.1, rel=0.05)
            assert population.adds[30:40].std().item() > 0.13
    assert steps == {"offset": {10, 20, 30}, "scale": {10, 20, 30}}
    signs = drawn("none", "flip").signs[:, 0, 0].tolist()
    assert signs == [1.0] * 25 + [-1.0] * 17


def test_turned_bent_and_curled_tests_are_what_they_say():
    n = 3
    x = torch.tensor([[0.2, -0.1, 0.4]], dtype=torch.float64)
    turned, bent, curled, straight = (
        Population([case(mixing=mixing, n=n)], 1, 3) for mixing in ("turned", "bent", "curled", "straight")
    )
    torch.testing.assert_close(turned.turn[0] @ turned.turn[0].T, torch.eye(n, dtype=torch.float64))
    torch.testing.assert_close(turned.values(x, 0), straight.values((turned.turn[0] @ x[0])[None], 0))
    z = torch.tensor([[0.2, -0.1 + 0.5 - 2 * 0.2**2, 0.4 + 0.5 - 2 * 0.1**2]], dtype=torch.float64)
    torch.testing.assert_close(bent.values(x, 0), straight.values(z, 0))
    torch.testing.assert_close(curled.losses(x, 0), straight.losses(x, 0))
    torch.testing.assert_close(slopes(curled, x, 0), slopes(straight, x, 0) + (curled.curl[0] @ x[0])[None])


def test_a_test_does_not_know_which_others_are_run():
    three = [case(), case("abs", noise="cauchy"), case(SHAPES[-1], "flat", "additive 0.1", motion="flip")]
    together = gains(Population(three, 4, 15), "asnaq", {}, 0.05)
    for place, one in enumerate(three):
        torch.testing.assert_close(gains(Population([one], 4, 15), "asnaq", {}, 0.05)[0], together[place])


def test_every_seed_draws_its_own_noise_and_the_list_has_no_test_twice():
    first, second = (Population([case(noise="additive 0.1")], 2, 5, seed) for seed in (0, 1))
    assert not torch.equal(first.adds, second.adds)
    found = [one.name for mine in cases().values() for one in mine]
    assert len(set(found)) == len(found) == 944
    assert sum(len(mine) for mine in cases(10).values()) < 100
    with pytest.raises(ValueError, match="every must be at least 1, got 0"):
        cases(0)


# ---- what is gained, and colours


def test_sgd_gains_what_its_recursion_says():
    steps, lr = 10, 0.1
    line, bowl, steep, hill = (
        Population([case(name, scale)], 1, steps)
        for name, scale in (("line", "normal"), ("quad_bowl", "normal"), ("line", "steep"), ("quad_bowl", "hill"))
    )
    assert gains(line, "sgd", {}, lr).item() == pytest.approx(steps * lr)
    assert gains(steep, "sgd", {}, lr).item() == pytest.approx(100 * steps * lr)
    away = (1 - 2 * lr) ** steps / 2  # from the minimum
    assert gains(bowl, "sgd", {}, lr).item() == pytest.approx(0.25 - away**2)
    away = (1 + 2 * lr) ** steps / 2
    assert gains(hill, "sgd", {}, lr).item() == pytest.approx(away**2 - 0.25)
    assert gains(bowl, "newton", {}, 1.0).item() == pytest.approx(0.25)


def test_lost_ends_gain_minus_infinity_and_endless_falls_are_cut_off():
    population = Population([case(), case("line")], 2, 3)
    x = torch.tensor([[1e6], [math.nan], [1e20], [-1e20]], dtype=torch.float64)
    found = population.gains(x)
    assert found[0].tolist() == [-math.inf, -math.inf]
    assert found[1].tolist() == [200 + FAR, -math.inf]


LOST = -math.inf


@pytest.mark.parametrize(
    ("found", "best", "letter"),
    [
        ([1.0, 1.0, 1.0, 1.0], 1.0, "G"),
        ([2.1, 2.1, 2.1, 2.1], 1.0, "E"),
        ([2.0, 2.0, 2.0, 2.0], 1.0, "G"),
        ([0.1, 0.1, 0.1, 0.1], 1.0, "S"),
        ([0.11, 0.11, 0.11, 0.11], 1.0, "G"),
        ([-5.0, -5.0, -5.0, -5.0], 1.0, "S"),
        ([0.0, 1.0, 1.0, 1.0], 1.0, "G"),
        ([0.0, 0.05, 1.0, 1.0], 1.0, "V"),
        ([LOST, 3.0, 3.0, 3.0], 1.0, "U"),
        ([LOST, LOST, 3.0, 3.0], 1.0, "D"),
        ([LOST, 0.0, 0.0, 3.0], 1.0, "S"),
        ([LOST, LOST, LOST, LOST], 1.0, "D"),
        ([1.0, 1.0, 1.0, 1.0], 0.0, "-"),
        ([1.0, 1.0, 1.0, 1.0], LOST, "-"),
        ([30.0, 30.0, 30.0, 30.0], 10.0, "E"),
    ],
)
def test_colours_follow_from_gains(found, best, letter):
    assert category(torch.tensor(found, dtype=torch.float64), best) == letter


def test_scores_are_orders_of_magnitude_cut_off_at_one():
    assert [score(r) for r in (1, 10, 1e9, 0.1, 0, -4)] == [0, 1, 1, -1, -1, -1]
    assert score(2) == pytest.approx(math.log10(2))


def test_sgd_with_its_best_rate_is_good_and_one_that_stands_still_is_slow():
    population = Population([case(), case("line"), case("abs", noise="additive 0.1")], 5, 30)
    found = torch.stack([gains(population, "sgd", {}, lr).median(1).values for lr in SGD_RATES])
    best = found.amax(0).tolist()
    rates = [SGD_RATES[k] for k in found.argmax(0).tolist()]
    for place in range(3):
        right = gains(population, "sgd", {}, rates[place])[place]
        assert category(right, best[place]) == "G"
        assert category(gains(population, "sgd", {}, 0.0)[place], best[place]) == "S"
        assert category(gains(population, "sgd", {}, 1e6)[place], best[place]) in ("E" if place == 1 else "DS")


@pytest.mark.parametrize(
    ("name", "lr"), [("adam", 0.1), ("torch.rprop", 0.1), ("olnaq", 0.1), ("osr1", 1.0), ("asnaq", 0.1)]
)
def test_optimizers_are_good_at_a_fitting_rate_and_slow_where_it_is_far_too_small(name, lr):
    population = Population([case(), case("abs"), case(noise="additive 0.01")], 3, 40)
    best = [0.25, 0.5, 0.25]
    for letters, rate in (("EG", lr), ("S", 1e-8)):
        if name == "torch.rprop" and letters == "S":
            continue  # its rate grows by itself
        found = gains(population, name, {}, rate)
        assert {category(mine, low) for mine, low in zip(found, best, strict=True)} <= set(letters)


# ---- the experiment


def test_every_stochastic_optimizer_is_tested():
    expected = {name for name in METHODS if stochastic(name) and not needs_model(name)}
    assert expected <= set(UnitTests.methods)
    assert set(UnitTests.methods) - expected == {"torch.rprop", "torch.radam", "arclsr1"}


@pytest.mark.parametrize("label", ["proxprop", "levenberg", "torch.lbfgs"])
def test_what_cannot_be_a_population_of_losses_is_refused(label):
    with pytest.raises(ValueError, match=f"{label} cannot be run here"):
        UnitTests.check(label)
    with pytest.raises(ValueError, match="no method 'adm'; did you mean 'adam'"):
        UnitTests.check("adm")


def test_rows_hold_letters_that_agree_with_their_numbers_and_draw_equal_pictures(tmp_path):
    rows = carry_out(UnitTests, ["sgd", "olmoq_mb", "torch.rprop"], [0], tmp_path / "rows", size=SMALL)
    for row in rows:
        assert list(row["metrics"]["letters"]) == ["0.01", "0.1", "1"]
        for lr, letters in row["metrics"]["letters"].items():
            assert len(letters) == len(pictures.listed(row))
            for letter, percent in zip(letters, row["metrics"]["percent"][lr], strict=True):
                assert (percent is None) == (letter in "-D")
                if letter in "EG":
                    assert percent >= 200 if letter == "E" else 10 <= percent <= 200
                if letter == "S":
                    assert percent <= 10
        best = pictures.best_rate(row)
        assert passes(row, best) == max(passes(row, lr) for lr in row["metrics"]["letters"])
        assert np.mean(passed_somewhere(row)) >= passes(row, best)
        assert len(kept(row)) == len(passed_somewhere(row))
        assert working(row) == sum(passes(row, lr) >= 0.5 for lr in row["metrics"]["letters"])
    again = judged("sgd", {}, steps=12, seed=0, **SMALL.scale)
    assert again["letters"] == rows[0]["metrics"]["letters"]
    table = UnitTests.table(rows)
    shares = [sum(line[f"{name} %"] for name, _ in CATEGORIES.values() if name != "left out") for line in table]
    assert all(abs(total - 100) <= 3 for total in shares)
    first = {path.name: path.read_bytes() for path in UnitTests.draw(rows, tmp_path)}
    assert {path.name: path.read_bytes() for path in UnitTests.draw(rows, tmp_path)} == first
    assert all(name.startswith("unit-tests-") for name in first)
    assert any("`sgd`" in said for said in UnitTests.findings(rows))


def test_the_matrix_shows_the_colours_of_the_letters_in_blocks():
    tests = cases(61)
    listed = [one for mine in tests.values() for one in mine]
    letters = "".join("EGVSUD"[k % 6] for k in range(len(listed)))
    row = {"metrics": {"letters": {"0.1": letters}}, "settings": {"task": {"every": 61}}}
    found = pictures.matrix(row)
    places = [place for block in pictures.blocks(listed).values() for place in block]
    assert sorted(places) == list(range(len(listed)))
    columns = [tuple(column) for column in found[0] if tuple(column) != (1.0, 1.0, 1.0)]
    assert columns == [to_rgb(CATEGORIES[letters[place]][1]) for place in places]
    kinds = pictures.kinds(listed)
    assert kinds["all"] == list(range(len(listed)))
    assert all(listed[place].noise == "none" for place in kinds["none"])
    assert set(SCALES) >= {listed[place].scales[0] for place in kinds.get("flat", [])}
