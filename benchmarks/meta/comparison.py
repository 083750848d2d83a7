"""Learned optimizers against Adam with a tuned learning rate, on problems that neither has seen.

The rate is tuned on one draw of a family and both are measured on another, with the same starts and mini-batches.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

import optimizers
from benchmarks.meta.problems import HELD_OUT, Family, draw, generator_of

__all__ = ["RATES", "against_adam", "losses", "reduction"]

RATES = (1e-3, 3e-3, 1e-2, 3e-2, 1e-1, 3e-1, 1.0, 3.0)
SMALLEST = 1e-12
"""losses below this share of the first one count as this"""


def losses(
    make: Callable[[list[Tensor]], torch.optim.Optimizer],
    family: str | Family,
    *,
    members: int,
    steps: int,
    seed: int,
    number: int,
) -> Tensor:
    """Losses before each step and after the last, (steps + 1, members), of problems with a number from HELD_OUT on.

    ``make`` gets the tensors of the problems, each (members, size), and returns their optimizer.
    """
    generator = generator_of(seed, HELD_OUT + number)
    problems = draw(family, members, generator)
    params = [part.clone().requires_grad_() for part in problems.start.split(problems.sizes, -1)]
    optimizer, found = make(params), []
    for _ in range(steps):
        optimizer.zero_grad()
        theta = torch.cat(params, -1)
        loss = problems.loss(theta)
        found.append(loss.detach())
        seen = problems.noisy(theta, generator) if problems.noisy else loss
        seen.sum().backward()
        optimizer.step()
    return torch.stack([*found, problems.loss(torch.cat(params, -1)).detach()])


def against_adam(
    name: str, phi: Mapping[str, Tensor] | None, family: str, *, seed: int, members: int = 128, steps: int = 100
) -> dict[str, Any]:
    """Compare a learned optimizer, by name, with Adam on a family.

    Args:
        name: of the learned optimizer.
        phi: its weights; None for the shipped ones.
        family: of problems.
        seed: of the problems; the seed of the meta-training gives problems that it has not drawn.
        members: problems in each draw.
        steps: of each method.

    Returns:
        The best rate of Adam, for both the mean over problems of log10 of the last loss over the first, and the share
        of problems on which the learned one ends lower.
    """

    def adam(rate: float, number: int) -> Tensor:
        make = lambda params: torch.optim.Adam(params, lr=rate)  # noqa: E731
        return losses(make, family, members=members, steps=steps, seed=seed, number=number)

    rate = min(RATES, key=lambda rate: float(reduction(adam(rate, 1)).mean()))
    theirs = reduction(adam(rate, 0))
    kind: Any = optimizers.pick(name)
    own = losses(
        lambda params: kind(params, weights=phi, member_dims=1),
        family,
        members=members,
        steps=steps,
        seed=seed,
        number=0,
    )
    ours = reduction(own)
    return {
        "steps": steps, "problems": members, "adam_lr": rate, "adam": round(float(theirs.mean()), 3),
        name: round(float(ours.mean()), 3), "share_lower": round(float((ours < theirs).double().mean()), 3),
    }  # fmt: skip


def reduction(found: Tensor, step: int = -1) -> Tensor:
    """log10 of the loss after a step, or the last, over the first one, of ``losses`` (steps + 1, members): (members,).

    A loss that is not finite counts as 10^12 times the first one, the worst there is.
    """
    ratio = torch.where(torch.isfinite(found[step]), found[step] / found[0], torch.inf)
    return ratio.clamp(SMALLEST, 1 / SMALLEST).log10()
