"""What the netlist formats share: titled lines, nets with their pins, and the last check."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Protocol

from routing_env.formats._text import Lines, short
from routing_env.problem import Net, Problem, ProblemError, check_net

__all__ = ["Netlist", "after", "at_line", "end", "nets", "stem"]


class Netlist(Protocol):
    """A netlist format: the first name in ``__all__`` of a file in this folder."""

    suffixes: tuple[str, ...]
    first_line: str

    @staticmethod
    def recognises(words: list[str]) -> bool:
        """Whether these words of a file's first line are this format's."""

    @staticmethod
    def parse(text: str, path: str | Path) -> Problem:
        """Read the text of a netlist; raises FormatError."""

    @staticmethod
    def format(problem: Problem) -> str:
        """The text of a problem; raises ValueError where the format cannot hold it."""


def stem(path: str | Path) -> str:
    """The name of a problem read from this file."""
    return Path(path).name.split(".")[0]


@contextmanager
def at_line(lines: Lines) -> Iterator[None]:
    """Name the line read last in any rule that a Problem finds broken."""
    try:
        yield
    except ProblemError as error:
        raise lines.fail(str(error)) from error


def after(lines: Lines, title: str, count: int) -> list[str]:
    """The ``count`` words after a title at the next line's start."""
    words = lines.next(f"'{title} ...'")
    head = title.split()
    if [word.lower() for word in words[: len(head)]] != head:
        raise lines.fail(f"expected '{title} ...', got {short(words)}")
    if len(words) - len(head) != count:
        raise lines.fail(f"{title}: {len(words) - len(head)} values, expected {count}")
    return words[len(head) :]


def nets(lines: Lines, frame: Problem, *, planar: bool) -> tuple[Net, ...]:
    """All nets after ``num net N``, each ``NAME ID PINS [MIN_WIDTH]`` and its pin lines.

    Args:
        lines: the file, just before ``num net``.
        frame: the problem without nets; every net is checked against it at its own line.
        planar: pins are ``x y`` on layer 1 and the width may be missing; else ``x y layer``.
    """
    (count,) = lines.integers(after(lines, "num net", 1), "the number of nets", least=0)
    found: dict[str, Net] = {}
    for words in islice(lines, count):
        net = _net(lines, frame, words, planar)
        if net.name in found:
            raise lines.fail(f"net name {short(net.name)} occurs twice; this one ends here")
        found[net.name] = net
    if len(found) < count:
        raise lines.cut_off(f"net {len(found) + 1} of {count}")
    return tuple(found.values())


def _net(lines: Lines, frame: Problem, words: list[str], planar: bool) -> Net:
    form = "'NAME ID PINS [MIN_WIDTH]'" if planar else "'NAME ID PINS MIN_WIDTH'"
    if len(words) != 4 and not (planar and len(words) == 3):
        raise lines.fail(f"expected {form}, got {short(words)}")
    name, number = words[:2]
    expected, width, *_ = [*lines.integers(words[2:], form, least=0), 1]
    with at_line(lines):
        check_net(frame, Net(name, number, (), width))
    pins: list[tuple[int, int, int]] = []
    sides, form = (2, "'x y'") if planar else (3, "'x y layer'")
    for words in islice(lines, expected):
        if len(words) != sides:
            what = f"net {short(name)} has {expected} pins but {len(pins)} pin lines"
            raise lines.fail(f"{what}; expected {form}, got {short(words)}")
        at = lines.integers(words, form)
        pin = (at[0], at[1], 1 if planar else at[2])
        if not _holds(frame, pin):
            with at_line(lines):
                check_net(frame, Net(name, number, (pin,), width))
        pins.append(pin)
    if len(pins) < expected:
        raise lines.cut_off(f"pin {len(pins) + 1} of {expected} of net {short(name)}")
    return Net(name, number, tuple(pins), width)


def _holds(frame: Problem, pin: tuple[int, int, int]) -> bool:
    """Whether the pin's tile exists: the quick half of ``check_net``, which then says what is wrong."""
    x, y, layer = frame.tile_of(pin)
    return 0 <= x < frame.width and 0 <= y < frame.height and 0 <= layer < len(frame.layers)


def end(lines: Lines, last: str) -> None:
    """Refuse anything more."""
    for words in lines:
        raise lines.fail(f"{short(words)} follows the last of {last}")
