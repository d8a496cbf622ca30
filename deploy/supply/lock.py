"""Reads the locked requirements as uv writes them: pins, markers, hashes and who asked for what.

The locks are the one source for the licence list, the SBOM and the audit, so all three speak of the same packages.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from . import ROOT

PRODUCT = ("requirements.txt", "requirements-models.txt")
TOOLS = ("requirements-dev.txt", "requirements-setup.txt")
HASH = re.compile(r"--hash=sha256:([0-9a-f]{64})$")


class BadLock(ValueError):
    """A line that is no exact, hashed pin."""


@dataclass
class Locked:
    """One pinned package. `hashes` are the SHA-256 of every file that may be installed for it, hexadecimal and sorted."""

    name: str
    version: str
    marker: str = ""
    hashes: list[str] = field(default_factory=list)
    wanted_by: list[str] = field(default_factory=list)

    @property
    def purl(self) -> str:
        return f"pkg:pypi/{self.name}@{self.version}"

    @property
    def pin(self) -> str:
        return f"{self.name}=={self.version}"

    @property
    def direct(self) -> bool:
        return any(parent.startswith("-r ") for parent in self.wanted_by)


def parse(text: str) -> list[Locked]:
    """The packages of one lock, in its order. Raises BadLock for anything that is not pinned and hashed."""
    found: list[Locked] = []
    for line in text.splitlines():
        said = line.strip().removesuffix("\\").strip()
        if not said:
            continue
        if not line.startswith((" ", "#")):
            found.append(_pin(said))
        elif said.startswith("--hash"):
            found[-1].hashes.append(_hash(said))
        elif found and (parent := said.removeprefix("#").strip().removeprefix("via").strip()):
            found[-1].wanted_by.append(parent)
    for package in found:
        if not package.hashes:
            raise BadLock(f"{package.name} has no hash")
        package.hashes.sort()
    return found


def read(names: Iterable[str], root: Path = ROOT) -> list[Locked]:
    """The packages of several locks, each (name, version) once, sorted."""
    merged: dict[tuple[str, str], Locked] = {}
    for name in names:
        for package in parse((root / name).read_text(encoding="utf-8")):
            merged.setdefault((package.name, package.version), package)
    return [merged[key] for key in sorted(merged)]


def product() -> list[Locked]:
    """What an installation of Quorum runs."""
    return read(PRODUCT)


def everything() -> list[Locked]:
    """The product and the tools that build and test it."""
    return read(PRODUCT + TOOLS)


def _pin(line: str) -> Locked:
    if line.startswith("-"):
        raise BadLock(f"{line}: only pins, no options")
    wanted = Requirement(line)
    pins = [one.version for one in wanted.specifier if one.operator == "=="]
    if wanted.url or len(pins) != 1 or len(wanted.specifier) != 1:
        raise BadLock(f"{line}: not one exact version")
    return Locked(str(canonicalize_name(wanted.name)), pins[0], str(wanted.marker or ""))


def _hash(option: str) -> str:
    found = HASH.match(option)
    if not found:
        raise BadLock(f"{option}: no SHA-256")
    return found[1]
