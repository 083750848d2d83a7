"""The routing study's section of docs/results.md, from rows.

Everything between two comments of the page is written anew; the rest stays as it is. What has no rows is named as
missing. Equal rows give the same page.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.ablation import ARMS
from benchmarks.reporting.intervals import Estimate, mean_over_netlists, wilson
from benchmarks.reporting.tables import markdown_table
from benchmarks.study import tables
from benchmarks.study.commands import commands, devices
from benchmarks.study.effects import ABLATION, ablation, second_order, tuning
from benchmarks.study.pictures import MAIN, compared_sets
from benchmarks.study.tables import PUBLISHED, PUBLISHED_LIAO, Arms, Routers
from benchmarks.study.words import about, interval, plain, prose

__all__ = ["BEGIN", "END", "replaced", "section"]

BEGIN = "<!-- routing study: written by scripts.figures -->"
END = "<!-- end -->"
EXPECTED = {
    "nets50": (*PUBLISHED, "best-adam"),
    "nets50x30": tuple(PUBLISHED),
    "nets10": tuple(PUBLISHED),
    "tuning": tuple(f"{ABLATION}{name}" for name in ARMS),
}
"""arms of the study; what has no rows is named"""
NAMES = {"published-adam": "Adam", "published-rmsprop": "RMSprop", "published-asnaq": "aSNAQ"}
COLUMNS = ("reward", "pass", "wirelength")
BASELINES = {"astar-none": "A*, pair by pair", "astar-net": "A*, net trees", "negotiated": "negotiated"}


def section(results: Path) -> str:
    """The section as Markdown, from the rows of a folder."""
    arms, routers = tables.read_arms(results), tables.read_routers(results)
    parts: list[str] = []
    compared = compared_sets(arms)
    if arms.get(MAIN) and MAIN in routers:
        parts += _published_form(arms[MAIN], routers[MAIN])
    for name in compared:
        parts += _set(name, arms[name], routers.get(name, {}))
    if compared:
        parts += _pictures(compared)
    parts += tuning(tables.tuning(results))
    if arms.get("tuning"):
        parts += ablation(arms["tuning"], routers.get("tuning", {}))
        parts += second_order(arms["tuning"], routers.get("tuning", {}))
    if any(name in arms for name in PUBLISHED_LIAO):
        parts += _liao(arms, routers)
    parts.append(_missing(arms))
    if arms:
        parts += _commands(arms, routers)
    return "\n\n".join(part for part in parts if part)


def replaced(page: str, text: str) -> str:
    """The page with the text between the comments.

    Raises:
        ValueError: the page has not exactly one pair of them.
    """
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end or BEGIN in rest:
        raise ValueError(f"the page needs one line {BEGIN!r} and after it one line {END!r}")
    return f"{before}{BEGIN}\n\n{text}\n\n{END}{after}" if text else f"{before}{BEGIN}\n{END}{after}"


def _missing(arms: Mapping[str, Arms]) -> str:
    told = []
    for name, labels in EXPECTED.items():
        if missing := [label for label in labels if label not in arms.get(name, {})]:
            told.append(f"`{name}`: {', '.join(f'`{one.removeprefix(ABLATION)}`' for one in missing)}")
    return prose(f"Without rows, so not in the tables: {'; '.join(told)}.") if told else ""


def _published_form(arms: Arms, routers: Routers) -> list[str]:
    lines = tables.first_netlists(arms, routers)
    parts = [f"### The first {len(lines)} netlists of `{MAIN}`, as published"]
    parts.append(prose(
        """One agent a netlist and arm. Reward of the best pass, its number, and its wirelength, or how many connections
        it made where not all. In the line of means stands the wirelength minus A*'s over the fully routed netlists, and
        how many these are; published are 15 other netlists of the same generator. Arms of fewer netlists stand in the
        tables below alone."""
    ))  # fmt: skip
    whole = [label for label in arms if all(line[label] is not None for line in lines)]
    for group in _groups(whole):
        heads = ["netlist", "A*", "bound", *(head for label in group for head in (f"`{label}`: reward", *COLUMNS[1:]))]
        parts.append(markdown_table(_published_lines(lines, group, routers), heads))
    return parts


def _groups(labels: Sequence[str]) -> list[list[str]]:
    """The published arms, then the others, three at a time."""
    kinds = [[one for one in labels if one in PUBLISHED], [one for one in labels if one not in PUBLISHED]]
    return [kind[k : k + 3] for kind in kinds for k in range(0, len(kind), 3)]


def _published_lines(lines: Sequence[dict[str, Any]], labels: Sequence[str], routers: Routers) -> list[dict[str, Any]]:
    shown = []
    for line in lines:
        cells = {"netlist": f"`{line['netlist']}`", "A*": line["astar"], "bound": line["bound"]}
        for label in labels:
            cells |= _cells(label, line[label])
        shown.append(cells)
    foot: dict[str, Any] = {"netlist": "mean", "A*": None, "bound": None}
    theirs: dict[str, Any] = {"netlist": "published mean", "A*": None, "bound": None}
    for label in labels:
        rows = [line[label] for line in lines if line[label] is not None]
        known = PUBLISHED.get(label)
        foot |= dict.fromkeys(_columns(label))
        if rows:
            found = tables.summary(rows, routers)
            foot |= _foot(label, found["reward"].mean, found["pass"].mean,
                          found["minus_astar"] and found["minus_astar"].mean, found["full"], len(rows))  # fmt: skip
        theirs |= dict.fromkeys(_columns(label))
        if known:
            theirs |= _foot(label, known["reward"], known["pass"], known["minus_astar"], known["full"], known["runs"])
    return [*shown, foot, theirs] if any(label in PUBLISHED for label in labels) else [*shown, foot]


def _columns(label: str) -> list[str]:
    return [f"{label} {name}" for name in COLUMNS]


def _cells(label: str, row: dict[str, Any] | None) -> dict[str, Any]:
    if row is None:
        return dict.fromkeys(_columns(label))
    metrics = row["metrics"]
    length = (
        metrics["wirelength"] if tables.fully_routed(row) else f"{metrics['connected']} of {metrics['connections']}"
    )
    return dict(zip(_columns(label), (f"{tables.best_reward(row):.0f}", metrics["pass"], length), strict=True))


def _foot(label: str, reward: float, at: float, minus: float | None, full: int, runs: int) -> dict[str, Any]:
    length = f"{full} of {runs}" if minus is None else f"{minus:+.1f} ({full} of {runs})"
    return dict(zip(_columns(label), (f"{reward:.0f}", f"{at:.0f}", length), strict=True))


def _set(name: str, arms: Arms, routers: Routers) -> list[str]:
    parts = [f"### All netlists of `{name}`", prose(
        f"""{about(name, routers).capitalize()}. In brackets are 95 % intervals: Wilson's for shares, with the seeds of
        a netlist as one trial, and for means those of a bootstrap over netlists. Rewards are the published ones of the
        best pass, whatever the agent was paid; {_connections(arms)} The median of the first full pass counts
        runs without one as later than all."""
    )]  # fmt: skip
    found = {label: tables.summary(rows, routers) for label, rows in arms.items()}
    results, lengths = [], []
    for label, one in found.items():
        results.append({
            "arm": f"`{label}`", "runs": one["runs"], "fully routed": one["full"],
            "share, %": interval(one["share"], scale=100), "reward of the best pass": interval(one["reward"]),
            "pass of the best": interval(one["pass"]), "first full pass, median": plain(one["first_full"]),
        })  # fmt: skip
        lengths.append({
            "arm": f"`{label}`", "minus A*, pair by pair": interval(one["minus_astar"], 1, "+"),
            "minus A*, net trees": interval(one["minus_tree"], 1, "+"), "above the bound, %": interval(one["gap"], 2),
            "gradients a run": f"{one['gradients']:,.0f}" if one["gradients"] is not None else None,
            "CPU seconds a run": f"{one['cpu_seconds']:.1f}",
        })  # fmt: skip
        if label in PUBLISHED and name == MAIN:
            known = PUBLISHED[label]
            share = Estimate(known["full"] / known["runs"], *wilson(known["full"], known["runs"]), known["runs"])
            results.append(dict(zip(results[0], (
                f"published, {NAMES[label]}", known["runs"], known["full"], interval(share, scale=100), known["reward"],
                known["pass"], None), strict=True)))  # fmt: skip
            lengths.append(
                dict.fromkeys(lengths[0])
                | {"arm": f"published, {NAMES[label]}", "minus A*, pair by pair": f"{known['minus_astar']:+.1f}"}
            )
    lengths += [_router_line(router, told, routers, lengths[0]) for router, told in BASELINES.items() if routers]
    lengthwise = prose(
        f"""Wirelength of the fully routed runs, and what a run costs; a router's length is that of the netlists which
        it routed without overflow{_early(arms)}{_judged(arms)}:"""
    )
    shown = [*parts, markdown_table(results), lengthwise, markdown_table(lengths), _cost(arms)]
    return [*shown, *_differences(arms, routers)]


def _cost(arms: Arms) -> str:
    """What the published study took as a whole; nothing where an arm of it is missing."""
    if any(label not in arms for label in PUBLISHED):
        return ""
    runs = sum(len(arms[label]) for label in PUBLISHED)
    hours = sum(len(arms[label]) * tables.cpu_seconds(arms[label]) for label in PUBLISHED) / 3600
    return prose(
        f"""The {len(PUBLISHED)} published arms together, {runs} runs, took {hours:.2f} hours of one core, populations
        of agents side by side; {hours / 2:.2f} hours where two cores share them."""
    )


def _connections(arms: Arms) -> str:
    """How many connections a netlist has: the reward counts on it."""
    known = {row["metrics"]["netlist"]: row["metrics"]["connections"] for rows in arms.values() for row in rows}
    mean = sum(known.values()) / len(known)
    return f"a netlist has {mean:.1f} connections in the mean, a net inside one tile has none."


def _early(arms: Arms) -> str:
    """Whose runs cost less because they ended with a pass at the proven bound."""
    ended = {
        label: sum(row["metrics"]["passes"] < row["settings"]["passes"] for row in rows) for label, rows in arms.items()
    }
    return _told("runs that ended early, with a pass at the proven bound", ended)


def _judged(arms: Arms) -> str:
    """Whose best pass is read from the curves."""
    counts = {label: sum("judged" in row for row in rows) for label, rows in arms.items()}
    return _told("runs made when the fewest moves decided, whose shortest pass is read from their curves", counts)


def _told(what: str, counts: Mapping[str, int]) -> str:
    some = [f"{count} of `{label}`" for label, count in counts.items() if count]
    return f"; {what}: {', '.join(some)}" if some else ""


def _router_line(router: str, told: str, routers: Routers, like: dict[str, Any]) -> dict[str, Any]:
    """A router beside the arms: its lengths where it routed everything without overflow."""
    solved = {name: one for name, one in routers.items() if not (one[router]["unrouted"] or one[router]["overflow"])}

    def minus(other: str) -> str | None:
        found = mean_over_netlists(
            (name, one[router]["wirelength"] - one[other]["wirelength"]) for name, one in solved.items()
        )
        return None if router == other else interval(found, 1, "+")

    gap = mean_over_netlists(
        (name, 100 * (one[router]["wirelength"] - one["bound"]) / one["bound"]) for name, one in solved.items()
    )
    cells = (f"{told} ({len(solved)} of {len(routers)})", minus("astar-none"), minus("astar-net"), interval(gap, 2))
    return dict.fromkeys(like) | dict(zip(like, cells, strict=False))


def _differences(arms: Arms, routers: Routers) -> list[str]:
    lines = []
    for first, second in tables.pairs(list(arms)):
        found = tables.differences(arms[first], arms[second], routers)
        if (routed := found["routed"]) is None:
            continue
        gap = found["gap"]
        lines.append({
            "difference": f"`{first}` minus `{second}`", "pairs": routed.n,
            "fully routed, points": interval(routed, 0, "+", 100),
            "reward of the best pass": interval(found["reward"], 0, "+"),
            "pass of the best": interval(found["pass"], 0, "+"),
            "above the bound, points": gap and f"{interval(gap, 2, '+')}, {gap.n} pairs",
        })  # fmt: skip
    if not lines:
        return []
    told = prose(
        """Paired differences: the same netlist and seed in both arms, the bootstrap over netlists; lengths where both
        routed everything:"""
    )
    return [told, markdown_table(lines)]


def _pictures(compared: Sequence[str]) -> list[str]:
    told = prose(
        """Means over the runs by pass, and bands between their quartiles; in brackets the number of runs. Runs that
        ended at the proven bound go on with their best pass:"""
    )
    profiles = prose(
        f"""Of `{compared[0]}`: the share of runs that had made all connections in one pass by pass x; the share fully
        routed within x per cent of the proven bound; and that gap over the fully routed runs:"""
    )
    return [
        "### Curves and profiles", told, "![Reward and connections by pass](pictures/routing-curves.png)",
        profiles, "![Performance profiles and gaps to the bound](pictures/routing-profile.png)",
    ]  # fmt: skip


def _liao(arms: Mapping[str, Arms], routers: Mapping[str, Routers]) -> list[str]:
    lines: list[dict[str, Any]] = []
    for name, known in PUBLISHED_LIAO.items():
        for label, rows in arms.get(name, {}).items():
            one = tables.liao(rows, routers.get(name, {}))
            told = ", ".join([f"`{label}`", *([f"best of {one['seeds']} seeds"] if one["seeds"] > 1 else [])])
            lengths = {
                "wirelength": "wirelength",
                "A*, pair by pair": "astar",
                "negotiated": "negotiated",
                "bound": "bound",
            }
            line: dict[str, Any] = {"set": name, "arm": told, "connected": f"{one['connected']} of {one['netlists']}"}
            lines.append(line | {column: one[key] for column, key in lengths.items()})
        if name in arms:
            lines.append({"set": name, "arm": "published DQN", "connected": f"{known['connected']} of 100",
                          "wirelength": f"{known['wirelength']:.1f}", "A*, pair by pair": f"{known['astar']:.1f}",
                          "negotiated": None, "bound": None})  # fmt: skip
    return ["### Public netlists", prose(
        """Netlists whose best pass made every connection without overflow, and mean wirelengths over just those; the
        published A* is a router of its own whose ties fall at random."""
    ), markdown_table(lines)]  # fmt: skip


def _commands(arms: Mapping[str, Arms], routers: Mapping[str, Routers]) -> list[str]:
    lines = [line for name in arms for line in commands(name, arms[name], routers.get(name, {}))]
    told = "; ".join(devices([row for one in arms.values() for rows in one.values() for row in rows]))
    return ["### Commands", prose(f"The rows were made by the following, on {told}:"),
            "```sh\n" + "\n".join(lines) + "\n```",
            "`python -m scripts.figures` writes this section and its pictures from the rows."]  # fmt: skip
