"""numba's njit with code kept on disk that notices a change in any file of the function's package.

numba itself looks only at the file of the function it compiles: kernels that call kernels of another file would go on
with old code, on tables that may have changed.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

from numba import njit

__all__ = ["kernel"]


def kernel(function: Callable[..., Any] | None = None, **options: Any) -> Any:
    """Compile a function, as a decorator with or without options of njit."""
    if function is None:
        return lambda later: kernel(later, **options)
    compiled = njit(function, cache=True, **options)
    index = getattr(compiled, "_cache")._cache_file  # noqa: B009  numba does not declare it
    index._source_stamp = (index._source_stamp, _digest(function.__module__.partition(".")[0]))
    return compiled


@lru_cache
def _digest(package: str) -> str:
    """One text for all sources of a package."""
    folder = Path(sys.modules[package].__file__ or __file__).parent
    sources = sorted(folder.rglob("*.py"))
    return hashlib.sha256(b"\0".join(path.read_bytes() for path in sources)).hexdigest()
