"""Round the relaxation to a routing, a few nets at a time, and gather routes on the way.

Routes with a share near 1, and a few of the largest shares below, are fixed and take their capacity away. The
relaxation of the nets left is brought up to date by some rounds of pricing, and so on until none is left or none fits.

Source: the diving heuristics of branch and price, Sadykov et al. (2019).
Differs: several nets a step, no backtracking; shares are shaken at random, so that dives differ.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from routing_env._steiner import Longs
from routing_env.routers._columns import NONE, PENALTIES, Master, Pool, solve
from routing_env.routers._lagrange import Model, Priced, cheapest, fixed_point
from routing_env.routers._protocol import Clock

__all__ = ["dive"]

ROUNDS = 6
"""of pricing, after each step"""
SURE = 0.99
STEP = 0.08
"""part of the nets left that a step fixes besides the sure ones"""


def dive(pool: Pool, best: Priced, rng: np.random.Generator, clock: Clock) -> list[Longs] | None:
    """Round once; adds what it prices to ``pool``.

    Returns:
        edges per net, or None where it ran into a net that no longer fits, or out of time.
    """
    model = pool.model
    chosen: list[Longs | None] = [None] * len(model.nets)
    capacity = model.capacity.copy()
    prices = best.prices
    while not clock.over:
        left = [net for net, route in enumerate(chosen) if route is None]
        if not left:
            return [route for route in chosen if route is not None]
        rest = Pool(_part(model, left, capacity))
        position = {net: i for i, net in enumerate(left)}
        known = [(position[net], edges) for net, edges in zip(pool.net, pool.edges, strict=True) if net in position]
        fitting = [(net, edges) for net, edges in known if _fits(rest.model, net, edges)]
        rest.add([edges for _, edges in fitting], [net for net, _ in fitting])
        master = _catch_up(rest, prices, clock)
        if master is None:
            return None
        prices = fixed_point(master.prices)
        pool.add(rest.edges, [left[net] for net in rest.net])
        taken = _fix(rest, master, rng)
        if not taken:
            return None
        for net, edges in taken:
            chosen[left[net]] = edges
            capacity[edges] -= rest.model.need(net, edges)
    return None


def _part(model: Model, nets: list[int], capacity: Longs) -> Model:
    """The model of some of the nets on what capacity is left."""
    ends = [model.ends(net) for net in nets]
    first = np.cumsum([0] + [len(nodes) for nodes in ends])
    return replace(
        model, nets=model.nets[nets], demand=model.demand[nets], terminals=np.concatenate(ends), first=first,
        capacity=capacity.copy(), floor=model.floor[nets],
    )  # fmt: skip


def _fits(model: Model, net: int, edges: Longs) -> bool:
    return bool((model.need(net, edges) <= model.capacity[edges]).all())


def _catch_up(pool: Pool, prices: Longs, clock: Clock) -> Master | None:
    """Some rounds of pricing; None where a net has no route left, or time is over."""
    master: Master | None = None
    for _ in range(ROUNDS):
        priced = cheapest(pool.model, prices, clock=clock)
        if priced is None or priced.infeasible:
            return None
        new = pool.add(priced.routes)
        if master is not None and not new:
            break
        master = solve(pool, 1.0, PENALTIES[1 if master and master.overflow > NONE else 0], clock)
        if master is None:
            return None
        prices = fixed_point(master.prices)
    return master


def _fix(pool: Pool, master: Master, rng: np.random.Generator) -> list[tuple[int, Longs]]:
    """The sure routes and some of the most likely ones, as far as they fit together."""
    capacity, done = pool.model.capacity.copy(), np.zeros(len(pool.model.nets), np.bool_)
    shaken = master.shares * np.where(master.shares < SURE, rng.uniform(0.7, 1.0, len(pool.net)), 1.0)
    unsure = max(1, int(STEP * len(done)))
    taken: list[tuple[int, Longs]] = []
    for at in np.argsort(-shaken, kind="stable").tolist():
        net, edges = pool.net[at], pool.edges[at]
        if master.shares[at] <= NONE or (master.shares[at] < SURE and unsure == 0):
            break
        need = pool.model.need(net, edges)
        if done[net] or (need > capacity[edges]).any():
            continue
        capacity[edges] -= need
        done[net] = True
        unsure -= master.shares[at] < SURE
        taken.append((net, edges))
    return taken
