"""The product's promise, on the real embedded model: an empty directory, one command, a cited decision."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.afterwards import assert_councils_were_blind_and_recount, server_over
from tests.support.fake_openai import FakeModelServer

PROJECT = Path(__file__).resolve().parents[2]
OURS = ("DATABASE_URL", "REDIS_URL", "LLM_", "QUORUM_", "PUBLIC_URL", "PORT")

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(400), pytest.mark.xdist_group("live")]


@pytest.fixture
def directory() -> Iterator[Path]:
    """Not below pytest's own folder, which is closed to the user that root's PostgreSQL runs as."""
    path = Path(tempfile.mkdtemp(prefix="quorum-demo-"))
    path.chmod(0o711)
    yield path
    shutil.rmtree(path)


def demo(directory: Path, **settings: str) -> str:
    """``manage.py demo`` as a newcomer runs it: no stack runs yet, so it starts one and stops it again."""
    env = {name: value for name, value in os.environ.items() if not name.startswith(OURS)}
    done = subprocess.run(
        [sys.executable, str(PROJECT / "manage.py"), "demo"],
        env={**env, "QUORUM_DATA_DIR": str(directory / "data"), **settings},
        cwd=directory,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def assert_tells_the_whole_story(printed: str) -> None:
    assert "Opening tally" in printed
    assert printed.count("ballot of ") == 3 or "agreement 100%" in printed
    assert re.search(r"DECISION \((decided|no_consensus|partial)\)", printed)
    assert re.search(r"\[\d+\] verified", printed)
    assert "\nDissent" in printed


def test_smollm2_reaches_a_cited_decision(directory: Path) -> None:
    printed = demo(directory)
    assert_tells_the_whole_story(printed)
    assert not (directory / "data" / "services.json").exists()
    with server_over(directory / "data") as url:
        assert assert_councils_were_blind_and_recount(url) == 1


def test_another_model_needs_three_variables_and_no_other_change(directory: Path) -> None:
    with FakeModelServer() as fake:
        printed = demo(directory, LLM_BASE_URL=fake.url, LLM_API_KEY="sk-test", LLM_MODEL="fake-house-model")
        models = {seen.model for seen in fake.requests}
    assert_tells_the_whole_story(printed)
    assert models == {"fake-house-model"}
    with server_over(directory / "data") as url:
        assert assert_councils_were_blind_and_recount(url) == 1
