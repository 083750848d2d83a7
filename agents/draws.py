"""Random numbers of each member from a counter: the same on every device, whatever the neighbours do.

    u(key, i) = mix(key + i * golden) / 2^53,   mix = the finaliser of SplitMix64

A member's numbers depend on its key and on how many were drawn before, nothing else; a checkpoint keeps the counter.

Source: Steele, Lea and Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014. Differs: nothing; 64-bit
integers wrap in torch as they do there, and shifts are made logical with a mask.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from agents import compiled_moves
from optimizers.members import at_hand

__all__ = ["Draws"]

GOLDEN, FIRST, SECOND = (
    int(one) - 2**64 for one in (compiled_moves.GOLDEN, compiled_moves.FIRST, compiled_moves.SECOND)
)


def _shifted(x: Tensor, by: int) -> Tensor:
    return (x >> by).bitwise_and_((1 << (64 - by)) - 1)


def mixed(x: Tensor) -> Tensor:
    """The finaliser of SplitMix64 on int64 tensors; ``x`` is overwritten."""
    x = x.bitwise_xor_(_shifted(x, 30)).mul_(FIRST)
    x = x.bitwise_xor_(_shifted(x, 27)).mul_(SECOND)
    return x.bitwise_xor_(_shifted(x, 31))


class Draws:
    """A stream of uniform numbers for each member.

    Args:
        seeds: one a member; equal seeds give equal streams.
        device: where the numbers are made.
    """

    def __init__(self, seeds: Sequence[int], device: torch.device | str = "cpu") -> None:
        # keys are spread by the mix itself, so that neighbouring seeds give unrelated streams
        start = torch.tensor(list(seeds), dtype=torch.int64)
        self.keys = mixed((start + 1) * GOLDEN).to(device)
        self.counter = torch.zeros((), dtype=torch.int64, device=device)
        self._ranges: dict[int, Tensor] = {}

    def uniform(self, count: int) -> Tensor:
        """The next ``count`` numbers of each member, (members, count), float64 in [0, 1)."""
        if at_hand(self.keys):
            found = compiled_moves.uniform(self.keys, self.counter, count)
            self.counter.add_(count)
            return found
        if count not in self._ranges:
            self._ranges[count] = torch.arange(1, count + 1, device=self.keys.device)
        at = (self._ranges[count] + self.counter) * GOLDEN
        self.counter.add_(count)
        return _shifted(mixed(self.keys[:, None] + at), 11).double().mul_(2.0**-53)

    def keep(self, places: Tensor) -> None:
        """Go on with some of the members."""
        self.keys = self.keys[places]
