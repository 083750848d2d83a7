"""What is to be routed: a grid of tiles on layers and the nets on it; frozen, checked once, no behaviour."""

from __future__ import annotations

from dataclasses import dataclass, field

__all__ = ["Adjustment", "Layer", "Net", "Problem", "ProblemError", "Tile"]

Tile = tuple[int, int, int]
"""column, row, layer; all from 0"""

LARGEST_CAPACITY = 10**9
LARGEST_GRID = 16_000_000


class ProblemError(ValueError):
    """A problem that breaks a rule of its own definition."""


@dataclass(frozen=True, slots=True)
class Layer:
    """One metal layer. Capacities, widths and spacings are in length units; capacity 0 forbids the direction."""

    horizontal_capacity: int
    vertical_capacity: int
    min_width: int = 1
    min_spacing: int = 0
    via_spacing: int = 0


@dataclass(frozen=True, slots=True)
class Net:
    """One net. ``pins`` are (x, y, layer): absolute coordinates as in the contest files, layer from 1."""

    name: str
    id: str
    pins: tuple[tuple[int, int, int], ...]
    min_width: int = 1


@dataclass(frozen=True, slots=True)
class Adjustment:
    """The capacity of the one planar edge between two neighbouring tiles of a layer, in place of the layer's."""

    first: Tile
    second: Tile
    capacity: int


@dataclass(frozen=True)
class Problem:
    """A global-routing problem on ``width`` x ``height`` tiles and ``len(layers)`` layers.

    A pin at (x, y) lies in the tile (floor((x - origin x) / tile width), floor((y - origin y) / tile height)).

    Raises:
        ProblemError: a value breaks a rule; the text names the value and the rule.
    """

    width: int
    height: int
    layers: tuple[Layer, ...]
    nets: tuple[Net, ...]
    origin: tuple[int, int] = (0, 0)
    tile_size: tuple[int, int] = (1, 1)
    adjustments: tuple[Adjustment, ...] = ()
    name: str = field(default="problem", compare=False)

    def __post_init__(self) -> None:
        _check_grid(self)
        for net in self.nets:
            check_net(self, net)
        for adjustment in self.adjustments:
            check_adjustment(self, adjustment)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Columns, rows, layers."""
        return self.width, self.height, len(self.layers)

    def tile_of(self, pin: tuple[int, int, int]) -> Tile:
        """The tile of an absolute position (x, y, layer from 1)."""
        x, y, layer = pin
        return (x - self.origin[0]) // self.tile_size[0], (y - self.origin[1]) // self.tile_size[1], layer - 1

    def tiles(self, net: Net) -> tuple[Tile, ...]:
        """The distinct tiles of a net's pins, in pin order."""
        return tuple(dict.fromkeys(self.tile_of(pin) for pin in net.pins))


def _check_grid(problem: Problem) -> None:
    width, height, layers = problem.shape
    if width < 1 or height < 1 or layers < 1:
        raise ProblemError(f"grid {width} x {height} x {layers}: every side must be at least 1")
    if width * height * layers > LARGEST_GRID:
        raise ProblemError(f"grid {width} x {height} x {layers}: more than {LARGEST_GRID:,} tiles")
    if min(problem.tile_size) < 1:
        raise ProblemError(f"tile size {problem.tile_size}: both sides must be at least 1")
    for number, layer in enumerate(problem.layers, 1):
        for name in Layer.__slots__:
            value = getattr(layer, name)
            if not 0 <= value <= LARGEST_CAPACITY:
                raise ProblemError(f"layer {number}: {name} {value} lies outside 0..{LARGEST_CAPACITY}")


def check_net(problem: Problem, net: Net) -> None:
    """Raise ProblemError where a net breaks a rule."""
    if not net.name or any(c.isspace() for c in net.name):
        raise ProblemError(f"net name {net.name!r} is empty or holds white space")
    if not 0 <= net.min_width <= LARGEST_CAPACITY:
        raise ProblemError(f"net {net.name!r}: minimum width {net.min_width} lies outside 0..{LARGEST_CAPACITY}")
    for pin in net.pins:
        if not inside(problem, problem.tile_of(pin)):
            width, height, layers = problem.shape
            raise ProblemError(f"net {net.name!r}: pin {pin} lies outside the {width} x {height} x {layers} grid")


def check_adjustment(problem: Problem, adjustment: Adjustment) -> None:
    """Raise ProblemError where an adjustment breaks a rule."""
    first, second = adjustment.first, adjustment.second
    for tile in (first, second):
        if not inside(problem, tile):
            raise ProblemError(f"adjustment: tile {tile} lies outside the {problem.shape} grid")
    if first[2] != second[2] or abs(first[0] - second[0]) + abs(first[1] - second[1]) != 1:
        raise ProblemError(f"adjustment: tiles {first} and {second} are not neighbours on one layer")
    if not 0 <= adjustment.capacity <= LARGEST_CAPACITY:
        raise ProblemError(f"adjustment: capacity {adjustment.capacity} lies outside 0..{LARGEST_CAPACITY}")


def inside(problem: Problem, tile: Tile) -> bool:
    """Whether a tile lies on the grid."""
    return all(0 <= at < side for at, side in zip(tile, problem.shape, strict=True))
