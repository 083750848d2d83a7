"""The rules compiled together with one observation and one reward.

For each target every plain function, and every plain function that it refers to, is rebuilt on a namespace that already
holds the compiled ones, so the same source serves the CPU (numba's njit) and CUDA. Code for the CPU is kept on disk
under a name that holds a digest of every source that went in.
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

__all__ = ["DeviceProgram", "Program", "device_program", "program"]

COLD = ("undo", "open_connection", "open_pass", "close_connection", "close_pass", "leave_connection")

Plain = types.FunctionType


class Program(NamedTuple):
    """Compiled entry points; see ``rules.py`` for what each does."""

    step_one: Callable[..., Any]
    step_many: Callable[..., Any]
    begin_many: Callable[..., Any]


class DeviceProgram(NamedTuple):
    """CUDA kernels of one dimension, one thread a problem; see ``rules.py`` for what each does."""

    step_thread: Any
    begin_thread: Any


@lru_cache(maxsize=32)
def program(observe: Callable[..., None], reward: Callable[..., float]) -> Program:
    """Compile the rules for the CPU with an observation's and a reward's plain function."""
    # every file of the package is in the digest of ``kernel`` already; plug-ins may come from outside
    sources = [_source(rules.play), *map(_source, _reached(observe)), *map(_source, _reached(reward))]
    digest = hashlib.sha256("\0".join(sources).encode()).hexdigest()[:16]

    def compiled(plain: Plain) -> Any:
        name = plain.__name__
        plain.__qualname__ = f"{name}_{digest}"
        # Only entry points are kept on disk: they hold their helpers' code. Helpers are inlined where they are hot: a
        # call would pass every field of every array.
        if _is_entry(plain, Program):
            return kernel(plain, nogil=True, error_model="numpy")
        return njit(plain, nogil=True, error_model="numpy", forceinline=name not in COLD)

    return Program(*_rebuilt(Program._fields, observe, reward, compiled))


@lru_cache(maxsize=32)
def device_program(observe: Callable[..., None], reward: Callable[..., float]) -> DeviceProgram:
    """Compile the rules for CUDA (or numba's simulator of it) with an observation's and a reward's plain function."""
    from numba import cuda

    def compiled(plain: Plain) -> Any:
        return cuda.jit(plain, device=not _is_entry(plain, DeviceProgram))

    return DeviceProgram(*_rebuilt(DeviceProgram._fields, observe, reward, compiled, cuda=cuda))


def _is_entry(plain: Plain, of: type[Program] | type[DeviceProgram]) -> bool:
    return plain.__module__ == rules.__name__ and plain.__name__ in of._fields


def _rebuilt(
    entries: tuple[str, ...], observe: Any, reward: Any, compiled: Callable[[Plain], Any], **supplied: Any
) -> list[Any]:
    """The compiled form of entry points of the rules, made after all that they refer to."""
    made: dict[Plain, Any] = {}

    def make(plain: Plain) -> Any:
        for each in _reached(plain):
            if each not in made:
                seen = {name: made.get(value, value) if isinstance(value, Plain) else value
                        for name, value in each.__globals__.items()}  # fmt: skip
                if each.__globals__ is vars(rules):
                    seen |= supplied
                rebuilt = Plain(each.__code__, seen, each.__name__, each.__defaults__, each.__closure__)
                rebuilt.__module__ = each.__module__
                made[each] = compiled(rebuilt)
        return made[plain]

    supplied |= {"observe": make(observe), "reward": make(reward)}
    return [make(getattr(rules, name)) for name in entries]


def _reached(plain: Any, before: tuple[Plain, ...] = ()) -> list[Plain]:
    """The plain functions that a plain function refers to by name, directly or not, and then itself."""
    named = [plain.__globals__.get(name) for name in plain.__code__.co_names]
    found: dict[Plain, None] = {}
    for each in named:
        if isinstance(each, Plain) and each is not plain and each not in before:
            found |= dict.fromkeys(_reached(each, (*before, plain)))
    return [*found, plain]


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
