"""The vector environment as Stable-Baselines3's VecEnv."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from stable_baselines3.common.vec_env import VecEnv

from routing_env.problem import Problem
from routing_env.vector_env import PASS_INFO, GlobalRoutingVector

__all__ = ["RoutingVecEnv"]


class RoutingVecEnv(VecEnv):
    """Many netlists for any Stable-Baselines3 algorithm, moved by one compiled call.

    Infos hold ``action_mask`` (of the observation returned, or of ``terminal_observation`` where an episode ended) and
    at the end of a pass ``routed``, ``wirelength``, ``overflow`` and ``pass_reward``.

    Args:
        problems: one an environment.
        episode: ``"connection"`` or ``"pass"``.
        options: as in GlobalRoutingVector.
    """

    def __init__(self, problems: Sequence[Problem], *, episode: str = "connection", **options: Any) -> None:
        if options.pop("copy", True) is not True:
            raise ValueError("copy=False would change observations that Stable-Baselines3 keeps")
        self.venv = GlobalRoutingVector(len(problems), problems, episode=episode, **options)
        self.render_mode = self.venv.render_mode
        super().__init__(len(problems), self.venv.single_observation_space, self.venv.single_action_space)
        self._actions: NDArray[Any] = np.zeros(len(problems), np.int64)

    def reset(self) -> NDArray[np.float32]:
        """Begin as asked by ``seed()`` and ``set_options()``; otherwise connection episodes go on where they stand."""
        seeds = self._seeds if any(seed is not None for seed in self._seeds) else None
        restart = any(options.get("restart") for options in self._options)
        obs, infos = self.venv.reset(seed=seeds, options={"restart": restart})
        self._reset_seeds()
        self._reset_options()
        self.reset_infos = [{"action_mask": mask} for mask in infos["action_mask"]]
        return obs

    def step_async(self, actions: NDArray[Any]) -> None:
        """Keep the actions for ``step_wait``."""
        self._actions = actions

    def step_wait(
        self,
    ) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.bool_], list[dict[str, Any]]]:
        """Play one move in each problem."""
        obs, rewards, terminated, truncated, infos = self.venv.step(self._actions)
        done = terminated | truncated
        out: list[dict[str, Any]] = [
            {"action_mask": mask, "TimeLimit.truncated": False} for mask in infos["action_mask"]
        ]
        if done.any():
            final = infos["final_info"]
            for b in np.flatnonzero(done).tolist():
                out[b] = {
                    "action_mask": final["action_mask"][b],
                    "TimeLimit.truncated": bool(truncated[b]),
                    "terminal_observation": infos["final_obs"][b],
                }
                if "routed" in final and final["_routed"][b]:
                    out[b] |= {name: final[name][b].item() for name in PASS_INFO}
        return obs, rewards.astype(np.float32), done, out

    def action_masks(self) -> NDArray[np.bool_]:
        """(num_envs, 6): the moves that change the state."""
        return self.venv.action_masks()

    def close(self) -> None:
        """Close the vector environment."""
        self.venv.close()

    def get_images(self) -> Sequence[NDArray[np.uint8] | None]:
        """One picture a problem."""
        return self.venv.render() or [None] * self.num_envs

    def get_attr(self, attr_name: str, indices: Any = None) -> list[Any]:
        """An attribute of the vector environment, once for each index asked."""
        return [getattr(self.venv, attr_name) for _ in self._get_indices(indices)]

    def set_attr(self, attr_name: str, value: Any, indices: Any = None) -> None:
        """Refused: the problems share one environment.

        Raises:
            AttributeError: always.
        """
        raise AttributeError(f"{attr_name}: the problems share one environment; set it on .venv")

    def env_method(self, method_name: str, *args: Any, indices: Any = None, **kwargs: Any) -> list[Any]:
        """``action_masks`` of each index asked.

        Raises:
            AttributeError: any other method; the problems share one environment.
        """
        if method_name != "action_masks":
            raise AttributeError(f"{method_name}: the problems share one environment; call it on .venv")
        masks = self.action_masks()
        return [masks[b] for b in self._get_indices(indices)]

    def env_is_wrapped(self, wrapper_class: Any, indices: Any = None) -> list[bool]:
        """False for each index: nothing is wrapped."""
        return [False for _ in self._get_indices(indices)]
