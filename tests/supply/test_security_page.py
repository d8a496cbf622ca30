"""docs/security.md names tests that exist, and leaves out no risk."""

from __future__ import annotations

import re

import pytest

from deploy.supply import ROOT

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
