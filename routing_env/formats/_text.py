"""Reading a file line by line with errors that name file, line, value and rule; writing one whole or not at all."""

from __future__ import annotations

import bz2
import gzip
import io
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

__all__ = ["FormatError", "Lines", "open_text", "save_text", "short", "unpack"]

LARGEST_FILE = 2**29
"""bytes; four times the largest netlist of the contests"""
UNSUSPECTED = 2**26
LARGEST_RATIO = 100
"""a packed file may grow to ``UNSUSPECTED`` bytes, and beyond only by this ratio: netlists shrink to 1/5 .. 1/20"""
SUFFIXES = (".gz", ".bz2")


class FormatError(ValueError):
    """A file that breaks its format; the text names file, line, value and rule."""


def short(words: str | list[str], most: int = 60) -> str:
    """A quoted value for an error text: one line, not longer than the reader's patience."""
    text = words if isinstance(words, str) else " ".join(words[:most])
    return repr(text) if len(text) <= most else f"{text[:most]!r}..."


def open_text(path: str | Path) -> str:
    """The text of a plain, .gz or .bz2 file.

    Raises:
        FormatError: not text, cut off, damaged, or unpacked larger than 512 MiB or 100 times its size.
        OSError: the file cannot be read.
    """
    path = Path(path)
    packed = path.suffix in SUFFIXES
    with open(path, "rb") as file:
        data = _unpacked(file, path, path.stat().st_size) if packed else file.read(LARGEST_FILE + 1)
    return _decoded(data, path)


def unpack(data: bytes, path: str | Path) -> str:
    """The text in a file's bytes; ``path`` says by its suffix how they are packed, and names them in errors.

    Raises:
        FormatError: as ``open_text``.
    """
    path = Path(path)
    if path.suffix in SUFFIXES:
        data = _unpacked(io.BytesIO(data), path, len(data))
    return _decoded(data, path)


def _unpacked(file: BinaryIO, path: Path, size: int) -> bytes:
    limit = max(UNSUSPECTED, min(LARGEST_FILE, LARGEST_RATIO * size))
    opener = gzip.open if path.suffix == ".gz" else bz2.open
    try:
        with opener(file, "rb") as stream:
            data: bytes = stream.read(limit + 1)
    except (EOFError, OSError, zlib.error) as error:
        # the decompressors raise OSError without a number for damaged data; with one it is the disk's
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise FormatError(f"{path}: damaged {path.suffix[1:]} file: {error}") from error
    if len(data) > limit:
        raise FormatError(f"{path}: {size:,} bytes unpack to more than {limit:,}")
    return data


def _decoded(data: bytes, path: Path) -> str:
    if len(data) > LARGEST_FILE:
        raise FormatError(f"{path}: larger than {LARGEST_FILE:,} bytes")
    try:
        return data.decode("utf-8-sig")  # some editors put a mark before the first word
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise FormatError(f"{path}:{line}: byte {data[error.start]:#04x} is not text (UTF-8)") from error


def save_text(text: str, path: str | Path) -> None:
    """Write a text, packed where the name ends in .gz or .bz2; equal texts give equal bytes."""
    path = Path(path)
    data = text.encode()
    if path.suffix == ".gz":
        data = gzip.compress(data, mtime=0)
    elif path.suffix == ".bz2":
        data = bz2.compress(data)
    partial = path.with_name(path.name + ".partial")
    try:
        partial.write_bytes(data)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


class Lines:
    """The non-blank lines of a text as words, with their numbers.

    Iterating yields lists of words and goes on where the last loop stopped; ``fail`` makes the error for the line
    read last.
    """

    def __init__(self, text: str, path: str | Path) -> None:
        """Walk ``text``; ``path`` only names it in errors."""
        self.path = path
        self.number = 0
        self._text = text
        self._at = 0

    def __iter__(self) -> Iterator[list[str]]:
        """Yield the words of each non-blank line."""
        # one line at a time: a list of all lines takes eight bytes for each newline of a file of newlines
        text, size = self._text, len(self._text)
        while self._at < size:
            end = text.find("\n", self._at)
            words = text[self._at : end if end >= 0 else size].split()
            self._at = end + 1 if end >= 0 else size
            self.number += 1
            if words:
                yield words

    def next(self, expected: str) -> list[str]:
        """The words of the next non-blank line.

        Raises:
            FormatError: the file ends here.
        """
        for words in self:
            return words
        raise self.cut_off(expected)

    def fail(self, message: str) -> FormatError:
        """An error at the line read last."""
        return FormatError(f"{self.path}:{self.number}: {message}")

    def cut_off(self, expected: str) -> FormatError:
        """The error for a file that ends early."""
        return self.fail(f"the file ends where {expected} is expected")

    def integers(self, words: list[str], expected: str, *, least: int | None = None) -> list[int]:
        """Convert words to integers.

        Raises:
            FormatError: a word is no integer of at most 18 digits, or lies below ``least``.
        """
        values = []
        for word in words:
            digits = word[1:] if word[0] in "+-" else word
            if not (digits.isascii() and digits.isdigit() and len(digits) <= 18):
                raise self.fail(f"{short(word)} is not an integer of at most 18 digits; expected {expected}")
            value = int(word)
            if least is not None and value < least:
                raise self.fail(f"{word} is below {least}; expected {expected}")
            values.append(value)
        return values
