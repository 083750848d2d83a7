"""Connections along cheapest trees: as short as brute force says, joined at branching nodes, playable and complete."""

from itertools import combinations, pairwise

import networkx as nx
import numpy as np
import pytest
from boards import drawn
from referee import random_problem

from agents.demonstrations import transitions
from routing_env import Layer, Net, Problem
from routing_env.decompose import connections
from routing_env.device_env import TensorRouting
from routing_env.grid import grid_of
from routing_env.gym_env import GlobalRouting
from routing_env.solution import components
from routing_env.state import solution_of
from routing_env.vector_env import GlobalRoutingVector


def open_graph(problem, net):
    """Nodes of the box around the net's pins and the edges between them where a wire of the net fits."""
    grid = grid_of(problem)
    tiles = problem.tiles(problem.nets[net])
    graph = nx.Graph()
    graph.add_nodes_from(grid.node(tile) for tile in tiles)
    low, high = np.min(tiles, axis=0), np.max(tiles, axis=0)
    for a, b, data in grid.to_networkx().edges(data=True):
        ends = np.array([grid.tile(a), grid.tile(b)])[:, :2]
        inside = (ends >= low[:2]).all() and (ends <= high[:2]).all()
        layer = grid.tile(min(a, b))[2]
        if inside and (data["edge"] % 3 == 2 or data["capacity"] >= grid.demand[net, layer]):
            graph.add_edge(a, b)
    return graph


def spanning_length(distance, nodes):
    """Length of a minimum spanning tree over nodes by Prim's rule."""
    left, near, total = set(nodes[1:]), {node: distance[nodes[0]].get(node, 10**9) for node in nodes[1:]}, 0
    while left:
        node = min(left, key=near.__getitem__)
        total += near[node]
        left.remove(node)
        for other in left:
            near[other] = min(near[other], distance[node].get(other, 10**9))
    return total


def shortest(distance, pins):
    """The least length of a tree over pins, with up to pins - 2 more nodes tried one set after the other."""
    nodes = [node for node in distance if node not in pins]
    sets = (extra for k in range(len(pins) - 1) for extra in combinations(nodes, k))
    return min(spanning_length(distance, [*pins, *extra]) for extra in sets)


@pytest.mark.parametrize("seed", range(20))
def test_connections_are_as_long_together_as_the_shortest_tree(seed):
    problem = random_problem(np.random.default_rng(seed))
    grid = grid_of(problem)
    rows = connections(problem, "steiner")
    plain = connections(problem)
    assert list(dict.fromkeys(rows[:, 0].tolist())) == list(dict.fromkeys(plain[:, 0].tolist()))
    for net in set(rows[:, 0].tolist()):
        pins = [grid.node(tile) for tile in problem.tiles(problem.nets[net])]
        mine = rows[rows[:, 0] == net, 1:].tolist()
        graph = open_graph(problem, net)
        distance = dict(nx.all_pairs_shortest_path_length(graph))
        if len(pins) == 2 or not all(pin in distance[pins[0]] for pin in pins):
            assert mine == plain[plain[:, 0] == net, 1:].tolist()
            continue
        assert sum(distance[a][b] for a, b in mine) == shortest(distance, pins)
        assert mine[0][0] == pins[0]
        reached = {pins[0]}
        for a, b in mine:  # a tree that grows from the first pin
            assert a in reached
            assert b not in reached
            reached.add(b)
        assert set(pins) <= reached
        joints = [end for row in mine for end in row]
        assert all(joints.count(node) > 2 for node in reached - set(pins)), "only where the tree branches"


def test_three_arms_meet_in_the_middle():
    problem = drawn(
        """
        . . . . .
        a . . . a
        . . . . .
        . . a . .
        """,
        capacity=4, layers=1,
    )  # fmt: skip
    grid = grid_of(problem)
    walked = [(grid.tile(a), grid.tile(b)) for _, a, b in connections(problem, "steiner").tolist()]
    assert {tile for pair in walked for tile in pair} - {(0, 2, 0), (4, 2, 0), (2, 0, 0)} == {(2, 2, 0)}
    assert sum(abs(a[0] - b[0]) + abs(a[1] - b[1]) for a, b in walked) == 6
    assert len(connections(problem)) == 2


def test_a_net_of_many_pins_gets_a_tree_and_an_unknown_way_is_refused():
    tiles = [(x, y, 1) for x in range(0, 10, 2) for y in range(0, 10, 3)]
    problem = Problem(10, 10, (Layer(5, 5),), (Net("many", "0", tuple(tiles)),))
    rows = connections(problem, "steiner")[:, 1:].tolist()
    tree = nx.Graph(rows)
    assert nx.is_tree(tree)
    assert {grid_of(problem).node((x, y, 0)) for x, y, _ in tiles} <= set(tree)
    with pytest.raises(ValueError, match="decomposition 'stainer' is none of spanning, steiner"):
        connections(problem, "stainer")


@pytest.mark.parametrize("seed", range(6))
def test_environments_play_these_connections_and_join_every_net(seed):
    problem = random_problem(np.random.default_rng(100 + seed))
    rows = connections(problem, "steiner")
    options = {"reward": "overflow", "max_steps": 200, "decomposition": "steiner"}
    envs = [GlobalRouting(problem, **options), GlobalRoutingVector(1, [problem], **options)]
    tables = [env.state.connections[0] for env in envs] + [TensorRouting([problem], **options).tables["connections"][0]]
    for table in tables:
        assert table[:, :3].tolist() == rows.tolist()
    env = envs[0]
    env.reset()
    grid = grid_of(problem)
    graph = grid.to_networkx()
    for _, a, b in rows.tolist():
        if not nx.has_path(graph, a, b):
            return
        path = nx.shortest_path(graph, a, b)
        for here, there in pairwise(path):
            env.step(2 * (grid.edge(here, there) % 3) + (there < here))
    solution = solution_of(problem, env.state)
    for net, edges in zip(problem.nets, solution.edges, strict=True):
        nodes = [grid.node(tile) for tile in problem.tiles(net)]
        assert len(components(grid, edges, nodes)) == 1


def test_demonstrations_walk_the_connections_of_the_environment():
    problem = drawn("a . . . . . a\n. . . . . . .\n. . . a . . .", capacity=9)
    for way, many in (("spanning", 2), ("steiner", 3)):
        found = transitions(problem, {"reward": "overflow", "max_steps": 50, "decomposition": way})
        assert sum(one.made for one in found) == len(connections(problem, way)) == many
