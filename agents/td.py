"""Double-DQN arithmetic: target, loss, choice of moves and schedules, on arrays of any leading shape.

    best   = argmax over allowed moves of Q_online(next)
    target = reward + gamma * (1 - terminated) * Q_target(next)[best]

Source: van Hasselt, Guez, Silver, "Deep reinforcement learning with double Q-learning", AAAI 2016.
Differs: moves that a mask forbids are chosen neither in exploration, nor greedily, nor in the target.
"""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["LOSSES", "choose", "double_dqn_target", "forbid", "linear", "td_loss"]

LOSSES = ("huber", "squared", "published")
"""kinds of ``td_loss``"""


def forbid(q: Tensor, mask: Tensor | None) -> Tensor:
    """Q-values (..., moves) with -inf where the mask (..., moves) is 0."""
    return q if mask is None else q.masked_fill(mask == 0, -torch.inf)


def double_dqn_target(
    reward: Tensor,
    terminated: Tensor | float,
    q_next_online: Tensor,
    q_next_target: Tensor,
    gamma: float | Tensor,
    mask: Tensor | None = None,
) -> Tensor:
    """The value a transition teaches.

    Args:
        reward, terminated: (..., B); only a true end stops the bootstrap. 0 where ``gamma`` knows the ends.
        q_next_online, q_next_target: (..., B, moves).
        gamma: discount per transition, a number or (..., B).
        mask: (..., B, moves), moves allowed in the next state; None for all.

    Returns:
        (..., B)
    """
    best = forbid(q_next_online, mask).argmax(-1, keepdim=True)
    return reward + gamma * (1.0 - terminated) * q_next_target.gather(-1, best).squeeze(-1)


def td_loss(q: Tensor, moves: Tensor, target: Tensor, kind: str = "huber", weights: Tensor | None = None) -> Tensor:
    """Loss of Q-values (..., B, moves) at the moves made (..., B) against targets (..., B), averaged over B.

    ``huber`` (threshold 1), ``squared``, or ``published``: squared and averaged over all B x moves entries of the
    target matrix, of which all but the moves made have no error. ``weights`` (..., B) multiply the transitions.

    Raises:
        ValueError: unknown kind.
    """
    error = q.gather(-1, moves.unsqueeze(-1)).squeeze(-1) - target
    if kind == "huber":
        size = error.abs()
        each = torch.where(size < 1, 0.5 * error * error, size - 0.5)
    elif kind in ("squared", "published"):
        each = error * error
    else:
        raise ValueError(f"loss {kind!r} is none of {', '.join(LOSSES)}")
    loss = (each if weights is None else each * weights).mean(-1)
    return loss / q.shape[-1] if kind == "published" else loss


def choose(q: Tensor, mask: Tensor | None, explore: Tensor, draws: Tensor) -> Tensor:
    """Epsilon-greedy moves.

    Args:
        q: (..., moves).
        mask: (..., moves) allowed moves, None for all.
        explore: (...), True where a random move is made.
        draws: (...) uniform in [0, 1), which of the allowed moves that is.

    Returns:
        (...) move numbers
    """
    allowed = torch.ones_like(q, dtype=torch.bool) if mask is None else mask > 0
    wanted = (draws * allowed.sum(-1)).long() + 1
    random = (allowed.cumsum(-1) == wanted.unsqueeze(-1)).to(torch.uint8).argmax(-1)
    return torch.where(explore, random, forbid(q, mask).argmax(-1))


def linear(start: float, end: float, fraction: float, progress: float) -> float:
    """A value that goes from start to end over the first ``fraction`` of the progress 0..1 and stays."""
    if fraction <= 0:
        return end
    return start + (end - start) * min(1.0, progress / fraction)
