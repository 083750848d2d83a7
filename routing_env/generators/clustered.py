"""Nets with clusters: the pins of a local net lie around one of a few centres, those of a global net anywhere.

    pins of a net = 2 with probability 1/2, 3 with 1/4, ... at most max_pins
    local pin ~ normal(centre, spread x the grid's side), folded back at the borders;  global pin ~ uniform

Layers alternate: horizontal, vertical, horizontal ...; all pins lie on layer 1. Every net spans two tiles at least.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from routing_env.generators._ingredients import TILE, Pins, check_share, check_whole, named, stack
from routing_env.problem import Problem

__all__ = ["clustered"]


def clustered(
    *,
    seed: int,
    width: int = 16,
    height: int = 16,
    layers: int = 2,
    nets: int = 200,
    max_pins: int = 5,
    capacity: int = 10,
    clusters: int = 6,
    spread: float = 0.08,
    global_share: float = 0.2,
) -> Problem:
    """A problem with local nets and a share of global ones.

    Args:
        seed: of numpy's default generator.
        width: columns.
        height: rows.
        layers: alternating ones; a single one allows both directions.
        nets: number of nets.
        max_pins: a net has 2 .. ``max_pins``.
        capacity: of every planar edge, in wires.
        clusters: number of centres.
        spread: standard deviation of local pins, as a share of the grid's sides.
        global_share: probability that a net is global.

    Raises:
        ValueError: an argument has no such value.
    """
    check_whole(1, width=width, height=height, capacity=capacity, clusters=clusters)
    check_whole(0, seed=seed, nets=nets)
    check_whole(2, max_pins=max_pins)
    check_share(spread=spread, global_share=global_share)
    if nets and width * height < 2:
        raise ValueError("width x height must be at least 2 tiles for a net to span two")
    rng = np.random.default_rng(seed)
    side = np.array([width, height])
    centres = rng.uniform(0, side, (clusters, 2))
    pins = [_net(rng, side, centres, spread, global_share, max_pins) for _ in range(nets)]
    return Problem(width, height, stack(layers, capacity), named(pins), tile_size=(TILE, TILE), name=f"clustered{seed}")


def _net(rng: np.random.Generator, side: NDArray[np.int64], centres: NDArray[np.float64], spread: float,
         global_share: float, max_pins: int) -> Pins:  # fmt: skip
    count = min(1 + int(rng.geometric(0.5)), max_pins)
    local = rng.random() >= global_share
    centre = centres[rng.integers(len(centres))]
    at = _folded(rng.normal(centre, spread * side, (count, 2)), side) if local else rng.uniform(0, side, (count, 2))
    while len(np.unique(np.floor(at), axis=0)) == 1:
        at = rng.uniform(0, side, (count, 2))
    # a position may round up to the border, which belongs to no tile
    units = np.minimum((TILE * at).astype(np.int64), TILE * side - 1)
    return [(x, y, 1) for x, y in units.tolist()]


def _folded(at: NDArray[np.float64], side: NDArray[np.int64]) -> NDArray[np.float64]:
    """Reflect at the borders, so that no pins pile up along them."""
    there_and_back = np.mod(at, 2 * side)
    return np.where(there_and_back < side, there_and_back, 2 * side - there_and_back)
