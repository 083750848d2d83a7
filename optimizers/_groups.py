"""Parameters in groups: options checked by name, learning rates of groups, weights as one vector a member."""

from __future__ import annotations

import inspect
from typing import Any, ClassVar

import torch
from torch import Tensor

from optimizers._options import COMMON, Params, check_group, checked, require
from optimizers._vector import Layout, col

__all__ = ["Grouped"]


class Grouped(torch.optim.Optimizer):
    """What an optimizer moves, and with which options.

    Args:
        params: parameters, or groups of them. Curvature is shared by all groups; ``per_group`` options may differ.
        defaults: the options of the method and the common ones (see ``optimizers._options.Common``).

    Raises:
        ValueError: an option out of its range.
        TypeError: an option that the method does not have, with the nearest name.
    """

    populations: ClassVar[bool] = True
    """whether ``member_dims=1`` is possible"""
    per_group: ClassVar[tuple[str, ...]] = ("lr", "weight_decay")
    """options that may differ between groups"""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "__init__" in cls.__dict__:
            cls.__init__ = checked(cls.__init__)  # type: ignore[method-assign]

    def __init__(self, params: Params, defaults: dict[str, Any]) -> None:
        defaults = {**COMMON, **defaults}
        require(defaults["member_dims"] in (0, 1), "member_dims", defaults["member_dims"], "0 or 1")
        limit = defaults.get("max_numel", 1)
        require(limit >= 1, "max_numel", limit, "at least 1")
        if defaults["member_dims"] and not self.populations:
            raise ValueError(f"{type(self).__name__} moves one network; member_dims=1 is not possible")
        super().__init__(params, defaults)

    @classmethod
    def options(cls) -> dict[str, Any]:
        """Every option with its default."""
        found = inspect.signature(cls).parameters
        own = {name: one.default for name, one in found.items() if name not in ("params", "common")}
        return {**own, **(cls.common() if "common" in found else {})}

    @classmethod
    def common(cls) -> dict[str, Any]:
        """Options that a method shares with its family, with their defaults."""
        return {**COMMON}

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add parameters with their own ``lr`` or ``weight_decay``.

        Raises:
            TypeError: an unknown option.
            ValueError: an option that all groups share, or steps have been made already.
        """
        check_group(type(self).__name__, param_group, self.defaults, self.per_group)
        if self.state.get("global"):  # type: ignore[call-overload]
            raise ValueError("curvature covers all parameters: add groups before the first step")
        lr = param_group.get("lr", self.defaults.get("lr", 1.0))
        if not isinstance(lr, Tensor):
            require(lr >= 0, "lr", lr, "0 or larger")
        decay = param_group.get("weight_decay", self.defaults["weight_decay"])
        require(decay >= 0, "weight_decay", decay, "0 or larger")
        super().add_param_group(param_group)
        self.__dict__.pop("_layout", None)

    def option(self, name: str) -> Any:
        """The present value of an option that all groups share (of the first group, where they differ)."""
        return self.param_groups[0][name]

    @property
    def layout(self) -> Layout:
        """How the parameters lie in one vector."""
        if "_layout" not in self.__dict__:
            params = [one for group in self.param_groups for one in group["params"]]
            self._layout = Layout(params, self.option("member_dims"))
        return self._layout

    def rate(self) -> float | Tensor:
        """The groups' learning rates: a number, or a factor of vectors (*members, 1) or (*members, n)."""
        return self._spread("lr")

    def _spread(self, name: str) -> float | Tensor:
        groups = self.param_groups
        first = groups[0][name]
        if len(groups) == 1:
            return col(first) if isinstance(first, Tensor) and first.ndim else first
        values = [group[name] for group in groups]
        floats = not any(isinstance(value, Tensor) for value in values)
        if all(value is first for value in values) or (floats and all(value == first for value in values)):
            return col(first) if isinstance(first, Tensor) and first.ndim else first
        layout, columns = self.layout, []
        for group, value in zip(groups, values, strict=True):
            size = sum(one.numel() for one in group["params"]) // max(1, self.many)
            one = torch.as_tensor(value, dtype=layout.dtype, device=layout.device)
            columns.append(col(one.expand(layout.members)).expand(*layout.members, size))
        return torch.cat(columns, -1)

    @property
    def many(self) -> int:
        """Number of members, 1 for one network."""
        return self.layout.members[0] if self.layout.members else 1
