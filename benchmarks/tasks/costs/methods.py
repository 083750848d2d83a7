"""The methods of the cost table, by family, with the formulas that the documents print for a step and for storage.

d weights, n examples of the whole batch and b of a mini-batch, m or mL pairs, mF gradients, L steps between
aggregations; zeta (kappa_ls) losses of a line search, kappa_tr iterations in a trust region.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import optimizers
from routing_env.plugins import nearest

__all__ = ["FAMILIES", "METHODS", "PUBLISHED", "Costed", "Memory", "Published", "costed", "memory_of"]

FAMILIES = ("first order", "dense", "limited memory", "dense SR1", "limited SR1", "sampled", "Fisher", "Newton type",
            "learned")  # fmt: skip


class Memory(NamedTuple):
    """Numbers kept: a d^2 + b m d + c mF d + e d."""

    d2: float = 0
    md: float = 0
    mFd: float = 0
    d: float = 0

    def __str__(self) -> str:
        inner = [_term(self.md, "m"), _term(self.mFd, "mF")]
        inner = [one for one in inner if one]
        if inner:
            inner += [f"{self.d:g}"] if self.d else []
            rest = f"({' + '.join(inner)}) d" if len(inner) > 1 else f"{inner[0]} d"
        else:
            rest = _term(self.d, "d")
        return " + ".join(one for one in (_term(self.d2, "d^2"), rest) if one) or "0"


def _term(factor: float, name: str) -> str:
    if not factor:
        return ""
    return name if factor == 1 else f"{factor:g} {name}"


@dataclasses.dataclass(frozen=True)
class Published:
    """What a document's table says of a method.

    Attributes:
        cost: of a step, as printed.
        beyond: its terms without n or b, of (d, m, mF, L), for comparing growth.
        storage: as printed.
        gradients: passes over the batch with a gradient; those of a line search (zeta) come on top.
        products: Hessian products, of m.
        searches: whether there is a zeta.
    """

    cost: str
    beyond: Callable[[float, float, float, float], float]
    storage: Memory
    gradients: int
    products: bool = False
    searches: bool = False


def _square(d: float, m: float, mF: float, L: float) -> float:
    return d * d


def _two_loop(d: float, m: float, mF: float, L: float) -> float:
    return 4 * m * d + 2 * d


def _online(d: float, m: float, mF: float, L: float) -> float:
    return 6 * m * d


def _region(d: float, m: float, mF: float, L: float) -> float:
    return m * d


def _cubic(d: float, m: float, mF: float, L: float) -> float:
    return d**3


PAIRS, MATRIX = Memory(md=2), Memory(d2=1)

PUBLISHED: dict[str, Published] = {
    "bfgs": Published("n d + d^2 + zeta n d", _square, MATRIX, 1, searches=True),
    "naq": Published("2 n d + d^2 + zeta n d", _square, MATRIX, 2, searches=True),
    "moq": Published("n d + d^2 + zeta n d", _square, MATRIX._replace(d=1), 1, searches=True),
    "lbfgs": Published("n d + 4 m d + 2 d + zeta n d", _two_loop, PAIRS, 1, searches=True),
    "lnaq": Published("2 n d + 4 m d + 2 d + zeta n d", _two_loop, PAIRS, 2, searches=True),
    "lmoq": Published("n d + 4 m d + 2 d + zeta n d", _two_loop, PAIRS._replace(d=1), 1, searches=True),
    "obfgs": Published("2 b d + d^2", _square, MATRIX, 2),
    "onaq": Published("2 b d + d^2", _square, MATRIX, 2),
    "omoq": Published("b d + d^2", _square, MATRIX._replace(d=1), 1),
    "olbfgs": Published("2 b d + 6 m d", _online, PAIRS, 2),
    "olnaq": Published("2 b d + 6 m d", _online, PAIRS, 2),
    "olmoq": Published("b d + 6 m d", _online, PAIRS._replace(d=1), 1),
    "adaqn": Published("b d + (4 mL + mF + 2) d + (b + 4) d / L",
                       lambda d, m, mF, L: (4 * m + mF + 2) * d + 4 * d / L, Memory(md=2, mFd=1), 1),
    "asnaq": Published("2 b d + (4 mL + mF + 3) d + (b + 4) d / L",
                       lambda d, m, mF, L: (4 * m + mF + 3) * d + 4 * d / L, Memory(md=2, mFd=1), 2),
    "slbfgs": Published("n d + m n d + 4 m d + kappa_ls n d", lambda d, m, mF, L: 4 * m * d, Memory(), 1,
                        products=True, searches=True),
    "sr1": Published("n d + d^2 + n d + kappa_tr d^2", _square, MATRIX, 1),
    "lsr1": Published("n d + n d + kappa_tr m d", _region, PAIRS, 1),
    "slsr1": Published("n d + m n d + n d + kappa_tr m d", _region, Memory(), 1, products=True),
    "newton": Published("d^3", _cubic, MATRIX, 1),
}  # fmt: skip
"""of the slides on quasi-Newton methods, of the poster on sampled ones, and of the lecture (Newton)"""


@dataclasses.dataclass(frozen=True)
class Costed:
    """A method to be measured.

    Attributes:
        family: one of ``FAMILIES``.
        growth: of the time in d, which decides how many weights are tried: 1, 2 or 3.
        kind: of its closure, "plain", "graph" or "residuals".
        heavy: needs so many numbers a weight that a tenth of the weights is tried.
        part: of the largest d, where m and mF are varied: a tenth, or all of it.
        warm: steps before a measurement, besides those that fill the memory.
        steps: that are measured together.
        per_product: time is told of a Hessian product, of which a step makes as many as it needs.
        options: that differ from the optimizer's defaults.
    """

    family: str
    growth: int = 1
    kind: str = "plain"
    heavy: bool = False
    part: int = 10
    warm: int = 3
    steps: int = 10
    per_product: bool = False
    options: dict[str, Any] = dataclasses.field(default_factory=dict)


METHODS: dict[str, Costed] = {
    **dict.fromkeys(("sgd", "momentum", "nag", "adam"), Costed("first order")),
    **dict.fromkeys(("bfgs", "naq", "moq", "mnaq", "obfgs", "onaq", "omoq"), Costed("dense", growth=2)),
    **dict.fromkeys(("lbfgs", "lnaq", "lmoq", "olbfgs", "olnaq", "olmoq"), Costed("limited memory")),
    **dict.fromkeys(("sr1", "sr1n", "mosr1"), Costed("dense SR1", growth=3, warm=2, steps=3)),
    **dict.fromkeys(("lsr1", "lsr1n", "osr1", "arclsr1"), Costed("limited SR1", heavy=True, steps=5)),
    **dict.fromkeys(("slbfgs", "slsr1"), Costed("sampled", kind="graph", heavy=True, steps=3)),
    "sqn": Costed("Fisher", kind="graph", heavy=True, part=1, steps=20),
    # with its own rate of 0.01 it diverges where weights are small
    "adaqn": Costed("Fisher", heavy=True, part=1, steps=20, options={"lr": 1e-4}),
    "asnaq": Costed("Fisher", heavy=True, part=1, steps=20),
    "newton": Costed("Newton type", growth=3, kind="graph", warm=1, steps=3),
    "newton_cg": Costed("Newton type", kind="graph", heavy=True, warm=1, steps=3, per_product=True),
    "levenberg_marquardt": Costed("Newton type", growth=3, kind="residuals", warm=1, steps=3),
    **dict.fromkeys(("l2l", "hierarchical"), Costed("learned", heavy=True, warm=1, steps=3)),
}


def costed(label: str) -> Costed:
    """How a method is measured.

    Raises:
        ValueError: it is none of the table; the text names the nearest.
    """
    if label not in METHODS:
        raise ValueError(f"costs has no method {label!r}{nearest(label, METHODS)}; it has: {', '.join(METHODS)}")
    return METHODS[label]


def memory_of(label: str) -> dict[str, Any]:
    """The options of an optimizer that decide its memory, with their defaults: of m, mL, mF and L those it has."""
    found = optimizers.default_options(label)
    return {name: found[name] for name in ("m", "mL", "mF", "L") if name in found}
