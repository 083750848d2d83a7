"""A routing explained: totals, every net against its bound, every layer, every used edge; as a dict, JSON or text.

Reports need no finished routing: nets that are not connected are named, edges over their capacity come first and say
which nets cross them. Layers count from 1 as in the files, columns and rows from 0.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from routing_env.grid import grid_of
from routing_env.metrics import Summary, net_bound, overflow, summary
from routing_env.problem import Problem
from routing_env.solution import Solution, usage

__all__ = ["EdgeRow", "LayerRow", "NetRow", "Report", "report"]


@dataclass(frozen=True)
class NetRow:
    """One net; lengths in edges."""

    name: str
    pins: int
    wirelength: int
    planar: int
    vias: int
    bound: int
    detour: int | None
    """wirelength - bound; None where the net is not connected"""
    connected: bool
    overflowed_edges: int
    """edges of its route that are over their capacity"""


@dataclass(frozen=True)
class LayerRow:
    """One layer; wirelength and vias in edges, the rest in length units."""

    layer: int
    wirelength: int
    vias_up: int
    used: int
    capacity: int
    overflow: int
    overflowed_edges: int
    max_congestion: float
    """largest used / capacity of an edge; edges of capacity 0 show as overflow only"""


@dataclass(frozen=True)
class EdgeRow:
    """One planar edge in use, from its tile to the next column (horizontal) or row (vertical); in length units."""

    column: int
    row: int
    layer: int
    direction: str
    used: int
    capacity: int
    overflow: int
    nets: tuple[str, ...]
    """who crosses it, where it is over its capacity; else empty"""


@dataclass(frozen=True)
class Report:
    """What ``report`` found; ``text()`` for people, ``to_dict()`` and ``to_json()`` for programs."""

    name: str
    shape: tuple[int, int, int]
    totals: Summary
    bound: int
    """sum of the nets' bounds"""
    nets: tuple[NetRow, ...]
    """most detoured first, unconnected ones last"""
    layers: tuple[LayerRow, ...]
    edges: tuple[EdgeRow, ...]
    """largest overflow first, then largest used / capacity"""
    info: dict[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """The report as plain values: dicts, lists, strings, numbers, None."""
        plain: dict[str, Any] = _plain(asdict(self))
        return plain

    def to_json(self, *, indent: int | None = None) -> str:
        """The report as one JSON object."""
        return json.dumps(self.to_dict(), indent=indent, allow_nan=False)

    def text(self, *, worst: int = 10) -> str:
        """Aligned tables: totals, layers, the ``worst`` nets and edges."""
        return "\n".join([*self._head(), "", *self._layers(), *self._nets(worst), *self._edges(worst)])

    def _head(self) -> list[str]:
        t = self.totals
        over = f" on {t.overflowed_edges} edges, at most {t.max_overflow}" if t.total_overflow else ""
        extra = f", wirelength {t.wirelength / self.bound - 1:+.1%}" if self.bound and not t.unrouted else ""
        rows = [
            ("problem", "{}: {} x {} tiles, {} layers, {} nets".format(self.name, *self.shape, len(self.nets))),
            ("routed", f"{t.routed} of {t.nets} nets that need a route"),
            ("overflow", f"{t.total_overflow}{over}"),
            ("wirelength", f"{t.wirelength} = {t.planar_wirelength} planar + {t.vias} vias"),
            ("bound", f"{self.bound} over all nets{extra}"),
        ]
        if "router" in self.info:
            seconds = self.info.get("seconds")
            rows.insert(1, ("router", f"{self.info['router']}" + (f", {seconds:.3g} s" if seconds is not None else "")))
        if t.unrouted:
            rest = len(t.unrouted) - 20
            rows.append(("unrouted", ", ".join(t.unrouted[:20]) + (f" and {rest} more" if rest > 0 else "")))
        return [f"{title:<11} {value}" for title, value in rows]

    def _layers(self) -> list[str]:
        head = ("layer", "wirelength", "vias up", "used", "capacity", "use", "overflow", "edges over", "max used/cap")
        rows = [(str(r.layer), str(r.wirelength), str(r.vias_up), str(r.used), str(r.capacity),
                 f"{r.used / r.capacity:.0%}" if r.capacity else "-", str(r.overflow), str(r.overflowed_edges),
                 f"{r.max_congestion:.2f}") for r in self.layers]  # fmt: skip
        return _table(head, rows)

    def _nets(self, worst: int) -> list[str]:
        rows = [(r.name, str(r.pins), str(r.wirelength), str(r.planar), str(r.vias), str(r.bound), f"+{r.detour}",
                 str(r.overflowed_edges)) for r in self.nets[:worst] if r.detour]  # fmt: skip
        if not rows:
            return []
        head = ("net", "pins", "wirelength", "planar", "vias", "bound", "detour", "edges over")
        return ["", "most detoured nets", *_table(head, rows)]

    def _edges(self, worst: int) -> list[str]:
        rows = []
        for r in self.edges[:worst]:
            names = ", ".join(r.nets[:6]) + (f" and {len(r.nets) - 6} more" if len(r.nets) > 6 else "")
            rows.append((f"({r.column}, {r.row})", str(r.layer), r.direction, str(r.used), str(r.capacity),
                         str(r.overflow), names))  # fmt: skip
        if not rows:
            return []
        head = ("tile", "layer", "direction", "used", "capacity", "overflow", "nets")
        return ["", "most congested edges", *_table(head, rows, "lrlrrrl")]


def report(problem: Problem, solution: Solution) -> Report:
    """Explain a routing, complete or not."""
    totals = summary(problem, solution)
    used = usage(solution)
    over = overflow(grid_of(problem), used)
    nets = _net_rows(problem, solution, over, set(totals.unrouted))
    return Report(
        name=problem.name,
        shape=problem.shape,
        totals=totals,
        bound=sum(net.bound for net in nets),
        nets=tuple(sorted(nets, key=lambda net: -math.inf if net.detour is None else net.detour, reverse=True)),
        layers=_layer_rows(problem, solution, used, over),
        edges=_edge_rows(problem, solution, used, over),
        info=dict(solution.info),
    )


def _net_rows(problem: Problem, solution: Solution, over: NDArray[np.int64], unrouted: set[str]) -> list[NetRow]:
    rows = []
    for net, edges in zip(problem.nets, solution.edges, strict=True):
        vias, bound, connected = int((edges % 3 == 2).sum()), net_bound(problem, net), net.name not in unrouted
        rows.append(NetRow(net.name, len(net.pins), len(edges), len(edges) - vias, vias, bound,
                           len(edges) - bound if connected else None, connected,
                           int((over[edges] > 0).sum())))  # fmt: skip
    return rows


def _layer_rows(
    problem: Problem, solution: Solution, used: NDArray[np.int64], over: NDArray[np.int64]
) -> tuple[LayerRow, ...]:
    grid = grid_of(problem)
    shape = (len(problem.layers), problem.width * problem.height, 3)
    wires = np.bincount(np.concatenate([*solution.edges, np.empty(0, np.int32)]).astype(np.int64), minlength=grid.edges)
    wires, used, over = wires.reshape(shape), used.reshape(shape), over.reshape(shape)
    capacity = grid.capacity.astype(np.int64).reshape(shape)
    rows = []
    for z in range(len(problem.layers)):
        room, taken = capacity[z, :, :2], used[z, :, :2]
        congestion = np.divide(taken, room, out=np.zeros(room.shape), where=room > 0)
        rows.append(LayerRow(z + 1, int(wires[z, :, :2].sum()), int(wires[z, :, 2].sum()), int(taken.sum()),
                             int(room.sum()), int(over[z].sum()), int((over[z] > 0).sum()),
                             float(congestion.max())))  # fmt: skip
    return tuple(rows)


def _edge_rows(
    problem: Problem, solution: Solution, used: NDArray[np.int64], over: NDArray[np.int64]
) -> tuple[EdgeRow, ...]:
    grid = grid_of(problem)
    crossing: dict[int, list[str]] = {edge: [] for edge in np.flatnonzero(over).tolist()}
    for net, edges in zip(problem.nets, solution.edges, strict=True):
        for edge in edges[over[edges] > 0].tolist():
            crossing[edge].append(net.name)
    at = np.flatnonzero(used)
    at = at[at % 3 != 2]
    order = np.lexsort((at, -used[at] / np.maximum(grid.capacity[at], 1), -over[at]))
    rows = []
    for edge in at[order].tolist():
        column, row, layer = grid.tile(edge // 3)
        rows.append(EdgeRow(column, row, layer + 1, ("horizontal", "vertical")[edge % 3], int(used[edge]),
                            int(grid.capacity[edge]), int(over[edge]), tuple(crossing.get(edge, ()))))  # fmt: skip
    return tuple(rows)


def _table(head: Sequence[str], rows: Sequence[Sequence[str]], align: str = "") -> list[str]:
    """Columns as wide as their widest cell, the first to the left, the others to the right unless ``align`` says so."""
    align = align or "l" + "r" * (len(head) - 1)
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    lines = []
    for cells in (head, *rows):
        padded = [c.ljust(w) if a == "l" else c.rjust(w) for c, w, a in zip(cells, widths, align, strict=True)]
        lines.append("  ".join(padded).rstrip())
    return lines


def _plain(value: Any) -> Any:
    """Values that JSON knows; what a router's ``info`` may carry besides becomes a list, a number or None."""
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, np.ndarray | np.generic):
        return _plain(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
