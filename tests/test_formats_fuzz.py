"""Formats under hypothesis: valid things survive a round trip, broken ones give FormatError and nothing else."""

import bz2
import gzip
from contextlib import suppress

import numpy as np
from boards import names, problems, solutions
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from routing_env import FormatError, Problem, ProblemError, read_problem, read_solution, write_problem, write_solution
from routing_env.formats import _text, parse_problem
from routing_env.formats.contest_solution import _segments as segments
from routing_env.formats.contest_solution import parse_solution, score_text
from routing_env.formats.ispd import ISPD
from routing_env.formats.labyrinth import Labyrinth
from routing_env.problem import LARGEST_GRID, Net, check_name

FILES = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
ENDINGS = st.sampled_from(["", ".gz", ".bz2"])
WORDS = ["!", "-1", "0", "1", "2", "7", "1000000001", "9999999999999999999", "x", "1.5", "\x00", "\x85", "grid",
         "num net 3", "(0,0,1)-(9,9,1)", "(0,0,1)-(0,0,9)", "\u0661"]  # fmt: skip


def explained(error, path="case"):
    assert str(error).startswith(f"{path}:")
    assert "\n" not in str(error)


@FILES
@given(problem=problems(), ending=ENDINGS)
def test_any_problem_survives_the_contest_format(problem, ending, tmp_path):
    path = tmp_path / f"case.gr{ending}"
    write_problem(problem, path)
    assert read_problem(path) == problem


@FILES
@given(problem=problems(planar=True), ending=ENDINGS)
def test_any_planar_problem_survives_the_planar_format(problem, ending, tmp_path):
    path = tmp_path / f"case.txt{ending}"
    write_problem(problem, path)
    assert read_problem(path) == problem


@FILES
@given(data=st.data(), problem=problems(), ending=ENDINGS)
def test_any_solution_survives_and_its_official_wirelength_is_its_edges(data, problem, ending, tmp_path):
    solution = data.draw(solutions(problem))
    path = tmp_path / f"case.route{ending}"
    write_solution(problem, solution, path)
    copy = read_solution(problem, path)
    assert all(np.array_equal(a, b) for a, b in zip(solution.edges, copy.edges, strict=True))
    score = score_text(problem, _text.open_text(path))
    assert score.wirelength == sum(map(len, solution.edges))
    assert {*score.unrouted, *score.unattached, *score.disjoint} >= set(solution.unrouted())


@st.composite
def broken(draw: st.DrawFn, texts: st.SearchStrategy[str]) -> str:
    """A text with a few words or lines removed, doubled or replaced, characters put in, or its end cut off."""
    text = draw(texts)
    for _ in range(draw(st.integers(1, 3))):
        lines = text.split("\n")
        row = draw(st.integers(0, len(lines) - 1))
        words = lines[row].split(" ")
        at = draw(st.integers(0, len(words) - 1))
        kind = draw(st.sampled_from(["drop word", "double word", "replace word", "drop line", "double line", "insert",
                                     "cut"]))  # fmt: skip
        if kind == "drop word":
            del words[at]
        elif kind == "double word":
            words.insert(at, words[at])
        elif kind == "replace word":
            words[at] = draw(st.sampled_from(WORDS) | st.integers().map(str))
        lines[row] = " ".join(words)
        if kind == "drop line":
            del lines[row]
        elif kind == "double line":
            lines.insert(row, lines[row])
        text = "\n".join(lines)
        position = draw(st.integers(0, len(text)))
        if kind == "insert":
            text = text[:position] + draw(st.text(max_size=3)) + text[position:]
        elif kind == "cut":
            text = text[:position]
    return text


@settings(max_examples=300, deadline=None)
@given(broken(problems().map(ISPD.format) | problems(planar=True).map(Labyrinth.format)))
def test_a_broken_netlist_is_read_or_gives_one_format_error(text):
    try:
        problem = parse_problem(text, "case")
    except FormatError as error:
        explained(error)
    else:
        assert isinstance(problem, Problem)
        assert problem.width * problem.height * len(problem.layers) <= LARGEST_GRID


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_a_broken_solution_is_read_or_gives_one_format_error(data):
    problem = data.draw(problems(nets=3))
    solution = data.draw(solutions(problem))
    lines = [line for net, edges in zip(problem.nets, solution.edges, strict=True)
             for line in (f"{net.name} {net.id}", *segments(problem, edges), "!")]  # fmt: skip
    text = data.draw(broken(st.just("\n".join(lines))))
    for reader in (parse_solution, score_text):
        try:
            reader(problem, text, "case")
        except FormatError as error:
            explained(error)


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=200), st.sampled_from(["a.gr", "a.gz", "a.bz2"]))
def test_any_bytes_are_text_or_a_format_error(data, name):
    try:
        text = _text.unpack(data, name)
    except FormatError as error:
        explained(error, name)
    else:
        assert isinstance(text, str)


@settings(max_examples=100, deadline=None)
@given(st.data(), problems())
def test_one_wrong_byte_in_a_packed_netlist_is_noticed_or_harmless(data, problem):
    pack, name = data.draw(st.sampled_from([(gzip.compress, "a.gz"), (bz2.compress, "a.bz2")]))
    packed = bytearray(pack(ISPD.format(problem).encode()))
    packed[data.draw(st.integers(0, len(packed) - 1))] ^= data.draw(st.integers(1, 255))
    with suppress(FormatError):
        assert parse_problem(_text.unpack(bytes(packed), name)) == problem


@given(st.text(max_size=5) | names())
def test_a_name_that_a_problem_takes_is_one_word_of_a_file(name):
    problem = Problem(1, 1, parse_problem("grid 1 1\nvertical capacity 1\nhorizontal capacity 1\nnum net 0").layers, ())
    try:
        check_name(name)
    except ProblemError:
        return
    made = Problem(1, 1, problem.layers, (Net(name, "0", ()),))
    assert parse_problem(Labyrinth.format(made)) == made
