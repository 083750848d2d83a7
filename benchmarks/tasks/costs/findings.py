"""The lines and sentences of the cost table, from its rows."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.tasks.costs.methods import METHODS, PUBLISHED, Memory, Published, costed, memory_of

__all__ = ["findings", "line_of", "microseconds", "total"]

Metrics = Mapping[str, Any]
Found = Mapping[str, Sequence[Metrics]]
EVEN = 0.15
"""growths that differ by less are called equal"""
OWN = {
    "w_at": "weights and gradient of the last evaluation, so that it is not repeated",
    "v": "the velocity, which the published counts leave out",
    "S": "a spare slot among the pairs, which refused pairs are written to",
    "g1": "the open pair that the next step's gradient closes",
    "w_sum": "sums of iterates and the anchor",
    "squares": "the sum of squared gradients, in float64",
}
"""what a part of a memory is for; told where it is not in the published count"""


def total(metrics: Metrics) -> Memory:
    """Numbers kept between steps, of all parts."""
    parts = list(metrics["storage"].values())
    return Memory(*(sum(one) for one in zip(*parts, strict=True))) if parts else Memory()


def line_of(label: str, mine: Sequence[Metrics]) -> dict[str, Any]:
    """A line of the table."""
    said, first = PUBLISHED.get(label), mine[0]
    weights = first["d"]["at"][-1]
    return {
        "method": label,
        "published cost": said.cost if said else None,
        "published storage": _named(label, said.storage) if said else None,
        "kept": _named(label, total(first)),
        "in use besides": f"{first['in_use']['factor']:g} d" + ("^2" if first["in_use"]["power"] == 2 else ""),
        "published evaluations": _evaluations(said) if said else None,
        "evaluations": _measured_evaluations(mine),
        "time by d": _growth(mine, "d", label),
        "published by d": _expected(label, first, "d"),
        "time by m": _growth(mine, "m", label),
        "published by m": _expected(label, first, "m"),
        "time by mF": _growth(mine, "mF", label),
        "published by mF": _expected(label, first, "mF"),
        "at d": weights,
        "microseconds": _digits(statistics.median(one["d"]["us"][-1] for one in mine)),
        "by n": _growth(mine, "n", label),
        "in gradients": round(in_gradients(mine), 1),
    }


def _named(label: str, memory: Memory) -> str:
    """With mL for m where the method calls it that."""
    text = str(memory)
    return text.replace("2 m", "2 mL") if "mL" in memory_of(label) else text


def _evaluations(said: Published) -> str:
    return str(said.gradients) + (" + m Hv" if said.products else "") + (" + zeta f" if said.searches else "")


def _measured_evaluations(mine: Sequence[Metrics]) -> str:
    """Gradients, losses and products a step on the largest regression, means of the trials."""
    means = {name: statistics.fmean(one["n"][name][-1] for one in mine) for name in ("gradients", "losses", "products")}
    units = {"gradients": "", "losses": " f", "products": " Hv"}
    return " + ".join(f"{_digits(means[name], 3):g}{unit}" for name, unit in units.items() if means[name])


def microseconds(label: str, metrics: Metrics, along: str) -> list[float]:
    """Time of a step at each size; of a Hessian product, where a step makes as many as it needs."""
    found = metrics[along]
    if not costed(label).per_product:
        return list(found["us"])
    return [us / max(1.0, products) for us, products in zip(found["us"], found["products"], strict=True)]


def exponent(label: str, metrics: Metrics, along: str) -> float:
    """p of time ~ size^p between the two largest sizes."""
    (a, b), (s, t) = metrics[along]["at"][-2:], microseconds(label, metrics, along)[-2:]
    return math.log(t / s) / math.log(b / a)


def _exponents(mine: Sequence[Metrics], along: str, label: str) -> list[float]:
    return sorted(exponent(label, one, along) for one in mine if along in one)


def _growth(mine: Sequence[Metrics], along: str, label: str) -> str | None:
    """Median of the trials, and their range where there are several."""
    found = _exponents(mine, along, label)
    if not found:
        return None
    middle = f"{statistics.median(found):.2f}"
    return middle if len(found) == 1 else f"{middle} ({found[0]:.2f} to {found[-1]:.2f})"


def expected(label: str, metrics: Metrics, along: str) -> float | None:
    """The published formula's exponent between the same two sizes, without evaluations."""
    said, sizes = PUBLISHED.get(label), memory_of(label)
    if said is None or along not in metrics:
        return None
    d = metrics["d"]["at"][-1]
    usual = {"d": d, "m": sizes.get("m", sizes.get("mL", 0)), "mF": sizes.get("mF", 0), "L": sizes.get("L", 1)}
    two = metrics[along]["at"][-2:]
    costs = []
    for size in two:
        at = usual | {along: size}
        costs.append(said.beyond(at["d"], at["m"], at["mF"], at["L"]))
    return math.log(costs[1] / costs[0]) / math.log(two[1] / two[0])


def _expected(label: str, metrics: Metrics, along: str) -> float | None:
    found = expected(label, metrics, along)
    return None if found is None else round(found, 2)


def in_gradients(mine: Sequence[Metrics]) -> float:
    """Time of a whole step on the largest regression, in gradients."""
    return statistics.median(one["n"]["us"][-1] / one["n"]["gradient_us"][-1] for one in mine)


def findings(found: Found) -> list[str]:
    """Storage, memory in use, evaluations, growth, and what a step costs in gradients."""
    said = [_storage(found), _in_use(found), _evaluations_differ(found)]
    said += [_growths(found, along) for along in ("d", "m", "mF")]
    return [*(one for one in said if one), *_decision(found)]


def _names(labels: Sequence[str]) -> str:
    return ", ".join(f"`{label}`" for label in labels) or "none"


def _storage(found: Found) -> str:
    """What is kept beyond the published numbers, by amount, and what for."""
    more: dict[str, list[str]] = {}
    parts: set[str] = set()
    published = [label for label in found if label in PUBLISHED]
    for label in published:
        own, said = total(found[label][0]), PUBLISHED[label].storage
        if own != said:
            difference = Memory(*(a - b for a, b in zip(own, said, strict=True)))
            sign = "less" if min(difference) < 0 else "more"
            amount = str(Memory(*(abs(one) for one in difference)))
            more.setdefault(f"{amount} {sign}", []).append(label)
            if sign == "more":
                parts |= {name for name, one in found[label][0]["storage"].items() if name in OWN and Memory(*one).d}
    same = [label for label in published if not any(label in labels for labels in more.values())]
    text = f"Storage as published: {_names(same)}. Otherwise: "
    text += "; ".join(f"{_names(labels)} {amount}" for amount, labels in more.items()) or "none"
    reasons = [OWN[name] for name in OWN if name in parts]
    return text + (f". The more is {'; '.join(reasons)}." if reasons else ".")


def _in_use(found: Found) -> str:
    """What sampled methods and Newton's hold within a step, who keep nothing."""
    nothing = [label for label in found if total(found[label][0]) == Memory() and label in PUBLISHED]
    each = [f"`{label}` {line_of(label, found[label])['in use besides']}" for label in nothing]
    if not each:
        return ""
    return f"Nothing is kept between steps by {_names(nothing)}, but within a step they hold {', '.join(each)} numbers."


def _evaluations_differ(found: Found) -> str:
    """Published and measured gradients where no search decides them."""
    same: list[str] = []
    other: list[str] = []
    for label in found:
        said = PUBLISHED.get(label)
        if said is not None and not said.searches:
            measured = statistics.fmean(one["n"]["gradients"][-1] for one in found[label])
            (same if measured == said.gradients else other).append(label)
    text = f"Gradients a step are the published ones: {_names(same)}." if same else ""
    text += f" They differ: {_names(other)}." if other else ""
    return (text + _searches(found)).strip()


def _searches(found: Found) -> str:
    """What searches evaluate beyond the published gradients, which is the published zeta."""
    each = []
    for label, mine in found.items():
        said = PUBLISHED.get(label)
        if said is not None and said.searches:
            calls = statistics.fmean(one["n"]["gradients"][-1] + one["n"]["losses"][-1] for one in mine)
            each.append(f"`{label}` {calls - said.gradients:.1f}")
    if not each:
        return ""
    return f" Beyond the gradients counted, zeta was, in evaluations a step: {', '.join(each)}."


def _growths(found: Found, along: str) -> str:
    """Whose time grows as published and whose does not."""
    even, faster, slower = [], [], []
    fixed: list[tuple[float, float]] = []
    for label, mine in found.items():
        formula = expected(label, mine[0], along)
        if formula is None:
            continue
        middle = statistics.median(_exponents(mine, along, label))
        text = f"`{label}` {middle:.2f} for {formula:.2f}"
        if abs(middle - formula) <= EVEN:
            even.append(f"`{label}`")
        elif middle > formula:
            faster.append(text)
        else:
            slower.append(text)
            lines = [microseconds(label, one, along) for one in mine]
            fixed.append((statistics.median(line[0] for line in lines), statistics.median(line[-1] for line in lines)))
    if not (even or faster or slower):
        return ""
    text = f"Time grows with {along} as published, within {EVEN:g}, for {', '.join(even) or 'none'}"
    text += f"; faster for {', '.join(faster)}" if faster else ""
    text += f"; slower for {', '.join(slower)}, where {_fixed(fixed, along)}" if slower else ""
    return text + "."


def _fixed(times: Sequence[tuple[float, float]], along: str) -> str:
    """What does not grow, from the times at the smallest and the largest size."""
    if along == "d":
        each = [first for first, _ in times]
        return f"a step's calls take {_digits(min(each), 2):g} to {_digits(max(each), 2):g} microseconds at the least d"
    shares = [100 * first / last for first, last in times]
    return f"the least {along} already takes {min(shares):.0f} to {max(shares):.0f} % of the time of the most"


def _decision(found: Found) -> list[str]:
    """Steps at equal d, and on a costly loss, in gradients."""
    shared = [label for label in found if 1000 in found[label][0]["d"]["at"]]
    said = []
    if shared:
        costs = {}
        for label in shared:
            place = found[label][0]["d"]["at"].index(1000)
            costs[label] = statistics.median(one["d"]["us"][place] for one in found[label])
        each = ", ".join(f"`{label}` {_digits(us, 3):g}" for label, us in sorted(costs.items(), key=lambda one: one[1]))
        said.append(f"A step besides its gradients at 1,000 weights, in microseconds: {each}.")
    groups: dict[str, list[float]] = {}
    for label, mine in found.items():
        groups.setdefault(METHODS[label].family, []).append(in_gradients(mine))
    each = ", ".join(f"{family} {min(values):.1f} to {max(values):.1f}" for family, values in groups.items())
    examples = next(iter(found.values()))[0]["n"]["at"][-1]
    text = f"On a loss of {examples:,} examples a step costs, in gradients: {each}."
    return [*said, text + _products(found)]


def _products(found: Found) -> str:
    """What a Hessian product takes of a step beyond its other evaluations; published as one pass, as a gradient."""
    each = []
    for label, mine in found.items():
        made = {
            name: statistics.fmean(one["n"][name][-1] for one in mine) for name in ("gradients", "losses", "products")
        }
        if made["products"] >= 1:
            left = in_gradients(mine) - made["gradients"] - made["losses"]
            each.append(f"`{label}` {left / made['products']:.1f}")
    return f" A Hessian product with its share of the step, counted as one: {', '.join(each)}." if each else ""


def _digits(value: float, digits: int = 4) -> float:
    return float(f"{value:.{digits}g}")
