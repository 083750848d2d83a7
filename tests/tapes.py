"""CUDA graphs without CUDA: a tape holds the operations of some work with the very tensors they were given.

Playing it issues the same operations on the same memory again, with the numbers of the host as they were, which is what
the replay of a graph does. Code that asks whether tensors lie on the host is told that they do not.
"""

from contextlib import contextmanager
from typing import NamedTuple

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

from agents.graphs import Graphs

READS = ("_local_scalar_dense", "is_nonzero", "nonzero", "masked_select", "equal", "lift_fresh", "_unique2")
"""operations that read the device, or copy from the host"""


class Call(NamedTuple):
    """An operation or a launched kernel."""

    function: object
    args: tuple
    options: dict
    out: object


class Tape(TorchDispatchMode):
    """What was called while it was open."""

    def __init__(self):
        super().__init__()
        self.calls = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **kwargs or {})
        if func.namespace != "profiler":
            self.calls.append(Call(func, args, kwargs or {}, out))
        return out

    def play(self):
        """Call it all again; what an operation made lies where it lay."""
        for call in self.calls:
            found = call.function(*call.args, **call.options)
            for old, new in zip(tree_leaves(call.out), tree_leaves(found), strict=True):
                if isinstance(old, torch.Tensor) and old.data_ptr() != new.data_ptr():
                    old.copy_(new)

    def reads(self):
        """Names of the operations that a graph could not hold."""
        found = set()
        for call in self.calls:
            name = str(call.function).removeprefix("aten.").partition(".")[0]
            masks = name.startswith("index") and any(
                isinstance(one, torch.Tensor) and one.dtype is torch.bool for one in tree_leaves(call.args[1])
            )
            if name in READS or masks:
                found.add(name)
        return found

    def story(self):
        """The calls in a form to compare: memory from before by its place, what was made by its number."""
        made, before, told = {}, set(), []

        def named(one):
            if isinstance(one, np.ndarray):
                return "kept", one.ctypes.data, one.shape
            if not isinstance(one, torch.Tensor):
                return one
            place = one.untyped_storage().data_ptr()
            if place in made:
                return "made", made[place], one.storage_offset(), one.shape, one.stride(), one.dtype
            before.add(place)
            return "kept", one.data_ptr(), one.shape, one.stride(), one.dtype

        for call in self.calls:
            given = tree_map(named, (call.args, call.options))
            for one in tree_leaves(call.out):
                place = one.untyped_storage().data_ptr() if isinstance(one, torch.Tensor) else None
                if place is not None and place not in before:
                    made.setdefault(place, len(made))
            told.append((str(call.function), given))
        return told, before


class OnTape:
    """Records tapes. Unlike a graph's, the recording of a tape is carried out: it stands for the first replay."""

    def __init__(self):
        self.open = None

    def aside(self, work):
        work()

    def record(self, work):
        with Tape() as self.open:
            work()
        tape, self.open = self.open, None
        done = [True]
        return lambda: done.pop() if done else tape.play()

    def forget(self):
        pass


@contextmanager
def taken_for_a_device(found):
    """A population on the CPU whose code does what it does where tensors lie on a device."""
    play = found.env._play

    def launch(*args):
        play(*args)
        tape = found.graphs and found.graphs.recorder.open
        if tape is not None:
            tape.calls.append(Call(play, args, {}, None))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.Tensor, "is_cpu", False, raising=False)
        patch.setattr(found.env, "_play", launch)
        for thing in (found, found.env):
            patch.setattr(thing, "device", torch.device("cuda"))
        yield found


def taped(found):
    """Let a population record tapes instead of graphs."""
    found.graphs = Graphs(OnTape(), lambda: found.optimizer.memory)
    return found


def lasting(thing, found=None):
    """Where the memory of all tensors lies that an object holds, itself or through what it is made of."""
    found = {} if found is None else found
    if id(thing) in found:
        return set()
    found[id(thing)] = thing  # held, so that no other gets its number
    if isinstance(thing, torch.Tensor):
        return {thing.untyped_storage().data_ptr()}
    if isinstance(thing, dict):
        parts = list(thing.values())
    elif isinstance(thing, (list, tuple)):
        parts = list(thing)
    else:
        ours = type(thing).__module__.split(".")[0] in ("agents", "optimizers", "routing_env")
        parts = list(vars(thing).values()) if ours and hasattr(thing, "__dict__") else []
    return set().union(*(lasting(part, found) for part in parts))
