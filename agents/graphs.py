"""What a population does again and again as CUDA graphs: each kind of work is recorded once and replayed from then on.

Work of one kind has to issue the same operations on the same tensors: what it decides on the host, it decides by its
kind alone. The first ``WARM_UP`` times it is carried out on a side stream, which loads kernels and makes what lasts;
then it is recorded on that stream, which carries nothing out, and replayed on the current one.

A recording knows tensors by their place: whoever replaces one calls ``forget``. Numbers of the host are not recorded: a
replay adds to them what the recorded work added. Random numbers need no care, because their counter lies on the device
(``draws.py``). Nor do the environment's kernels: they are launched on torch's current stream, on views made once and
compiled before, and a launch allocates nothing and waits for nothing.

All recordings share one memory for what they need in between. That is sound because none of it is read after the work
that made it: whatever lasts is changed in place.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from agents.config import TrainConfig
from optimizers.capturing import obstacle

__all__ = ["GRAPHS", "Graphs", "OnDevice", "Recorder", "use_graphs"]

GRAPHS = ("auto", "on", "off")
WARM_UP = 3
"""times that work is carried out before it is recorded, as many as in torch's documentation"""
Work = Callable[[], None]


def use_graphs(asked: str, config: TrainConfig, device: str) -> bool:
    """Whether a population on this device replays CUDA graphs.

    Args:
        asked: ``auto`` for wherever that is possible, ``on`` or ``off``.
        config: of the population.
        device: where it lies.

    Raises:
        ValueError: ``asked`` is none of these, or ``on`` where it is not possible; the text says why.
    """
    if asked not in GRAPHS:
        raise ValueError(f"graphs {asked!r} is none of {', '.join(GRAPHS)}")
    why = obstacle(config.optimizer, config.optimizer_options)
    if device.partition(":")[0] != "cuda":
        why = f"device {device!r} has no CUDA graphs"
    if asked == "on" and why:
        raise ValueError(f"graphs 'on': {why}; take auto or off")
    return asked != "off" and not why


class Recorder(Protocol):
    """Carries work out, or records it."""

    def aside(self, work: Work) -> None:
        """Carry work out where it will be recorded."""

    def record(self, work: Work) -> Work:
        """What carries the work out, this time and whenever it is called again."""

    def forget(self) -> None:
        """Get ready for what was recorded to be dropped."""


class OnDevice:
    """Records CUDA graphs on a stream of its own, which is also where work warms up.

    Raises:
        ValueError: the device is no CUDA device.
    """

    def __init__(self, device: torch.device) -> None:
        if device.type != "cuda":
            raise ValueError(f"device {str(device)!r} has no CUDA graphs")
        self.device = device
        self.stream = torch.cuda.Stream(device)
        self.memory = torch.cuda.graph_pool_handle()

    def aside(self, work: Work) -> None:
        """Carry work out on the side stream, between what was asked for before and what will be after."""
        here = torch.cuda.current_stream(self.device)
        self.stream.wait_stream(here)
        with torch.cuda.stream(self.stream):
            work()
        here.wait_stream(self.stream)

    def record(self, work: Work) -> Work:
        """Record work as a graph; its replays run on the stream that is current then."""
        made = torch.cuda.CUDAGraph()
        with torch.cuda.device(self.device), torch.cuda.graph(made, pool=self.memory, stream=self.stream):
            work()
        return made.replay

    def forget(self) -> None:
        """Wait until no replay is under way; later graphs share another memory."""
        torch.cuda.synchronize(self.device)
        self.memory = torch.cuda.graph_pool_handle()  # one whose last graph is gone cannot be taken again


class Recording(NamedTuple):
    """Work that was recorded."""

    again: Work
    added: dict[str, int]
    """what it adds to numbers of the host"""


class Graphs:
    """Recordings by kind of work.

    Args:
        recorder: what carries work out and records it.
        memory: what the work remembers on the host by name: tensors that it changes in place, and whole numbers.
    """

    def __init__(self, recorder: Recorder, memory: Callable[[], dict[str, Any]]) -> None:
        self.recorder, self.memory = recorder, memory
        self.made: dict[Hashable, Recording] = {}
        self.seen: Counter[Hashable] = Counter()

    def run(self, kind: Hashable, work: Work) -> None:
        """Carry out work of a kind, from a recording where there is one or it is time to make one.

        Raises:
            RuntimeError: it cannot be recorded.
        """
        if kind not in self.made:
            if self.seen[kind] < WARM_UP:
                self.seen[kind] += 1
                self.recorder.aside(work)
                return
            self.made[kind] = self._record(kind, work)
        recording = self.made[kind]
        recording.again()
        memory = self.memory()
        for name, more in recording.added.items():
            memory[name] += more

    def _record(self, kind: Hashable, work: Work) -> Recording:
        memory = self.memory()
        before = dict(memory)
        try:
            again = self.recorder.record(work)
        except RuntimeError as error:
            raise RuntimeError(f"work of kind {kind} cannot be a CUDA graph ({error}); take graphs off") from error
        added = added_to(before, memory)
        memory.update(before)
        return Recording(again, added)

    def forget(self) -> None:
        """Drop all recordings: tensors will be replaced."""
        if self.made:
            self.recorder.forget()
        self.made.clear()
        self.seen.clear()


def added_to(before: dict[str, Any], after: dict[str, Any]) -> dict[str, int]:
    """What was added to whole numbers of a memory.

    Raises:
        RuntimeError: something else was changed other than in place, which a replay would not do.
    """
    added = {}
    for name in before.keys() | after.keys():
        old, new = before.get(name), after.get(name)
        if type(old) is int and type(new) is int:
            if new != old:
                added[name] = new - old
        elif new is not old and (isinstance(old, Tensor) or isinstance(new, Tensor) or new != old):
            raise RuntimeError(
                f"{name!r} of the memory was replaced by work that was recorded: it must change in place"
            )
    return added
