"""Small populations for tests: netlists that are learnt in a few passes, their members, and rows without times."""

from agents import records
from agents.config import TrainConfig
from agents.members import Member
from routing_env.generators.published import published_set
from routing_env.routers import exact

TIMES = ("wall_seconds", "cpu_seconds", "commit")
"""what differs from run to run; the checkout may move on in between, too"""


def netlists(count=4, seed=3, nets=3):
    return published_set(count, seed=seed, width=4, height=4, nets=nets, capacity=3)


def config(**changes):
    small = {
        "optimizer": "adam", "passes": 12, "learning_starts": 5, "max_steps": 20, "batch": 32, "train_every": 1,
        "updates": 2, "replay": 400, "hidden": (32, 32), "target_every": 7, "demonstrations": 3, "learning_rate": 0.003,
    }  # fmt: skip
    return TrainConfig(**small | changes)


def members(count=4, bounds=False, rate=None, **changes):
    return [
        Member(problem, f"net{i}", 10 + i, rate, exact.bound(problem).value if bounds else None)
        for i, problem in enumerate(netlists(count, **changes))
    ]


def without_times(rows, *others):
    """Rows without times, and without metrics of some names."""
    return [
        {name: value for name, value in row.items() if name not in TIMES}
        | {"metrics": {name: value for name, value in row["metrics"].items() if name not in others}}
        for row in rows
    ]


def rows_of(folder):
    return without_times(records.read_rows(folder / "rows.jsonl"))
