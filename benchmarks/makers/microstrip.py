"""Make the responses that the microstrip experiment learns: every D and frequency, |S11| and |S21|.

python -m benchmarks.makers.microstrip

The filter is described in `benchmarks.circuits.microstrip`. Needs the extra `rf` and about a second.
"""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path

import numpy as np
import tyro

from agents import records
from benchmarks.circuits.microstrip import COLUMNS, FILE, FREQUENCIES, LENGTHS, Array, simulate
from benchmarks.makers._packed import packed

__all__ = ["make"]

DECIMALS = 8
"""of a magnitude"""


def make() -> dict[str, Array]:
    """``COLUMNS``, each (points,), of every D and frequency.

    Raises:
        ModuleNotFoundError: scikit-rf is not installed.
    """
    magnitudes = np.abs(simulate(LENGTHS)[:, :, :, 0]).round(DECIMALS)  # (lengths, frequencies, 2)
    d, f = np.meshgrid(LENGTHS, FREQUENCIES, indexing="ij")
    return dict(zip(COLUMNS, (one.ravel() for one in (d, f, magnitudes[..., 0], magnitudes[..., 1])), strict=True))


@dataclasses.dataclass(frozen=True)
class Arguments:
    """Simulate the filters."""

    file: Path = FILE
    """where they go"""


def main() -> int:
    """Run the command line."""
    asked = tyro.cli(Arguments, description=__doc__)
    try:
        whole = packed(make(), DECIMALS)
        asked.file.parent.mkdir(parents=True, exist_ok=True)
        records.write_atomically(asked.file, whole)
    except (OSError, ModuleNotFoundError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(f"{asked.file}: {len(LENGTHS)} filters at {len(FREQUENCIES)} frequencies, {len(whole):,} bytes")
    return 0


if __name__ == "__main__":
    sys.exit(main())
