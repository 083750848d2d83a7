"""Commands that give the rows of an experiment again, read from what the rows say of themselves."""

from __future__ import annotations

import dataclasses
import json
import shlex
from collections.abc import Callable, Sequence
from typing import Any

from benchmarks.harness.experiment import Experiment, Size

__all__ = ["commands", "groups"]

Row = dict[str, Any]
NAMES = ("default", "full", "fast")
"""sizes as they are tried; the first needs no word"""


@dataclasses.dataclass(frozen=True)
class Asked:
    """A size as the command line asks for it."""

    name: str
    size: Size
    changes: tuple[str, ...] = ()
    """words for what differs from the size of this name, but trials"""


def commands(kind: type[Experiment], rows: Sequence[Row]) -> list[str]:
    """Lines of a shell that give these rows again: a command for rows of equal options, size and seeds.

    Where rows have settings that no size has, or seeds that are not the first, a remark before the command says so.
    """
    lines = []
    for own, mine in groups(rows):
        options = {name: own[name] for name in kind.options if name in own}
        for asked, part in _by_size(kind, own, options, mine):
            lines += _lines(kind, asked, options, part)
    return lines


def groups(rows: Sequence[Row]) -> list[tuple[dict[str, Any], list[Row]]]:
    """Rows of equal options and scale."""
    found = _sorted_by(rows, lambda row: json.dumps(row["settings"].get("task", {}), sort_keys=True))
    return [(dict(sorted(mine[0]["settings"].get("task", {}).items())), mine) for mine in found]


def _sorted_by(rows: Sequence[Row], key: Callable[[Row], Any]) -> list[list[Row]]:
    found: dict[Any, list[Row]] = {}
    for row in rows:
        found.setdefault(key(row), []).append(row)
    return list(found.values())


def _by_size(
    kind: type[Experiment], own: dict[str, Any], options: dict[str, Any], rows: Sequence[Row]
) -> list[tuple[Asked, list[Row]]]:
    """Rows by the size that gives them, as few sizes as are needed; what is of none comes with the nearest."""
    left = _sorted_by(rows, lambda row: json.dumps([row["method"], row["settings"]], sort_keys=True))
    plain, changed = _candidates(kind, own, options, [mine[0] for mine in left])
    found: list[tuple[Asked, list[Row]]] = []
    while left:
        matched = [(asked, [mine for mine in left if not _differences(kind, mine[0], asked.size, options)])
                   for asked in plain + changed]  # fmt: skip
        best, those = max(matched, key=lambda one: sum(map(len, one[1])))  # the first of those that give the most
        if not those:
            best, those = (changed or plain)[0], left
        found.append((best, [row for mine in those for row in mine]))
        left = [mine for mine in left if mine not in those]
    return found


def _candidates(
    kind: type[Experiment], own: dict[str, Any], options: dict[str, Any], rows: Sequence[Row]
) -> tuple[list[Asked], list[Asked]]:
    """The sizes as they are; and with the rows' scale and steps, those first that need the fewest words."""
    scale = {name: value for name, value in own.items() if name not in options}
    changed = []
    for name in NAMES:
        size = kind.sizes[name]
        if not set(size.scale) <= set(scale):
            continue  # a command changes what a size says and adds to it, it takes nothing away
        words = [shlex.quote(f"{one}={value}") for one, value in scale.items() if size.scale.get(one) != value]
        more = ["--scale", *words] if words else []
        for steps in dict.fromkeys(_steps(kind, row, size, options) for row in rows):
            length = ["--steps", str(steps)] if steps != size.steps else []
            asked = dataclasses.replace(size, steps=steps, scale=scale)
            changed.append(Asked(name, asked, (*length, *more)))
    return [Asked(name, kind.sizes[name]) for name in NAMES], sorted(changed, key=lambda asked: len(asked.changes))


def _steps(kind: type[Experiment], row: Row, size: Size, options: dict[str, Any]) -> int:
    """The size's steps with which a method makes as many as its row says: some make more or fewer than the size."""
    there, here = (one.get("steps") for one in (row["settings"], kind.settings(row["method"], size, options)))
    if isinstance(there, list) and isinstance(here, list):
        there, here = there[0], here[0]
    return round(size.steps * there / here) if here and there else size.steps


def _differences(kind: type[Experiment], row: Row, size: Size, options: dict[str, Any]) -> list[str]:
    """What a row's settings say otherwise than those of a size; nothing where the row is one of it."""
    there, here = row["settings"], json.loads(json.dumps(kind.settings(row["method"], size, options)))
    return [f"{name} {json.dumps(there.get(name))}, now {json.dumps(here.get(name))}"
            for name in {**there, **here} if there.get(name) != here.get(name)]  # fmt: skip


def _lines(kind: type[Experiment], asked: Asked, options: dict[str, Any], rows: Sequence[Row]) -> list[str]:
    """A command for each set of seeds, with what it does not say."""
    seeds: dict[str, set[int]] = {}
    for row in rows:
        seeds.setdefault(row["method"], set()).add(row["seed"])
    lines = []
    for mine in dict.fromkeys(frozenset(one) for one in seeds.values()):
        labels = [label for label, one in seeds.items() if one == mine]
        differing = [(label, "; ".join(_differences(kind, row, asked.size, options)))
                     for label in labels for row in rows if row["method"] == label]  # fmt: skip
        lines += [f"# rows of {label} were made with other settings: {told}"
                  for label, told in dict.fromkeys(differing) if told]  # fmt: skip
        if mine != set(range(len(mine))):
            lines.append(f"# the rows are those of the seeds {', '.join(map(str, sorted(mine)))} alone")
        lines.append(_command(kind, asked, options, labels, max(mine) + 1))
    return lines


def _command(kind: type[Experiment], asked: Asked, options: dict[str, Any], labels: list[str], trials: int) -> str:
    words = ["python -m scripts.benchmark", kind.name.replace("-", "_")]
    if asked.name != "default":
        words.append(f"--{asked.name}")
    words += asked.changes
    if set(labels) != set(kind.labels()):
        words += ["--optimizers", *labels]
    if trials != asked.size.trials:
        words += ["--trials", str(trials)]
    if options:
        words += ["--option", *(shlex.quote(f"{name}={value}") for name, value in options.items())]
    return " ".join(words)
