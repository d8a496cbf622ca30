"""The stored advisories: what was known against our packages on a given day, and the exceptions that policy.toml makes.

The snapshot (docs/supply-chain/advisories.json) is a floor, not the whole truth: it holds what a live audit found or a person read, so
it stops a downgrade into something known and tells how old that knowledge is. Its keys:

- `taken`: the day, ISO 8601. `how`: where it comes from.
- `clean`: the pins (`name==version`) that the last live audit looked up and found nothing against.
- `advisories`: `id`, `aliases`, `package`, `affected` (PEP 440 specifiers, any of which may match), `fixed` (the version to move to, or
  null), `source` (who says so).
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Any

from packaging.specifiers import SpecifierSet

from . import FOLDER
from .lock import Locked

FILE = FOLDER / "advisories.json"
LONGEST_IGNORE = timedelta(days=180)


@dataclass(frozen=True)
class Advisory:
    id: str
    package: str
    affected: tuple[str, ...]
    fixed: str | None = None
    aliases: tuple[str, ...] = ()
    source: str = ""

    def hits(self, package: Locked) -> bool:
        return package.name == self.package and any(
            SpecifierSet(one).contains(package.version, prereleases=True) for one in self.affected
        )


@dataclass(frozen=True)
class Finding:
    """A locked package against which something is known."""

    package: str
    version: str
    id: str
    aliases: tuple[str, ...]
    fixed: str | None

    @property
    def names(self) -> set[str]:
        return {self.id, *self.aliases}

    def __str__(self) -> str:
        known_as = f" ({', '.join(self.aliases)})" if self.aliases else ""
        return f"{self.package} {self.version}: {self.id}{known_as}, " + (
            f"fixed in {self.fixed}" if self.fixed else "no fix yet"
        )


@dataclass(frozen=True)
class Snapshot:
    taken: date
    how: str
    clean: tuple[str, ...]
    advisories: tuple[Advisory, ...]

    def findings(self, packages: Iterable[Locked]) -> list[Finding]:
        locked = list(packages)
        return [
            Finding(package.name, package.version, one.id, one.aliases, one.fixed)
            for one in self.advisories
            for package in locked
            if one.hits(package)
        ]


def load(path: Path = FILE) -> Snapshot:
    said = json.loads(path.read_text(encoding="utf-8"))
    listed = tuple(
        Advisory(one["id"], one["package"], tuple(one["affected"]), one["fixed"], tuple(one["aliases"]), one["source"])
        for one in said["advisories"]
    )
    return Snapshot(date.fromisoformat(said["taken"]), said["how"], tuple(said["clean"]), listed)


def store(snapshot: Snapshot, path: Path = FILE) -> None:
    listed = [
        {"id": one.id, "aliases": list(one.aliases), "package": one.package, "affected": list(one.affected), "fixed": one.fixed,
         "source": one.source}
        for one in sorted(snapshot.advisories, key=lambda one: (one.package, one.id))
    ]  # fmt: skip
    said = {
        "taken": snapshot.taken.isoformat(),
        "how": snapshot.how,
        "clean": list(snapshot.clean),
        "advisories": listed,
    }
    path.write_text(json.dumps(said, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def merged(old: Snapshot, found: list[Finding], looked_up: set[str], today: date) -> Snapshot:
    """The snapshot after a live audit: what it found is added by exact version; what was known stays known."""
    known = {(one.package, name) for one in old.advisories for name in (one.id, *one.aliases)}
    new = tuple(
        Advisory(one.id, one.package, (f"=={one.version}",), one.fixed, one.aliases, "pip-audit")
        for one in found
        if not {(one.package, name) for name in one.names} & known
    )
    clean = looked_up - {f"{one.package}=={one.version}" for one in found}
    return Snapshot(today, "pip-audit, and what was stored before", tuple(sorted(clean)), old.advisories + new)


def excused(finding: Finding, ignored: list[dict[str, Any]], today: date) -> bool:
    """Whether the policy excuses this finding today."""
    return any(
        one["package"] == finding.package and one["id"] in finding.names and today <= one["until"] for one in ignored
    )


def bad_excuses(ignored: list[dict[str, Any]], found: list[Finding], today: date) -> list[str]:
    """Exceptions that give no reason, no end within half a year, or are over or of no more use."""
    wrong = []
    for one in ignored:
        name, until = f"{one.get('package')} {one.get('id')}", one.get("until")
        if not str(one.get("because", "")).strip():
            wrong.append(f"{name}: ignored without a reason")
        if not isinstance(until, date) or until > today + LONGEST_IGNORE:
            wrong.append(f"{name}: an exception needs an end within {LONGEST_IGNORE.days} days")
        elif until < today:
            wrong.append(f"{name}: the exception ended on {until}; decide again")
        if not any(one.get("package") == hit.package and one.get("id") in hit.names for hit in found):
            wrong.append(f"{name}: ignored, but nothing known is; take it out")
    return wrong
