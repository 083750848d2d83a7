"""Double DQN on Stable-Baselines3 with any optimizer: ``train`` hands it a closure.

The target is computed once, outside the closure: an optimizer that evaluates the loss at shifted weights minimises one
fixed objective.

Source: van Hasselt et al. 2016; Stable-Baselines3's DQN for everything but what is overridden here.
Differs: double instead of single target; masked moves; one coin an environment from the agent's own generator; passes
instead of steps measure progress; an optimizer's own learning rate is the default.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from stable_baselines3 import DQN
from stable_baselines3.common.buffers import ReplayBuffer
from stable_baselines3.common.utils import polyak_update

import optimizers
from agents.networks import HIDDEN, RoutingPolicy, q_values
from agents.td import choose, double_dqn_target, forbid, linear, td_loss

__all__ = ["DoubleDQN", "MaskedReplay"]


class MaskedReplay(ReplayBuffer):
    """Replay that also keeps the mask of the next state, and draws from a generator of its own."""

    def __init__(self, *args: Any, rng: np.random.Generator, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.rng = rng
        moves = int(self.action_space.n)  # type: ignore[attr-defined]
        self.next_masks = np.ones((self.buffer_size, self.n_envs, moves), np.int8)

    def add(
        self,
        obs: NDArray[Any],
        next_obs: NDArray[Any],
        action: NDArray[Any],
        reward: NDArray[Any],
        done: NDArray[Any],
        infos: list[dict[str, Any]],
    ) -> None:
        """Keep one transition of each environment; masks come from ``info["action_mask"]`` where there is one."""
        at = self.pos
        self.observations[at] = obs
        self.next_observations[at] = next_obs
        self.actions[at] = action.reshape(self.n_envs, self.action_dim)
        self.rewards[at] = reward
        self.dones[at] = done
        for i, info in enumerate(infos):
            self.timeouts[at, i] = info.get("TimeLimit.truncated", False)
            self.next_masks[at, i] = info.get("action_mask", 1)
        self.pos += 1
        if self.pos == self.buffer_size:
            self.full, self.pos = True, 0

    def draw(self, batch: int) -> tuple[torch.Tensor, ...]:
        """(obs, move, reward, terminated, next obs, next mask) of uniformly drawn transitions, first axis batch."""
        filled = self.buffer_size if self.full else self.pos
        at = self.rng.integers(0, filled * self.n_envs, batch)
        t, i = at // self.n_envs, at % self.n_envs
        terminated = self.dones[t, i] * (1 - self.timeouts[t, i])
        rows = (
            self.observations[t, i], self.actions[t, i, 0], self.rewards[t, i], terminated,
            self.next_observations[t, i], self.next_masks[t, i],
        )  # fmt: skip
        return tuple(torch.from_numpy(row).to(self.device) for row in rows)


class DoubleDQN(DQN):
    """Double DQN whose optimizer gets a closure.

    Args:
        env: a VecEnv or gymnasium environment, with ``action_masks()`` unless ``masked`` is False.
        optimizer, optimizer_options: by name, see the package ``optimizers``. Every step has a batch of its own:
            ``reuse`` is False unless it is given.
        learning_rate: None for the optimizer's own default; a number or a schedule of the remaining progress 1..0.
        masked: whether moves that change nothing are left out of exploration, greedy choice and target.
        reward_scale: rewards are multiplied by this before they are learnt from.
        loss: ``huber``, ``squared`` or ``published``.
        initialisation: first weights, see ``agents.networks``.
        passes: passes over the netlist (all environments together) that exploration and schedules reckon with.
        target_connections: if given, the target network is moved by ``tau`` every so many connections instead of
            every ``target_update_interval`` moves.
        options: everything else that Stable-Baselines3's DQN takes.
    """

    def __init__(
        self,
        policy: Any,
        env: Any,
        learning_rate: float | Callable[[float], float] | None = None,
        *,
        optimizer: str = "torch.adam",
        optimizer_options: dict[str, Any] | None = None,
        masked: bool = True,
        reward_scale: float = 1.0,
        loss: str = "huber",
        initialisation: str = "he",
        net_arch: tuple[int, ...] = HIDDEN,
        passes: int = 500,
        target_connections: int | None = None,
        seed: int | None = None,
        _init_setup_model: bool = True,
        **options: Any,
    ) -> None:
        chosen = dict(optimizer_options or {})
        optimizers.check_options(optimizer, chosen)
        if "reuse" in optimizers.default_options(optimizer):
            chosen.setdefault("reuse", False)  # the last gradient is of the last batch
        if learning_rate is not None and "lr" in chosen:
            raise ValueError("give the learning rate once: learning_rate or the optimizer's option lr")
        rate = chosen.pop("lr", None) if learning_rate is None else learning_rate
        self.masked, self.reward_scale, self.loss = masked, reward_scale, loss
        self.passes, self.target_connections = passes, target_connections
        self.rng = np.random.default_rng(seed)
        self.history: list[dict[str, Any]] = []
        """one row a finished pass: pass, routed, wirelength (of all wires laid), overflow, environment, reward"""
        self.connections_ended, self.target_moves = 0, 0
        own = {"n_steps": 1, "optimize_memory_usage": False, "replay_buffer_class": None, "replay_buffer_kwargs": None}
        for name, only in own.items():
            if options.pop(name, only) != only:
                raise ValueError(f"{name} is not supported: DoubleDQN has a replay of its own with one-step targets")
        if policy in ("MlpPolicy", RoutingPolicy):
            policy = RoutingPolicy
            arguments = {"initialisation": initialisation, "net_arch": list(net_arch)}
            options["policy_kwargs"] = (
                arguments
                | {"optimizer_class": optimizers.pick(optimizer), "optimizer_kwargs": chosen}
                | (options.get("policy_kwargs") or {})
            )
        elif _init_setup_model:
            raise ValueError(f"policy {policy!r}: DoubleDQN takes 'MlpPolicy' or RoutingPolicy")
        super().__init__(
            policy,
            env,
            optimizers.default_lr(optimizer) if rate is None else rate,
            replay_buffer_class=MaskedReplay,
            replay_buffer_kwargs={"rng": self.rng},
            seed=seed,
            _init_setup_model=_init_setup_model,
            **options,
        )
        if masked and self.env is not None and not self.env.has_attr("action_masks"):
            raise TypeError("the environment has no action_masks(); give masked=False")
        if self.get_vec_normalize_env() is not None:
            raise TypeError("VecNormalize is not supported; observation='scaled' lies within [-1, 1] already")

    def train(self, gradient_steps: int, batch_size: int = 32) -> None:
        """Make optimizer steps, each on one batch whose target stays fixed while the closure is evaluated."""
        self._update_learning_rate(self.policy.optimizer)
        replay, policy = self.replay_buffer, self.policy
        assert isinstance(replay, MaskedReplay)
        for _ in range(gradient_steps):
            obs, moves, reward, terminated, next_obs, next_mask = replay.draw(batch_size)
            with torch.no_grad():
                target = double_dqn_target(
                    reward * self.reward_scale, terminated, q_values(policy.q_net, next_obs),
                    q_values(policy.q_net_target, next_obs),
                    self.gamma, next_mask if self.masked else None,
                )  # fmt: skip
            policy.optimizer.step(self._closure(obs, moves, target))  # type: ignore[arg-type]  # a tensor is as good
        self._n_updates += gradient_steps

    def _closure(self, obs: torch.Tensor, moves: torch.Tensor, target: torch.Tensor) -> Callable[..., torch.Tensor]:
        """Loss and gradient at the current weights, on one batch; the loss alone with ``backward=False``."""
        parameters = [one for group in self.policy.optimizer.param_groups for one in group["params"]]

        def closure(backward: bool = True) -> torch.Tensor:
            for parameter in parameters:
                parameter.grad = None
            loss = td_loss(q_values(self.policy.q_net, obs), moves, target, self.loss)
            if backward:
                loss.backward()
                if self.max_grad_norm < np.inf:
                    torch.nn.utils.clip_grad_norm_(parameters, self.max_grad_norm)
            return loss.detach() if backward else loss  # on its graph for methods that differentiate it themselves

        return closure

    def predict(
        self,
        observation: Any,
        state: Any = None,
        episode_start: Any = None,
        deterministic: bool = False,
        action_masks: NDArray[Any] | None = None,
    ) -> tuple[NDArray[np.int64], Any]:
        """Moves for observations (entries,) or (B, entries), epsilon-greedy unless deterministic."""
        one = np.ndim(observation) == 1
        obs = torch.as_tensor(np.atleast_2d(observation), dtype=torch.float32, device=self.device)
        mask = None if action_masks is None else torch.as_tensor(np.atleast_2d(action_masks)).to(self.device)
        if deterministic:  # draws nothing: looking at an agent does not change its training
            q = q_values(self.policy.q_net, obs).detach()
            moves: NDArray[np.int64] = forbid(q, mask).argmax(-1).cpu().numpy()
        else:
            moves = self._moves(obs, mask, self.exploration_rate)
        return (moves[0] if one else moves), state

    def _moves(self, obs: torch.Tensor, mask: torch.Tensor | None, epsilon: float) -> NDArray[np.int64]:
        coins = self.rng.random((2, len(obs)))
        explore = torch.from_numpy(coins[0] < epsilon)
        with torch.no_grad():
            q = q_values(self.policy.q_net, obs).cpu()
        moves: NDArray[np.int64] = choose(
            q, None if mask is None else mask.cpu(), explore, torch.from_numpy(coins[1])
        ).numpy()
        return moves

    def _sample_action(
        self, learning_starts: int, action_noise: Any = None, n_envs: int = 1
    ) -> tuple[NDArray[Any], NDArray[Any]]:
        obs = torch.from_numpy(np.asarray(self._last_obs)).to(self.device)
        mask = self._masks() if self.masked else None
        warming_up = self.num_timesteps < learning_starts
        moves = self._moves(obs, mask, 1.0 if warming_up else self.exploration_rate)
        return moves, moves

    def _masks(self) -> torch.Tensor | None:
        env: Any = self.env
        if hasattr(env, "action_masks"):
            return torch.from_numpy(env.action_masks())
        return torch.from_numpy(np.stack(env.env_method("action_masks")))

    def _update_info_buffer(self, infos: list[dict[str, Any]], dones: NDArray[Any] | None = None) -> None:
        super()._update_info_buffer(infos, dones)
        for b, info in enumerate(infos):
            if "pass_reward" in info:
                row = {name: info[name] for name in ("routed", "wirelength", "overflow")} | {"environment": b}
                self.history.append({"pass": len(self.history) + 1, **row, "reward": info["pass_reward"]})
        if dones is not None:
            self.connections_ended += int(np.sum(dones))

    def _update_current_progress_remaining(self, num_timesteps: int, total_timesteps: int) -> None:
        self._current_progress_remaining = max(0.0, 1.0 - len(self.history) / self.passes)

    def _on_step(self) -> None:
        self._n_calls += 1
        if self.target_connections is None:
            due = self._n_calls % max(self.target_update_interval // self.n_envs, 1) == 0
        else:
            reached = self.connections_ended // self.target_connections
            due, self.target_moves = reached > self.target_moves, reached
        if due:
            polyak_update(self.q_net.parameters(), self.q_net_target.parameters(), self.tau)
        self.exploration_rate = linear(
            self.exploration_initial_eps, self.exploration_final_eps, self.exploration_fraction,
            1.0 - self._current_progress_remaining,
        )  # fmt: skip
