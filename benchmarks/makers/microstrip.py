"""Make the responses that the microstrip experiment learns: every D and frequency, |S11| and |S21|.

python -m benchmarks.makers.microstrip

The filter is described in `benchmarks.microstrip`. Needs the extra `rf` and about a second.
"""

from __future__ import annotations

import dataclasses
import gzip
import io
import sys
from pathlib import Path

import numpy as np
import tyro

from agents import records
from benchmarks.microstrip import COLUMNS, FILE, FREQUENCIES, LENGTHS, Array, simulate

__all__ = ["packed"]


def packed(responses: Array) -> bytes:
    """The file: a line of names, then a line a point, eight decimals.

    Args:
        responses: scattering parameters (lengths, frequencies, 2, 2) of ``LENGTHS`` and ``FREQUENCIES``.
    """
    magnitudes = np.abs(responses[:, :, :, 0]).reshape(-1, 2)  # |S11| and |S21|
    d, f = (one.ravel() for one in np.meshgrid(LENGTHS, FREQUENCIES, indexing="ij"))
    text, file = io.StringIO(), io.BytesIO()
    text.write(",".join(COLUMNS) + "\n")
    np.savetxt(text, np.column_stack([d, f, magnitudes]), fmt=("%d", "%.2f", "%.8f", "%.8f"), delimiter=",")
    with gzip.GzipFile(fileobj=file, mode="wb", filename="", mtime=0) as archive:
        archive.write(text.getvalue().encode())
    return file.getvalue()


@dataclasses.dataclass(frozen=True)
class Arguments:
    """Simulate the filters."""

    file: Path = FILE
    """where they go"""


def main() -> int:
    """Run the command line."""
    asked = tyro.cli(Arguments, description=__doc__)
    try:
        whole = packed(simulate(LENGTHS))
        asked.file.parent.mkdir(parents=True, exist_ok=True)
        records.write_atomically(asked.file, whole)
    except (OSError, ModuleNotFoundError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(f"{asked.file}: {len(LENGTHS)} filters at {len(FREQUENCIES)} frequencies, {len(whole):,} bytes")
    return 0


if __name__ == "__main__":
    sys.exit(main())
