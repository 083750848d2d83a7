"""ISPD-2007/2008 contest netlists (``.gr``), any number of layers, plain, .gz or .bz2.

Blank lines, tabs, CRLF, a missing last newline and a missing count of zero adjustments are accepted. Of several
adjustments of one edge the last holds.

Source: the contests' format description and the files in use.
"""

from __future__ import annotations

from itertools import islice
from pathlib import Path

from routing_env.formats._netlist import after, at_line, end, nets, stem
from routing_env.formats._text import Lines, short
from routing_env.problem import Adjustment, Layer, Problem, check_adjustment, check_shape

__all__ = ["ISPD"]

LAYER_LINES = (
    ("vertical capacity", "vertical_capacity"),
    ("horizontal capacity", "horizontal_capacity"),
    ("minimum width", "min_width"),
    ("minimum spacing", "min_spacing"),
    ("via spacing", "via_spacing"),
)


class ISPD:
    """Reader and writer of contest netlists."""

    suffixes = (".gr",)
    first_line = "'grid X Y LAYERS' (contest)"

    @staticmethod
    def recognises(words: list[str]) -> bool:
        """Whether the first line is this format's: ``grid X Y LAYERS``."""
        return len(words) == 4 and words[0].lower() == "grid"

    @staticmethod
    def parse(text: str, path: str | Path) -> Problem:
        """Read the text of a netlist.

        Raises:
            FormatError: names file, line, value and rule.
        """
        lines = Lines(text, path)
        frame = _frame(lines)
        found = nets(lines, frame, planar=False)
        changes = _adjustments(lines, frame)
        return Problem(
            frame.width, frame.height, frame.layers, found, frame.origin, frame.tile_size, changes, stem(path)
        )

    @staticmethod
    def format(problem: Problem) -> str:
        """The text of a problem in this format."""
        out = ["grid {} {} {}".format(*problem.shape)]
        for title, name in LAYER_LINES:
            out.append(f"{title} " + " ".join(str(getattr(layer, name)) for layer in problem.layers))
        out.append("{} {} {} {}".format(*problem.origin, *problem.tile_size))
        out.append(f"num net {len(problem.nets)}")
        for net in problem.nets:
            out.append(f"{net.name} {net.id} {len(net.pins)} {net.min_width}")
            out += [f"{x} {y} {z}" for x, y, z in net.pins]
        out.append(str(len(problem.adjustments)))
        for change in problem.adjustments:
            (ax, ay, az), (bx, by, bz) = change.first, change.second
            out.append(f"{ax} {ay} {az + 1} {bx} {by} {bz + 1} {change.capacity}")
        return "\n".join(out) + "\n"


def _frame(lines: Lines) -> Problem:
    """The grid and its layers, without nets."""
    width, height, depth = lines.integers(after(lines, "grid", 3), "columns, rows and layers", least=1)
    with at_line(lines):
        check_shape(width, height, depth)
    columns = []
    for title, _ in LAYER_LINES:
        columns.append(lines.integers(after(lines, title, depth), f"{title} of {depth} layers", least=0))
        # a one-layer frame of just this line, so that a capacity too large is reported at its own line
        with at_line(lines):
            Problem(1, 1, tuple(Layer(value, 0) for value in columns[-1]), ())
    names = [name for _, name in LAYER_LINES]
    layers = tuple(Layer(**dict(zip(names, values, strict=True))) for values in zip(*columns, strict=True))
    words = lines.next("'llx lly tile_width tile_height'")
    if len(words) != 4:
        raise lines.fail(f"{len(words)} values, expected 'llx lly tile_width tile_height'")
    x, y, dx, dy = lines.integers(words, "'llx lly tile_width tile_height'")
    with at_line(lines):
        return Problem(width, height, layers, (), (x, y), (dx, dy))


def _adjustments(lines: Lines, frame: Problem) -> tuple[Adjustment, ...]:
    words = next(iter(lines), None)
    if words is None:
        return ()
    if len(words) != 1:
        raise lines.fail(f"expected the number of capacity adjustments, got {short(words)}")
    (count,) = lines.integers(words, "the number of capacity adjustments", least=0)
    changes: list[Adjustment] = []
    form = "'x y layer x y layer capacity'"
    for words in islice(lines, count):
        if len(words) != 7:
            raise lines.fail(f"expected {form}, got {short(words)}")
        ax, ay, az, bx, by, bz, capacity = lines.integers(words, form)
        changes.append(Adjustment((ax, ay, az - 1), (bx, by, bz - 1), capacity))
        with at_line(lines):
            check_adjustment(frame, changes[-1])
    if len(changes) < count:
        raise lines.cut_off(f"adjustment {len(changes) + 1} of {count}")
    end(lines, f"{count} adjustments")
    return tuple(changes)
