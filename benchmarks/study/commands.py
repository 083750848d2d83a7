"""The commands that make the rows of the routing study, read back from the rows, and the devices they ran on."""

from __future__ import annotations

import dataclasses
import json
import shlex
import textwrap
from collections.abc import Sequence
from typing import Any

from agents.presets import PRESETS
from benchmarks.ablation import PREFIXES
from benchmarks.routing import SETS, settings_of
from benchmarks.study.tables import Arms, Routers, Row, beginning

__all__ = ["changed", "commands", "devices"]


def commands(name: str, arms: Arms, routers: Routers) -> list[str]:
    """Commands for the arms of a set; arms that differ in the optimizer alone share one.

    An arm whose label begins with no preset's name, or which has been run by another command, is named in a comment.
    """
    made: dict[tuple[str, str], list[str]] = {}
    others = []
    for label, rows in arms.items():
        if label.startswith((*PREFIXES.values(), "walker-")):
            continue
        if (found := _command(name, label, rows, routers)) is None:
            others.append(f"# {name}-{label}: {len(rows)} rows of another program")
        else:
            optimizer, before, after = found
            made.setdefault((before, after), []).append(optimizer)
    lines = [" ".join(filter(None, (a, "--optimizers", *mine, b))) for (a, b), mine in made.items()]
    lines += [line for part in PREFIXES if (line := _ablation(part, arms))]
    if walkers := [row for label, rows in arms.items() if label.startswith("walker-") for row in rows]:
        words = _runs(walkers, walkers[0]["settings"]["passes"])
        lines.append(f"python -m benchmarks.walkers {_place(name)} {shlex.join(words)}")
    return [*(_folded(line) for line in lines), *others]


def changed(settings: dict[str, Any], name: str) -> dict[str, Any]:
    """The settings that differ from what a preset, or ``tuned``, says now for their optimizer."""
    theirs = json.loads(json.dumps(dataclasses.asdict(settings_of(name, settings["optimizer"]))))
    return {key: value for key, value in settings.items() if key in theirs and theirs[key] != value}


def devices(rows: Sequence[Row]) -> list[str]:
    """Each device that rows were made on, with the versions that matter."""
    found = {
        f"{row['device']} ({row['versions']['machine']}, Python {row['versions']['python']}, "
        f"torch {row['versions']['torch']})"
        for row in rows
    }
    return sorted(found)


def _command(name: str, label: str, rows: Sequence[Row], routers: Routers) -> tuple[str, str, str] | None:
    """The optimizer, and what stands before and after it."""
    chosen, _, rest = label.partition("-")
    settings = rows[0]["settings"]
    optimizer = settings["optimizer"]
    if chosen not in (*PRESETS, "tuned") or not rest.startswith(optimizer):
        return None
    changes = changed(settings, chosen)
    words = _runs(rows, changes.pop("passes", None))
    if suffix := rest.removeprefix(optimizer):
        words += [f"--label={suffix}"]
    if (count := len({row["metrics"]["netlist"] for row in rows})) < len(routers):
        words += ["--count", str(count)]
    if any(row["metrics"]["passes"] < row["settings"]["passes"] for row in rows):
        words += ["--stop-at-bound"]
    if rows[0]["device"] != "cpu":
        words += ["--device", rows[0]["device"]]
    if option := changes.pop("option", None):
        words += ["--option", *option]
    if changes:
        words += ["--setting", *(f"{key}={_literal(value)}" for key, value in changes.items())]
    return optimizer, f"python -m benchmarks.routing {_place(name)} --preset {chosen}", shlex.join(words)


def _place(name: str) -> str:
    return name if name in SETS else f"FOLDER/{name}"


def _folded(line: str) -> str:
    return " \\\n    ".join(textwrap.wrap(line, 112, break_long_words=False, break_on_hyphens=False))


def _runs(rows: Sequence[Row], passes: int | None) -> list[str]:
    seeds = sorted({row["seed"] for row in rows})
    words = ["--seeds", str(seeds[-1] - seeds[0] + 1)]
    if seeds[0]:
        words += ["--first-seed", str(seeds[0])]
    return words + (["--passes", str(passes)] if passes is not None else [])


def _literal(value: Any) -> str:
    return str(tuple(value)).replace(" ", "") if isinstance(value, list) else str(value)


def _ablation(part: str, arms: Arms) -> str:
    """The command for a part's arms, nothing without any."""
    prefix = PREFIXES[part]
    mine = beginning(arms, prefix)
    if not mine:
        return ""
    rows = [row for some in mine.values() for row in some]
    which = [] if part == "preset" else ["--part", part]
    names = [label.removeprefix(prefix) for label in mine]
    words = [*which, *_runs(rows, rows[0]["settings"]["passes"]), "--arms", *names]
    return f"python -m benchmarks.ablation {shlex.join(words)}"
