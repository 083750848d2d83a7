"""Fuzz target for the file formats: ``PYTHONPATH=. python tests/fuzz_formats.py -runs=1000000``.

An input is read as a netlist, as packed files, and as a solution; then it steers mutations of small valid files that
go the same way. A reader may raise FormatError and nothing else; what it accepts must survive writing and reading.
"""

from __future__ import annotations

import bz2
import gzip
import sys

import atheris

with atheris.instrument_imports(include=["routing_env.formats", "routing_env.problem"]):
    from routing_env import Problem
    from routing_env.formats import FormatError, netlists, parse_problem
    from routing_env.formats._text import unpack
    from routing_env.formats.contest_solution import parse_solution, score_text

CONTEST = """grid 3 3 2
vertical capacity 0 4
horizontal capacity 4 0
minimum width 1 1
minimum spacing 0 0
via spacing 0 0
0 0 10 10
num net 2
A1 01 2 1
5 5 1
25 25 1
A2 02 3 1
9 7 1
9 17 2
19 9 1
1
0 0 1   1 0 1   3
"""
PLANAR = """grid 3 3
vertical capacity 2
horizontal capacity 2
num net 1
net0 0 2
  0 0
  2 2
"""
ROUTES = """A1 1 2
(5,5,1)-(25,5,1)
(25,5,1)-(25,5,2)
(25,5,2)-(25,25,2)
(25,25,2)-(25,25,1)
!
A2 2
(5,5,1)-(5,5,2)
(5,5,2)-(5,15,2)
(5,5,1)-(15,5,1)
!
"""
WORDS = ["", "!", "-1", "0", "1", "2", "3", "1000000000", "1000000000000000000", "999999999999999999", "x", "1.5", "A1",
         "(5,5,1)-(25,25,1)", "(5,5,1)-(5,5,9)", "(-5,5,1)-(5,5,1)", "\t", "\r", "\n", "\x00", "\x85", "é", "grid",
         "num net 3", "4 4", "+1", "00", "\uff11", "_1", "1_0", "\ufeff"]  # fmt: skip
SMALL = 1000
"""tiles: tables of larger grids would be memory tests, not format tests"""
PROBLEM = parse_problem(CONTEST)


def read(text: str) -> None:
    """One text, as netlist and as solution of a small problem and of itself."""
    problem = PROBLEM
    for reader in netlists():
        try:
            problem = reader.parse(text, "netlist")
        except FormatError as error:
            explained(error)
        else:
            again = reader.parse(reader.format(problem), "netlist")
            assert again == problem, "written and read, the problem differs"
    try:
        parse_problem(text)
    except FormatError as error:
        explained(error)
    route(problem if tiles(problem) <= SMALL else PROBLEM, text)


def route(problem: Problem, text: str) -> None:
    """One text as a solution."""
    try:
        solution = parse_solution(problem, text)
        score = score_text(problem, text)
    except FormatError as error:
        explained(error)
    else:
        assert score.wirelength >= sum(map(len, solution.edges))


def tiles(problem: Problem) -> int:
    """Number of tiles."""
    return problem.width * problem.height * len(problem.layers)


def explained(error: FormatError) -> None:
    """An error names its file and is one short line."""
    text = str(error)
    assert text.startswith(("netlist", "solution", "file")), text
    assert "\n" not in text, text
    assert len(text) < 1500, text


def mutated(data: atheris.FuzzedDataProvider, text: str) -> str:
    """A valid text after a few edits of words, lines and characters."""
    for _ in range(data.ConsumeIntInRange(1, 4)):
        lines = text.split("\n")
        row = data.ConsumeIntInRange(0, len(lines) - 1)
        words = lines[row].split(" ")
        at = data.ConsumeIntInRange(0, len(words) - 1)
        kind = data.ConsumeIntInRange(0, 7)
        if kind == 0:
            words[at] = WORDS[data.ConsumeIntInRange(0, len(WORDS) - 1)]
        elif kind == 1:
            words[at : at + 1] = []
        elif kind == 2:
            words.insert(at, words[at])
        elif kind == 3:
            words[at] = str(data.ConsumeInt(8))
        elif kind == 4:
            words[at] += data.ConsumeUnicodeNoSurrogates(3)
        lines[row] = " ".join(words)
        if kind == 5:
            lines[row : row + 1] = []
        elif kind == 6:
            lines.insert(data.ConsumeIntInRange(0, len(lines)), lines[row])
        elif kind == 7:
            lines = [*lines[:row], lines[row][:at]]
        text = "\n".join(lines)
    return text


def one_input(raw: bytes) -> None:
    """Every reader on one input."""
    if raw[:1] < b"\x20":  # the bytes themselves, packed files among them
        for name, data in (("file.gr", raw[1:]), ("file.gz", raw[1:]), ("file.bz2", raw[1:])):
            try:
                read(unpack(data, name))
            except FormatError as error:
                explained(error)
        return
    data = atheris.FuzzedDataProvider(raw)
    start = data.ConsumeIntInRange(0, 3)
    if start == 3:
        pack, name = ((gzip.compress, "file.gz"), (bz2.compress, "file.bz2"))[data.ConsumeIntInRange(0, 1)]
        packed = bytearray(pack(CONTEST.encode()))
        packed[data.ConsumeIntInRange(0, len(packed) - 1)] ^= data.ConsumeIntInRange(0, 255)
        try:
            read(unpack(bytes(packed[: data.ConsumeIntInRange(0, len(packed))]), name))
        except FormatError as error:
            explained(error)
    elif start == 2:
        route(PROBLEM, mutated(data, ROUTES))
    else:
        read(mutated(data, (CONTEST, PLANAR)[start]))


if __name__ == "__main__":
    atheris.Setup([*sys.argv, "-timeout=10", "-rss_limit_mb=2048", "-len_control=0", "-max_len=400"], one_input)
    atheris.Fuzz()
