"""Train a double-DQN agent on a netlist, or go on with a run that was stopped.

python -m scripts.train --netlist FILE.gr --optimizer torch.adam --passes 500 --folder runs/mine

python -m scripts.train --resume runs/mine
"""

from __future__ import annotations

import dataclasses
import json
import sys
from pathlib import Path
from typing import Annotated

import tyro

from agents.config import TrainConfig
from agents.presets import chosen_preset
from agents.training import RunError, train


@dataclasses.dataclass(frozen=True)
class Arguments:
    """Train a double-DQN agent on a netlist."""

    config: tyro.conf.OmitArgPrefixes[TrainConfig]
    folder: Path | None = None
    """run folder; none for runs/NETLIST-OPTIMIZER-SEED"""
    resume: Annotated[Path | None, tyro.conf.arg(help="run folder to go on with; all settings come from it")] = None
    preset: str | None = None
    """settings to start from: published or best"""
    quiet: bool = False
    """no progress bar"""


def main() -> int:
    """Run the command line."""
    try:
        start = chosen_preset(sys.argv[1:]) or TrainConfig()
    except (ValueError, TypeError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    asked = tyro.cli(Arguments, description=__doc__, default=Arguments(start))
    if asked.resume and (asked.folder or asked.config != TrainConfig()):
        print("error: --resume takes every setting from the run folder; give no other", file=sys.stderr)
        return 2
    name = Path(asked.config.netlist).name.replace(":", "")
    default = Path("runs") / f"{name}-{asked.config.optimizer}-{asked.config.seed}"
    folder = asked.resume or asked.folder or default
    try:
        best = train(asked.config, folder, resume=asked.resume is not None, quiet=asked.quiet)
    except (RunError, ValueError, TypeError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        begun = (folder / "config.json").exists()
        again = f"; go on with: python -m scripts.train --resume {folder}" if begun else ""
        print(f"interrupted{again}", file=sys.stderr)
        return 130
    print(json.dumps(best, indent=1))
    print(f"run folder: {folder}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
