"""Meta-training: the networks of ``l2l`` and ``hierarchical`` learn by gradient descent through their own steps.

An episode draws a family and a batch of its problems, and lets the network optimize them for ``unrolls`` times
``unroll`` steps. After each unroll its weights phi move along the gradient of the mean over its steps and problems of

    log(f(theta_t) / f(theta_0) + floor)     objective "log"
    f(theta_t) / f(theta_0)                  objective "sum"

where gradients do not pass through the gradient of f, unless ``second_derivatives``. Random numbers of an episode come
from the seed and its number alone, so that a run that was stopped goes on to the same weights.

Source: Andrychowicz et al., 2016; Wichrowska et al., 2017.
Differs: Adam with a clipped gradient and a falling rate for both networks; problems of a batch share a family; episodes
have far fewer steps than the second paper's; losses are relative to the first one.

config.json     what was asked for
checkpoint.pt   everything needed to go on with the same result
rows.jsonl      one row every so many episodes
weights.pt weights.json    the weights, and a card that says where they come from
"""

from __future__ import annotations

import copy
import dataclasses
import io
import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Generator, Tensor
from tqdm import tqdm

from agents.records import append_row, read_rows, row, versions, write_atomically, write_rows
from benchmarks.meta.comparison import against_adam
from benchmarks.meta.problems import FAMILIES, Problems, draw, generator_of
from optimizers.learned import _coordinate_lstm, _hierarchy

__all__ = ["MetaConfig", "MetaTrainer", "meta_train"]

CORES: dict[str, Any] = {"l2l": _coordinate_lstm, "hierarchical": _hierarchy}
FLOOR = 1e-6


@dataclass(frozen=True)
class MetaConfig:
    """Meta-training of one network."""

    optimizer: Literal["l2l", "hierarchical"] = "l2l"
    """whose network"""
    families: tuple[str, ...] = ("quadratic", "classifier")
    """families of problems, drawn with equal chances"""
    episodes: int = 2000
    """batches of problems to learn from"""
    members: int = 64
    """problems in a batch"""
    unroll: int = 20
    """steps that a meta-gradient passes through"""
    unrolls: int = 5
    """unrolls in an episode"""
    learning_rate: float = 1e-3
    """of Adam on the network's weights; falls linearly to a hundredth"""
    max_norm: float = 1.0
    """longest meta-gradient"""
    objective: Literal["log", "sum"] = "log"
    """what is averaged over steps"""
    second_derivatives: bool = False
    """let meta-gradients pass through the gradients of the problems"""
    seed: int = 0
    """of the first weights and all problems"""
    checkpoint_seconds: float = 60.0
    """seconds between checkpoints"""
    report_every: int = 50
    """episodes between rows"""
    held_out: int = 128
    """unseen problems of each family on which the card compares with Adam; 0 for no comparison"""

    def __post_init__(self) -> None:
        """Refuse what cannot run."""
        if self.optimizer not in CORES:
            raise ValueError(f"no learned optimizer {self.optimizer!r}; there are: {', '.join(CORES)}")
        if unknown := [family for family in self.families if family not in FAMILIES]:
            raise ValueError(f"no family {unknown[0]!r}; there are: {', '.join(FAMILIES)}")
        for name in ("families", "episodes", "members", "unroll", "unrolls", "report_every"):
            value = getattr(self, name)
            if (len(value) if isinstance(value, tuple) else value) < 1:
                raise ValueError(f"{name} = {value!r}: at least one")


class MetaTrainer:
    """The weights phi, their Adam, and how many episodes they have seen."""

    def __init__(self, config: MetaConfig) -> None:
        self.config = config
        self.core = CORES[config.optimizer]
        fresh = self.core.fresh(generator_of(config.seed, -1))
        self.phi: dict[str, Tensor] = {name: one.requires_grad_() for name, one in fresh.items()}
        self.adam = torch.optim.Adam(self.phi.values(), lr=config.learning_rate)
        self.done = 0
        self.skipped = 0
        """unrolls that gave no finite meta-gradient"""
        self.seconds = 0.0
        self.window: dict[str, list[float]] = {}
        """results of each family since the last row"""

    def episode(self) -> None:
        """Learn from the next batch of problems; the window gets the mean of log10 of the last loss over the first."""
        started = time.perf_counter()
        config, generator = self.config, generator_of(self.config.seed, self.done)
        family = config.families[int(torch.randint(len(config.families), (1,), generator=generator))]
        problems = draw(family, config.members, generator)
        theta, sizes = problems.start, problems.sizes
        first = problems.loss(theta).detach()
        state = self.core.vary(self.core.begin(self.phi, theta, sizes), sizes, generator)
        self.adam.param_groups[0]["lr"] = config.learning_rate * max(0.01, 1 - self.done / config.episodes)
        for _ in range(config.unrolls):
            total, theta, state = self.unroll(problems, theta, state, first, generator)
            if not self.learn(total):
                break
            theta, state = theta.detach(), {name: one.detach() for name, one in state.items()}
        share = torch.nan_to_num(problems.loss(theta.detach()) / first, nan=torch.inf).clamp(1e-12, 1e12)
        self.window.setdefault(family, []).append(float(share.log10().mean()))
        self.done += 1
        self.seconds += time.perf_counter() - started

    def unroll(
        self, problems: Problems, theta: Tensor, state: dict[str, Tensor], first: Tensor, generator: Generator
    ) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        """Optimize for ``unroll`` steps: the objective, the weights (members, n) and the network's state after them."""
        config, total = self.config, torch.zeros(())
        for _ in range(config.unroll):
            g = self.gradient(problems, theta, generator)
            step, state = self.core.advance(self.phi, state, g, problems.sizes)
            theta = theta + step
            relative = problems.loss(theta) / first
            total = total + ((relative + FLOOR).log() if config.objective == "log" else relative).mean()
        return total / config.unroll, theta, state

    def gradient(self, problems: Problems, theta: Tensor, generator: Generator) -> Tensor:
        """What the network sees at weights (members, n)."""
        second = self.config.second_derivatives and theta.requires_grad
        at = theta if second else theta.detach().requires_grad_()
        loss = problems.noisy(at, generator) if problems.noisy else problems.loss(at)
        (g,) = torch.autograd.grad(loss.sum(), at, create_graph=second)
        return g

    def learn(self, total: Tensor) -> bool:
        """Move phi along the meta-gradient; False, and no move, where it is not finite."""
        grads = torch.autograd.grad(total, list(self.phi.values()), allow_unused=True)
        for one, grad in zip(self.phi.values(), grads, strict=True):
            one.grad = grad
        length = torch.nn.utils.clip_grad_norm_(self.phi.values(), self.config.max_norm)
        if not bool(torch.isfinite(length)) or not bool(torch.isfinite(total)):
            self.skipped += 1
            return False
        self.adam.step()
        return True

    def state_dict(self) -> dict[str, Any]:
        """Everything needed to go on; copies."""
        return copy.deepcopy({
            "phi": {name: one.detach() for name, one in self.phi.items()}, "adam": self.adam.state_dict(),
            "done": self.done, "skipped": self.skipped, "seconds": self.seconds, "window": self.window,
        })  # fmt: skip

    def load_state_dict(self, kept: dict[str, Any]) -> None:
        """Go on from ``state_dict``."""
        with torch.no_grad():
            for name, one in self.phi.items():
                one.copy_(kept["phi"][name])
        self.adam.load_state_dict(kept["adam"])
        self.done, self.skipped, self.seconds = kept["done"], kept["skipped"], kept["seconds"]
        self.window = kept["window"]


def meta_train(
    config: MetaConfig, folder: Path, *, resume: bool = False, quiet: bool = False, episodes: int | None = None
) -> dict[str, Any]:
    """Meta-train a network, or go on with a run that was stopped.

    Args:
        config: the settings; with ``resume`` those of the folder are taken instead.
        folder: see the module's docstring.
        resume: whether to go on with the run in the folder.
        quiet: no progress bar.
        episodes: how many to make at most this time; None for all.

    Returns:
        The card of the weights; what there is of it where episodes are left.

    Raises:
        ValueError: the folder holds a run already, or none to resume.
        KeyboardInterrupt: interrupted; the checkpoint of the last whole episode is written.
    """
    torch.set_num_threads(1)  # the tensors are small; more threads only wait for each other
    if (folder / "config.json").exists() and not resume:
        raise ValueError(f"{folder}: there is a run already; resume it or choose another folder")
    config = read_config(folder) if resume else config
    trainer = MetaTrainer(config)
    if resume and (folder / "checkpoint.pt").exists():
        trainer.load_state_dict(torch.load(folder / "checkpoint.pt", weights_only=True))
    else:
        folder.mkdir(parents=True, exist_ok=True)
        write_atomically(folder / "config.json", json.dumps(dataclasses.asdict(config), indent=1).encode())
    rows = folder / "rows.jsonl"
    write_rows(rows, [one for one in read_rows(rows) if one["epoch"] <= trainer.done])
    _run(trainer, folder, min(config.episodes, trainer.done + (episodes or config.episodes)), quiet)
    phi = trainer.state_dict()["phi"]
    card = card_of(trainer)
    if trainer.done == config.episodes and config.held_out:
        card["held_out"] = {
            family: against_adam(config.optimizer, phi, family, seed=config.seed, members=config.held_out)
            for family in config.families
        }
    _save(folder / "weights.pt", phi)
    write_atomically(folder / "weights.json", (json.dumps(card, indent=1) + "\n").encode())
    return card


def read_config(folder: Path) -> MetaConfig:
    """The settings of a run folder.

    Raises:
        ValueError: there is no run in the folder, or its settings are not ours.
    """
    path = folder / "config.json"
    if not path.is_file():
        raise ValueError(f"{folder}: no config.json; this is not a run folder")
    try:
        values = json.loads(path.read_text())
        return MetaConfig(**{**values, "families": tuple(values["families"])})
    except (ValueError, TypeError, KeyError) as error:
        raise ValueError(f"{path}: {error}") from None


def card_of(trainer: MetaTrainer) -> dict[str, Any]:
    """Where weights come from, for who gets them without the run."""
    return {
        "optimizer": trainer.config.optimizer,
        "scale": "small: one core, minutes; trained on small problems of the families below, nothing is claimed beyond",
        "settings": dataclasses.asdict(trainer.config),
        "episodes": trainer.done, "unrolls_skipped": trainer.skipped, "seconds": round(trainer.seconds, 1),
        "weights": sum(one.numel() for one in trainer.phi.values()), "versions": versions(),
    }  # fmt: skip


def _run(trainer: MetaTrainer, folder: Path, until: int, quiet: bool) -> None:
    """Episodes, rows, and checkpoints of whole episodes."""
    config, saved_at = trainer.config, time.perf_counter()
    kept = trainer.state_dict()
    with tqdm(total=config.episodes, initial=trainer.done, unit="episode", disable=quiet) as bar:
        try:
            while trainer.done < until:
                trainer.episode()
                bar.update()
                if trainer.done % config.report_every == 0:
                    _report(trainer, folder / "rows.jsonl", bar)
                kept = trainer.state_dict()
                if time.perf_counter() - saved_at > config.checkpoint_seconds:
                    _save(folder / "checkpoint.pt", kept)
                    saved_at = time.perf_counter()
        finally:
            _save(folder / "checkpoint.pt", kept)


def _report(trainer: MetaTrainer, path: Path, bar: Any) -> None:
    """Write a row with the mean result of each family since the last one."""
    means = {family: sum(found) / len(found) for family, found in sorted(trainer.window.items())}
    trainer.window = {}
    bar.set_postfix({family: f"{one:.2f}" for family, one in means.items()})
    append_row(path, row(
        task="meta_training", method=trainer.config.optimizer, settings=dataclasses.asdict(trainer.config),
        seed=trainer.config.seed, epoch=trainer.done, metrics={"log10_reduction": means},
        wall_seconds=trainer.seconds, counters={"unrolls_skipped": trainer.skipped},
    ))  # fmt: skip


def _save(path: Path, found: dict[str, Any]) -> None:
    """Write tensors whole or not at all."""
    buffer = io.BytesIO()
    torch.save(found, buffer)
    write_atomically(path, buffer.getvalue())
