"""File formats: one file each; a netlist reader looks at the first line and says whether it is its own."""

from __future__ import annotations

import importlib
import pkgutil
from functools import cache
from pathlib import Path

from routing_env.formats._netlist import Netlist
from routing_env.formats._text import SUFFIXES, FormatError, Lines, open_text, save_text, short
from routing_env.formats.contest_solution import OfficialScore, official_score, read_solution, write_solution
from routing_env.problem import Problem

__all__ = [
    "FormatError",
    "OfficialScore",
    "netlists",
    "official_score",
    "parse_problem",
    "read_problem",
    "read_solution",
    "write_problem",
    "write_solution",
]


@cache
def netlists() -> tuple[type[Netlist], ...]:
    """The netlist formats: every file of this folder whose first public name recognises first lines."""
    found = []
    for module in pkgutil.iter_modules(__path__):
        if not module.name.startswith("_"):
            public = importlib.import_module(f"{__name__}.{module.name}")
            first = getattr(public, public.__all__[0])
            if hasattr(first, "recognises"):
                found.append(first)
    return tuple(found)


def read_problem(path: str | Path) -> Problem:
    """Read a netlist of any known format, plain, .gz or .bz2.

    Raises:
        FormatError: names file, line, value and rule.
        OSError: the file cannot be read.
    """
    return parse_problem(open_text(path), path)


def parse_problem(text: str, path: str | Path = "netlist") -> Problem:
    """Read the text of a netlist; ``path`` names it in errors.

    Raises:
        FormatError: names file, line, value and rule.
    """
    formats = netlists()
    expected = " or ".join(reader.first_line for reader in formats)
    lines = Lines(text, path)
    words = lines.next(expected)
    for reader in formats:
        if reader.recognises(words):
            return reader.parse(text, path)
    raise lines.fail(f"expected {expected}, got {short(words)}")


def write_problem(problem: Problem, path: str | Path) -> None:
    """Write a netlist: ``.gr`` contest, ``.txt`` two-dimensional, either packed by a further ``.gz`` or ``.bz2``.

    Raises:
        ValueError: the ending is no format's, or the format cannot hold the problem.
    """
    path = Path(path)
    plain = path.with_suffix("") if path.suffix in SUFFIXES else path
    formats = {suffix: writer for writer in netlists() for suffix in writer.suffixes}
    if plain.suffix not in formats:
        known = ", ".join(sorted(formats))
        raise ValueError(f"{path}: the ending {plain.suffix!r} is none of {known} (and .gz or .bz2 after it)")
    save_text(formats[plain.suffix].format(problem), path)
