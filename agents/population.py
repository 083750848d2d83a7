"""Many double-DQN agents at once: stacked networks, tensor environment, replay on the device, one optimizer object.

A member has its own netlist, seed and learning rate. All members make one move, then one update, in step; every number
that a member sees depends on its own seed, netlist and learning rate alone, so that its run does not depend on its
neighbours. Nothing is read back to the host inside a move; ``poll`` reads which passes ended, and has to be called
before a member can end two passes: at least once in ``stride`` moves.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

import optimizers
from agents import compiled, compiled_moves
from agents.config import TrainConfig
from agents.demonstrations import demonstration_rows
from agents.draws import Draws
from agents.graphs import Graphs, OnDevice
from agents.networks import StackedMLP
from agents.replay import Batch, Replay
from agents.td import choose, double_dqn_target, td_loss
from optimizers.members import compilable, keep_members
from routing_env import Problem, rules
from routing_env.device_env import TensorRouting

__all__ = ["CURVES", "Population", "make_population_optimizer", "note_passes"]

CURVES = ("routed", "wirelength", "overflow", "reward", "step")
"""what is kept of every pass; ``step`` counts the member's moves up to its end"""
LINE = 64
"""bytes of a cache line"""


class Population:
    """Members that learn side by side.

    Args:
        problems: one a member, all of one grid shape.
        config: settings shared by all members; its netlist, seed and number of environments are not looked at.
        seeds: one a member.
        learning_rates: one a member; None for the config's.
        device: where everything lies.
        dtype: of networks and replay.
        graphs: whether moves and updates become CUDA graphs, which changes no number; see ``use_graphs``.

    Raises:
        ValueError: an optimizer that has no form for populations, graphs without CUDA, or numbers of arguments that
            differ.
    """

    def __init__(
        self,
        problems: Sequence[Problem],
        config: TrainConfig,
        seeds: Sequence[int],
        *,
        learning_rates: Sequence[float] | None = None,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
        graphs: bool = False,
    ) -> None:
        many = len(problems)
        if len(seeds) != many or (learning_rates is not None and len(learning_rates) != many):
            raise ValueError(f"{many} problems, {len(seeds)} seeds: one of each a member")
        self.config, self.seeds, self.device = config, list(seeds), torch.device(device)
        self.graphs = Graphs(OnDevice(self.device), lambda: vars(self)["optimizer"].memory) if graphs else None
        self.env = TensorRouting(problems, device=device, **config.env_options())
        self.env.begin()
        entries = self.env.obs.shape[1]
        self.net = StackedMLP(
            entries, config.hidden, 6, seeds=seeds, initialisation=config.initialisation, dueling=config.dueling,
            dtype=dtype, device=device,
        )  # fmt: skip
        self.target = [one.detach().clone() for one in self.net.params]
        self.replay = Replay(
            many, config.replay, entries, gamma=config.gamma, n_step=config.n_step, priority=config.priority,
            dtype=dtype, device=device,
        )  # fmt: skip
        if config.demonstrations:
            for place, problem in enumerate(problems):
                rows = demonstration_rows(problem, config, dtype).repeat(config.demonstrations, 1)
                self.replay.fill(place, rows[-config.replay :])
        self.draws = Draws(seeds, device)
        options = dict(config.optimizer_options)
        if (config.learning_rate is not None or learning_rates is not None) and "lr" in options:
            raise ValueError("give the learning rate once: learning_rate or the optimizer's option lr")
        own = options.pop("lr", None)
        first = config.learning_rate or (optimizers.default_lr(config.optimizer) if own is None else own)
        rates = [first] * many if learning_rates is None else list(learning_rates)
        self.first_rates = torch.tensor(rates, dtype=dtype, device=device)
        self.optimizer = make_population_optimizer(config.optimizer, self._padded(), self.first_rates, options)
        self.moves, self.updates = 0, 0
        self.connections = torch.zeros(many, dtype=torch.int64, device=device)  # ended so far
        self.history: list[dict[str, list[float]]] = [{name: [] for name in CURVES} for _ in problems]
        """for each member and each of ``CURVES`` one number a pass"""

    def _padded(self) -> list[Tensor]:
        """The parameters, and idle ones that make a member's weights a whole number of cache lines.

        Products of vectors round by how they lie in memory: so they lie alike for every member, wherever it stands.
        """
        numbers = sum(one[0].numel() for one in self.net.params)
        missing = -numbers % (LINE // self.first_rates.element_size())
        if not missing:
            return self.net.params
        idle = torch.zeros(len(self), 1, missing, dtype=self.first_rates.dtype, device=self.device)
        return [*self.net.params, idle.requires_grad_()]

    def __len__(self) -> int:
        return len(self.seeds)

    @property
    def stride(self) -> int:
        """Moves in which no member can end two passes."""
        return int(self.env.tables["state"][:, rules.COUNT].min())

    def progress(self) -> Tensor:
        """Share of the passes that each member has made, (members,)."""
        state = self.env.tables["state"]
        if compilable(self.net.params[0]):
            return compiled_moves.progress(state, self.config.passes, self.first_rates.dtype)
        passed = state[:, rules.PASSES].to(self.first_rates.dtype)
        return (passed / self.config.passes).clamp_(max=1.0)

    @torch.no_grad()
    def advance(self) -> None:
        """One move of every member, and an update where one is due."""
        config = self.config
        warming_up = self.moves < config.learning_starts
        moves_target = config.target_connections is None and (self.moves + 1) % config.target_every == 0
        play = partial(self._play, warming_up, moves_target)
        if self.graphs is None:
            play()
        else:
            self.graphs.run(("move", warming_up, moves_target), play)
        self.moves += 1
        if self.moves > config.learning_starts and self.moves % config.train_every == 0:
            for _ in range(config.updates):
                self._update()

    def _update(self) -> None:
        if self.graphs is None:
            self._learn()
        else:
            optimizer: Any = self.optimizer
            optimizer.tick()
            self.graphs.run(("update", optimizer.coming()), self._learn)
        self.updates += 1

    def _play(self, warming_up: bool, moves_target: bool) -> None:
        # what is decided on the host in here and in ``_learn`` is decided by the kind of work: see ``agents.graphs``
        config, env = self.config, self.env
        coins = self.draws.uniform(2)
        explore = coins[:, 0] < (1.0 if warming_up else self.epsilon())
        mask = env.mask if config.masked else None
        seen = env.obs.to(self.first_rates.dtype, copy=True)
        q = self.net(seen[:, None])[:, 0]
        if compilable(q):
            moves = compiled_moves.choose(q, mask, explore, coins[:, 1])
            env.step(moves)
            rows, ended = compiled_moves.rows(
                seen, moves, env.gains, config.reward_scale, config.gamma, env.flags, env.obs, env.mask,
                env.final, env.final_mask,
            )  # fmt: skip
            self.replay.put(rows, ended)
        else:
            moves = choose(q, mask, explore, coins[:, 1])
            env.step(moves)
            ended, made = env.flags > rules.BLOCKED, (env.flags & rules.ARRIVED) > 0
            next_obs = torch.where(ended[:, None], env.final, env.obs)
            next_mask = torch.where(ended[:, None], env.final_mask, env.mask)
            self.replay.add(seen, moves, env.gains * config.reward_scale, next_obs, next_mask, made, ended)
        if config.target_connections is not None:
            self._move_targets_due(ended, config.target_connections)
        elif moves_target:
            torch._foreach_lerp_(self.target, self.net.params, config.tau)

    def epsilon(self) -> Tensor:
        """Share of random moves of each member, (members,)."""
        config = self.config
        if config.epsilon_fraction <= 0:
            return torch.full_like(self.first_rates, config.epsilon_end)
        share = (self.progress() / config.epsilon_fraction).clamp_(max=1.0)
        return config.epsilon_start + (config.epsilon_end - config.epsilon_start) * share

    def _move_targets_due(self, ended: Tensor, every: int) -> None:
        """Move the target network by tau of each member that has ended so many connections more."""
        before = self.connections // every
        self.connections.add_(ended)
        due = self.connections // every > before
        if self.device.type == "cpu" and not bool(due.any()):  # a reading of the device that costs nothing here
            return
        share = due.to(self.first_rates.dtype).mul_(self.config.tau)[:, None, None]
        for old, new in zip(self.target, self.net.params, strict=True):
            old.lerp_(new, share)

    @torch.no_grad()
    def _learn(self) -> None:
        config = self.config
        batch = self.replay.draw(self.draws.uniform(config.batch))
        online, later = self.net(batch.next_obs), self.net(batch.next_obs, self.target)
        mask = batch.next_mask if config.masked else None
        if self.net.compiled:
            target = compiled.targets(batch.returns, batch.discount, online, later, mask)
        else:
            target = double_dqn_target(batch.returns, 0.0, online, later, batch.discount, mask)
        left = 1.0 - self.progress()
        self.optimizer.param_groups[0]["lr"].copy_(
            self.first_rates * (config.final_rate + (1 - config.final_rate) * left)
        )
        if config.priority:
            found = self.net(batch.obs).gather(-1, batch.moves[..., None]).squeeze(-1)
            self.replay.learn_priorities(batch.places, found - target)
        step: Callable[[Any], Any] = self.optimizer.step
        step(self.closure(batch, target))

    def closure(self, batch: Batch, target: Tensor) -> Callable[..., Tensor]:
        """Losses (members,) on one batch, whose target stays; back-propagates their sum and clips each gradient."""
        params, config = self.net.params, self.config
        clips = config.max_grad_norm < float("inf")

        def closure(backward: bool = True) -> Tensor:
            if self.net.compiled and not backward:
                with torch.no_grad():
                    return td_loss(self.net(batch.obs), batch.moves, target, config.loss, batch.weights)
            if self.net.compiled:
                losses, gradients = compiled.loss_and_gradients(
                    params, batch.obs, batch.moves, target, config.loss, batch.weights, config.max_grad_norm
                )
                for one, gradient in zip(params, gradients, strict=True):
                    one.grad = gradient
                return losses
            for one in params:
                one.grad = None
            losses = td_loss(self.net(batch.obs), batch.moves, target, config.loss, batch.weights)
            if not backward:
                return losses
            losses.sum().backward()
            if clips:
                clip(params, config.max_grad_norm)
            return losses.detach()

        return closure

    def poll(self) -> list[int]:
        """Note the passes that ended since the last call; the members that ended one."""
        return note_passes(self.env, self.history)

    def keep(self, places: Sequence[int]) -> None:
        """Go on with some of the members; what the others were is forgotten."""
        if self.graphs is not None:
            self.graphs.forget()
        at = torch.tensor(list(places), dtype=torch.int64, device=self.device)
        self.env.keep(at)
        before = self.net.params
        self.net.params = [one.detach()[at].requires_grad_() for one in before]
        self.target = [one[at] for one in self.target]
        self.replay.keep(at)
        self.draws.keep(at)
        self.first_rates, self.connections = self.first_rates[at], self.connections[at]
        self.seeds = [self.seeds[place] for place in places]
        self.optimizer = keep_members(self.optimizer, self._padded(), at)
        self.history = [self.history[place] for place in places]

    def state_dict(self) -> dict[str, Any]:
        """Everything that the next move depends on: tensors and plain values."""
        return {
            "params": [one.detach() for one in self.net.params], "target": self.target,
            "optimizer": self.optimizer.state_dict(), "replay": self.replay.state_dict(), "env": self.env.get_state(),
            "counter": self.draws.counter, "connections": self.connections, "moves": self.moves,
            "updates": self.updates, "history": self.history,
        }  # fmt: skip

    @torch.no_grad()
    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go back to what ``state_dict`` gave to a population of the same members."""
        if self.graphs is not None:
            self.graphs.forget()
        for own, one in zip([*self.net.params, *self.target], [*state["params"], *state["target"]], strict=True):
            own.copy_(one)
        self.optimizer.load_state_dict(state["optimizer"])
        self.replay.load_state_dict(state["replay"])
        self.env.set_state(state["env"])
        self.draws.counter.copy_(state["counter"])
        self.connections.copy_(state["connections"])
        self.moves, self.updates = state["moves"], state["updates"]
        self.history = [{name: list(one[name]) for name in CURVES} for one in state["history"]]


def note_passes(env: TensorRouting, history: list[dict[str, list[float]]]) -> list[int]:
    """Add the passes that ended since the last call to the curves of each problem; the problems that ended one.

    Raises:
        RuntimeError: a problem ended two passes since the last call.
    """
    state, totals = env.tables["state"].cpu(), env.tables["totals"].cpu()
    columns = [rules.PASSES, rules.LAST_ROUTED, rules.LAST_LOGGED, rules.LAST_OVERFLOW, rules.LAST_PLAYED]
    ended = []
    for place, (passes, routed, wirelength, overflow, step) in enumerate(state[:, columns].tolist()):
        curves = history[place]
        known = len(curves["routed"])
        if passes == known:
            continue
        if passes > known + 1:
            raise RuntimeError(f"problem {place} ended {passes - known} passes since the last call")
        reward = float(totals[place, rules.LAST_REWARD])
        for name, value in zip(CURVES, (routed, wirelength, overflow, reward, step), strict=True):
            curves[name].append(value)
        ended.append(place)
    return ended


def make_population_optimizer(
    name: str, params: list[Tensor], rates: Tensor, options: dict[str, Any]
) -> torch.optim.Optimizer:
    """An optimizer of stacked parameters, with a learning rate of each member.

    Raises:
        ValueError: it has no form for populations.
    """
    kind = optimizers.pick(name)
    if not getattr(kind, "populations", False):
        own = name.removeprefix("torch.")
        hint = f"; take {own!r}" if own != name and own in optimizers.names() else ""
        raise ValueError(f"optimizer {name!r} moves one network at a time, not a population{hint}")
    if getattr(kind, "needs_parts", False):
        raise ValueError(f"optimizer {name!r} needs sub-batches; a population draws one batch for a step")
    if "reuse" in optimizers.default_options(name):
        options = {"reuse": False} | options  # the last gradient is of the last batch
    return optimizers.make(name, params, lr=rates.clone(), member_dims=1, **options)


def clip(params: Sequence[Tensor], most: float) -> None:
    """Scale each member's gradient down to a norm of ``most``, as ``clip_grad_norm_`` does for one network."""
    grads = [one.grad for one in params if one.grad is not None]
    squares = torch.stack([torch.linalg.vector_norm(one.flatten(1), dim=1) for one in grads])
    factor = (most / (torch.linalg.vector_norm(squares, dim=0) + 1e-6)).clamp_(max=1.0)[:, None, None]
    for one in grads:
        one.mul_(factor)
