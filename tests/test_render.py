"""Pictures: they show what they are given, on any board, and leave the data and matplotlib's state alone."""

import subprocess
import sys

import numpy as np
import pytest
from boards import drawn, problems, routed, solutions
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import LineCollection, PathCollection, PolyCollection
from matplotlib.colors import to_rgb, to_rgba
from matplotlib.figure import Figure

from routing_env import Layer, Problem, Solution
from routing_env._drawing import OVER, changed, lanes, layer_colours
from routing_env.generators.clustered import clustered
from routing_env.generators.published import published
from routing_env.render import draw_congestion, draw_routes, draw_side_by_side, draw_training, frame
from routing_env.routers import astar

ROWS = [{"pass": i, "reward": 10 * i - i * i, "routed": min(i, 6), "wirelength": 30 - i} for i in range(10)]


def painted(figure):
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3]


def has(pixels, colour):
    return bool((pixels == np.round(np.array(to_rgb(colour)) * 255).astype(np.uint8)).all(-1).any())


def axes():
    figure = Figure((5, 4))
    return figure, figure.subplots()


def wires(ax):
    """The drawn wires without the walls between the tiles."""
    return [c for c in ax.collections if isinstance(c, LineCollection) and c.get_zorder() >= 3]


def one_wire():
    problem = drawn("a . a\n. . .", capacity=1)
    return problem, routed(problem, [(0, 1, 0), (1, 1, 0), (1, 1, 1), (1, 0, 1), (1, 0, 0)])


def test_wires_lie_on_their_layer_in_its_colour():
    figure, ax = axes()
    draw_routes(ax, *one_wire())
    assert [len(layer.get_segments()) for layer in wires(ax)] == [1, 1]
    pixels = painted(figure)
    assert all(has(pixels, colour) for colour in layer_colours(2))


def test_one_layer_shows_its_own_wires_only_and_counts_from_1():
    problem, solution = one_wire()
    _, ax = axes()
    draw_routes(ax, problem, solution, layer=2)
    (second,) = wires(ax)
    (segment,) = second.get_segments()
    assert segment[0][0] == segment[1][0]
    for wrong in (0, 3):
        for draw in (draw_routes, draw_congestion):
            with pytest.raises(ValueError, match=f"layer {wrong} lies outside 1..2"):
                draw(ax, problem, solution, layer=wrong)


def test_pins_of_unrouted_nets_stand_out():
    problem, solution = one_wire()
    _, ax = axes()
    draw_routes(ax, problem, solution)
    pins = [c for c in ax.collections if isinstance(c, PathCollection)][-1]
    assert (pins.get_facecolors() == to_rgba(OVER)).all()
    assert "pin, net unrouted" in [text.get_text() for text in ax.get_legend().get_texts()]


def test_reduced_and_closed_edges_are_marked_and_explained():
    problem = published(seed=0, nets=5, reduced_edges=2)
    assert sorted(changed(problem, [0, 1]).values()) == [3, 3]
    _, ax = axes()
    draw_routes(ax, problem, astar.route(problem))
    assert "reduced edge" in [text.get_text() for text in ax.get_legend().get_texts()]
    blocked = drawn("a . a\n. # .")
    _, ax = axes()
    draw_routes(ax, blocked, astar.route(blocked))
    assert "closed edge" in [text.get_text() for text in ax.get_legend().get_texts()]


def test_congestion_shows_use_of_capacity_and_overflow_beyond_the_scale():
    problem = drawn("a . a\nb b .", capacity=2)
    over = drawn("a a\nb b", capacity=1)
    figure, ax = axes()
    draw_congestion(ax, problem, astar.route(problem))
    heat = next(c for c in ax.collections if isinstance(c, PolyCollection))
    # rows 0 and 1 of layer 1, then the columns of layer 2, each with capacity 2
    assert sorted(heat.get_array().tolist()) == [0.0, 0.0, 0.0, 0.0, 0.5, 0.5, 0.5]
    assert not has(painted(figure)[:, : painted(figure).shape[1] * 3 // 4], OVER)
    walk = [(0, 1, 0), (1, 1, 0)]
    figure, ax = axes()
    draw_congestion(ax, over, routed(over, walk, [(0, 0, 0), (0, 0, 1), (0, 1, 1), (0, 1, 0), *walk[1:]]), bar=False)
    assert has(painted(figure), OVER)
    assert "+1" in [text.get_text() for text in ax.texts]


def test_routers_stand_side_by_side_with_their_length_and_overflow():
    problem = published(seed=1, nets=20)
    solutions = {"A*": astar.route(problem), "nothing": Solution.of(problem, [[] for _ in problem.nets])}
    figure = Figure((9, 8))
    draw_side_by_side(figure, problem, solutions)
    top = figure.axes[:2]
    assert [ax.get_title().strip() for ax in top] == ["A*", "nothing"]
    assert (
        top[1].texts[-1].get_text() == f"wirelength 0, overflow 0, {len(solutions['nothing'].unrouted())} nets unrouted"
    )
    painted(figure)
    with pytest.raises(ValueError, match="solutions is empty"):
        draw_side_by_side(figure, problem, {})


def test_the_training_curve_marks_the_pass_with_most_routed_then_most_reward():
    figure, ax = axes()
    draw_training(ax, ROWS)
    assert ax.texts[0].get_text() == "best pass 6: 6 routed, reward 24, wirelength 24"
    painted(figure)
    figure, ax = axes()
    draw_training(ax, ROWS * 50)
    painted(figure)
    with pytest.raises(ValueError, match="rows is empty"):
        draw_training(ax, [])


def test_drawing_changes_neither_the_solution_nor_pyplot():
    problem, solution = one_wire()
    before = [edges.copy() for edges in solution.edges]
    for draw in (draw_routes, draw_congestion):
        assert draw(axes()[1], problem, solution) is None
    assert all(np.array_equal(a, b) for a, b in zip(before, solution.edges, strict=True))
    code = "import sys, routing_env.render; sys.exit('matplotlib.pyplot' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("layers", [1, 2, 6, 7, 20, 100])
def test_layers_have_colours_of_their_own(layers):
    colours = layer_colours(layers)
    assert len(set(colours)) == layers
    assert OVER not in colours


def test_no_two_of_many_nets_share_a_lane():
    at = lanes(500)
    apart = np.abs(at[:, None] - at[None]).max(-1)
    np.fill_diagonal(apart, 1)
    assert apart.min() > 0.01
    assert np.abs(at).max() < 0.32


# Frames


def test_a_frame_is_an_image_of_the_boards_proportions_with_rows_upwards():
    problem = Problem(4, 2, (Layer(1, 1),), ())
    pixels = frame(problem, Solution.of(problem, []), position=(0, 1, 0), size=200)
    assert (pixels.shape, pixels.dtype) == ((100, 200, 3), np.uint8)
    blue = np.round(np.array(to_rgb(layer_colours(1)[0])) * 255)
    assert (pixels[25, 25] == blue).all()
    assert not (pixels[75, 25] == blue).all()


def test_a_frame_shows_wires_agent_target_and_overflow():
    problem, solution = one_wire()
    empty = frame(problem, Solution.of(problem, [[]]))
    pixels = frame(problem, solution)
    assert [has(empty, colour) for colour in layer_colours(2)] == [False, False]
    assert [has(pixels, colour) for colour in layer_colours(2)] == [True, True]
    assert not has(pixels, OVER)
    assert has(frame(problem, solution, target=(2, 1, 0)), OVER)
    crowded = drawn("a a\nb b")
    twice = routed(crowded, [(0, 1, 0), (1, 1, 0)], [(0, 0, 0), (0, 0, 1), (0, 1, 1), (0, 1, 0), (1, 1, 0)])
    assert has(frame(crowded, twice), OVER)


def test_a_frame_needs_two_pixels_a_tile():
    problem, solution = one_wire()
    with pytest.raises(ValueError, match="size 5 is too small for 3 tiles; it must be at least 6"):
        frame(problem, solution, size=5)
    assert frame(problem, solution, (0, 0, 0), (2, 0, 1), size=6).shape == (4, 6, 3)


def test_large_boards_of_many_layers_can_be_drawn():
    problem = clustered(seed=0, width=64, height=64, layers=9, nets=150)
    solution = astar.route(problem)
    for draw in (draw_routes, draw_congestion):
        figure, ax = axes()
        draw(ax, problem, solution)
        painted(figure)
    assert frame(problem, solution, (0, 0, 8), (63, 63, 0), size=256).shape == (256, 256, 3)


@settings(deadline=None, max_examples=12)
@given(st.data())
def test_any_problem_and_routing_can_be_drawn(data):
    problem = data.draw(problems(side=4))
    solution = data.draw(solutions(problem))
    figure = Figure((4, 4), dpi=40)
    draw_side_by_side(figure, problem, {"any": solution})
    painted(figure)
    tile = (problem.width - 1, problem.height - 1, len(problem.layers) - 1)
    frame(problem, solution, tile, (0, 0, 0), size=64)
