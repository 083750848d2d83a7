"""The exact router: its bound is a proof, its optimum is the brute-force one."""

from __future__ import annotations

from itertools import combinations, product
from pathlib import Path

import networkx as nx
import numpy as np
import pytest

from routing_env import read_problem
from routing_env.grid import grid_of
from routing_env.metrics import lower_bound, summary
from routing_env.problem import Adjustment, Layer, Net, Problem
from routing_env.routers import _flow_model, exact
from routing_env.routers._columns import relax
from routing_env.routers._lagrange import ONE, Model, cheapest, fixed_point, model_of, surviving_arcs
from routing_env.routers._protocol import Clock
from routing_env.solution import components

DATA = Path(__file__).parents[2] / "shared" / "data" / "liao"


def board(drawing: str, capacity: int = 1, widths: dict[str, int] | None = None) -> Problem:
    """One layer that allows both directions; equal letters are the pins of a net, the first row is row 0."""
    rows = [line.split() for line in drawing.strip().splitlines()]
    pins: dict[str, list[tuple[int, int, int]]] = {}
    for y, row in enumerate(rows):
        for x, letters in enumerate(row):
            for letter in letters.strip("."):
                pins.setdefault(letter, []).append((x, y, 1))
    named = sorted(pins.items())
    nets = [Net(name, str(i), tuple(at), (widths or {}).get(name, 1)) for i, (name, at) in enumerate(named)]
    return Problem(len(rows[0]), len(rows), (Layer(capacity, capacity),), tuple(nets))


def random_problem(rng: np.random.Generator, pins: int, layers: int = 1, side: int = 3) -> Problem:
    def pin() -> tuple[int, int, int]:
        return int(rng.integers(side)), int(rng.integers(side)), 1

    nets = [
        Net(f"n{i}", str(i), tuple(pin() for _ in range(rng.integers(2, pins + 1))), int(rng.integers(1, 3)))
        for i in range(3)
    ]
    flat = [Layer(2, 2)] if layers == 1 else [Layer(2, 0), Layer(0, 2)]
    change = Adjustment((0, 0, 0), (1, 0, 0), 1)
    return Problem(side, side, tuple(flat), tuple(nets), adjustments=(change,))


def all_trees(model: Model, net: int) -> list[tuple[int, ...]]:
    """Every tree without needless branches that joins a net's terminals: the slow twin."""
    ends = {int(node) for node in model.ends(net)}
    edges = np.flatnonzero(model.cost(net, np.zeros(model.grid.edges, np.int64)) < 2**59).tolist()
    if len(ends) == 2:
        graph = nx.Graph((*model.grid.ends(edge), {"edge": edge}) for edge in edges)
        graph.add_nodes_from(ends)
        return [tuple(graph.edges[step]["edge"] for step in path) for path in nx.all_simple_edge_paths(graph, *ends)]
    found = []
    for size in range(len(ends) - 1, 9):
        for chosen in combinations(edges, size):
            joined = components(model.grid, chosen, ends)
            degree = np.bincount([node for edge in chosen for node in model.grid.ends(edge)], minlength=9)
            if len(joined) == 1 and len(joined[0]) == size + 1 and all(n in ends for n in np.flatnonzero(degree == 1)):
                found.append(chosen)
    return found


def brute_force(problem: Problem) -> int | None:
    """The shortest routing without overflow, by trying all; None where there is none."""
    model = model_of(problem)
    best: int | None = None
    for routes in product(*(all_trees(model, net) for net in range(len(model.nets)))):
        length = sum(map(len, routes))
        if best is not None and length >= best:
            continue
        used = np.zeros(model.grid.edges, np.int64)
        for net, route in enumerate(routes):
            edges = np.array(route, np.int64)
            used[edges] += model.need(net, edges)
        if (used <= model.capacity).all():
            best = length
    return best


def check_legal(problem: Problem, solution: exact.Solution) -> int:
    total = summary(problem, solution)
    assert total.total_overflow == 0
    assert total.unrouted == ()
    return total.wirelength


@pytest.mark.parametrize(("folder", "number", "optimum"), [
    ("set26", 1, 289), ("set26", 2, 271), ("set26", 3, 295), ("set05", 1, 165), ("set05", 2, 191), ("set05", 3, 177),
])  # fmt: skip
def test_the_published_netlists_have_their_known_optimum(folder: str, number: int, optimum: int) -> None:
    path = DATA / folder / f"{number}.gr"
    if not path.exists():
        pytest.skip(f"benchmark data absent: {path}")
    problem = read_problem(path)
    solution = exact.route(problem)
    assert check_legal(problem, solution) == optimum
    assert solution.info["status"] == "optimal"
    assert lower_bound(problem) <= solution.info["bound"]["value"] <= optimum


def test_a_net_goes_around_what_the_other_needs() -> None:
    problem = board("""
        A B A
        . B .
    """)
    solution = exact.route(problem)
    assert check_legal(problem, solution) == 3  # crossing B's tile is free, only edges are shared out
    problem = board("""
        A A.
        B B.
    """)
    assert check_legal(problem, exact.route(problem)) == 2


def test_two_nets_that_want_one_edge_pay_one_detour() -> None:
    problem = board("""
        AB AB
        .  .
    """)
    solution = exact.route(problem)
    assert check_legal(problem, solution) == 1 + 3
    assert solution.info["bound"]["value"] == 4
    assert lower_bound(problem) == 2


def test_more_wires_than_a_cut_holds_are_proven_unroutable_by_prices() -> None:
    problem = board("""
        ABC ABC
        .   .
    """)
    bound = exact.bound(problem)
    assert bound.proven_infeasible
    assert exact.proves_unroutable(problem) is True
    solution = exact.route(problem)
    assert (solution.info["status"], solution.info["proof"]) == ("infeasible", "prices")
    assert solution.unrouted() == ["A", "B", "C"]


def test_a_board_routable_in_halves_only_is_proven_unroutable_by_branch_and_bound() -> None:
    problem = board("""
        A B
        B A
    """)
    bound = exact.bound(problem)
    assert not bound.proven_infeasible
    assert bound.value == 4
    assert exact.proves_unroutable(problem) is True
    assert exact.route(problem).info["proof"] == "branch and bound"


def test_a_routable_board_is_not_called_unroutable() -> None:
    assert exact.proves_unroutable(board("A B\nA B")) is False


def test_a_net_cut_off_from_its_pin_is_unroutable() -> None:
    walled = Problem(2, 2, (Layer(1, 0),), (Net("a", "0", ((0, 0, 1), (0, 1, 1))),))
    assert exact.proves_unroutable(walled) is True
    assert exact.route(walled).info["status"] == "infeasible"


def test_a_wide_net_takes_its_width() -> None:
    drawing = """
        AB AB
        .  .
    """
    assert check_legal(board(drawing, 4), exact.route(board(drawing, 4))) == 2
    wide = board(drawing, 4, {"A": 3, "B": 2})
    assert check_legal(wide, exact.route(wide)) == 4
    assert exact.proves_unroutable(board(drawing, 4, {"A": 5})) is True


def test_spacing_counts_to_the_demand() -> None:
    nets = tuple(Net(f"n{i}", str(i), ((0, 0, 1), (1, 0, 1))) for i in range(2))
    assert exact.proves_unroutable(Problem(2, 1, (Layer(3, 3, min_spacing=1),), nets)) is True
    assert exact.proves_unroutable(Problem(2, 1, (Layer(4, 4, min_spacing=1),), nets)) is False


@pytest.mark.parametrize(("pins", "layers", "side", "boards"), [(2, 1, 3, 25), (2, 2, 2, 15), (4, 1, 3, 4)])
def test_the_optimum_is_the_brute_force_one(pins: int, layers: int, side: int, boards: int) -> None:
    rng = np.random.default_rng(pins + layers)
    for _ in range(boards):
        problem = random_problem(rng, pins, layers, side)
        optimum = brute_force(problem)
        bound, solution = exact.bound(problem), exact.route(problem)
        if optimum is None:
            assert exact.proves_unroutable(problem) is True
            assert solution.info["status"] == "infeasible"
        else:
            assert bound.value <= optimum
            assert lower_bound(problem) <= bound.value
            assert check_legal(problem, solution) == optimum
            assert exact.proves_unroutable(problem) is False


def test_the_flow_model_alone_finds_the_brute_force_optimum() -> None:
    rng = np.random.default_rng(7)
    for pins in (2, 2, 2, 2, 2, 4, 4):
        problem = random_problem(rng, pins)
        model, clock = model_of(problem), Clock()
        found = _flow_model.solve(model, _flow_model.allowed_moves(model, None, None, clock), None, clock)
        assert found.complete
        assert (found.routes and sum(map(len, found.routes))) == brute_force(problem)


def test_any_prices_give_a_valid_bound_and_the_best_ones_the_largest() -> None:
    problem = board("""
        AB .  AB
        C  .  C
        .  .  .
    """)
    optimum = brute_force(problem)
    model = model_of(problem)
    best = relax(model, Clock()).best
    assert best is not None
    assert optimum is not None
    assert lower_bound(problem) < best.bound / ONE <= optimum
    rng = np.random.default_rng(0)
    for scale in (0.01, 0.5, 5.0, 1e4):
        for _ in range(20):
            noise = scale * rng.standard_normal(model.grid.edges)
            wrong = cheapest(model, fixed_point(best.prices / ONE + noise))
            assert wrong is not None
            assert wrong.bound <= best.bound + 1e-4 * ONE
            assert not wrong.infeasible
            feasibility = cheapest(model, fixed_point(np.abs(noise)), base=1)
            assert feasibility is not None
            assert not feasibility.infeasible


def test_negative_infinite_and_undefined_prices_are_repaired() -> None:
    model = model_of(board("AB AB\n. ."))
    bad = np.full(model.grid.edges, np.nan)
    bad[::2], bad[1::4] = -3.0, np.inf
    repaired = cheapest(model, fixed_point(bad))
    assert repaired is not None
    assert repaired.bound <= 4 * ONE
    raw = cheapest(model, np.full(model.grid.edges, -5 * ONE))
    assert raw is not None
    assert raw.bound == 2 * ONE


def test_the_cheapest_tree_is_the_brute_force_one() -> None:
    problem = board("""
        A . A
        . . .
        A B AB
    """, 3)  # fmt: skip
    model = model_of(problem)
    rng = np.random.default_rng(3)
    trees = [all_trees(model, net) for net in range(2)]
    for _ in range(5):
        priced = cheapest(model, fixed_point(rng.uniform(0, 3, model.grid.edges)))
        assert priced is not None
        for net in range(2):
            cost = model.cost(net, priced.prices)
            assert priced.least[net] == min(int(cost[list(tree)].sum()) for tree in trees[net])
            assert cost[priced.routes[net]].sum() == priced.least[net]


def test_a_move_is_ruled_out_exactly_where_every_tree_with_it_is_too_long() -> None:
    problem = board("""
        A . .
        . A .
        A . .
    """)
    model = model_of(problem)
    priced = cheapest(model, fixed_point(np.random.default_rng(5).uniform(0, 1, model.grid.edges)))
    assert priced is not None
    cost = model.cost(0, priced.prices)
    slack = ONE // 2
    short = [tree for tree in all_trees(model, 0) if cost[list(tree)].sum() - priced.least[0] <= slack]
    expected = sorted({edge for tree in short for edge in tree})
    kept = surviving_arcs(model, priced, 0, slack)
    assert sorted(set(model.move_edge[kept].tolist())) == expected


def test_a_net_of_many_tiles_is_bounded_by_some_and_routed_to_all() -> None:
    problem = board("""
        A . A . A
        . A . A .
        A . A . A
        . A . A .
    """)
    solution = exact.route(problem)
    wirelength = check_legal(problem, solution)
    assert lower_bound(problem) < solution.info["bound"]["value"] <= wirelength
    assert solution.info["optimal"]
    assert solution.info["gap"] == 0


def test_above_the_memory_limit_it_refuses_and_names_the_other_bound() -> None:
    problem = board("""
        AB AB
        .  .
    """)
    bound = exact.bound(problem, memory_limit=1000)
    assert (bound.kind, bound.value) == ("Manhattan", 2)
    assert "refused" in bound.message
    assert f"{bound.memory_bytes:,}" in bound.message
    assert exact.bound(board("A A\nA ."), memory_limit=1000).kind == "half-perimeter"
    solution = exact.route(problem, memory_limit=1000)
    assert solution.info["status"] == "refused"
    assert exact.proves_unroutable(problem, memory_limit=1000) is None


def test_a_time_limit_is_kept_and_said() -> None:
    rng = np.random.default_rng(0)
    nets = tuple(Net(f"n{i}", str(i), tuple((int(x), int(y), 1) for x, y in rng.integers(0, 24, (2, 2))))
                 for i in range(200))  # fmt: skip
    problem = Problem(24, 24, (Layer(4, 0), Layer(0, 4)), nets)
    solution = exact.route(problem, time_limit=1e-3)
    assert solution.info["status"] == "time limit"
    assert solution.info["bound"]["value"] >= lower_bound(problem)
    assert "time limit" in solution.info["bound"]["message"]
    with pytest.raises(ValueError, match="time_limit must be positive"):
        exact.bound(problem, time_limit=0)


def test_progress_is_told_and_an_interrupt_in_it_goes_through() -> None:
    problem = board("AB AB\n. .")
    told: list[tuple[int, int, str]] = []
    exact.route(problem, progress=lambda *news: told.append(news))
    assert told
    assert all(0 <= done <= total for done, total, _ in told)
    assert told[-1][0] == told[-1][1]

    def stop(done: int, total: int, message: str) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        exact.route(problem, progress=stop)


def test_the_same_seed_gives_the_same_routes() -> None:
    problem = random_problem(np.random.default_rng(11), 2)
    first, second = exact.route(problem, seed=4), exact.route(problem, seed=4)
    assert all((a == b).all() for a, b in zip(first.edges, second.edges, strict=True))


def test_nets_that_need_no_route_are_left_out() -> None:
    inside = Net("inside", "0", ((0, 0, 1), (0, 0, 1)))
    problem = Problem(2, 2, (Layer(1, 1),), (inside, Net("a", "1", ((0, 0, 1), (0, 0, 1), (1, 1, 1)))))
    solution = exact.route(problem)
    assert [len(edges) for edges in solution.edges] == [0, 2]
    empty = exact.route(Problem(2, 2, (Layer(1, 1),), (inside,)))
    assert empty.info["status"] == "optimal"
    assert grid_of(empty.problem).nodes == 4
