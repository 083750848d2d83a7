"""A two-stage Miller op-amp in ngspice: sizes in; gain, bandwidth, phase margin and power out.

    VDD ---+---------+--------------+           M1, M2  pair, n         M5, M7, M8  sinks, n
           M3 ------ M4            M6           M3, M4  mirror, p       M6          second stage, p
           |         +---- Cc --+---+--- out    +-2.5 V, 10 uA into M8, CL = 10 pF, L = 0.5 um everywhere
    inn -- M1        M2 -- in  (first to out)
           +--- M5 ---+            M7

The output is fed back to the inverting input through 1 GH, and 1 GF holds that input for small signals: biased as a
follower, measured in open loop. All designs of a call are one ngspice process; each sets every size anew.

Source: supply and mu Cox of the published specification (Indrapriyadarsini et al., ISCAS 2020); the topology is that of
textbooks (Allen and Holberg, chapter 6).
Differs: the published netlist, its transistor models and load are not known. Here they are level-1 transistors: oxide
9 nm, thresholds 0.7 and -0.8 V, lambda 0.1 and 0.2 /V, overlaps 0.4 and 0.3 nF/m, no junctions.
"""

from __future__ import annotations

import csv
import gzip
import math
import re
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

__all__ = ["BEHAVIOUR", "FILE", "SIZES", "Array", "meets", "netlist", "shipped", "simulate", "works"]

Array = NDArray[np.float64]

SIZES = ("w1", "w3", "w5", "w6", "w7", "cc")
"""widths in um of M1 = M2, M3 = M4, M5, M6, M7, and the capacitor in pF"""
BEHAVIOUR = ("gain", "ugb", "pm", "power")
"""open-loop gain at 1 Hz in dB, unity-gain bandwidth in MHz, phase margin in degrees, power from the supplies in mW"""
FILE = Path(__file__).parent.parent / "data" / "opamp.csv.gz"
"""designs that work, made by ``python -m benchmarks.makers.opamp``"""
SPECIFICATION = {"gain": 50.0, "ugb": 1.0, "pm": 60.0}
"""the published one, each to be exceeded"""
MISSING = "the circuit is simulated by ngspice: apt-get install ngspice (Debian's package)"

LENGTH, BIAS_WIDTH = 0.5, 2.5  # um; the width is that of M8
SECONDS = 0.2
"""of a design, after which ngspice is taken to hang; it needs 0.01"""

CARDS = f"""two-stage op-amp
.model nch nmos level=1 vto=0.7 kp=160u lambda=0.1 gamma=0.45 phi=0.9 tox=9n cgso=0.4n cgdo=0.4n
.model pch pmos level=1 vto=-0.8 kp=40u lambda=0.2 gamma=0.4 phi=0.8 tox=9n cgso=0.3n cgdo=0.3n
vdd vdd 0 2.5
vss vss 0 -2.5
iref vdd bias 10u
vin in 0 dc 0 ac 1
m1 mirror inn tail vss nch w=10u l={LENGTH}u
m2 first in tail vss nch w=10u l={LENGTH}u
m3 mirror mirror vdd vdd pch w=5u l={LENGTH}u
m4 first mirror vdd vdd pch w=5u l={LENGTH}u
m5 tail bias vss vss nch w=5u l={LENGTH}u
m6 out first vdd vdd pch w=50u l={LENGTH}u
m7 out bias vss vss nch w=25u l={LENGTH}u
m8 bias bias vss vss nch w={BIAS_WIDTH}u l={LENGTH}u
cc first out 3p
cl out 0 10p
lfb out inn 1g
cfb inn 0 1g
"""
DEVICES = {"m1": "w1", "m2": "w1", "m3": "w3", "m4": "w3", "m5": "w5", "m6": "w6", "m7": "w7"}
NO_DIODES = (1, 2, 4, 5, 6, 7)
"""transistors that could leave saturation"""
MEASURE = """op
let offset=v(out)
let supply=-i(vdd)
let overdrive=abs(@m1[vdsat])
{headrooms}
print offset supply overdrive {names}
ac dec 40 1 10g
let db=vdb(out)
let turn=180+cph(out)
meas ac gain find db at=1
meas ac ugb when db=0 fall=1
meas ac pm find turn when db=0 fall=1
destroy all"""


def netlist(designs: Mapping[str, Array]) -> str:
    """What ngspice reads: the circuit and, for each design, its sizes and what is to be measured.

    Args:
        designs: ``SIZES``, each (designs,).

    Raises:
        ValueError: a size is missing, or not positive and finite.
    """
    for name in SIZES:
        if name not in designs:
            raise ValueError(f"no sizes {name!r}; a design has {', '.join(SIZES)}")
        wrong = [float(one) for one in designs[name] if not (one > 0 and math.isfinite(one))]
        if wrong:
            raise ValueError(f"{name} must be positive and finite, got {wrong[0]}")
    headrooms = [f"let room{k}=abs(@m{k}[vds])-abs(@m{k}[vdsat])" for k in NO_DIODES]
    measure = MEASURE.format(headrooms="\n".join(headrooms), names=" ".join(f"room{k}" for k in NO_DIODES))
    lines = [CARDS, ".control", "set numdgt=9", "set units=degrees"]
    for k in range(len(designs["w1"])):
        lines.append(f"echo design {k}")
        lines += [f"alter {device} w={designs[size][k]:.9g}u" for device, size in DEVICES.items()]
        lines += [f"alter cc={designs['cc'][k]:.9g}p", measure]
    return "\n".join([*lines, "quit", ".endc", ".end", ""])


def simulate(designs: Mapping[str, Array]) -> dict[str, Array]:
    """What ngspice finds, each (designs,), nan where it found nothing.

    Args:
        designs: ``SIZES``, each (designs,).

    Returns:
        ``BEHAVIOUR``; ``offset`` of the follower in mV; ``room``, the least V_DS above saturation of a transistor, and
        ``overdrive`` of the pair, in V.

    Raises:
        FileNotFoundError: ngspice is not installed.
        ValueError: a size is not positive and finite.
        RuntimeError: ngspice did not go through all designs.
    """
    program = shutil.which("ngspice")
    if program is None:
        raise FileNotFoundError(MISSING)
    count, text = len(designs["w1"]), netlist(designs)
    try:
        done = subprocess.run(
            [program, "-b", "/dev/stdin"], input=text, capture_output=True, text=True, timeout=30 + SECONDS * count
        )
    except subprocess.TimeoutExpired as error:
        raise RuntimeError(f"ngspice did not end within {error.timeout:.0f} seconds for {count} designs") from None
    found = _read(done.stdout, count)
    return {
        "gain": found["gain"], "ugb": found["ugb"] / 1e6, "pm": found["pm"], "power": 5e3 * found["supply"],
        "offset": 1e3 * found["offset"], "overdrive": found["overdrive"],
        "room": np.min([found[f"room{k}"] for k in NO_DIODES], axis=0),
    }  # fmt: skip


def _read(text: str, count: int) -> dict[str, Array]:
    """Lines ``name = number`` after each design's line."""
    names = ["offset", "supply", "overdrive", "gain", "ugb", "pm", *(f"room{k}" for k in NO_DIODES)]
    found = {name: np.full(count, np.nan) for name in names}
    place = -1
    for line in text.splitlines():
        if design := re.fullmatch(r"design (\d+)\s*", line):
            place = int(design[1])
        elif place >= 0 and (value := re.match(r"(\w+)\s+=\s+(\S+)", line)) and value[1] in found:
            found[value[1]][place] = float(value[2])
    if place != count - 1:
        raise RuntimeError(f"ngspice stopped at design {place} of {count}; its last words: {text[-200:]!r}")
    return found


def works(found: Mapping[str, Array], *, offset: float = 10.0, overdrive: float = 0.1) -> dict[str, NDArray[np.bool_]]:
    """What each design, (designs,), has to fulfil to count as an op-amp.

    Args:
        found: from ``simulate``.
        offset: largest, in mV.
        overdrive: least of the pair in V; below, its square law holds no more.
    """
    return {
        "simulated": np.asarray(np.isfinite([found[name] for name in found]).all(0)),
        "saturated": found["room"] > 0,
        "offset": np.abs(found["offset"]) <= offset,
        "overdrive": found["overdrive"] >= overdrive,
        "stable": found["pm"] > 0,
    }


def meets(found: Mapping[str, Array]) -> NDArray[np.bool_]:
    """Whether each design, (designs,), works and exceeds the published specification; nan does not."""
    working = np.all(list(works(found, overdrive=0.0).values()), axis=0)
    return np.all([working, *(found[name] > least for name, least in SPECIFICATION.items())], axis=0)


def shipped(path: Path = FILE) -> dict[str, Array]:
    """The designs of a file: ``SIZES`` and ``BEHAVIOUR``, each (designs,).

    Raises:
        FileNotFoundError: there is no such file; the text names the command that makes it.
    """
    if not path.exists():
        raise FileNotFoundError(f"{path}: no op-amps; python -m benchmarks.makers.opamp makes them")
    with gzip.open(path, "rt", newline="") as file:
        names, *lines = csv.reader(file)
    return dict(zip(names, np.array(lines, dtype=float).T, strict=True))
