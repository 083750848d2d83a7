"""The folder outside the repository that data sets are kept in, and reading its files."""

from __future__ import annotations

import gzip
import hashlib
import os
import zlib
from pathlib import Path

from routing_env.formats import FormatError

__all__ = ["digest", "find", "read", "root"]

LARGEST = 2**28
"""bytes of an unpacked file; five times the largest of these data sets"""


def root() -> Path:
    """The folder of all data sets: ``$QUASIROUTE_DATA``, else ``~/.cache/quasiroute``."""
    return Path(os.environ.get("QUASIROUTE_DATA") or "~/.cache/quasiroute").expanduser()


def find(path: Path) -> Path | None:
    """This file, or the same with ``.gz`` after its name, or None where there is neither."""
    return next((one for one in (path, path.with_name(path.name + ".gz")) if one.is_file()), None)


def read(path: Path) -> bytes:
    """What is in a plain or ``.gz`` file, unpacked.

    Raises:
        FormatError: damaged, cut off or larger than 256 MiB.
        OSError: the file cannot be read.
    """
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            data: bytes = file.read(LARGEST + 1)
    except (EOFError, OSError, zlib.error) as error:
        # gzip raises OSError without a number for damaged data; with one it is the disk's
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise FormatError(f"{path}: damaged gz file: {error}") from error
    if len(data) > LARGEST:
        raise FormatError(f"{path}: more than {LARGEST} bytes when unpacked, no data set has such a file")
    return data


def digest(data: bytes) -> str:
    """SHA-256 in hexadecimal digits."""
    return hashlib.sha256(data).hexdigest()
