"""Many netlists at once on the CPU as a Gymnasium vector environment."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray

from routing_env import rules
from routing_env.decompose import Decomposition
from routing_env.gym_env import as_object, as_problem, places
from routing_env.problem import Problem
from routing_env.program import program
from routing_env.solution import Solution
from routing_env.state import State, make_state, solution_of

__all__ = ["GlobalRoutingVector"]

PASS_INFO = {"routed": np.int64, "wirelength": np.int64, "overflow": np.int64, "pass_reward": np.float64}


class GlobalRoutingVector(VectorEnv[NDArray[np.float32], NDArray[np.int64], NDArray[Any]]):
    """``num_envs`` netlists of one grid shape, moved together; each behaves as a ``GlobalRouting`` of its own.

    Autoreset is SAME_STEP: where an episode ended the observation is the next episode's first, and the infos keep
    ``final_obs`` and ``final_info``. ``episode="pass"`` has the episodes of ``GlobalRouting``, ``"connection"``
    those of ``ConnectionEpisodes``.

    Args:
        num_envs: number of problems moved together.
        problem: one for all (a Problem, a path, or None as in GlobalRouting) or a sequence of ``num_envs``.
        episode: ``"pass"`` or ``"connection"``.
        threads: parts of the problems that are moved at the same time; results do not depend on it.
        copy: whether returned arrays are the caller's to keep (False: they are overwritten by the next step).
        observation, reward, max_steps, via_capacity, keep_failed, decomposition: as in GlobalRouting.
    """

    metadata: dict[str, Any] = {  # noqa: RUF012  declared so by the base class
        "autoreset_mode": AutoresetMode.SAME_STEP,
        "render_modes": ["rgb_array"],
    }

    def __init__(
        self,
        num_envs: int = 1,
        problem: Problem | str | Path | Sequence[Problem] | None = None,
        *,
        episode: str = "pass",
        observation: Any = "published",
        reward: Any = "published",
        max_steps: int | None = None,
        via_capacity: int | None = None,
        keep_failed: bool = True,
        decomposition: Decomposition = "spanning",
        threads: int = 1,
        copy: bool = True,
        render_mode: str | None = None,
    ) -> None:
        if episode not in ("pass", "connection"):
            raise ValueError(f"episode {episode!r} is neither 'pass' nor 'connection'")
        if num_envs < 1 or threads < 1:
            raise ValueError(f"num_envs and threads must be at least 1, got {num_envs} and {threads}")
        if isinstance(problem, Problem | str | Path) or problem is None:
            self.problems = [as_problem(problem)] * num_envs
        else:
            self.problems = [as_problem(one) for one in problem]
        if len(self.problems) != num_envs:
            raise ValueError(f"{len(self.problems)} problems for num_envs={num_envs}")
        self.num_envs, self.episode, self.copy, self.render_mode = num_envs, episode, copy, render_mode
        observation, reward = as_object("observations", observation), as_object("rewards", reward)
        bounds = [observation.bounds(one) for one in {id(one): one for one in self.problems}.values()]
        low, high = np.min([b[0] for b in bounds], axis=0), np.max([b[1] for b in bounds], axis=0)
        self.single_observation_space = gym.spaces.Box(low, high, dtype=np.float32)
        self.single_action_space = gym.spaces.Discrete(6)
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self.state: State = make_state(
            self.problems, reward.prices(), closed=reward.closed, max_steps=max_steps, via_capacity=via_capacity,
            keep_failed=keep_failed, decomposition=decomposition,
        )  # fmt: skip
        compiled = program(observation.write, reward.pay)
        self._play, self._begin = compiled.step_many, compiled.begin_many
        self._obs = np.zeros((num_envs, len(low)), np.float32)
        self._final = np.zeros_like(self._obs)
        self._mask = np.zeros((num_envs, 6), np.int8)
        self._final_mask = np.zeros_like(self._mask)
        self._gains = np.zeros(num_envs)
        self._flags = np.zeros(num_envs, np.int64)
        self._all = np.ones(num_envs, np.bool_)
        self._started = False
        cuts = np.linspace(0, num_envs, min(threads, num_envs) + 1).astype(int).tolist()
        self._shards = list(pairwise(cuts))
        self._pool = ThreadPoolExecutor(len(self._shards)) if len(self._shards) > 1 else None

    def reset(
        self, *, seed: int | Sequence[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.float32], dict[str, Any]]:
        """Begin a new pass in every problem; in connection episodes without a seed, the next connection."""
        seeds = [int(seed)] if isinstance(seed, int | np.integer) else seed or []
        super().reset(seed=next((one for one in seeds if one is not None), None))
        fresh = isinstance(seed, int | np.integer) or (seed is not None and any(one is not None for one in seed))
        asked = bool((options or {}).get("restart"))
        restart = self.episode == "pass" or not self._started or fresh or asked
        self._started = True
        self._begin(0, self.num_envs, restart, *self.state, self._obs, self._mask)
        return self._given(self._obs), self._infos(np.zeros(self.num_envs, np.bool_))

    def step(
        self, actions: NDArray[Any]
    ) -> tuple[NDArray[np.float32], NDArray[np.float64], NDArray[np.bool_], NDArray[np.bool_], dict[str, Any]]:
        """Play one move in each problem.

        Raises:
            ValueError: not ``num_envs`` actions, or one that is no number from 0 to 5.
        """
        if not self._started:
            raise gym.error.ResetNeeded("call reset() before step()")
        moves = np.asarray(actions)
        if moves.dtype.kind not in "iu":
            raise ValueError(f"actions of type {moves.dtype}, expected whole numbers")
        moves = moves.astype(np.int64, copy=False)
        if moves.shape != (self.num_envs,):
            raise ValueError(f"actions of shape {moves.shape}, expected ({self.num_envs},)")
        if (moves.view(np.uint64) > 5).any():
            wrong = moves[(moves < 0) | (moves > 5)][0]
            raise ValueError(f"action {wrong} is none of 0 to 5")
        self._advance(moves)
        ended = self._flags > rules.BLOCKED
        over = (self._flags & rules.PASS_OVER) > 0
        if self.episode == "pass":
            terminated, truncated, done = over, np.zeros(self.num_envs, np.bool_), over
            infos = self._infos(ended & ~over)
        else:
            terminated = (self._flags & rules.ARRIVED) > 0
            truncated, done = ended & ~terminated, ended
            infos = self._infos(np.zeros(self.num_envs, np.bool_))
        if done.any():
            self._add_final(infos, done, over)
        return self._given(self._obs), self._given(self._gains), terminated, truncated, infos

    def _advance(self, moves: NDArray[np.int64]) -> None:
        rest = (moves, *self.state, self._obs, self._mask, self._final, self._final_mask, self._gains, self._flags)
        if self._pool is None:
            self._play(0, self.num_envs, *rest)
        else:
            for part in [self._pool.submit(self._play, a, b, *rest) for a, b in self._shards]:
                part.result()

    def _given(self, array: NDArray[Any]) -> NDArray[Any]:
        return array.copy() if self.copy else array

    def _infos(self, connection_done: NDArray[np.bool_]) -> dict[str, Any]:
        """Infos as gymnasium collects them: an array and, under ``_key``, whom it is of."""
        return {
            "action_mask": self._given(self._mask), "_action_mask": self._given(self._all),
            "connection_done": connection_done, "_connection_done": self._given(self._all),
        }  # fmt: skip

    def _add_final(self, infos: dict[str, Any], done: NDArray[np.bool_], over: NDArray[np.bool_]) -> None:
        final = np.full(self.num_envs, None, object)
        for b, obs in zip(np.flatnonzero(done).tolist(), self._final[done], strict=True):
            final[b] = obs
        mask = np.zeros_like(self._mask)
        mask[done] = self._final_mask[done]
        info: dict[str, Any] = {"action_mask": mask, "connection_done": done.copy()}
        info |= {f"_{name}": done.copy() for name in tuple(info)}
        if over.any():
            ends = self.state.state[:, [rules.LAST_ROUTED, rules.LAST_LOGGED, rules.LAST_OVERFLOW]].T
            for (name, kind), values in zip(
                PASS_INFO.items(), (*ends, self.state.totals[:, rules.LAST_REWARD]), strict=True
            ):
                info[name] = np.where(over, values, 0).astype(kind)
                info[f"_{name}"] = over.copy()
        infos |= {"final_obs": final, "_final_obs": done.copy(), "final_info": info, "_final_info": done.copy()}

    def action_masks(self) -> NDArray[np.bool_]:
        """(num_envs, 6): the moves that change the state."""
        return self._mask > 0

    def solution(self, b: int, *, best: bool = True) -> Solution:
        """The wires of problem ``b``: of its best finished pass, or of the pass under way."""
        return solution_of(self.problems[b], self.state, b, best=best)

    def get_state(self) -> dict[str, Any]:
        """Everything that the next moves depend on, as arrays and plain values."""
        arrays = {name: array.copy() for name, array in self._arrays().items()}
        return arrays | {"started": self._started, "np_random": self.np_random.bit_generator.state}

    def set_state(self, state: dict[str, Any]) -> None:
        """Go back to what ``get_state`` gave.

        Raises:
            ValueError: the state belongs to an environment of other shapes.
        """
        for name, array in self._arrays().items():
            if np.shape(state[name]) != array.shape:
                raise ValueError(f"{name} has shape {np.shape(state[name])}, this environment's has {array.shape}")
        for name, array in self._arrays().items():
            array[...] = state[name]
        self._started = bool(state["started"])
        self.np_random.bit_generator.state = state["np_random"]

    def _arrays(self) -> dict[str, NDArray[Any]]:
        return self.state._asdict() | {"obs": self._obs, "mask": self._mask}

    def render(self) -> tuple[NDArray[np.uint8], ...] | None:
        """One picture a problem, in ``"rgb_array"`` mode."""
        if self.render_mode != "rgb_array":
            return None
        from routing_env._frame import frame

        at = self.state.state[:, rules.X : rules.TARGET_Z + 1].tolist()
        return tuple(
            frame(p, self.solution(b, best=False), *places(row))
            for b, (p, row) in enumerate(zip(self.problems, at, strict=True))
        )

    def close_extras(self, **kwargs: Any) -> None:
        """End the threads."""
        if self._pool is not None:
            self._pool.shutdown()
