"""Proximal backpropagation: each layer's gradient becomes an implicit step on its weights, for any first-order method.

d = (A'A + I / tau)^-1 grad,   w = w - base(lr, d)

A (rows, in + 1) holds a layer's inputs, one row a sample, and ones for the bias; a convolution's rows are its patches.
d = theta - argmin_x 1/2 ||A x - (A theta - dE/dz)||^2 + 1/(2 tau) ||x - theta||^2, the proximal step on the weights
after a gradient step on the layer's outputs z = A theta. tau -> 0 gives tau grad. A'A is a sum over the batch where the
loss is mostly a mean: tau depends on the batch size.

Source: Frerix, Moellenhoff, Moeller, Cremers 2018. Differs: conjugate gradients have no 1e-6 in their quotients, which
would stop them at small gradients; inputs are seen by hooks, and count where a gradient flows back.
"""

from __future__ import annotations

import copy
import inspect
import re
from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn import Module

from optimizers._evaluation import Closure, takes_backward
from optimizers._options import Params, check_group, checked, given, require
from optimizers._vector import dense
from optimizers.second_order._guarded import guarded_step
from optimizers.second_order._layer_inputs import find_layers, proximal

__all__ = ["ProxProp"]

COUNTERS = ("k", "n_losses", "n_gradients", "n_products", "n_accepted", "n_rejected", "n_resets", "n_nonfinite")
MODES = "'exact', 'gradient', or 'cg' and a number of steps, such as 'cg3'"


class ProxProp(torch.optim.Optimizer):
    """Proximal backpropagation of Linear and Conv2d layers.

    ``ProxProp(net)`` moves all parameters of a module; ``ProxProp(params, model=net)`` some of them, or groups with
    their own ``lr``, ``tau`` and ``weight_decay``. Parameters of other layers, frozen ones and the layers of
    ``explicit`` take plain gradients. A layer that runs several times in one pass, or that shares its weight with
    another, adds up its inputs.

    One gradient a step, with or without a closure; a base that evaluates more (a look-ahead, say) needs a closure, and
    is given proximal directions at each point. Layers see inputs where gradients flow back through them while the model
    trains (``model.train()``); ``zero_grad`` and ``step`` forget them, ``close()`` takes the hooks off. After a step
    ``grad`` is the plain gradient again. Storage: (in + 1)^2 numbers a layer or its inputs, the fewer; the base's
    state. A step whose loss or gradient is not finite moves nothing and forgets momentum. Not for several processes.

    Args:
        params: a module, parameters, or groups of them.
        lr: learning rate of the base; 1 is the paper's for "exact" and "cg" with Nesterov's momentum.
        model: the module whose layers the parameters are; not needed where ``params`` is one.
        tau: proximal step size, larger than 0.
        mode: how (A'A + I / tau) d = grad is solved: "exact" by Cholesky, "cg3" by three steps of conjugate gradients
            (any number), "gradient" not at all: d = grad.
        tol: conjugate gradients end where the largest residual of a layer's columns is below tol times the root mean
            square of the first ones.
        explicit: layers with plain gradients: "last", the last one that the module holds, as in the paper; "none"; or
            their names.
        base: the first-order method that moves along d, by name or class.
        base_options: its options besides ``lr``; for the default base momentum 0.95 and nesterov.
        weight_decay: adds weight_decay / 2 ||w||^2 to the loss.
        maximize: climb instead of descend.

    Raises:
        TypeError: no model, or an unknown option.
        ValueError: an option out of its range, a layer that does not exist, or two that share a weight and not a bias.
    """

    requires_closure: bool = False
    populations: ClassVar[bool] = False
    needs_model: ClassVar[bool] = True
    """parameters alone do not tell which layers they belong to"""
    per_group: ClassVar[tuple[str, ...]] = ("lr", "tau", "weight_decay")

    @checked
    def __init__(
        self,
        params: Params | Module,
        lr: float = 1.0,
        *,
        model: Module | None = None,
        tau: float = 0.05,
        mode: str = "exact",
        tol: float = 1e-2,
        explicit: str | Sequence[str] = "last",
        base: str | type[torch.optim.Optimizer] = "torch.sgd",
        base_options: dict[str, Any] | None = None,
        weight_decay: float = 0.0,
        maximize: bool = False,
    ) -> None:
        defaults = given({name: value for name, value in locals().items() if name != "model"})
        if isinstance(params, Module):
            model, params = params, params.parameters()
        if model is None:
            raise TypeError("ProxProp needs the layers: ProxProp(net), or ProxProp(net.parameters(), model=net)")
        require(re.fullmatch(r"exact|gradient|cg[1-9]\d*", mode) is not None, "mode", mode, MODES)
        require(tol >= 0, "tol", tol, "0 or larger")
        if base_options is None:
            defaults["base_options"] = {"momentum": 0.95, "nesterov": True} if base == "torch.sgd" else {}
        defaults["base"] = base if isinstance(base, str) else f"{base.__module__}.{base.__qualname__}"
        defaults["explicit"] = explicit if isinstance(explicit, str) else list(explicit)
        super().__init__(params, defaults)
        self.model, self.base = model, self._make_base(base)
        self.requires_closure = bool(getattr(self.base, "requires_closure", isinstance(self.base, torch.optim.LBFGS)))
        self.attach()

    def _make_base(self, base: str | type[torch.optim.Optimizer]) -> torch.optim.Optimizer:
        from optimizers import check_options, pick

        groups, options = [self._base_group(group) for group in self.param_groups], self.option("base_options")
        if isinstance(base, str):
            check_options(base, options)
        return (pick(base) if isinstance(base, str) else base)(groups, **options)

    @staticmethod
    def _base_group(group: dict[str, Any]) -> dict[str, Any]:
        return {"params": group["params"], "lr": group["lr"]}

    # ---- options

    @classmethod
    def options(cls) -> dict[str, Any]:
        """Every option with its default."""
        return {name: one.default for name, one in inspect.signature(cls).parameters.items() if name != "params"}

    def option(self, name: str) -> Any:
        """The present value of an option that all groups share (of the first group, where they differ)."""
        return self.param_groups[0][name]

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add parameters with their own ``lr``, ``tau`` or ``weight_decay``.

        Raises:
            TypeError: an unknown option.
            ValueError: an option out of its range, or one that all groups share.
        """
        check_group("ProxProp", param_group, self.defaults, self.per_group)
        of = {**self.defaults, **param_group}
        require(of["lr"] >= 0, "lr", of["lr"], "0 or larger")
        require(of["tau"] > 0, "tau", of["tau"], "larger than 0")
        require(of["weight_decay"] >= 0, "weight_decay", of["weight_decay"], "0 or larger")
        super().add_param_group(param_group)
        if "base" in self.__dict__:
            self.base.add_param_group(self._base_group(self.param_groups[-1]))
            self.attach()

    # ---- layers

    def attach(self) -> None:
        """Find the layers of the parameters and hook them; what they have seen is forgotten."""
        self.close()
        own = {id(one) for group in self.param_groups for one in group["params"]}
        self.layers = find_layers(self.model, self.option("explicit"), own)
        if self.option("mode") == "gradient":
            self.close()

    def close(self) -> None:
        """Take the hooks off the model; steps are then refused until ``attach()``."""
        for layer in self.__dict__.get("layers", ()):
            layer.close()

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget gradients and the inputs that belong to them."""
        super().zero_grad(set_to_none)
        self._forget()

    def _forget(self) -> None:
        for layer in self.layers:
            layer.forget()

    # ---- counters

    @property
    def memory(self) -> dict[str, Any]:
        """Counters; the base keeps its own state."""
        found: dict[str, Any] = self.state["global"]  # type: ignore[index]
        if not found:
            device = self.param_groups[0]["params"][0].device
            found.update(dict.fromkeys(COUNTERS, 0), n_nonfinite=torch.zeros((), dtype=torch.int64, device=device))
        return found

    @property
    def k(self) -> int:
        """Steps made."""
        return int(self.memory["k"])

    def counters(self) -> dict[str, Any]:
        """Steps and evaluations so far; those of a base that counts are added. Reads from the device."""
        found = {name: int(value) for name, value in self.memory.items()}
        own = self.base.counters() if hasattr(self.base, "counters") else {}
        for name in ("n_losses", "n_accepted", "n_rejected", "n_resets", "n_nonfinite"):
            found[name] += own.get(name, 0)
        return found

    # ---- steps

    @torch.no_grad()
    def step(self, closure: Closure | None = None) -> Any:
        """Make one step.

        Args:
            closure: zeroes gradients, computes the loss, calls backward and returns the loss.

        Returns:
            What the closure returned; None without one.

        Raises:
            RuntimeError: a layer has a gradient and has seen no inputs.
        """
        for group, own in zip(self.param_groups, self.base.param_groups, strict=True):
            own["lr"] = group["lr"]
        plain: dict[Tensor, Tensor | None] = {}
        returned: Any = None

        def proximal_closure(backward: bool = True) -> Any:
            assert closure is not None
            self._forget()
            with torch.enable_grad():
                returned = closure(backward=backward) if takes_backward(closure) else closure()
            if backward or not takes_backward(closure):
                self._precondition(plain)
            return returned

        try:
            if closure is not None and (self.requires_closure or hasattr(self.base, "counters")):
                returned = self.base.step(proximal_closure)
            else:
                if closure is None:
                    self._precondition(plain)
                else:
                    returned = proximal_closure()
                self._base_step(returned)
        finally:
            for one, gradient in plain.items():
                one.grad = gradient
            self._forget()
        self.memory["k"] += 1
        return returned

    @torch.no_grad()
    def _precondition(self, plain: dict[Tensor, Tensor | None]) -> None:
        """Put d where the gradients are; the plain ones go to ``plain``."""
        self.memory["n_gradients"] += 1
        taus = {}
        for group in self.param_groups:
            for one in group["params"]:
                plain[one], taus[id(one)] = None if one.grad is None else dense(one.grad), group["tau"]
                if one.grad is not None:
                    one.grad = self._objective_gradient(one, group["weight_decay"])
        mode = self.option("mode")
        if mode == "gradient":
            return
        steps = None if mode == "exact" else int(mode[2:])
        for layer in self.layers:
            if layer.weight.grad is not None:
                d, products = proximal(
                    layer.gradient(), layer.seen(), taus[id(layer.weight)], steps, self.option("tol")
                )
                layer.write(d)
                self.memory["n_products"] += products

    def _objective_gradient(self, one: Tensor, decay: float) -> Tensor:
        assert one.grad is not None
        gradient = -one.grad if self.option("maximize") else one.grad.clone()
        return gradient.add_(one, alpha=decay) if decay else gradient

    def _base_step(self, loss: Any) -> None:
        if hasattr(self.base, "counters"):  # has a policy of its own
            self.base.step()
            return
        ok = guarded_step(self.base, loss)
        if ok is not None:
            self.memory["n_nonfinite"] += ~ok

    # ---- checkpoints

    def state_dict(self) -> dict[str, Any]:
        """Groups, counters and the base's checkpoint; tensors are copies."""
        found = super().state_dict()
        counters = {"made_by": "ProxProp", **copy.deepcopy(self.memory)}
        return {**found, "state": {"global": counters}, "base": copy.deepcopy(self.base.state_dict())}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from a checkpoint.

        Raises:
            ValueError: the checkpoint of another method or of another base.
        """
        counters = dict(state_dict["state"].get("global", {}))
        made_by = counters.pop("made_by", "another method")
        if made_by != "ProxProp":
            raise ValueError(f"the checkpoint was made by {made_by}; this is ProxProp")
        saved, own = state_dict["param_groups"][0]["base"], self.option("base")
        if saved != own:
            raise ValueError(f"the checkpoint has base = {saved!r}; this optimizer has {own!r}")
        super().load_state_dict({"state": {}, "param_groups": state_dict["param_groups"]})
        device = self.param_groups[0]["params"][0].device
        counters = {n: one.clone().to(device) if isinstance(one, Tensor) else one for n, one in counters.items()}
        self.state["global"] = counters  # type: ignore[index]
        self.base.load_state_dict(copy.deepcopy(state_dict["base"]))

    def __getstate__(self) -> dict[str, Any]:
        own = {name: self.__dict__[name] for name in ("model", "base", "requires_closure")}
        return {**super().__getstate__(), **own}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        if "model" in state:
            self.attach()
