"""Solutions: the edges of each net, what they use, and which nets they connect; networkx says the same."""

import networkx as nx
import numpy as np
import pytest
from boards import drawn, problems, routed, solutions
from hypothesis import given, settings
from hypothesis import strategies as st

from routing_env import Layer, Net, Problem, Solution
from routing_env.grid import grid_of
from routing_env.metrics import lower_bound, summary
from routing_env.solution import components, needs_route, usage


def test_edges_are_sorted_and_distinct():
    problem = drawn("a . a")
    grid = grid_of(problem)
    edge = grid.edge(0, 1)
    solution = Solution.of(problem, [[grid.edge(1, 2), edge, edge]])
    assert solution.edges[0].tolist() == [grid.edge(0, 1), grid.edge(1, 2)]
    assert solution.edges[0].dtype == np.int32


def test_every_net_needs_its_own_route():
    with pytest.raises(ValueError, match="1 routes for 2 nets"):
        Solution.of(drawn("a a\nb b"), [[]])


@pytest.mark.parametrize("edge", [-1, 10**6, 3 * 2, 3 * 1 + 1])
def test_a_number_that_is_no_edge_of_the_grid_is_refused(edge):
    # tile 2 is the last column and row 0 the only row: neither has a next one
    with pytest.raises(ValueError, match=f"net 'a': {edge} is not an edge"):
        Solution.of(drawn("a . a"), [[edge]])


def test_a_net_is_connected_when_one_piece_holds_all_its_pins():
    problem = drawn("a . a\n. b .\n. b .", capacity=1)
    solution = routed(problem, [(0, 2, 0), (1, 2, 0)], [(1, 1, 0), (1, 1, 1), (1, 0, 1), (1, 0, 0)])
    assert [solution.connected(0), solution.connected(1)] == [False, True]
    assert solution.unrouted() == ["a"]
    assert len(solution.pieces(0)) == 2


def test_nets_in_one_tile_and_without_pins_are_connected_by_nothing():
    layers = (Layer(1, 1),)
    problem = Problem(2, 2, layers, (Net("here", "0", ((0, 0, 1), (0, 0, 1))), Net("none", "1", ())))
    assert Solution.of(problem, [[], []]).unrouted() == []
    assert not any(needs_route(problem, net) for net in problem.nets)


def test_a_wire_uses_the_wider_of_its_widths_and_the_spacing_once_an_edge():
    layers = (Layer(9, 0, min_width=2, min_spacing=3), Layer(0, 9))
    nets = (Net("wide", "0", ((0, 0, 1), (1, 0, 1)), min_width=4), Net("thin", "1", ((0, 0, 1), (1, 0, 1))))
    problem = Problem(2, 1, layers, nets)
    solution = routed(problem, [(0, 0, 0), (1, 0, 0), (0, 0, 0)], [(0, 0, 0), (1, 0, 0), (1, 0, 1)])
    used, grid = usage(solution), grid_of(problem)
    assert used[grid.edge(0, 1)] == (4 + 3) + (2 + 3)
    assert used[grid.edge(1, 3)] == 1
    assert used.sum() == 13
    assert summary(problem, solution).total_overflow == 3


@settings(deadline=None)
@given(st.data())
def test_connection_use_and_length_are_what_networkx_says(data):
    problem = data.draw(problems())
    solution = data.draw(solutions(problem))
    grid, used = grid_of(problem), usage(solution)
    for i, (net, edges) in enumerate(zip(problem.nets, solution.edges, strict=True)):
        graph = nx.Graph([grid.ends(edge) for edge in edges.tolist()])
        pins = {grid.node(tile) for tile in problem.tiles(net)}
        graph.add_nodes_from(pins)
        groups = {frozenset(group) for group in nx.connected_components(graph)}
        assert {frozenset(group) for group in components(grid, edges.tolist(), pins)} == groups
        assert solution.connected(i) == (sum(bool(group & pins) for group in groups) <= 1)
        for edge in edges.tolist():
            used[edge] -= 1 if edge % 3 == 2 else grid.demand[i, grid.tile(edge // 3)[2]]
    assert not used.any()
    legal = all(grid.exists[edges].all() for edges in solution.edges)  # the bound counts on forbidden directions
    if legal and not solution.unrouted():
        assert summary(problem, solution).wirelength >= lower_bound(problem)
