"""What is known against the locked packages.

    python -m deploy.supply.audit               ask the advisory service through pip-audit, and the snapshot
    python -m deploy.supply.audit --offline     the snapshot alone (`make check`)
    python -m deploy.supply.audit --write       and store what the service said

pip-audit ends with "No known vulnerabilities found" and 0 when an index does not know its packages at all, as mirrors without advisory
data do not; so what it *skipped* counts here as not audited, and that is said. PIP_AUDIT_VULNERABILITY_SERVICE and PIP_AUDIT_OSV_URL
choose another service, as pip-audit documents them.

Exit: 0 nothing known, 1 something known or an exception that does not hold.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

from packaging.version import Version

from . import advisories, licences, lock
from .advisories import Finding
from .lock import Locked

STALE_DAYS = 90
SERVICE_TIMEOUT = 10  # seconds for one request of pip-audit
WHOLE_TIMEOUT = 300


class NoService(Exception):
    """The advisory service did not answer, or not about our packages."""


def live(packages: list[Locked]) -> tuple[list[Finding], set[str]]:
    """What the service knows against these: findings, and the pins that it looked up. Raises NoService when that is none.

    A part that fails takes nothing from what another part found: its pins are missing from the second.
    """
    found: list[Finding] = []
    looked_up: set[str] = set()
    silent = NoService("it knows none of the packages")
    for group in _without_twins(packages):
        try:
            answers = _pip_audit(group)
        except NoService as error:
            silent = error
            continue
        for said in answers:
            if "skip_reason" not in said:
                looked_up.add(f"{said['name']}=={said['version']}")
                found += [_finding(said, one) for one in said["vulns"]]
    if not looked_up:
        raise silent
    return found, looked_up


def report(packages: list[Locked], today: date, *, offline: bool, write: bool) -> tuple[list[str], list[str]]:
    """What to say, and what is wrong."""
    snapshot = advisories.load()
    found, said = snapshot.findings(packages), []
    if not offline:
        try:
            new, looked_up = live(packages)
        except NoService as error:
            said.append(
                f"audit: no advisory service within reach ({error}); only the snapshot of {snapshot.taken} was compared"
            )
        else:
            missed = sorted({one.pin for one in packages} - looked_up)
            said.append(f"audit: the service was asked about {len(looked_up)} pins")
            said += [f"audit: not audited by the service: {', '.join(missed)}"] if missed else []
            found += [
                one for one in new if not any(one.package == old.package and one.names & old.names for old in found)
            ]
            if write:
                advisories.store(advisories.merged(snapshot, new, looked_up, today))
    age = (today - snapshot.taken).days
    said.append(
        f"audit: snapshot of {snapshot.taken}: {len(snapshot.advisories)} advisories, {len(snapshot.clean)} pins audited live"
    )
    if age > STALE_DAYS:
        said.append(
            f"audit: the snapshot is {age} days old; run `make audit WRITE=--write` where the service can be reached"
        )
    ignored: list[dict[str, Any]] = licences.policy().get("ignored", [])
    wrong = [str(one) for one in found if not advisories.excused(one, ignored, today)]
    said += [f"audit: excused: {one}" for one in found if advisories.excused(one, ignored, today)]
    return said, wrong + advisories.bad_excuses(ignored, found, today)


def _without_twins(packages: list[Locked]) -> list[list[Locked]]:
    """Groups in which no name stands twice: pip-audit refuses two versions of one package, which a lock for all Pythons has."""
    groups: list[dict[str, Locked]] = []
    for package in packages:
        free = next((group for group in groups if package.name not in group), None)
        if free is None:
            groups.append(free := {})
        free[package.name] = package
    return [list(group.values()) for group in groups]


def _pip_audit(packages: list[Locked]) -> list[dict[str, Any]]:
    with tempfile.TemporaryDirectory() as folder:
        pins = Path(folder) / "pins.txt"
        pins.write_text("".join(f"{one.pin}\n" for one in packages), encoding="utf-8")
        command = [
            sys.executable,
            "-m",
            "pip_audit",
            "--requirement",
            str(pins),
            "--no-deps",
            "--disable-pip",
            "--format",
            "json",
        ]
        command += ["--progress-spinner", "off", "--timeout", str(SERVICE_TIMEOUT)]
        try:
            ended = subprocess.run(command, capture_output=True, text=True, check=False, timeout=WHOLE_TIMEOUT)  # noqa: S603  # our own words
        except subprocess.TimeoutExpired:
            raise NoService(f"no answer within {WHOLE_TIMEOUT} s") from None
    if not ended.stdout.strip():
        raise NoService(
            ended.stderr.strip().splitlines()[-1][:200]
            if ended.stderr.strip()
            else f"pip-audit ended with {ended.returncode}"
        )
    return list(json.loads(ended.stdout)["dependencies"])


def _finding(said: dict[str, Any], one: dict[str, Any]) -> Finding:
    later = sorted((Version(fix) for fix in one["fix_versions"]), key=lambda fix: (fix < Version(said["version"]), fix))
    fixed = str(later[0]) if later else None  # the nearest one that is no step back
    return Finding(said["name"], said["version"], one["id"], tuple(one.get("aliases", ())), fixed)


def main(arguments: list[str]) -> int:
    today = datetime.now(UTC).date()
    said, wrong = report(lock.everything(), today, offline="--offline" in arguments, write="--write" in arguments)
    for line in said:
        print(line)
    for line in wrong:
        print(line, file=sys.stderr)
    print(f"audit: {len(wrong)} problems")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
