"""ruff's security rules are on, and every exception in the product says why."""

from __future__ import annotations

import re
import subprocess
import tomllib

from deploy.supply import ROOT

EXCEPTION = re.compile(r"# noqa:(?P<codes>[^#]*\bS\d{3}\b[^#]*)(?P<reason>#\s*\S.*)?$")


def product() -> list[str]:
    listed = subprocess.run(
        ["git", "ls-files", "*.py"], cwd=ROOT, check=True, capture_output=True, text=True
    ).stdout.splitlines()
    return [name for name in listed if not name.startswith(("tests/", "bench/")) and "/migrations/" not in name]


def test_the_security_rules_are_on() -> None:
    lint = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["ruff"]["lint"]
    assert "S" in lint["select"]
    assert not [code for code in lint["ignore"] if re.fullmatch(r"S\d*", code)]
    excused = {
        place
        for place, codes in lint["per-file-ignores"].items()
        if any(re.fullmatch(r"S\d*|ALL", code) for code in codes)
    }
    assert excused <= {"tests/**", "bench/**", "**/migrations/**"}


def test_every_exception_says_why() -> None:
    lines = [(name, line) for name in product() for line in (ROOT / name).read_text(encoding="utf-8").splitlines()]
    exceptions = [(name, found) for name, line in lines if (found := EXCEPTION.search(line))]
    assert len(exceptions) > 20
    assert [name for name, found in exceptions if not found["reason"]] == []


def test_nothing_is_excused_by_the_file_or_for_bandit() -> None:
    texts = {name: (ROOT / name).read_text(encoding="utf-8") for name in product()}
    assert [name for name, text in texts.items() if re.search(r"#\s*(?:nosec|ruff: noqa)", text)] == []
