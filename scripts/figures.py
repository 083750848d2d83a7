"""Write the routing study's section of docs/results.md, the gallery and all their pictures from rows; nothing is run.

python -m scripts.figures

A second run with the same rows changes nothing.
"""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path

import tyro

from agents import records
from benchmarks.harness import gallery
from benchmarks.routing import RESULTS
from benchmarks.study.pictures import draw
from benchmarks.study.report import replaced, section


@dataclasses.dataclass(frozen=True)
class Arguments:
    """Write the results of the routing study."""

    results: Path = RESULTS
    """folder of the rows"""
    page: Path = Path("docs/results.md")
    """the page, with the two comments around the section; pictures go to pictures/ beside it"""
    gallery: Path = Path("docs/gallery")
    """folder of the gallery's page and pictures"""


def main() -> int:
    """Run the command line."""
    asked = tyro.cli(Arguments, description=__doc__)
    try:
        old = asked.page.read_text()
        new = replaced(old, section(asked.results))
        pictures = asked.page.parent / "pictures"
        pictures.mkdir(exist_ok=True)
        drawn = draw(asked.results, pictures)
        if new != old:
            records.write_atomically(asked.page, new.encode())
        drawn += gallery.draw(gallery.RESULTS, asked.gallery)
        records.write_atomically(asked.gallery / "README.md", gallery.page(gallery.RESULTS, asked.gallery).encode())
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    for path in (asked.page, asked.gallery / "README.md", *drawn):
        print(path)
    return 0


if __name__ == "__main__":
    sys.exit(main())
