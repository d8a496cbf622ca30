"""The licence of every locked package, from its own metadata, held against policy.toml.

    python -m deploy.supply.licences            say what is wrong; exit 1 if anything is
    python -m deploy.supply.licences --write    and write docs/licences.md

A package that is locked for another system is not installed here: its licence stands in the policy, with where it was read.
"""

from __future__ import annotations

import sys
import tomllib
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from typing import Any

from license_expression import ExpressionError, LicenseSymbol, get_spdx_licensing

from . import POLICY, ROOT, lock

PAGE = ROOT / "docs" / "licences.md"
PLAIN = {  # what people write into "License:" and mean one thing by
    "mit": "MIT", "mit license": "MIT", "apache": "Apache-2.0", "apache 2.0": "Apache-2.0", "new bsd": "BSD-3-Clause",
    "3-clause bsd license": "BSD-3-Clause", "bsd 2-clause license": "BSD-2-Clause", "bsd 3-clause license": "BSD-3-Clause",
    "bsd 3-clause or apache-2.0": "BSD-3-Clause OR Apache-2.0", "psfl": "PSF-2.0",
}  # fmt: skip
CLASSIFIERS = {
    "MIT License": "MIT",
    "Apache Software License": "Apache-2.0",
    "Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
    "Python Software Foundation License": "PSF-2.0",
    "ISC License (ISCL)": "ISC",
}


@dataclass(frozen=True)
class Licence:
    package: lock.Locked
    expression: str  # SPDX; "" when nothing says it
    source: str


@cache
def policy() -> dict[str, Any]:
    return tomllib.loads(POLICY.read_text(encoding="utf-8"))


def of(package: lock.Locked) -> Licence:
    """What this package is licensed under, and where that is said."""
    read = policy()["licences"]["read"].get(package.name)
    if read:
        return Licence(package, read["licence"], read["from"])
    try:
        told = metadata.metadata(package.name)
    except metadata.PackageNotFoundError:
        return Licence(package, "", "not installed here, and not in the policy")
    if expression := _field(told, "License-Expression"):
        return Licence(package, expression, "License-Expression")
    written = _field(told, "License")
    known = PLAIN.get(written.lower(), written if _parsed(written) is not None else "")
    if known:
        return Licence(package, known, "License")
    classes = [
        str(one).rsplit(" :: ", 1)[-1] for one in told.get_all("Classifier") or [] if str(one).startswith("License")
    ]
    ids = sorted({CLASSIFIERS[one] for one in classes if one in CLASSIFIERS})
    return Licence(package, ids[0] if len(ids) == 1 else "", "classifier")


def why(licence: Licence) -> str:
    """Why this licence is acceptable for this package; "" when it is not."""
    excepted = policy()["licences"]["excepted"].get(licence.package.name)
    if excepted and excepted["licence"] == licence.expression:
        return str(excepted["because"])
    parsed = _parsed(licence.expression)
    return "" if parsed is None else "; ".join(dict.fromkeys(_reasons(parsed)))


def problems(packages: list[lock.Locked]) -> list[str]:
    wrong = []
    for package in packages:
        licence = of(package)
        if not licence.expression:
            wrong.append(
                f"{package.name} {package.version}: no licence known ({licence.source}); read it into deploy/supply/policy.toml"
            )
        elif not why(licence):
            wrong.append(
                f"{package.name} {package.version}: {licence.expression} is not on the list of deploy/supply/policy.toml"
            )
    known = {package.name for package in packages}
    return wrong + [f"{name}: in deploy/supply/policy.toml, but no longer locked" for name in sorted(_named() - known)]


def table(packages: list[lock.Locked]) -> str:
    rows = ["| package | version | licence | said by | acceptable because |", "| --- | --- | --- | --- | --- |"]
    for package in packages:
        licence = of(package)
        rows.append(
            f"| {package.name} | {package.version} | {licence.expression} | {licence.source} | {why(licence)} |"
        )
    return "\n".join(rows)


def page() -> str:
    product, names = lock.product(), {(one.name, one.version) for one in lock.product()}
    tools = [one for one in lock.everything() if (one.name, one.version) not in names]
    inside = "\n".join(
        f"| {one['name']} {one.get('version', '')} | {one['inside']} | {one['licence']} |"
        for one in policy()["bundled"]
    )
    return f"""# Licences

Made by `make licences` from the locks, the packages' own metadata and `deploy/supply/policy.toml`; a test fails when it is out of date,
when a package is new, and when a licence is not on the list there. Quorum itself is Apache-2.0. No GPL or AGPL in what is shipped; the one
LGPL library is psycopg, imported unmodified.

## What Quorum runs

{table(product)}

## What comes inside those

| what | inside | licence |
| --- | --- | --- |
{inside}

## Tools that build and test it, not shipped

{table(tools)}
"""


@cache
def _spdx() -> Any:
    """The table of SPDX's licences; it takes a second to build."""
    return get_spdx_licensing()


def _field(told: metadata.PackageMetadata, name: str) -> str:
    return str((told.get_all(name) or [""])[0]).strip()


@cache
def _parsed(expression: str) -> Any:
    try:
        return _spdx().parse(expression, validate=True) if expression else None
    except ExpressionError:
        return None


def _reasons(node: Any) -> list[str]:
    """Why each part is allowed: of OR the first that is, of AND all or none."""
    if isinstance(node, LicenseSymbol):
        reason = policy()["licences"]["allowed"].get(node.key)
        return [reason] if reason else []
    parts = [_reasons(part) for part in getattr(node, "args", ())]
    if node.operator.strip() == "OR":
        return next((part for part in parts if part), [])
    return [reason for part in parts for reason in part] if parts and all(parts) else []


def _named() -> set[str]:
    licences = policy()["licences"]
    return set(licences["excepted"]) | set(licences["read"]) | {one["inside"] for one in policy()["bundled"]}


def main(arguments: list[str]) -> int:
    wrong = problems(lock.everything())
    if "--write" in arguments:
        PAGE.write_text(page(), encoding="utf-8")
    elif not PAGE.is_file() or PAGE.read_text(encoding="utf-8") != page():
        wrong.append("docs/licences.md is out of date: make licences")
    for line in wrong:
        print(line, file=sys.stderr)
    print(f"licences: {len(lock.everything())} packages, {len(wrong)} problems")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
