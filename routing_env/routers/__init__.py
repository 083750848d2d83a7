"""Routers: one file each, all with ``route(problem, *, seed, time_limit, progress, ...) -> Solution``.

They are loaded when first asked for: ``routing_env.routers.astar``, ``.negotiated``, ``.exact``.
"""

from __future__ import annotations

import importlib
from types import ModuleType

__all__ = ["astar", "exact", "negotiated"]


def __getattr__(name: str) -> ModuleType:
    """Load a router."""
    if name not in __all__:
        raise AttributeError(f"routing_env.routers has no {name!r}; it has: {', '.join(__all__)}")
    return importlib.import_module(f"{__name__}.{name}")
