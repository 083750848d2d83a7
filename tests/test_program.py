"""Compiling the rules with observations and rewards that people bring along."""

import dataclasses
import importlib
import sys

import numba
import numpy as np
import pytest

from routing_env import Layer, Net, Problem
from routing_env.gym_env import GlobalRouting

STEPS = 3.0  # a name that the rules use for something else

ROW = Problem(4, 1, (Layer(2, 0),), (Net("a", "0", ((0, 0, 1), (3, 0, 1))),))


def write_own_number(b, row, room, connections, state, out):
    """Write a number of this module."""
    out[row, 0] = STEPS


@dataclasses.dataclass(frozen=True)
class Own:
    """An observation from outside the package."""

    write: object

    def bounds(self, problem):
        return np.zeros(1, np.float32), np.full(1, 100, np.float32)


def test_names_of_a_plug_in_win_over_those_of_the_rules():
    obs, _ = GlobalRouting(ROW, observation=Own(write_own_number)).reset()
    assert obs.tolist() == [3.0]


def test_an_observation_made_at_a_prompt_is_compiled():
    namespace = {}
    exec("def write(b, row, room, connections, state, out):\n    out[row, 0] = 7.0 + state[b, 0]", namespace)
    env = GlobalRouting(ROW, observation=Own(namespace["write"]))
    obs, _ = env.reset()
    assert obs.tolist() == [7.0]
    assert env.step(0)[0].tolist() == [8.0]


def doubled(value):
    return 2.0 * value


def two_more(value):
    return doubled(value) + 2.0


def write_by_others(b, row, room, connections, state, out):
    """Write what two functions of this module make of the steps so far; one calls the other."""
    out[row, 0] = two_more(state[b, 9]) + doubled(STEPS)


def test_plain_functions_that_a_plug_in_refers_to_are_compiled_with_it():
    env = GlobalRouting(ROW, observation=Own(write_by_others))
    assert env.reset()[0].tolist() == [8.0]
    assert env.step(0)[0].tolist() == [10.0]


def test_code_on_disk_notices_a_change_in_a_function_that_a_plug_in_refers_to(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "plug_in_that_stays.py").write_text(
        "from part_that_changes import number\n"
        "def write(b, row, room, connections, state, out):\n    out[row, 0] = number()\n"
    )
    for text in ("7.0", "11.0"):
        (tmp_path / "part_that_changes.py").write_text(f"def number():\n    return {text}\n")
        for name in ("plug_in_that_stays", "part_that_changes"):
            sys.modules.pop(name, None)
        importlib.invalidate_caches()
        write = importlib.import_module("plug_in_that_stays").write
        assert GlobalRouting(ROW, observation=Own(write)).reset()[0].tolist() == [float(text)]


def test_functions_of_a_plug_in_that_call_each_other_without_end_do_not_hang():
    namespace = {}
    exec(
        "def down(n):\n    return up(n - 1) if n > 0 else 5.0\n"
        "def up(n):\n    return down(n)\n"
        "def write(b, row, room, connections, state, out):\n    out[row, 0] = up(state[b, 0])",
        namespace,
    )
    with pytest.raises(numba.TypingError, match="Untyped global name"):
        GlobalRouting(ROW, observation=Own(namespace["write"])).reset()


def test_wires_of_a_failed_connection_belong_to_nobody():
    problem = Problem(7, 1, (Layer(2, 0),), (Net("a", "0", ((3, 0, 1), (0, 0, 1), (6, 0, 1))),))
    env = GlobalRouting(problem, max_steps=3)
    _, info = env.reset()
    first = env.state.connections[0, 0].tolist()
    away = 0 if first[2] < first[1] else 1  # three steps away from the first target, over the other half
    for _ in range(3):
        _, _, over, _, info = env.step(away)
    assert not over
    for _ in range(3):
        _, reward, over, _, info = env.step(away)
    assert over
    assert (info["routed"], reward) == (1, 100.0)
    assert env.solution().edges[0].tolist() == ([9, 12, 15] if away == 0 else [0, 3, 6])
    assert env.state.room[0, 3, away] == 0  # the failed wire's length unit stays taken beside the new one
