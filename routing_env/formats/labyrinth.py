"""Labyrinth / ISPD-98 "modified" netlists: two dimensions, tile coordinates, one capacity a direction.

They are read as one layer that allows both directions, or, on request, as a horizontal layer under a vertical one:
``Labyrinth.parse(text, path, two_layers=True)``.

Source: the ISPD-98 benchmark files of the Labyrinth router.
"""

from __future__ import annotations

from pathlib import Path

from routing_env.formats._netlist import after, at_line, end, nets, stem
from routing_env.formats._text import Lines
from routing_env.problem import Layer, Problem, check_shape

__all__ = ["Labyrinth"]


class Labyrinth:
    """Reader and writer of two-dimensional netlists."""

    suffixes = (".txt",)
    first_line = "'grid X Y' (two-dimensional)"

    @staticmethod
    def recognises(words: list[str]) -> bool:
        """Whether the first line is this format's: ``grid X Y``."""
        return len(words) == 3 and words[0].lower() == "grid"

    @staticmethod
    def parse(text: str, path: str | Path, *, two_layers: bool = False) -> Problem:
        """Read the text of a netlist; a fourth word of a net is its minimum width.

        Raises:
            FormatError: names file, line, value and rule.
        """
        lines = Lines(text, path)
        width, height = lines.integers(after(lines, "grid", 2), "columns and rows", least=1)
        with at_line(lines):
            check_shape(width, height, 1 + two_layers)
        (vertical,) = lines.integers(after(lines, "vertical capacity", 1), "a capacity", least=0)
        with at_line(lines):
            Problem(1, 1, (Layer(0, vertical),), ())
        (horizontal,) = lines.integers(after(lines, "horizontal capacity", 1), "a capacity", least=0)
        layers = (Layer(horizontal, 0), Layer(0, vertical)) if two_layers else (Layer(horizontal, vertical),)
        with at_line(lines):
            frame = Problem(width, height, layers, ())
        found = nets(lines, frame, planar=True)
        end(lines, f"{len(found)} nets")
        return Problem(width, height, layers, found, name=stem(path))

    @staticmethod
    def format(problem: Problem) -> str:
        """The text of a one-layer problem in this format.

        Raises:
            ValueError: the problem holds what the format cannot say.
        """
        layer = problem.layers[0]
        plain = problem.origin == (0, 0) and problem.tile_size == (1, 1) and not problem.adjustments
        plain = plain and problem.layers == (Layer(layer.horizontal_capacity, layer.vertical_capacity),)
        if not plain:
            raise ValueError(
                f"problem {problem.name!r}: the two-dimensional format holds one layer of unit tiles at (0, 0), "
                "width 1, spacing 0, without adjustments; write a .gr file instead"
            )
        out = ["grid {} {}".format(*problem.shape[:2])]
        out += [f"vertical capacity {layer.vertical_capacity}", f"horizontal capacity {layer.horizontal_capacity}"]
        out.append(f"num net {len(problem.nets)}")
        for net in problem.nets:
            width = "" if net.min_width == 1 else f" {net.min_width}"
            out.append(f"{net.name} {net.id} {len(net.pins)}{width}")
            out += [f"  {x} {y}" for x, y, _ in net.pins]
        return "\n".join(out) + "\n"
