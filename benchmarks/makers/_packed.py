"""The format of shipped data files: comma-separated numbers under their names, compressed."""

from __future__ import annotations

import gzip
import io
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

__all__ = ["packed"]


def packed(columns: Mapping[str, NDArray[np.floating]], digits: int = 6) -> bytes:
    """A line of names, then a line an entry of the columns, each (entries,); equal numbers give equal bytes."""
    text, file = io.StringIO(), io.BytesIO()
    text.write(",".join(columns) + "\n")
    np.savetxt(text, np.stack(list(columns.values()), 1), fmt=f"%.{digits}g", delimiter=",")
    with gzip.GzipFile(fileobj=file, mode="wb", filename="", mtime=0) as archive:
        archive.write(text.getvalue().encode())
    return file.getvalue()
