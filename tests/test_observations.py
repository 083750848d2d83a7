"""Each observation against what its docstring says, worked out from tiles and edges in plain Python."""

import gymnasium
import numpy as np
import pytest

from routing_env import Adjustment, Layer, Net, Problem, rules
from routing_env.generators.published import published
from routing_env.grid import grid_of
from routing_env.observations.window import Window

WIDE = Problem(
    6, 5, (Layer(9, 0, 2, 1), Layer(0, 7, 1, 1), Layer(6, 0, 3, 0)),
    (Net("a", "0", ((0, 0, 1), (5, 4, 1)), 4), Net("b", "1", ((5, 0, 2), (0, 3, 1), (3, 3, 3))),
     Net("c", "2", ((1, 1, 1), (1, 4, 1)))),
    adjustments=(Adjustment((2, 1, 0), (3, 1, 0), 3), Adjustment((0, 2, 1), (0, 3, 1), 0)),
)  # fmt: skip


class Seen:
    """What there is to see, from the environment's solution under way."""

    def __init__(self, env):
        self.env, self.problem, self.grid = env, env.problem, grid_of(env.problem)
        row = env.state.state[0]
        self.at = tuple(row[[rules.X, rules.Y, rules.Z]].tolist())
        self.target = tuple(row[[rules.TARGET_X, rules.TARGET_Y, rules.TARGET_Z]].tolist())
        self.net = int(env.state.connections[0, row[rules.CONNECTION], 0])
        logged = env.state.log[0, 0, : row[rules.LOGGED]]
        self.used = {}
        for crossing, connection in logged.tolist():
            connection = connection if connection >= 0 else ~connection
            net = int(env.state.connections[0, connection, 0])
            edge = int(self.grid.edge_of_move()[crossing >> 3, crossing & 7])
            layer = crossing // 8 // (self.problem.width * self.problem.height)
            self.used[edge] = self.used.get(edge, 0) + (1 if edge % 3 == 2 else int(self.grid.demand[net, layer]))

    def room(self, tile, step):
        """Length units left on the edge of a step; None where there is no edge."""
        to = tuple(a + b for a, b in zip(tile, step, strict=True))
        if not all(0 <= p < side for p, side in zip(to, self.problem.shape, strict=True)):
            return None
        edge = self.grid.edge(self.grid.node(tile), self.grid.node(to))
        return int(self.grid.capacity[edge]) - self.used.get(edge, 0) if self.grid.exists[edge] else None

    def wires(self, tile, step):
        """Share of four wires that fit on the edge of a step."""
        left = self.room(tile, step)
        demand = 1 if step[2] else int(self.grid.demand[self.net, tile[2]])
        return 0.0 if left is None else min(max(left, 0) / demand, 4) / 4


STEPS = [(1, 0, 0), (-1, 0, 0), (0, 1, 0), (0, -1, 0), (0, 0, 1), (0, 0, -1)]


def published_twin(seen):
    largest = max(1, int(seen.grid.capacity.reshape(-1, 3)[:, :2].max()))
    rooms = [seen.room(seen.at, step) for step in STEPS]
    most = [largest] * 4 + [10] * 2
    ahead = [b - a for a, b in zip(seen.at, seen.target, strict=True)]
    return [*seen.at, *(max(0, min(r or 0, m)) for r, m in zip(rooms, most, strict=True)), *ahead]


def place_and_direction(seen):
    sides = [max(1, side - 1) for side in seen.problem.shape]
    place = [2 * p / side - 1 for p, side in zip(seen.at, sides, strict=True)]
    return place, [(b - a) / side for a, b, side in zip(seen.at, seen.target, sides, strict=True)]


def scaled_twin(seen):
    place, direction = place_and_direction(seen)
    return [*place, *(seen.wires(seen.at, step) for step in STEPS), *direction]


def run_room(seen, tile, axis, to):
    """The largest over layers of the least share of wires on the run from a tile along an axis."""
    forward = 1 if to > tile[axis] else -1
    step = tuple(forward if i == axis else 0 for i in range(3))
    best = 0.0
    for layer in range(len(seen.problem.layers)):
        least, at = 1.0, [tile[0], tile[1], layer]
        while at[axis] != to:
            least = min(least, seen.wires(tuple(at), step))
            at[axis] += forward
        best = max(best, least)
    return best


def corridors_twin(seen):
    (x, y, _), (u, v, _) = seen.at, seen.target
    runs = [((x, y), 0, u), ((u, y), 1, v), ((x, y), 1, v), ((x, v), 0, u)]
    return scaled_twin(seen) + [run_room(seen, tile, axis, to) for tile, axis, to in runs]


def window_twin(seen, reach=2):
    place, direction = place_and_direction(seen)
    cells = []
    for layer in range(len(seen.problem.layers)):
        for row in range(seen.at[1] - reach, seen.at[1] + reach + 1):
            for column in range(seen.at[0] - reach, seen.at[0] + reach + 1):
                inside = 0 <= column < seen.problem.width and 0 <= row < seen.problem.height
                cells += [seen.wires((column, row, layer), step) if inside else 0.0 for step in (STEPS[0], STEPS[2])]
    return [*place, *direction, *cells]


TWINS = {"published": published_twin, "scaled": scaled_twin, "corridors": corridors_twin, "window": window_twin}


@pytest.mark.parametrize("problem", [published(seed=0, nets=12, capacity=2, reduced_capacity=1), WIDE])
@pytest.mark.parametrize("name", TWINS)
def test_every_entry_is_what_the_docstring_says(name, problem):
    env = gymnasium.make("GlobalRouting-v0", problem=problem, observation=name).unwrapped
    rng = np.random.default_rng(0)
    obs, info = env.reset(seed=0)
    for _ in range(400):
        np.testing.assert_allclose(obs, TWINS[name](Seen(env)), atol=1e-6)
        obs, _, over, _, info = env.step(rng.choice(np.flatnonzero(info["action_mask"])))
        if over:
            obs, info = env.reset()


def test_the_window_has_the_size_asked_for():
    env = gymnasium.make("GlobalRouting-v0", problem=WIDE, observation=Window(size=3)).unwrapped
    obs, _ = env.reset(seed=0)
    assert obs.shape == (6 + 2 * 9 * 3,)
    np.testing.assert_allclose(obs, window_twin(Seen(env), reach=1), atol=1e-6)


def test_an_even_window_is_refused():
    with pytest.raises(ValueError, match="odd"):
        Window(size=4)
