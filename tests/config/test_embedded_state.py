"""The data directory: its lock, its secrets, its ports, and what it tells other commands."""

import os
import socket
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from config.embedded.errors import DataDirBusy, DataDirError, PortTaken
from config.embedded.network import free_port, is_free, require_free
from config.embedded.state import DataDir, ServiceUrls, read_json

URLS = ServiceUrls("postgresql://u:p@127.0.0.1:1/q", "redis://127.0.0.1:2/0")


@pytest.fixture
def data(tmp_path: Path) -> DataDir:
    directory = DataDir(tmp_path / "d")
    directory.create()
    return directory


def test_only_one_process_holds_a_data_directory_and_the_other_is_told_which(data: DataDir) -> None:
    with data.locked(), pytest.raises(DataDirBusy, match=rf"pid {os.getpid()}\) is serving"), data.locked():
        pytest.fail("locked twice")


def test_the_lock_of_a_killed_process_is_free_at_once(data: DataDir) -> None:
    script = (
        "import os, signal, sys; from pathlib import Path; from config.embedded.state import DataDir\n"
        "with DataDir(Path(sys.argv[1])).locked(): os.kill(os.getpid(), signal.SIGKILL)"
    )
    killed = subprocess.run([sys.executable, "-c", script, str(data.root)], check=False)
    assert killed.returncode == -9
    assert not data.is_served()
    with data.locked():
        assert data.is_served()


def test_services_are_told_in_a_file_that_only_the_owner_reads(data: DataDir) -> None:
    data.write_services(URLS, {"up": 7})
    assert stat.S_IMODE(data.services_file.stat().st_mode) == 0o600
    assert read_json(data.services_file) == {
        "database_url": URLS.database_url,
        "redis_url": URLS.redis_url,
        "llm_base_url": "",
        "llm_model": "",
        "pids": {"up": 7},
    }


def test_forgetting_services_twice_is_harmless(data: DataDir) -> None:
    data.write_services(URLS, {})
    data.forget_services()
    data.forget_services()
    assert not data.services_file.exists()


def test_a_generated_secret_stays_the_same_and_differs_from_the_others(data: DataDir) -> None:
    first = data.secret("postgres")
    assert DataDir(data.root).secret("postgres") == first != data.secret("valkey")
    assert stat.S_IMODE((data.root / "secrets.json").stat().st_mode) == 0o600


def test_a_server_gets_its_old_port_back_unless_somebody_has_it(data: DataDir) -> None:
    port = data.port("valkey")
    assert data.port("valkey") == port
    with socket.create_server(("127.0.0.1", port)):
        assert data.port("valkey") != port


def test_a_broken_state_file_is_an_error_with_its_name(data: DataDir) -> None:
    data.services_file.write_text("{")
    with pytest.raises(DataDirError, match=r"services\.json is not valid JSON"):
        read_json(data.services_file)


def test_a_data_directory_below_a_file_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(DataDirError, match="Not a directory"):
        DataDir(tmp_path / "file" / "d").create()


def test_unset_services_do_not_reach_the_environment_of_children() -> None:
    assert URLS.as_env() == {"DATABASE_URL": URLS.database_url, "REDIS_URL": URLS.redis_url}


def test_a_taken_port_is_named_and_a_free_one_is_below_the_ephemeral_range() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        taken = server.getsockname()[1]
        with pytest.raises(PortTaken, match=f"Port {taken} on 127.0.0.1"):
            require_free("127.0.0.1", taken)
    port = free_port()
    assert port < 32_768
    assert is_free("127.0.0.1", port)
