"""Work done by several processes of this machine together, joined by torch.distributed's gloo; and what they send.

A function is given to each process with its rank; what the processes return comes back in the order of their ranks.
"""

from __future__ import annotations

import dataclasses
import multiprocessing
import multiprocessing.connection
import os
import pickle
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import torch
import torch.distributed as distributed
from torch import Tensor

__all__ = ["Sent", "sent", "together"]

Work = Callable[..., Any]


@dataclasses.dataclass
class Sent:
    """What was averaged over the processes: calls of all-reduce, and the numbers and bytes of their tensors."""

    calls: int = 0
    numbers: int = 0
    bytes: int = 0


@contextmanager
def sent() -> Iterator[Sent]:
    """Count what this process gives to ``torch.distributed.all_reduce``."""
    found, before = Sent(), distributed.all_reduce

    def counted(tensor: Tensor, *args: Any, **kwargs: Any) -> Any:
        found.calls += 1
        found.numbers += tensor.numel()
        found.bytes += tensor.numel() * tensor.element_size()
        return before(tensor, *args, **kwargs)

    distributed.all_reduce = counted
    try:
        yield found
    finally:
        distributed.all_reduce = before


def together(work: Work, processes: int, *args: Any) -> list[Any]:
    """What ``work(rank, processes, *args)`` returns in each of so many processes, which have one thread each.

    One is this process; more are new ones, a group of gloo. Work, arguments and what is returned must be picklable.

    Raises:
        ValueError: fewer than one process.
        RuntimeError: a process failed; the text has its traceback. The others are ended.
    """
    if processes < 1:
        raise ValueError(f"processes must be at least 1, got {processes}")
    if processes == 1:
        return [_alone(work, args)]
    context = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        group = [context.Process(target=_one, args=(work, rank, processes, folder, args)) for rank in range(processes)]
        try:
            for one in group:
                one.start()
            _wait(group, folder)
        finally:
            for one in group:
                if one.is_alive():
                    one.terminate()
        return [pickle.loads((folder / f"{rank}.found").read_bytes()) for rank in range(processes)]


def _alone(work: Work, args: tuple[Any, ...]) -> Any:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return work(0, 1, *args)
    finally:
        torch.set_num_threads(threads)


def _wait(group: Sequence[BaseProcess], folder: Path) -> None:
    """Until all have ended well.

    Raises:
        RuntimeError: one has not.
    """
    waiting = dict(enumerate(group))
    while waiting:
        multiprocessing.connection.wait([one.sentinel for one in waiting.values()])
        for rank in [rank for rank, one in waiting.items() if not one.is_alive()]:
            code, said = waiting.pop(rank).exitcode, folder / f"{rank}.error"
            if code != 0:
                text = said.read_text() if said.exists() else f"ended with code {code}"
                raise RuntimeError(f"process {rank} of {len(group)}: {text}")


def _one(work: Work, rank: int, processes: int, folder: Path, args: tuple[Any, ...]) -> None:
    torch.set_num_threads(1)
    try:
        store = distributed.FileStore(str(folder / "store"), processes)
        distributed.init_process_group("gloo", store=store, rank=rank, world_size=processes)
        found = work(rank, processes, *args)
        (folder / f"{rank}.found").write_bytes(pickle.dumps(found))
        distributed.barrier()  # who leaves first must not break the connections of the others
        distributed.destroy_process_group()
        code = 0
    except BaseException:
        (folder / f"{rank}.error").write_text(traceback.format_exc())
        code = 1
    sys.stderr.flush()
    os._exit(code)  # in an ordinary exit threads of gloo that still run sometimes abort the process
