"""The Q-network as a Stable-Baselines3 policy with the study's layer sizes and a choice of first weights."""

from __future__ import annotations

from typing import Any

import torch
from stable_baselines3.common.torch_layers import FlattenExtractor
from stable_baselines3.dqn.policies import DQNPolicy
from torch import nn

__all__ = ["HIDDEN", "RoutingPolicy", "initialise", "q_values"]

HIDDEN = (32, 64, 32)
"""hidden layers of the published network"""


def initialise(module: nn.Module, kind: str) -> None:
    """Draw the weights of every linear layer.

    ``he``: normal with variance 2 / inputs, biases 0; ``published``: uniform in [-0.5, 0.5], biases 0; ``torch``:
    as torch draws them.

    Raises:
        ValueError: unknown kind.
    """
    if kind == "torch":
        return
    if kind not in ("he", "published"):
        raise ValueError(f"initialisation {kind!r} is none of he, published, torch")
    for layer in module.modules():
        if isinstance(layer, nn.Linear):
            if kind == "he":
                nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            else:
                nn.init.uniform_(layer.weight, -0.5, 0.5)
            nn.init.zeros_(layer.bias)


def q_values(network: nn.Module, obs: torch.Tensor) -> torch.Tensor:
    """Q-values (B, moves) of observations (B, entries), float32.

    For a plain stack of linear layers and ReLUs the layers are applied one by one, the same arithmetic without the
    bookkeeping of module calls, which is most of the cost at these sizes.
    """
    stack = getattr(network, "q_net", None)
    plain = type(getattr(network, "features_extractor", None)) is FlattenExtractor
    if not plain or not isinstance(stack, nn.Sequential) or obs.dim() != 2:
        values: torch.Tensor = network(obs)
        return values
    for layer in stack:
        if isinstance(layer, nn.Linear):
            obs = nn.functional.linear(obs, layer.weight, layer.bias)
        elif isinstance(layer, nn.ReLU):
            obs = torch.relu(obs)
        else:
            obs = layer(obs)
    return obs


class RoutingPolicy(DQNPolicy):
    """DQN's policy with first weights of a chosen kind; the target network starts as a copy."""

    def __init__(self, *args: Any, initialisation: str = "he", **kwargs: Any) -> None:
        self.initialisation = initialisation
        super().__init__(*args, **kwargs)

    def _build(self, lr_schedule: Any) -> None:
        super()._build(lr_schedule)
        initialise(self.q_net, self.initialisation)
        self.q_net_target.load_state_dict(self.q_net.state_dict())

    def _get_constructor_parameters(self) -> dict[str, Any]:
        return super()._get_constructor_parameters() | {"initialisation": self.initialisation}

    def set_training_mode(self, mode: bool) -> None:
        """Switch only where the mode changes: Stable-Baselines3 asks before every rollout and every update."""
        if mode != self.training:
            super().set_training_mode(mode)
