"""The audit: a known hole fails, an unknown answer is not taken for a good one, and exceptions end."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from datetime import date, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest

from deploy.supply import advisories, audit, licences, lock
from deploy.supply.advisories import Advisory, Finding, Snapshot

TODAY = date(2026, 11, 23)
HOLE = Advisory("PYSEC-1", "django", ("<4.2.30", ">=5,<5.2.17"), "5.2.17", ("CVE-1",), "somebody")


def some(name: str, version: str) -> lock.Locked:
    return lock.Locked(name, version, hashes=["0" * 64])


class Service(BaseHTTPRequestHandler):
    """Answers as OSV's /v1/query does: `known` is name to version to fix."""

    known: ClassVar[dict[tuple[str, str], str]] = {}
    broken: ClassVar[set[tuple[str, str]]] = set()  # what it answers with a 500
    asked: ClassVar[list[str]] = []

    def do_POST(self) -> None:
        wanted = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        name, version = wanted["package"]["name"], wanted["version"]
        self.asked.append(name)
        if (name, version) in self.broken:
            self.send_error(500)
            return
        said: dict[str, Any] = {}
        if fixed := self.known.get((name, version)):
            ranges = [{"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"fixed": fixed}]}]
            affected = [{"package": {"name": name, "ecosystem": "PyPI"}, "ranges": ranges}]
            said = {
                "vulns": [
                    {"id": "PYSEC-2026-9999", "aliases": ["CVE-2026-9999"], "summary": "A hole.", "affected": affected}
                ]
            }
        body = json.dumps(said).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Nothing: pytest's output is not a log."""


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Service]]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Service)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    monkeypatch.setenv("PIP_AUDIT_VULNERABILITY_SERVICE", "osv")
    monkeypatch.setenv("PIP_AUDIT_OSV_URL", f"http://127.0.0.1:{server.server_port}/v1/query")
    monkeypatch.setattr(Service, "known", {})
    monkeypatch.setattr(Service, "asked", [])
    monkeypatch.setattr(Service, "broken", set())
    yield Service
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def stored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A snapshot of one hole, in place of the real one, and a policy without exceptions."""
    path = tmp_path / "advisories.json"
    advisories.store(Snapshot(TODAY, "by hand", (), (HOLE,)), path)
    monkeypatch.setattr(advisories.load, "__defaults__", (path,))
    monkeypatch.setattr(advisories.store, "__defaults__", (path,))
    monkeypatch.setitem(licences.policy(), "ignored", [])
    return path


def test_nothing_is_known_against_what_is_locked() -> None:
    said, wrong = audit.report(lock.everything(), TODAY, offline=True, write=False)
    assert wrong == []
    assert any(line.startswith("audit: snapshot of ") for line in said)


@pytest.mark.parametrize(
    ("version", "known"), [("5.2.16", True), ("5.2.17", False), ("4.2.29", True), ("4.2.30", False), ("6.0", False)]
)
def test_the_snapshot_compares_versions(version: str, known: bool, stored: Path) -> None:
    _, wrong = audit.report([some("django", version)], TODAY, offline=True, write=False)
    assert wrong == ([f"django {version}: PYSEC-1 (CVE-1), fixed in 5.2.17"] if known else [])


def test_the_service_is_asked_about_every_version_of_every_package(service: type[Service], stored: Path) -> None:
    packages = [some("numpy", "2.4.6"), some("numpy", "2.5.5"), some("six", "1.17.0")]
    said, wrong = audit.report(packages, TODAY, offline=False, write=False)
    assert (sorted(service.asked), wrong) == (["numpy", "numpy", "six"], [])
    assert "audit: the service was asked about 3 pins" in said


def test_what_the_service_knows_fails_and_is_stored(service: type[Service], stored: Path) -> None:
    service.known["six", "1.17.0"] = "1.18.0"
    packages = [some("six", "1.17.0"), some("attrs", "26.1.0")]
    _, wrong = audit.report(packages, TODAY, offline=False, write=True)
    assert wrong == ["six 1.17.0: PYSEC-2026-9999 (CVE-2026-9999), fixed in 1.18.0"]
    assert advisories.load().clean == ("attrs==26.1.0",)
    assert audit.report(packages, TODAY, offline=True, write=False)[1] == wrong


def test_what_one_part_found_is_kept_when_another_fails(service: type[Service], stored: Path) -> None:
    service.known["numpy", "2.4.6"] = "2.4.7"
    service.broken.add(("numpy", "2.5.5"))
    said, wrong = audit.report([some("numpy", "2.4.6"), some("numpy", "2.5.5")], TODAY, offline=False, write=False)
    assert wrong == ["numpy 2.4.6: PYSEC-2026-9999 (CVE-2026-9999), fixed in 2.4.7"]
    assert "audit: not audited by the service: numpy==2.5.5" in said


def test_a_service_that_is_away_is_said_and_the_snapshot_still_counts(
    stored: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket() as closed:  # bound and not listening: refused at once
        closed.bind(("127.0.0.1", 0))
        monkeypatch.setenv("PIP_AUDIT_VULNERABILITY_SERVICE", "osv")
        monkeypatch.setenv("PIP_AUDIT_OSV_URL", f"http://127.0.0.1:{closed.getsockname()[1]}/v1/query")
        said, wrong = audit.report([some("django", "5.2.16")], TODAY, offline=False, write=True)
    assert said[0].startswith("audit: no advisory service within reach (")
    assert wrong == ["django 5.2.16: PYSEC-1 (CVE-1), fixed in 5.2.17"]
    assert advisories.load().clean == ()


def test_an_old_snapshot_is_said(stored: Path) -> None:
    said, wrong = audit.report([], TODAY + timedelta(days=91), offline=True, write=False)
    assert (wrong, sum("91 days old" in line for line in said)) == ([], 1)


FOUND = [Finding("django", "5.2.16", "PYSEC-1", ("CVE-1",), "5.2.17")]


def exception(**changed: object) -> dict[str, object]:
    return {
        "package": "django",
        "id": "CVE-1",
        "because": "not reachable",
        "until": TODAY + timedelta(days=30),
    } | changed


def test_an_exception_holds_to_its_last_day_and_no_longer() -> None:
    rule = [exception()]
    until = TODAY + timedelta(days=30)
    assert (advisories.excused(FOUND[0], rule, until), advisories.bad_excuses(rule, FOUND, until)) == (True, [])
    assert not advisories.excused(FOUND[0], rule, until + timedelta(days=1))
    assert "decide again" in advisories.bad_excuses(rule, FOUND, until + timedelta(days=1))[0]


@pytest.mark.parametrize(
    ("changed", "complaint"),
    [
        ({"because": " "}, "without a reason"),
        ({"until": TODAY + timedelta(days=181)}, "needs an end"),
        ({"until": None}, "needs an end"),
        ({"id": "CVE-2"}, "take it out"),
        ({"package": "flask"}, "take it out"),
    ],
)
def test_an_exception_that_does_not_hold_is_a_problem(changed: dict[str, object], complaint: str) -> None:
    assert complaint in " ".join(advisories.bad_excuses([exception(**changed)], FOUND, TODAY))


def test_an_exception_is_for_one_package() -> None:
    other = Finding("flask", "1", "CVE-1", (), None)
    assert not advisories.excused(other, [exception()], TODAY)
