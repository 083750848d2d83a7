"""Negotiated congestion: legal where it can be, short, repeatable, and honest where it cannot."""

from pathlib import Path

import numpy as np
import pytest

from routing_env import Layer, Net, Problem, official_score, read_problem, write_solution
from routing_env.metrics import lower_bound, summary
from routing_env.routers import astar, negotiated

DATA = Path(__file__).parents[2] / "shared" / "data"
HV = (Layer(1, 0), Layer(0, 1))


def shared(name):
    if not (DATA / name).is_file():
        pytest.skip(f"needs ../shared/data/{name} beside the repository")
    return read_problem(DATA / name)


def board(nets, width=4, height=4, layers=HV):
    made = tuple(Net(f"n{i}", str(i), tuple((x, y, 1) for x, y in pins)) for i, pins in enumerate(nets))
    return Problem(width, height, tuple(layers), made)


def random_board(seed, nets=20, pins=5, side=8, capacity=4):
    rng = np.random.default_rng(seed)
    sizes = rng.integers(2, pins + 1, nets)
    layers = (Layer(capacity, 0), Layer(0, capacity))
    return board([rng.integers(0, side, (size, 2)).tolist() for size in sizes], side, side, layers)


def same(first, second):
    return all(np.array_equal(a, b) for a, b in zip(first.edges, second.edges, strict=True))


@pytest.mark.parametrize("name", ["liao/set05/1.gr", "liao/set05/77.gr", "liao/set26/1.gr", "liao/set26/2.gr"])
def test_shared_netlists_are_routed_without_overflow_and_no_longer_than_by_astar(name, tmp_path):
    problem = shared(name)
    solution = negotiated.route(problem)
    write_solution(problem, solution, tmp_path / "routes")
    score = official_score(problem, tmp_path / "routes")
    assert score.legal
    assert lower_bound(problem) <= score.wirelength <= summary(problem, astar.route(problem)).wirelength


@pytest.mark.parametrize(
    ("name", "optimum"), [("liao/set26/1.gr", 289), ("liao/set26/2.gr", 271), ("liao/set26/3.gr", 295)]
)
def test_proven_optima_are_found(name, optimum):
    problem = shared(name)
    assert summary(problem, negotiated.route(problem)).wirelength == optimum


def test_ten_layers_are_routed():
    problem = shared("chips/gcd_ng45.gr")
    measured = summary(problem, negotiated.route(problem, rounds=5, effort=0.1))
    assert (measured.total_overflow, measured.unrouted) == (0, ())
    assert lower_bound(problem) <= measured.wirelength <= 6200


@pytest.mark.parametrize("seed", range(4))
def test_random_boards_are_connected_and_no_shorter_than_the_bound(seed):
    problem = random_board(seed)
    measured = summary(problem, negotiated.route(problem, seed=seed))
    assert measured.unrouted == ()
    assert measured.wirelength >= lower_bound(problem)


def test_the_same_seed_gives_the_same_routes():
    problem = random_board(5)
    assert same(negotiated.route(problem, seed=3), negotiated.route(problem, seed=3))


def test_a_steiner_point_is_found():
    # a cross: the four pins meet in the middle, no tree over pins alone is as short
    problem = board([[(0, 2), (4, 2), (2, 0), (2, 4)]], 5, 5, [Layer(1, 1)])
    assert summary(problem, negotiated.route(problem)).wirelength == 8


def test_a_tree_holds_no_edge_that_it_does_not_need():
    problem = random_board(6, nets=20, capacity=6)
    for net, edges in zip(problem.nets, negotiated.route(problem).edges, strict=True):
        pins = set(problem.tiles(net))
        nodes = {}
        for edge in edges.tolist():
            for node in _ends(problem, edge):
                nodes[node] = nodes.get(node, 0) + 1
        assert {node for node, degree in nodes.items() if degree == 1} <= pins
        assert len(nodes) == len(edges) + 1 or not nodes


def _ends(problem, edge):
    low, axis = divmod(edge, 3)
    width, height, _ = problem.shape
    at = [low % width, low // width % height, low // (width * height)]
    other = [value + (i == axis) for i, value in enumerate(at)]
    return tuple(at), tuple(other)


def test_nets_make_way_for_each_other():
    # two nets share the first row's pins: one of them needs the second row, or its net gives way to the third
    layers = [Layer(1, 1)]
    problem = board([[(0, 0), (2, 0)], [(0, 0), (2, 0)], [(0, 1), (2, 1)]], 3, 3, layers)
    measured = summary(problem, negotiated.route(problem))
    assert (measured.total_overflow, measured.routed) == (0, 3)


def test_an_impossible_problem_gives_the_least_overflow_and_says_so():
    problem = board([[(0, 0), (3, 0)]] * 3, 4, 1)
    solution = negotiated.route(problem)
    measured = summary(problem, solution)
    assert measured.unrouted == ()
    assert solution.info["overflow"] == measured.total_overflow == 6
    assert not solution.info["stopped"]


def test_pins_that_cannot_be_joined_are_named():
    apart = board([[(0, 0), (1, 0)], [(0, 0), (0, 1)]], 2, 2, [Layer(0, 1)])
    solution = negotiated.route(apart)
    assert solution.info["failed"] == solution.unrouted() == ["n0"]


def test_a_time_limit_ends_the_search():
    problem = random_board(7, nets=3000, side=40, capacity=60)
    at_once = negotiated.route(problem, time_limit=1e-9)
    assert at_once.info["stopped"]
    assert at_once.info["failed"] == at_once.unrouted()
    soon = negotiated.route(problem, time_limit=0.5)
    assert soon.info["stopped"]
    assert soon.info["seconds"] < 20


def test_progress_counts_up_to_all_steps_and_may_stop_the_router():
    problem, calls = random_board(8), []
    negotiated.route(problem, progress=lambda *call: calls.append(call))
    done = [call[0] for call in calls]
    assert done == sorted(done)
    assert calls[-1][0] == calls[-1][1]

    def stop(*call):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        negotiated.route(problem, progress=stop)


def test_wide_wires_take_their_width():
    layers = (Layer(4, 4, 1, 1),)
    nets = tuple(Net(f"n{i}", str(i), ((0, 0, 1), (2, 0, 1)), min_width=1 + 2 * (i == 0)) for i in range(2))
    problem = Problem(3, 2, layers, nets)
    measured = summary(problem, negotiated.route(problem))
    assert (measured.total_overflow, measured.wirelength) == (0, 2 + 4)


def test_limited_vias_are_kept():
    layers = [Layer(9, 0), Layer(0, 9)]
    problem = board([[(0, 0), (0, 2)]] * 2, 3, 3, layers)
    assert negotiated.route(problem, via_capacity=1).info["overflow"] == 0
    assert negotiated.route(board([[(0, 0), (0, 2)]] * 2, 1, 3, layers), via_capacity=1).info["overflow"] > 0


def test_cheap_vias_shorten_the_planar_length():
    problem = random_board(9, nets=25)
    cheap, dear = (summary(problem, negotiated.route(problem, via_cost=cost)) for cost in (0.05, 3))
    assert cheap.planar_wirelength <= dear.planar_wirelength
    assert cheap.vias >= dear.vias


def test_a_problem_without_nets_is_routed():
    assert negotiated.route(board([])).edges == ()


@pytest.mark.parametrize(
    "wrong", [{"via_cost": -1}, {"via_capacity": -1}, {"effort": -1}, {"rounds": -1}, {"starts": 0}, {"time_limit": 0}]
)
def test_values_out_of_range_are_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        negotiated.route(board([[(0, 0), (1, 1)]]), **wrong)
