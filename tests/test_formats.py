"""Netlists and solutions: what is read, what is refused and how it is said."""

import bz2
import csv
import gzip
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from boards import drawn, routed

from routing_env import (
    Adjustment,
    FormatError,
    Layer,
    Net,
    Problem,
    official_score,
    read_problem,
    read_solution,
    write_problem,
    write_solution,
)
from routing_env.formats import _text, netlists, parse_problem
from routing_env.formats.contest_solution import parse_solution, score_text
from routing_env.formats.labyrinth import Labyrinth
from routing_env.grid import grid_of

DATA = Path(__file__).parents[2] / "shared" / "data"
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason="needs the benchmark files in ../shared/data")

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
A2 2 2 1
9 7 1
9 17 2
1
0 0 1   1 0 1   3
"""
PLANAR = """grid 3 2
vertical capacity 2
horizontal capacity 3
num net 2
net0 0 2
  0 0
  2 1
net1 7 1
  1 1
"""
ROUTES = """A1 1
(5,5,1)-(25,5,1)
(25,5,1)-(25,5,2)
(25,5,2)-(25,25,2)
(25,25,2)-(25,25,1)
!
A2 2
(5,5,1)-(5,5,2)
(5,5,2)-(5,15,2)
!
"""


def shared(*patterns):
    return [path for pattern in patterns for path in sorted(DATA.glob(pattern))]


# What is read


def test_a_contest_netlist_is_read_as_it_is_written():
    problem = parse_problem(CONTEST)
    assert problem == Problem(
        3,
        3,
        (Layer(4, 0), Layer(0, 4)),
        (Net("A1", "01", ((5, 5, 1), (25, 25, 1))), Net("A2", "2", ((9, 7, 1), (9, 17, 2)))),
        tile_size=(10, 10),
        adjustments=(Adjustment((0, 0, 0), (1, 0, 0), 3),),
    )


def test_a_planar_netlist_is_one_layer_or_on_request_two():
    problem = parse_problem(PLANAR, "case.modified.txt")
    assert (problem.name, problem.layers, problem.nets[1].id) == ("case", (Layer(3, 2),), "7")
    assert Labyrinth.parse(PLANAR, "x", two_layers=True).layers == (Layer(3, 0), Layer(0, 2))


@pytest.mark.parametrize("text", [CONTEST, PLANAR])
@pytest.mark.parametrize(
    "change",
    [
        lambda text: text.replace("\n", "\r\n"),
        lambda text: text.replace(" ", "\t"),
        lambda text: text.replace("\n", "\n\n \t\n"),
        lambda text: "\n\n" + text,
        lambda text: text.rstrip(),
        lambda text: text.replace("\n", "  \n").replace(" ", "   "),
        lambda text: text.replace("grid", "GRID").replace("num", "Num"),
        lambda text: "\ufeff" + text,
    ],
    ids=["CRLF", "tabs", "blank lines", "blank first", "no last newline", "spaces", "capitals", "byte order mark"],
)
def test_white_space_and_line_ends_do_not_matter(text, change, tmp_path):
    path = tmp_path / "case.gr"
    path.write_bytes(change(text).encode())
    assert read_problem(path) == parse_problem(text)


def test_no_count_of_adjustments_means_none():
    assert parse_problem("\n".join(CONTEST.splitlines()[:-2])).adjustments == ()


def test_pins_in_one_tile_stay_apart_and_ids_keep_their_zeros():
    problem = parse_problem(CONTEST.replace("25 25 1", "6 6 1").replace("A1 01", "A1 007"))
    assert problem.nets[0].id == "007"
    assert len(problem.nets[0].pins) == 2
    assert problem.tiles(problem.nets[0]) == ((0, 0, 0),)


def test_the_last_of_two_adjustments_of_an_edge_holds():
    problem = parse_problem(CONTEST.replace("1\n0 0 1   1 0 1   3", "2\n0 0 1 1 0 1 3\n1 0 1 0 0 1 2"))
    grid = grid_of(problem)
    assert grid.capacity[grid.edge(0, 1)] == 2


def test_a_pin_left_of_the_origin_is_in_no_tile_and_floor_not_truncation_decides():
    text = CONTEST.replace("0 0 10 10", "1 1 10 10")
    assert parse_problem(text).tile_of((10, 11, 1)) == (0, 1, 0)
    with pytest.raises(FormatError, match=r"netlist:11: net 'A1': pin \(0, 25, 1\) lies outside"):
        parse_problem(text.replace("25 25 1", "0 25 1"))


# What is refused: (text, replaced, by, line, what the error says)

REFUSED = [
    (CONTEST, "grid 3 3 2", "graph 3 3 2", 1, "expected 'grid X Y LAYERS' .* got 'graph 3 3 2'"),
    (CONTEST, "grid 3 3 2", "grid 3 3 0", 1, "0 is below 1"),
    (CONTEST, "grid 3 3 2", "grid 3 -3 2", 1, "-3 is below 1"),
    (CONTEST, "grid 3 3 2", "grid 3 3 1", 2, "vertical capacity: 2 values, expected 1"),
    (CONTEST, "grid 3 3 2", "grid 100000 100000 2", 1, "more than 16,000,000 tiles"),
    (CONTEST, "grid 3 3 2", "grid 3 3 1001", 1, "more than 1,000 layers"),
    (CONTEST, "capacity 4 0", "capacity 4 -1", 3, "-1 is below 0"),
    (CONTEST, "capacity 4 0", "capacity 4 1.5", 3, "'1.5' is not an integer"),
    (CONTEST, "capacity 4 0", "capacity 4 1e9", 3, "'1e9' is not an integer"),
    (CONTEST, "capacity 4 0", "capacity 4 \u0664", 3, "is not an integer"),
    (CONTEST, "capacity 4 0", "capacity 4 1000000001", 3, "1000000001 lies outside"),
    (CONTEST, "minimum spacing", "minimal spacing", 5, "expected 'minimum spacing ...', got 'minimal"),
    (CONTEST, "0 0 10 10", "0 0 10", 7, "3 values, expected 'llx lly tile_width tile_height'"),
    (CONTEST, "0 0 10 10", "0 0 0 10", 7, "both sides must be at least 1"),
    (CONTEST, "0 0 10 10", "0 0 10 999999999999", 7, "the grid leaves"),
    (CONTEST, "num net 2", "num net -2", 8, "-2 is below 0"),
    (CONTEST, "num net 2", "num net 3", 15, "expected 'NAME ID PINS MIN_WIDTH', got '1'"),
    (CONTEST, "num net 2", "num net 1", 12, "expected the number of capacity adjustments, got 'A2 2 2 1'"),
    (CONTEST, "num net 2", "num net 1000000000", 15, "expected 'NAME ID PINS MIN_WIDTH', got '1'"),
    (CONTEST, "A1 01 2 1", "A1 01 3 1", 12, "net 'A1' has 3 pins but 2 pin lines; .* got 'A2 2 2 1'"),
    (CONTEST, "A1 01 2 1", "A1 01 1 1", 11, "expected 'NAME ID PINS MIN_WIDTH', got '25 25 1'"),
    (CONTEST, "A2 2 2 1", "A2 2 1000000000 1", 15, "net 'A2' has 1000000000 pins but 2 pin lines"),
    (CONTEST, "A1 01 2 1", "A1 x1 2 1", 9, "net 'A1': id 'x1' is not a text of 1 to 18 digits"),
    (CONTEST, "A1 01 2 1", "A1 -1 2 1", 9, "id '-1' is not a text of 1 to 18 digits"),
    (CONTEST, "A1 01 2 1", "A1 01 two 1", 9, "'two' is not an integer"),
    (CONTEST, "A1 01 2 1", "A1 01 2 -1", 9, "-1 is below 0"),
    (CONTEST, "A1 01 2 1", "! 01 2 1", 9, "net name '!' reads as the end"),
    (CONTEST, "A1 01 2 1", "(5,5,1)-(5,5,1) 01 2 1", 9, "reads as the end or a segment"),
    (CONTEST, "A1 01 2 1", "A\x001 01 2 1", 9, "what does not print"),
    (CONTEST, "A2 2 2 1", "A1 2 2 1", 14, "net name 'A1' occurs twice"),
    (CONTEST, "25 25 1", "30 25 1", 11, r"pin \(30, 25, 1\) lies outside the 3 x 3 x 2 grid, x 0..29"),
    (CONTEST, "25 25 1", "25 25 3", 11, "lies outside .* layer 1..2"),
    (CONTEST, "25 25 1", "25 25 0", 11, "lies outside .* layer 1..2"),
    (CONTEST, "25 25 1", "25 25", 11, "net 'A1' has 2 pins but 1 pin lines; expected 'x y layer', got '25 25'"),
    (CONTEST, "25 25 1", "25 9999999999999999999 1", 11, "not an integer of at most 18 digits"),
    (CONTEST, "0 0 1   1 0 1   3", "0 0 1   2 0 1   3", 16, "are not neighbours"),
    (CONTEST, "0 0 1   1 0 1   3", "0 0 1   0 0 1   3", 16, "are not neighbours"),
    (CONTEST, "0 0 1   1 0 1   3", "0 0 1   0 0 2   3", 16, "are not neighbours"),
    (CONTEST, "0 0 1   1 0 1   3", "0 0 1   1 0 2   3", 16, "are not neighbours"),
    (CONTEST, "0 0 1   1 0 1   3", "2 0 1   3 0 1   3", 16, r"tile \(3, 0, 0\) lies outside"),
    (CONTEST, "0 0 1   1 0 1   3", "0 0 9   1 0 9   3", 16, r"tile \(0, 0, 8\) lies outside"),
    (CONTEST, "0 0 1   1 0 1   3", "0 0 1   1 0 1   -3", 16, "capacity -3 lies outside"),
    (CONTEST, "0 0 1   1 0 1   3", "0 0 1   1 0 1", 16, "expected 'x y layer x y layer capacity'"),
    (CONTEST, "0 0 1   1 0 1   3", "0 0 1   1 0 1   3\nmore", 17, "'more' follows the last of 1 adjustments"),
    (CONTEST, "1\n0 0 1   1", "2\n0 0 1   1", 16, "the file ends where adjustment 2 of 2 is expected"),
    (PLANAR, "vertical capacity 2", "vertical capacity 2 2", 2, "2 values, expected 1"),
    (PLANAR, "net1 7 1", "net0 7 1", 9, "net name 'net0' occurs twice"),
    (PLANAR, "net1 7 1", "net1 x 1", 8, "id 'x' is not a text of 1 to 18 digits"),
    (PLANAR, "  2 1", "  3 1", 7, "lies outside"),
    (PLANAR, "  2 1", "  2 1 1", 7, "expected 'x y', got '2 1 1'"),
    (PLANAR, "num net 2", "num net 1", 8, "'net1 7 1' follows the last of 1 nets"),
    (PLANAR, "num net 2", "num net 1000000000", 9, "the file ends where net 3 of 1000000000 is expected"),
    (PLANAR, "net1 7 1", "net1 7 1000000000", 9, "the file ends where pin 2 of 1000000000 of net 'net1'"),
]


@pytest.mark.parametrize(("text", "old", "new", "line", "message"), REFUSED)
def test_a_defect_is_one_error_with_file_line_value_and_rule(text, old, new, line, message):
    assert text.count(old) == 1
    with pytest.raises(FormatError, match=f"^case.gr:{line}: .*{message}") as caught:
        parse_problem(text.replace(old, new), "case.gr")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", [CONTEST, PLANAR])
def test_a_netlist_cut_off_anywhere_before_its_last_line_is_refused(text):
    lines = text.splitlines()
    last = len(lines) - (2 if text == CONTEST else 0)  # without the adjustments a contest netlist is complete
    for count in range(last):
        with pytest.raises(FormatError, match="the file ends where"):
            parse_problem("\n".join(lines[:count]))


@pytest.mark.parametrize("ending", [".gz", ".bz2"])
def test_a_cut_off_or_damaged_packed_file_is_refused(ending, tmp_path):
    path = tmp_path / f"case.gr{ending}"
    whole = {".gz": gzip.compress, ".bz2": bz2.compress}[ending](CONTEST.encode())
    for damaged in (whole[:-1], whole[: len(whole) // 2], whole[:20], whole[:3], b"junk", CONTEST.encode()):
        path.write_bytes(damaged)
        with pytest.raises(FormatError, match=f"case.gr{ending}: damaged"):
            read_problem(path)
    path.write_bytes(b"")
    with pytest.raises(FormatError, match=r"case\.gr"):
        read_problem(path)


def test_binary_junk_is_refused_with_the_line_it_is_in(tmp_path):
    path = tmp_path / "junk.gr"
    path.write_bytes(b"grid 3 3 2\n\xff\xfe\x00")
    with pytest.raises(FormatError, match=r"junk\.gr:2: byte 0xff is not text"):
        read_problem(path)
    path.write_bytes(bytes(range(128)))
    with pytest.raises(FormatError, match="expected 'grid X Y LAYERS'"):
        read_problem(path)


@pytest.mark.parametrize("ending", [".gz", ".bz2"])
def test_a_small_file_that_unpacks_to_a_huge_one_is_refused(ending, tmp_path, monkeypatch):
    monkeypatch.setattr(_text, "UNSUSPECTED", 2**16)
    path = tmp_path / f"bomb.gr{ending}"
    path.write_bytes({".gz": gzip.compress, ".bz2": bz2.compress}[ending](b"\n" * 2**22))
    with pytest.raises(FormatError, match="unpack to more than"):
        read_problem(path)


def test_a_file_beyond_the_largest_size_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(_text, "LARGEST_FILE", 100)
    (tmp_path / "case.gr").write_text(CONTEST)
    with pytest.raises(FormatError, match="larger than 100 bytes"):
        read_problem(tmp_path / "case.gr")


def test_large_claims_cost_no_memory():
    tracemalloc.start()
    head = CONTEST.replace("grid 3 3 2", "grid 4000 2000 2")
    parse_problem(head)
    for text in (head.replace("num net 2", "num net 999999999"), head.replace("A2 2 2", "A2 2 999999999999999999")):
        with pytest.raises(FormatError):
            parse_problem(text)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2**20


def test_a_missing_file_is_the_systems_error():
    with pytest.raises(FileNotFoundError):
        read_problem("no/such/file.gr.gz")


# Round trips


@needs_data
@pytest.mark.parametrize("ending", ["", ".gz", ".bz2"])
def test_shared_netlists_survive_writing_and_reading(ending, tmp_path):
    every = shared("liao/set*/*.gr", "chips/*.gr", "ispd98/*.gr", "ispd98/*.txt")
    assert len(every) == 204
    for path in every if ending == "" else every[::40]:
        problem = read_problem(path)
        copy = tmp_path / (path.name.split(".")[0] + path.suffix + ending)
        write_problem(problem, copy)
        assert read_problem(copy) == problem


@needs_data
def test_shared_solutions_survive_writing_and_reading(tmp_path):
    for path in shared("liao/set*/*.route")[::3]:
        problem = read_problem(path.with_name(path.name.split(".")[0] + ".gr"))
        solution = read_solution(problem, path)
        write_solution(problem, solution, tmp_path / "copy.route")
        copy = read_solution(problem, tmp_path / "copy.route")
        assert all(np.array_equal(a, b) for a, b in zip(solution.edges, copy.edges, strict=True))


@pytest.mark.parametrize("ending", [".gz", ".bz2"])
def test_equal_problems_are_equal_bytes_and_nothing_is_left_beside_them(ending, tmp_path):
    for name in ("a.gr", "b.gr"):
        write_problem(parse_problem(CONTEST), tmp_path / (name + ending))
    assert (tmp_path / f"a.gr{ending}").read_bytes() == (tmp_path / f"b.gr{ending}").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == [f"a.gr{ending}", f"b.gr{ending}"]


def test_the_planar_format_refuses_what_it_cannot_hold(tmp_path):
    layers = (Layer(1, 1, via_spacing=2),)
    for problem in (parse_problem(CONTEST), Problem(2, 2, layers, ()), Problem(2, 2, (Layer(1, 1),), (), (1, 0))):
        with pytest.raises(ValueError, match="two-dimensional format holds one layer"):
            write_problem(problem, tmp_path / "case.txt")
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_ending_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"'.def' is none of .gr, .txt"):
        write_problem(parse_problem(CONTEST), tmp_path / "case.def.gz")


def test_every_netlist_format_is_found_by_its_file():
    assert [reader.__name__ for reader in netlists()] == ["ISPD", "Labyrinth"]


# Solutions


@needs_data
def test_all_shared_solutions_score_as_the_contest_scored_them():
    rows = list(csv.DictReader((DATA / "liao" / "official_scores.csv").read_text().splitlines()))
    assert len(rows) == 344
    for row in rows:
        folder = DATA / "liao" / f"set{row['set']}"
        problem = read_problem(folder / f"{row['netlist']}.gr")
        score = official_score(problem, folder / f"{row['netlist']}.{row['router']}.route")
        found = score.total_overflow, score.max_overflow, score.wirelength
        assert found == tuple(int(row[key]) for key in ("total_overflow", "max_overflow", "wirelength")), row


@pytest.mark.parametrize("ending", ["", ".gz", ".bz2"])
def test_a_solution_file_is_written_in_straight_runs(ending, tmp_path):
    problem = drawn("a . a")
    path = tmp_path / f"case.route{ending}"
    write_solution(problem, routed(problem, [(0, 0, 0), (1, 0, 0), (2, 0, 0)]), path)
    assert _text.open_text(path) == "a 0\n(0,0,1)-(2,0,1)\n!\n"
    assert official_score(problem, path).legal


def test_unrouted_unattached_and_disjoint_nets_are_each_named():
    problem = drawn("a . a\nb . b\nc . c\nd . d", capacity=5)
    text = "b 1\n(0,2,1)-(1,2,1)\n!\nc 2\n(0,1,1)-(1,1,1)\n(2,1,1)-(2,1,2)\n!\nd 3\n(0,0,1)-(2,0,1)\n!\n"
    score = score_text(problem, text)
    assert (score.unrouted, score.unattached, score.disjoint) == (("a",), ("b",), ("c",))
    assert not score.legal


def test_a_segment_listed_twice_is_charged_twice_but_is_one_edge():
    problem = drawn("a a")
    text = "a 0\n(0,0,1)-(1,0,1)\n(1,0,1)-(0,0,1)\n!\n"
    score = score_text(problem, text)
    assert (score.wirelength, score.total_overflow, score.max_overflow) == (2, 1, 1)
    assert len(parse_solution(problem, text).edges[0]) == 1


def test_a_net_in_one_tile_and_one_of_more_than_1000_pins_need_no_route():
    many = tuple((i % 20, i % 7, 1) for i in range(1001))
    nets = (Net("here", "0", ((1, 1, 1), (1, 1, 1))), Net("huge", "1", many), Net("big", "2", many[:1000]))
    score = score_text(Problem(20, 7, (Layer(1, 1),), nets), "")
    assert (score.unrouted, score.unattached, score.disjoint) == (("big",), (), ())


def test_segments_may_shift_inside_a_tile():
    assert score_text(parse_problem(CONTEST), ROUTES.replace("(5,5,1)-(25,5,1)", "(9,1,1)-(20,8,1)")).legal


@pytest.mark.parametrize(
    ("old", "new", "line", "message"),
    [
        ("(5,5,1)-(25,5,1)", "(5,5,1)-(25,25,1)", 2, "is not straight: it changes 2 of column, row, layer"),
        ("(5,5,1)-(25,5,1)", "(5,5,1)-(25,25,2)", 2, "is not straight: it changes 3"),
        ("(5,5,1)-(25,5,1)", "(5,5,1)-(35,5,1)", 2, r"\(35, 5, 1\) lies outside"),
        ("(5,5,1)-(25,5,1)", "(-5,5,1)-(25,5,1)", 2, r"\(-5, 5, 1\) lies outside"),
        ("(5,5,1)-(25,5,1)", "(5,5,0)-(5,5,1)", 2, r"\(5, 5, 0\) lies outside"),
        ("(5,5,1)-(25,5,1)", "5,5,1-25,5,1", 2, "expected '.x,y,layer.-.x,y,layer.' or '!', got '5,5,1-25,5,1'"),
        ("(5,5,1)-(25,5,1)", "(5,5,1)-(25.0,5,1)", 2, "expected"),
        ("A2 2", "A3 2", 7, "the problem has no net 'A3'"),
        ("A2 2", "A1 2", 7, "net 'A1' occurs twice"),
        ("A2 2", "A2 two", 7, "'two' is not an integer"),
        ("A2 2", "A2", 7, "expected 'NAME ID' of a net, got 'A2'"),
        ("A2 2\n", "", 7, "expected 'NAME ID' of a net"),
        ("(25,25,2)-(25,25,1)\n!", "(25,25,2)-(25,25,1)", 6, "or '!', got 'A22'"),
        ("(5,5,2)-(5,15,2)\n!\n", "(5,5,2)-(5,15,2)\n", 9, "the file ends where a segment or '!' of net 'A2'"),
    ],
)
def test_a_defect_of_a_solution_is_one_error(old, new, line, message):
    assert ROUTES.count(old) == 1
    for reader in (parse_solution, score_text):
        with pytest.raises(FormatError, match=f"^case.route:{line}: .*{message}"):
            reader(parse_problem(CONTEST), ROUTES.replace(old, new), "case.route")


def test_endless_segments_are_refused(monkeypatch):
    monkeypatch.setattr("routing_env.formats.contest_solution.LONGEST", 10)
    text = "a 0\n" + "(0,0,1)-(2,0,1)\n" * 6 + "!\n"
    with pytest.raises(FormatError, match="case:7: the segments are longer than 10 tile steps"):
        parse_solution(drawn("a . a"), text, "case")


def test_a_solution_of_another_problem_is_not_written(tmp_path):
    two = drawn("a a\nb b")
    with pytest.raises(ValueError, match=r"zip\(\) argument 2 is longer"):
        write_solution(drawn("a a"), routed(two, [], []), tmp_path / "case.route")
    assert list(tmp_path.iterdir()) == []


def test_reading_a_solution_needs_no_tables_of_the_grid():
    problem = parse_problem(CONTEST.replace("grid 3 3 2", "grid 2000 4000 2"))
    assert len(parse_solution(problem, ROUTES).edges[0]) == 6
    assert "_grid" not in problem.__dict__
