"""Plug-ins are listed, not registered: a file without a leading underscore in a plug-in folder is one."""

from __future__ import annotations

import difflib
import importlib
import pkgutil
from typing import Any

__all__ = ["FOLDERS", "names", "pick"]

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
    """The first name of a plug-in's ``__all__``.

    Raises:
        ValueError: no such plug-in; the text names the nearest one.
    """
    known = names(folder)
    if name not in known:
        raise ValueError(_unknown(folder, name, known))
    module = importlib.import_module(f"routing_env.{folder}.{name}")
    return getattr(module, module.__all__[0])


def _unknown(kind: str, name: str, known: list[str] | tuple[str, ...]) -> str:
    near = difflib.get_close_matches(name, known, 1)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    return f"{kind} has no {name!r}.{hint} It has: {', '.join(known)}"
