"""Contest solutions: per net ``NAME ID``, then straight segments in absolute coordinates, closed by ``!``.

The official score charges every listed segment, so a segment that a net lists twice is charged twice. Ids and the
optional count after them are numbers, but nothing is looked up by them: files in use disagree with their netlists.

Source: the ISPD-2007/2008 contests' solution format and the scorer's behaviour on shipped solutions.
"""

from __future__ import annotations

import re
from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from routing_env.formats._text import Lines, open_text, save_text, short
from routing_env.grid import Ints, grid_of
from routing_env.metrics import overflow
from routing_env.problem import Problem, inside
from routing_env.solution import Solution, components, needs_route

__all__ = ["OfficialScore", "official_score", "parse_solution", "read_solution", "score_text", "write_solution"]

_SEGMENT = re.compile(r"\((-?\d{1,18}),(-?\d{1,18}),(\d{1,18})\)-\((-?\d{1,18}),(-?\d{1,18}),(\d{1,18})\)", re.ASCII)

LONGEST = 2**28
"""tile steps of all segments together; ten times the longest routing of the contests, one GiB of edge numbers"""


@dataclass(frozen=True)
class OfficialScore:
    """What the contest's scorer says of a solution file; overflow in length units, wirelength in tile and layer steps.

    ``unrouted`` nets have no segment, ``unattached`` nets leave a pin without a wire, the wires of ``disjoint`` nets
    fall into pieces. A net is named once, under the first that holds.
    """

    total_overflow: int
    max_overflow: int
    wirelength: int
    unrouted: tuple[str, ...] = ()
    unattached: tuple[str, ...] = ()
    disjoint: tuple[str, ...] = ()

    @property
    def legal(self) -> bool:
        """Every net connected and no edge over its capacity."""
        return not (self.total_overflow or self.unrouted or self.unattached or self.disjoint)


def read_solution(problem: Problem, path: str | Path) -> Solution:
    """Read a solution file, plain, .gz or .bz2; edges listed twice count once, nets not listed have no edges.

    Raises:
        FormatError: names file, line, value and rule.
        OSError: the file cannot be read.
    """
    return parse_solution(problem, open_text(path), path)


def parse_solution(problem: Problem, text: str, path: str | Path = "solution") -> Solution:
    """Read the text of a solution file; ``path`` names it in errors.

    Raises:
        FormatError: names file, line, value and rule.
    """
    edges = tuple(np.unique(listed) for listed in _charges(problem, text, path))
    return Solution(problem, edges, {"file": str(path)})


def official_score(problem: Problem, path: str | Path) -> OfficialScore:
    """Score a solution file as the contest does, with every error by net name.

    Raises:
        FormatError: the file breaks the format.
        OSError: the file cannot be read.
    """
    return score_text(problem, open_text(path), path)


def score_text(problem: Problem, text: str, path: str | Path = "solution") -> OfficialScore:
    """Score the text of a solution file; ``path`` names it in errors.

    Raises:
        FormatError: the file breaks the format.
    """
    charges = _charges(problem, text, path)
    grid = grid_of(problem)
    layer_nodes = grid.shape[0] * grid.shape[1]
    used = np.zeros(grid.edges, np.int64)
    unrouted, unattached, disjoint = [], [], []
    for i, (net, listed) in enumerate(zip(problem.nets, charges, strict=True)):
        planar = listed[listed % 3 != 2]
        np.add.at(used, planar, grid.demand[i, planar // (3 * layer_nodes)])
        if not needs_route(problem, net):
            continue
        pins = {grid.node(tile) for tile in problem.tiles(net)}
        edges = np.unique(listed).tolist()
        groups = components(grid, edges, pins)
        if not edges:
            unrouted.append(net.name)
        elif any(len(group) == 1 for group in groups):
            unattached.append(net.name)
        elif len(groups) > 1:
            disjoint.append(net.name)
    over = overflow(grid, used)
    return OfficialScore(int(over.sum()), int(over.max(initial=0)), sum(map(len, charges)),
                         tuple(unrouted), tuple(unattached), tuple(disjoint))  # fmt: skip


def write_solution(problem: Problem, solution: Solution, path: str | Path) -> None:
    """Write a solution file, runs of edges along one axis as one segment, whole or not at all; .gz and .bz2 packed.

    Nets without edges are left out, so that a partial routing can be written and scored.

    Raises:
        ValueError: the solution has more or fewer nets than the problem.
    """
    out: list[str] = []
    for net, edges in zip(problem.nets, solution.edges, strict=True):
        if len(edges):
            out += [f"{net.name} {net.id}", *_segments(problem, edges), "!"]
    save_text("\n".join([*out, ""]) if out else "", path)


def _gaps(problem: Problem) -> tuple[int, int, int]:
    """Steps in node numbers along column, row, layer; from the shape alone: tables of a large grid take seconds."""
    return 1, problem.width, problem.width * problem.height


def _segments(problem: Problem, edges: Ints) -> Iterator[str]:
    gap = _gaps(problem)
    left = set(edges.tolist())
    for edge in edges.tolist():
        if edge not in left:
            continue
        low, axis = divmod(edge, 3)
        end = low
        while 3 * end + axis in left:
            left.discard(3 * end + axis)
            end += gap[axis]
        yield f"{_absolute(problem, low)}-{_absolute(problem, end)}"


def _absolute(problem: Problem, node: int) -> str:
    """The middle of a tile."""
    layer, rest = divmod(node, problem.width * problem.height)
    (left, bottom), (width, height) = problem.origin, problem.tile_size
    row, column = divmod(rest, problem.width)
    return f"({left + column * width + width // 2},{bottom + row * height + height // 2},{layer + 1})"


def _charges(problem: Problem, text: str, path: str | Path) -> list[Ints]:
    """The edges of each net as often as the file lists them."""
    lines = Lines(text, path)
    index = {net.name: i for i, net in enumerate(problem.nets)}
    charges = [np.empty(0, np.int32)] * len(index)
    seen: set[str] = set()
    total = 0
    for words in lines:
        name = words[0]
        if not 2 <= len(words) <= 3:
            raise lines.fail(f"expected 'NAME ID' of a net, got {short(words)}")
        lines.integers(words[1:], "'NAME ID' of a net", least=0)
        if name not in index:
            raise lines.fail(f"the problem has no net {short(name)}")
        if name in seen:
            raise lines.fail(f"net {short(name)} occurs twice")
        seen.add(name)
        listed = array("i")
        while (segment := lines.next(f"a segment or '!' of net {short(name)}")) != ["!"]:
            steps = _walk(problem, lines, "".join(segment))
            total += len(steps)
            if total > LONGEST:
                raise lines.fail(f"the segments are longer than {LONGEST:,} tile steps together")
            listed.extend(steps)
        charges[index[name]] = np.array(listed, np.int32)
    return charges


def _walk(problem: Problem, lines: Lines, text: str) -> range:
    """The edges of a segment."""
    match = _SEGMENT.fullmatch(text)
    if match is None:
        raise lines.fail(f"expected '(x,y,layer)-(x,y,layer)' or '!', got {short(text)}")
    ax, ay, az, bx, by, bz = map(int, match.groups())
    a, b = problem.tile_of((ax, ay, az)), problem.tile_of((bx, by, bz))
    for tile, written in ((a, (ax, ay, az)), (b, (bx, by, bz))):
        if not inside(problem, tile):
            raise lines.fail(f"{written} lies outside the {problem.shape} grid: it is in tile {tile}")
    axes = [axis for axis in range(3) if a[axis] != b[axis]]
    if len(axes) > 1:
        raise lines.fail(f"segment {short(text)} is not straight: it changes {len(axes)} of column, row, layer")
    if not axes:
        return range(0)
    axis, gap = axes[0], _gaps(problem)
    low = min(sum(at * step for at, step in zip(tile, gap, strict=True)) for tile in (a, b))
    return range(3 * low + axis, 3 * (low + abs(a[axis] - b[axis]) * gap[axis]) + axis, 3 * gap[axis])
