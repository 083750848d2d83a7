"""The rules compiled together with one observation and one reward.

For each target every plain function is rebuilt on a namespace that already holds the compiled helpers, so the same
source serves the CPU (numba's njit) and, with another compiler, a GPU. Compiled code is kept on disk under a name that
holds a digest of every source that went in.
"""

from __future__ import annotations

import hashlib
import inspect
import types
from collections.abc import Callable
from functools import lru_cache
from typing import Any, NamedTuple

from numba import njit

from routing_env import rules
from routing_env._kernel import kernel

__all__ = ["Program", "program"]

HELPERS = (
    "gap_of", "edge_of", "demand_of", "undo", "open_connection", "open_pass",
    "close_connection", "close_pass", "play", "leave_connection", "write_mask", "step_one", "step_many", "begin_many",
)  # fmt: skip


COLD = ("undo", "open_connection", "open_pass", "close_connection", "close_pass", "leave_connection")


class Program(NamedTuple):
    """Compiled entry points; see ``rules.py`` for what each does."""

    step_one: Callable[..., Any]
    step_many: Callable[..., Any]
    begin_many: Callable[..., Any]


@lru_cache(maxsize=32)
def program(observe: Callable[..., None], reward: Callable[..., float]) -> Program:
    """Compile the rules for the CPU with an observation's and a reward's plain function."""
    sources = [_source(f) for f in (rules.play, observe, reward)]
    digest = hashlib.sha256("\0".join(sources).encode()).hexdigest()[:16]
    namespace = dict(vars(rules))
    named = {"observe": observe, "reward": reward} | {name: getattr(rules, name) for name in HELPERS}
    for name, function in named.items():
        namespace[name] = _njit(function, name, digest, namespace)
    return Program(*(namespace[name] for name in Program._fields))


def _source(function: Callable[..., Any]) -> str:
    """All that the compiled form of a plain function depends on: its module's text and the values it refers to."""
    code = function.__code__
    values = {name: repr(function.__globals__.get(name)) for name in code.co_names}
    cells = [cell.cell_contents for cell in function.__closure__ or ()]
    try:
        text = inspect.getsource(inspect.getmodule(function) or function)
    except (OSError, TypeError):  # made at a prompt
        text = repr((code.co_code, code.co_consts))
    plain = {name: value for name, value in values.items() if " at 0x" not in value}
    return repr((text, plain, cells))


def _njit(function: Callable[..., Any], name: str, digest: str, namespace: dict[str, Any]) -> Any:
    own, plain = function.__globals__, vars(rules)
    seen = own | {n: value for n, value in namespace.items() if n not in own or own[n] is plain.get(n)}
    rebuilt = types.FunctionType(function.__code__, seen, name, None, function.__closure__)
    rebuilt.__module__ = function.__module__
    rebuilt.__qualname__ = f"{name}_{digest}"
    # Only entry points are kept on disk: they hold their helpers' code. Helpers are inlined where they are hot: a call
    # would pass every field of every array.
    if name in Program._fields:
        return kernel(rebuilt, nogil=True, error_model="numpy")
    return njit(rebuilt, nogil=True, error_model="numpy", forceinline=name not in COLD)
