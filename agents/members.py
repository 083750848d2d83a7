"""Members of a population from their first to their last pass: rows, checkpoints, early ends, going on after a stop.

A folder holds

checkpoint.pt     everything that the members under way need to go on with the same result
rows.jsonl        one row a member, in their order, written when the last has ended
routes/           the best pass of each member as a contest solution
weights.pt        the networks as they were when their members ended; ``read_networks`` makes them callable
progress.json     passes made so far, for whoever watches
tensorboard/      mean and quartiles over the members, of those that ended early their last pass

A member ends after its last pass or, with ``stop_at_bound``, with the first pass that makes all connections at the
proven bound: no later pass can be better. Members that ended are taken out of the population when they are a quarter
of it. An end is noticed at most ``Population.stride`` moves after the pass: weights and counters are of then.

weights.pt holds plain tensors (``torch.load(weights_only=True)``): ``params``, weights (members, inputs, outputs) and
biases (members, 1, outputs) layer by layer; ``members``, netlist and seed of each; ``sizes`` and ``dueling`` of
``StackedMLP``.
"""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from agents import records
from agents.config import TrainConfig
from agents.graphs import use_graphs
from agents.memory import check_device
from agents.networks import StackedMLP
from agents.population import CURVES, Population
from agents.processor import keep_freed_memory, without_subnormals
from agents.stopping import Interrupted, alone, asked_to_stop
from routing_env import Problem, official_score, rules, write_solution

__all__ = ["Member", "finished", "read_networks", "run_members", "same_settings"]


@dataclasses.dataclass(frozen=True)
class Member:
    """One agent of a population."""

    problem: Problem
    netlist: str
    """what its rows call the netlist"""
    seed: int
    learning_rate: float | None = None
    bound: int | None = None
    """proven least wirelength"""


def run_members(
    members: Sequence[Member],
    config: TrainConfig,
    folder: Path,
    *,
    stop_at_bound: bool = False,
    checkpoint_seconds: float = 300.0,
    device: str = "cpu",
    graphs: str = "off",
    task: str = "routing",
    label: str | None = None,
    parent: int | None = None,
    tensorboard: bool = True,
) -> list[dict[str, Any]]:
    """Train members side by side, or go on where a stopped run of the same folder stands.

    Args:
        members: all of one grid shape.
        config: shared settings.
        folder: see the module's docstring; nothing is done again if its rows are complete.
        stop_at_bound: whether a member ends at its proven bound.
        checkpoint_seconds: time between checkpoints.
        device: where the population lies.
        graphs: see ``use_graphs``.
        task, label: of the rows; no label for the optimizer's name.
        parent: a process whose end ends this run too.
        tensorboard: whether curves are written.

    Returns:
        The rows, one a member.

    Raises:
        Interrupted: by SIGINT or SIGTERM; the checkpoint is written.
        ValueError: the checkpoint or the rows of the folder are of other members or settings; graphs that cannot be.
    """
    check_device(device)
    with_graphs = use_graphs(graphs, config, device)
    torch.set_num_threads(1)  # the matrices are tiny; more threads only wait for each other
    keep_freed_memory()
    with alone(folder), without_subnormals():
        if (done := finished(folder, members, config)) is not None:
            (folder / "checkpoint.pt").unlink(missing_ok=True)  # of a run that was killed between the two
            return done
        run = _Run(
            members, config, folder, stop_at_bound, device, with_graphs, task, label or config.optimizer, tensorboard
        )
        with asked_to_stop() as asked, run:
            return run.to_the_end(checkpoint_seconds, lambda: asked() or (parent not in (None, os.getppid())))


def finished(folder: Path, members: Sequence[Member], config: TrainConfig) -> list[dict[str, Any]] | None:
    """The rows of a folder whose members have all ended, None while there are none.

    Raises:
        ValueError: they are of other members or settings.
    """
    path = folder / "rows.jsonl"
    rows = records.read_rows(path)
    if not rows:
        return None
    found = [[row["metrics"]["netlist"], row["seed"]] for row in rows]
    if found != [[one.netlist, one.seed] for one in members] or any(
        not same_settings(row["settings"], config) for row in rows
    ):
        raise ValueError(f"{path}: rows of other members or settings; choose another folder")
    return rows


def same_settings(settings: dict[str, Any], config: TrainConfig) -> bool:
    """Whether settings of rows are those of a config; those that only one of them knows are not looked at."""
    asked = _json(dataclasses.asdict(config))
    return all(asked[name] == value for name, value in settings.items() if name in asked and name not in NOT_OF_MEMBERS)


class _Run:
    def __init__(
        self, members: Sequence[Member], config: TrainConfig, folder: Path, stop_at_bound: bool, device: str,
        graphs: bool, task: str, label: str, tensorboard: bool,
    ) -> None:  # fmt: skip
        self.members, self.config, self.folder, self.device, self.graphs = members, config, folder, device, graphs
        self.stop_at_bound, self.task, self.label = stop_at_bound, task, label
        self.settings = {n: v for n, v in dataclasses.asdict(config).items() if n not in NOT_OF_MEMBERS}
        self.rows: dict[int, dict[str, Any]] = {}
        self.weights: dict[int, list[torch.Tensor]] = {}
        """of the members that have ended"""
        self.alive = list(range(len(members)))
        self.spent = (0.0, 0.0)
        state: dict[str, Any] | None = None
        self.saved = folder / "checkpoint.pt"
        if self.saved.exists():
            state = _read(self.saved)
            plain = json.loads(state["plain"])
            if (
                plain["members"] != [[one.netlist, one.seed] for one in members]
                or plain.get("described", self._described()) != self._described()
                or plain["settings"] != _json(self.settings)
            ):
                raise ValueError(f"{self.saved}: made by other members or settings; choose another folder")
            self.alive, self.spent = plain["alive"], tuple(plain["spent"])
            self.rows = {int(member): row for member, row in plain["rows"].items()}
            self.weights = state.get("weights", {})
        self.started = (time.perf_counter(), time.process_time())
        self.population = self._build(state)
        self.curves: Any = None
        self.drawn = self._passes_of_all()
        if tensorboard:
            from torch.utils.tensorboard import SummaryWriter

            self.curves = SummaryWriter(str(folder / "tensorboard"), purge_step=self.drawn + 1)

    def __enter__(self) -> _Run:
        return self

    def __exit__(self, *error: object) -> None:
        if self.curves is not None:
            self.curves.close()

    def _described(self) -> str:
        """Short for all that a checkpoint's members have to have in common with ours besides their names."""
        parts = [(dataclasses.replace(one.problem, name=""), one.learning_rate) for one in self.members]
        return hashlib.sha256(repr((parts, self.stop_at_bound)).encode()).hexdigest()[:16]

    def _build(self, state: dict[str, Any] | None) -> Population:
        chosen = [self.members[member] for member in self.alive]
        rates = [one.learning_rate for one in chosen]
        if any(rate is None for rate in rates) and any(rate is not None for rate in rates):
            raise ValueError("a learning rate of each member, or of none")
        made = Population(
            [one.problem for one in chosen], self.config, [one.seed for one in chosen],
            learning_rates=None if None in rates else rates, device=self.device, graphs=self.graphs,  # type: ignore[arg-type]
        )  # fmt: skip
        if state is not None:
            made.load_state_dict(state["population"] | {"history": json.loads(state["plain"])["history"]})
        return made

    def to_the_end(self, checkpoint_seconds: float, stop: Callable[[], bool]) -> list[dict[str, Any]]:
        """Move until every member has ended."""
        saved_at = told_at = time.perf_counter()
        population = self.population
        while len(self.rows) < len(self.members):
            for _ in range(population.stride):
                population.advance()
            for place in population.poll():
                if self.alive[place] not in self.rows and self._over(place):
                    self.rows[self.alive[place]] = self._row(place)
                    self.weights[self.alive[place]] = [
                        one.detach()[place].to("cpu", copy=True) for one in population.net.params
                    ]
            self._draw()
            now = time.perf_counter()
            if now - told_at > 1.0:
                told_at = now
                self._tell()
            if (stopping := stop()) or now - saved_at > checkpoint_seconds:
                self.save()
                saved_at = time.perf_counter()
            if stopping:
                raise Interrupted
            going = [place for place, member in enumerate(self.alive) if member not in self.rows]
            if going and len(going) <= 0.75 * len(self.alive) and len(self.alive) > 2:
                # one that ended stays beside a last one: products of a single network round otherwise
                going += [place for place in range(len(self.alive)) if place not in going][: max(0, 2 - len(going))]
                population.keep(going)
                self.alive = [self.alive[place] for place in going]
        rows: list[dict[str, Any]] = _json([self.rows[member] for member in range(len(self.members))])
        self._keep_weights()
        records.write_rows(self.folder / "rows.jsonl", rows)
        self._tell()
        self.saved.unlink(missing_ok=True)
        return rows

    def _keep_weights(self) -> None:
        if len(self.weights) < len(self.members):
            return  # some ended before a checkpoint that knew no weights
        each = [self.weights[member] for member in range(len(self.members))]
        net = self.population.net
        _save(self.folder / "weights.pt", {
            "params": [torch.stack(parts) for parts in zip(*each, strict=True)], "sizes": list(net.sizes),
            "dueling": self.config.dueling, "members": [[one.netlist, one.seed] for one in self.members],
        })  # fmt: skip

    def _over(self, place: int) -> bool:
        member, curves = self.members[self.alive[place]], self.population.history[place]
        if len(curves["routed"]) >= self.config.passes:
            return True
        if not self.stop_at_bound or member.bound is None:
            return False
        count = int(self.population.env.tables["state"][place, rules.COUNT])
        full = curves["routed"][-1] == count and curves["overflow"][-1] == 0
        return bool(full and curves["wirelength"][-1] <= member.bound)

    def _row(self, place: int) -> dict[str, Any]:
        population, member = self.population, self.members[self.alive[place]]
        solution = population.env.solution(place)
        path = self.folder / "routes" / f"{member.netlist.replace('/', '-').replace(':', '')}-{member.seed}.route"
        path.parent.mkdir(exist_ok=True)
        write_solution(member.problem, solution, path)
        score = official_score(member.problem, path)
        curves = {name: list(population.history[place][name]) for name in CURVES}
        counters: Any = population.optimizer.counters() if hasattr(population.optimizer, "counters") else {}
        mine = {name: one[place] if isinstance(one, list) else one for name, one in counters.items()}
        wall, cpu = self._seconds()
        count = solution.info["connections"]
        full = [i for i, routed in enumerate(curves["routed"], 1) if routed == count]
        metrics = solution.info | {
            "netlist": member.netlist, "bound": member.bound, "wirelength": score.wirelength,
            "overflow": score.total_overflow, "legal": score.legal, "first_full": full[0] if full else None,
            "full_passes": len(full), "passes": len(curves["routed"]), "learning_rate": float(
                population.first_rates[place]), "population": len(self.members),
            "curve": {name: [int(v) if float(v).is_integer() else round(v, 4) for v in one]
                      for name, one in curves.items()},
        }  # fmt: skip
        step, config = int(curves["step"][-1]), self.config
        updates = config.updates * max(0, step // config.train_every - config.learning_starts // config.train_every)
        share = updates / max(1, population.updates)  # the population has moved on a little since the pass ended
        made = {name: round(share * mine.pop(f"n_{name}", 0)) for name in ("losses", "gradients", "products")}
        mine.pop("k", None)
        return records.row(
            task=self.task, method=self.label, settings=self.settings, seed=member.seed, step=step,
            epoch=len(curves["routed"]), evaluations=made | {"updates": updates}, counters=mine,
            metrics=metrics, wall_seconds=round(wall, 1), cpu_seconds=round(cpu, 1), device=self.device,
        )  # fmt: skip

    def _seconds(self) -> tuple[float, float]:
        wall = self.spent[0] + time.perf_counter() - self.started[0]
        return wall, self.spent[1] + time.process_time() - self.started[1]

    def _passes_of_all(self) -> int:
        """Passes that every member has made; one that ended earlier is counted with its last pass from then on."""
        going = [len(one["routed"]) for one, member in zip(self.population.history, self.alive, strict=True)
                 if member not in self.rows]  # fmt: skip
        return min(going) if going else max(row["metrics"]["passes"] for row in self.rows.values())

    def _draw(self) -> None:
        """Curves over all members."""
        if self.curves is None or self.drawn >= (known := self._passes_of_all()):
            return
        lines: dict[int, Any] = dict(zip(self.alive, self.population.history, strict=True))
        lines |= {member: row["metrics"]["curve"] for member, row in self.rows.items()}
        while self.drawn < known:
            for name in ("routed", "wirelength", "overflow", "reward"):
                found = torch.tensor([float(one[name][: self.drawn + 1][-1]) for one in lines.values()]).double()
                low, middle, high = torch.quantile(found, torch.tensor([0.25, 0.5, 0.75]).double()).tolist()
                for kind, value in (("mean", float(found.mean())), ("lower quartile", low), ("median", middle),
                                    ("upper quartile", high)):  # fmt: skip
                    self.curves.add_scalar(f"{name}/{kind}", value, self.drawn + 1)
            self.drawn += 1

    def _tell(self) -> None:
        made = sum(len(one["routed"]) for one, member in zip(self.population.history, self.alive, strict=True)
                   if member not in self.rows)  # fmt: skip
        made += self.config.passes * len(self.rows)
        connected = sum(row["metrics"]["first_full"] is not None for row in self.rows.values())
        connected += sum(
            max(one["routed"], default=0) == int(count)
            for one, count, member in zip(self.population.history,
                                          self.population.env.tables["state"][:, rules.COUNT], self.alive, strict=True)
            if member not in self.rows
        )  # fmt: skip
        told = {"passes": made, "all": self.config.passes * len(self.members), "ended": len(self.rows),
                "fully_routed": connected, "members": len(self.members)}  # fmt: skip
        records.write_atomically(self.folder / "progress.json", json.dumps(told).encode())

    def save(self) -> None:
        """Write the checkpoint, whole or not at all."""
        state = self.population.state_dict()
        plain = {
            "members": [[one.netlist, one.seed] for one in self.members], "settings": self.settings,
            "alive": self.alive, "spent": self._seconds(), "rows": self.rows, "history": state.pop("history"),
            "described": self._described(),
        }  # fmt: skip
        if self.curves is not None:
            self.curves.flush()  # the run goes on with the passes after these
        _save(self.saved, {"population": state, "plain": json.dumps(plain), "weights": self.weights})


NOT_OF_MEMBERS = ("netlist", "seed", "environments", "checkpoint_seconds", "tensorboard")
"""settings that belong to a member or to the run"""


def _json(value: Any) -> Any:
    return json.loads(json.dumps(value))


def _save(path: Path, content: dict[str, Any]) -> None:
    buffer = io.BytesIO()
    torch.save(content, buffer)
    records.write_atomically(path, buffer.getvalue())


def read_networks(folder: Path, device: str = "cpu") -> StackedMLP:
    """The networks of a finished folder, in the order of its rows.

    Raises:
        ValueError: the file is damaged.
        OSError: there are none.
    """
    found = _read(folder / "weights.pt")
    inputs, *hidden, outputs = found["sizes"]
    net = StackedMLP(inputs, hidden, outputs - found["dueling"], seeds=[0], dueling=found["dueling"])
    net.params = [one.to(device).requires_grad_() for one in found["params"]]
    return net


def _read(path: Path) -> dict[str, Any]:
    try:
        found: dict[str, Any] = torch.load(path, weights_only=True, map_location="cpu")
    except OSError:
        raise
    except Exception as error:  # torch names no errors of its own for damaged files
        raise ValueError(f"{path}: damaged checkpoint: {error!r}") from None
    return found
