"""IDX, the format of MNIST: a magic number, dimensions, and bytes with the last dimension fastest."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from routing_env.formats import FormatError

__all__ = ["parse"]

UNSIGNED_BYTE = 0x08
"""the type of all pictures and labels of these data sets"""


def parse(data: bytes, path: Path, dimensions: int) -> NDArray[np.uint8]:
    """The array in the bytes of an IDX file, of this many dimensions and not writeable; ``path`` names it in errors.

    Raises:
        FormatError: other bytes than the format's; the text names file, offset, value and rule.
    """
    header = 4 * (1 + dimensions)
    if len(data) < 4:
        raise FormatError(f"{path}: {len(data)} bytes, an IDX file begins with a magic number of 4")
    if data[:2] != b"\0\0":
        raise FormatError(f"{path}: offset 0: 0x{data[:2].hex()}, an IDX file begins with 0x0000")
    if data[2] != UNSIGNED_BYTE:
        raise FormatError(f"{path}: offset 2: type 0x{data[2]:02x}, must be 0x08, unsigned bytes")
    if data[3] != dimensions:
        raise FormatError(f"{path}: offset 3: {data[3]} dimensions, must be {dimensions}")
    if len(data) < header:
        raise FormatError(f"{path}: {len(data)} bytes, the header of {dimensions} dimensions has {header}")
    shape = [int.from_bytes(data[offset : offset + 4], "big") for offset in range(4, header, 4)]
    for place, length in enumerate(shape):
        if length == 0:
            raise FormatError(f"{path}: offset {4 + 4 * place}: dimension {place} is 0, must be at least 1")
    if len(data) - header != math.prod(shape):
        told = " x ".join(map(str, shape))
        raise FormatError(
            f"{path}: offset {header}: {len(data) - header} bytes follow, must be {told} = {math.prod(shape)}"
        )
    return np.frombuffer(data, np.uint8, offset=header).reshape(shape)
