"""The supervisor, with small Python programs for children."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from config.embedded.errors import ServiceFailed
from config.embedded.liveness import Silence
from config.embedded.process import LOG_CAP_BYTES, ChildSpec, open_log
from config.embedded.supervisor import RestartPolicy, Supervisor

QUICK = RestartPolicy(first_pause=0.1, longest_pause=0.4, settled_after=60, start_timeout=3, max_early_deaths=3)
SLEEP = "import time; time.sleep(60)"


def _spec(
    tmp_path: Path, name: str, program: str, healthy: Callable[[int], bool] = lambda _pid: True, grace: float = 2
) -> ChildSpec:
    return ChildSpec(name, [sys.executable, "-S", "-c", program], tmp_path / f"{name}.log", healthy, stop_grace=grace)


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def supervisor(said: list[str]) -> Iterator[Supervisor]:
    supervisor = Supervisor(QUICK, say=said.append)
    yield supervisor
    supervisor.stop([])


def _alive(pid: int) -> bool:
    """A zombie that nobody has reaped yet counts as dead."""
    status = Path(f"/proc/{pid}/stat")
    try:
        return status.read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def _eventually(condition: Callable[[], bool], within: float = 10) -> bool:
    deadline = time.monotonic() + within
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def _step_until(supervisor: Supervisor, condition: Callable[[], bool], within: float = 10) -> bool:
    def step_and_look() -> bool:
        supervisor.step()
        return condition()

    return _eventually(step_and_look, within)


def test_a_child_that_was_healthy_is_restarted_with_growing_pauses(
    tmp_path: Path, supervisor: Supervisor, said: list[str]
) -> None:
    supervisor.start(_spec(tmp_path, "worker", SLEEP))
    supervisor.wait_healthy()
    for _ in range(4):
        pid = supervisor.pids()["worker"]
        os.kill(pid, signal.SIGKILL)
        assert _step_until(supervisor, lambda: supervisor.pids().get("worker", pid) != pid)  # noqa: B023  # evaluated in this turn
    pauses = [float(line.split(" in ")[1].split()[0]) for line in said if "starting it again" in line]
    assert pauses == [0.1, 0.2, 0.4, 0.4]


def test_the_pause_is_short_again_after_a_long_healthy_time(tmp_path: Path, said: list[str]) -> None:
    supervisor = Supervisor(RestartPolicy(first_pause=0.1, settled_after=0), say=said.append)
    supervisor.start(_spec(tmp_path, "worker", SLEEP))
    supervisor.wait_healthy()
    for _ in range(2):
        pid = supervisor.pids()["worker"]
        os.kill(pid, signal.SIGKILL)
        _step_until(supervisor, lambda: supervisor.pids().get("worker", pid) != pid)  # noqa: B023  # evaluated in this turn
    supervisor.stop([])
    assert [line for line in said if "again" in line] == ["worker ended with signal 9; starting it again in 0.1 s"] * 2


def test_a_child_that_dies_at_every_start_ends_the_whole(tmp_path: Path, supervisor: Supervisor) -> None:
    supervisor.start(
        _spec(tmp_path, "steady", SLEEP),
        _spec(tmp_path, "broken", "import sys; print('no such host'); sys.exit(7)", lambda _pid: False),
    )
    with pytest.raises(ServiceFailed, match=rf"broken died at start \(status 7\); see {tmp_path}/broken.log"):
        supervisor.wait_healthy()
    assert (tmp_path / "broken.log").read_text() == "no such host\n" * QUICK.max_early_deaths


def test_a_child_that_is_never_healthy_ends_the_whole(tmp_path: Path) -> None:
    supervisor = Supervisor(RestartPolicy(start_timeout=0.5))
    supervisor.start(_spec(tmp_path, "mute", SLEEP, lambda _pid: False))
    with pytest.raises(ServiceFailed, match=r"mute was not ready within 0\.5 s"):
        supervisor.wait_healthy()
    supervisor.stop([])


BEATING = """
import time
from pathlib import Path
from config.embedded import liveness
liveness.BEAT_S = 0.1
ready = Path({!r})
ready.write_text("")
liveness.keep_beating(ready)
time.sleep(60)
"""


def test_a_frozen_child_is_replaced_and_one_that_works_is_not(tmp_path: Path, said: list[str]) -> None:
    supervisor = Supervisor(replace(QUICK, longest_silence=5, start_timeout=30), say=said.append)
    specs = []
    for name in ("frozen", "steady"):
        ready = tmp_path / name
        program = [sys.executable, "-c", BEATING.format(str(ready))]
        specs.append(ChildSpec(name, program, tmp_path / f"{name}.log", _exists(ready), sign_of_life=ready))
    supervisor.start(*specs)
    try:
        assert supervisor.wait_healthy()
        pids = supervisor.pids()
        os.kill(pids["frozen"], signal.SIGSTOP)
        assert _step_until(supervisor, lambda: said[-1:] == ["frozen is back"], 30)
        assert supervisor.pids()["frozen"] != pids["frozen"]
        assert supervisor.pids()["steady"] == pids["steady"]
    finally:
        supervisor.stop([])
    assert [line.split(" in ")[0] for line in said] == [
        "frozen has given no sign of life for 5 s; it is killed",
        "frozen ended with signal 9; starting it again",
        "frozen is back",
    ]


def test_time_in_which_the_supervisor_was_frozen_itself_is_no_silence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ready, now = tmp_path / "ready", 100.0
    ready.write_text("")
    monkeypatch.setattr("config.embedded.liveness.time.monotonic", lambda: now)
    silence = Silence(ready)
    now += 3600
    assert silence.measure() == Silence.STEP_S
    for _ in range(5):
        now += 0.5
        heard = silence.measure()
    assert heard == Silence.STEP_S + 2.5
    os.utime(ready, ns=(1, 1))
    assert silence.measure() == 0


def test_waiting_for_health_ends_when_told_to_stop(tmp_path: Path, supervisor: Supervisor) -> None:
    supervisor.start(_spec(tmp_path, "mute", SLEEP, lambda _pid: False))
    assert supervisor.wait_healthy(should_stop=lambda: True) is False


def test_groups_stop_one_after_the_other(tmp_path: Path, supervisor: Supervisor) -> None:
    record = tmp_path / "order"
    program = (
        "import signal, sys, time\n"
        "def leave(*_):\n    time.sleep(0.2); open({0!r}, 'a').write({1!r} + ' '); sys.exit()\n"
        "signal.signal(signal.SIGTERM, leave); open({2!r}, 'w'); time.sleep(60)"
    )
    for name in ("database", "web", "broker"):
        code = program.format(str(record), name, str(tmp_path / name))
        supervisor.start(_spec(tmp_path, name, code, _exists(tmp_path / name)))
    supervisor.wait_healthy()
    supervisor.stop([["web"], ["broker"], ["database"]])
    assert record.read_text().split() == ["web", "broker", "database"]
    assert supervisor.pids() == {}


def test_a_child_that_ignores_the_signal_is_killed_after_its_grace_with_its_own_children(
    tmp_path: Path, supervisor: Supervisor
) -> None:
    program = (
        "import os, signal, time\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        f"child = os.fork()\nif child: open({str(tmp_path / 'child')!r}, 'w').write(str(child))\ntime.sleep(60)"
    )
    supervisor.start(_spec(tmp_path, "stubborn", program, lambda _pid: _has_text(tmp_path / "child"), grace=0.3))
    supervisor.wait_healthy()
    began = time.monotonic()
    supervisor.stop([["stubborn"]])
    assert 0.3 <= time.monotonic() - began < 1.5
    assert _eventually(lambda: not _alive(int((tmp_path / "child").read_text())))


def test_what_a_dead_child_leaves_behind_goes_with_it(tmp_path: Path, supervisor: Supervisor) -> None:
    program = f"import os, time\nchild = os.fork()\nif child: open({str(tmp_path / 'child')!r}, 'w').write(str(child))\ntime.sleep(60)"
    supervisor.start(_spec(tmp_path, "parent", program, lambda _pid: _has_text(tmp_path / "child")))
    supervisor.wait_healthy()
    orphan = int((tmp_path / "child").read_text())
    os.kill(supervisor.pids()["parent"], signal.SIGKILL)
    assert _step_until(supervisor, lambda: not _alive(orphan))


PARENT = """
import signal, sys, time
from pathlib import Path
from config.embedded.process import ChildSpec
from config.embedded.supervisor import Supervisor
folder = Path(sys.argv[1])
supervisor = Supervisor()
tell = (
    "import signal, sys, time; signal.signal(signal.SIGINT, lambda *_: (open(sys.argv[1], 'w'), sys.exit())); "
    "open(sys.argv[2], 'w'); time.sleep(60)"
)
supervisor.start(
    ChildSpec("plain", [sys.executable, "-c", "import time; time.sleep(60)"], folder / "plain.log", lambda _pid: True),
    ChildSpec("polite", [sys.executable, "-c", tell, str(folder / "told"), str(folder / "up")], folder / "polite.log",
              lambda _pid: (folder / "up").exists(), death_signal=signal.SIGINT),
)
supervisor.wait_healthy()
print(*supervisor.pids().values(), flush=True)
time.sleep(60)
"""


@pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="the kernel tells children of their parent's death on Linux only"
)
def test_kill_9_of_the_supervisor_leaves_nothing_and_each_child_gets_the_signal_it_wants(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", PARENT, str(tmp_path)], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        pids = [int(word) for word in parent.stdout.readline().split()]
        assert len(pids) == 2
        assert all(_alive(pid) for pid in pids)
        parent.kill()
    assert _eventually(lambda: not any(_alive(pid) for pid in pids), within=5)
    assert _eventually((tmp_path / "told").exists)


FORKER = """
import os, sys, threading, time
from pathlib import Path
from config.embedded.process import ChildSpec, wrote_its_pid
from config.embedded.supervisor import RestartPolicy, Supervisor
folder, mode = Path(sys.argv[1]), sys.argv[2]
loaded = ["by the parent"]

def work():
    print(loaded[0], os.environ["EXTRA"], os.getsid(0) == os.getpid(), flush=True)
    (folder / "ready").write_text(str(os.getpid()))
    if mode == "crash":
        raise ValueError("not to be seen by the parent's code")
    time.sleep(60)

if mode == "threads":
    threading.Thread(target=time.sleep, args=[5], daemon=True).start()
spec = ChildSpec("forked", [], folder / "forked.log", wrote_its_pid(folder / "ready"), run=work, env={"EXTRA": "environment"})
supervisor = Supervisor(RestartPolicy(first_pause=0.1), say=print)
try:
    supervisor.start(spec)
    supervisor.wait_healthy()
    if mode == "die":
        print(supervisor.pids()["forked"], flush=True)
        time.sleep(60)
    deadline = time.monotonic() + 0.5
    supervisor.run(lambda: time.monotonic() > deadline)
finally:
    supervisor.stop([["forked"]])
    print("the parent's own end")
"""


def _fork(tmp_path: Path, mode: str) -> "subprocess.CompletedProcess[str]":
    """In a process of its own: the one that runs the tests has threads."""
    return subprocess.run(
        [sys.executable, "-c", FORKER, str(tmp_path), mode], capture_output=True, text=True, check=False
    )


def test_a_forked_child_has_what_its_parent_loaded_its_own_environment_session_and_log(tmp_path: Path) -> None:
    ran = _fork(tmp_path, "steady")
    assert (ran.stdout, ran.stderr) == ("the parent's own end\n", "")
    assert (tmp_path / "forked.log").read_text() == "by the parent environment True\n"


def test_a_forked_child_that_raises_is_restarted_and_never_runs_its_parents_code(tmp_path: Path) -> None:
    ran = _fork(tmp_path, "crash")
    assert "forked ended with status 1; starting it again in 0.1 s" in ran.stdout
    assert ran.stdout.count("the parent's own end") == 1
    assert "ValueError: not to be seen" in (tmp_path / "forked.log").read_text()


def test_a_process_with_threads_refuses_to_fork(tmp_path: Path) -> None:
    assert "RuntimeError: Forking forked from a process with threads" in _fork(tmp_path, "threads").stderr


@pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="the kernel tells children of their parent's death on Linux only"
)
def test_a_forked_child_dies_with_its_parent(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", FORKER, str(tmp_path), "die"], stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        assert _alive(child)
        parent.kill()
    assert _eventually(lambda: not _alive(child), within=5)


def test_a_child_may_ask_for_another_patience_than_the_rest(tmp_path: Path, supervisor: Supervisor) -> None:
    once = replace(_spec(tmp_path, "once", "raise SystemExit(3)", lambda _pid: False), max_early_deaths=1)
    supervisor.start(once)
    with pytest.raises(ServiceFailed, match=r"once died at start \(status 3\)"):
        supervisor.wait_healthy()
    slow = replace(_spec(tmp_path, "slow", SLEEP, lambda _pid: False), start_timeout=0.2)
    supervisor.stop([])
    supervisor.start(slow)
    with pytest.raises(ServiceFailed, match=r"slow was not ready within 0\.2 s"):
        supervisor.wait_healthy()


def test_a_child_whose_parent_is_gone_already_does_not_start() -> None:
    shim = [sys.executable, "-I", "-S", str(Path("config/embedded/exec_child.py").resolve())]
    started = subprocess.run([*shim, "1", "9", "-1", "-1", "echo", "started"], capture_output=True, check=False)
    assert (started.returncode, started.stdout) == (113, b"")


def test_a_log_that_has_grown_past_the_cap_is_set_aside_once(tmp_path: Path) -> None:
    log = tmp_path / "web.log"
    with log.open("wb") as stream:
        stream.truncate(LOG_CAP_BYTES + 1)
    with open_log(log) as stream:
        stream.write(b"new")
    assert log.read_bytes() == b"new"
    assert (tmp_path / "web.log.1").stat().st_size == LOG_CAP_BYTES + 1


def _exists(path: Path) -> Callable[[int], bool]:
    return lambda _pid: path.exists()


def _has_text(path: Path) -> bool:
    return path.exists() and path.read_text() != ""
