"""Replay of many members on one device: a ring of transitions each, returns over several moves, uniform or by priority.

A member is one agent. Where it plays in several environments, their transitions lie in turn in its one ring.

A transition is one row of numbers, so that a batch is one gather:

    obs | next obs | next mask (6) | move | return | discount

It is put in as soon as the move is made, with return r and discount gamma (0 where the connection was made). The next
n - 1 moves of the same connection complete it in place,

    return += gamma^k r_k,   next obs, next mask <- those after move k,   discount <- gamma^(k+1), 0 at a true end

so that a row is at all times a right target over as many moves as are known.

Source: Sutton 1988, n-step returns; Schaul et al. 2016, prioritized replay (proportional).
Differs: rows are used before their n moves are complete.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from agents import compiled_moves
from optimizers.members import compilable

__all__ = ["Batch", "Replay", "SumTree"]

MOVES = 6


class Batch(NamedTuple):
    """Transitions drawn, B of each member."""

    obs: Tensor  # (members, B, entries)
    next_obs: Tensor  # (members, B, entries)
    next_mask: Tensor  # (members, B, 6)
    moves: Tensor  # (members, B)
    returns: Tensor  # (members, B)
    discount: Tensor  # (members, B) of the value after the last move, 0 at a true end
    places: Tensor  # (members, B) where they lie
    weights: Tensor | None  # (members, B) correction of priorities


class SumTree:
    """Sums of non-negative leaves, to draw a leaf in proportion to its value.

    Args:
        members: trees.
        leaves: of each.
        device: where they lie.
    """

    def __init__(self, members: int, leaves: int, device: torch.device | str = "cpu") -> None:
        self.depth = max(1, (leaves - 1).bit_length())
        self.sums = torch.zeros(members, 2 << self.depth, dtype=torch.float64, device=device)  # root at 1

    def set(self, places: Tensor, values: Tensor) -> None:
        """Give leaves (members, B) the values (members, B); of a leaf named twice one value stays."""
        at = places + (1 << self.depth)
        self.sums.scatter_(1, at, values.double())
        for _ in range(self.depth):
            at = at >> 1
            self.sums.scatter_(1, at, self.sums.gather(1, 2 * at) + self.sums.gather(1, 2 * at + 1))

    def total(self) -> Tensor:
        """Sum of all leaves, (members, 1)."""
        return self.sums[:, 1:2]

    def find(self, mass: Tensor) -> Tensor:
        """The leaves (members, B) in which the running sum of the leaves passes ``mass`` (members, B)."""
        at = torch.ones_like(mass, dtype=torch.int64)
        for _ in range(self.depth):
            left = self.sums.gather(1, 2 * at)
            right = (mass >= left) & (self.sums.gather(1, 2 * at + 1) > 0)
            mass = torch.where(right, mass - left, mass)
            at = 2 * at + right
        return at - (1 << self.depth)

    def values(self, places: Tensor) -> Tensor:
        """Leaves (members, B)."""
        return self.sums.gather(1, places + (1 << self.depth))


class Replay:
    """Rings of transitions.

    Args:
        members: rings.
        capacity: transitions of each, a multiple of the environments.
        entries: of an observation.
        gamma: discount of a move.
        environments: of each member; E in shapes.
        moves: number of moves.
        n_step: moves that a return covers.
        priority: exponent of the error in the probability of a transition; 0 draws uniformly.
        correction: exponent of the weights that undo the priorities.
        dtype, device: of the transitions.

    Raises:
        ValueError: more moves in a return than transitions of an environment in the ring, or a part of a transition.
    """

    def __init__(
        self,
        members: int,
        capacity: int,
        entries: int,
        *,
        gamma: float,
        environments: int = 1,
        moves: int = MOVES,
        n_step: int = 1,
        priority: float = 0.0,
        correction: float = 0.4,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
    ) -> None:
        if capacity % environments:
            raise ValueError(f"a replay of {capacity} is not a multiple of {environments} environments")
        if n_step > capacity // environments:
            share = f", {capacity // environments} an environment" if environments > 1 else ""
            raise ValueError(f"n_step {n_step} is larger than the replay of {capacity}{share}")
        self.capacity, self.entries, self.gamma, self.n_step = capacity, entries, gamma, n_step
        self.environments, self.moves, self.priority, self.correction = environments, moves, priority, correction
        self.width = self.row_width(entries, moves)
        self.rows = torch.zeros(members, capacity, self.width, dtype=dtype, device=device)
        self.position = torch.arange(environments, device=device).repeat(members)  # (members E,) of the next one
        self.filled = torch.zeros(members, dtype=torch.int64, device=device)
        self.age = torch.zeros_like(self.position)  # (members E,) moves made in the connection under way
        self._first = self._first_rows(members)
        self.tree = SumTree(members, capacity, device) if priority else None
        self.largest = torch.ones(members, 1, dtype=torch.float64, device=device)  # priority of a new transition

    @staticmethod
    def row_width(entries: int, moves: int = MOVES) -> int:
        """Numbers in a transition."""
        return 2 * entries + moves + 3

    def _first_rows(self, members: int) -> Tensor:
        """(members E,) first row of the ring."""
        return torch.arange(members, device=self.rows.device).repeat_interleave(self.environments) * self.capacity

    def add(
        self, obs: Tensor, moves: Tensor, rewards: Tensor, next_obs: Tensor, next_mask: Tensor, made: Tensor,
        ended: Tensor,
    ) -> None:  # fmt: skip
        """Put in one transition of each member, or of each of its environments.

        Args:
            obs, next_obs: (members E, entries).
            moves, rewards: (members E,).
            next_mask: (members E, 6), moves allowed after it.
            made: (members E,), whether the connection was made with this move.
            ended: (members E,), whether it ended, made or given up.
        """
        dtype = self.rows.dtype
        last = torch.stack([moves.to(dtype), rewards.to(dtype), (~made).to(dtype) * self.gamma], -1)
        self.put(torch.cat([obs, next_obs, next_mask.to(dtype), last], -1), ended)

    def put(self, rows: Tensor, ended: Tensor) -> None:
        """Put in one transition of each member, or of each of its environments, as a row of its one move.

        Args:
            rows: (members E, width).
            ended: (members E,), whether the connection ended, made or given up.
        """
        flat = self.rows.view(-1, self.width)
        flat.index_copy_(0, self._first + self.position, rows)
        if self.n_step > 1:
            self._complete(flat, rows)
            self.age.add_(1).mul_(~ended)
        if self.tree is not None:
            places = self.position.view(-1, self.environments)
            self.tree.set(places, self.largest.expand_as(places))
        self.position.add_(self.environments).remainder_(self.capacity)
        self.filled.add_(self.environments).clamp_(max=self.capacity)

    def _complete(self, flat: Tensor, rows: Tensor) -> None:
        """Add these moves to the returns of the moves before them."""
        after, rewards = rows[:, self.entries : 2 * self.entries + self.moves], rows[:, -2]
        lasting = (rows[:, -1] > 0).to(flat.dtype)
        for k in range(1, self.n_step):
            at = self._first + (self.position - k * self.environments) % self.capacity
            old = flat.index_select(0, at)
            new = old.clone()
            new[:, self.entries : 2 * self.entries + self.moves] = after
            new[:, -2] += self.gamma**k * rewards
            new[:, -1] = lasting * self.gamma ** (k + 1)
            flat.index_copy_(0, at, torch.where((self.age >= k)[:, None], new, old))

    def begin(self) -> None:
        """The next transitions begin a connection: those under way were broken off."""
        self.age.zero_()

    def draw(self, uniform: Tensor) -> Batch:
        """Transitions by numbers (members, B) in [0, 1), float64."""
        places, weights = self.choose(uniform)
        if compilable(self.rows):
            parts = compiled_moves.drawn(self.rows, places, self.entries, self.moves)
            return Batch._make((*parts, places, weights))
        at = (places + self._first[:: self.environments, None]).view(-1)
        rows = self.rows.view(-1, self.width).index_select(0, at).view(*places.shape, self.width)
        return self.batch(rows, places, weights)

    def choose(self, uniform: Tensor) -> tuple[Tensor, Tensor | None]:
        """Places of transitions by numbers (members, B) in [0, 1), and what corrects their priorities."""
        if self.tree is None:
            return (uniform * self.filled[:, None]).long(), None
        places = self.tree.find(uniform * self.tree.total())
        share = self.tree.values(places) / self.tree.total() * self.filled[:, None]
        found = share.clamp(min=1e-12) ** -self.correction
        return places, (found / found.amax(1, keepdim=True)).to(self.rows.dtype)

    def batch(self, rows: Tensor, places: Tensor, weights: Tensor | None) -> Batch:
        """Rows (..., width) in their parts."""
        obs, next_obs, mask, last = rows.split([self.entries, self.entries, self.moves, 3], -1)
        moves, returns, discount = last.unbind(-1)
        return Batch(obs, next_obs, mask, moves.long(), returns, discount, places, weights)

    def learn_priorities(self, places: Tensor, errors: Tensor) -> None:
        """Give transitions (members, B) the priority of their temporal-difference errors (members, B)."""
        if self.tree is not None:
            found = (errors.abs().double() + 1e-3) ** self.priority
            self.largest.copy_(torch.maximum(self.largest, found.amax(1, keepdim=True)))
            self.tree.set(places, found)

    def fill(self, place: int, rows: Tensor) -> None:
        """Put transitions (count, width) of one member in, at the beginning of an empty ring.

        Raises:
            ValueError: there are more than the ring holds, the ring is not empty, or of several environments.
        """
        count = len(rows)
        if self.environments > 1:
            raise ValueError(f"the ring belongs to {self.environments} environments; put transitions in with add()")
        if count > self.capacity or int(self.filled[place]):
            raise ValueError(f"{count} transitions do not fit into an empty ring of {self.capacity}")
        self.rows[place, :count] = rows.to(self.rows)
        self.position[place], self.filled[place] = count % self.capacity, count
        if self.tree is not None and count:
            self.tree.sums[place, (1 << self.tree.depth) : (1 << self.tree.depth) + count] = 1.0
            for level in range(self.tree.depth - 1, -1, -1):
                leaves = self.tree.sums[place, 2 << level : 4 << level]
                self.tree.sums[place, 1 << level : 2 << level] = leaves.view(-1, 2).sum(1)

    def keep(self, places: Tensor) -> None:
        """Go on with some of the members."""
        self.rows, self.largest, self.filled = self.rows[places], self.largest[places], self.filled[places]
        self.position, self.age = (
            one.view(-1, self.environments)[places].flatten() for one in (self.position, self.age)
        )
        self._first = self._first_rows(len(places))
        if self.tree is not None:
            self.tree.sums = self.tree.sums[places]

    def state_dict(self) -> dict[str, Any]:
        """Everything, with rings cut to what the fullest of them holds."""
        used = int(self.filled.max())
        kept: dict[str, Any] = {name: getattr(self, name) for name in ("position", "filled", "age", "largest")}
        return kept | {"rows": self.rows[:, :used], "tree": None if self.tree is None else self.tree.sums}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go back to what ``state_dict`` gave."""
        self.rows[:, : state["rows"].shape[1]] = state["rows"]
        for name in ("position", "filled", "age", "largest"):
            getattr(self, name).copy_(state[name])
        if self.tree is not None:
            self.tree.sums.copy_(state["tree"])
