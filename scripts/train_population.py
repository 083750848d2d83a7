"""Train many double-DQN agents side by side, one a netlist and seed, on all cores; or go on with a stopped run.

python -m scripts.train_population FILE.gr FOLDER published:0 --seeds 2 --folder runs/many --preset best

The same command with the same folder goes on where it stopped.
"""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path

import tyro

from agents.config import TrainConfig
from agents.jobs import JobError
from agents.presets import chosen_preset
from agents.shards import train_population
from benchmarks.reporting.tables import text_table


@dataclasses.dataclass(frozen=True)
class Arguments:
    """Train many agents."""

    netlists: tyro.conf.Positional[tuple[str, ...]]
    """netlist files, folders of .gr files, or published:SEED; or published:FIRST-LAST"""
    config: tyro.conf.OmitArgPrefixes[TrainConfig]
    seeds: int = 1
    """agents a netlist"""
    learning_rates: tuple[float, ...] = ()
    """one agent a netlist, seed and learning rate; none for the optimizer's or the preset's"""
    folder: Path = Path("runs/population")
    """where rows, routes, checkpoints and curves go"""
    processes: int = 2
    """populations at a time, one a core"""
    shard: int = 64
    """agents of a population at most"""
    bounds: bool = False
    """prove the least wirelength of each netlist first, and end an agent that has reached it"""
    engine: str = "local"
    """local or ray"""
    address: str | None = None
    """of the Ray cluster; none starts one here"""
    device: str = "cpu"
    """cpu or cuda"""
    graphs: str = "off"
    """whether moves and updates become CUDA graphs: on, auto for wherever that is possible, or off, the default until
    they have run on a GPU"""
    preset: str | None = None
    """settings to start from: published or best"""
    quiet: bool = False
    """no progress bar"""


def main() -> int:
    """Run the command line."""
    try:
        start = chosen_preset(["--optimizer", "adam", *sys.argv[1:]]) or TrainConfig(optimizer="adam")
        asked = tyro.cli(Arguments, description=__doc__, default=Arguments(netlists=(), config=start))
        rows = train_population(
            asked.netlists, asked.config, asked.folder, seeds=asked.seeds, learning_rates=asked.learning_rates,
            processes=asked.processes, shard=asked.shard, bounds=asked.bounds, engine=asked.engine,
            address=asked.address, device=asked.device, graphs=asked.graphs, quiet=asked.quiet,
        )  # fmt: skip
    except (ValueError, TypeError, OSError, JobError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted; the same command goes on where it stopped", file=sys.stderr)
        return 130
    shown = ("netlist", "connected", "connections", "first_full", "pass", "wirelength", "bound", "overflow")
    print(text_table([{"seed": row["seed"]} | {name: row["metrics"][name] for name in shown} for row in rows]))
    print(f"\nrows and routes: {asked.folder}/")
    return 0


if __name__ == "__main__":
    sys.exit(main())
