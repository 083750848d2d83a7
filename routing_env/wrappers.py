"""One episode a two-pin connection, which is what bootstrapping in DQN wants."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

from routing_env.gym_env import GlobalRouting

__all__ = ["ConnectionEpisodes"]


class ConnectionEpisodes(
    gym.Wrapper[NDArray[np.float32], np.int64, NDArray[np.float32], np.int64], gym.utils.RecordConstructorArgs
):
    """Reaching the target terminates an episode, the step limit truncates it.

    Plain ``reset()`` goes on to the next connection and keeps what is routed (a connection under way is given up);
    ``reset(seed=...)`` and ``options={"restart": True}`` restart the pass. After the last connection of a pass the
    info holds ``routed``, ``wirelength``, ``overflow`` and ``pass_reward``, and ``reset()`` begins the next pass.
    """

    def __init__(self, env: gym.Env[Any, Any]) -> None:
        if not isinstance(env.unwrapped, GlobalRouting):
            raise TypeError(f"ConnectionEpisodes wraps GlobalRouting, got {type(env.unwrapped).__name__}")
        inner = env
        while isinstance(inner, gym.Wrapper):
            if not isinstance(inner, gym.wrappers.OrderEnforcing | gym.wrappers.PassiveEnvChecker):
                raise TypeError(f"put {type(inner).__name__} around ConnectionEpisodes, not inside it")
            inner = inner.env
        gym.utils.RecordConstructorArgs.__init__(self)  # so that env.spec can make the wrapped environment again
        gym.Wrapper.__init__(self, env)
        self._base: GlobalRouting = env.unwrapped
        self._restart = True

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.float32], dict[str, Any]]:
        """Go on to the next connection; with a seed, or ``options={"restart": True}``, to the first of a new pass."""
        if self._restart or seed is not None or (options or {}).get("restart"):
            self._restart = False
            return self.env.reset(seed=seed, options=options)
        return self._base.next_connection()

    def step(self, action: Any) -> tuple[NDArray[np.float32], Any, bool, bool, dict[str, Any]]:
        """Play one move; at the end of a connection the observation is the one after the move."""
        obs, reward, over, _, info = self.env.step(action)
        if not info["connection_done"]:
            return obs, reward, False, False, info
        self._restart = over
        arrived = self._base.arrived
        obs, info["action_mask"] = self._base.connection_end()
        return obs, reward, arrived, not arrived, info

    def action_masks(self) -> NDArray[np.bool_]:
        """(6,): the moves that change the state."""
        return self._base.action_masks()

    def get_state(self) -> dict[str, Any]:
        """The state of the environment and of the wrapper."""
        return self._base.get_state() | {"restart": self._restart}

    def set_state(self, state: dict[str, Any]) -> None:
        """Go back to what ``get_state`` gave."""
        self._base.set_state({name: value for name, value in state.items() if name != "restart"})
        self._restart = bool(state["restart"])
