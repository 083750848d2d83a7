"""What a population takes of a device's memory, known before it starts."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import Any

import torch

from agents.config import TrainConfig
from agents.population import Population
from routing_env import Problem

__all__ = ["bytes_per_member", "check_device", "check_memory"]

GIB = 2**30


def check_device(device: str) -> None:
    """Whether populations can lie there.

    Raises:
        ValueError: it is no CPU or CUDA device, or torch sees no such device.
    """
    try:
        kind = torch.device(device)
    except RuntimeError:
        kind = None
    if kind is None or kind.type not in ("cpu", "cuda"):
        raise ValueError(f"device {device!r} is neither cpu nor cuda")
    count = torch.cuda.device_count() if kind.type == "cuda" else 0
    if kind.type == "cuda" and not 0 <= (kind.index or 0) < count:
        raise ValueError(f"device {device!r}: torch sees {count or 'no'} CUDA device{'s' * (count > 1)}; take cpu")


def bytes_per_member(problem: Problem, config: TrainConfig) -> dict[str, int]:
    """Bytes that one member takes: replay, environment, networks with their gradients, and the optimizer's memory."""
    small = dataclasses.replace(config, replay=config.n_step + 1, batch=1, demonstrations=0, learning_starts=0)
    made = Population([problem] * 2, small, [0, 1])
    for _ in range(config.n_step):
        made.advance()
    made._learn()
    weights = sum(one.numel() * one.element_size() for one in made.net.params) // 2
    memory: Any = made.optimizer.state_dict()["state"]
    replay = config.replay * made.replay.width * made.replay.rows.element_size()
    if config.priority:
        replay += 8 * (2 << max(1, (config.replay - 1).bit_length()))
    return {
        "replay": replay,
        "environment": sum(one.numel() * one.element_size() for one in made.env.tables.values()) // 2,
        "networks": 6 * weights,  # online, target, gradients, and vectors of one step
        "optimizer": _bytes(memory) // 2,
    }


def _bytes(memory: Any) -> int:
    if isinstance(memory, dict):
        return sum(map(_bytes, memory.values()))
    if isinstance(memory, (list, tuple)):
        return sum(map(_bytes, memory))
    return memory.numel() * memory.element_size() if isinstance(memory, torch.Tensor) else 0


def check_memory(members: int, problem: Problem, config: TrainConfig, device: str = "cpu") -> dict[str, int]:
    """Bytes that a population takes, by part.

    Raises:
        ValueError: there is no such device, or it has not that much free; the text says how much is needed for what.
    """
    check_device(device)
    parts = {name: members * size for name, size in bytes_per_member(problem, config).items()}
    on_gpu = torch.device(device).type == "cuda"
    free = torch.cuda.mem_get_info(device)[0] if on_gpu else _available()
    if (needed := sum(parts.values())) > free:
        told = ", ".join(f"{name} {size / GIB:.1f}" for name, size in parts.items())
        raise ValueError(
            f"{members} members need {needed / GIB:.1f} GiB ({told}) and {free / GIB:.1f} GiB are free: "
            "take fewer members, a smaller replay, or a device with more memory"
        )
    return parts


def _available() -> int:
    """Bytes of the host's memory that can be had, with what the system keeps of files and would give back."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable"))
