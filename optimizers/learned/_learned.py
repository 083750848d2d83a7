"""What ``l2l`` and ``hierarchical`` share: the weights of their networks, and the move from w to w + lr step.

A network is a module of pure functions: ``SHAPES`` and ``STATE`` name its weights and its state, ``begin`` makes the
first state, ``advance`` goes from state and gradients to the step and the next state. Meta-training uses the same ones.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, TypeAlias

import torch
from torch import Tensor

from optimizers._base import VectorOptimizer
from optimizers._options import Params
from optimizers._vector import blend

__all__ = ["FOLDER", "Learned", "Weights", "digest", "read_weights"]

FOLDER = Path(__file__).parent / "weights"
Weights: TypeAlias = str | os.PathLike[str] | Mapping[str, Tensor] | None
"""a file, tensors by name, or None for the ones in ``FOLDER``"""


class Learned(VectorOptimizer):
    """A learned update rule.

    ``step()`` takes one gradient: with a closure it is called once; without one the gradients that are there count.
    Parameters without a gradient stay where they are. ``lr`` multiplies the learned step.
    A network whose loss, gradient or step is not finite stands still and begins anew.
    """

    requires_closure = False
    structural = (*VectorOptimizer.structural, "weights")
    core: ClassVar[Any]
    """the module of the network"""
    called: ClassVar[str]
    """its name, also of its file of weights"""

    def __init__(self, params: Params, weights: Weights, defaults: dict[str, Any]) -> None:
        self.phi = read_weights(weights, self.called, self.core.SHAPES)
        # a checkpoint fits these weights alone, and says so in one short text
        super().__init__(params, {**defaults, "weights": digest(self.phi)})

    def __getstate__(self) -> dict[str, Any]:
        """Copies of the optimizer keep the weights of its network."""
        return {**super().__getstate__(), "phi": self.phi}

    def start(self, like: Tensor) -> dict[str, Tensor]:
        """The network's state before the first step, for gradients ``like`` (*members, n)."""
        found: dict[str, Tensor] = self.core.begin(self.phi, like, self.layout.sizes)
        return found

    def initial(self, w: Tensor) -> dict[str, Any]:
        """The network's first state; its weights move to where the parameters are."""
        self.phi = {name: one.to(w) for name, one in self.phi.items()}
        return {name: one.clone(memory_format=torch.contiguous_format) for name, one in self.start(w).items()}

    def move(self, w: Tensor) -> Tensor:
        """One step."""
        g = self.gradient(w)
        state = {name: self.memory[name] for name in self.core.STATE}
        step, new = self.core.advance(self.phi, state, g, self.layout.sizes)
        step = self._only_with_gradient(step)
        ok = torch.isfinite(g).all(-1) & torch.isfinite(step).all(-1)
        first = self.start(w)
        for name, one in state.items():
            one.copy_(blend(ok, new[name], first[name]))
        return self.stand_still(ok, w + self.rate() * step, w)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from a checkpoint made with the same weights of the network.

        Raises:
            ValueError: the checkpoint of another method, or of other weights.
        """
        super().load_state_dict(state_dict)
        layout = self.layout
        self.phi = {name: one.to(layout.device, layout.dtype) for name, one in self.phi.items()}

    def _only_with_gradient(self, step: Tensor) -> Tensor:
        """The step (*members, n), zero for parameters that have no gradient at all."""
        layout = self.layout
        if all(one.grad is not None for one in layout.params):
            return step
        parts = step.split(layout.sizes, -1)
        return torch.cat([part * (one.grad is not None) for part, one in zip(parts, layout.params, strict=True)], -1)


def read_weights(weights: Weights, name: str, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Tensor]:
    """The weights of a network, copies.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: names or shapes are not those of the network.
    """
    if isinstance(weights, Mapping):
        found, source = dict(weights), "weights"
    else:
        path = FOLDER / f"{name}.pt" if weights is None else Path(weights)
        if not path.is_file():
            raise FileNotFoundError(
                f"{path}: no weights of {name}; train them with python -m scripts.meta_train --optimizer {name} "
                "and pass weights=RUN_FOLDER/weights.pt"
            )
        found, source = torch.load(path, map_location="cpu", weights_only=True), str(path)
    if not isinstance(found, dict) or set(found) != set(shapes):
        names = sorted(map(str, found)) if isinstance(found, dict) else type(found).__name__
        raise ValueError(f"{source}: not the weights of {name}; expected {', '.join(sorted(shapes))}; found {names}")
    for key, shape in shapes.items():
        if tuple(found[key].shape) != tuple(shape):
            raise ValueError(f"{source}: {key} has the shape {tuple(found[key].shape)}; {name} needs {tuple(shape)}")
    return {key: found[key].detach().clone() for key in shapes}


def digest(phi: Mapping[str, Tensor]) -> str:
    """Eight hexadecimal digits that tell weights apart."""
    found = 0
    for one in phi.values():
        found = zlib.crc32(repr(one.double().flatten().tolist()).encode(), found)
    return f"{found:08x}"
