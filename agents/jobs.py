"""Populations as jobs: over the cores of this machine, or over a Ray cluster, with the same rows.

A job is a folder. What it has finished is not done again, what was stopped goes on from its checkpoint: a worker that
is lost costs at most one checkpoint interval, and nothing is counted twice. On a cluster the folders have to lie on a
file system that all machines share.
"""

from __future__ import annotations

import dataclasses
import json
import multiprocessing
import os
import time
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from agents.config import TrainConfig
from agents.members import Member, finished, run_members

__all__ = ["Job", "JobError", "run_jobs"]

TRIES = 4
"""how often a job is begun whose worker is lost"""


class JobError(RuntimeError):
    """A job that ended with an error; the text holds it."""


@dataclasses.dataclass(frozen=True)
class Job:
    """A population with its folder."""

    folder: Path
    members: tuple[Member, ...]
    config: TrainConfig
    label: str | None = None
    """what its rows call the method; none for the optimizer's name"""
    task: str = "routing"
    stop_at_bound: bool = False
    checkpoint_seconds: float = 300.0
    device: str = "cpu"
    graphs: str = "off"
    """whether moves and updates become CUDA graphs: auto, on or off"""
    tensorboard: bool = False

    def run(self, parent: int | None = None) -> list[dict[str, Any]]:
        """Run it here, or go on with it."""
        return run_members(
            self.members, self.config, self.folder, stop_at_bound=self.stop_at_bound, device=self.device,
            graphs=self.graphs, checkpoint_seconds=self.checkpoint_seconds, task=self.task, label=self.label,
            parent=parent, tensorboard=self.tensorboard,
        )  # fmt: skip

    def rows(self) -> list[dict[str, Any]] | None:
        """The rows of all members, None while there are none.

        Raises:
            ValueError: the folder's are of other members or settings.
        """
        return finished(self.folder, self.members, self.config)


def run_jobs(
    jobs: Sequence[Job], *, processes: int = 1, engine: str = "local", address: str | None = None, quiet: bool = False,
    finished: Callable[[Job, list[dict[str, Any]]], None] | None = None,
) -> list[list[dict[str, Any]]]:  # fmt: skip
    """Run what has not been run, in this order, as many at a time as there are processes.

    Args:
        jobs: each with a folder of its own.
        processes: jobs at a time.
        engine: ``local``, or ``ray`` (the extra ``ray``).
        address: of the Ray cluster; none starts one on this machine.
        quiet: no progress bar.
        finished: called with each job and its rows when it has ended, also where it had before.

    Returns:
        The rows of each job.

    Raises:
        JobError: a job ended with an error, or lost its worker too often.
        KeyboardInterrupt: interrupted; the jobs have written their checkpoints.
        ValueError: two jobs have one folder, a folder has rows of others, or there is no such engine.
    """
    if processes < 1:
        raise ValueError(f"processes must be at least 1, got {processes}")
    folders = [job.folder.resolve() for job in jobs]
    if len(set(folders)) < len(folders):
        raise ValueError("two jobs have the same folder")
    if engine not in ("local", "ray"):
        raise ValueError(f"engine {engine!r} is none of local, ray")
    missing = [job for job in jobs if job.rows() is None]
    with _Watch(jobs, quiet, finished) as watch:
        if missing:
            (_on_ray(missing, processes, address, watch) if engine == "ray" else _here(missing, processes, watch))
    found = [job.rows() for job in jobs]
    assert all(rows is not None for rows in found)
    return [rows or [] for rows in found]


class _Watch:
    """A bar over all passes of all jobs, read from their progress files."""

    def __init__(
        self, jobs: Sequence[Job], quiet: bool, finished: Callable[[Job, list[dict[str, Any]]], None] | None
    ) -> None:
        self.jobs, self.finished = jobs, finished
        self.told: set[Path] = set()
        passes = sum(len(job.members) * job.config.passes for job in jobs)
        self.bar = tqdm(total=passes, unit="pass", mininterval=1.0, disable=quiet)

    def __enter__(self) -> _Watch:
        return self

    def __exit__(self, *error: object) -> None:
        self.look()
        self.bar.close()

    def look(self) -> None:
        """Move the bar."""
        passes, members, ended, full = 0, 0, 0, 0
        for job in self.jobs:
            try:
                told = json.loads((job.folder / "progress.json").read_text())
            except (OSError, ValueError):
                continue
            passes, ended, full = passes + told["passes"], ended + told["ended"], full + told["fully_routed"]
            members += told["members"]
            if told["ended"] == told["members"] and job.folder not in self.told and (rows := job.rows()) is not None:
                self.told.add(job.folder)
                if self.finished is not None:
                    self.finished(job, rows)
        self.bar.set_postfix_str(f"{members} members, {full} fully routed, {ended} ended", refresh=False)
        self.bar.update(passes - self.bar.n)


def _work(job: Job, parent: int) -> None:
    try:
        job.run(parent)
    except KeyboardInterrupt:
        raise SystemExit(130) from None
    except Exception:
        (job.folder / "error.txt").write_text(traceback.format_exc())
        raise SystemExit(1) from None


def _here(jobs: Sequence[Job], processes: int, watch: _Watch) -> None:
    context = multiprocessing.get_context("spawn")
    waiting, tries = list(jobs), dict.fromkeys(jobs, 0)
    running: dict[Job, Any] = {}
    try:
        while waiting or running:
            while waiting and len(running) < processes:
                job = waiting.pop(0)
                job.folder.mkdir(parents=True, exist_ok=True)
                (job.folder / "error.txt").unlink(missing_ok=True)
                tries[job] += 1
                running[job] = context.Process(target=_work, args=(job, os.getpid()))
                running[job].start()
            time.sleep(0.5)
            watch.look()
            for job, worker in list(running.items()):
                if worker.is_alive():
                    continue
                del running[job]
                if job.rows() is not None:
                    continue
                error = job.folder / "error.txt"
                if error.exists() or tries[job] >= TRIES:
                    told = error.read_text() if error.exists() else f"its worker was lost {tries[job]} times"
                    raise JobError(f"{job.folder}: {told}")
                waiting.insert(0, job)  # its worker is lost: go on from its checkpoint
    finally:
        for worker in running.values():
            worker.terminate()
        for worker in running.values():
            worker.join()


def _on_ray(jobs: Sequence[Job], processes: int, address: str | None, watch: _Watch) -> None:
    try:
        import ray
    except ImportError:
        raise JobError("the engine ray needs the extra: pip install 'quasiroute[ray]'") from None
    begun = not ray.is_initialized()
    if begun:
        ray.init(address=address, num_cpus=None if address else processes, log_to_driver=False,
                 include_dashboard=False)  # fmt: skip
    waiting: dict[Any, Job] = {}
    try:
        work = ray.remote(num_cpus=1, max_retries=TRIES - 1, retry_exceptions=False)(Job.run)
        for job in jobs:
            there = dataclasses.replace(job, folder=job.folder.resolve())  # current folders differ between machines
            gpus = int(job.device.startswith("cuda"))  # what is not asked for cannot be seen
            waiting[work.options(num_gpus=gpus).remote(there)] = job
        while waiting:
            done, _ = ray.wait(list(waiting), timeout=1.0)
            watch.look()
            for one in done:
                job = waiting.pop(one)
                try:
                    ray.get(one)
                except ray.exceptions.RayError as error:
                    raise JobError(f"{job.folder}: {error}") from None
    except BaseException:
        for one in waiting:
            ray.cancel(one)  # an interrupt in its worker, which writes its checkpoint; those that wait never begin
        ray.wait(list(waiting), num_returns=len(waiting), timeout=60.0)
        raise
    finally:
        if begun:
            ray.shutdown()
