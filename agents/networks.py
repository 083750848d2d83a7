"""The Q-network: as a Stable-Baselines3 policy, and stacked for many agents at once; a choice of first weights."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from stable_baselines3.common.torch_layers import FlattenExtractor
from stable_baselines3.dqn.policies import DQNPolicy, QNetwork
from torch import Tensor, nn

from agents import compiled
from optimizers.members import compilable

__all__ = ["HIDDEN", "Dueling", "RoutingPolicy", "StackedMLP", "initialise", "q_values"]

HIDDEN = (32, 64, 32)
"""hidden layers of the published network"""


def initialise(module: nn.Module, kind: str, generator: torch.Generator | None = None) -> None:
    """Draw the weights of every linear layer; a generator of one's own is possible for all kinds but ``torch``.

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
                nn.init.kaiming_normal_(layer.weight, nonlinearity="relu", generator=generator)
            else:
                nn.init.uniform_(layer.weight, -0.5, 0.5, generator=generator)
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


class Dueling(nn.Module):
    """Q-values (..., moves) of (..., moves + 1): Q = value + advantage - mean(advantage), the value last.

    Source: Wang et al., "Dueling network architectures for deep reinforcement learning", ICML 2016.
    Differs: value and advantage share all layers but the last.
    """

    def forward(self, both: Tensor) -> Tensor:
        """Put value and advantages together."""
        advantage = both[..., :-1]
        return both[..., -1:] + advantage - advantage.mean(-1, keepdim=True)


class RoutingPolicy(DQNPolicy):
    """DQN's policy with first weights of a chosen kind, dueling if asked; the target network starts as a copy."""

    def __init__(self, *args: Any, initialisation: str = "he", dueling: bool = False, **kwargs: Any) -> None:
        self.initialisation, self.dueling = initialisation, dueling
        super().__init__(*args, **kwargs)

    def make_q_net(self) -> QNetwork:
        """The network, whose last layer has one output more where it is dueling."""
        network = super().make_q_net()
        if self.dueling:
            *hidden, last = network.q_net
            assert isinstance(last, nn.Linear)
            wider = nn.Linear(last.in_features, last.out_features + 1, device=self.device)
            network.q_net = nn.Sequential(*hidden, wider, Dueling())
        return network

    def _build(self, lr_schedule: Any) -> None:
        super()._build(lr_schedule)
        initialise(self.q_net, self.initialisation)
        self.q_net_target.load_state_dict(self.q_net.state_dict())

    def _get_constructor_parameters(self) -> dict[str, Any]:
        own = {"initialisation": self.initialisation, "dueling": self.dueling}
        return super()._get_constructor_parameters() | own

    def set_training_mode(self, mode: bool) -> None:
        """Switch only where the mode changes: Stable-Baselines3 asks before every rollout and every update."""
        if mode != self.training:
            super().set_training_mode(mode)


class StackedMLP:
    """The Q-networks of many members: linear layers with ReLUs between them, one matrix product a layer for all.

    Weights are (members, inputs, outputs) and biases (members, 1, outputs); ``params`` lists them layer by layer. With
    ``dueling`` the last layer gives an advantage of each move and one value, put together as in ``Dueling``.

    Args:
        inputs: entries of an observation.
        hidden: sizes of the hidden layers.
        moves: number of moves.
        seeds: of the first weights, one a member.
        initialisation: see ``initialise``.
        dueling: whether value and advantage are apart.
        dtype, device: of the weights.
    """

    def __init__(
        self,
        inputs: int,
        hidden: Sequence[int],
        moves: int,
        *,
        seeds: Sequence[int],
        initialisation: str = "he",
        dueling: bool = False,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
    ) -> None:
        self.join = Dueling() if dueling else None
        self.sizes = (inputs, *hidden, moves + dueling)
        members = [self._first_weights(seed, initialisation) for seed in seeds]
        self.params = [
            torch.stack(parts).to(device=device, dtype=dtype).requires_grad_() for parts in zip(*members, strict=True)
        ]

    def _first_weights(self, seed: int, kind: str) -> list[Tensor]:
        generator = torch.Generator().manual_seed(seed)
        parts = []
        for inputs, outputs in zip(self.sizes, self.sizes[1:], strict=False):
            layer = nn.Linear(inputs, outputs)
            if kind == "torch":
                for part in layer.parameters():
                    nn.init.uniform_(part, -(inputs**-0.5), inputs**-0.5, generator=generator)
            initialise(layer, kind, generator)
            parts += [layer.weight.detach().t().contiguous(), layer.bias.detach()[None]]
        return parts

    def __call__(self, obs: Tensor, params: Sequence[Tensor] | None = None) -> Tensor:
        """Q-values (members, B, moves) of observations (members, B, entries), with other weights if given."""
        params = self.params if params is None else params
        if self.compiled and not torch.is_grad_enabled():
            return compiled.q_values(params, obs)
        x = torch.baddbmm(params[1], obs, params[0])
        for weight, bias in zip(params[2::2], params[3::2], strict=True):
            x = torch.baddbmm(bias, torch.relu(x), weight)
        return x if self.join is None else self.join.forward(x)

    @property
    def compiled(self) -> bool:
        """Whether values and gradients are computed by ``agents.compiled``."""
        return self.join is None and compilable(self.params[0])

    def member(self, place: int) -> dict[str, Tensor]:
        """One member's weights as Stable-Baselines3 names them in a Q-network."""
        found = {}
        for layer in range(len(self.sizes) - 1):
            found[f"q_net.{2 * layer}.weight"] = self.params[2 * layer][place].detach().t().contiguous()
            found[f"q_net.{2 * layer}.bias"] = self.params[2 * layer + 1][place, 0].detach().clone()
        return found

    @torch.no_grad()
    def load_member(self, place: int, weights: dict[str, Tensor]) -> None:
        """Take the weights of one member from a Q-network of Stable-Baselines3."""
        for layer in range(len(self.sizes) - 1):
            self.params[2 * layer][place].copy_(weights[f"q_net.{2 * layer}.weight"].t())
            self.params[2 * layer + 1][place, 0].copy_(weights[f"q_net.{2 * layer}.bias"])
