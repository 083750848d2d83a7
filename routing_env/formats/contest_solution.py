"""Contest solutions: per net ``NAME ID``, then straight segments in absolute coordinates, closed by ``!``.

The official score charges every listed segment, so a segment that a net lists twice is charged twice.

Source: the ISPD-2007/2008 contests' solution format and the scorer's behaviour on shipped solutions.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from routing_env.formats._text import Lines, open_text
from routing_env.grid import Grid, grid_of
from routing_env.metrics import overflow
from routing_env.problem import Problem, inside
from routing_env.solution import Solution, components, needs_route

__all__ = ["OfficialScore", "official_score", "read_solution", "write_solution"]

_SEGMENT = re.compile(r"\((-?\d{1,18}),(-?\d{1,18}),(\d{1,18})\)-\((-?\d{1,18}),(-?\d{1,18}),(\d{1,18})\)", re.ASCII)


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
    """Read a solution file; edges listed twice count once.

    Raises:
        FormatError: names file, line, value and rule.
    """
    return Solution.of(problem, _charges(problem, path), {"file": str(path)})


def official_score(problem: Problem, path: str | Path) -> OfficialScore:
    """Score a solution file as the contest does, with every error by net name.

    Raises:
        FormatError: the file breaks the format.
    """
    grid = grid_of(problem)
    charges = _charges(problem, path)
    layer_nodes = grid.shape[0] * grid.shape[1]
    used = np.zeros(grid.edges, np.int64)
    unrouted, unattached, disjoint = [], [], []
    for i, (net, listed) in enumerate(zip(problem.nets, charges, strict=True)):
        edges = np.array(listed, np.int64)
        planar = edges[edges % 3 != 2]
        np.add.at(used, planar, grid.demand[i, planar // (3 * layer_nodes)])
        if not needs_route(problem, net):
            continue
        pins = {grid.node(tile) for tile in problem.tiles(net)}
        if not listed:
            unrouted.append(net.name)
        elif pins - {node for edge in set(listed) for node in grid.ends(edge)}:
            unattached.append(net.name)
        elif len(components(grid, set(listed), pins)) > 1:
            disjoint.append(net.name)
    over = overflow(grid, used)
    return OfficialScore(int(over.sum()), int(over.max(initial=0)), sum(map(len, charges)),
                         tuple(unrouted), tuple(unattached), tuple(disjoint))  # fmt: skip


def write_solution(problem: Problem, solution: Solution, path: str | Path) -> None:
    """Write a solution file, runs of edges along one axis as one segment, whole or not at all.

    Nets without edges are left out, so that a partial routing can be written and scored.
    """
    grid = grid_of(problem)
    out: list[str] = []
    for net, edges in zip(problem.nets, solution.edges, strict=True):
        if len(edges):
            out += [f"{net.name} {net.id}", *_segments(problem, grid, edges), "!"]
    path = Path(path)
    partial = path.with_name(path.name + ".partial")
    partial.write_text("\n".join(out) + "\n" if out else "")
    partial.replace(path)


def _segments(problem: Problem, grid: Grid, edges: NDArray[np.int32]) -> list[str]:
    gap = (1, grid.shape[0], grid.shape[0] * grid.shape[1])
    out = []
    left = set(edges.tolist())
    for edge in edges.tolist():
        if edge not in left:
            continue
        low, axis = divmod(edge, 3)
        end = low
        while 3 * end + axis in left:
            left.discard(3 * end + axis)
            end += gap[axis]
        out.append(f"{_absolute(problem, grid, low)}-{_absolute(problem, grid, end)}")
    return out


def _absolute(problem: Problem, grid: Grid, node: int) -> str:
    x, y, z = grid.tile(node)
    width, height = problem.tile_size
    left, bottom = problem.origin
    return f"({left + x * width + width // 2},{bottom + y * height + height // 2},{z + 1})"


def _charges(problem: Problem, path: str | Path) -> list[list[int]]:
    """The edges of each net as often as the file lists them."""
    lines = Lines(open_text(path), path)
    by_name = {net.name: i for i, net in enumerate(problem.nets)}
    charges: list[list[int]] = [[] for _ in problem.nets]
    seen: set[str] = set()
    grid = grid_of(problem)
    for words in lines:
        name = words[0]
        if not 2 <= len(words) <= 3:
            raise lines.fail(f"expected 'NAME ID' of a net, got {' '.join(words)[:60]!r}")
        lines.integers(words[1:], "'NAME ID' of a net")
        if name not in by_name:
            raise lines.fail(f"the problem has no net {name!r}")
        if name in seen:
            raise lines.fail(f"net {name!r} occurs twice")
        seen.add(name)
        while (segment := lines.next(f"a segment or '!' of net {name!r}")) != ["!"]:
            charges[by_name[name]] += _walk(problem, grid, lines, "".join(segment))
    return charges


def _walk(problem: Problem, grid: Grid, lines: Lines, text: str) -> list[int]:
    match = _SEGMENT.fullmatch(text)
    if match is None:
        raise lines.fail(f"expected '(x,y,layer)-(x,y,layer)' or '!', got {text[:60]!r}")
    ax, ay, az, bx, by, bz = map(int, match.groups())
    a, b = problem.tile_of((ax, ay, az)), problem.tile_of((bx, by, bz))
    for tile, written in ((a, (ax, ay, az)), (b, (bx, by, bz))):
        if not inside(problem, tile):
            raise lines.fail(f"{written} lies outside the {problem.shape} grid")
    axes = [axis for axis in range(3) if a[axis] != b[axis]]
    if len(axes) > 1:
        raise lines.fail(f"segment {text[:60]!r} is not straight: it changes {len(axes)} of column, row, layer")
    if not axes:
        return []
    axis = axes[0]
    low = min(grid.node(a), grid.node(b))
    gap = (1, grid.shape[0], grid.shape[0] * grid.shape[1])[axis]
    return [3 * (low + k * gap) + axis for k in range(abs(a[axis] - b[axis]))]
