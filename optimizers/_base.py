"""What a method need not know: parameters, closures, groups, checkpoints, members, processes.

A method is a subclass of ``VectorOptimizer`` that writes ``move(w)``: from the flat weights w (*members, n) to the
new ones, asking ``self.evaluate(at)`` for losses (*members,) and gradients (*members, n) where it wants them. A vector
that was evaluated is not changed in place afterwards. Everything a method remembers lies in ``self.memory``, a
dictionary of tensors and integers that ``initial(w)`` makes before the first step and that checkpoints hold bit for
bit. Its tensors are changed in place, so that a captured CUDA graph finds them.

The closure:

    def closure(backward=True):
        optimizer.zero_grad()
        loss = loss_function(model(x), target)     # a population: one loss a member, shape (P,)
        if backward:
            loss.sum().backward()
        return loss

It may be called several times a step and must see the same batch each time, unless a method's docstring says otherwise.
Where it takes no argument ``backward`` it is called plainly when only the loss is wanted.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from copy import deepcopy
from typing import Any, ClassVar

import torch
from torch import Tensor

from optimizers._options import COMMON, Params, checked, nearest, require
from optimizers._vector import Layout, blend, col, dot, everywhere

__all__ = ["Closure", "VectorOptimizer"]

Closure = Callable[..., Any]

TEMPLATE = """{name}.step needs a closure: it evaluates the loss more than once a step or differentiates it itself.

    def closure(backward=True):
        optimizer.zero_grad()
        loss = loss_function(model(x), target)
        if backward:
            loss.backward()
        return loss

    optimizer.step(closure)"""

COUNTERS = ("n_accepted", "n_rejected", "n_resets", "n_nonfinite")
EVALUATIONS = ("n_losses", "n_gradients", "n_products")


class VectorOptimizer(torch.optim.Optimizer):
    """Base of all methods.

    Args:
        params: parameters, or groups of them. Curvature is shared by all groups; ``per_group`` options may differ.
        defaults: the options of the method and the common ones (see ``optimizers._options.Common``).

    Raises:
        ValueError: an option out of its range.
        TypeError: an option that the method does not have, with the nearest name.
    """

    requires_closure: ClassVar[bool] = True
    """whether ``step()`` works without a closure, on the gradients that are there"""
    populations: ClassVar[bool] = True
    """whether ``member_dims=1`` is possible"""
    per_group: ClassVar[tuple[str, ...]] = ("lr", "weight_decay")
    """options that may differ between groups"""
    structural: ClassVar[tuple[str, ...]] = ("member_dims", "m", "mL", "mF", "L")
    """options that decide the shape of the memory: a checkpoint must agree in them"""

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

    # ---- options

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
        for name, value in param_group.items():
            if name in ("params", "param_names", "initial_lr"):
                continue
            if name not in self.defaults:
                raise TypeError(f"{type(self).__name__} has no option {name!r}{nearest(name, self.defaults)}")
            if name not in self.per_group and value is not self.defaults[name] and value != self.defaults[name]:
                raise ValueError(f"{name!r} is shared by all groups of {type(self).__name__}; give it to the optimizer")
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

    # ---- memory

    @property
    def memory(self) -> dict[str, Any]:
        """Everything the method remembers between steps."""
        found: dict[str, Any] = self.state["global"]  # type: ignore[index]
        return found

    def initial(self, w: Tensor) -> dict[str, Any]:
        """The memory before the first step, for weights w (*members, n)."""
        return {}

    def gathered(self) -> Tensor:
        """The parameters as a vector (*members, n)."""
        return self.layout.gather()

    def _begin(self) -> Tensor:
        w = self.gathered()
        if "k" not in self.memory:
            zeros = {name: torch.zeros(w.shape[:-1], dtype=torch.int64, device=w.device) for name in COUNTERS}
            self.memory.update({"k": 0, **dict.fromkeys(EVALUATIONS, 0), **zeros})
            self.memory.update(self.initial(w))
        return w

    @property
    def k(self) -> int:
        """Steps made."""
        return int(self.memory.get("k", 0))

    def coming(self) -> str:
        """The kind of the next step; steps of one kind do the same with the same tensors, so each is one CUDA graph.

        "start" comes once and makes the memory; see "CUDA graphs" in docs/optimizers.md.
        """
        return "plain" if self.k else "start"

    def tick(self) -> None:
        """Write what the next step takes from the host to where a captured step reads it: before each replay."""

    def counters(self) -> dict[str, Any]:
        """Steps, evaluations, and pairs or steps accepted and rejected, resets, non-finite evaluations so far.

        Numbers for one network; lists of one number a member for a population. Reads from the device.
        """
        memory = self.memory
        found: dict[str, Any] = {name: memory.get(name, 0) for name in ("k", *EVALUATIONS)}
        for name in COUNTERS:
            found[name] = memory[name].tolist() if name in memory else 0
        return found

    def count(self, name: str, mask: Tensor) -> None:
        """Add one to a counter where a mask (*members,) holds."""
        self.memory[name].add_(mask)

    # ---- steps

    def move(self, w: Tensor) -> Tensor:
        """One step: from the weights w (*members, n) to the new ones."""
        raise NotImplementedError

    @torch.no_grad()
    def step(self, closure: Closure | None = None) -> Any:
        """Make one step.

        Args:
            closure: see the module's docstring; may be left out where ``requires_closure`` is False.

        Returns:
            What the closure returned at its first call; None without one.

        Raises:
            TypeError: no closure where one is needed.
        """
        if closure is None and self.requires_closure:
            raise TypeError(TEMPLATE.format(name=type(self).__name__))
        w = self._begin()
        self._closure, self._returned = closure, None
        self._at: Tensor | None = w
        try:
            w_new = self.move(w)
        except BaseException:
            self.layout.scatter(w)  # interrupted between two evaluations: the weights are whole
            raise
        finally:
            self._closure = None
        if w_new is not self._at:
            self.layout.scatter(w_new)
        self.memory["k"] += 1
        returned, self._returned, self._at = self._returned, None, None
        return returned

    def place(self, at: Tensor) -> None:
        """Write weights (*members, n) into the parameters, unless they are there already."""
        if at is not self._at:
            self.layout.scatter(at)
            self._at = at

    def call(self, backward: bool = True) -> Any:
        """Call the closure where the parameters stand."""
        closure = self._closure
        if closure is None:
            raise TypeError(TEMPLATE.format(name=type(self).__name__))
        with torch.enable_grad():
            returned = closure() if backward or not takes_backward(closure) else closure(backward=False)
        if self._returned is None:
            self._returned = returned
        return returned

    def loss(self, at: Tensor) -> Tensor:
        """The loss of each member (*members,) at weights (*members, n), without a gradient."""
        self.place(at)
        self.memory["n_losses"] += 1
        return self._objective(self.call(backward=False), at)

    def evaluate(self, at: Tensor) -> tuple[Tensor, Tensor]:
        """Loss (*members,) and gradient (*members, n) at weights (*members, n).

        Without a closure the gradients that are there are taken and the loss is NaN; ``at`` is then where they stand.
        """
        self.memory["n_gradients"] += 1
        if self._closure is None:
            if at is not self._at:
                raise TypeError(TEMPLATE.format(name=type(self).__name__))
            loss = torch.full(at.shape[:-1], float("nan"), dtype=at.dtype, device=at.device)
        else:
            self.place(at)
            loss = self._objective(self.call(), at)
        return loss, self.objective_gradient(self.layout.gradient(), at)

    def gradient(self, at: Tensor) -> Tensor:
        """The gradient alone, (*members, n); NaN where the closure's loss is not finite."""
        loss, g = self.evaluate(at)
        nothing = loss - loss  # 0, or NaN
        return g if self._closure is None or everywhere(nothing == 0) else g.add_(col(nothing))

    def _objective(self, returned: Any, at: Tensor) -> Tensor:
        """The loss that is minimised, from what the closure returned: sign, decay, mean over processes."""
        loss = returned.detach() if isinstance(returned, Tensor) else torch.as_tensor(returned, device=at.device)
        if loss.shape != at.shape[:-1]:
            if loss.numel() != 1 or at.ndim > 1:
                raise ValueError(
                    f"the closure returned losses of shape {tuple(loss.shape)}; expected {tuple(at.shape[:-1])}"
                    + (": one loss a member" if at.ndim > 1 else "")
                )
            loss = loss.reshape(())
        loss = self.mean_over_processes(loss)
        if self.option("maximize"):
            loss = -loss
        decay = self.decay()
        if isinstance(decay, Tensor) or decay:
            loss = loss + 0.5 * dot(at * decay, at)
        return loss

    def decay(self) -> float | Tensor:
        """The groups' weight decay: a number, or a factor of vectors (*members, n); none on frozen parameters."""
        decay = self._spread("weight_decay")
        frozen = [one for one in self.layout.params if not one.requires_grad]
        if not frozen or not (isinstance(decay, Tensor) or decay):
            return decay
        layout = self.layout
        free = [torch.full_like(one, float(one.requires_grad)) for one in layout.params]
        return torch.cat([one.reshape(*layout.members, -1) for one in free], -1) * decay

    def objective_gradient(self, gradient: Tensor, at: Tensor) -> Tensor:
        """The gradient of what is minimised from the gradient of the closure's loss."""
        gradient = self.mean_over_processes(gradient)
        if self.option("maximize"):
            gradient = -gradient
        decay = self.decay()
        return gradient + decay * at if isinstance(decay, Tensor) or decay else gradient

    def stand_still(self, ok: Tensor, new: Tensor, old: Tensor) -> Tensor:
        """``new`` for the members where ok (*members,) holds, ``old`` for the others, which are counted."""
        self.count("n_nonfinite", ~ok)
        return blend(ok, new, old)

    # ---- several processes

    def distribute(self, group: Any = None) -> None:
        """Average losses, gradients and Hessian products over the processes of a ``torch.distributed`` group.

        Every process evaluates its share of the batch (the closure's mean over it); all decisions are then taken on
        the same numbers, so that all processes make the same calls. Do not wrap the model in DistributedDataParallel.
        """
        import torch.distributed as distributed

        self._group = distributed.group.WORLD if group is None else group

    def mean_over_processes(self, x: Tensor) -> Tensor:
        """The mean of a tensor over the processes that ``distribute`` named."""
        group = self.__dict__.get("_group")
        if group is None:
            return x
        import torch.distributed as distributed

        x = x.clone()
        distributed.all_reduce(x, group=group)
        return x / distributed.get_world_size(group)

    # ---- checkpoints

    def state_dict(self) -> dict[str, Any]:
        """Groups and memory; tensors are copies, so that later steps do not change them."""
        found = super().state_dict()
        memory = found["state"].get("global")
        if memory:
            kept = {name: one.clone() if isinstance(one, Tensor) else deepcopy(one) for name, one in memory.items()}
            kept["made_by"], kept["dtype"] = type(self).__name__, str(self.layout.dtype)
            kept["shape"] = list(self.layout.shape)
            found["state"] = {**found["state"], "global": kept}
        return found

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from a checkpoint: the same dtype gives the same bits, another device moves, another dtype converts.

        Raises:
            ValueError: the checkpoint of another method, or of other options that decide the memory's shape.
        """
        kept = dict(state_dict["state"].get("global", {}))
        made_by, dtype = kept.pop("made_by", type(self).__name__), kept.pop("dtype", str(self.layout.dtype))
        if made_by != type(self).__name__:
            raise ValueError(f"the checkpoint was made by {made_by}; this is {type(self).__name__}")
        saved = state_dict["param_groups"][0]
        for name in self.structural:
            if name in self.defaults and saved.get(name) != self.option(name):
                own = self.option(name)
                raise ValueError(f"the checkpoint has {name} = {saved.get(name)!r}; this optimizer has {own!r}")
        layout = self.layout
        shape = kept.pop("shape", list(layout.shape))
        if shape != list(layout.shape):
            raise ValueError(f"the checkpoint is of weights {shape} (members, n); these are {list(layout.shape)}")
        super().load_state_dict({**state_dict, "state": {}})
        if not kept:
            return
        fresh = {}
        for name, one in kept.items():
            if isinstance(one, Tensor) and name not in self.on_host:
                own = layout.dtype if str(one.dtype) == dtype else one.dtype
                one = torch.empty_like(one, dtype=own, device=layout.device).copy_(one)
            fresh[name] = one.clone() if isinstance(one, Tensor) else deepcopy(one)
        self.state["global"] = fresh  # type: ignore[index]

    on_host: ClassVar[tuple[str, ...]] = ()
    """tensors of the memory that stay on the host, such as a generator's state"""


def takes_backward(closure: Closure) -> bool:
    """Whether a closure has an argument ``backward``."""
    code = getattr(closure, "__code__", None)
    if code is not None and not hasattr(closure, "__wrapped__"):
        return "backward" in code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
    return "backward" in inspect.signature(closure).parameters
