"""Small problems for tests: drawn by hand, or made by hypothesis."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from hypothesis import strategies as st

from routing_env import Adjustment, Layer, Net, Problem, Solution
from routing_env.grid import grid_of

BLOCK = "#"


def drawn(drawing: str, *, capacity: int = 1, layers: int = 2, **layer: int) -> Problem:
    """A problem as it looks: letters are the pins of the net of that name, ``.`` empty tiles, ``#`` closed ones.

    The first drawn row is the top one (largest y). Layers alternate: horizontal, vertical, ... with pins on the first;
    ``layers=1`` allows both directions.
    """
    rows = [row.split() for row in reversed(drawing.strip().splitlines())]
    width, height = len(rows[0]), len(rows)
    assert all(len(row) == width for row in rows), "every row needs as many tiles"
    pins: dict[str, list[tuple[int, int, int]]] = {}
    closed = set()
    for y, row in enumerate(rows):
        for x, mark in enumerate(row):
            if mark == BLOCK:
                closed.add((x, y))
            elif mark != ".":
                pins.setdefault(mark, []).append((x, y, 1))
    flat = (Layer(capacity, capacity, **layer),)
    stack = tuple(Layer(capacity, 0, **layer) if z % 2 == 0 else Layer(0, capacity, **layer) for z in range(layers))
    nets = tuple(Net(name, str(i), tuple(pins[name])) for i, name in enumerate(sorted(pins)))
    changes = []
    for z in range(layers):
        for x, y in sorted(closed):
            for end in ((x + 1, y), (x - 1, y), (x, y + 1), (x, y - 1)):
                if 0 <= end[0] < width and 0 <= end[1] < height:
                    changes.append(Adjustment((x, y, z), (*end, z), 0))
    return Problem(width, height, flat if layers == 1 else stack, nets, adjustments=tuple(changes))


def routed(problem: Problem, *walks: list[tuple[int, int, int]]) -> Solution:
    """A solution from one walk over neighbouring tiles a net; an empty walk leaves the net unrouted."""
    grid = grid_of(problem)
    steps = [[grid.node(tile) for tile in walk] for walk in walks]
    return Solution.of(problem, [[grid.edge(a, b) for a, b in pairwise(at)] for at in steps])


def names() -> st.SearchStrategy[str]:
    """Names that a net may have."""
    text = st.text(st.characters(exclude_categories=["C", "Z"]), min_size=1, max_size=8)
    return text.filter(lambda name: name.isprintable() and name != "!" and name[0] != "(")


@st.composite
def problems(draw: st.DrawFn, side: int = 5, depth: int = 3, nets: int = 4, planar: bool = False) -> Problem:
    """Any valid problem; ``planar`` ones fit the two-dimensional format."""
    small, ids = st.integers(0, 5), st.from_regex(r"[0-9]{1,3}", fullmatch=True)
    width, height = draw(st.integers(1, side)), draw(st.integers(1, side))
    if planar:
        layers = [Layer(draw(small), draw(small))]
        origin, tile = (0, 0), (1, 1)
    else:
        layers = draw(st.lists(st.builds(Layer, small, small, small, small, small), min_size=1, max_size=depth))
        origin = draw(st.tuples(st.integers(-20, 20), st.integers(-20, 20)))
        tile = draw(st.tuples(st.integers(1, 12), st.integers(1, 12)))
    pin = st.tuples(
        st.integers(origin[0], origin[0] + width * tile[0] - 1),
        st.integers(origin[1], origin[1] + height * tile[1] - 1),
        st.integers(1, len(layers)),
    )
    made = [
        Net(name, draw(ids), tuple(draw(st.lists(pin, max_size=5))), draw(small))
        for name in draw(st.lists(names(), max_size=nets, unique=True))
    ]
    changes = [] if planar else draw(st.lists(_adjustments(width, height, len(layers)), max_size=3))
    return Problem(width, height, tuple(layers), tuple(made), origin, tile, tuple(c for c in changes if c is not None))


@st.composite
def _adjustments(draw: st.DrawFn, width: int, height: int, depth: int) -> Adjustment | None:
    x, y, z = draw(st.integers(0, width - 1)), draw(st.integers(0, height - 1)), draw(st.integers(0, depth - 1))
    ends = [(x + 1, y, z)] * (x + 1 < width) + [(x, y + 1, z)] * (y + 1 < height)
    if not ends:
        return None
    ordered = draw(st.permutations([(x, y, z), draw(st.sampled_from(ends))]))
    return Adjustment(ordered[0], ordered[1], draw(st.integers(0, 9)))


@st.composite
def solutions(draw: st.DrawFn, problem: Problem) -> Solution:
    """Any edges of the grid for every net, connected or not."""
    grid = grid_of(problem)
    edges = np.flatnonzero(np.isin(np.arange(grid.edges), grid.edge_of_move())).tolist()
    some = st.lists(st.sampled_from(edges), max_size=12) if edges else st.just([])
    return Solution.of(problem, [draw(some) for _ in problem.nets])
