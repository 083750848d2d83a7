"""A* against networkx, and what its options promise."""

from itertools import pairwise
from pathlib import Path

import networkx as nx
import numpy as np
import pytest

from routing_env import Adjustment, Layer, Net, Problem, read_problem
from routing_env.decompose import connections
from routing_env.grid import grid_of
from routing_env.metrics import lower_bound, summary
from routing_env.routers import astar
from routing_env.routers._search import ANY, Prices, board_of, scratch_of, search, trace

DATA = Path(__file__).parents[2] / "shared" / "data"


def board(nets, width=4, height=4, capacity=1, adjustments=()):
    layers = (Layer(capacity, 0), Layer(0, capacity))
    made = tuple(Net(f"n{i}", str(i), tuple((x, y, 1) for x, y in pins)) for i, pins in enumerate(nets))
    return Problem(width, height, layers, made, adjustments=adjustments)


def random_problem(rng, nets=30, pins=4, width=7, height=6, capacity=2):
    return board([[(int(rng.integers(width)), int(rng.integers(height))) for _ in range(int(rng.integers(2, pins + 1)))]
                  for _ in range(nets)], width, height, capacity)  # fmt: skip


def dearer(grid, prices, need, edge):
    full = prices.full + prices.slope * (need - prices.room[edge]) if need > prices.room[edge] else 0
    return int(prices.price[edge] + full)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("layers", [((2, 0), (0, 2)), ((3, 3),), ((0, 0), (2, 0), (0, 2), (1, 1))])
def test_a_search_costs_what_networkx_says(seed, layers):
    rng = np.random.default_rng(seed)
    shape = int(rng.integers(1, 9)), int(rng.integers(2, 9))
    problem = Problem(*shape, tuple(Layer(*pair) for pair in layers), (Net("a", "0", ((0, 0, 1), (0, 1, 1))),))
    grid = grid_of(problem)
    prices = Prices(rng.integers(10, 40, grid.edges).astype(np.int32), rng.integers(-1, 3, grid.edges).astype(np.int32),
                    np.full(grid.edges, -1, np.int32), 50, 7, 0, 10, 10)  # fmt: skip
    graph = grid.to_networkx()
    for _, _, data in graph.edges(data=True):
        data["cost"] = dearer(grid, prices, 1, data["edge"])
    scratch, space, need = scratch_of(grid.nodes), np.empty(grid.nodes, np.int32), np.ones(len(layers) + 1, np.int32)
    table = board_of(grid)
    for _ in range(40):
        sources = np.unique(rng.integers(0, grid.nodes, rng.integers(1, 4))).astype(np.int32)
        targets = np.unique(rng.integers(0, grid.nodes, rng.integers(1, 4))).astype(np.int32)
        found = search(table, scratch, prices, 0, need, sources, targets, table.whole, ANY)
        reach = nx.multi_source_dijkstra_path_length(graph, set(sources.tolist()), weight="cost")
        expected = min((reach[t] for t in targets.tolist() if t in reach), default=None)
        if expected is None:
            assert found == -1
            continue
        assert scratch.g[found] == expected
        walk = space[: trace(table, scratch, found, space)].tolist()
        assert walk[0] == found
        assert walk[-1] in sources
        assert sum(graph.edges[step]["cost"] for step in pairwise(walk)) == expected


def test_the_same_problem_gives_the_same_routes():
    problem = random_problem(np.random.default_rng(1))
    for sharing in ("net", "none"):
        first, second = (astar.route(problem, sharing=sharing, seed=seed) for seed in (0, 7))
        assert all(np.array_equal(a, b) for a, b in zip(first.edges, second.edges, strict=True))


@pytest.mark.parametrize("sharing", ["net", "none"])
def test_priced_routes_connect_every_net_and_are_no_shorter_than_the_bound(sharing):
    problem = random_problem(np.random.default_rng(2))
    solution = astar.route(problem, sharing=sharing)
    assert solution.unrouted() == solution.info["failed"] == []
    assert summary(problem, solution).wirelength >= lower_bound(problem)


def test_a_tree_rides_its_own_wires_for_nothing():
    # b's straight way lies over a-c; pair by pair from b costs the same as an own wire, a tree rides it
    problem = board([[(0, 0), (3, 0), (3, 1)]])
    tree = astar.route(problem, sharing="net")
    assert summary(problem, tree).wirelength == 3 + 1 + 2
    pairs = astar.route(problem, sharing="none")
    assert summary(problem, tree).wirelength <= summary(problem, pairs).wirelength


def test_own_full_edges_are_used_again_and_charged_once():
    # a corridor of one row: the second connection must come back over the only wire there is
    problem = board([[(1, 0), (0, 0), (3, 0)]], width=4, height=1, capacity=1)
    for sharing in ("net", "none"):
        measured = summary(problem, astar.route(problem, sharing=sharing, full="closed"))
        assert (measured.wirelength, measured.total_overflow, measured.routed) == (3, 0, 1)


def test_full_edges_are_overfilled_when_priced_and_closed_when_closed():
    problem = board([[(0, 0), (3, 0)], [(0, 0), (3, 0)]], height=1)
    priced = astar.route(problem, full="priced")
    assert summary(problem, priced).total_overflow == 3
    closed = astar.route(problem, full="closed")
    assert closed.info["failed"] == closed.unrouted() == ["n1"]
    assert summary(problem, closed).total_overflow == 0


def test_a_detour_shorter_than_the_price_of_a_full_edge_is_taken():
    problem = board([[(0, 0), (3, 0)], [(0, 0), (3, 0)]])
    assert summary(problem, astar.route(problem)).total_overflow == 0


def test_a_wide_wire_needs_its_width():
    layers = (Layer(3, 0, 1, 1), Layer(0, 3, 1, 1))
    nets = tuple(Net(f"n{i}", str(i), ((0, 0, 1), (2, 0, 1))) for i in range(2))
    assert astar.route(Problem(3, 1, layers, nets), full="closed").info["failed"] == ["n1"]


def test_limited_vias_are_not_exceeded():
    nets = [[(0, 0), (0, 1)], [(0, 0), (0, 1)]]
    free = astar.route(board(nets, 2, 2, capacity=5), full="closed")
    assert free.info["failed"] == []
    assert astar.route(board(nets, 1, 2, capacity=5), full="closed", via_capacity=1).info["failed"] == ["n1"]


def test_the_emptier_of_two_equal_ways_is_taken():
    layers = (Layer(4, 4),)
    nets = tuple(Net(f"n{i}", str(i), ((0, 0, 1), (1, 1, 1))) for i in range(2))
    first, second = astar.route(Problem(2, 2, layers, nets)).edges
    assert not set(first.tolist()) & set(second.tolist())


def test_paths_run_from_source_to_target_and_make_up_the_routes():
    problem = random_problem(np.random.default_rng(3))
    grid, rows, walks = grid_of(problem), connections(problem), astar.paths(problem)
    edges = [set() for _ in problem.nets]
    for (net, source, target), walk in zip(rows.tolist(), walks, strict=True):
        assert (walk[0], walk[-1]) == (source, target)
        edges[net] |= {grid.edge(a, b) for a, b in pairwise(walk)}
    routed = astar.route(problem, sharing="none")
    assert [set(net.tolist()) for net in routed.edges] == edges


def test_a_time_limit_leaves_the_rest_unrouted():
    problem = random_problem(np.random.default_rng(4), nets=2000, width=40, height=40)
    stopped = astar.route(problem, time_limit=1e-9)
    assert stopped.info["stopped"]
    assert stopped.info["failed"] == list(dict.fromkeys(problem.nets[i].name for i in connections(problem)[:, 0]))
    assert not astar.route(problem, time_limit=600).info["stopped"]


def test_progress_ends_at_all_connections():
    problem, calls = random_problem(np.random.default_rng(5), nets=400), []
    astar.route(problem, progress=lambda *call: calls.append(call))
    assert calls[-1][0] == calls[-1][1] == len(connections(problem))
    assert [done for done, _, _ in calls] == sorted({done for done, _, _ in calls})


def test_a_problem_without_nets_is_routed():
    assert astar.route(board([])).edges == ()


def test_an_adjusted_edge_has_its_own_capacity():
    closed = board([[(0, 0), (2, 0)]], 3, 1, adjustments=(Adjustment((0, 0, 0), (1, 0, 0), 0),))
    assert astar.route(closed, full="closed").info["failed"] == ["n0"]


@pytest.mark.parametrize("wrong", [{"sharing": "nets"}, {"full": "open"}, {"via_capacity": -1}, {"time_limit": 0}])
def test_unknown_values_are_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        astar.route(board([[(0, 0), (1, 1)]]), **wrong)


def test_pair_by_pair_is_at_least_as_short_as_the_published_baseline():
    folder = DATA / "liao" / "set26"
    if not folder.is_dir():
        pytest.skip("needs ../shared/data/liao/set26 beside the repository")
    problems = [read_problem(folder / f"{i}.gr") for i in range(1, 101)]
    lengths = [summary(p, astar.route(p, sharing="none")).wirelength for p in problems]
    assert np.mean(lengths) <= 282.5
