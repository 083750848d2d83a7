"""Exact checkpoints of a DoubleDQN: tensors and JSON, no pickle.

Everything that the next move depends on is in one file: policy, target, optimizer, replay, sub-batches in use,
counters, the states of all random generators and of the environment. Taken at the start of a rollout, when the last
transition is stored and learnt from; a run resumed from it goes on as if it had not stopped.
"""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from agents.double_dqn import DoubleDQN, Lesson, MaskedReplay
from agents.records import write_atomically
from agents.sb3_vec_env import RoutingVecEnv
from routing_env import rules

__all__ = ["load", "load_weights", "save"]

COUNTERS = (
    "num_timesteps", "_n_calls", "_n_updates", "_episode_num", "connections_ended", "exploration_rate",
    "_current_progress_remaining", "history", "target_moves",
)  # fmt: skip


def save(agent: DoubleDQN, path: Path) -> None:
    """Write a checkpoint, whole or not at all."""
    env, replay = agent.env, agent.replay_buffer
    assert isinstance(env, RoutingVecEnv)
    assert isinstance(replay, MaskedReplay)
    ring = replay.ring.state_dict()
    ring["rows"] = ring["rows"].clone()  # what is in use, without the rest of the ring
    state = env.venv.get_state()
    state["log"] = _written(state["log"], state["state"])
    generator = state.pop("np_random")
    legacy = np.random.get_state(legacy=False)  # noqa: NPY002  Stable-Baselines3 draws from it
    key = legacy["state"].pop("key")
    plain = {
        "counters": {name: getattr(agent, name) for name in COUNTERS},
        "replay": {"pos": replay.pos, "full": replay.full},
        "generators": {"agent": agent.rng.bit_generator.state, "env": generator, "numpy": legacy},
        "env": {name: value for name, value in state.items() if not isinstance(value, np.ndarray)},
    }
    tensors = {
        "policy": agent.policy.state_dict(),
        "optimizer": agent.policy.optimizer.state_dict(),
        "replay": ring,
        "window": [tuple(lesson) for lesson in agent.window],
        "env": {name: torch.from_numpy(value) for name, value in state.items() if isinstance(value, np.ndarray)},
        "last_obs": torch.from_numpy(np.array(agent._last_obs)),
        "torch": torch.get_rng_state(),
        "numpy": torch.from_numpy(key.astype(np.int64)),
        "plain": json.dumps(plain),
    }
    buffer = io.BytesIO()
    torch.save(tensors, buffer)
    write_atomically(path, buffer.getvalue())


def _written(log: NDArray[np.int32], state: NDArray[np.int32]) -> NDArray[np.int32]:
    """The entries of a log that are in use, one after the other; the rest of it is never read."""
    used = state[:, [rules.LOGGED, rules.BEST_LOGGED]]
    return np.concatenate([log[b, part, : used[b, part]] for b in range(len(log)) for part in (0, 1)])


def _spread(entries: NDArray[np.int32], state: NDArray[np.int32], shape: tuple[int, ...]) -> NDArray[np.int32]:
    """A log of the full shape from its entries in use."""
    log = np.zeros(shape, np.int32)
    at = 0
    for b, lengths in enumerate(state[:, [rules.LOGGED, rules.BEST_LOGGED]].tolist()):
        for part, length in enumerate(lengths):
            log[b, part, :length] = entries[at : at + length]
            at += length
    return log


def load(agent: DoubleDQN, path: Path) -> None:
    """Put an agent built from the same settings where the checkpoint was taken.

    Raises:
        ValueError: the file is damaged.
    """
    tensors = _read(path)
    try:
        _restore(agent, tensors)
    except (KeyError, IndexError, RuntimeError, TypeError, ValueError) as error:
        raise ValueError(f"{path}: does not fit these settings: {error}") from None


def _restore(agent: DoubleDQN, tensors: dict[str, Any]) -> None:
    plain: dict[str, Any] = json.loads(tensors["plain"])
    env, replay = agent.env, agent.replay_buffer
    assert isinstance(env, RoutingVecEnv)
    assert isinstance(replay, MaskedReplay)
    agent.policy.load_state_dict(tensors["policy"])
    agent.policy.optimizer.load_state_dict(tensors["optimizer"])
    replay.ring.load_state_dict(tensors["replay"])
    agent.window = [Lesson(*lesson) for lesson in tensors["window"]]
    replay.pos, replay.full = plain["replay"]["pos"], plain["replay"]["full"]
    for name, value in plain["counters"].items():
        setattr(agent, name, value)
    arrays = {name: value.numpy() for name, value in tensors["env"].items()}
    arrays["log"] = _spread(arrays["log"], arrays["state"], env.venv.state.log.shape)
    env.venv.set_state(arrays | plain["env"] | {"np_random": plain["generators"]["env"]})
    agent.rng.bit_generator.state = plain["generators"]["agent"]
    torch.set_rng_state(tensors["torch"])
    legacy = plain["generators"]["numpy"]
    legacy["state"]["key"] = tensors["numpy"].numpy().astype(np.uint32)
    np.random.set_state(legacy)  # noqa: NPY002
    agent._last_obs = tensors["last_obs"].numpy()


def load_weights(path: Path) -> dict[str, torch.Tensor]:
    """The policy's weights of a checkpoint.

    Raises:
        ValueError: the file is damaged.
    """
    weights: dict[str, torch.Tensor] = _read(path)["policy"]
    return weights


def _read(path: Path) -> dict[str, Any]:
    try:
        content: dict[str, Any] = torch.load(path, weights_only=True, map_location="cpu")
    except Exception as error:  # torch names no errors of its own for damaged files
        raise ValueError(f"{path}: damaged checkpoint: {error!r}") from None
    if not isinstance(content, dict) or not {"policy", "plain"} <= set(content):
        raise ValueError(f"{path}: damaged checkpoint: not one of ours")
    return content
