"""ISPD-2007/2008 contest netlists (``.gr``), any number of layers, plain, .gz or .bz2.

Source: the contests' format description; blank lines, tabs, CRLF and a missing last newline are accepted.
"""

from __future__ import annotations

from pathlib import Path

from routing_env.formats._text import Lines
from routing_env.problem import Adjustment, Layer, Net, Problem, ProblemError, check_adjustment, check_net

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

    @staticmethod
    def recognises(words: list[str]) -> bool:
        """Whether the first line is this format's: ``grid X Y L``."""
        return len(words) == 4 and words[0].lower() == "grid"

    @staticmethod
    def parse(text: str, path: str | Path) -> Problem:
        """Read the text of a netlist.

        Raises:
            FormatError: names file, line, value and rule.
        """
        lines = Lines(text, path)
        width, height, depth = lines.integers(_after(lines, "grid", 3), "columns, rows and layers", least=1)
        if depth > 1000:
            raise lines.fail(f"{depth} layers; at most 1000 are allowed")
        columns = {name: lines.integers(_after(lines, title, depth), f"{title} of {depth} layers", least=0)
                   for title, name in LAYER_LINES}  # fmt: skip
        try:
            layers = tuple(Layer(**{name: values[z] for name, values in columns.items()}) for z in range(depth))
            words = lines.next("'llx lly tile_width tile_height'")
            if len(words) != 4:
                raise lines.fail(f"{len(words)} values; expected 'llx lly tile_width tile_height'")
            x, y, tile_width, tile_height = lines.integers(words, "'llx lly tile_width tile_height'")
            frame = Problem(width, height, layers, (), (x, y), (tile_width, tile_height), name=_stem(path))
        except ProblemError as error:
            raise lines.fail(str(error)) from error
        nets = _nets(lines, frame)
        adjustments = _adjustments(lines, frame)
        return Problem(width, height, layers, nets, (x, y), (tile_width, tile_height), adjustments, _stem(path))

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


def _stem(path: str | Path) -> str:
    return Path(path).name.split(".")[0]


def _after(lines: Lines, title: str, count: int) -> list[str]:
    """The ``count`` words after a fixed title."""
    words = lines.next(f"'{title} ...'")
    head = title.split()
    if [word.lower() for word in words[: len(head)]] != head:
        raise lines.fail(f"expected '{title} ...', got {' '.join(words)[:60]!r}")
    if len(words) - len(head) != count:
        raise lines.fail(f"{title}: {len(words) - len(head)} values, expected {count}")
    return words[len(head) :]


def _nets(lines: Lines, frame: Problem) -> tuple[Net, ...]:
    (count,) = lines.integers(_after(lines, "num net", 1), "the number of nets", least=0)
    nets: list[Net] = []
    names: set[str] = set()
    for _ in range(count):
        words = lines.next(f"net {len(nets) + 1} of {count}")
        if len(words) != 4:
            raise lines.fail(f"expected 'NAME ID PINS MIN_WIDTH', got {' '.join(words)[:60]!r}")
        name, number = words[:2]
        pins_expected, min_width = lines.integers(words[2:], "'NAME ID PINS MIN_WIDTH'", least=0)
        lines.integers([number], "'NAME ID PINS MIN_WIDTH'")
        if name in names:
            raise lines.fail(f"net name {name!r} occurs twice")
        names.add(name)
        pins: list[tuple[int, int, int]] = []
        for _ in range(pins_expected):
            pin = lines.next(f"pin {len(pins) + 1} of {pins_expected} of net {name!r}")
            if len(pin) != 3:
                what = f"net {name!r} has {pins_expected} pins but {len(pins)} pin lines"
                raise lines.fail(f"{what}; expected 'x y layer', got {' '.join(pin)[:60]!r}")
            x, y, layer = lines.integers(pin, "'x y layer'")
            try:
                check_net(frame, Net(name, number, ((x, y, layer),), min_width))
            except ProblemError as error:
                raise lines.fail(str(error)) from error
            pins.append((x, y, layer))
        try:
            nets.append(Net(name, number, tuple(pins), min_width))
            check_net(frame, Net(name, number, (), min_width))
        except ProblemError as error:
            raise lines.fail(str(error)) from error
    return tuple(nets)


def _adjustments(lines: Lines, frame: Problem) -> tuple[Adjustment, ...]:
    words = next(iter(lines), None)
    if words is None:
        return ()
    if len(words) != 1:
        raise lines.fail(f"expected the number of capacity adjustments, got {' '.join(words)[:60]!r}")
    (count,) = lines.integers(words, "the number of capacity adjustments", least=0)
    changes: list[Adjustment] = []
    for _ in range(count):
        words = lines.next(f"adjustment {len(changes) + 1} of {count}")
        if len(words) != 7:
            raise lines.fail(f"expected 'x y layer x y layer capacity', got {' '.join(words)[:60]!r}")
        ax, ay, az, bx, by, bz, capacity = lines.integers(words, "'x y layer x y layer capacity'")
        change = Adjustment((ax, ay, az - 1), (bx, by, bz - 1), capacity)
        try:
            check_adjustment(frame, change)
        except ProblemError as error:
            raise lines.fail(str(error)) from error
        changes.append(change)
    rest = next(iter(lines), None)
    if rest is not None:
        raise lines.fail(f"{' '.join(rest)[:60]!r} follows the last of {count} adjustments")
    return tuple(changes)
