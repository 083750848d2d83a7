"""The yardsticks measure the same thing as what they are compared with; tables and comparisons say what was found."""

import json

import gymnasium
import numpy as np
import pytest

import routing_env
from benchmarks.baselines import measure, summarise
from benchmarks.comparison import compare
from benchmarks.plain_env import PlainRouting
from benchmarks.tables import text_table
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
