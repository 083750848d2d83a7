"""Optimizers by name: this package's own, and torch's under ``torch.NAME``.

names()                               every name
pick("torch.adam")                    the class
make("torch.adam", params, lr=1e-3)   an optimizer
"""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Iterable
from typing import Any

import torch

__all__ = ["default_lr", "make", "names", "pick"]

_TORCH = {
    f"torch.{name.lower()}": value
    for name, value in vars(torch.optim).items()
    if inspect.isclass(value)
    and issubclass(value, torch.optim.Optimizer)
    and value is not torch.optim.Optimizer
    # these two take no dense gradients, or matrices alone
    and name not in ("SparseAdam", "Muon")
}


def names() -> list[str]:
    """Every optimizer that ``pick`` and ``make`` know."""
    return sorted(_TORCH)


def pick(name: str) -> type[torch.optim.Optimizer]:
    """The class of a name.

    Raises:
        ValueError: no such optimizer; the text names the nearest one.
    """
    if name not in _TORCH:
        raise ValueError(f"no optimizer {name!r}{_nearest(name, names())}; there are: {', '.join(names())}")
    return _TORCH[name]


def make(name: str, params: Iterable[torch.Tensor] | Iterable[dict[str, Any]], **options: Any) -> torch.optim.Optimizer:
    """An optimizer by name.

    Raises:
        ValueError: no such optimizer.
        TypeError: an option that the optimizer does not have; the text names the nearest one.
    """
    check_options(name, options)
    return pick(name)(params, **options)


def check_options(name: str, options: dict[str, Any]) -> None:
    """Raise TypeError where an optimizer has no such option."""
    known = [option for option in inspect.signature(pick(name)).parameters if option != "params"]
    for option in options:
        if option not in known:
            raise TypeError(f"{name} has no option {option!r}{_nearest(option, known)}; it has: {', '.join(known)}")


def default_lr(name: str) -> float:
    """The learning rate that an optimizer takes where none is given."""
    default = inspect.signature(pick(name)).parameters["lr"].default
    return float(default)


def _nearest(name: str, known: list[str]) -> str:
    near = difflib.get_close_matches(name, known, 1)
    return f"; did you mean {near[0]!r}?" if near else ""
