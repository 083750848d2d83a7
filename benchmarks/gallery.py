"""The gallery of experiments: a page and its pictures, drawn from committed rows; nothing is run."""

from __future__ import annotations

import inspect
import json
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.experiment import Experiment, Size, experiments, pick, read_rows
from benchmarks.routing_commands import devices
from benchmarks.tables import markdown_table

__all__ = ["RESULTS", "commands", "draw", "page", "rows_of"]

RESULTS = Path(__file__).parent / "results"
HEAD = """# Gallery

Every experiment of `benchmarks/tasks` that has rows in `benchmarks/results`: what it is, the command, what was measured
beside what was published, pictures. `python -m scripts.figures` writes this page from the rows.
"""


def rows_of(kind: type[Experiment], results: Path = RESULTS) -> list[dict[str, Any]]:
    """The committed rows of an experiment; none where there are none."""
    return read_rows(results / f"{kind.name}.jsonl")


def page(results: Path, folder: Path) -> str:
    """The page in Markdown; pictures are those of a folder whose names begin with the experiment's."""
    shown = [(kind, rows) for kind in map(pick, experiments()) if (rows := rows_of(kind, results))]
    index = "\n".join(f"- [{kind.title}](#{_anchor(kind.title)})" for kind, _ in shown)
    return "\n\n".join([HEAD.rstrip(), index, *(_section(kind, rows, folder) for kind, rows in shown)]) + "\n"


def draw(results: Path, folder: Path) -> list[Path]:
    """Draw the pictures of all experiments."""
    folder.mkdir(parents=True, exist_ok=True)
    return [path for kind in map(pick, experiments()) if (rows := rows_of(kind, results))
            for path in kind.draw(rows, folder)]  # fmt: skip


def commands(kind: type[Experiment], rows: Sequence[dict[str, Any]]) -> list[str]:
    """The commands that give rows like these, one for each group of equal options."""
    return list(dict.fromkeys(_command(kind, own, mine) for own, mine in _groups(rows)))


def _command(kind: type[Experiment], own: dict[str, Any], rows: Sequence[dict[str, Any]]) -> str:
    words = ["python -m scripts.benchmark", kind.name.replace("-", "_")]
    # default first: it needs no word
    size = next((name for name in ("default", "full", "fast") if _is_of(kind, rows, kind.sizes[name])), None)
    if size in ("full", "fast"):
        words.append(f"--{size}")
    labels = list(dict.fromkeys(row["method"] for row in rows))
    if set(labels) != set(kind.labels()):
        words += ["--optimizers", *labels]
    trials = len({row["seed"] for row in rows})
    if size is None or trials != kind.sizes[size].trials:
        words += ["--trials", str(trials)]
    if options := [shlex.quote(f"{name}={own[name]}") for name in kind.options if name in own]:
        words += ["--option", *options]
    return " ".join(words)


def _is_of(kind: type[Experiment], rows: Sequence[dict[str, Any]], size: Size) -> bool:
    """Whether every row is one of this size."""
    for row in rows:
        own = row["settings"].get("task", {})
        options = {name: own[name] for name in kind.options if name in own}
        if json.loads(json.dumps(kind.settings(row["method"], size, options))) != row["settings"]:
            return False
    return True


def _groups(rows: Sequence[dict[str, Any]]) -> list[tuple[dict[str, Any], list[dict[str, Any]]]]:
    """Rows of equal options and scale."""
    found: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        found.setdefault(json.dumps(row["settings"].get("task", {}), sort_keys=True), []).append(row)
    return [(json.loads(key), mine) for key, mine in found.items()]


def _section(kind: type[Experiment], rows: Sequence[dict[str, Any]], folder: Path) -> str:
    told = inspect.getdoc(sys.modules[kind.__module__]) or ""
    parts = [f"## {kind.title}", told.split("\n\nSource:")[0]]
    if "\n\nSource:" in told or "\nSource:" in told:
        parts.append("Source:" + told.split("Source:", 1)[1])
    parts.append("```\n" + "\n".join(commands(kind, rows)) + "\n```")
    groups = _groups(rows)
    for own, mine in groups:
        if len(groups) > 1:
            parts.append(", ".join(f"{name} {value}" for name, value in own.items()) + ":")
        parts.append(markdown_table(kind.table(mine)))
        parts += [f"- {sentence}" for sentence in kind.findings(mine)]
    parts += [f"![{kind.title}]({path.name})" for path in sorted(folder.glob(f"{kind.name}-*"))]
    parts.append("Measured on " + "; ".join(devices(rows)) + ".")
    return "\n\n".join(parts)


def _anchor(title: str) -> str:
    kept = "".join(one for one in title.lower() if one.isalnum() or one in " -_")
    return kept.replace(" ", "-")
