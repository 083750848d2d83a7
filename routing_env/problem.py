"""What is to be routed: a grid of tiles on layers and the nets on it; frozen, checked once, no behaviour."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

import numpy as np

__all__ = ["Adjustment", "Layer", "Net", "Problem", "ProblemError", "Tile"]

Tile = tuple[int, int, int]
"""column, row, layer; all from 0"""

LARGEST_CAPACITY = 10**9
LARGEST_GRID = 16_000_000
MOST_LAYERS = 1000
FARTHEST = 10**12
"""no corner of the grid lies farther from (0, 0) along an axis, so that solution files can name every tile"""
LONGEST_NAME = 1000


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
    """One net. ``pins`` are (x, y, layer): absolute coordinates as in the contest files, layer from 1.

    ``id`` is kept as it is written, leading zeros included; nothing is looked up by it.
    """

    name: str
    id: str
    pins: tuple[tuple[int, int, int], ...]
    min_width: int = 1


@dataclass(frozen=True, slots=True)
class Adjustment:
    """The capacity of the one planar edge between two neighbouring tiles of a layer, in place of the layer's.

    Of several adjustments of one edge the last holds, as in the contest.
    """

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
        for part in ("layers", "nets", "adjustments"):
            object.__setattr__(self, part, tuple(getattr(self, part)))
        _check_grid(self)
        names: set[str] = set()
        for net in self.nets:
            check_net(self, net)
            if net.name in names:
                raise ProblemError(f"net name {net.name!r} occurs twice")
            names.add(net.name)
        for adjustment in self.adjustments:
            check_adjustment(self, adjustment)

    def __deepcopy__(self, memo: dict[int, Any]) -> Problem:
        """The problem itself: it never changes, and gymnasium copies the arguments of environments."""
        return self

    def __getstate__(self) -> dict[str, Any]:
        """What is pickled: the fields, not the tables that are kept with them."""
        return {name: value for name, value in self.__dict__.items() if not name.startswith("_")}

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


def check_shape(width: int, height: int, layers: int) -> None:
    """Raise ProblemError where a grid has no tiles or too many."""
    if width < 1 or height < 1 or layers < 1:
        raise ProblemError(f"grid {width} x {height} x {layers}: every side must be at least 1")
    if layers > MOST_LAYERS:
        raise ProblemError(f"grid {width} x {height} x {layers}: more than {MOST_LAYERS:,} layers")
    if width * height * layers > LARGEST_GRID:
        raise ProblemError(f"grid {width} x {height} x {layers}: more than {LARGEST_GRID:,} tiles")


def _check_grid(problem: Problem) -> None:
    _check_integers(problem.shape + problem.origin + problem.tile_size, "grid, origin or tile size")
    check_shape(*problem.shape)
    if min(problem.tile_size) < 1:
        raise ProblemError(f"tile size {problem.tile_size}: both sides must be at least 1")
    for start, side, tile in zip(problem.origin, problem.shape, problem.tile_size, strict=False):
        if start < -FARTHEST or start + side * tile > FARTHEST:
            raise ProblemError(
                f"origin {problem.origin}, tile size {problem.tile_size}: the grid leaves +-{FARTHEST:,}"
            )
    for number, layer in enumerate(problem.layers, 1):
        for name in Layer.__slots__:
            value = getattr(layer, name)
            _check_integers((value,), f"layer {number}: {name}")
            if not 0 <= value <= LARGEST_CAPACITY:
                raise ProblemError(f"layer {number}: {name} {value} lies outside 0..{LARGEST_CAPACITY}")


def check_net(problem: Problem, net: Net) -> None:
    """Raise ProblemError where a net breaks a rule."""
    check_name(net.name)
    if not (isinstance(net.id, str) and net.id.isascii() and net.id.isdigit() and len(net.id) <= 18):
        raise ProblemError(f"net {net.name!r}: id {str(net.id)[:60]!r} is not a text of 1 to 18 digits")
    _check_integers((net.min_width,), f"net {net.name!r}: minimum width")
    if not 0 <= net.min_width <= LARGEST_CAPACITY:
        raise ProblemError(f"net {net.name!r}: minimum width {net.min_width} lies outside 0..{LARGEST_CAPACITY}")
    try:
        _check_integers(chain.from_iterable(net.pins), f"net {net.name!r}: pin")
    except TypeError:
        raise ProblemError(f"net {net.name!r}: pins {str(net.pins)[:60]} are not tuples (x, y, layer)") from None
    width, height, layers = problem.shape
    (left, bottom), (dx, dy) = problem.origin, problem.tile_size
    right, top = left + width * dx, bottom + height * dy
    for pin in net.pins:
        if len(pin) != 3:
            raise ProblemError(f"net {net.name!r}: pin {pin} is not (x, y, layer)")
        x, y, layer = pin
        if not (left <= x < right and bottom <= y < top and 1 <= layer <= layers):
            grid = f"{width} x {height} x {layers} grid, x {left}..{right - 1}, y {bottom}..{top - 1}"
            raise ProblemError(f"net {net.name!r}: pin {pin} lies outside the {grid}, layer 1..{layers}")


def check_name(name: str) -> None:
    """Raise ProblemError where a net's name could not stand alone in a netlist or solution file."""
    if not isinstance(name, str) or not name or not name.isprintable() or " " in name:
        raise ProblemError(f"net name {str(name)[:60]!r} is empty, holds white space or what does not print")
    if len(name) > LONGEST_NAME:
        raise ProblemError(f"net name {name[:60]!r}... is longer than {LONGEST_NAME:,} characters")
    if name == "!" or name[0] == "(":
        raise ProblemError(f"net name {name[:60]!r} reads as the end or a segment of a route in solution files")


def check_adjustment(problem: Problem, adjustment: Adjustment) -> None:
    """Raise ProblemError where an adjustment breaks a rule."""
    first, second = adjustment.first, adjustment.second
    _check_integers((*first, *second, adjustment.capacity), "adjustment")
    for tile in (first, second):
        if not inside(problem, tile):
            raise ProblemError(f"adjustment: tile {tile} lies outside the {problem.shape} grid (counted from 0)")
    if first[2] != second[2] or abs(first[0] - second[0]) + abs(first[1] - second[1]) != 1:
        raise ProblemError(f"adjustment: tiles {first} and {second} are not neighbours on one layer")
    if not 0 <= adjustment.capacity <= LARGEST_CAPACITY:
        raise ProblemError(f"adjustment: capacity {adjustment.capacity} lies outside 0..{LARGEST_CAPACITY}")


def inside(problem: Problem, tile: Tile) -> bool:
    """Whether a tile lies on the grid."""
    return all(0 <= at < side for at, side in zip(tile, problem.shape, strict=True))


def _check_integers(values: Iterable[object], what: str) -> None:
    """Floats would pass every comparison and be written as ``3.0``, which no reader takes."""
    for kind in set(map(type, values)):
        if not issubclass(kind, (int, np.integer)):
            raise ProblemError(f"{what}: a value is a {kind.__name__}; every number must be an integer")
