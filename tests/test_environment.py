"""The single environment and its connection episodes keep Gymnasium's contract and their docstrings' promises."""

import copy
import re
import warnings

import gymnasium as gym
import numpy as np
import pytest
from boards import drawn
from gymnasium.utils.env_checker import check_env
from referee import likely_move
from stable_baselines3.common.env_checker import check_env as check_env_for_sb3

from routing_env import Layer, Net, Problem, official_score, rules, write_problem, write_solution
from routing_env.generators.published import published
from routing_env.gym_env import GlobalRouting
from routing_env.metrics import summary
from routing_env.observations.window import Window
from routing_env.plugins import names
from routing_env.rewards.overflow import Overflow
from routing_env.rewards.published import Published
from routing_env.wrappers import ConnectionEpisodes

PASS_INFO = {"routed", "wirelength", "overflow", "pass_reward"}
KINDS = names("observations"), names("rewards")
QUICK = {tuple(kind[i % len(kind)] for kind in KINDS) for i in range(max(map(len, KINDS)))}
COMBINATIONS = [
    # each is compiled on its own, so the fast tests see every plug-in once and the slow ones every pair
    pytest.param(observation, reward, marks=[] if (observation, reward) in QUICK else pytest.mark.slow)
    for observation in KINDS[0]
    for reward in KINDS[1]
]


def small(seed=1, **options):
    return published(**{"seed": seed, "width": 4, "height": 4, "nets": 5, "max_pins": 3, "capacity": 3} | options)


def play(env, rng, moves, sense=0.6):
    """Random moves, also through wrappers; yields what each step gives and resets where an episode ends."""
    for _ in range(moves):
        row = env.unwrapped.state.state[0]
        offset = tuple((row[rules.TARGET_X : rules.TARGET_Z + 1] - row[rules.X : rules.Z + 1]).tolist())
        move = likely_move(rng, env.unwrapped.action_masks(), offset, sense)
        answer = env.step(move)
        yield (move, *answer)
        if answer[2] or answer[3]:
            env.reset()


def test_every_plugin_is_in_a_quick_combination():
    assert [{pair[k] for pair in QUICK} for k in (0, 1)] == [set(kind) for kind in KINDS]


@pytest.mark.parametrize(("observation", "reward"), COMBINATIONS)
def test_both_checkers_pass_without_a_warning(observation, reward):
    env = gym.make("GlobalRouting-v0", problem=small(), observation=observation, reward=reward)
    check_env(env.unwrapped)
    check_env_for_sb3(env)
    env.close()


@pytest.mark.parametrize(("observation", "reward"), COMBINATIONS)
def test_both_checkers_pass_on_connection_episodes(observation, reward):
    env = ConnectionEpisodes(gym.make("GlobalRouting-v0", problem=small(), observation=observation, reward=reward))
    with warnings.catch_warnings():
        # said of every wrapper
        warnings.filterwarnings("ignore", message=r".*is different from the unwrapped version")
        check_env(env)
    check_env_for_sb3(env)
    env.close()


def test_it_is_registered_with_gymnasiums_default_wrappers_and_as_a_vector():
    env = gym.make("GlobalRouting-v0", problem=small())
    assert isinstance(env.unwrapped, GlobalRouting)
    assert env.spec.max_episode_steps is None, "the environment ends its episodes itself"
    assert env.get_wrapper_attr("action_masks") is not None
    vector = gym.make_vec("GlobalRouting-v0", num_envs=2, problem=small())
    assert vector.num_envs == 2
    assert vector.reset()[0].shape == (2, 12)


def test_without_a_problem_it_routes_the_published_netlist_of_seed_0():
    env = GlobalRouting()
    assert env.problem == published(seed=0)
    assert env.problem.shape == (8, 8, 2)
    assert len(env.problem.nets) == 50
    assert env.action_space == gym.spaces.Discrete(6)
    assert (env.observation_space.shape, env.observation_space.dtype) == ((12,), np.float32)


def test_a_netlist_is_taken_by_its_path(tmp_path):
    write_problem(small(), tmp_path / "one.gr")
    for path in (tmp_path / "one.gr", str(tmp_path / "one.gr")):
        assert GlobalRouting(path).problem == small()


@pytest.mark.parametrize(("side", "steps"), [(4, 50), (8, 50), (9, 54), (12, 72)])
def test_a_connection_takes_at_most_50_moves_and_more_on_large_grids(side, steps):
    problem = Problem(side, side, (Layer(9, 9),), (Net("a", "0", ((0, 0, 1), (side - 1, side - 1, 1))),))
    env = GlobalRouting(problem)
    env.reset()
    for k in range(1, steps + 1):
        _, reward, terminated, truncated, info = env.step(1)
        assert (reward, truncated) == (-1, False)
        assert terminated == info["connection_done"] == (k == steps)
    assert (info["routed"], info["wirelength"], info["pass_reward"]) == (0, 0, -steps)


def test_the_published_observation_is_place_room_and_way_to_the_target():
    pins = ((10, 10, 1), (29, 0, 2))
    layers = (Layer(7, 4, min_width=2), Layer(3, 8))
    env = GlobalRouting(Problem(3, 2, layers, (Net("a", "0", pins),), tile_size=(10, 10)))
    obs, _ = env.reset()
    assert obs.dtype == np.float32
    assert obs.tolist() == [1, 1, 0, 7, 7, 0, 4, 10, 0, 1, -1, 1]
    assert env.step(0)[0].tolist() == [2, 1, 0, 0, 5, 0, 4, 10, 0, 0, -1, 1]
    assert env.observation_space.low.tolist() == [0] * 9 + [-2, -1, -1]
    assert env.observation_space.high.tolist() == [2, 1, 1, 8, 8, 8, 8, 10, 10, 2, 1, 1]
    env = GlobalRouting(env.problem, via_capacity=3)
    assert env.reset()[0][7] == 3


def test_the_scaled_observation_is_the_same_in_wires_within_one():
    layers = (Layer(7, 4, min_width=2), Layer(30, 8))
    env = GlobalRouting(Problem(3, 2, layers, (Net("a", "0", ((1, 1, 1), (2, 0, 2))),)), observation="scaled")
    obs, _ = env.reset()
    expected = [0, 1, -1, 7 / 2 / 4, 7 / 2 / 4, 0, 4 / 2 / 4, 1, 0, 0.5, -1, 1]
    assert obs == pytest.approx(np.array(expected, np.float32))
    assert obs[7] == 1, "more than four wires count as four"


def test_the_window_shows_the_tracks_around_the_place():
    problem = drawn("a . a\n. . .", capacity=2, layers=1)
    env = GlobalRouting(problem, observation=Window(3), reward="overflow")
    obs, _ = env.reset()
    assert obs.shape == env.observation_space.shape == (6 + 2 * 9,)
    assert obs[:6].tolist() == [-1, 1, -1, 1, 0, 0]
    # rows upwards from below a, columns from left of it; +x and +y of each tile
    assert obs[6:].reshape(3, 3, 2).tolist() == [
        [[0, 0], [0.5, 0.5], [0.5, 0.5]],
        [[0, 0], [0.5, 0], [0.5, 0]],
        [[0, 0], [0, 0], [0, 0]],
    ]
    obs = env.step(0)[0]
    assert obs[6:].reshape(3, 3, 2)[1].tolist() == [[0.25, 0], [0.5, 0], [0, 0]]
    for size in (0, 2, -1):
        with pytest.raises(ValueError, match=f"size must be odd and at least 1, got {size}"):
            Window(size)


def test_infos_hold_the_mask_what_ended_and_at_the_end_of_a_pass_its_totals():
    env, rng = GlobalRouting(small()), np.random.default_rng(0)
    _, info = env.reset()
    assert set(info) == {"action_mask", "connection_done"}
    overs = 0
    for _, _, _, over, truncated, info in play(env, rng, 1500):
        assert truncated is False
        assert set(info) == {"action_mask", "connection_done"} | (PASS_INFO if over else set())
        assert info["action_mask"].dtype == np.int8
        assert info["action_mask"].shape == (6,)
        assert info["connection_done"] is True or not over
        overs += over
    assert overs > 2


def test_what_is_returned_is_the_callers_to_keep():
    env = GlobalRouting(small())
    obs, info = env.reset()
    before = obs.copy(), info["action_mask"].copy()
    mask = env.action_masks().copy()
    obs2, _, _, _, info2 = env.step(int(np.flatnonzero(mask)[0]))
    assert (obs == before[0]).all()
    assert (info["action_mask"] == before[1]).all()
    assert (info2["action_mask"] == env.action_masks()).all()
    assert not np.shares_memory(obs, obs2)


@pytest.mark.parametrize(("observation", "reward"), COMBINATIONS)
def test_observations_stay_within_their_bounds_in_long_games(observation, reward):
    rng = np.random.default_rng(5)
    for problem in (small(), small(reduced_capacity=0), drawn("a b a b")):
        env = GlobalRouting(problem, observation=observation, reward=reward, via_capacity=2, max_steps=15)
        assert env.reset()[0] in env.observation_space
        for _, obs, *_ in play(env, rng, 800):
            assert obs in env.observation_space


def test_a_shaped_reward_object_is_taken_as_it_is():
    problem = drawn("a a", layers=1)
    for reward, paid in ((Published(arrival=7.0, step=-3.0), [-3, 7]), (Overflow(arrival=1.5, step=0.0), [0, 1.5])):
        env = GlobalRouting(problem, reward=reward)
        env.reset()
        assert [env.step(move)[1] for move in (1, 0)] == paid


def end_connection(env, made):
    """Play until the connection ends, by its route or by bumping into the border; boards with one row."""
    while True:
        answer = env.step(0 if made else 3)
        if answer[2] or answer[3]:
            return answer


def test_a_connection_made_terminates_and_one_given_up_is_truncated():
    env = ConnectionEpisodes(GlobalRouting(drawn("a b a b", capacity=2, layers=1), max_steps=4))
    env.reset()
    obs, reward, terminated, truncated, info = end_connection(env, made=True)
    assert (reward, terminated, truncated) == (100, True, False)
    assert obs[9:].tolist() == [0, 0, 0], "the observation after the move, not the next connection's"
    assert info["action_mask"].tolist() == [1, 1, 0, 0, 0, 0]
    assert "routed" not in info
    obs, info = env.reset()
    assert obs[0] == 1
    assert info["connection_done"] is False
    _, reward, terminated, truncated, info = end_connection(env, made=False)
    assert (reward, terminated, truncated) == (-1, False, True)
    assert {name: info[name] for name in PASS_INFO} == {
        "routed": 1, "wirelength": 2, "overflow": 0, "pass_reward": 100 - 1 - 4,
    }  # fmt: skip


def test_a_plain_reset_goes_on_and_keeps_what_is_routed():
    env = ConnectionEpisodes(GlobalRouting(drawn("a b a b", capacity=2, layers=1), max_steps=4))
    env.reset()
    end_connection(env, made=True)
    obs, _ = env.reset()
    assert obs[:6].tolist() == [1, 0, 0, 1, 1, 0], "a's wire has taken one of two tracks"
    again, info = env.reset()
    assert (again == obs).all(), "no move was made: the connection stays"
    assert (info["action_mask"] > 0).tolist() == env.action_masks().tolist()
    end_connection(env, made=True)
    obs, _ = env.reset()
    assert obs[:6].tolist() == [0, 0, 0, 2, 0, 0], "a new pass, all room restored"


def test_a_plain_reset_in_the_middle_gives_the_connection_up():
    env = ConnectionEpisodes(GlobalRouting(drawn("a b . a b", capacity=2, layers=1)))
    env.reset()
    env.step(0)
    assert env.reset()[0][0] == 1, "b's source"
    assert env.unwrapped.state.state[0, rules.ROUTED] == 0
    env.step(0)
    assert env.reset()[0][0] == 0
    assert env.unwrapped.state.state[0, rules.PASSES] == 1


@pytest.mark.parametrize("how", [{"seed": 3}, {"options": {"restart": True}}, {"seed": 3, "options": {}}])
def test_a_seed_or_restart_begins_the_pass_anew(how):
    env = ConnectionEpisodes(GlobalRouting(drawn("a b . a b", capacity=2, layers=1)))
    first, _ = env.reset()
    end_connection(env, made=True)
    env.reset()
    env.step(0)
    obs, _ = env.reset(**how)
    assert (obs == first).all()
    assert env.unwrapped.state.state[0, [rules.ROUTED, rules.LOGGED, rules.CONNECTION]].tolist() == [0, 0, 0]


def test_connection_episodes_add_up_to_the_passes_of_the_environment():
    problem, rng = small(3), np.random.default_rng(3)
    env = ConnectionEpisodes(gym.make("GlobalRouting-v0", problem=problem, max_steps=12))
    base = GlobalRouting(problem, max_steps=12)
    env.reset()
    base.reset()
    for move, obs, reward, terminated, truncated, info in play(env, rng, 600):
        base_obs, base_reward, over, _, base_info = base.step(move)
        assert reward == base_reward
        assert (terminated or truncated) == base_info["connection_done"] == info["connection_done"]
        assert not (terminated and truncated)
        assert terminated is base.arrived or not info["connection_done"]
        assert {name: info[name] for name in PASS_INFO & set(info)} == {
            name: base_info[name] for name in PASS_INFO & set(base_info)
        }
        if not info["connection_done"]:
            assert (obs == base_obs).all()
        if over:
            base.reset()


def made(kind, problem, **options):
    env = gym.make("GlobalRouting-v0", problem=problem, **options) if kind != "bare" else None
    env = ConnectionEpisodes(env) if kind == "connections" else env or GlobalRouting(problem, **options)
    env.reset()
    return env, env if kind == "connections" else env.unwrapped


def equal(a, b):
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(equal(a[name], b[name]) for name in a)
    if isinstance(a, tuple | list):
        return len(a) == len(b) and all(map(equal, a, b))
    return np.array_equal(a, b)


@pytest.mark.parametrize("kind", ["bare", "made", "connections"])
@pytest.mark.parametrize("moves", [0, 7, 61, 180])
def test_a_state_brings_back_exactly_the_same_future(kind, moves):
    problem, options = small(4), {"max_steps": 9, "keep_failed": False, "via_capacity": 3}
    env, holder = made(kind, problem, **options)
    list(play(env, np.random.default_rng(moves), moves))
    state = holder.get_state()
    kept = copy.deepcopy(state)
    future = [*play(env, np.random.default_rng(99), 150), env.unwrapped.np_random.random()]
    assert equal(state, kept), "a state is a copy"
    fresh, fresh_holder = made(kind, problem, **options)
    for other, place in ((env, holder), (fresh, fresh_holder)):
        place.set_state(state)
        assert equal(place.get_state(), kept)
        again = [*play(other, np.random.default_rng(99), 150), other.unwrapped.np_random.random()]
        assert equal(again, future)
    assert equal(holder.solution().edges if kind != "connections" else holder.unwrapped.solution().edges,
                 fresh.unwrapped.solution().edges)  # fmt: skip


def test_a_state_of_other_shapes_is_refused_and_changes_nothing():
    env, other = GlobalRouting(small()), GlobalRouting(small(nets=9))
    env.reset()
    other.reset()
    before = env.get_state()
    with pytest.raises(ValueError, match=r"connections has shape \(1, .*, this environment's has \(1, "):
        env.set_state(other.get_state())
    assert equal(env.get_state(), before)


@pytest.mark.parametrize("action", [-1, 6, 100])
@pytest.mark.parametrize("kind", [int, np.int64, np.array])
def test_a_move_that_is_none_is_refused_and_changes_nothing(action, kind):
    env = GlobalRouting(small())
    env.reset()
    before = env.get_state()
    with pytest.raises(ValueError, match=re.escape(f"action {kind(action)!r} is none of 0 to 5")):
        env.step(kind(action))
    assert equal(env.get_state(), before)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_steps": 0}, "max_steps must be at least 1, got 0"),
        ({"via_capacity": 0}, "via_capacity must be at least 1, got 0"),
        ({"render_mode": "ascii"}, "render_mode 'ascii' is none of ['human', 'rgb_array']"),
        ({"observation": "scaledd"}, "observations has no 'scaledd'; did you mean 'scaled'?"),
        ({"reward": "overflows"}, "rewards has no 'overflows'; did you mean 'overflow'?"),
        ({"problem": Problem(2, 2, (Layer(1, 1),), (), name="empty")}, "empty: no net needs a route"),
        ({"problem": drawn("a .", layers=1)}, "problem: no net needs a route"),
    ],
)
def test_a_bad_option_is_named(options, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        GlobalRouting(**{"problem": small()} | options)


def test_an_option_that_is_none_is_refused():
    with pytest.raises(TypeError, match="max_step"):
        GlobalRouting(small(), max_step=4)
    with pytest.raises(FileNotFoundError, match="nowhere"):
        GlobalRouting("nowhere.gr")


def test_connection_episodes_wrap_global_routing_only():
    class Other(gym.Env):
        pass

    with pytest.raises(TypeError, match="ConnectionEpisodes wraps GlobalRouting, got Other"):
        ConnectionEpisodes(Other())


@pytest.mark.parametrize("reward", ["published", "overflow"])
def test_a_best_pass_with_every_connection_scores_as_its_info_says(reward, tmp_path):
    rng, whole = np.random.default_rng(7), 0
    for seed in range(4):
        problem = small(seed, nets=6, capacity=4, reduced_edges=0)
        env = GlobalRouting(problem, reward=reward)
        env.reset()
        infos = []
        for _, _, _, over, _, info in play(env, rng, 700, sense=0.9):
            if over:
                infos.append(info)
                solution = env.solution()
                path = tmp_path / "best.route"
                write_solution(problem, solution, path)
                score, told = official_score(problem, path), infos[solution.info["pass"] - 1]
                assert told["pass_reward"] == solution.info["reward"]
                assert told["routed"] == solution.info["connected"]
                assert summary(problem, solution).wirelength == score.wirelength
                if solution.info["connected"] == solution.info["connections"]:
                    whole += 1
                    assert (score.unrouted, score.unattached, score.disjoint) == ((), (), ())
                    assert (score.wirelength, score.total_overflow) == (told["wirelength"], told["overflow"])
                    assert score.legal or reward == "overflow"
    assert whole >= 10


def test_before_the_first_pass_is_over_the_best_one_is_empty():
    env = GlobalRouting(small())
    env.reset()
    solution = env.solution()
    assert not any(map(len, solution.edges))
    assert (solution.info["pass"], solution.info["connected"]) == (0, 0)


def test_pictures_are_arrays_of_colours():
    env = gym.make("GlobalRouting-v0", problem=small(), render_mode="rgb_array")
    env.reset()
    first = env.render()
    assert (first.dtype, first.ndim, first.shape[2]) == (np.uint8, 3, 3)
    env.step(int(np.flatnonzero(env.unwrapped.action_masks())[0]))
    second = env.render()
    assert second.shape == first.shape
    assert (second != first).any()
    env.close()


def test_a_window_opens_is_drawn_anew_and_closes():
    from matplotlib import pyplot

    env = GlobalRouting(small(), render_mode="human")
    assert pyplot.get_fignums() == []
    env.reset()  # human mode draws by itself
    assert len(pyplot.get_fignums()) == 1
    before = env._window[1].get_array().copy()
    env.step(int(np.flatnonzero(env.action_masks())[0]))
    assert (env._window[1].get_array() != before).any()
    assert env.render() is None
    assert len(pyplot.get_fignums()) == 1
    env.close()
    env.close()
    assert pyplot.get_fignums() == []


def test_without_a_render_mode_rendering_says_what_it_needs():
    env = GlobalRouting(small())
    env.reset()
    with pytest.warns(UserWarning, match=r"render\(\) needs render_mode='rgb_array' or 'human'"):
        assert env.render() is None


def test_gymnasiums_copies_of_the_arguments_do_not_break_the_environment():
    problem, window = small(), Window(3)
    env = gym.make("GlobalRouting-v0", problem=problem, observation=window, reward=Overflow(overflow=7.0))
    assert env.unwrapped.problem == problem
    second = env.spec.make()
    assert second.unwrapped.problem == problem
    assert second.reset()[0].shape == env.reset()[0].shape
    assert second.unwrapped.state.totals[0, rules.PRICES + 2] == 7
    third = copy.deepcopy(env.unwrapped)
    env.step(0)
    third.reset()
    assert third.unwrapped.state.state[0, rules.STEPS] == 0, "copies share nothing"
    wrapped = ConnectionEpisodes(env)
    assert wrapped.spec.make().reset()[0].shape == wrapped.reset()[0].shape


def test_a_move_after_the_pass_is_over_is_refused():
    problem = Problem(6, 6, (Layer(5, 5),), (Net("a", "0", ((0, 0, 1), (5, 5, 1))),))
    for env in (GlobalRouting(problem, max_steps=1), ConnectionEpisodes(GlobalRouting(problem, max_steps=1))):
        env.reset()
        env.step(0)
        before = env.get_state()
        with pytest.raises(gym.error.ResetNeeded, match="the pass is over"):
            env.step(0)
        assert equal(env.get_state(), before)
        env.reset()
        env.step(0)


@pytest.mark.parametrize("action", [2.7, "3", -1, 6])
def test_an_action_that_is_no_move_is_refused(action):
    env = GlobalRouting(Problem(3, 3, (Layer(5, 5),), (Net("a", "0", ((0, 0, 1), (2, 2, 1))),)))
    env.reset()
    with pytest.raises(ValueError, match="none of 0 to 5"):
        env.step(action)


def test_a_move_before_the_first_reset_is_refused():
    problem = Problem(3, 3, (Layer(5, 5),), (Net("a", "0", ((0, 0, 1), (2, 2, 1))),))
    with pytest.raises(gym.error.ResetNeeded):
        GlobalRouting(problem).step(0)
    with pytest.raises(gym.error.ResetNeeded):
        gym.make_vec("GlobalRouting-v0", num_envs=2, problem=problem).step(np.zeros(2, np.int64))


def test_connection_episodes_refuse_what_they_would_bypass():
    problem = Problem(3, 3, (Layer(5, 5),), (Net("a", "0", ((0, 0, 1), (2, 2, 1))),))
    with pytest.raises(TypeError, match="put TimeLimit around ConnectionEpisodes"):
        ConnectionEpisodes(gym.wrappers.TimeLimit(GlobalRouting(problem), 5))
