"""Double DQN on Stable-Baselines3 with any optimizer: ``train`` hands it a closure.

The target is computed once, outside the closure: an optimizer that evaluates the loss at shifted weights minimises one
fixed objective.

Source: van Hasselt et al. 2016; Stable-Baselines3's DQN for everything but what is overridden here.
Differs: double instead of single target; masked moves; one coin an environment from the agent's own generator; passes
instead of steps measure progress; an optimizer's own learning rate is the default; dueling networks, returns over
several moves and priorities if asked.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from stable_baselines3 import DQN
from stable_baselines3.common.buffers import BaseBuffer, ReplayBuffer
from stable_baselines3.common.utils import polyak_update

import optimizers
from agents.config import check_optimizer
from agents.networks import HIDDEN, RoutingPolicy, q_values
from agents.replay import Batch, Replay
from agents.td import choose, double_dqn_target, forbid, linear, td_loss

__all__ = ["DoubleDQN", "MaskedReplay"]


class MaskedReplay(ReplayBuffer):
    """The replay of populations, with one member, as Stable-Baselines3's buffer; drawn from by a generator of its own.

    ``ring`` holds the transitions: those of one move lie side by side, environment by environment.

    Args:
        buffer_size: transitions of all environments together.
        rng: draws places.
        gamma, n_step, priority: as in ``agents.replay.Replay``.
    """

    def __init__(
        self, buffer_size: int, observation_space: Any, action_space: Any, device: Any = "auto", n_envs: int = 1,
        optimize_memory_usage: bool = False, *, rng: np.random.Generator, gamma: float, n_step: int = 1,
        priority: float = 0.0,
    ) -> None:  # fmt: skip
        # without ReplayBuffer's arrays
        BaseBuffer.__init__(self, max(buffer_size // n_envs, 1), observation_space, action_space, device, n_envs=n_envs)
        self.rng, self.optimize_memory_usage, self.handle_timeout_termination = rng, optimize_memory_usage, True
        self.entries, self.moves = int(np.prod(self.obs_shape)), int(action_space.n)
        self.ring = Replay(
            1, self.buffer_size * n_envs, self.entries, gamma=gamma, environments=n_envs, moves=self.moves,
            n_step=n_step, priority=priority,
        )  # fmt: skip

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
        many, entries, gamma = self.n_envs, self.entries, self.ring.gamma
        rows = np.empty((many, self.ring.width), np.float32)
        rows[:, :entries], rows[:, entries : 2 * entries] = obs.reshape(many, -1), next_obs.reshape(many, -1)
        rows[:, -3], rows[:, -2] = action.reshape(many), reward
        for row, ended, info in zip(rows, done.tolist(), infos, strict=True):
            row[2 * entries : -3] = info.get("action_mask", 1)
            row[-1] = 0.0 if ended and not info.get("TimeLimit.truncated", False) else gamma
        self.ring.put(torch.from_numpy(rows), torch.from_numpy(done))
        self.pos += 1
        if self.pos == self.buffer_size:
            self.full, self.pos = True, 0

    def draw(self, batch: int) -> Batch:
        """Transitions, first axis batch: uniformly drawn or by priority."""
        weights = None
        if self.ring.tree is None:
            places = torch.from_numpy(self.rng.integers(0, self.size() * self.n_envs, batch))
        else:
            found, correction = self.ring.choose(torch.from_numpy(self.rng.random(batch))[None])
            assert correction is not None
            places, weights = found[0], correction[0].to(self.device)
        drawn = self.ring.batch(self.ring.rows[0].index_select(0, places).to(self.device), places, weights)
        if len(self.obs_shape) == 1:
            return drawn
        shape = (batch, *self.obs_shape)
        return drawn._replace(obs=drawn.obs.reshape(shape), next_obs=drawn.next_obs.reshape(shape))

    def learn_priorities(self, batch: Batch, errors: torch.Tensor) -> None:
        """Give the transitions of a batch the priority of their temporal-difference errors."""
        self.ring.learn_priorities(batch.places[None], errors[None].cpu())

    def sample(self, batch_size: int, env: Any = None) -> Any:
        """Refused: Stable-Baselines3's samples have no place for masks and weights.

        Raises:
            NotImplementedError: always.
        """
        raise NotImplementedError("MaskedReplay.sample: take draw(), which also gives masks and weights")


class Lesson(NamedTuple):
    """What a batch teaches; nothing in it changes while the closure is evaluated."""

    obs: torch.Tensor  # (B, entries)
    moves: torch.Tensor  # (B,)
    target: torch.Tensor  # (B,)
    weights: torch.Tensor | None  # (B,)


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
        dueling: whether the network gives a value and the advantage of each move.
        gamma: discount of a move.
        n_step: moves that a return covers before the value of the next state is used.
        priority: exponent of the error in the probability of drawing a transition; 0 draws uniformly.
        passes: passes over the netlist (all environments together) that exploration and schedules reckon with.
        target_connections: if given, the target network is moved by ``tau`` every so many connections instead of
            every ``target_update_interval`` moves.
        options: everything else that Stable-Baselines3's DQN takes.

    An optimizer that wants sub-batches (oLMoQ-mb) gets thirds of ``batch_size``: the newest is drawn at its step, the
    other two are those of the steps before, with their targets.
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
        dueling: bool = False,
        gamma: float = 0.99,
        n_step: int = 1,
        priority: float = 0.0,
        passes: int = 500,
        target_connections: int | None = None,
        seed: int | None = None,
        _init_setup_model: bool = True,
        **options: Any,
    ) -> None:
        chosen = dict(optimizer_options or {})
        check_optimizer(optimizer, chosen)
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
        self.window: list[Lesson] = []
        """sub-batches in use, the newest last"""
        own = {"n_steps": 1, "optimize_memory_usage": False, "replay_buffer_class": None, "replay_buffer_kwargs": None}
        for name, only in own.items():
            if options.pop(name, only) != only:
                raise ValueError(f"{name} is not supported: DoubleDQN has a replay of its own; see n_step, priority")
        if policy in ("MlpPolicy", RoutingPolicy):
            policy = RoutingPolicy
            arguments = {"initialisation": initialisation, "net_arch": list(net_arch), "dueling": dueling}
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
            replay_buffer_kwargs={"rng": self.rng, "gamma": gamma, "n_step": n_step, "priority": priority},
            gamma=gamma,
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
        optimizer: Any = self.policy.optimizer
        self._update_learning_rate(optimizer)
        in_parts = getattr(optimizer, "needs_parts", False)
        for _ in range(gradient_steps):
            if in_parts:
                self.window = self.window[-2:]
                while len(self.window) < 3:
                    self.window.append(self._lesson(max(1, batch_size // 3)))
                optimizer.step([self._closure(*lesson) for lesson in self.window])
            else:
                optimizer.step(self._closure(*self._lesson(batch_size)))
        self._n_updates += gradient_steps

    @torch.no_grad()
    def _lesson(self, batch_size: int) -> Lesson:
        """Draw a batch, compute its target and give it the priorities of its errors."""
        replay, policy = self.replay_buffer, self.policy
        assert isinstance(replay, MaskedReplay)
        batch = replay.draw(batch_size)
        target = double_dqn_target(
            batch.returns * self.reward_scale, 0.0, q_values(policy.q_net, batch.next_obs),
            q_values(policy.q_net_target, batch.next_obs), batch.discount, batch.next_mask if self.masked else None,
        )  # fmt: skip
        if batch.weights is not None:
            found = q_values(policy.q_net, batch.obs).gather(-1, batch.moves[:, None]).squeeze(-1)
            replay.learn_priorities(batch, found - target)
        return Lesson(batch.obs, batch.moves, target, batch.weights)

    def _closure(
        self, obs: torch.Tensor, moves: torch.Tensor, target: torch.Tensor, weights: torch.Tensor | None = None
    ) -> Callable[..., torch.Tensor]:
        """Loss and gradient at the current weights, on one batch; the loss alone with ``backward=False``."""
        parameters = [one for group in self.policy.optimizer.param_groups for one in group["params"]]

        def closure(backward: bool = True) -> torch.Tensor:
            for parameter in parameters:
                parameter.grad = None
            loss = td_loss(q_values(self.policy.q_net, obs), moves, target, self.loss, weights)
            if backward:
                loss.backward()
                if self.max_grad_norm < np.inf:
                    torch.nn.utils.clip_grad_norm_(parameters, self.max_grad_norm)
            return loss.detach() if backward else loss  # on its graph for methods that differentiate it themselves

        return closure

    def _setup_learn(
        self, total_timesteps: int, callback: Any = None, reset_num_timesteps: bool = True, *arguments: Any,
        **named: Any,
    ) -> Any:  # fmt: skip
        """Where the environment is reset, the connections under way have no further moves."""
        if reset_num_timesteps or self._last_obs is None:
            assert isinstance(self.replay_buffer, MaskedReplay)
            self.replay_buffer.ring.begin()
        return super()._setup_learn(total_timesteps, callback, reset_num_timesteps, *arguments, **named)

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
