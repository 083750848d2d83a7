"""Rows of the routing study as numbers of runs and lines of tables; nothing here trains or draws.

A run's best pass is the one with the most connections, then the least overflow, then the fewest moves. Rewards of
passes are those of the published reward, whatever the agent was paid: 100 for each connection made and -1 for every
other move,

reward = 101 connections - moves
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations, pairwise
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from numpy.typing import NDArray

import optimizers
from agents import records
from agents.presets import preset
from benchmarks.reporting.intervals import Estimate, mean_over_netlists, wilson
from benchmarks.routing import read
from benchmarks.tuning import best_trial

__all__ = [
    "PUBLISHED",
    "PUBLISHED_LIAO",
    "Arms",
    "Routers",
    "Row",
    "ablation",
    "beginning",
    "best_reward",
    "cpu_seconds",
    "curve",
    "differences",
    "first_netlists",
    "fully_routed",
    "in_order",
    "judged",
    "liao",
    "numbers",
    "pairs",
    "read_arms",
    "read_routers",
    "rewards",
    "second_order",
    "summary",
    "tuning",
]

Row = dict[str, Any]
Arms = Mapping[str, Sequence[Row]]
"""rows by the label of their arm"""
Routers = Mapping[str, Mapping[str, Any]]
"""what routers reach and what is proven, by netlist"""

PUBLISHED: dict[str, dict[str, Any]] = {
    "published-adam": {"runs": 15, "full": 10, "reward": 4562, "pass": 368, "minus_astar": -2.2},
    "published-rmsprop": {"runs": 15, "full": 10, "reward": 4601, "pass": 394, "minus_astar": -3.5},
    "published-asnaq": {"runs": 15, "full": 12, "reward": 4620, "pass": 265, "minus_astar": -10.7},
}
"""Indrapriyadarsini et al. 2020, derived from the table of 15 netlists; means, the last over the fully routed"""
PUBLISHED_LIAO = {"set05": {"connected": 91, "wirelength": 201.6, "astar": 199.2},
                  "set26": {"connected": 53, "wirelength": 286.2, "astar": 287.3}}  # fmt: skip
"""the program's own DQN on 100 netlists each; means over what it connected"""


def read_arms(folder: Path) -> dict[str, dict[str, list[Row]]]:
    """Rows by set and arm from ``SET-ARM.jsonl.gz``, each ``judged``, arms in the order of ``in_order``.

    Raises:
        ValueError: a file does not end with the method of its rows, or mixes methods.
    """
    found: dict[str, dict[str, list[Row]]] = {}
    for path in sorted(folder.glob("*.jsonl.gz")):
        if not (rows := [judged(row) for row in read(path)]):
            continue
        label, name = rows[0]["method"], path.name.removesuffix(".jsonl.gz")
        if not name.endswith(f"-{label}") or any(row["method"] != label for row in rows):
            raise ValueError(f"{path}: rows of {label!r} belong in SET-{label}.jsonl.gz, and of one method alone")
        found.setdefault(name.removesuffix(f"-{label}"), {})[label] = rows
    return {name: {label: arms[label] for label in in_order(arms)} for name, arms in sorted(found.items())}


def tuning(folder: Path) -> list[dict[str, Any]]:
    """What ``benchmarks.tuning`` found, a line an optimizer; nothing where no trial was made."""
    trials: dict[str, list[Row]] = {}
    for row in records.read_rows(folder / "tuning.jsonl"):
        trials.setdefault(row["method"], []).append(row)
    lines = []
    for name, rows in trials.items():
        best, usual = best_trial(rows), preset("best", name).learning_rate
        found = best["settings"]
        lines.append({
            "optimizer": name, "trials": len(rows), "rate": found["learning_rate"], "option": found["option"],
            "usual": optimizers.default_options(name)["lr"] if usual is None else usual, "passes": found["passes"],
            "least": best["metrics"]["missing"], "median": median(row["metrics"]["missing"] for row in rows),
        })  # fmt: skip
    return lines


def beginning(arms: Arms, prefix: str) -> dict[str, Sequence[Row]]:
    """The arms whose labels begin so."""
    return {label: rows for label, rows in arms.items() if label.startswith(prefix)}


def read_routers(folder: Path) -> dict[str, dict[str, dict[str, Any]]]:
    """What routers reach on the netlists of each set, from ``SET-netlists.jsonl``."""
    return {
        path.name.removesuffix("-netlists.jsonl"): {
            row["metrics"]["netlist"]: row["metrics"] for row in records.read_rows(path)
        }
        for path in sorted(folder.glob("*-netlists.jsonl"))
    }


def in_order(labels: Iterable[str]) -> list[str]:
    """The published arms as they were published, then all others by name."""
    published = list(PUBLISHED)
    return sorted(labels, key=lambda label: (published.index(label) if label in PUBLISHED else len(published), label))


def fully_routed(row: Row) -> bool:
    """Whether the best pass made all connections."""
    return bool(row["metrics"]["connected"] == row["metrics"]["connections"])


def rewards(row: Row) -> list[float]:
    """The published reward of every pass."""
    return [101 * routed - made for routed, made in zip(row["metrics"]["curve"]["routed"], _moves(row), strict=True)]


def _moves(row: Row) -> list[int]:
    """Of every pass."""
    return [b - a for a, b in pairwise([0, *row["metrics"]["curve"]["step"]])]


def best_reward(row: Row) -> float:
    """The published reward of the best pass."""
    return rewards(row)[row["metrics"]["pass"] - 1]


def curve(rows: Sequence[Row], name: str) -> NDArray[np.float64]:
    """(runs, passes): a curve of each run, its ``published reward``, or the ``connections made, %`` of its netlist's.

    A run that ended early, where no pass could be better, goes on with the value of its best pass. There are as many
    passes as all runs were to make.
    """
    passes = min(row["settings"]["passes"] for row in rows)
    lines = []
    for row in rows:
        line = _line(row, name)
        best = line[row["metrics"]["pass"] - 1]
        lines.append([*line, *[best] * (passes - len(line))][:passes])
    return np.array(lines, dtype=np.float64)


def _line(row: Row, name: str) -> list[float]:
    if name == "published reward":
        return rewards(row)
    if name == "connections made, %":
        return [100 * routed / row["metrics"]["connections"] for routed in row["metrics"]["curve"]["routed"]]
    return list(row["metrics"]["curve"][name])


def judged(row: Row) -> Row:
    """The row with the pass that counts by one rule for all: of those that make everything without overflow the
    shortest, then that of the fewest moves.

    Rows of earlier runs have that of the fewest moves, which is not always the shortest: a move along the net's own
    wire costs a move and no length. What changes then are pass, reward and wirelength, known from the curves.
    """
    metrics = row["metrics"]
    if not fully_routed(row) or metrics["overflow"]:
        return row
    curves = metrics["curve"]
    passes = zip(curves["routed"], curves["overflow"], curves["wirelength"], strict=True)
    full = {k: w for k, (made, over, w) in enumerate(passes) if made == metrics["connections"] and not over}
    if not full or min(full.values()) >= metrics["wirelength"]:
        return row
    moves = _moves(row)
    best = min(full, key=lambda k: (full[k], moves[k], k))
    changed = {"pass": best + 1, "wirelength": full[best]}
    if "reward" in curves:
        changed["reward"] = curves["reward"][best]
    return row | {"metrics": metrics | changed, "judged": True}


def cpu_seconds(rows: Sequence[Row]) -> float:
    """CPU seconds a run: populations' whole times over their members.

    A row holds the time that its population had taken when the run ended; the longest of a population is its whole
    time. Populations are told apart by their size and their place in the order of rows.
    """
    sizes: dict[int, list[float]] = {}
    for row in rows:
        sizes.setdefault(row["metrics"].get("population", 1), []).append(row["cpu_seconds"])
    groups = [
        (size, max(taken[k : k + size])) for size, taken in sizes.items() for k in range(0, len(taken), max(1, size))
    ]
    return sum(whole for _, whole in groups) / sum(size for size, _ in groups)


def numbers(row: Row, routers: Routers) -> dict[str, float | None]:
    """What a run is compared by; None where it does not apply.

    Lengths need all connections, the gap to the proven bound in per cent no overflow either.
    """
    metrics, known = row["metrics"], routers.get(row["metrics"]["netlist"], {})
    full, bound = fully_routed(row), known.get("bound", metrics.get("bound"))

    def minus(router: str) -> float | None:
        return metrics["wirelength"] - known[router]["wirelength"] if full and router in known else None

    gap = 100 * (metrics["wirelength"] - bound) / bound if full and bound and not metrics["overflow"] else None
    return {
        "routed": float(full), "reward": best_reward(row), "pass": metrics["pass"],
        "first_full": metrics["first_full"], "minus_astar": minus("astar-none"), "minus_tree": minus("astar-net"),
        "gap": gap, "gradients": row["evaluations"].get("gradients"), "missing": _missing(row),
    }  # fmt: skip


def _missing(row: Row) -> float:
    """Connections missing, the mean over all passes that were made."""
    made = row["metrics"]["curve"]["routed"]
    return float(row["metrics"]["connections"] - sum(made) / len(made))


def _mean(rows: Sequence[Row], routers: Routers, name: str) -> Estimate | None:
    values = ((row["metrics"]["netlist"], numbers(row, routers)[name]) for row in rows)
    return mean_over_netlists((netlist, value) for netlist, value in values if value is not None)


def summary(rows: Sequence[Row], routers: Routers) -> dict[str, Any]:
    """One arm over all its netlists and seeds.

    The interval of the share counts the seeds of a netlist as one trial, so that it is rather too wide. The median of
    the first full pass is over all runs and None where half of them have none.
    """
    netlists = len({row["metrics"]["netlist"] for row in rows})
    full = sum(map(fully_routed, rows))
    low, high = wilson(full / len(rows) * netlists, netlists)
    first = sorted(float("inf") if (one := row["metrics"]["first_full"]) is None else one for row in rows)
    middle = median(first)
    means = {name: _mean(rows, routers, name) for name in ("reward", "pass", "minus_astar", "minus_tree", "gap")}
    gradients = _mean(rows, routers, "gradients")
    return {
        "runs": len(rows), "netlists": netlists, "full": full,
        "share": Estimate(full / len(rows), low, high, len(rows)),
        "first_full": None if middle == float("inf") else middle, **means,
        "gradients": gradients and gradients.mean, "cpu_seconds": cpu_seconds(rows),
    }  # fmt: skip


def first_netlists(arms: Arms, routers: Routers, count: int = 15) -> list[dict[str, Any]]:
    """The published form: a line for each of the first netlists with A*'s wirelength, the bound and each arm's row.

    Of several seeds it is the first; None where an arm has no run of the netlist.
    """
    lines = []
    for netlist in list(routers)[:count]:
        line: dict[str, Any] = {"netlist": netlist, "astar": routers[netlist]["astar-none"]["wirelength"],
                                "bound": routers[netlist]["bound"]}  # fmt: skip
        for label, rows in arms.items():
            mine = [row for row in rows if row["metrics"]["netlist"] == netlist]
            line[label] = min(mine, key=lambda row: row["seed"]) if mine else None
        lines.append(line)
    return lines


def pairs(labels: Sequence[str]) -> list[tuple[str, str]]:
    """The pairs of arms to compare: of the same preset, and the same optimizer with two presets.

    Of a preset with more than four arms each is compared with the one of Adam, or without that with the first; those
    that the published table compares are all compared.
    """
    presets: dict[str, list[str]] = {}
    for label in labels:
        presets.setdefault(label.partition("-")[0], []).append(label)
    found = []
    for name, mine in presets.items():
        if len(mine) <= 4:
            found += [(b, a) for a, b in combinations(mine, 2)]
            continue
        base = f"{name}-adam" if f"{name}-adam" in mine else mine[0]
        found += [(label, base) for label in mine if label != base]
        found += [(b, a) for a, b in combinations([label for label in mine if label in PUBLISHED], 2) if a != base]
    for first, second in combinations(presets, 2):
        found += [(b, a) for a in presets[first] for b in presets[second] if a.partition("-")[2] == b.partition("-")[2]]
    return found


COMPARED = ("routed", "reward", "pass", "gap")


def differences(
    first: Sequence[Row], second: Sequence[Row], routers: Routers, names: Sequence[str] = COMPARED
) -> dict[str, Estimate | None]:
    """First minus second over runs of the same netlist and seed that both have a number; None without any."""
    others = {(row["metrics"]["netlist"], row["seed"]): numbers(row, routers) for row in second}
    mine = [(row, numbers(row, routers)) for row in first]
    found: dict[str, Estimate | None] = {}
    for name in names:
        values = []
        for row, has in mine:
            a, b = has[name], others.get((row["metrics"]["netlist"], row["seed"]), {}).get(name)
            if a is not None and b is not None:
                values.append((row["metrics"]["netlist"], a - b))
        found[name] = mean_over_netlists(values)
    return found


def ablation(arms: Arms, routers: Routers, base: str = "ablation-best") -> list[dict[str, Any]]:
    """A line an arm, the base first: what its settings change, what it reached, and its gap minus the base's."""
    lines = []
    for label in sorted(arms, key=lambda label: (label != base, label)):
        rows, reference = arms[label], arms.get(base)
        found = summary(rows, routers)
        changes = difference = None
        if reference and label != base:
            theirs = reference[0]["settings"]
            changes = {name: value for name, value in rows[0]["settings"].items() if theirs.get(name) != value}
            difference = differences(rows, reference, routers, ["gap"])["gap"]
        lines.append({
            "arm": label, "changes": changes, "runs": found["runs"], "full": found["full"],
            "first_full": found["first_full"], "gap": found["gap"], "cpu_seconds": found["cpu_seconds"],
            "difference": difference,
        })  # fmt: skip
    return lines


def second_order(arms: Arms, routers: Routers, prefix: str) -> list[dict[str, Any]]:
    """A line an arm: what it reached, connections missing a pass, and what became of pairs and averages.

    ``difference`` is what it misses minus what is missed by the arm named like its optimizer, ``kept`` the share of the
    pairs offered that the method took, ``resets`` the share of its aggregations after which it went back; None for
    methods without them.
    """
    lines = []
    for label, rows in arms.items():
        found, base = summary(rows, routers), arms.get(prefix + rows[0]["settings"]["optimizer"])
        last = [row["metrics"]["connections"] - row["metrics"]["curve"]["routed"][-1] for row in rows]
        taken, refused, resets = (
            sum(row["counters"].get(f"n_{name}", 0) for row in rows) for name in ("accepted", "rejected", "resets")
        )
        lines.append({
            "arm": label, "runs": found["runs"], "full": found["full"], "first_full": found["first_full"],
            "missing": _mean(rows, routers, "missing"), "missing_last": sum(last) / len(last), "gap": found["gap"],
            "difference": differences(rows, base, routers, ["missing"])["missing"] if base and base != rows else None,
            "kept": taken / (taken + refused) if taken + refused else None,
            "resets": resets / (taken + refused + resets) if resets else None,
            "cpu_seconds": found["cpu_seconds"],
        })  # fmt: skip
    return lines


def liao(rows: Sequence[Row], routers: Routers) -> dict[str, Any]:
    """One arm on public netlists: how many it connected without overflow, and means over just those.

    Of several seeds the best run of a netlist counts.
    """
    best: dict[str, Row] = {}
    for row in rows:
        known = best.setdefault(row["metrics"]["netlist"], row)
        if _order(row) < _order(known):
            best[row["metrics"]["netlist"]] = row
    solved = {netlist: row for netlist, row in best.items() if fully_routed(row) and not row["metrics"]["overflow"]}
    line: dict[str, Any] = {
        "netlists": len(best),
        "seeds": len({row["seed"] for row in rows}),
        "connected": len(solved),
    }
    columns: dict[str, list[float]] = {"wirelength": [row["metrics"]["wirelength"] for row in solved.values()]}
    for name, router in (("astar", "astar-none"), ("negotiated", "negotiated")):
        columns[name] = [routers[one][router]["wirelength"] for one in solved if one in routers]
    columns["bound"] = [routers[one]["bound"] for one in solved if one in routers]
    return line | {
        name: sum(values) / len(values) if solved and len(values) == len(solved) else None
        for name, values in columns.items()
    }


def _order(row: Row) -> tuple[Any, ...]:
    metrics = row["metrics"]
    return metrics["connections"] - metrics["connected"], metrics["overflow"], metrics["wirelength"], row["seed"]
