"""Optimizers for torch, by class and by name; torch's own under ``torch.NAME``.

from optimizers import ASNAQ, OLMoQ
names()                               every name
pick("asnaq")                         the class
make("torch.adam", params, lr=1e-3)   an optimizer
robbins_monro(optimizer, tau)         the schedule lr tau / (tau + k)
cg(product, b), pcg(...)              conjugate gradients for many members at once

A method is a file of ``first_order``, ``quasi_newton``, ``second_order`` or ``learned`` without a leading underscore;
its class is the first name of the file's ``__all__``, spelt like the file but for capitals and underscores.
docs/optimizers.md says which one when.
"""

from __future__ import annotations

import inspect
import pkgutil
from collections.abc import Iterable
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

import torch

from optimizers._base import VectorOptimizer
from optimizers._options import nearest
from optimizers.schedules import robbins_monro
from optimizers.second_order._cg import cg, pcg

__all__ = [
    "VectorOptimizer",
    "cg",
    "check_options",
    "default_lr",
    "default_options",
    "make",
    "names",
    "pcg",
    "pick",
    "robbins_monro",
]

FOLDERS = ("first_order", "quasi_newton", "second_order", "learned")

_TORCH = {
    f"torch.{name.lower()}": value
    for name, value in vars(torch.optim).items()
    if inspect.isclass(value)
    and issubclass(value, torch.optim.Optimizer)
    and value is not torch.optim.Optimizer
    # these two take no dense gradients, or matrices alone
    and name not in ("SparseAdam", "Muon")
}


@cache
def _files() -> dict[str, str]:
    """Name of each method -> its module."""
    folders = [(folder, str(Path(__file__).parent / folder)) for folder in FOLDERS]
    return {
        info.name: f"optimizers.{folder}.{info.name}"
        for folder, path in folders
        for info in pkgutil.iter_modules([path])
        if not info.name.startswith("_")
    }


def _load(name: str) -> type[torch.optim.Optimizer]:
    module = import_module(_files()[name])
    found: type[torch.optim.Optimizer] = getattr(module, module.__all__[0])
    return found


def __getattr__(name: str) -> Any:
    """A class by its name, which is the file's without underscores and with capitals."""
    for file in _files():
        if name.lower() == file.replace("_", "") and _load(file).__name__ == name:
            return _load(file)
    near = "" if name.startswith("_") else nearest(name, __dir__())
    raise AttributeError(f"module 'optimizers' has no attribute {name!r}{near}")


def __dir__() -> list[str]:
    return sorted([*__all__, *(_load(name).__name__ for name in _files())])


def names() -> list[str]:
    """Every optimizer that ``pick`` and ``make`` know."""
    return sorted(_files()) + sorted(_TORCH)


def pick(name: str) -> type[torch.optim.Optimizer]:
    """The class of a name.

    Raises:
        ValueError: no such optimizer; the text names the nearest one.
    """
    if name in _files():
        return _load(name)
    found = _TORCH.get(name)
    if found is None:
        raise ValueError(f"no optimizer {name!r}{nearest(name, names())}; there are: {', '.join(names())}")
    return found


def make(name: str, params: Iterable[torch.Tensor] | Iterable[dict[str, Any]], **options: Any) -> torch.optim.Optimizer:
    """An optimizer by name.

    Raises:
        ValueError: no such optimizer.
        TypeError: an option that the optimizer does not have; the text names the nearest one.
    """
    check_options(name, options)
    return pick(name)(params, **options)


def default_options(name: str) -> dict[str, Any]:
    """Every option of an optimizer with its default."""
    method = pick(name)
    if issubclass(method, VectorOptimizer):
        return method.options()
    found = inspect.signature(method).parameters
    return {option: one.default for option, one in found.items() if option != "params"}


def check_options(name: str, options: dict[str, Any]) -> None:
    """Raise TypeError where an optimizer has no such option."""
    known = default_options(name)
    for option in options:
        if option not in known:
            raise TypeError(f"{name} has no option {option!r}{nearest(option, known)}; it has: {', '.join(known)}")


def default_lr(name: str) -> float:
    """The learning rate that an optimizer takes where none is given."""
    return float(default_options(name)["lr"])
