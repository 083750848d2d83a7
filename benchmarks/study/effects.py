"""What settings do: the tables of the tuning and of both ablations."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from benchmarks.ablation import PREFIXES
from benchmarks.reporting.tables import markdown_table
from benchmarks.study import tables
from benchmarks.study.commands import changed
from benchmarks.study.tables import Arms, Routers, Row
from benchmarks.study.words import about, interval, mean, plain, prose

__all__ = ["ABLATION", "ablation", "second_order", "tuning"]

ABLATION, SECOND_ORDER = PREFIXES["preset"], PREFIXES["second-order"]


def tuning(found: Sequence[dict[str, Any]]) -> list[str]:
    """The settings that the arms `tuned` take, from the tuning's best trials."""
    if not found:
        return []
    lines = [
        {
            "optimizer": f"`{one['optimizer']}`", "trials": one["trials"], "learning rate": f"{one['rate']:.3g}",
            "option": ", ".join(f"`{option}`" for option in one["option"]), "in `best`": f"{one['usual']:.3g}",
            "missing a pass": f"{one['least']:.2f}", "median of the trials": f"{one['median']:.2f}",
        }
        for one in found
    ]  # fmt: skip
    return ["### Settings of `tuned`", prose(
        f"""The preset `best` with the learning rate and option of each optimizer's best trial: the fewest connections
        missing, in the mean over the first {found[0]["passes"]} passes and the ten netlists of the set `tuning`, which
        no other table uses:"""
    ), markdown_table(lines)]  # fmt: skip


def ablation(arms: Arms, routers: Routers) -> list[str]:
    """One change of the preset `best` at a time."""
    mine = tables.beginning(arms, ABLATION)
    lines = [
        {
            "arm": line["arm"].removeprefix(ABLATION), "changes": _changes(line["changes"]), "runs": line["runs"],
            "fully routed": line["full"], "first full pass, median": plain(line["first_full"]),
            "above the bound, %": mean(line["gap"], 2),
            "minus `best`, points": line["difference"] and f"{interval(line['difference'], 2, '+')}, "
                                                          f"{line['difference'].n} pairs",
            "CPU seconds a run": f"{line['cpu_seconds']:.1f}",
        }
        for line in tables.ablation(mine, routers)
    ]  # fmt: skip
    if not lines:
        return []
    return ["### What matters in the preset `best`", prose(
        f"""One change at a time, on the set `tuning` ({about("tuning", routers)}), which no other table uses. The gap
        to the bound is over fully routed runs; its difference is paired by netlist and seed, over pairs that are both
        fully routed, with a 95 % bootstrap interval. {_base(mine)}"""
    ), markdown_table(lines)]  # fmt: skip


def second_order(arms: Arms, routers: Routers) -> list[str]:
    """Recipes of second-order methods beside first-order ones."""
    mine = tables.beginning(arms, SECOND_ORDER)
    lines = []
    for line in tables.second_order(mine, routers, SECOND_ORDER):
        lines.append({
            "arm": line["arm"].removeprefix(SECOND_ORDER), "changes": _against_best(mine[line["arm"]]),
            "fully routed": line["full"], "first full pass, median": plain(line["first_full"]),
            "missing a pass": mean(line["missing"], 1), "minus its own `best`": interval(line["difference"], 1, "+"),
            "missing in the last": f"{line['missing_last']:.1f}",
            "above the bound, %": mean(line["gap"], 2), "pairs kept, %": _percent(line["kept"]),
            "averages that went back, %": _percent(line["resets"]), "CPU seconds a run": f"{line['cpu_seconds']:.1f}",
        })  # fmt: skip
    if not lines:
        return []
    rows = [row for some in mine.values() for row in some]
    return ["### What second-order methods need here", prose(
        f"""On the set `tuning` ({about("tuning", routers)}), the preset `best` with {rows[0]["settings"]["passes"]}
        passes, {_agents(rows)} a netlist and arm. An arm's name begins with its optimizer's, and its changes are told
        against the preset for that optimizer. Connections missing are means over all passes, and over the last ones;
        the difference to the optimizer's own `best` is paired by netlist and seed, with a 95 % bootstrap interval. The
        gap to the bound is over fully routed runs:"""
    ), markdown_table(lines)]  # fmt: skip


def _agents(rows: Sequence[Row]) -> str:
    count = len({row["seed"] for row in rows})
    return "one agent" if count == 1 else f"{count} agents"


def _percent(share: float | None) -> str | None:
    return None if share is None else f"{100 * share:.0f}"


def _base(arms: Arms) -> str:
    """How the base of the table differs from the preset, which was chosen by the table."""
    if "ablation-best" not in arms:
        return "The preset itself has no rows here, so nothing is compared."
    told = _against_best(arms["ablation-best"])
    return f"The preset was chosen by this table: in `best` here stood {told}." if told else ""


def _against_best(rows: Sequence[Row]) -> str | None:
    """What settings change in the preset as it is now, but for the passes."""
    return _changes({n: v for n, v in changed(rows[0]["settings"], "best").items() if n != "passes"})


def _changes(changes: dict[str, Any] | None) -> str | None:
    if not changes:
        return None
    return ", ".join(f"`{name}={value}`" for name, value in changes.items())
