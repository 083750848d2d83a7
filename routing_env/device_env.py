"""Many netlists on torch tensors: the same rules, one call a move, nothing read back to the host.

The tensors hold what the arrays of ``state.py`` hold and are changed in place. On the CPU the compiled rules loop over
the problems. Episodes are connections, as in ``ConnectionEpisodes``; a pass that ends is followed by the next.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from routing_env.gym_env import as_object
from routing_env.problem import Problem
from routing_env.program import program
from routing_env.solution import Solution
from routing_env.state import State, make_state, solution_of

__all__ = ["TensorRouting"]


class TensorRouting:
    """B netlists of one grid shape as tensors.

    After ``begin`` and each ``step``: ``obs`` (B, entries) and ``mask`` (B, 6) say what to act on; where a connection
    ended, ``final`` and ``final_mask`` are those after its last move; ``gains`` (B,) are the rewards and ``flags``
    (B,) what happened, as bits of ``rules``. All are overwritten by the next step.

    Args:
        problems: one an environment, same columns, rows and layers.
        observation, reward, max_steps, via_capacity, keep_failed: as in GlobalRouting.
        device: where the tensors lie.

    Raises:
        ValueError: see ``make_state``.
    """

    def __init__(
        self,
        problems: Sequence[Problem],
        *,
        observation: Any = "published",
        reward: Any = "published",
        max_steps: int | None = None,
        via_capacity: int | None = None,
        keep_failed: bool = True,
        device: torch.device | str = "cpu",
    ) -> None:
        self.problems, self.device = list(problems), torch.device(device)
        observation, reward = as_object("observations", observation), as_object("rewards", reward)
        made = make_state(
            self.problems, reward.prices(), closed=reward.closed, max_steps=max_steps, via_capacity=via_capacity,
            keep_failed=keep_failed,
        )  # fmt: skip
        self.tables = {name: torch.from_numpy(array).to(self.device) for name, array in made._asdict().items()}
        """the arrays of ``State`` by name"""
        many, entries = len(self.problems), len(observation.bounds(self.problems[0])[0])
        self.obs = torch.zeros(many, entries, device=self.device)
        self.mask = torch.zeros(many, 6, dtype=torch.int8, device=self.device)
        self.final, self.final_mask = torch.zeros_like(self.obs), torch.zeros_like(self.mask)
        self.gains = torch.zeros(many, dtype=torch.float64, device=self.device)
        self.flags = torch.zeros(many, dtype=torch.int64, device=self.device)
        self.moves = torch.zeros(many, dtype=torch.int64, device=self.device)
        compiled = program(observation.write, reward.pay)
        self._play, self._begin = compiled.step_many, compiled.begin_many
        self._bind()

    def _bind(self) -> None:
        """Arrays on the memory of the tensors."""
        self._table = [one.numpy() for one in self.tables.values()]
        self._out = [one.numpy() for one in (self.obs, self.mask, self.final, self.final_mask, self.gains, self.flags)]

    def __len__(self) -> int:
        return len(self.problems)

    def begin(self, *, restart: bool = True) -> None:
        """Begin a new pass in every problem, or else the next connection where one is under way."""
        self._begin(0, len(self), restart, *self._table, *self._out[:2])

    def step(self, moves: Tensor) -> None:
        """Play one move (B,), numbers 0 to 5, in each problem."""
        self.moves.copy_(moves)
        self._play(0, len(self), self.moves.numpy(), *self._table, *self._out)

    def solution(self, b: int, *, best: bool = True) -> Solution:
        """The wires of problem ``b``: of its best finished pass, or of the pass under way."""
        row = State(*(one[b : b + 1].cpu().numpy() for one in self.tables.values()))
        return solution_of(self.problems[b], row, 0, best=best)

    def keep(self, places: Tensor) -> None:
        """Go on with some of the problems (kept,); the results of a problem do not depend on the others."""
        self.problems = [self.problems[b] for b in places.tolist()]
        self.tables = {name: one[places] for name, one in self.tables.items()}
        for name in ("obs", "mask", "final", "final_mask", "gains", "flags", "moves"):
            setattr(self, name, getattr(self, name)[places])
        self._bind()

    def get_state(self) -> dict[str, Tensor]:
        """Copies of everything that the next moves depend on."""
        kept = self.tables | {"obs": self.obs, "mask": self.mask}
        return {name: one.clone() for name, one in kept.items()}

    def set_state(self, state: dict[str, Tensor]) -> None:
        """Go back to what ``get_state`` gave.

        Raises:
            ValueError: the state belongs to an environment of other shapes.
        """
        own = self.tables | {"obs": self.obs, "mask": self.mask}
        for name, one in own.items():
            if state[name].shape != one.shape:
                shape = tuple(state[name].shape)
                raise ValueError(f"{name} has shape {shape}, this environment's has {tuple(one.shape)}")
        for name, one in own.items():
            one.copy_(state[name])
