"""Reports: the numbers add up, name what is wrong, and read well."""

import dataclasses
import json

import numpy as np
from boards import drawn, problems, routed, solutions
from hypothesis import given, settings
from hypothesis import strategies as st

from routing_env import Net, Problem, Solution
from routing_env.generators.clustered import clustered
from routing_env.metrics import lower_bound, summary
from routing_env.report import EdgeRow, report
from routing_env.routers import astar


def crowded():
    """Two nets over one edge of capacity 1, a third one around a corner, a fourth without a route."""
    problem = drawn("a . a\n. . .\nc . c\nd d .", capacity=1)
    nets = (*problem.nets, Net("e", "9", ((0, 3, 1), (1, 3, 1))))
    problem = Problem(problem.width, problem.height, problem.layers, nets, name="crowded")
    detour = [(0, 1, 0), (1, 1, 0), (1, 1, 1), (1, 2, 1), (1, 2, 0), (2, 2, 0), (2, 2, 1), (2, 1, 1), (2, 1, 0)]
    walks = [[(0, 3, 0), (1, 3, 0), (2, 3, 0)], detour, [], [(0, 3, 0), (1, 3, 0)]]
    return problem, routed(problem, *walks)


def test_an_edge_over_its_capacity_names_the_nets_that_cross_it():
    found = report(*crowded())
    assert found.edges[0] == EdgeRow(0, 3, 1, "horizontal", 2, 1, 1, ("a", "e"))
    assert {edge.overflow for edge in found.edges[1:]} == {0}
    over = {net.name: net.overflowed_edges for net in found.nets}
    assert over == {"a": 1, "c": 0, "d": 0, "e": 1}


def test_detoured_nets_come_first_and_unconnected_ones_last():
    found = report(*crowded())
    assert [(net.name, net.detour) for net in found.nets] == [("c", 6), ("a", 0), ("e", 0), ("d", None)]
    worst = found.nets[0]
    assert (worst.pins, worst.wirelength, worst.planar, worst.vias, worst.bound) == (2, 8, 4, 4, 2)
    assert not found.nets[-1].connected


def test_layers_count_their_own_wires_vias_and_overflow():
    first, second = report(*crowded()).layers
    assert (first.layer, first.wirelength, first.vias_up, first.used, first.capacity) == (1, 5, 4, 5, 8)
    assert (first.overflow, first.overflowed_edges, first.max_congestion) == (1, 1, 2.0)
    assert (second.wirelength, second.vias_up, second.overflow, second.max_congestion) == (2, 0, 0, 1.0)


def test_the_text_says_what_matters_in_aligned_lines():
    text = report(*crowded()).text()
    assert "routed      3 of 4 nets" in text
    assert "overflow    1 on 1 edges, at most 1" in text
    assert "unrouted    d" in text
    assert "(0, 3)" in text
    assert "a, e" in text
    assert all(line == line.rstrip() and len(line) <= 120 for line in text.splitlines())
    table = text.split("\n\n")[1].splitlines()
    assert len({len(line) for line in table}) == 1


def test_a_legal_routing_needs_no_worst_lists_of_nets():
    problem = drawn("a a")
    text = report(problem, astar.route(problem)).text()
    assert "overflow    0" in text
    assert "detoured" not in text
    assert "router      astar" in text


def test_json_is_the_dict_and_holds_nothing_that_json_does_not_know():
    problem, solution = crowded()
    info = {"bound": np.int64(3), "gap": float("inf"), "history": np.arange(2), 1: (2, None)}
    found = report(problem, Solution(problem, solution.edges, info))
    assert json.loads(found.to_json()) == found.to_dict()
    assert found.to_dict()["info"] == {"bound": 3, "gap": None, "history": [0, 1], "1": [2, None]}
    assert found.to_json().count("\n") == 0


def test_an_empty_problem_has_a_report():
    problem = clustered(seed=0, nets=0, width=1, height=1)
    assert "0 of 0 nets" in report(problem, Solution.of(problem, [])).text()


@settings(deadline=None)
@given(st.data())
def test_rows_add_up_to_the_totals(data):
    problem = data.draw(problems())
    solution = data.draw(solutions(problem))
    found, totals = report(problem, solution), summary(problem, solution)
    assert found.totals == totals
    assert found.bound == lower_bound(problem)
    for name, rows in (("wirelength", found.nets), ("planar", found.nets), ("vias", found.nets)):
        total = {"wirelength": totals.wirelength, "planar": totals.planar_wirelength, "vias": totals.vias}[name]
        assert sum(getattr(row, name) for row in rows) == total
    assert sum(layer.wirelength for layer in found.layers) == totals.planar_wirelength
    assert sum(layer.vias_up for layer in found.layers) == totals.vias
    for rows in (found.layers, found.edges):
        assert sum(row.overflow for row in rows) == totals.total_overflow
    assert sum(layer.used for layer in found.layers) == sum(edge.used for edge in found.edges)
    assert tuple(net.name for net in found.nets if not net.connected) == totals.unrouted
    assert sum(dataclasses.asdict(edge)["overflow"] > 0 for edge in found.edges) == totals.overflowed_edges
    assert isinstance(found.text(worst=3), str)
    json.loads(found.to_json())
