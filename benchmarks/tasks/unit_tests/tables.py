"""Table and sentences of the unit tests, from rows; and which optimizers they are for."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.tasks.unit_tests import pictures
from benchmarks.tasks.unit_tests.cases import NOISES
from benchmarks.tasks.unit_tests.scores import CATEGORIES, score

__all__ = ["METHODS", "findings", "kept", "passed_somewhere", "passes", "table", "working"]

FIRST_ORDER = (
    "sgd", "momentum", "nag", "adagrad", "rmsprop", "adadelta", "adam", "adamax", "nadam", "amsgrad", "torch.rprop",
    "torch.radam",
)  # fmt: skip
QUASI_NEWTON = (
    "obfgs", "olbfgs", "onaq", "olnaq", "omoq", "olmoq", "olmoq_mb", "osr1", "osr1n", "omosr1", "arclsr1", "sqn",
    "adaqn", "asnaq",
)  # fmt: skip
LEARNED = ("l2l", "hierarchical")
ADAPTIVE = ("adagrad", "rmsprop", "adadelta", "adam", "adamax", "nadam", "amsgrad", "torch.rprop", "torch.radam")
"""first order that sets the length of its steps by the gradients it has seen"""
METHODS = (*FIRST_ORDER, *QUASI_NEWTON, *LEARNED)


def table(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Each method at its best single rate: share of tests of each colour, mean score; and how many rates work."""
    lines = []
    for row in rows:
        lr = pictures.best_rate(row)
        letters = kept(row, lr)
        found = zip(row["metrics"]["percent"][lr], row["metrics"]["letters"][lr], strict=True)
        percents = [percent for percent, letter in found if letter != "-"]
        shares = {name: 100 * letters.count(letter) / len(letters) for letter, (name, _) in CATEGORIES.items()}
        lines.append(
            {
                "method": row["method"],
                "best rate": lr,
                **{f"{name} %": round(share) for name, share in shares.items() if name != "left out"},
                "score": statistics.fmean(-1.0 if one is None else score(one / 100) for one in percents),
                "passed at some rate %": round(100 * statistics.fmean(passed_somewhere(row))),
                "rates that pass half": working(row),
                "seconds": row["cpu_seconds"],
            }
        )
    return lines


def findings(rows: Sequence[dict[str, Any]]) -> list[str]:
    """The best methods, and what the paper says of its own set."""
    by = {row["method"]: row for row in rows}
    shares = {label: passes(row, pictures.best_rate(row)) for label, row in by.items()}
    best = sorted(shares, key=lambda label: -shares[label])[:6]
    letters = {label: kept(row, pictures.best_rate(row)) for label, row in by.items()}
    ahead = {label: 100 * mine.count("E") / len(mine) for label, mine in letters.items()}
    most = max(ahead, key=lambda label: ahead[label])
    whole = len(next(iter(rows[0]["metrics"]["letters"].values())))
    return [
        f"{whole - len(letters[most])} of {whole} tests are left out: no rate of SGD gains anything there.",
        "Good or excellent with one rate for all tests: "
        + ", ".join(f"`{label}` {100 * shares[label]:.0f} %" for label in best)
        + ".",
        *_weakest(rows, best),
        "Published: well tuned SGD is hard to beat substantially. That "
        + ("holds" if ahead[most] < 50 else "does not hold")
        + f" here: the method that does so most often, `{most}`, gains more than twice as much on {ahead[most]:.0f} % "
        "of the tests.",
        *_of_rates(by),
        *_of_noise(rows),
    ]


def _of_rates(by: Mapping[str, dict[str, Any]]) -> list[str]:
    """How many rates work, by kind of method."""
    plain = [one for one in FIRST_ORDER if one not in ADAPTIVE]
    groups = {"adaptive first order": ADAPTIVE, "other first order": plain, "quasi-Newton": QUASI_NEWTON}
    spans = {
        what: statistics.fmean(working(by[one]) for one in members if one in by)
        for what, members in groups.items() if any(one in by for one in members)
    }  # fmt: skip
    if not {"adaptive first order", "other first order"} <= spans.keys():
        return []
    holds = spans["adaptive first order"] > spans["other first order"]
    widest = max(by, key=lambda label: working(by[label]))
    return [
        f"Published: the rate matters less to adaptive methods. That {'holds' if holds else 'does not hold'} here: "
        "rates that pass half of the tests, mean of the methods, are "
        + ", ".join(f"{one:.1f} for {what}" for what, one in spans.items())
        + f"; most for `{widest}`, {working(by[widest])}."
    ]


def _weakest(rows: Sequence[dict[str, Any]], best: Sequence[str]) -> list[str]:
    """The noise with which each of the best methods passes least."""
    found = {row["method"]: _by_noise(row) for row in rows if row["method"] in best}
    worst = {label: min(found[label], key=lambda noise: found[label][noise]) for label in best if found[label]}
    told = (f"`{label}` {noise}, {found[label][noise]:.0f} % passed" for label, noise in worst.items())
    return [f"The noise that they bear least: {'; '.join(told)}."] if worst else []


def _of_noise(rows: Sequence[dict[str, Any]]) -> list[str]:
    """How much noise costs."""
    found = [_by_noise(row) for row in rows]
    if not all({"none", "additive 10"} <= mine.keys() for mine in found):
        return []
    still, loud = (statistics.fmean(mine[noise] for mine in found) for noise in ("none", "additive 10"))
    return [
        f"Published: most methods saturate under high noise. That {'holds' if loud < still else 'does not hold'} here: "
        f"tests passed, mean of the methods, {still:.0f} % without noise and {loud:.0f} % with additive noise 10."
    ]


def _by_noise(row: dict[str, Any]) -> dict[str, float]:
    """Noise -> tests of one still coordinate that are good or excellent at the best single rate, in %."""
    letters = row["metrics"]["letters"][pictures.best_rate(row)]
    found = {}
    for noise, places in pictures.kinds(pictures.listed(row)).items():
        mine = [letters[place] for place in places if letters[place] != "-"]
        if noise in NOISES and mine:
            found[noise] = 100 * sum(letter in "EG" for letter in mine) / len(mine)
    return found


def working(row: dict[str, Any]) -> int:
    """The number of rates at which at least half of the tests are good or excellent."""
    return sum(2 * passes(row, lr) >= 1 for lr in row["metrics"]["letters"])


def kept(row: dict[str, Any], lr: str | None = None) -> str:
    """The letters of the tests that are not left out, at a rate or the first."""
    letters = row["metrics"]["letters"]
    return str(letters[lr or next(iter(letters))]).replace("-", "")


def passes(row: dict[str, Any], lr: str) -> float:
    """The share of tests that are good or excellent at a rate."""
    letters = kept(row, lr)
    return sum(letter in "EG" for letter in letters) / len(letters)


def passed_somewhere(row: dict[str, Any]) -> list[bool]:
    """Whether each test is good or excellent at some rate."""
    columns = zip(*row["metrics"]["letters"].values(), strict=True)
    return [any(letter in "EG" for letter in column) for column in columns if "-" not in column]
