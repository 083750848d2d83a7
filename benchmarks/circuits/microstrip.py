"""A microstrip low-pass filter: five open stubs of length D joined by narrow lines, and its simulated responses.

port - feed - stub 1 - line a - stub 2 - line b - stub 3 - line b - stub 2 - line a - stub 1 - feed - port, the ports of
50 ohm; widths and lengths in mm:

    feed  1.8 x 5     stubs  0.5, 2.0 and 2.2 x D     lines  0.4 x 10.5 and 0.4 x 12

Substrate 0.813 mm high, permittivity 3.55, loss tangent 0.0021 at 2.5 GHz; copper 35 um thick, 1.72e-8 ohm m, rough by
2.8 um. A stub shorts the line where D is a quarter of its wavelength, so the cut-off falls from 2.4 GHz at D = 12 mm to
1.7 GHz at 20 mm; widths and lines are those that match D = 16 mm best, rounded. Around half a wavelength the stubs are
open and the filter passes again: with long stubs, within the band.

Lines are scikit-rf's: Hammerstad and Jensen's impedance, Kirschning and Jansen's dispersion, a causal dielectric,
losses of conductor and dielectric. Junctions and open ends are ideal, nothing radiates, stubs do not couple.
"""

from __future__ import annotations

import gzip
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["COLUMNS", "FILE", "FREQUENCIES", "LENGTHS", "shipped", "simulate"]

Array = NDArray[Any]

FILE = Path(__file__).parent.parent / "data" / "microstrip.csv.gz"
COLUMNS = ("d_mm", "f_ghz", "s11", "s21")
LENGTHS = tuple(range(12, 21))
"""D of the shipped responses, mm"""
FREQUENCIES = np.linspace(0.1, 4.5, 221)
"""of the shipped responses, GHz"""

FEED, NARROW = (1.8, 5.0), 0.4
"""width and length of a feed, width of the lines, mm"""
STUBS, LINES = (0.5, 2.0, 2.2, 2.0, 0.5), (10.5, 12.0, 12.0, 10.5)
"""widths of the stubs, lengths of the lines between them, mm"""
SUBSTRATE = {"h": 0.813e-3, "ep_r": 3.55, "tand": 0.0021, "f_epr_tand": 2.5e9}
COPPER = {"t": 35e-6, "rho": 1.72e-8, "rough": 2.8e-6}


def simulate(lengths: Sequence[float], frequencies: Array = FREQUENCIES) -> Array:
    """Scattering parameters (lengths, frequencies, 2, 2), complex, of filters with stubs of these lengths.

    Args:
        lengths: D, mm.
        frequencies: GHz, rising.

    Raises:
        ModuleNotFoundError: scikit-rf is not installed.
    """
    try:
        import skrf
        from skrf.media import MLine
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError("the filter is simulated by scikit-rf: pip install 'quasiroute[rf]'") from error
    band = skrf.Frequency.from_f(frequencies, unit="GHz")
    media = {
        width: MLine(band, z0_port=50, w=1e-3 * width, **SUBSTRATE, **COPPER) for width in {*STUBS, NARROW, FEED[0]}
    }
    feed = media[FEED[0]].line(FEED[1], "mm")
    lines = [media[NARROW].line(length, "mm") for length in LINES]
    found = []
    for length in lengths:
        first, *others = (media[width].shunt_delay_open(length, "mm") for width in STUBS)
        whole = feed**first
        for line, stub in zip(lines, others, strict=True):
            whole = whole**line**stub
        found.append((whole**feed).s)
    return np.stack(found)


@lru_cache(maxsize=1)
def shipped() -> dict[int, Array]:
    """D in mm -> |S11| and |S21| (2, 221) at ``FREQUENCIES``.

    Raises:
        FileNotFoundError: the data file is missing.
    """
    if not FILE.exists():
        raise FileNotFoundError(f"{FILE} is missing; python -m benchmarks.makers.microstrip makes it")
    with gzip.open(FILE, "rt") as file:
        d, _, *magnitudes = np.loadtxt(file, delimiter=",", skiprows=1, unpack=True)
    return {length: np.stack(magnitudes)[:, d == length] for length in LENGTHS}
