"""Options of an optimizer: explicit, checked by name, the same in every parameter group where they must be."""

from __future__ import annotations

import difflib
import functools
import inspect
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any, TypeAlias, TypedDict

from torch import Tensor

__all__ = ["COMMON", "Common", "Params", "Rate", "check_group", "checked", "given", "nearest", "require"]

Params: TypeAlias = Iterable[Tensor] | Iterable[dict[str, Any]]
Rate: TypeAlias = float | Tensor
"""a learning rate: a number, or one of each member, shape (P,)"""


class Common(TypedDict, total=False):
    """What every method takes besides its own options."""

    weight_decay: float
    """adds weight_decay / 2 ||w||^2 to the loss"""
    maximize: bool
    """climb instead of descend"""
    member_dims: int
    """1 for a population: parameters (P, ...), losses (P,)"""


COMMON = Common(weight_decay=0.0, maximize=False, member_dims=0)


def given(arguments: dict[str, Any]) -> dict[str, Any]:
    """The options among a constructor's ``locals()``."""
    own = {name: value for name, value in arguments.items() if name not in ("self", "params", "common", "__class__")}
    return own | arguments.get("common", {})


def nearest(name: str, known: Iterable[str]) -> str:
    """``; did you mean 'x'?`` where something is near, else nothing."""
    near = difflib.get_close_matches(name, list(known), 1)
    return f"; did you mean {near[0]!r}?" if near else ""


def require(holds: bool, name: str, value: object, rule: str) -> None:
    """Raise ValueError with name, value and rule where an option is out of its range."""
    if not holds:
        raise ValueError(f"{name} = {value!r}: {rule}")


def check_group(name: str, group: Mapping[str, Any], defaults: Mapping[str, Any], own: Collection[str]) -> None:
    """Refuse options of a parameter group that optimizer ``name`` does not have, or that all its groups share.

    Raises:
        TypeError: an option that is not among the defaults.
        ValueError: an option that is not among the groups' ``own`` and differs from its default.
    """
    for option, value in group.items():
        if option in ("params", "param_names", "initial_lr"):
            continue
        if option not in defaults:
            raise TypeError(f"{name} has no option {option!r}{nearest(option, defaults)}")
        if option not in own and value is not defaults[option] and value != defaults[option]:
            raise ValueError(f"{option!r} is shared by all groups of {name}; give it to the optimizer")


def checked(init: Callable[..., None]) -> Callable[..., None]:
    """A constructor that refuses unknown options with the nearest name."""
    signature = inspect.signature(init)
    own = [name for name in signature.parameters if name not in ("self", "params", "common")]
    takes_any = any(p.kind is p.VAR_KEYWORD and p.name != "common" for p in signature.parameters.values())

    @functools.wraps(init)
    def wrapped(self: Any, *args: Any, **options: Any) -> None:
        if not takes_any:
            known = own + (list(type(self).common()) if "common" in signature.parameters else [])
            for name in options:
                if name not in known and name not in signature.parameters:
                    near = nearest(name, known)
                    raise TypeError(f"{type(self).__name__} has no option {name!r}{near}; it has: {', '.join(known)}")
        init(self, *args, **options)

    return wrapped
