"""The rules once more, slowly: dictionaries and sets, written from the docstrings; and random problems to play on."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

import numpy as np

from routing_env import Adjustment, Layer, Net, Problem

Tile = tuple[int, int, int]
STEPS = ((1, 0, 0), (-1, 0, 0), (0, 1, 0), (0, -1, 0), (0, 0, 1), (0, 0, -1))


def connections_of(problem: Problem) -> list[tuple[int, Tile, Tile]]:
    """(net, source, target): long half-perimeters first, a minimum spanning tree over each net's tiles."""

    def reach(tiles: list[Tile]) -> int:
        return sum(max(t[axis] for t in tiles) - min(t[axis] for t in tiles) for axis in (0, 1))

    nets = []
    for i, net in enumerate(problem.nets):
        tiles = []
        for x, y, layer in net.pins:
            left, bottom = problem.origin
            tile = ((x - left) // problem.tile_size[0], (y - bottom) // problem.tile_size[1], layer - 1)
            if tile not in tiles:
                tiles.append(tile)
        if len(tiles) > 1 and len(net.pins) <= 1000:
            nets.append((-reach(tiles), i, tiles))
    rows = []
    for _, i, tiles in sorted(nets):
        tree = [tiles[0]]
        while len(tree) < len(tiles):
            away = [
                (sum(abs(a - b) for a, b in zip(t, root, strict=True)), place, rank, root, t)
                for place, t in enumerate(tiles)
                if t not in tree
                for rank, root in enumerate(tree)
            ]
            _, _, _, root, joined = min(away)
            tree.append(joined)
            rows.append((i, root, joined))
    return rows


@dataclass
class Pass:
    """What one finished pass came to."""

    number: int
    routed: int
    reward: float
    overflow: int
    moves: int
    wires: list[tuple[int, frozenset[Tile], int, bool]]
    full: bool

    @property
    def merit(self) -> tuple[int, ...]:
        """The larger the better: most connections, least overflow, where all are made shortest, fewest moves."""
        return self.routed, -self.overflow, -len(self.wires) if self.full else 0, -self.moves


@dataclass
class Told:
    """What one move did."""

    reward: float
    connection_done: bool
    arrived: bool
    over: bool


@dataclass
class Referee:
    """One problem, one game."""

    problem: Problem
    closed: bool
    max_steps: int
    via_capacity: int | None = None
    keep_failed: bool = True
    price: float = 0.0
    wires: list[tuple[int, frozenset[Tile], int, bool]] = field(default_factory=list)  # net, edge, connection, failed
    best: Pass | None = None
    last: Pass | None = None
    passes: int = 0

    def __post_init__(self) -> None:
        self.rows = connections_of(self.problem)
        self.capacity = self._capacities()
        self.open_pass()

    def _capacities(self) -> dict[frozenset[Tile], float]:
        problem = self.problem
        found: dict[frozenset[Tile], float] = {}
        for z, layer in enumerate(problem.layers):
            for x in range(problem.width):
                for y in range(problem.height):
                    if x + 1 < problem.width and layer.horizontal_capacity:
                        found[frozenset({(x, y, z), (x + 1, y, z)})] = layer.horizontal_capacity
                    if y + 1 < problem.height and layer.vertical_capacity:
                        found[frozenset({(x, y, z), (x, y + 1, z)})] = layer.vertical_capacity
                    if z + 1 < len(problem.layers):
                        vias = float("inf") if self.via_capacity is None else self.via_capacity
                        found[frozenset({(x, y, z), (x, y, z + 1)})] = vias
        for change in problem.adjustments:
            edge = frozenset({change.first, change.second})
            if edge in found or change.capacity:
                found[edge] = change.capacity
        return found

    def open_pass(self) -> None:
        self.wires.clear()
        self.routed, self.reward, self.moves = 0, 0.0, 0
        self.open_connection(0)

    def open_connection(self, number: int) -> None:
        self.number, self.steps = number, 0
        self.net, self.at, self.target = self.rows[number]

    def demand(self, net: int, edge: frozenset[Tile]) -> int:
        a, b = sorted(edge)
        if a[2] != b[2]:
            return 1
        layer = self.problem.layers[a[2]]
        return max(self.problem.nets[net].min_width, layer.min_width) + layer.min_spacing

    def used(self) -> Counter[frozenset[Tile]]:
        use: Counter[frozenset[Tile]] = Counter()
        for net, edge, _, _ in self.wires:
            use[edge] += self.demand(net, edge)
        return use

    def overflow(self) -> int:
        return int(sum(max(0, use - self.capacity[edge]) for edge, use in self.used().items()))

    def crossing(self, move: int) -> frozenset[Tile]:
        return frozenset({self.at, tuple(a + d for a, d in zip(self.at, STEPS[move], strict=True))})

    def owns(self, edge: frozenset[Tile]) -> bool:
        return any((net, own) == (self.net, edge) for net, own, _, failed in self.wires if not failed)

    def allowed(self, move: int) -> bool:
        edge = self.crossing(move)
        if edge not in self.capacity:
            return False
        left = self.capacity[edge] - self.used()[edge]
        return not self.closed or self.owns(edge) or left >= self.demand(self.net, edge)

    def mask(self) -> list[bool]:
        moves = [self.allowed(move) for move in range(6)]
        return moves if any(moves) else [True] * 6

    def give_up(self) -> None:
        for k, (net, edge, connection, _) in enumerate(self.wires):
            if connection == self.number:
                self.wires[k] = (net, edge, connection, True)
        if not self.keep_failed:
            self.wires = [wire for wire in self.wires if not wire[3]]

    def play(self, move: int) -> Told:
        """One move; the next connection is opened only by ``go_on``."""
        before = self.overflow()
        if self.allowed(move):
            edge = self.crossing(move)
            if not self.owns(edge):
                self.wires.append((self.net, edge, self.number, False))
            self.at = next(iter(edge - {self.at}))
        more = self.overflow() - before
        self.steps += 1
        arrived = self.at == self.target
        done = arrived or self.steps >= self.max_steps
        reward = (100.0 if arrived else -1.0) - self.price * more
        self.reward += reward
        self.moves += 1
        over = done and self.number + 1 == len(self.rows)
        if arrived:
            self.routed += 1
        elif done:
            self.give_up()
        if over:
            self.close_pass()
        return Told(reward, done, arrived, over)

    def close_pass(self) -> None:
        self.passes += 1
        full = self.routed == len(self.rows)
        self.last = Pass(self.passes, self.routed, self.reward, self.overflow(), self.moves, list(self.wires), full)
        if self.best is None or self.last.merit > self.best.merit:
            self.best = self.last

    def go_on(self) -> None:
        if self.number + 1 == len(self.rows):
            self.open_pass()
        else:
            self.open_connection(self.number + 1)


def wires_by_net(problem: Problem, wires: list[tuple[int, frozenset[Tile], int, bool]]) -> list[list[list[Tile]]]:
    """The edges of each net, sorted, failed connections left out: what a solution is compared with."""
    made = [wire for wire in wires if not wire[3]]
    return [sorted(sorted(edge) for net, edge, _, _ in made if net == i) for i in range(len(problem.nets))]


def random_problem(rng: np.random.Generator) -> Problem:
    """Up to 4 x 4 tiles and three layers, all kinds of widths, capacities and pins; something to route."""
    width, height, depth = (int(v) for v in rng.integers((2, 1, 1), (5, 5, 4)))
    both = depth == 1 or rng.random() < 0.4
    layers = []
    for z in range(depth):
        capacities = [int(v) for v in rng.integers(1, 7, 2)]
        if not both:
            capacities[(z + 1) % 2] = 0
        layers.append(Layer(*capacities, min_width=int(rng.integers(0, 3)), min_spacing=int(rng.integers(0, 3))))
    nets = []
    for i in range(int(rng.integers(1, 6))):
        pins = rng.integers((0, 0, 1), (10 * width, 10 * height, depth + 1), (int(rng.integers(2, 5)), 3))
        nets.append(Net(f"n{i}", str(i), tuple(map(tuple, pins.tolist())), min_width=int(rng.integers(0, 4))))
    nets.append(Net("sure", "9", ((0, 0, 1), (10 * width - 1, 10 * height - 1, depth))))
    changes = {}
    for _ in range(int(rng.integers(0, 5))):
        x, y, z = (int(v) for v in rng.integers(0, (width, height, depth)))
        end = (x + 1, y, z) if rng.random() < 0.5 or height == 1 else (x, y + 1, z)
        if end[0] < width and end[1] < height:
            ends = ((x, y, z), end) if rng.random() < 0.5 else (end, (x, y, z))
            changes[frozenset(ends)] = Adjustment(*ends, int(rng.integers(0, 4)))
    return Problem(width, height, tuple(layers), tuple(nets), tile_size=(10, 10), adjustments=tuple(changes.values()))


def likely_move(rng: np.random.Generator, mask: np.ndarray, offset: tuple[int, ...], sense: float = 0.6) -> int:
    """Often a move towards the target, often any that changes the state, sometimes anything."""
    kind = rng.random()
    if kind < sense:
        good = [move for move in range(6) if mask[move] and STEPS[move][move // 2] * offset[move // 2] > 0]
        if good:
            return int(rng.choice(good))
    if kind < 0.95:
        return int(rng.choice(np.flatnonzero(mask)))
    return int(rng.integers(6))
