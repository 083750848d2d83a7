"""Rows as aligned text tables and as tables of documents."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

__all__ = ["markdown_table", "text_table"]


def text_table(rows: Sequence[dict[str, Any]], columns: Sequence[str] | None = None) -> str:
    """A table of dictionaries with the same keys: first column to the left, the others to the right.

    None is shown as ``-``, floats with two decimals.
    """
    names = list(columns or rows[0])
    cells = [names, *([_text(row[name]) for name in names] for row in rows)]
    widths = [max(len(line[i]) for line in cells) for i in range(len(names))]
    lines = [
        "  ".join(
            cell.ljust(w) if i == 0 else cell.rjust(w) for i, (cell, w) in enumerate(zip(line, widths, strict=True))
        )
        for line in cells
    ]
    lines.insert(1, "  ".join("-" * w for w in widths))
    return "\n".join(line.rstrip() for line in lines)


def markdown_table(rows: Sequence[dict[str, Any]], heads: Sequence[str] | None = None) -> str:
    """A table of dictionaries with the same keys for a document, cells as in ``text_table``; heads for the keys."""
    names = list(rows[0])
    lines = [
        "| " + " | ".join(cells) + " |" for cells in (heads or names, *([_text(row[n]) for n in names] for row in rows))
    ]
    lines.insert(1, "|" + "---|" * len(names))
    return "\n".join(lines)


def _text(value: Any) -> str:
    if value is None:
        return "-"
    return f"{value:.2f}" if isinstance(value, float) else str(value)
