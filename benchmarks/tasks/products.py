"""Products: pictures a second of losses, gradients, Hessian-vector and Hessian-matrix products over the batch size.

Two networks read pictures of 28 x 28: `mlp`, 784-128-64-10 with sigmoids (109,386 weights), and `lenet`, LeNet-5 with
tanh and average pooling (61,706 weights); cross entropy, float32, pictures of noise. A Hessian product differentiates
the gradient's graph, as the optimizers do; a Hessian-matrix product takes m vectors at once, and its pictures are
counted once. One thread; times are the processor's, the best of several calls, so that other work on the machine counts
as little as it can. Pictures a second are those of one core.

Source: Berahas, Jahani, Takac 2019, figure of pictures a second over the batch size, on one P100 GPU.
Differs: a core of this machine, not a GPU; which networks and how many vectors the figure has is not known.
"""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import torch
from matplotlib.figure import Figure
from torch import Tensor, nn
from torch.nn import functional

from agents import records
from benchmarks.bases.full_batch import network
from benchmarks.harness.experiment import Experiment, Size
from benchmarks.reporting.pictures import finish, save, styles
from benchmarks.timing.measure import machine
from routing_env.plugins import nearest

__all__ = ["Products", "operation"]

LABELS = ("loss", "gradient", "Hessian-vector", "Hessian-matrix")


def lenet() -> nn.Sequential:
    """LeNet-5 with tanh and average pooling."""
    return nn.Sequential(
        nn.Conv2d(1, 6, 5, padding=2), nn.Tanh(), nn.AvgPool2d(2), nn.Conv2d(6, 16, 5), nn.Tanh(), nn.AvgPool2d(2),
        nn.Flatten(), nn.Linear(400, 120), nn.Tanh(), nn.Linear(120, 84), nn.Tanh(), nn.Linear(84, 10),
    )  # fmt: skip


NETWORKS: Mapping[str, Callable[[], nn.Sequential]] = {
    "mlp": lambda: nn.Sequential(nn.Flatten(), *network((784, 128, 64, 10))),
    "lenet": lenet,
}


def operation(label: str, model: nn.Module, x: Tensor, t: Tensor, vectors: Sequence[Tensor]) -> list[Tensor]:
    """What the label says of the mean cross entropy: [loss], gradients, or products of the Hessian.

    Args:
        label: of the experiment.
        model: the network.
        x: pictures (batch, ...), t: their classes (batch,).
        vectors: for each parameter m vectors (m, *shape); a Hessian-vector product takes the first.

    Returns:
        The loss (), a tensor for each parameter, or for a Hessian-matrix product (m, *shape) each.
    """
    params = list(model.parameters())
    if label == "loss":
        with torch.no_grad():
            return [functional.cross_entropy(model(x), t)]
    loss = functional.cross_entropy(model(x), t)
    if label == "gradient":
        return list(torch.autograd.grad(loss, params))
    slopes = torch.autograd.grad(loss, params, create_graph=True)
    if label == "Hessian-vector":
        return list(torch.autograd.grad(slopes, params, [one[0] for one in vectors]))
    return list(torch.autograd.grad(slopes, params, list(vectors), is_grads_batched=True))


class Products(Experiment):
    """A row an operation and trial."""

    name = "products"
    title = "Products: what curvature costs over the batch size"
    sizes: ClassVar[dict[str, Size]] = {
        "fast": Size(0, 1, {"batches": [16, 64], "calls": 2}),
        "default": Size(0, 2, {"batches": [1, 4, 16, 64, 256, 1024], "calls": 5}),
        "full": Size(0, 10, {"batches": [1, 4, 16, 64, 256, 1024, 4096], "calls": 10}),
    }
    options: ClassVar[dict[str, Any]] = {"network": "mlp", "m": 10}

    @classmethod
    def labels(cls) -> list[str]:
        """The four operations."""
        return list(LABELS)

    @classmethod
    def chosen(cls, options: Mapping[str, Any]) -> dict[str, Any]:
        """All options.

        Raises:
            ValueError: no such option or network, or m is below 1.
        """
        found = super().chosen(options)
        if (name := found["network"]) not in NETWORKS:
            raise ValueError(f"no network {name!r}{nearest(name, NETWORKS)}; there are: {', '.join(NETWORKS)}")
        if found["m"] < 1:
            raise ValueError(f"m must be at least 1, got {found['m']}")
        return found

    @classmethod
    def settings(cls, label: str, size: Size, options: Mapping[str, Any]) -> dict[str, Any]:
        """Batch sizes, calls and the options."""
        return {"task": {**size.scale, **options}}

    @classmethod
    def run(
        cls, label: str, seeds: Sequence[int], size: Size, options: Mapping[str, Any], *, quiet: bool = True
    ) -> list[dict[str, Any]]:
        """A row a seed."""
        before = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            return [_timed(cls, label, seed, size, options) for seed in seeds]
        finally:
            torch.set_num_threads(before)

    @classmethod
    def table(cls, rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        """Pictures a second at each batch size, the median of the trials."""
        lines = []
        for label in dict.fromkeys(row["method"] for row in rows):
            seconds = _seconds(rows, label)
            line: dict[str, Any] = {"method": label}
            line |= {f"batch {batch}": f"{batch / one:,.0f}" for batch, one in seconds.items()}
            lines.append(line)
        return lines

    @classmethod
    def findings(cls, rows: Sequence[dict[str, Any]]) -> list[str]:
        """Costs in gradients at the largest batch, what a product of m vectors at once saves, and where it ran."""
        seconds = {label: _seconds(rows, label) for label in dict.fromkeys(row["method"] for row in rows)}
        if set(seconds) != set(LABELS):
            return []
        batches = sorted(set.intersection(*(set(one) for one in seconds.values())))
        m, said = rows[0]["settings"]["task"]["m"], []
        for batch in dict.fromkeys((batches[0], batches[-1])):
            cost = {label: seconds[label][batch] / seconds["gradient"][batch] for label in LABELS}
            said.append(
                f"With {batch} pictures a batch a loss costs {cost['loss']:.2g} gradients, a Hessian-vector product "
                f"{cost['Hessian-vector']:.2g}, a product of {m} vectors at once {cost['Hessian-matrix']:.3g}: each "
                f"of them {cost['Hessian-matrix'] / m / cost['Hessian-vector']:.2g} of a product alone."
            )
        found = sorted({f"{row['metrics']['device']}, {row['metrics']['cores']} cores" for row in rows})
        return [*said, f"Measured on one core of: {'; '.join(found)}."]

    @classmethod
    def draw(cls, rows: Sequence[dict[str, Any]], folder: Path) -> list[Path]:
        """Pictures a second over the batch size, a panel for each network."""
        names = list(dict.fromkeys(row["settings"]["task"]["network"] for row in rows))
        figure = Figure(figsize=(4.2 * len(names), 3.4), layout="constrained", dpi=90)
        axes = figure.subplots(1, len(names), squeeze=False)[0]
        for ax, name in zip(axes, names, strict=True):
            mine = [row for row in rows if row["settings"]["task"]["network"] == name]
            for label, look in styles(row["method"] for row in mine).items():
                seconds = _seconds(mine, label)
                ax.plot(list(seconds), [batch / one for batch, one in seconds.items()], marker="o", markersize=3,
                        label=label, **look)  # fmt: skip
            ax.set(title=name, xscale="log", yscale="log", xlabel="batch size", ylabel="pictures a second of one core")
            finish(ax)
        return [save(figure, folder / f"{cls.name}-rates.png")]


def _timed(kind: type[Products], label: str, seed: int, size: Size, options: Mapping[str, Any]) -> dict[str, Any]:
    """The row of a seed: seconds of the processor that each batch takes."""
    draw = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = NETWORKS[options["network"]]()
    vectors = [torch.randn(options["m"], *one.shape, generator=draw) for one in model.parameters()]
    begun, found, count = (time.perf_counter(), time.process_time()), {}, 0
    for batch in size.scale["batches"]:
        x = torch.randn(batch, 1, 28, 28, generator=draw)
        t = torch.randint(10, (batch,), generator=draw)
        operation(label, model, x, t, vectors)  # what is loaded and reserved at the first call does not count
        found[str(batch)] = _best(partial(operation, label, model, x, t, vectors), size.scale["calls"])
        count += 1 + size.scale["calls"]
    metrics = {"seconds": found, "device": processor(), "cores": os.cpu_count(), "threads": torch.get_num_threads(),
               "weights": sum(one.numel() for one in model.parameters())}  # fmt: skip
    name = {"loss": "losses", "gradient": "gradients"}.get(label, "products")
    return records.row(
        task=kind.name, method=label, settings=kind.settings(label, size, options), seed=seed, trial=seed,
        metrics=metrics, evaluations={name: count}, wall_seconds=time.perf_counter() - begun[0],
        cpu_seconds=time.process_time() - begun[1],
    )  # fmt: skip


def processor() -> str:
    """The model of the processor where Linux tells it."""
    listed = Path("/proc/cpuinfo")
    lines = listed.read_text().splitlines() if listed.exists() else []
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), machine())


def _best(call: Callable[[], Any], calls: int) -> float:
    """Seconds of the processor of the fastest of some calls."""
    best = float("inf")
    for _ in range(calls):
        begun = time.process_time()
        call()
        best = min(best, time.process_time() - begun)
    return float(f"{best:.4g}")


def _seconds(rows: Sequence[dict[str, Any]], label: str) -> dict[int, float]:
    """Batch -> seconds of an operation, the median of the trials."""
    mine = [row["metrics"]["seconds"] for row in rows if row["method"] == label]
    return {int(batch): statistics.median(one[batch] for one in mine) for batch in mine[0]}
