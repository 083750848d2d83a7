"""Make the op-amps that the circuit experiment learns from: sizes are drawn and simulated, what works is kept.

python -m benchmarks.makers.opamp

Drawn log-uniformly in the ranges below; w6 is what carries the current of M7 at no offset, 2 w3 w7 / w5, times a
factor from 0.8 to 1.25. Dropped and counted are designs with a transistor out of saturation, an offset above 10 mV, an
input pair with less than 0.1 V of overdrive, where its square law ends, no phase margin, or a width w6 outside its
range. The same seed gives the same file. Needs ngspice and about ten seconds.
"""

from __future__ import annotations

import dataclasses
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import tyro
from tqdm import tqdm

from agents import records
from benchmarks.circuits.opamp import BEHAVIOUR, FILE, SIZES, Array, simulate, works
from benchmarks.makers._packed import packed

__all__ = ["RANGES", "draw", "make"]

RANGES = {"w1": (0.6, 12.0), "w3": (0.5, 8.0), "w5": (1.0, 10.0), "w7": (10.0, 200.0), "cc": (1.0, 10.0)}
"""least and largest, um and pF"""
BALANCE = 1.25
"""largest factor of w6"""
WIDEST = 1000.0
"""of w6, um; the narrowest is 1 um"""
BATCH = 250
"""designs of a call of ngspice"""


def draw(count: int, rng: np.random.Generator) -> dict[str, Array]:
    """``SIZES`` of designs, each (count,)."""
    found = {name: _log_uniform(rng, low, high, count) for name, (low, high) in RANGES.items()}
    factor = _log_uniform(rng, 1 / BALANCE, BALANCE, count)
    found["w6"] = factor * 2 * found["w3"] * found["w7"] / found["w5"]
    return {name: np.array([float(f"{one:.5g}") for one in found[name]]) for name in SIZES}


def _log_uniform(rng: np.random.Generator, low: float, high: float, count: int) -> Array:
    return np.exp(rng.uniform(np.log(low), np.log(high), count))


def make(count: int, seed: int, *, quiet: bool = True) -> tuple[dict[str, Array], Counter[str]]:
    """Designs that work.

    Args:
        count: how many.
        seed: of the draws.
        quiet: no progress bar.

    Returns:
        ``SIZES`` and ``BEHAVIOUR``, each (count,); how many designs were drawn, and why others were dropped, by the
        first reason.

    Raises:
        FileNotFoundError: ngspice is not installed.
    """
    rng, kept, counts = np.random.default_rng(seed), [], Counter[str]()
    with tqdm(total=count, unit="design", disable=quiet) as bar:
        while bar.n < count:
            designs = draw(BATCH, rng)
            found = simulate(designs)
            holds = {"width": (designs["w6"] >= 1) & (designs["w6"] <= WIDEST)} | works(found)
            good = np.ones(BATCH, bool)
            for reason, fine in holds.items():
                counts[reason] += int((good & ~fine).sum())
                good &= fine
            counts["drawn"] += BATCH
            kept.append(np.stack([(designs | found)[name][good] for name in (*SIZES, *BEHAVIOUR)]))
            bar.update(min(int(good.sum()), count - bar.n))
    whole = np.concatenate(kept, 1)[:, :count]
    return dict(zip((*SIZES, *BEHAVIOUR), whole, strict=True)), counts


@dataclasses.dataclass(frozen=True)
class Arguments:
    """Draw and simulate op-amps."""

    count: int = 1500
    """designs that work"""
    seed: int = 0
    """of the draws"""
    file: Path = FILE
    """where they go"""


def main() -> int:
    """Run the command line."""
    asked = tyro.cli(Arguments, description=__doc__)
    try:
        if asked.count < 1:
            raise ValueError(f"--count must be at least 1, got {asked.count}")
        designs, counts = make(asked.count, asked.seed, quiet=False)
        asked.file.parent.mkdir(parents=True, exist_ok=True)
        records.write_atomically(asked.file, packed(designs))
    except (ValueError, OSError, RuntimeError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    dropped = ", ".join(f"{name} {many}" for name, many in counts.items() if name != "drawn")
    print(f"{asked.file}: {asked.count} designs; {counts['drawn']} drawn, dropped for {dropped}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
