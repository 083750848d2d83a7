"""All unit tests of one number of coordinates as one population: losses, noise, motion, and what is gained at the end.

Members are test by test the repetitions of each. Random numbers depend on the test's name, the seed, the repetition and
the step alone, so every optimizer is given the same ones, and a test does not know which others are run with it.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Sequence

import torch
from torch import Tensor

from benchmarks.tasks.unit_tests.cases import NOISES, SCALES, Case
from benchmarks.tasks.unit_tests.shapes import evaluate, shape, stacked

__all__ = ["FAR", "PARTS", "Population"]

FAR = 1e10
"""a loss above it counts as lost, one below its negative as this"""
EVERY, HALF = 10, 25
"""steps between motions, and of a half period of flip"""
PARTS = 3
"""draws of a step for methods that see several batches: those of this step and of the next two"""


class Population:
    """Tests of n coordinates with their repetitions.

    Args:
        tests: all of one n.
        repetitions: of each.
        steps: of a run.
        seed: of all random numbers.

    Attributes:
        x: parameters (members, n).
    """

    def __init__(self, tests: Sequence[Case], repetitions: int, steps: int, seed: int = 0) -> None:
        (n,) = {one.n for one in tests}
        self.tests, self.repetitions, self.steps, self.n = list(tests), repetitions, steps, n
        drawn = [_Drawn(one, repetitions, steps, seed) for one in tests]

        def members(values: Tensor) -> Tensor:
            return values.repeat_interleave(repetitions, 0)

        pairs = [[one.coordinate(place) for place in range(n)] for one in tests]
        flat = stacked([shape(name) for line in pairs for name, _ in line])
        self.table = members(flat.view(len(tests), n, *flat.shape[1:]))  # (members, n, segments, 9)
        starts = torch.tensor([[SCALES[scale] for _, scale in line] for line in pairs], dtype=torch.float64)
        self.base, self.start_slope = members(starts[..., 0]), members(starts[..., 1])  # (members, n)
        self.turn = members(torch.stack([one.turn for one in drawn]))  # (members, n, n)
        self.curl = members(torch.stack([one.curl for one in drawn]))
        self.bent = members(torch.tensor([[one.mixing == "bent"] for one in tests]))  # (members, 1)
        self.turned = any(one.mixing == "turned" for one in tests)
        self.curled = any(one.mixing == "curled" for one in tests)
        parts = [torch.cat(one, 1) for one in zip(*(one.parts() for one in drawn), strict=True)]
        self.adds, self.factors, self.offsets, self.stretches, self.signs = parts  # (steps + 2 or steps, members, n)
        self.x = torch.zeros(len(tests) * repetitions, n, dtype=torch.float64)

    def values(self, x: Tensor, step: int) -> Tensor:
        """F_i (members, n) at points (members, n) under the motion of a step, without noise."""
        z = x * self.signs[step] - self.offsets[step]
        if self.turned:
            z = (self.turn @ z.unsqueeze(-1)).squeeze(-1)
        if self.n > 1:
            valley = torch.cat([z[:, :1], z[:, 1:] + 0.5 - 2 * z[:, :-1] ** 2], 1)
            z = torch.where(self.bent, valley, z)
        return self.base + self.start_slope * self.stretches[step] * evaluate(self.table, z)

    def losses(self, x: Tensor, step: int, part: int = 0) -> Tensor:
        """Losses (members,) with the noise of a step, or of a later one for a part above 0."""
        draw = step + part
        loss = (self.factors[draw] * self.values(x, step) + self.adds[draw] * x).sum(1)
        if self.curled:
            extra = ((self.curl @ x.detach().unsqueeze(-1)).squeeze(-1) * x).sum(1)
            loss = loss + extra - extra.detach()
        return loss

    def gains(self, x: Tensor) -> Tensor:
        """How much lower the loss at points (members, n) is than at the start: (tests, repetitions).

        Both without noise and under the motion of the last step; minus infinity where the loss is lost.
        """
        with torch.no_grad():
            start, found = (self.values(at, self.steps - 1).sum(1) for at in (torch.zeros_like(x), x))
        lost = found.isnan() | (found > FAR)
        return torch.where(lost, -math.inf, start - found.clamp(min=-FAR)).view(len(self.tests), self.repetitions)


class _Drawn:
    """The random numbers of one test."""

    def __init__(self, case: Case, repetitions: int, steps: int, seed: int) -> None:
        draw = torch.Generator().manual_seed(zlib.crc32(f"{seed} {case.name}".encode()))
        n, size = case.n, (repetitions, steps + PARTS - 1, case.n)

        def normal(*shape: int) -> Tensor:
            return torch.randn(*shape, generator=draw, dtype=torch.float64)

        turned, curled = (torch.linalg.qr(normal(n, n))[0] for _ in range(2))
        self.turn = turned if case.mixing == "turned" else torch.eye(n, dtype=torch.float64)
        self.curl = curled if case.mixing == "curled" else torch.zeros(n, n, dtype=torch.float64)
        self.case, self.steps = case, steps
        self.normal, self.uniform = normal(*size), torch.rand(*size, generator=draw, dtype=torch.float64)
        jumps = normal(*size)
        jumps[:, torch.arange(size[1]) % EVERY != 0] = 0
        jumps[:, 0] = 0
        self.walk = jumps.cumsum(1)  # (repetitions, steps + 2, n)

    def parts(self) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """Added slope, factor of the loss, offset, factor of the slope, sign: (steps + 2, repetitions, n) each."""
        kind, size = NOISES[self.case.noise]
        zero, one, motion = torch.zeros_like(self.walk), torch.ones_like(self.walk), self.case.motion
        sizes = size * torch.exp(0.5 * self.walk) if motion == "noise" else size * one
        adds, factors = zero, one
        if kind == "additive":
            adds = sizes * self.normal
        elif kind == "cauchy":
            adds = sizes * torch.tan(math.pi * (self.uniform - 0.5))
        elif kind == "multiplicative":
            factors = torch.exp(sizes * self.normal)
        elif kind == "masked":
            factors = (self.uniform >= size).to(one.dtype)
        offsets = 0.1 * self.walk if motion == "offset" else zero
        stretches = torch.exp(0.1 * self.walk) if motion == "scale" else one
        half = torch.arange(one.shape[1]) // HALF % 2
        signs = (1.0 - 2.0 * half)[:, None] * one if motion == "flip" else one
        adds, factors, offsets, stretches, signs = (
            part.movedim(1, 0) for part in (adds, factors, offsets, stretches, signs)
        )
        return adds, factors, offsets, stretches, signs
