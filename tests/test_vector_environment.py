"""The vector environment and its Stable-Baselines3 face are, move for move, many single environments."""

import re

import gymnasium as gym
import numpy as np
import pytest
import torch
from boards import drawn
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from referee import likely_move
from stable_baselines3 import DQN, PPO
from stable_baselines3.common.vec_env import DummyVecEnv

from agents.sb3_vec_env import RoutingVecEnv
from routing_env import Layer, Net, Problem, rules
from routing_env.generators.published import published
from routing_env.gym_env import GlobalRouting
from routing_env.plugins import names
from routing_env.vector_env import GlobalRoutingVector
from routing_env.wrappers import ConnectionEpisodes

KINDS = names("observations"), names("rewards")
PAIRS = sorted({tuple(kind[i % len(kind)] for kind in KINDS) for i in range(max(map(len, KINDS)))})


def netlists(count=4):
    """One shape; other nets, capacities and numbers of connections."""
    return [
        published(seed=seed, width=4, height=4, nets=2 + seed, max_pins=2 + seed % 2, capacity=1 + seed)
        for seed in range(count)
    ]


def single(problem, episode, **options):
    env = GlobalRouting(problem, **options)
    return env if episode == "pass" else ConnectionEpisodes(env)


def likely(rng, states, masks, sense=0.7):
    """A move for each row of ``states``, often a good one."""
    offsets = (states[:, rules.TARGET_X : rules.TARGET_Z + 1] - states[:, rules.X : rules.Z + 1]).tolist()
    return np.array([likely_move(rng, mask, tuple(way), sense) for mask, way in zip(masks, offsets, strict=True)])


def same(a, b, at="infos"):
    """Equal values, types and dtypes; dictionaries with equal keys."""
    if isinstance(a, dict):
        assert isinstance(b, dict)
        assert a.keys() == b.keys(), at
        for name in a:
            same(a[name], b[name], f"{at}.{name}")
    elif isinstance(a, np.ndarray) and a.dtype == object:
        assert b.dtype == object, at
        for one, other in zip(a, b, strict=True):
            same(one, other, at)
    elif isinstance(a, np.ndarray):
        assert (a.dtype, a.shape) == (b.dtype, b.shape), at
        assert (a == b).all(), at
    else:
        assert (type(a), a) == (type(b), b), at


@pytest.mark.parametrize("episode", ["pass", "connection"])
@pytest.mark.parametrize(("observation", "reward"), PAIRS)
def test_it_is_what_gymnasiums_vector_of_single_environments_is(episode, observation, reward):
    problems, rng = netlists(), np.random.default_rng(11)
    options = {"observation": observation, "reward": reward, "max_steps": 7, "via_capacity": 4, "keep_failed": False}
    one_by_one = SyncVectorEnv(
        [lambda problem=problem: single(problem, episode, **options) for problem in problems],
        autoreset_mode=AutoresetMode.SAME_STEP,
        observation_mode="different",
    )
    vector = GlobalRoutingVector(4, problems, episode=episode, **options)
    assert vector.metadata["autoreset_mode"] is AutoresetMode.SAME_STEP
    assert vector.single_action_space == one_by_one.single_action_space
    for how in ({"seed": 5}, {}, {"options": {"restart": True}}, {"seed": [1, 2, 3, 4]}, {"options": {}}):
        (obs, infos), (obs1, infos1) = vector.reset(**how), one_by_one.reset(**how)
        same(np.stack(list(obs1)), obs)
        same(infos1, infos)
        ended = 0
        for _ in range(90):
            moves = likely(rng, vector.state.state, vector.action_masks())
            obs, rewards, terminated, truncated, infos = vector.step(moves)
            obs1, rewards1, terminated1, truncated1, infos1 = one_by_one.step(moves)
            same(np.stack(list(obs1)), obs)
            same(rewards1, rewards)
            same(terminated1, terminated)
            same(truncated1, truncated)
            same(infos1, infos)
            assert (infos["action_mask"] > 0).tolist() == vector.action_masks().tolist()
            ended += "final_info" in infos
        assert ended > 3
    for b, env in enumerate(one_by_one.envs):
        kept, kept1 = vector.solution(b), env.unwrapped.solution()
        assert kept.info == kept1.info
        assert all(map(np.array_equal, kept.edges, kept1.edges))


def test_spaces_hold_what_any_of_its_problems_can_show():
    problems = [drawn("a . a", capacity=9, layers=1), drawn("a a b", capacity=2, layers=1)]
    problems[1] = Problem(3, 1, (Layer(2, 2),), (Net("a", "0", ((0, 0, 1), (1, 0, 1))),))
    vector = GlobalRoutingVector(2, problems)
    assert vector.single_observation_space.high[3] == 9
    assert vector.reset()[0] in vector.observation_space
    assert vector.observation_space.shape == (2, 12)
    assert vector.action_space.shape == (2,)


def game(vector, moves=120, seed=2):
    rng = np.random.default_rng(seed)
    answers = []
    for _ in range(moves):
        answers.append(vector.step(likely(rng, vector.state.state, vector.action_masks())))
    return answers


@pytest.mark.parametrize("episode", ["pass", "connection"])
@pytest.mark.parametrize("threads", [2, 3, 9])
def test_threads_change_nothing(episode, threads):
    options = {"episode": episode, "observation": PAIRS[0][0], "reward": PAIRS[0][1], "max_steps": 6}
    serial, shared = (GlobalRoutingVector(4, netlists(), threads=n, **options) for n in (1, threads))
    for how in ({}, {"seed": 1}):
        same(serial.reset(**how)[1], shared.reset(**how)[1])
        for answer, answer1 in zip(game(serial), game(shared), strict=True):
            for part, part1 in zip(answer, answer1, strict=True):
                same(part, part1)
    shared.close()
    shared.close()


def test_without_copies_the_arrays_are_those_of_the_next_step():
    keeping, lending = (GlobalRoutingVector(4, netlists(), max_steps=6, copy=copy) for copy in (True, False))
    kept, lent = keeping.reset()[0], lending.reset()[0]
    first = kept.copy()
    same(kept, lent)
    ends = []
    for answer, answer1 in zip(game(keeping), game(lending), strict=True):
        assert answer1[0] is lent
        assert (kept == first).all()
        if "final_obs" in answer[4]:
            ends.append((answer[4], answer1[4]))
    same(keeping.step(np.zeros(4, int))[0], lending.step(np.zeros(4, int))[0])
    assert len(ends) > 2
    for infos, infos1 in ends:
        same(infos["final_obs"], infos1["final_obs"])
        same(infos["final_info"], infos1["final_info"])


@pytest.mark.parametrize("episode", ["pass", "connection"])
def test_a_state_brings_back_exactly_the_same_future(episode):
    options = {"episode": episode, "max_steps": 6, "keep_failed": False}
    vector = GlobalRoutingVector(4, netlists(), **options)
    vector.reset(seed=8)
    game(vector, 37)
    state = vector.get_state()
    future = [*game(vector), vector.np_random.random()]
    fresh = GlobalRoutingVector(4, netlists(), **options, threads=2)
    for other in (vector, fresh):
        other.set_state(state)
        same(other.get_state(), state)
        again = [*game(other), other.np_random.random()]
        assert again.pop() == future[-1]
        for answer, answer1 in zip(future[:-1], again, strict=True):
            for part, part1 in zip(answer, answer1, strict=True):
                same(part, part1)
    fresh.set_state(state)
    assert fresh.reset()[0].shape == (4, 12)
    with pytest.raises(ValueError, match=r"room has shape \(4, .*, this environment's has \(3, "):
        GlobalRoutingVector(3, netlists(3), **options).set_state(state)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"episode": "net"}, "episode 'net' is neither 'pass' nor 'connection'"),
        ({"num_envs": 0}, "num_envs and threads must be at least 1, got 0 and 1"),
        ({"threads": 0}, "num_envs and threads must be at least 1, got 4 and 0"),
        ({"num_envs": 3}, "4 problems for num_envs=3"),
        ({"problem": [*netlists(3), drawn("a a")]}, "problems of one grid shape only: (4, 4, 2) and (2, 1, 2)"),
        ({"max_steps": -1}, "max_steps must be at least 1, got -1"),
    ],
)
def test_a_bad_argument_is_named(options, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        GlobalRoutingVector(**{"num_envs": 4, "problem": netlists()} | options)


@pytest.mark.parametrize(
    ("moves", "message"),
    [
        ([0, 1, 2], "actions of shape (3,), expected (4,)"),
        (0, "actions of shape (), expected (4,)"),
        ([0, 6, 0, 9], "action 6 is none of 0 to 5"),
        ([0, 0, -1, 0], "action -1 is none of 0 to 5"),
    ],
)
def test_bad_moves_are_named_and_change_nothing(moves, message):
    vector = GlobalRoutingVector(4, netlists())
    vector.reset()
    before = vector.get_state()
    with pytest.raises(ValueError, match=re.escape(message)):
        vector.step(np.array(moves))
    same(before, vector.get_state())


def test_one_problem_serves_all_environments():
    vector = GlobalRoutingVector(3, netlists(1)[0])
    obs, _ = vector.reset()
    assert (obs == obs[0]).all()
    assert len(vector.problems) == 3


def test_there_is_one_picture_a_problem():
    vector = GlobalRoutingVector(2, netlists(2), render_mode="rgb_array")
    vector.reset()
    pictures = vector.render()
    assert [(one.dtype, one.shape[2]) for one in pictures] == [(np.dtype(np.uint8), 3)] * 2
    assert GlobalRoutingVector(2, netlists(2)).render() is None


@pytest.mark.parametrize("episode", ["connection", "pass"])
def test_stable_baselines_sees_what_its_own_vector_of_single_environments_shows(episode):
    problems, rng = netlists(), np.random.default_rng(4)
    options = {"max_steps": 6}
    own = DummyVecEnv([lambda problem=problem: single(problem, episode, **options) for problem in problems])
    ours = RoutingVecEnv(problems, episode=episode, **options)
    assert ours.action_space == own.action_space
    truncated = terminated = passes = 0
    for seed in (None, 3, None):
        for env in (own, ours):
            env.seed(seed) if seed is not None else None
        same(own.reset(), ours.reset())
        for info, info1 in zip(own.reset_infos, ours.reset_infos, strict=True):
            assert (info["action_mask"] == info1["action_mask"]).all()
        for _ in range(150):
            assert ours.env_method("action_masks")[2].tolist() == own.env_method("action_masks")[2].tolist()
            assert ours.action_masks().tolist() == np.stack(own.env_method("action_masks")).tolist()
            moves = likely(rng, ours.venv.state.state, ours.action_masks())
            *plain, infos = own.step(moves)
            *plain1, infos1 = ours.step(moves)
            for part, part1 in zip(plain, plain1, strict=True):
                same(part, part1)
            for info, info1 in zip(infos, infos1, strict=True):
                info.pop("connection_done")
                same(info, info1)
                truncated += info["TimeLimit.truncated"]
                terminated += "terminal_observation" in info and not info["TimeLimit.truncated"]
                passes += "routed" in info
    assert terminated > 3
    assert passes > 3
    assert (truncated > 3) == (episode == "connection")
    own.close()
    ours.close()


def test_restart_asked_by_stable_baselines_options_begins_a_new_pass():
    ours = RoutingVecEnv([drawn("a b a b", capacity=2, layers=1)] * 2)
    first = ours.reset()
    for _ in range(2):
        ours.step(np.zeros(2, int))
    assert (ours.reset() != first).any()
    ours.set_options({"restart": True})
    assert (ours.reset() == first).all()
    ours.step(np.zeros(2, int))
    assert (ours.reset() != first).any(), "options hold for one reset"


def test_what_one_shared_environment_cannot_do_is_refused_by_name():
    ours = RoutingVecEnv(netlists())
    with pytest.raises(AttributeError, match=r"max_steps: the problems share one environment; set it on \.venv"):
        ours.set_attr("max_steps", 3)
    with pytest.raises(AttributeError, match=r"solution: the problems share one environment; call it on \.venv"):
        ours.env_method("solution")
    assert ours.get_attr("episode", [0, 2]) == ["connection"] * 2
    assert ours.env_is_wrapped(gym.Wrapper) == [False] * 4
    assert list(ours.get_images()) == [None] * 4


def stock(kind, env, **options):
    common = {"verbose": 0, "seed": 0, "device": "cpu", "gamma": 0.9}
    if kind is DQN:
        common |= {"learning_rate": 1e-3, "learning_starts": 50, "train_freq": 1, "buffer_size": 20_000}
        common |= {"gradient_steps": 1, "target_update_interval": 100, "exploration_fraction": 0.3}
    else:
        common |= {"n_steps": 16, "batch_size": 64, "n_epochs": 2, "learning_rate": 1e-3}
    return kind("MlpPolicy", env, **common | options)


@pytest.mark.parametrize("kind", [DQN, PPO])
def test_stock_algorithms_run_on_it_and_change_their_weights(kind):
    env = RoutingVecEnv(netlists(), observation="scaled", max_steps=12)
    agent = stock(kind, env)
    before = {name: value.clone() for name, value in agent.policy.state_dict().items()}
    agent.learn(400)
    after = agent.policy.state_dict()
    assert any(not torch.equal(before[name], after[name]) for name in before)
    assert all(torch.isfinite(value).all() for value in after.values())
    moves, _ = agent.predict(env.reset(), deterministic=True)
    assert moves.shape == (4,)
    assert ((moves >= 0) & (moves < 6)).all()


def mean_return(agent, env, episodes=200):
    """Mean reward of an episode of greedy play."""
    obs, total, ended = env.reset(), 0.0, 0
    while ended < episodes:
        moves, _ = agent.predict(obs, deterministic=True)
        obs, rewards, done, _ = env.step(moves)
        total += float(rewards.sum())
        ended += int(done.sum())
    return total / ended


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "moves"), [(DQN, 40_000), (PPO, 60_000)])
def test_stock_algorithms_learn_to_route(kind, moves):
    problem = published(seed=2, width=4, height=4, nets=5, capacity=5, reduced_edges=0)
    env = RoutingVecEnv([problem] * 4, observation="scaled", max_steps=30)
    agent = stock(kind, env)
    before = mean_return(agent, env)
    agent.learn(moves)
    after = mean_return(agent, env)
    # a connection made pays about 95, one given up -30
    assert after > before + 40
    assert after > 60
