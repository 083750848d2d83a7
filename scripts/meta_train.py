"""Meta-train the network of a learned optimizer, or go on with a run that was stopped.

python -m scripts.meta_train --optimizer l2l --folder runs/l2l

python -m scripts.meta_train --resume runs/l2l
"""

from __future__ import annotations

import dataclasses
import json
import sys
from pathlib import Path
from typing import Annotated

import tyro

from benchmarks.meta.training import MetaConfig, meta_train


@dataclasses.dataclass(frozen=True)
class Arguments:
    """Meta-train the network of a learned optimizer."""

    config: tyro.conf.OmitArgPrefixes[MetaConfig]
    folder: Path | None = None
    """run folder; none for runs/OPTIMIZER-SEED"""
    resume: Annotated[Path | None, tyro.conf.arg(help="run folder to go on with; all settings come from it")] = None
    quiet: bool = False
    """no progress bar"""


def main() -> int:
    """Run the command line."""
    asked = tyro.cli(Arguments, description=__doc__)
    if asked.resume and (asked.folder or asked.config != MetaConfig()):
        print("error: --resume takes every setting from the run folder; give no other", file=sys.stderr)
        return 2
    folder = asked.resume or asked.folder or Path("runs") / f"{asked.config.optimizer}-{asked.config.seed}"
    try:
        card = meta_train(asked.config, folder, resume=asked.resume is not None, quiet=asked.quiet)
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        begun = (folder / "config.json").exists()
        again = f"; go on with: python -m scripts.meta_train --resume {folder}" if begun else ""
        print(f"interrupted{again}", file=sys.stderr)
        return 130
    print(json.dumps(card, indent=1))
    print(f"run folder: {folder}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
