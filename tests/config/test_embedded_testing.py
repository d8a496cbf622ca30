"""The services of the tests themselves."""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from config.embedded.errors import EmbeddedError
from config.embedded.state import DataDir
from config.embedded.testing import ensure_test_services

USER = """
import sys
from pathlib import Path
from config.embedded.testing import ensure_test_services
print(ensure_test_services(Path(sys.argv[1])).database_url, flush=True)
sys.stdin.read()
"""


@pytest.fixture
def open_dir() -> Iterator[Path]:
    """Not below pytest's own folder, which is closed to the user that root's PostgreSQL runs as."""
    directory = Path(tempfile.mkdtemp(prefix="quorum-test-"))
    directory.chmod(0o711)
    yield directory
    shutil.rmtree(directory)


def _user(directory: Path) -> "subprocess.Popen[str]":
    env = {name: value for name, value in os.environ.items() if name not in {"DATABASE_URL", "REDIS_URL"}}
    return subprocess.Popen(
        [sys.executable, "-c", USER, str(directory)], env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )


def _leaves_within(data: DataDir, seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while data.is_served() and time.monotonic() < deadline:
        time.sleep(0.1)
    return not data.is_served()


def test_parallel_users_share_one_instance_that_leaves_after_the_last_is_killed(open_dir: Path) -> None:
    data = DataDir(open_dir)
    with _user(open_dir) as first, _user(open_dir) as second:
        assert first.stdout is not None
        assert second.stdout is not None
        url = first.stdout.readline()
        assert url.startswith("postgresql://")
        assert second.stdout.readline() == url
        first.kill()
        time.sleep(3)
        assert data.is_served()
        second.kill()
    assert _leaves_within(data, 15)
    assert not data.services_file.exists()


def test_the_environment_wins(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://elsewhere/db")
    monkeypatch.setenv("REDIS_URL", "redis://elsewhere/0")
    assert ensure_test_services(tmp_path / "unused").database_url == "postgresql://elsewhere/db"
    assert not (tmp_path / "unused").exists()


def test_a_failure_to_start_is_told_to_whoever_asked(monkeypatch: pytest.MonkeyPatch, open_dir: Path) -> None:
    monkeypatch.delenv("DATABASE_URL", raising=False)
    DataDir(open_dir).create()
    (open_dir / "secrets.json").write_text("not json")
    with pytest.raises(EmbeddedError, match=r"secrets\.json is not valid JSON"):
        ensure_test_services(open_dir)
