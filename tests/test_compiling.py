"""A time limit is for routing: what a router runs is compiled before its clock starts."""

import json
import os
import subprocess
import sys

import pytest

COUNT = """
import gc, importlib, json, sys
from numba.core.dispatcher import Dispatcher
from routing_env.generators.published import published
from routing_env.routers import _protocol

def compiled():
    kernels = [one for one in gc.get_objects() if isinstance(one, Dispatcher)]
    names = [f"{one.py_func.__module__}.{one.py_func.__qualname__}" for one in kernels]
    found = {name: len(one.signatures) for name, one in zip(names, kernels)}
    return {name: count for name, count in found.items() if name.startswith("routing_env")}

router = importlib.import_module(f"routing_env.routers.{sys.argv[1]}")
problems = [published(seed=0), published(seed=3, nets=70)]  # the second overfills
at_start = []

class Watched(_protocol.Clock):
    def __init__(self, time_limit=None, after=None):
        super().__init__(time_limit, after)
        if time_limit is not None:
            at_start.append(compiled())

router.Clock = Watched
calls = [getattr(router, name) for name in ("bound", "proves_unroutable", "paths", "route") if hasattr(router, name)]
for problem in problems:
    for call in calls:
        call(problem, time_limit=100.0)
print(json.dumps([at_start[0], compiled(), len(at_start), len(calls)]))
"""


ENTRIES = {
    "astar": ["routers.astar._chunk", "_steiner.edge_costs"],
    "negotiated": ["routers._rounds.sweep", "routers._escape.trials"],
    "exact": ["_steiner.edge_costs", "_steiner.labels", "_steiner.tree"],
}
"""kernels that Python calls; those that they call have no code of their own where theirs comes from the disk"""


@pytest.mark.parametrize("router", ENTRIES)
def test_no_kernel_is_compiled_while_the_clock_runs(router):
    command = [sys.executable, "-c", COUNT, router]
    output = subprocess.run(command, capture_output=True, text=True, check=True, env=os.environ).stdout
    first, last, started, calls = json.loads(output)
    assert all(first[f"routing_env.{name}"] for name in ENTRIES[router])
    assert first == last
    assert started >= 2 * calls


@pytest.mark.parametrize("router", ENTRIES)
def test_compiling_counts_once_a_process(router):
    code = f"""
from routing_env.routers import {router}
from routing_env.routers._protocol import SAMPLE
{router}.route(SAMPLE)
before = {router}._compile.cache_info()
{router}.route(SAMPLE)
after = {router}._compile.cache_info()
print(before.misses, after.misses, after.hits > before.hits)
"""
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert output.split() == ["1", "1", "True"]
