"""Generators: one seed is one file, the published sets are as published, solvable problems are solvable."""

import numpy as np
import pytest
from boards import drawn
from hypothesis import given, settings
from hypothesis import strategies as st

from routing_env import Layer, read_problem, write_problem
from routing_env.generators.clustered import clustered
from routing_env.generators.published import published, published_set
from routing_env.generators.solvable import solvable, solvable_with_solution
from routing_env.grid import grid_of
from routing_env.metrics import summary
from routing_env.plugins import names, pick
from routing_env.routers import astar
from routing_env.solution import usage

GENERATORS = [published, clustered, solvable]
every = pytest.mark.parametrize("generate", GENERATORS)


def test_every_generator_is_listed_and_tested_here():
    assert [pick("generators", name) for name in names("generators")] == sorted(GENERATORS, key=lambda g: g.__name__)


@every
def test_the_same_seed_gives_the_same_bytes_whatever_numpys_global_state(generate, tmp_path):
    files = []
    for name, state in (("a.gr", 1), ("b.gr", 2), ("c.gr.gz", 3), ("d.gr.gz", 4)):
        np.random.seed(state)  # noqa: NPY002
        write_problem(generate(seed=5), tmp_path / name)
        files.append((tmp_path / name).read_bytes())
    assert files[0] == files[1]
    assert files[2] == files[3]
    assert read_problem(tmp_path / "a.gr") == generate(seed=5)


@every
def test_another_seed_gives_another_problem(generate):
    assert generate(seed=0) != generate(seed=1)
    assert generate(seed=0).name != generate(seed=1).name


@every
@pytest.mark.parametrize(
    ("argument", "value"),
    [("seed", -1), ("seed", 0.5), ("seed", None), ("width", 0), ("height", "8"), ("nets", -1), ("nets", True),
     ("max_pins", 1)],
)  # fmt: skip
def test_impossible_arguments_are_refused_by_name(generate, argument, value):
    with pytest.raises(ValueError, match=argument):
        generate(**{"seed": 0, argument: value})


@pytest.mark.parametrize(
    ("generate", "argument", "value"),
    [(published, "capacity", 0), (published, "reduced_edges", 113), (published, "reduced_capacity", -1),
     (clustered, "clusters", 0), (clustered, "spread", 1.5), (clustered, "global_share", float("nan")),
     (clustered, "layers", 0), (clustered, "layers", 1001), (solvable, "slack", -1), (solvable, "detour", -1)],
)  # fmt: skip
def test_impossible_arguments_of_one_generator_are_refused_by_name(generate, argument, value):
    with pytest.raises(ValueError, match=argument):
        generate(**{"seed": 0, argument: value})


# Published


def test_a_published_problem_looks_like_the_published_files(tmp_path):
    problem = published(seed=3, nets=40)
    assert problem.layers == (Layer(5, 0), Layer(0, 5))
    assert (problem.shape, problem.tile_size, problem.origin) == ((8, 8, 2), (10, 10), (0, 0))
    assert [net.name for net in problem.nets[:2]] + [net.id for net in problem.nets[-1:]] == ["A1", "A2", "40"]
    assert [change.capacity for change in problem.adjustments] == [3, 3, 3]


def test_published_pins_fill_their_ranges_and_counts_theirs():
    nets = [net for p in published_set(40, seed=1, width=4, height=3, max_pins=5, reduced_edges=0) for net in p.nets]
    pins = np.array([pin for net in nets for pin in net.pins])
    assert (pins.min(0).tolist(), pins.max(0).tolist()) == ([1, 1, 1], [39, 29, 1])
    counts = np.bincount([len(net.pins) for net in nets])
    assert len(counts) == 6
    assert (abs(counts[2:] - 500) < 100).all()


def test_the_reduced_edges_of_a_set_carry_the_most_traffic_over_the_set():
    plain = published_set(4, seed=2, reduced_edges=0)
    problems = published_set(4, seed=2, reduced_edges=5)
    grid = grid_of(plain[0])
    traffic = sum(usage(astar.route(problem, sharing="none")) for problem in plain)
    traffic[2::3] = 0
    chosen = [grid.edge(grid.node(c.first), grid.node(c.second)) for c in problems[0].adjustments]
    assert traffic[chosen].tolist() == sorted(traffic, reverse=True)[:5]
    for problem, unreduced in zip(problems, plain, strict=True):
        assert problem.adjustments == problems[0].adjustments
        assert problem.nets == unreduced.nets


def test_the_first_netlists_of_a_set_do_not_depend_on_its_size():
    short, long = published_set(2, seed=9, nets=5), published_set(4, seed=9, nets=5)
    assert [problem.nets for problem in short] == [problem.nets for problem in long[:2]]
    assert published(seed=9, nets=5).nets == short[0].nets


def test_nets_in_one_tile_are_kept():
    problem = published(seed=0, width=1, height=2, nets=30, reduced_edges=1)
    assert len(problem.nets) == 30
    assert any(len(problem.tiles(net)) == 1 for net in problem.nets)


# Clustered


def test_local_nets_are_short_and_global_ones_long():
    def lengths(share):
        problem = clustered(seed=0, width=64, height=64, nets=300, global_share=share)
        return np.mean([np.ptp([problem.tile_of(pin)[0] for pin in net.pins]) for net in problem.nets])

    assert 4 * lengths(0) < lengths(1)


@pytest.mark.parametrize("layers", [1, 2, 3, 7])
def test_clustered_layers_alternate_and_no_net_stays_in_one_tile(layers):
    problem = clustered(seed=1, width=5, height=4, layers=layers, spread=0.0)
    assert len(problem.layers) == layers
    expected = [(10, 10)] if layers == 1 else [((10, 0), (0, 10))[z % 2] for z in range(layers)]
    assert [(layer.horizontal_capacity, layer.vertical_capacity) for layer in problem.layers] == expected
    assert min(len(problem.tiles(net)) for net in problem.nets) >= 2


def test_a_net_needs_two_tiles():
    with pytest.raises(ValueError, match="at least 2 tiles"):
        clustered(seed=0, width=1, height=1)
    assert clustered(seed=0, width=1, height=1, nets=0).nets == ()


# Solvable


@settings(deadline=None, max_examples=60)
@given(
    st.integers(0, 10**6), st.integers(1, 9), st.integers(1, 9), st.integers(1, 6), st.integers(2, 5),
    st.integers(0, 2), st.integers(0, 3),
)  # fmt: skip
def test_the_hidden_routing_connects_every_net_without_overflow(seed, width, height, layers, pins, slack, detour):
    problem, hidden = solvable_with_solution(
        seed=seed, width=width, height=height, layers=layers, nets=12, max_pins=pins, slack=slack, detour=detour
    )
    measured = summary(problem, hidden)
    assert (measured.total_overflow, measured.unrouted) == (0, ())
    grid, used = grid_of(problem), usage(hidden)
    planar = grid.exists & (np.arange(grid.edges) % 3 != 2)
    assert (grid.capacity[planar] - used[planar] == slack).all()
    assert problem == solvable(
        seed=seed, width=width, height=height, layers=layers, nets=12, max_pins=pins, slack=slack, detour=detour
    )


def test_a_router_finds_a_legal_routing_where_there_is_slack():
    problem = solvable(seed=0, slack=2)
    assert summary(problem, astar.route(problem)).total_overflow == 0


# Drawn boards


def test_a_drawn_board_is_what_it_shows():
    problem = drawn("a . b\n. # .\nb . a", capacity=2)
    assert problem.shape == (3, 3, 2)
    assert [net.pins for net in problem.nets] == [((2, 0, 1), (0, 2, 1)), ((0, 0, 1), (2, 2, 1))]
    grid = grid_of(problem)
    assert grid.capacity[grid.edge(grid.node((0, 1, 0)), grid.node((1, 1, 0)))] == 0
    assert grid.capacity[grid.edge(grid.node((0, 0, 0)), grid.node((1, 0, 0)))] == 2
