"""The inputs of Linear and Conv2d layers as matrices, seen by hooks, and the proximal systems made of them.

Every layer is G independent products z = A theta, A (G, rows, in + 1), theta (G, in + 1, out): G is 1 but for grouped
convolutions, whose rows are patches. ``in + 1`` is ``in`` for a layer without a bias to move.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import Conv2d, Linear, Module
from torch.nn.functional import pad, unfold

__all__ = ["Layer", "Seen", "find_layers", "proximal"]


class Seen:
    """A'A of all inputs so far, as the inputs themselves while these are fewer numbers."""

    def __init__(self) -> None:
        self.inputs: list[Tensor] = []  # (G, rows, in + 1) each
        self.gram: Tensor | None = None  # (G, in + 1, in + 1)

    def add(self, A: Tensor) -> None:
        """Take in A (G, rows, in + 1)."""
        self.inputs.append(A)
        if self.gram is not None or sum(one.shape[1] for one in self.inputs) >= A.shape[2]:
            A = self.rows()
            self.gram = A.mT @ A if self.gram is None else self.gram + A.mT @ A
            self.inputs = []

    def rows(self) -> Tensor:
        """The inputs that are kept, (G, rows, in + 1)."""
        return torch.cat(self.inputs, 1) if len(self.inputs) > 1 else self.inputs[0]

    def times(self, v: Tensor) -> Tensor:
        """A'A v, (G, in + 1, out)."""
        if self.gram is not None:
            return self.gram @ v
        A = self.rows()
        return A.mT @ (A @ v)


class Tap:
    """A forward hook that shows a layer's inputs where a gradient flows back; a copied model's taps are dead."""

    def __init__(self, layer: Layer | None = None) -> None:
        self.layer = layer

    def __reduce__(self) -> tuple[type[Tap], tuple[()]]:
        return Tap, ()

    def __call__(self, module: Module, inputs: tuple[Any, ...], output: Tensor) -> None:
        """Wait for the gradient of ``output``."""
        layer = self.layer
        if layer is None or not module.training or not torch.is_grad_enabled() or not output.requires_grad:
            return
        x = inputs[0].detach()

        def flowed(gradient: Tensor) -> None:
            with torch.no_grad():
                layer.see(module, x)

        output.register_hook(flowed)


class Layer:
    """The modules of one weight: their gradients as matrices, and the inputs that they have seen.

    Args:
        name: of the first module.
        module: the first module.
        has_bias: whether its bias moves with the weight.
    """

    def __init__(self, name: str, module: Linear | Conv2d, has_bias: bool) -> None:
        self.name, self.weight = name, module.weight
        self.bias = module.bias if has_bias else None
        self.groups = module.groups if isinstance(module, Conv2d) else 1
        self.hooked: list[Any] = []
        self._seen = Seen()

    def tap(self, module: Module) -> None:
        """Hook a module of this weight."""
        for key, hook in list(module._forward_hooks.items()):
            if isinstance(hook, Tap) and hook.layer is None:
                del module._forward_hooks[key]
        self.hooked.append(module.register_forward_hook(Tap(self)))

    def close(self) -> None:
        """Take the hooks off."""
        for handle in self.hooked:
            handle.remove()
        self.hooked = []
        self.forget()

    def forget(self) -> None:
        """Forget the inputs."""
        self._seen = Seen()

    def see(self, module: Module, x: Tensor) -> None:
        """Take in the input of a module."""
        A = patches(module, x) if isinstance(module, Conv2d) else x.reshape(1, -1, x.shape[-1])
        A = A.to(self.weight.dtype)
        self._seen.add(torch.cat([A, A.new_ones(*A.shape[:2], 1)], -1) if self.bias is not None else A)

    def seen(self) -> Seen:
        """The inputs.

        Raises:
            RuntimeError: there are none.
        """
        if self._seen.gram is None and not self._seen.inputs:
            raise RuntimeError(
                f"layer {self.name!r} has a gradient, but its inputs were not seen: the model must be in training mode "
                "(model.train()) and its hooks attached while the loss is computed and differentiated, and the layer "
                f"called as a module; else name it: explicit=[{self.name!r}]"
            )
        return self._seen

    def gradient(self) -> Tensor:
        """The gradient, (G, in + 1, out)."""
        assert self.weight.grad is not None
        found = self.weight.grad.reshape(self.groups, self.weight.shape[0] // self.groups, -1).mT
        if self.bias is None:
            return found
        of = torch.zeros_like(self.bias) if self.bias.grad is None else self.bias.grad
        return torch.cat([found, of.reshape(self.groups, 1, -1)], 1)

    def write(self, d: Tensor) -> None:
        """Put d (G, in + 1, out) in the place of the gradient."""
        if self.bias is not None:
            d, of = d[:, :-1], d[:, -1]
            self.bias.grad = of.reshape(self.bias.shape)
        self.weight.grad = d.mT.reshape(self.weight.shape).contiguous()


def patches(conv: Conv2d, x: Tensor) -> Tensor:
    """The inputs of a convolution, (G, batch x places, in / G x height x width)."""
    (height, width), (down, across) = conv.kernel_size, conv.dilation
    mode = "constant" if conv.padding_mode == "zeros" else conv.padding_mode
    x = pad(x if x.ndim == 4 else x.unsqueeze(0), _margins(conv), mode=mode)
    found = unfold(x, (height, width), (down, across), 0, conv.stride)  # (batch, in x height x width, places)
    found = found.view(len(x), conv.groups, -1, found.shape[-1])
    return found.permute(1, 0, 3, 2).flatten(1, 2)


def _margins(conv: Conv2d) -> list[int]:
    """How wide x is padded: left, right, top, bottom."""
    if isinstance(conv.padding, str):
        totals = [
            d * (k - 1) if conv.padding == "same" else 0 for k, d in zip(conv.kernel_size, conv.dilation, strict=True)
        ]
        sides = [(total // 2, total - total // 2) for total in totals]
    else:
        sides = [(int(one), int(one)) for one in conv.padding]
    return [*sides[1], *sides[0]]


def find_layers(model: Module, explicit: str | Sequence[str], own: set[int]) -> list[Layer]:
    """The layers of a module whose weights are among ``own`` (ids), hooked, without those that stay explicit.

    Raises:
        ValueError: a name that is none of a layer, or two layers that share a weight and not a bias.
    """
    every = {name: one for name, one in model.named_modules(remove_duplicate=True) if isinstance(one, (Linear, Conv2d))}
    left_out = {id(every[name].weight) for name in _explicit_names(explicit, list(every))}
    found: dict[int, Layer] = {}
    for name, one in every.items():
        weight = one.weight
        if id(weight) in left_out or id(weight) not in own or not weight.requires_grad:
            continue
        has_bias = one.bias is not None and id(one.bias) in own and one.bias.requires_grad
        layer = found.setdefault(id(weight), Layer(name, one, has_bias))
        if layer.bias is not (one.bias if has_bias else None):
            raise ValueError(
                f"layers {layer.name!r} and {name!r} share a weight and not a bias; name one in explicit=[...]"
            )
        layer.tap(one)
    return list(found.values())


def _explicit_names(explicit: str | Sequence[str], names: list[str]) -> list[str]:
    if explicit == "none":
        return []
    if explicit == "last":
        return names[-1:]
    chosen = [explicit] if isinstance(explicit, str) else list(explicit)
    for name in chosen:
        if name not in names:
            near = difflib.get_close_matches(name, names, 1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise ValueError(f"explicit: no Linear or Conv2d layer {name!r}{hint}; there are: {', '.join(names)}")
    return chosen


def proximal(g: Tensor, seen: Seen, tau: float, steps: int | None, tol: float) -> tuple[Tensor, int]:
    """(d, products): (A'A + I / tau) d = g (G, in + 1, out), exactly or by some steps of conjugate gradients."""
    if steps is not None:
        return _conjugate_gradients(g, seen, tau, steps, tol), steps
    if seen.gram is not None:
        return torch.cholesky_solve(g, _factor(seen.gram, 1 / tau)), 0
    A = seen.rows()
    return tau * (g - A.mT @ torch.cholesky_solve(A @ g, _factor(A @ A.mT, 1 / tau))), 0


def _factor(matrix: Tensor, damping: float) -> Tensor:
    eye = torch.eye(matrix.shape[-1], dtype=matrix.dtype, device=matrix.device)
    return torch.linalg.cholesky_ex(matrix + damping * eye)[0]


def _conjugate_gradients(g: Tensor, seen: Seen, tau: float, steps: int, tol: float) -> Tensor:
    """From d = 0, each column by itself; all end together where the largest residual is below the tolerance."""
    d, r, p = torch.zeros_like(g), g, g
    rr = (r * r).sum(1, keepdim=True)  # (G, 1, out)
    enough, open_ = tol**2 * rr.mean((1, 2), keepdim=True), torch.ones_like(rr[..., :1], dtype=torch.bool)
    for _ in range(steps):
        Ap = seen.times(p) + p / tau
        alpha = torch.where(open_, _quotient(rr, (p * Ap).sum(1, keepdim=True)), 0.0)
        d, r = d + alpha * p, r - alpha * Ap
        rr_new = (r * r).sum(1, keepdim=True)
        open_ = open_ & (rr_new.amax((1, 2), keepdim=True) >= enough)
        p, rr = r + _quotient(rr_new, rr) * p, rr_new
    return d


def _quotient(a: Tensor, b: Tensor) -> Tensor:
    """a / b, 0 where b is not positive; NaN stays."""
    return torch.where(b <= 0, 0.0, a / torch.where(b == 0, 1.0, b))
