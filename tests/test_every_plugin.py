"""What every plug-in owes, checked for whatever the folders hold: a new file is tested by being there."""

import dataclasses
import math

import numpy as np
import pytest
from referee import likely_move

from routing_env import Layer, Net, Problem, Solution, write_problem
from routing_env.generators.published import published
from routing_env.gym_env import GlobalRouting
from routing_env.plugins import FOLDERS, names, nearest, pick
from routing_env.rules import PRICES, TARGET_X, TARGET_Z, TOTALS, X, Z

OBSERVATIONS, REWARDS = names("observations"), names("rewards")


def netlist(seed=0, nets=6):
    return published(seed=seed, width=4, height=4, nets=nets, capacity=2, max_pins=3)


def odd():
    """One column, wires without width, a closed edge and nets in one tile."""
    pins = ((0, 0, 1), (0, 3, 2))
    return Problem(1, 4, (Layer(0, 3, min_width=0), Layer(1, 5, min_spacing=3)),
                   (Net("a", "0", pins, 0), Net("b", "1", pins), Net("c", "2", ((0, 1, 1), (0, 1, 1)))))  # fmt: skip


def player(env, seed=0):
    """Moves that often lead to the target."""
    rng = np.random.default_rng(seed)
    while True:
        row = env.state.state[0]
        way = tuple((row[TARGET_X : TARGET_Z + 1] - row[X : Z + 1]).tolist())
        yield likely_move(rng, env.action_masks(), way)


# ---- the folders


@pytest.mark.parametrize("folder", FOLDERS)
def test_every_folder_has_plugins_that_can_be_picked(folder):
    assert names(folder)
    for name in names(folder):
        assert not name.startswith("_")
        assert callable(pick(folder, name))


def test_a_wrong_name_is_answered_with_the_nearest_and_all():
    with pytest.raises(ValueError, match=r"routers has no 'negotiate'; did you mean 'negotiated'\?; it has: astar, "):
        pick("routers", "negotiate")
    with pytest.raises(ValueError, match=r"plug-in folder has no 'router'; did you mean 'routers'\?; it has: "):
        names("router")
    assert nearest("zzz", ["a", "b"]) == ""


# ---- observations


@pytest.mark.parametrize("name", OBSERVATIONS)
@pytest.mark.parametrize("problem", [netlist(), odd()], ids=["netlist", "odd"])
def test_an_observation_has_bounds_and_fills_its_row_within_them(name, problem):
    made = pick("observations", name)()
    low, high = made.bounds(problem)
    assert (low.dtype, high.dtype, low.shape, low.ndim) == (np.float32, np.float32, high.shape, 1)
    assert np.isfinite(low).all()
    assert np.isfinite(high).all()
    assert (low <= high).all()
    reward = REWARDS[OBSERVATIONS.index(name) % len(REWARDS)]
    env = GlobalRouting(problem, observation=made, reward=reward, max_steps=9)
    moves = player(env)
    env._out[...] = np.nan
    obs, _ = env.reset()
    for _ in range(200):
        assert obs.dtype == np.float32
        assert np.isfinite(obs).all(), "every entry is written"
        assert (obs >= low).all()
        assert (obs <= high).all()
        env._out[...] = np.nan
        obs, _, over, _, _ = env.step(next(moves))
        if over:
            obs, _ = env.reset()


@pytest.mark.parametrize("folder", ["observations", "rewards"])
def test_observations_and_rewards_are_frozen_dataclasses_with_defaults(folder):
    for name in names(folder):
        kind = pick(folder, name)
        assert dataclasses.is_dataclass(kind)
        assert kind.__dataclass_params__.frozen
        assert kind() == kind()
        assert kind.__doc__


# ---- rewards


@pytest.mark.parametrize("name", REWARDS)
def test_a_reward_has_few_prices_and_pays_finite_numbers(name):
    made = pick("rewards", name)()
    prices = made.prices()
    assert isinstance(made.closed, bool)
    assert len(prices) <= TOTALS - PRICES
    assert all(math.isfinite(price) for price in prices)
    env = GlobalRouting(netlist(), reward=made, observation=OBSERVATIONS[REWARDS.index(name) % len(OBSERVATIONS)])
    assert env.state.totals[0, PRICES : PRICES + len(prices)].tolist() == list(prices)
    env.reset()
    total, passes, moves = 0.0, 0, player(env)
    for _ in range(600):
        _, reward, over, _, info = env.step(next(moves))
        assert isinstance(reward, float)
        assert math.isfinite(reward)
        total += reward
        if over:
            assert info["pass_reward"] == pytest.approx(total)
            total, passes = 0.0, passes + 1
            env.reset()
    assert passes > 1


@pytest.mark.parametrize("name", REWARDS)
def test_a_closed_reward_never_overfills(name):
    made = pick("rewards", name)()
    env = GlobalRouting(netlist(), reward=made, observation=OBSERVATIONS[REWARDS.index(name) % len(OBSERVATIONS)])
    env.reset()
    seen, moves = set(), player(env)
    for _ in range(900):
        *_, over, _, info = env.step(next(moves))
        if over:
            seen.add(info["overflow"])
            env.reset()
    assert seen == {0} if made.closed else max(seen) > 0


# ---- generators


@pytest.mark.parametrize("name", names("generators"))
def test_a_generator_gives_the_same_bytes_for_the_same_seed(name, tmp_path):
    generate = pick("generators", name)
    files = []
    for k, seed in enumerate((7, 7, 8)):
        problem = generate(seed=seed)
        assert isinstance(problem, Problem)
        assert problem.name != "problem"
        path = tmp_path / f"{k}.gr"
        write_problem(problem, path)
        files.append(path.read_bytes())
    assert files[0] == files[1]
    assert files[0] != files[2]
    with pytest.raises(TypeError):
        generate(7)
    with pytest.raises(ValueError, match="seed must be at least 0, got -1"):
        generate(seed=-1)


# ---- routers


def edges(solution):
    return [one.tolist() for one in solution.edges]


@pytest.mark.parametrize("name", names("routers"))
@pytest.mark.parametrize("problem", [netlist(), odd()], ids=["netlist", "odd"])
def test_a_router_routes_tells_its_progress_and_repeats_itself(name, problem):
    route, told = pick("routers", name), []
    first = route(problem, seed=3, progress=lambda *said: told.append(said))
    assert isinstance(first, Solution)
    assert first.problem is problem
    assert first.unrouted() == []
    assert told
    for done, total, message in told:
        assert 0 <= done <= total
        assert isinstance(message, str)
    assert {"router", "seconds"} <= set(first.info)
    assert edges(route(problem, seed=3)) == edges(first), "also without a progress callback"


@pytest.mark.parametrize("name", names("routers"))
def test_an_interrupt_in_the_progress_callback_leaves_the_router(name):
    def interrupt(done, total, message):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pick("routers", name)(netlist(1), progress=interrupt)


@pytest.mark.parametrize("name", names("routers"))
def test_a_router_keeps_a_time_limit_and_refuses_a_wrong_one(name):
    solution = pick("routers", name)(netlist(2), time_limit=1e-9)
    assert len(solution.edges) == 6
    for limit in (0, -1.0, float("nan")):
        with pytest.raises(ValueError, match="time_limit must be positive seconds"):
            pick("routers", name)(netlist(2), time_limit=limit)


@pytest.mark.parametrize("name", names("routers"))
def test_a_router_takes_a_problem_without_anything_to_route(name):
    problem = Problem(2, 2, (Layer(1, 1),), (Net("here", "0", ((0, 0, 1), (0, 0, 1))),))
    assert edges(pick("routers", name)(problem)) == [[]]
