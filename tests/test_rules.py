"""The compiled rules do, move for move, what a referee of dictionaries and sets does; boards that show each rule."""

import numpy as np
import pytest
from boards import drawn
from referee import STEPS, Referee, connections_of, likely_move, random_problem, wires_by_net

from routing_env import Adjustment, Layer, Net, Problem, rules
from routing_env.decompose import connections
from routing_env.grid import NO_LIMIT, grid_of
from routing_env.gym_env import GlobalRouting
from routing_env.rewards.overflow import Overflow
from routing_env.rewards.scarcity import Scarcity
from routing_env.solution import usage

EAST, WEST, NORTH, SOUTH, UP, DOWN = range(6)


def tiles_of(solution):
    """The edges of each net as sorted pairs of tiles."""
    grid = grid_of(solution.problem)
    return [
        sorted(sorted(grid.tile(node) for node in grid.ends(edge)) for edge in edges.tolist())
        for edges in solution.edges
    ]


def agree(env, referee, edges):
    """Compare everything that can be seen of a position."""
    grid, row = grid_of(env.problem), env.state.state[0]
    assert grid.tile(int(row[rules.NODE])) == referee.at
    assert grid.tile(int(row[rules.TARGET])) == referee.target
    assert row[[rules.CONNECTION, rules.STEPS, rules.ROUTED]].tolist() == [
        referee.number,
        referee.steps,
        referee.routed,
    ]
    assert env.state.totals[0, rules.REWARD] == pytest.approx(referee.reward)
    used, room = referee.used(), env.state.room[0]
    for edge, (node, move, back) in edges.items():
        capacity = referee.capacity.get(edge)
        expected = rules.ABSENT if capacity is None else min(capacity, NO_LIMIT) - used[edge]
        assert room[node, move] == expected, (edge, move)
        assert room[back, move ^ 1] == expected, (edge, move ^ 1)
    assert row[rules.LOGGED] == len(referee.wires)
    assert row[rules.OVERFLOW] == referee.overflow()
    assert tiles_of(env.solution(best=False)) == wires_by_net(env.problem, referee.wires)
    assert env.action_masks().tolist() == referee.mask()


def all_edges(problem):
    """Every pair of neighbouring tiles: lower node, move that crosses, upper node."""
    grid, found = grid_of(problem), {}
    for node, row in enumerate(grid.edge_of_move().tolist()):
        for move in (EAST, NORTH, UP):
            if row[move] >= 0:
                low, high = grid.ends(row[move])
                found[frozenset({grid.tile(low), grid.tile(high)})] = low, move, high
                assert low == node
    return found


def play_game(seed, moves=160):
    rng = np.random.default_rng(seed)
    problem = random_problem(rng)
    priced, keep = bool(rng.random() < 0.5), bool(rng.random() < 0.5)
    via = None if rng.random() < 0.5 else int(rng.integers(1, 4))
    most = int(rng.integers(3, 12))
    env = GlobalRouting(
        problem, reward="overflow" if priced else "published", max_steps=most, via_capacity=via, keep_failed=keep
    )
    referee = Referee(problem, not priced, most, via, keep, price=20.0 if priced else 0.0)
    edges, ended = all_edges(problem), 0
    _, info = env.reset()
    agree(env, referee, edges)
    assert info["action_mask"].tolist() == referee.mask()
    for _ in range(moves):
        offset = tuple(t - a for t, a in zip(referee.target, referee.at, strict=True))
        move = likely_move(rng, env.action_masks(), offset, sense=0.3 + 0.6 * (ended % 2))
        _, reward, terminated, truncated, info = env.step(move)
        told = referee.play(move)
        assert (reward, terminated, truncated) == (told.reward, told.over, False)
        assert info["connection_done"] == told.connection_done
        if told.over:
            last, ended = referee.last, ended + 1
            assert {name: info[name] for name in ("routed", "wirelength", "overflow", "pass_reward")} == {
                "routed": last.routed, "wirelength": len(last.wires), "overflow": last.overflow,
                "pass_reward": last.reward,
            }  # fmt: skip
            best = env.solution()
            assert tiles_of(best) == wires_by_net(problem, referee.best.wires)
            assert best.info == {"pass": referee.best.number, "connections": len(referee.rows),
                                 "connected": referee.best.routed, "reward": referee.best.reward}  # fmt: skip
            agree(env, referee, edges)
            _, info = env.reset()
        if told.connection_done:
            referee.go_on()
        assert info["action_mask"].tolist() == referee.mask()
        agree(env, referee, edges)
    return ended


@pytest.mark.parametrize("seed", range(40))
def test_a_random_game_is_what_the_referee_says(seed):
    play_game(seed)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(1000, 1400))
def test_many_random_games_are_what_the_referee_says(seed):
    play_game(seed, moves=400)


@pytest.mark.parametrize("seed", range(30))
def test_connections_are_what_a_spanning_tree_by_hand_gives(seed):
    problem = random_problem(np.random.default_rng(seed))
    grid = grid_of(problem)
    rows = [(net, grid.tile(a), grid.tile(b)) for net, a, b in connections(problem).tolist()]
    assert rows == connections_of(problem)


def walk(env, *moves):
    """Play moves; return rewards and the last step's answer."""
    answers = [env.step(move) for move in moves]
    return [answer[1] for answer in answers], answers[-1]


def played(problem, **options):
    env = GlobalRouting(problem, **options)
    env.reset()
    return env


def test_the_second_net_finds_the_only_track_full():
    env = played(drawn("a b . a b", capacity=1, layers=1))
    rewards, (obs, *_) = walk(env, EAST, EAST, EAST)
    assert rewards == [-1, -1, 100]
    assert obs[:3].tolist() == [1, 0, 0], "b starts at its first pin"
    # both tracks beside b's source: a's wire fills them
    assert obs[3:9].tolist() == [0, 0, 0, 0, 0, 0]
    assert env.action_masks().all(), "nothing changes the state, so that any move may be drawn"
    rewards, (obs, *_) = walk(env, EAST, EAST)
    assert rewards == [-1, -1]
    assert obs[:3].tolist() == [1, 0, 0]


def test_a_track_for_two_lets_two_nets_pass_and_not_a_third():
    env = played(drawn("a b . a b", capacity=2, layers=1))
    walk(env, EAST, EAST, EAST)
    rewards, (*_, over, _, info) = walk(env, EAST, EAST, EAST)
    assert (rewards, over) == ([-1, -1, 100], True)
    assert (info["routed"], info["wirelength"], info["overflow"], info["pass_reward"]) == (2, 6, 0, 196)


def test_own_edges_stay_open_and_free_also_when_they_are_full():
    env = played(drawn("a . . a", capacity=1, layers=1))
    room = env.state.room[0]
    walk(env, EAST)
    assert room[0, EAST] == room[1, WEST] == 0
    assert env.action_masks().tolist() == [True, True, False, False, False, False]
    rewards, (obs, *_) = walk(env, WEST, EAST, WEST)
    assert rewards == [-1, -1, -1]
    assert obs[0] == 0
    assert env.state.state[0, rules.LOGGED] == 1
    *_, info = walk(env, EAST, EAST, EAST)[1]
    assert info["wirelength"] == 3


def test_a_branch_of_the_same_net_rides_its_full_trunk_and_another_net_does_not():
    problem = drawn("a . a . a\nb b . . .", capacity=1, layers=1)
    env = played(problem)
    # a: left to middle, middle to right; going back over the full edge is free
    walk(env, EAST, EAST)
    rewards, _ = walk(env, WEST, EAST, EAST, EAST)
    assert rewards[-1] == 100
    assert env.state.state[0, rules.LOGGED] == 4
    walk(env, NORTH)
    assert not env.action_masks()[EAST], "b stands beside a's wire"


def test_a_wide_net_needs_room_for_its_width_and_the_spacing():
    layers = (Layer(7, 0, min_width=2, min_spacing=1),)
    pins = ((0, 0, 1), (2, 0, 1))
    nets = (Net("wide", "0", pins, min_width=4), Net("thin", "1", pins), Net("late", "2", pins))
    env = played(Problem(3, 1, layers, nets), max_steps=4)
    room = env.state.room[0]
    walk(env, EAST)
    assert room[0, EAST] == 7 - (4 + 1), "the net is wider than the layer's least width"
    walk(env, EAST)
    assert env.action_masks().all(), "thin has no move that changes the state"
    rewards, (*_, info) = walk(env, EAST, EAST, EAST, EAST)
    assert rewards == [-1] * 4, "a thin wire takes 2 + 1, and 2 are left"
    assert info["connection_done"]


def test_overflow_is_priced_by_the_length_units_that_a_move_adds():
    layers = (Layer(4, 0, min_width=1, min_spacing=2),)
    pins = ((0, 0, 1), (1, 0, 1))
    nets = tuple(Net(name, "0", pins) for name in "abc")
    env = played(Problem(2, 1, layers, nets), reward=Overflow(arrival=50.0, step=-2.0, overflow=10.0))
    assert walk(env, NORTH)[0] == [-2], "off the grid stays closed"
    assert walk(env, EAST)[0] == [50]
    assert walk(env, EAST)[0] == [50 - 10 * 2], "1 of 3 units has room"
    rewards, (*_, info) = walk(env, EAST)
    assert rewards == [50 - 10 * 3]
    assert (info["overflow"], info["routed"]) == (5, 3)
    assert info["pass_reward"] == 148 - 50


def test_scarcity_is_priced_by_the_share_of_the_remaining_room_that_a_wire_takes():
    pins = ((0, 0, 1), (2, 0, 1))
    problem = Problem(3, 1, (Layer(7, 0, min_width=2),), (Net("a", "0", pins), Net("b", "1", pins)))
    env = played(problem, observation="scaled", reward=Scarcity(arrival=50.0, step=-1.0, scarcity=14.0))
    assert walk(env, EAST, WEST, EAST)[0] == [-1 - 14 * 2 / 7, -1, -1], "own edges cost nothing more"
    assert walk(env, EAST)[0] == [50 - 14 * 2 / 7]
    assert walk(env, EAST, EAST)[0] == pytest.approx([-1 - 14 * 2 / 5, 50 - 14 * 2 / 5])


def test_an_edge_closed_by_an_adjustment_is_open_at_a_price():
    problem = drawn("a . a", capacity=1, layers=1)
    problem = Problem(3, 1, problem.layers, problem.nets, adjustments=(Adjustment((0, 0, 0), (1, 0, 0), 0),))
    assert played(problem).action_masks().all(), "nowhere to go: all ones"
    env = played(problem, reward="overflow")
    assert env.action_masks().tolist() == [True, False, False, False, False, False]
    rewards, (*_, info) = walk(env, EAST, EAST)
    assert rewards == [-1 - 20, 100]
    assert info["overflow"] == 1


def test_a_direction_that_the_layer_forbids_is_closed_also_at_a_price():
    env = played(drawn("a .\n. a", capacity=1), reward="overflow")
    assert env.action_masks().tolist() == [False, True, False, False, True, False]
    rewards, (obs, *_) = walk(env, NORTH)
    assert rewards == [-1]
    assert obs[:3].tolist() == [1, 0, 0]


def test_room_is_restored_at_a_new_pass():
    problem = drawn("a b . a b", capacity=1, layers=1)
    env = played(problem, max_steps=3)
    fresh = env.state.room.copy()
    for _ in range(2):
        walk(env, EAST, EAST, EAST)
        *_, over, _, _ = walk(env, EAST, EAST, EAST)[1]
        assert over
        assert (env.state.room != fresh).any()
        env.reset()
        assert (env.state.room == fresh).all()
        assert not env.state.stamp.any()
        assert env.state.totals[0, rules.REWARD] == 0


@pytest.mark.parametrize("keep", [True, False])
@pytest.mark.parametrize("reward", ["published", "overflow"])
def test_wires_of_a_failed_connection_stay_or_are_taken_up(keep, reward):
    problem = drawn("a b . a b", capacity=1, layers=1)
    env = played(problem, max_steps=2, keep_failed=keep, reward=reward)
    _, (*_, info) = walk(env, EAST, EAST)
    assert info["connection_done"]
    left = 0 if keep else 1
    assert env.state.room[0, 0, EAST] == env.state.room[0, 1, EAST] == left
    # the failed wires are in no solution either way
    assert not any(map(len, env.solution(best=False).edges))
    assert not usage(env.solution(best=False)).any()
    open_to_b = not keep or reward == "overflow"
    assert env.action_masks().tolist()[EAST] is True
    assert env.action_masks().all() == (not open_to_b)


def test_overflow_of_wires_that_were_taken_up_is_forgotten():
    env = played(drawn("a b . a b", capacity=1, layers=1), max_steps=3, keep_failed=False, reward="overflow")
    walk(env, EAST, EAST, EAST)
    rewards, (*_, info) = walk(env, EAST, EAST, WEST)
    assert rewards == [-21, -21, -1], "the price is paid when the wire is laid"
    assert (info["wirelength"], info["overflow"], info["routed"]) == (3, 0, 1)


def test_a_limited_via_takes_as_many_wires_as_it_has():
    pins = ((0, 0, 1), (0, 0, 2))
    problem = Problem(1, 1, (Layer(1, 1), Layer(1, 1)), tuple(Net(name, "0", pins) for name in "abc"))
    env = played(problem, via_capacity=2, max_steps=1)
    assert [env.step(UP)[1] for _ in range(3)] == [100, 100, -1]
    env = played(problem, max_steps=1)
    assert [env.step(UP)[1] for _ in range(3)] == [100, 100, 100]


def test_of_equal_passes_the_first_is_kept_and_a_better_one_replaces_it():
    env = played(drawn("a . a\n. . .", capacity=1, layers=1), max_steps=6)
    games = [(SOUTH, EAST, EAST, NORTH), (SOUTH, EAST, EAST, NORTH), (EAST, EAST), (EAST, WEST, EAST, EAST)]
    numbers = []
    for moves in games:
        env.reset()
        walk(env, *moves)
        numbers.append((env.solution().info["pass"], len(env.solution().edges[0])))
    assert numbers == [(1, 4), (1, 4), (3, 2), (3, 2)]


def test_more_connections_beat_more_reward():
    env = played(drawn("a b . a b", capacity=2, layers=1), max_steps=8)
    walk(env, EAST, EAST, EAST)
    walk(env, *[NORTH] * 8)
    first = env.solution().info
    env.reset()
    walk(env, WEST, WEST, WEST, WEST, EAST, EAST, EAST)
    walk(env, WEST, EAST, WEST, EAST, EAST, EAST, EAST)
    second = env.solution().info
    assert (first["connected"], second["connected"], second["pass"]) == (1, 2, 2)


def test_moves_are_numbered_as_the_referee_numbers_them():
    problem = drawn("a . a\n. . .\n. . .", capacity=9, layers=2)
    env = GlobalRouting(problem, reward="overflow")
    grid = grid_of(problem)
    for move, step in enumerate(STEPS):
        for node in range(grid.nodes):
            there = tuple(a + d for a, d in zip(grid.tile(node), step, strict=True))
            if env.state.room[0, node, move] != rules.ABSENT:
                assert grid.node(there) == grid.neighbour[node, move]
