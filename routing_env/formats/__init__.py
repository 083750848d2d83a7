"""File formats: one file each; a netlist reader looks at the first line and says whether it is its own."""

from __future__ import annotations

import bz2
import gzip
from pathlib import Path

from routing_env.formats._text import FormatError, Lines, open_text
from routing_env.formats.contest_solution import OfficialScore, official_score, read_solution, write_solution
from routing_env.formats.ispd import ISPD
from routing_env.formats.labyrinth import Labyrinth
from routing_env.problem import Problem

__all__ = [
    "FormatError",
    "OfficialScore",
    "official_score",
    "parse_problem",
    "read_problem",
    "read_solution",
    "write_problem",
    "write_solution",
]

NETLISTS = (ISPD, Labyrinth)


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
    lines = Lines(text, path)
    words = lines.next("'grid X Y LAYERS' (contest) or 'grid X Y' (two-dimensional)")
    for reader in NETLISTS:
        if reader.recognises(words):
            return reader.parse(text, path)
    raise lines.fail(f"expected 'grid X Y LAYERS' (contest) or 'grid X Y' (two-dimensional), got {' '.join(words)[:60]!r}")


def write_problem(problem: Problem, path: str | Path) -> None:
    """Write a contest netlist (``.gr``, ``.gr.gz``, ``.gr.bz2``) or, for ``.txt``, a two-dimensional one.

    Raises:
        ValueError: the two-dimensional format cannot hold the problem.
    """
    path = Path(path)
    data = (Labyrinth if ".txt" in path.suffixes else ISPD).format(problem).encode()
    if path.suffix == ".gz":
        data = gzip.compress(data, mtime=0)
    elif path.suffix == ".bz2":
        data = bz2.compress(data)
    partial = path.with_name(path.name + ".partial")
    partial.write_bytes(data)
    partial.replace(path)
