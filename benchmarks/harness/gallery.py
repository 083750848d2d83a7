"""The gallery of experiments: a page and its pictures, drawn from committed rows; nothing is run."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.harness.commands import commands, groups
from benchmarks.harness.experiment import Experiment, experiments, pick, read_rows
from benchmarks.reporting.tables import markdown_table
from benchmarks.study.commands import devices

__all__ = ["RESULTS", "draw", "page", "rows_of"]

RESULTS = Path(__file__).parent.parent / "results"
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


def _section(kind: type[Experiment], rows: Sequence[dict[str, Any]], folder: Path) -> str:
    told = inspect.getdoc(sys.modules[kind.__module__]) or ""
    parts = [f"## {kind.title}", told.split("\n\nSource:")[0]]
    if "\n\nSource:" in told or "\nSource:" in told:
        parts.append("Source:" + told.split("Source:", 1)[1])
    parts.append("```\n" + "\n".join(commands(kind, rows)) + "\n```")
    parted = groups(rows)
    for own, mine in parted:
        if len(parted) > 1:
            parts.append(", ".join(f"{name} {value}" for name, value in own.items()) + ":")
        parts.append(markdown_table(kind.table(mine)))
        parts += [f"- {sentence}" for sentence in kind.findings(mine)]
    parts += [f"![{kind.title}]({path.name})" for path in sorted(folder.glob(f"{kind.name}-*"))]
    parts.append("Measured on " + "; ".join(devices(rows)) + ".")
    return "\n\n".join(parts)


def _anchor(title: str) -> str:
    kept = "".join(one for one in title.lower() if one.isalnum() or one in " -_")
    return kept.replace(" ", "-")
