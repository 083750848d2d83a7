"""Labyrinth / ISPD-98 "modified" netlists: two dimensions, tile coordinates, one capacity a direction.

They are read as one layer that allows both directions, or, on request, as a horizontal layer under a vertical one.

Source: the ISPD-98 benchmark files of the Labyrinth router.
"""

from __future__ import annotations

from pathlib import Path

from routing_env.formats._text import Lines
from routing_env.formats.ispd import _after, _stem
from routing_env.problem import Layer, Net, Problem, ProblemError, check_net

__all__ = ["Labyrinth"]


class Labyrinth:
    """Reader and writer of two-dimensional netlists."""

    @staticmethod
    def recognises(words: list[str]) -> bool:
        """Whether the first line is this format's: ``grid X Y``."""
        return len(words) == 3 and words[0].lower() == "grid"

    @staticmethod
    def parse(text: str, path: str | Path, *, two_layers: bool = False) -> Problem:
        """Read the text of a netlist.

        Raises:
            FormatError: names file, line, value and rule.
        """
        lines = Lines(text, path)
        width, height = lines.integers(_after(lines, "grid", 2), "columns and rows", least=1)
        (vertical,) = lines.integers(_after(lines, "vertical capacity", 1), "a capacity", least=0)
        (horizontal,) = lines.integers(_after(lines, "horizontal capacity", 1), "a capacity", least=0)
        layers = (Layer(horizontal, 0), Layer(0, vertical)) if two_layers else (Layer(horizontal, vertical),)
        try:
            frame = Problem(width, height, layers, ())
        except ProblemError as error:
            raise lines.fail(str(error)) from error
        (count,) = lines.integers(_after(lines, "num net", 1), "the number of nets", least=0)
        nets = tuple(_net(lines, frame, i, count) for i in range(count))
        rest = next(iter(lines), None)
        if rest is not None:
            raise lines.fail(f"{' '.join(rest)[:60]!r} follows the last of {count} nets")
        return Problem(width, height, layers, nets, name=_stem(path))

    @staticmethod
    def format(problem: Problem) -> str:
        """The text of a one-layer problem in this format.

        Raises:
            ValueError: the problem holds what the format cannot say.
        """
        plain = problem.origin == (0, 0) and problem.tile_size == (1, 1) and not problem.adjustments
        first = problem.layers[0]
        if len(problem.layers) != 1 or not plain or (first.min_width, first.min_spacing) != (1, 0):
            raise ValueError("the two-dimensional format holds one layer of unit tiles, width 1, spacing 0, unadjusted")
        out = ["grid {} {}".format(*problem.shape[:2])]
        out += [f"vertical capacity {first.vertical_capacity}", f"horizontal capacity {first.horizontal_capacity}"]
        out.append(f"num net {len(problem.nets)}")
        for net in problem.nets:
            if net.min_width != 1:
                raise ValueError(f"net {net.name!r}: the two-dimensional format holds nets of width 1 only")
            out.append(f"{net.name} {net.id} {len(net.pins)}")
            out += [f"  {x} {y}" for x, y, _ in net.pins]
        return "\n".join(out) + "\n"


def _net(lines: Lines, frame: Problem, index: int, count: int) -> Net:
    words = lines.next(f"net {index + 1} of {count}")
    if len(words) not in (3, 4):
        raise lines.fail(f"expected 'NAME ID PINS', got {' '.join(words)[:60]!r}")
    name, number = words[:2]
    (expected,) = lines.integers(words[2:3], "'NAME ID PINS'", least=0)
    pins: list[tuple[int, int, int]] = []
    for _ in range(expected):
        pin = lines.next(f"pin {len(pins) + 1} of {expected} of net {name!r}")
        if len(pin) != 2:
            what = f"net {name!r} has {expected} pins but {len(pins)} pin lines"
            raise lines.fail(f"{what}; expected 'x y', got {' '.join(pin)[:60]!r}")
        x, y = lines.integers(pin, "'x y'")
        pins.append((x, y, 1))
        try:
            check_net(frame, Net(name, number, (pins[-1],)))
        except ProblemError as error:
            raise lines.fail(str(error)) from error
    return Net(name, number, tuple(pins))
