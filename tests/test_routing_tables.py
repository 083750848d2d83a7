"""Tables and pictures of the routing study say what the rows say; what has no rows is named and not invented."""

import dataclasses
import itertools
import json
import math
import shlex
from pathlib import Path

import numpy as np
import pytest
import tyro
from matplotlib.figure import Figure

from agents import records
from agents.config import parse_options
from agents.population import Population
from agents.presets import preset
from benchmarks import ablation as ablations
from benchmarks.ablation import PREFIXES, SECOND_ORDER, chosen
from benchmarks.reporting.intervals import Estimate, mean_over_netlists, wilson
from benchmarks.reporting.tables import markdown_table
from benchmarks.routing import RESULTS, Arguments, write
from benchmarks.study import figures, report, tables
from benchmarks.study.commands import changed, commands, devices
from benchmarks.study.pictures import draw
from benchmarks.tuning import tuned
from routing_env.generators.published import published_set

PAGE = Path(__file__).parent.parent / "docs" / "results.md"
ROUTERS = {
    name: {
        "netlist": name, "bound": bound,
        "astar-none": {"wirelength": astar, "overflow": 0, "unrouted": 0},
        "astar-net": {"wirelength": astar - 1, "overflow": over, "unrouted": 0},
        "negotiated": {"wirelength": bound, "overflow": 0, "unrouted": 0},
    }
    for name, bound, astar, over in (("a", 100, 110, 0), ("b", 200, 210, 2), ("c", 50, 50, 0))
}  # fmt: skip


def settings(label="published-adam", **changes):
    name, _, optimizer = label.partition("-")
    found = dataclasses.asdict(preset(name, optimizer.partition("+")[0], **{"passes": 3} | changes))
    return json.loads(json.dumps({key: value for key, value in found.items() if key not in ("netlist", "seed")}))


def made(netlist, seed=0, *, routed=(1, 2, 2), moves=(50, 40, 30), lengths=(9, 8, 7), best=3, connections=2, overflow=0,
         label="published-adam", cpu=1.0, population=1, gradients=10, device="cpu", **changes):  # fmt: skip
    full = [i for i, one in enumerate(routed, 1) if one == connections]
    metrics = {
        "netlist": netlist, "pass": best, "connected": routed[best - 1], "connections": connections,
        "wirelength": lengths[best - 1], "overflow": overflow, "first_full": full[0] if full else None,
        "bound": ROUTERS.get(netlist, {}).get("bound"), "passes": len(routed), "population": population,
        "curve": {"routed": list(routed), "wirelength": list(lengths), "overflow": [0] * len(routed),
                  "step": list(itertools.accumulate(moves))},
    }  # fmt: skip
    return {
        "method": label, "settings": settings(label, **changes), "seed": seed, "trial": 0, "metrics": metrics,
        "evaluations": {"gradients": gradients}, "cpu_seconds": cpu, "device": device,
        "versions": {"machine": "m", "python": "3", "torch": "2"},
    }  # fmt: skip


def short(netlist, length, seed=0, **given):
    """A run of one pass that connects everything."""
    return made(netlist, seed, routed=(2,), moves=(20,), lengths=(length,), best=1, **given)


def failed(netlist, seed=0, **given):
    return made(netlist, seed, routed=(0, 1, 0), best=2, **given)


# intervals


def test_wilsons_interval_ends_where_the_share_is_z_deviations_away():
    assert wilson(10, 15) == pytest.approx((0.4171, 0.8482), abs=1e-4)
    for hits, trials in ((1, 7), (10, 15), (3.5, 9)):
        for p in wilson(hits, trials):
            assert abs(hits / trials - p) == pytest.approx(1.959964 * math.sqrt(p * (1 - p) / trials), rel=1e-6)
    assert wilson(0, 10) == pytest.approx((0, 3.8415 / 13.8415), abs=1e-4)
    assert wilson(10, 10) == pytest.approx((10 / 13.8415, 1), abs=1e-4)


@pytest.mark.parametrize(("hits", "trials"), [(0, 0), (3, 2), (-1, 2)])
def test_a_share_needs_trials_and_no_more_hits(hits, trials):
    with pytest.raises(ValueError, match="hits must lie"):
        wilson(hits, trials)


def test_the_bootstrap_agrees_with_all_resamples():
    values = {"p": [1.0, 3.0], "q": [10.0], "r": [4.0], "s": [-2.0, 0.0, 5.0]}
    every = [
        np.mean([value for name in drawn for value in values[name]]) for drawn in itertools.product(values, repeat=4)
    ]
    found = mean_over_netlists((name, value) for name, mine in values.items() for value in mine)
    assert (found.mean, found.n) == (pytest.approx(3), 7)
    ordered = sorted(every)
    assert ordered[int(256 * 0.015)] <= found.low <= ordered[int(256 * 0.035)]
    assert ordered[int(256 * 0.965)] <= found.high <= ordered[int(256 * 0.985)]


def test_the_bootstrap_is_the_same_every_time_and_in_any_order():
    values = [(f"n{k}", k**1.7) for k in range(20)]
    assert mean_over_netlists(values) == mean_over_netlists(reversed(values)) == mean_over_netlists(values)
    assert mean_over_netlists([("a", 2.0), ("b", 2.0)]) == Estimate(2, 2, 2, 2)
    assert mean_over_netlists([]) is None


def test_seeds_of_one_netlist_are_drawn_together():
    alike = mean_over_netlists([(name, value) for name, value in (("a", 0.0), ("b", 1.0)) for _ in range(100)])
    assert (alike.low, alike.high, alike.n) == (0, 1, 200)


def test_the_bootstrap_covers_the_true_mean():
    rng = np.random.default_rng(5)
    covered = 0
    for _ in range(300):
        found = mean_over_netlists([(str(k), value) for k, value in enumerate(rng.normal(3, 2, 30))], resamples=500)
        covered += found.low <= 3 <= found.high
    assert 0.89 <= covered / 300 <= 0.98


# numbers of runs


def test_published_rewards_are_a_hundred_a_connection_and_minus_one_for_other_moves():
    row = made("a", routed=(1, 2, 2), moves=(50, 40, 30), best=3)
    assert tables.rewards(row) == [100 - 49, 200 - 38, 200 - 28]
    assert tables.best_reward(row) == 172


def test_a_run_that_ended_early_goes_on_with_its_best_pass():
    rows = [made("a"), made("b", routed=(2, 1), moves=(20, 50), lengths=(6, 9), best=1)]
    np.testing.assert_array_equal(tables.curve(rows, "routed"), [[1, 2, 2], [2, 1, 2]])
    np.testing.assert_array_equal(tables.curve(rows, "published reward")[1], [182, 51, 182])
    np.testing.assert_array_equal(tables.curve(rows, "connections made, %")[0], [50, 100, 100])
    longer = [made("a", passes=3), made("b", routed=(0, 1, 2, 2), moves=(9,) * 4, lengths=(1,) * 4, passes=4)]
    assert tables.curve(longer, "routed").shape == (2, 3)


def test_all_runs_are_judged_by_their_shortest_full_pass():
    row = made("a", routed=(2, 2, 1, 2), moves=(10, 30, 5, 20), lengths=(9, 8, 2, 8), best=1)
    found = tables.judged(row)
    assert (found["metrics"]["pass"], found["metrics"]["wirelength"]) == (4, 8), "of two shortest that of fewer moves"
    assert tables.best_reward(found) == 101 * 2 - 20
    assert row["metrics"]["pass"] == 1, "the row itself stays"
    row["metrics"]["curve"]["overflow"] = [0, 1, 0, 1]
    assert tables.judged(row) is row
    for other in (made("a"), failed("a"), short("a", 5)):
        assert tables.judged(other) is other


def test_cpu_seconds_are_the_populations_over_their_members():
    rows = [made("a", cpu=cpu, population=2) for cpu in (5.0, 10.0, 30.0, 20.0)] + [made("a", cpu=7.0)]
    assert tables.cpu_seconds(rows) == (10 + 30 + 7) / 5


def test_numbers_apply_to_fully_routed_runs_alone():
    full = tables.numbers(short("a", 105), ROUTERS)
    assert (full["minus_astar"], full["minus_tree"], full["gap"], full["reward"]) == (-5, -4, 5, 182)
    part = tables.numbers(failed("a"), ROUTERS)
    assert (part["routed"], part["minus_astar"], part["gap"], part["first_full"]) == (0, None, None, None)
    over = tables.numbers(short("a", 105, overflow=1), ROUTERS)
    assert (over["minus_astar"], over["gap"]) == (-5, None)
    unknown = tables.numbers(short("elsewhere", 105), ROUTERS)
    assert (unknown["minus_astar"], unknown["gap"], unknown["reward"]) == (None, None, 182)


# tables


def test_a_summary_is_what_one_computes_by_hand():
    rows = [short("a", 105), short("a", 103, 1), failed("b"), failed("b", 1)]
    rows += [made("c", lengths=(9, 8, 55)), short("c", 50, 1)]
    found = tables.summary(rows, ROUTERS)
    assert (found["runs"], found["netlists"], found["full"]) == (6, 3, 4)
    assert found["share"][:3] == pytest.approx((4 / 6, *wilson(2, 3)))  # two of three netlists' worth
    assert found["first_full"] == 1.5  # 1, 1, 1, 2, never, never
    assert found["reward"].mean == pytest.approx((182 * 3 + 172 + 2 * (101 - 40)) / 6)
    assert found["pass"].mean == pytest.approx((1 + 1 + 2 + 2 + 3 + 1) / 6)
    assert found["minus_astar"].mean == pytest.approx((-5 - 7 + 5 + 0) / 4)
    assert found["minus_tree"].mean == pytest.approx((-4 - 6 + 6 + 1) / 4)
    assert found["gap"].mean == pytest.approx((5 + 3 + 10 + 0) / 4)
    assert (found["gap"].n, found["gradients"]) == (4, 10)
    assert tables.summary([failed("a"), failed("b"), short("c", 50)], ROUTERS)["first_full"] is None
    assert tables.summary([failed("a")], ROUTERS)["gap"] is None


def test_the_published_form_has_a_line_a_netlist_and_the_first_seed():
    arms = {"x": [short("a", 105, 1), short("a", 103, 0), failed("b")], "y": [short("b", 222)]}
    lines = tables.first_netlists(arms, ROUTERS, 2)
    assert [(line["netlist"], line["astar"], line["bound"]) for line in lines] == [("a", 110, 100), ("b", 210, 200)]
    assert lines[0]["x"]["metrics"]["wirelength"] == 103
    assert lines[0]["y"] is None
    assert lines[1]["y"]["metrics"]["wirelength"] == 222


def test_differences_pair_netlist_and_seed():
    first = [short("a", 105), short("a", 104, 1), failed("b"), short("c", 60)]
    second = [short("a", 102), failed("a", 1), short("b", 210), short("c", 55, 9)]
    found = tables.differences(first, second, ROUTERS)
    assert (found["routed"].mean, found["routed"].n) == (0, 3)  # 0, +1, -1; c has no seed in common
    assert (found["gap"].mean, found["gap"].n) == (pytest.approx(3), 1)
    assert found["reward"].mean == pytest.approx((0 + (182 - 61) + (61 - 182)) / 3)
    assert tables.differences(first, [short("c", 1, 7)], ROUTERS)["routed"] is None


def test_a_paired_interval_is_narrow_where_netlists_differ_more_than_arms():
    first = [short(str(k), 100 + 10 * k, gradients=k, connections=2) for k in range(20)]
    routers = {str(k): ROUTERS["a"] | {"bound": 100} for k in range(20)}
    second = [short(str(k), 100 + 10 * k - 1 - k % 2) for k in range(20)]
    found = tables.differences(first, second, routers)["gap"]
    assert found.mean == pytest.approx(1.5)
    assert 1.2 < found.low < found.high < 1.8
    assert tables.summary(first, routers)["gap"].high - tables.summary(first, routers)["gap"].low > 30


def test_arms_are_paired_within_a_preset_and_across():
    labels = ["published-adam", "published-asnaq", "best-adam"]
    assert tables.pairs(labels) == [("published-asnaq", "published-adam"), ("best-adam", "published-adam")]
    assert len(tables.pairs([f"x-{k}" for k in range(4)])) == 6
    study = [f"published-{name}" for name in ("adam", "rmsprop", "asnaq", "olmoq", "olnaq")]
    others = [(label, "published-adam") for label in study[1:]]
    assert tables.pairs(study) == [*others, ("published-asnaq", "published-rmsprop")]
    assert tables.pairs([f"x-{k}" for k in range(5)]) == [(f"x-{k}", "x-0") for k in range(1, 5)]
    many = ["x-adadelta", "x-adam", "x-nag", "x-sgd", "x-sqn"]
    assert tables.pairs(many) == [(label, "x-adam") for label in many if label != "x-adam"]


def test_an_ablation_says_what_changed_and_by_how_much():
    best = [short("a", 101, label="best-adam"), short("b", 204, label="best-adam")]
    other = [short("a", 103, label="best-adam", batch=7), failed("b", label="best-adam", batch=7)]
    lines = tables.ablation({"ablation-batch": other, "ablation-best": best}, ROUTERS)
    assert [line["arm"] for line in lines] == ["ablation-best", "ablation-batch"]
    assert (lines[0]["changes"], lines[0]["difference"]) == (None, None)
    assert lines[1]["changes"] == {"batch": 7}
    assert (lines[1]["full"], lines[1]["difference"].mean, lines[1]["difference"].n) == (1, pytest.approx(2), 1)
    alone = tables.ablation({"ablation-batch": other}, ROUTERS)
    assert (alone[0]["changes"], alone[0]["difference"]) == (None, None)


def test_every_second_order_arm_is_a_population_that_can_learn():
    problems = published_set(2, seed=3, width=4, height=4, nets=3, capacity=3)
    for name in SECOND_ORDER:
        config = chosen("second-order", name, "", 30)
        assert (config.optimizer, config.passes) == (name.partition("-")[0], 30)
        small = dataclasses.replace(config, hidden=(4,), replay=300, learning_starts=2, demonstrations=0)
        population = Population(problems, small, [0, 1])
        for _ in range(6):
            population.advance()
        assert population.updates == 2


def test_second_order_arms_say_what_was_missing_and_what_became_of_pairs():
    counted = {"n_accepted": 6, "n_rejected": 2, "n_resets": 2}
    changed = [
        made("a", label="best-adam") | {"counters": counted},
        failed("b", label="best-adam") | {"counters": counted},
    ]
    plain = [short("a", 9, label="best-adam") | {"counters": {}}, made("b", label="best-adam") | {"counters": {}}]
    first, second = tables.second_order({"y-adam": plain, "y-adam-changed": changed}, ROUTERS, "y-")
    assert (second["runs"], second["full"]) == (2, 1)
    assert second["missing"].mean == pytest.approx((1 / 3 + 5 / 3) / 2)
    assert second["missing_last"] == pytest.approx(1)
    assert (second["kept"], second["resets"]) == (pytest.approx(12 / 16), pytest.approx(4 / 20))
    assert second["difference"].mean == pytest.approx((1 / 3 - 0 + 5 / 3 - 1 / 3) / 2)
    assert (first["kept"], first["resets"], first["missing_last"], first["difference"]) == (None, None, 0, None)


def test_means_of_public_netlists_are_over_what_was_connected():
    rows = [failed("a"), short("a", 108, 1), short("a", 104, 2)]
    rows += [short("b", 205, overflow=1), short("c", 52), short("c", 40, 1, overflow=1)]
    found = tables.liao(rows, ROUTERS)
    assert (found["netlists"], found["seeds"], found["connected"]) == (3, 3, 2)
    assert [found[name] for name in ("wirelength", "astar", "negotiated", "bound")] == [78, 80, 75, 75]
    nothing = tables.liao([failed("a")], ROUTERS)
    assert (nothing["connected"], nothing["wirelength"], nothing["astar"]) == (0, None, None)


def test_arms_are_read_by_set_and_in_the_published_order(tmp_path):
    for label in ("published-asnaq", "best-adam", "published-adam"):
        write(tmp_path / f"nets50-{label}.jsonl.gz", [short("a", 105, label=label)])
    write(tmp_path / "nets50-none.jsonl.gz", [])
    assert list(tables.read_arms(tmp_path)["nets50"]) == ["published-adam", "published-asnaq", "best-adam"]
    assert tables.read_arms(tmp_path / "nowhere") == {}
    write(tmp_path / "nets10-best-adam.jsonl.gz", [short("a", 105, label="published-adam")])
    with pytest.raises(ValueError, match=r"nets10-best-adam.*published-adam"):
        tables.read_arms(tmp_path)


def test_a_table_of_a_document():
    table = markdown_table([{"a": "x", "b": 1.5}, {"a": None, "b": 2}], ["A", "A"])
    assert table == "| A | A |\n|---|---|\n| x | 1.50 |\n| - | 2 |"


# commands


@pytest.mark.parametrize(
    ("label", "changes"),
    [
        ("published-adam", {"passes": 500}),
        ("published-asnaq", {"option": ("L=5", "mL=4")}),
        ("best-adam+wide", {"hidden": (32, 32), "gamma": 0.8, "reward": "published", "masked": False}),
    ],
)
def test_a_command_gives_the_settings_of_its_rows(label, changes):
    rows = [short(name, 105, seed, label=label, **changes) for name in ("a", "b") for seed in (2, 3)]
    (line,) = commands("nets50", {label: rows}, ROUTERS)
    words = shlex.split(line.replace("\\\n", ""))
    assert words[:4] == ["python", "-m", "benchmarks.routing", "nets50"]
    asked = tyro.cli(Arguments, args=words[3:])
    (optimizer,) = asked.optimizers
    assert f"{asked.preset}-{optimizer}{asked.label}" == label
    given = dict(parse_options(asked.setting))
    given |= {"option": asked.option} if asked.option else {}
    given |= {} if asked.passes is None else {"passes": asked.passes}
    assert changed(rows[0]["settings"], asked.preset) == json.loads(json.dumps(given))
    assert (asked.seeds, asked.first_seed, asked.count) == (2, 2, 2)
    assert asked.stop_at_bound == (rows[0]["metrics"]["passes"] < rows[0]["settings"]["passes"])


def test_arms_of_tuned_settings_have_their_command():
    theirs = dataclasses.asdict(tuned("asnaq", passes=100))
    rows = [made("a") | {"method": "tuned-asnaq-100", "settings": json.loads(json.dumps(theirs))}]
    (line,) = commands("nets50", {"tuned-asnaq-100": rows}, {})
    words = shlex.split(line.replace("\\\n", ""))
    wanted = "--preset tuned --optimizers asnaq --seeds 1 --passes 100 --label=-100 --stop-at-bound"
    assert words[4:] == shlex.split(wanted)


def test_the_trials_of_the_tuning_become_a_line_an_optimizer(tmp_path):
    assert tables.tuning(tmp_path) == []
    trials = [("adam", 0.1, 3.0), ("rmsprop", 0.2, 5.0), ("adam", 0.3, 1.0), ("adam", 0.4, 2.0)]
    for name, rate, missing in trials:
        told = {"learning_rate": rate, "option": [f"x={rate}"], "passes": 20}
        records.append_row(
            tmp_path / "tuning.jsonl", {"method": name, "settings": told, "metrics": {"missing": missing}}
        )
    adam, rmsprop = tables.tuning(tmp_path)
    assert adam == {"optimizer": "adam", "trials": 3, "rate": 0.3, "option": ["x=0.3"], "usual": 1e-3, "passes": 20,
                    "least": 1.0, "median": 2.0}  # fmt: skip
    assert (rmsprop["optimizer"], rmsprop["rate"], rmsprop["trials"]) == ("rmsprop", 0.2, 1)


def test_arms_that_differ_in_the_optimizer_share_a_command():
    arms = {f"published-{name}": [made("a", label=f"published-{name}")] for name in ("adam", "rmsprop")}
    arms["ours-adam"] = [made("a") | {"method": "ours-adam"}]
    together, other = commands("nets10", arms, {})
    assert "--optimizers adam rmsprop --seeds 1 --passes 3" in together
    assert other == "# nets10-ours-adam: 1 rows of another program"
    (ablation,) = commands("tuning", {f"ablation-{name}": [made("a", label="best-adam")] for name in ("best", "x")}, {})
    assert ablation == "python -m benchmarks.ablation --seeds 1 --passes 3 --arms best x"
    both = {f"{prefix}adam": [made("a", label="best-adam")] for prefix in PREFIXES.values()}
    assert commands("tuning", both, {})[1] == (
        "python -m benchmarks.ablation --part second-order --seeds 1 --passes 3 --arms adam"
    )
    assert devices([made("a"), made("b"), made("a", device="cuda")]) == [
        f"{device} (m, Python 3, torch 2)" for device in ("cpu", "cuda")
    ]


# pictures


ARMS = {
    "published-adam": [made("a", lengths=(9, 120, 115)), failed("b"), failed("c"), short("c", 55, 1)],
    "best-adam": [short("a", 104, label="best-adam"), short("b", 200, label="best-adam")],
}


def test_curves_are_means_with_quartiles():
    ax = Figure().subplots()
    rows = [made("a", k, routed=(k, 2, 2)) for k in (0, 1, 2, 3, 4)]
    figures.draw_curves(ax, {"x": rows}, figures.styles(["x"]), "routed")
    (line,) = ax.lines
    np.testing.assert_array_equal(line.get_xydata(), [[1, 2], [2, 2], [3, 2]])
    band = ax.collections[0].get_paths()[0].vertices
    assert {tuple(point) for point in band[band[:, 0] == 1]} == {(1.0, 1.0), (1.0, 3.0)}
    assert line.get_label() == "x (5)"


def test_profiles_climb_to_the_share_that_got_there():
    ax = Figure().subplots()
    looks = figures.styles(ARMS)
    figures.draw_profile_of_passes(ax, ARMS, looks)
    np.testing.assert_array_equal(ax.lines[0].get_xydata(), [[0, 0], [1, 0.25], [2, 0.5], [3, 0.5]])
    ax = Figure().subplots()
    figures.draw_profile_of_gaps(ax, ARMS, ROUTERS, looks, most=20)
    np.testing.assert_array_equal(ax.lines[1].get_xydata(), [[0, 0], [0, 0.5], [4, 1], [20, 1]])
    np.testing.assert_array_equal(ax.lines[0].get_xydata(), [[0, 0], [10, 0.25], [15, 0.5], [20, 0.5]])
    figures.draw_profile_of_gaps(ax := Figure().subplots(), ARMS, ROUTERS, looks, most=12)
    assert ax.lines[0].get_ydata()[-1] == 0.25


def test_boxes_name_how_many_are_fully_routed():
    ax = Figure().subplots()
    figures.draw_gaps(ax, ARMS | {"none": [failed("a")]}, ROUTERS, figures.styles(ARMS))
    assert [text.get_text() for text in ax.get_xticklabels()] == ["published-adam\n2 of 4", "best-adam\n2 of 2"]
    figures.draw_gaps(Figure().subplots(), {}, ROUTERS, {})


def test_an_arm_keeps_its_look_and_no_two_share_one():
    looks = figures.styles(["best-adam", *tables.PUBLISHED])
    assert looks == figures.styles([*tables.PUBLISHED, "best-adam"])
    many = figures.styles(map(str, range(20)))
    assert len({tuple(look.values()) for look in many.values()}) == 20


# the page


@pytest.fixture
def results(tmp_path):
    folder = tmp_path / "rows"
    folder.mkdir()
    for name in ("nets50", "tuning", "set26"):
        rows = [{"metrics": one} for one in ROUTERS.values()]
        records.write_rows(folder / f"{name}-netlists.jsonl", rows)
    for label, rows in ARMS.items():
        write(folder / f"nets50-{label}.jsonl.gz", [row | {"method": label} for row in rows])
    for name in ("best", "batch-32"):
        rows = [short("a", 103, label="best-adam", batch=32 if name == "batch-32" else 128)]
        write(folder / f"tuning-ablation-{name}.jsonl.gz", [row | {"method": f"ablation-{name}"} for row in rows])
    write(folder / "set26-best-adam.jsonl.gz", [short("a", 101, label="best-adam"), failed("b", label="best-adam")])
    return folder


def lines_of(text, start):
    return [line for line in text.splitlines() if line.startswith(start)]


def test_the_section_has_our_numbers_beside_the_published_ones(results):
    text = report.section(results)
    lines = lines_of(text, "| `a` ")
    assert lines == ["| `a` | 110 | 100 | 172 | 3 | 115 |"], "the arm of fewer netlists is left out"
    assert lines_of(text, "| `b` ")[0] == "| `b` | 210 | 200 | 61 | 2 | 1 of 2 |"
    assert lines_of(text, "| published mean") == ["| published mean | - | - | 4562 | 368 | -2.2 (10 of 15) |"]
    assert lines_of(text, "| published, Adam | 15") == [
        "| published, Adam | 15 | 10 | 67 (42 to 85) | 4562 | 368 | - |"
    ]
    assert lines_of(text, "| `best-adam` | 2 | 2 | 100 (34 to 100) | 182 (182 to 182) | 1 (1 to 1) | 1 |")
    assert lines_of(text, "| `best-adam` | -8.0 (-10.0 to -6.0) |")
    assert "with a pass at the proven bound: 1 of `published-adam`, 2 of `best-adam`:" in " ".join(text.split())
    assert "shortest" not in text
    assert lines_of(text, "| A*, net trees (2 of 3)")
    (pair,) = lines_of(text, "| `best-adam` minus")
    assert pair.startswith("| `best-adam` minus `published-adam` | 2 | +50 (+0 to +100) |")
    assert lines_of(text, "| batch-32 | `batch=32` | 1 | 1 |")
    assert lines_of(text, "| set26 | `best-adam` | 1 of 2 | 101.00 | 110.00 | 100.00 | 100.00 |")
    assert lines_of(text, "| set26 | published DQN | 53 of 100 |")
    assert "python -m benchmarks.routing nets50 --preset published --optimizers adam" in text
    assert "cpu (m, Python 3, torch 2)" in text


def test_what_is_missing_is_named_and_has_no_numbers(results, tmp_path):
    text = report.section(results)
    missing = " ".join(text[text.index("Without rows") :].partition("\n\n")[0].split())
    assert "`nets50`: `published-rmsprop`, `published-asnaq`;" in missing
    assert "`nets10`: `published-adam`" in missing
    assert "aSNAQ" not in text
    assert "4620" not in text
    assert "set05" not in text
    nothing = report.section(tmp_path / "nowhere")
    assert nothing.startswith("Without rows")
    assert "|" not in nothing
    assert draw(tmp_path / "nowhere", tmp_path) == []


def test_a_second_run_changes_nothing(results, tmp_path):
    page = f"before\n{report.BEGIN}\nold\n{report.END}\nafter\n"
    first = report.replaced(page, report.section(results))
    assert first.startswith(f"before\n{report.BEGIN}\n\n###")
    assert first.endswith(f"\n\n{report.END}\nafter\n")
    assert "old" not in first
    assert report.replaced(first, report.section(results)) == first
    paths = draw(results, tmp_path)
    drawn = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in paths}
    assert [path.name for path in paths] == ["routing-curves.png", "routing-profile.png"]
    assert draw(results, tmp_path) == paths
    assert drawn == {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in paths}
    for path in paths:
        assert f"pictures/{path.name}" in first
        assert path.stat().st_size < 150_000
        path.write_bytes(b"damaged")
    draw(results, tmp_path)
    assert all(path.read_bytes() == drawn[path][0] for path in paths)


@pytest.mark.parametrize(
    "page", ["", report.BEGIN, f"{report.END}{report.BEGIN}",
             f"{report.BEGIN}{report.BEGIN}{report.END}"],
)  # fmt: skip
def test_a_page_without_its_comments_is_refused(page):
    with pytest.raises(ValueError, match="the page needs one line"):
        report.replaced(page, "x")


def test_the_page_is_what_the_rows_give():
    page = PAGE.read_text()
    assert report.replaced(page, report.section(RESULTS)) == page, "run python -m scripts.figures"


def test_the_cost_of_the_published_study_is_told_when_all_of_it_was_run():
    labels = ("published-adam", "published-rmsprop", "published-asnaq")
    arms = {label: [made(name, label=label, cpu=3600.0) for name in "abc"] for label in labels}
    assert report._cost({label: arms[label] for label in labels[:2]}) == ""
    told = " ".join(report._cost(arms).split())
    assert "3 published arms together, 9 runs, took 9.00 hours of one core" in told
    assert "4.50 hours where two cores share them" in told


def test_an_optimizer_for_arms_that_name_their_own_is_refused(monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["ablation", "--part", "second-order", "--optimizer", "asnaq"])
    assert ablations.main() == 2
    assert "arms of second-order name their optimizer" in capsys.readouterr().err
