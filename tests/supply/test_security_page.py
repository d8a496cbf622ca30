"""docs/security.md names tests that exist, and leaves out no risk."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import pytest

from supply import ROOT

PAGE = (ROOT / "docs" / "security.md").read_text(encoding="utf-8")
NAMED = sorted(set(re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", PAGE)))
RISKS = [f"API{number}" for number in range(1, 11)] + [f"LLM{number:02}" for number in range(1, 11)]


@pytest.mark.parametrize(("file", "name"), NAMED)
def test_a_test_that_is_named_exists(file: str, name: str) -> None:
    assert re.search(rf"^\s*(?:async )?def {name}\(", (ROOT / file).read_text(encoding="utf-8"), re.MULTILINE)


@pytest.mark.parametrize("risk", RISKS)
def test_every_risk_has_one_row_with_a_test(risk: str) -> None:
    (row,) = [line for line in PAGE.splitlines() if line.startswith(f"| {risk} ")]
    assert "`tests/" in row


def test_the_deployment_checks_are_clean_over_https() -> None:
    """As an operator runs them: settings anew, in a process of its own."""
    environment = os.environ | {"PUBLIC_URL": "https://quorum.example.org"}
    command = [sys.executable, "manage.py", "check", "--deploy", "--fail-level", "WARNING"]
    ended = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False, timeout=120)
    assert (ended.returncode, "no issues" in ended.stdout) == (0, True), ended.stderr
