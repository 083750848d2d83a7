"""Rows: one JSON object a line, the same fields for every experiment; and files that are whole or not there."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from collections.abc import Iterable
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

__all__ = ["append_row", "read_rows", "row", "versions", "write_atomically", "write_rows"]

PACKAGES = ("quasiroute", "gymnasium", "numba", "numpy", "scipy", "stable-baselines3", "torch")


def row(
    *,
    task: str,
    method: str,
    settings: dict[str, Any],
    seed: int,
    metrics: dict[str, Any],
    trial: int = 0,
    step: int = 0,
    epoch: int = 0,
    evaluations: dict[str, int] | None = None,
    counters: dict[str, int] | None = None,
    wall_seconds: float = 0.0,
    cpu_seconds: float = 0.0,
    device: str = "cpu",
) -> dict[str, Any]:
    """One row. Evaluations count losses, gradients and Hessian products."""
    return {
        "task": task, "method": method, "settings": settings, "seed": seed, "trial": trial, "step": step,
        "epoch": epoch, "evaluations": evaluations or {}, "wall_seconds": wall_seconds, "cpu_seconds": cpu_seconds,
        "metrics": metrics, "counters": counters or {}, "versions": versions(), "device": device, "commit": _commit(),
    }  # fmt: skip


@lru_cache(maxsize=1)
def versions() -> dict[str, str]:
    """Versions of Python, of the machine's kind and of the packages that results depend on."""
    found = {"python": sys.version.split()[0], "machine": platform.machine()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    return found


@lru_cache(maxsize=1)
def _commit() -> str:
    """The source's revision, or an empty text outside a checkout."""
    command = ["git", "-C", str(Path(__file__).parent), "rev-parse", "--short", "HEAD"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError:
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def append_row(path: Path, record: dict[str, Any]) -> None:
    """Add a row to a file."""
    with path.open("a") as file:
        file.write(json.dumps(record) + "\n")


def read_rows(path: Path) -> list[dict[str, Any]]:
    """The rows of a file; a last line that was cut off is left out.

    Raises:
        ValueError: another line is no row; the text names file and line.
    """
    if not path.exists():
        return []
    rows = []
    lines = path.read_text().rstrip("\n").split("\n")
    for number, line in enumerate(lines, 1):
        try:
            rows.append(json.loads(line))
        except json.JSONDecodeError as error:
            if number < len(lines):
                raise ValueError(f"{path}:{number}: not a row: {error}") from None
    return rows


def write_rows(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    """Write all rows of a file, whole or not at all."""
    write_atomically(path, "".join(json.dumps(record) + "\n" for record in rows).encode())


def write_atomically(path: Path, data: bytes) -> None:
    """Write a file whole or not at all, also when the machine stops."""
    partial = path.with_name(path.name + ".partial")
    with partial.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)
