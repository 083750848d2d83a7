"""Reading a file line by line with errors that name file, line, value and rule."""

from __future__ import annotations

import bz2
import gzip
import zlib
from collections.abc import Iterator
from pathlib import Path

__all__ = ["FormatError", "Lines", "open_text"]

LARGEST_FILE = 2**30
_OPENERS = {".gz": gzip.open, ".bz2": bz2.open}


class FormatError(ValueError):
    """A file that breaks its format; the text names file, line, value and rule."""


def open_text(path: str | Path) -> str:
    """The text of a plain, .gz or .bz2 file.

    Raises:
        FormatError: not text, damaged, or unpacked larger than 1 GiB.
        OSError: the file cannot be read.
    """
    path = Path(path)
    opener = _OPENERS.get(path.suffix, open)
    try:
        with opener(path, "rb") as file:
            data: bytes = file.read(LARGEST_FILE + 1)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise FormatError(f"{path}: damaged {path.suffix[1:]} file: {error}") from error
    except OSError as error:
        if error.errno is None:
            raise FormatError(f"{path}: damaged {path.suffix[1:]} file: {error}") from error
        raise
    if len(data) > LARGEST_FILE:
        raise FormatError(f"{path}: larger than {LARGEST_FILE:,} bytes")
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise FormatError(f"{path}:{line}: byte {data[error.start]:#04x} is not text (UTF-8)") from error


class Lines:
    """The non-blank lines of a text as words, with their numbers.

    Iterating yields lists of words; ``fail`` makes the error for the line read last.
    """

    def __init__(self, text: str, path: str | Path) -> None:
        """Split ``text``; ``path`` only names it in errors."""
        self.path = path
        self.number = 0
        self._lines = enumerate(text.split("\n"), 1)

    def __iter__(self) -> Iterator[list[str]]:
        """Yield the words of each non-blank line."""
        for self.number, line in self._lines:
            words = line.split()
            if words:
                yield words

    def next(self, expected: str) -> list[str]:
        """The words of the next non-blank line.

        Raises:
            FormatError: the file ends here.
        """
        for words in self:
            return words
        raise FormatError(f"{self.path}:{self.number}: the file ends where {expected} is expected")

    def fail(self, message: str) -> FormatError:
        """An error at the line read last."""
        return FormatError(f"{self.path}:{self.number}: {message}")

    def integers(self, words: list[str], expected: str, *, least: int | None = None) -> list[int]:
        """Convert words to integers.

        Raises:
            FormatError: a word is no integer of at most 18 digits, or lies below ``least``.
        """
        values = []
        for word in words:
            digits = word[1:] if word[:1] in "+-" else word
            if not (digits.isascii() and digits.isdigit() and len(digits) <= 18):
                raise self.fail(f"{word!r} is not an integer; expected {expected}")
            value = int(word)
            if least is not None and value < least:
                raise self.fail(f"{word} is below {least}; expected {expected}")
            values.append(value)
        return values
