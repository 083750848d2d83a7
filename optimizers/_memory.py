"""What a method remembers between steps: made before the first, counted up, saved bit for bit."""

from __future__ import annotations

from copy import deepcopy
from typing import Any, ClassVar

import torch
from torch import Tensor

from optimizers._groups import Grouped

__all__ = ["Remembering"]

COUNTERS = ("n_accepted", "n_rejected", "n_resets", "n_nonfinite")
EVALUATIONS = ("n_losses", "n_gradients", "n_products")


class Remembering(Grouped):
    """An optimizer whose ``memory`` is a dictionary of tensors and integers, made by ``initial``.

    Its tensors are changed in place, so that a captured CUDA graph finds them.
    """

    structural: ClassVar[tuple[str, ...]] = ("member_dims", "m", "mL", "mF", "L")
    """options that decide the shape of the memory: a checkpoint must agree in them"""
    on_host: ClassVar[tuple[str, ...]] = ()
    """tensors of the memory that stay on the host, such as a generator's state"""

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
