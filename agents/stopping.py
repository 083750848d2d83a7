"""Runs that are asked to stop, and folders that one process works in at a time."""

from __future__ import annotations

import fcntl
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

__all__ = ["Interrupted", "alone", "asked_to_stop"]


class Interrupted(KeyboardInterrupt):
    """The run was asked to stop; its checkpoint is written."""


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Wait until no other process works in the folder, such as one whose parent was killed a moment ago."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@contextmanager
def asked_to_stop() -> Iterator[Callable[[], bool]]:
    """While open, SIGINT and SIGTERM are a wish to stop; the second of a kind stops at once.

    A worker gets SIGINT from the terminal and then SIGTERM from its parent, which got SIGINT, too: that is one wish.
    """
    wishes: list[int] = []

    def ask(number: int, frame: FrameType | None) -> None:
        if number in wishes:
            raise KeyboardInterrupt
        wishes.append(number)

    before: dict[signal.Signals, Any] = {}
    try:
        for number in (signal.SIGINT, signal.SIGTERM):
            before[number] = signal.signal(number, ask)
    except ValueError:  # not the main thread: whoever owns it handles signals
        before = {}
    try:
        yield lambda: bool(wishes)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
