"""Plug-ins are listed, not registered: a file without a leading underscore in a plug-in folder is one."""

from __future__ import annotations

import difflib
import importlib
import pkgutil
from collections.abc import Iterable
from typing import Any

__all__ = ["FOLDERS", "names", "nearest", "pick"]

FOLDERS = ("observations", "rewards", "generators", "routers")


def names(folder: str) -> list[str]:
    """The plug-ins of a folder of this package.

    Raises:
        ValueError: there is no such folder.
    """
    if folder not in FOLDERS:
        raise ValueError(_unknown("plug-in folder", folder, FOLDERS))
    package = importlib.import_module(f"routing_env.{folder}")
    return sorted(m.name for m in pkgutil.iter_modules(package.__path__) if not m.name.startswith("_"))


def pick(folder: str, name: str) -> Any:
    """The first name of a plug-in's ``__all__``; of a router, its ``route``.

    Raises:
        ValueError: no such plug-in; the text names the nearest one.
    """
    known = names(folder)
    if name not in known:
        raise ValueError(_unknown(folder, name, known))
    module = importlib.import_module(f"routing_env.{folder}.{name}")
    return getattr(module, "route" if folder == "routers" else module.__all__[0])


def nearest(name: str, known: Iterable[str]) -> str:
    """A hint at the nearest known name, or nothing."""
    near = difflib.get_close_matches(name, list(known), 1)
    return f"; did you mean {near[0]!r}?" if near else ""


def _unknown(kind: str, name: str, known: Iterable[str]) -> str:
    return f"{kind} has no {name!r}{nearest(name, known)}; it has: {', '.join(known)}"
