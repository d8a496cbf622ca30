"""The bill of materials: CycloneDX 1.6, made from the locks, the licences and the policy, and nothing else.

    python -m deploy.supply.sbom            compare with docs/supply-chain/sbom.json; exit 1 if it differs
    python -m deploy.supply.sbom --write    write it

Two people who make it from one commit get the same bytes: no time and no chance is in it, and its serial number is a UUID of what it
says (RFC 9562, version 5). One pin stands for a file on every platform, so the hashes hang on a reference of type "distribution" (any
of these files is that release) and not on the component, which in CycloneDX is one file's.
"""

from __future__ import annotations

import json
import re
import sys
import tomllib
import uuid
from typing import Any

from . import FOLDER, ROOT, licences, lock

FILE = FOLDER / "sbom.json"
SPEC = "1.6"


def build() -> dict[str, Any]:
    packages = lock.product()
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    quorum = f"quorum@{project['version']}"
    body: dict[str, Any] = {
        "metadata": {
            "component": {
                "type": "application",
                "bom-ref": quorum,
                "name": project["name"],
                "version": project["version"],
                "description": project["description"],
                "licenses": [{"license": {"id": project["license"]}}],
            },
            "lifecycles": [{"phase": "pre-build"}],
        },
        "components": [_component(package) for package in packages],
        "dependencies": _dependencies(quorum, packages),
    }
    serial = uuid.uuid5(uuid.NAMESPACE_URL, json.dumps(body, sort_keys=True))
    head = {"bomFormat": "CycloneDX", "specVersion": SPEC, "serialNumber": f"urn:uuid:{serial}", "version": 1}
    return head | body


def text() -> str:
    """As it is stored: one line for each hash, or a diff of an upgrade would be unreadable and the file twice as long."""
    indented = json.dumps(build(), indent=1, sort_keys=True, ensure_ascii=False)
    return (
        re.sub(
            r'\{\s+"alg": "SHA-256",\s+"content": "([0-9a-f]{64})"\s+\}',
            r'{"alg": "SHA-256", "content": "\1"}',
            indented,
        )
        + "\n"
    )


def _component(package: lock.Locked) -> dict[str, Any]:
    licence = licences.of(package)
    made: dict[str, Any] = {
        "type": "library",
        "bom-ref": package.purl,
        "purl": package.purl,
        "name": package.name,
        "version": package.version,
        "licenses": [{"expression": licence.expression}],
        "externalReferences": [
            {
                "type": "distribution",
                "url": package.purl,
                "comment": "Any one of these files is this release.",
                "hashes": [{"alg": "SHA-256", "content": digest} for digest in package.hashes],
            }
        ],
    }
    if package.marker:
        made["properties"] = [{"name": "quorum:marker", "value": package.marker}]
    inside = [one for one in licences.policy()["bundled"] if one["inside"] == package.name]
    if inside:
        made["components"] = [_bundled(package, one) for one in inside]
    return made


def _bundled(package: lock.Locked, inside: dict[str, Any]) -> dict[str, Any]:
    made = {
        "type": "machine-learning-model" if inside.get("weights") else "application",
        "bom-ref": f"{package.purl}#{inside['name']}",
        "name": inside["name"],
        "licenses": [{"license": {"id": inside["licence"]}}],
    }
    return made | {"version": inside["version"]} if "version" in inside else made


def _dependencies(quorum: str, packages: list[lock.Locked]) -> list[dict[str, Any]]:
    """Who needs whom, as the lock's "via" says it. A name that is locked twice, for two Pythons, stands for both."""
    refs: dict[str, list[str]] = {}
    for package in packages:
        refs.setdefault(package.name, []).append(package.purl)
    needs: dict[str, set[str]] = {ref: set() for ref in (quorum, *(package.purl for package in packages))}
    for package in packages:
        for parent in package.wanted_by:
            for ref in [quorum] if parent.startswith("-r ") else refs.get(parent, []):
                needs[ref].add(package.purl)
    return [{"ref": ref, "dependsOn": sorted(needs[ref])} for ref in sorted(needs)]


def main(arguments: list[str]) -> int:
    if "--write" in arguments:
        FILE.write_text(text(), encoding="utf-8")
    elif not FILE.is_file() or FILE.read_text(encoding="utf-8") != text():
        print("docs/supply-chain/sbom.json is out of date: make sbom", file=sys.stderr)
        return 1
    print(f"sbom: {len(lock.product())} packages, CycloneDX {SPEC}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
