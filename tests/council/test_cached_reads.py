"""Councils read through the cache of bodies, with a Valkey of its own: right whatever happens beside them, and cheap."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import pytest
from django.conf import LazySettings
from django.core.cache import caches
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext
from prometheus_client import REGISTRY

from accounts import caching
from accounts.breaker import Breaker
from accounts.models import User
from council import selectors, versions
from council import services as councils
from council.consumers import CouncilSessions
from council.models import Budget, CouncilSession, Message, SessionPack
from knowledge import services
from knowledge.models import EntryRevision, KnowledgePack
from realtime.errors import NotFound
from realtime.sources import one_moment, read_snapshot
from tests.conftest import Api
from tests.knowledge.conftest import ITEMS, index_all
from tests.realtime.broker import Broker
from tests.support.councils import Convene, conclude

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.xdist_group("cached-reads")]
T = TypeVar("T")
PATIENCE_S = 10.0  # beyond what a time-out of 0.4 s may cost on a busy machine


@pytest.fixture
def valkey(settings: LazySettings, monkeypatch: pytest.MonkeyPatch) -> Iterator[Broker]:
    """Another server than that of everything else, so that it may be emptied, frozen and stopped."""
    broker = Broker()
    settings.CACHES = {**settings.CACHES, "objects": {**settings.CACHES["objects"], "LOCATION": broker.url}}
    monkeypatch.setattr(caching, "breaker", Breaker())
    yield broker
    if broker.runs:
        broker.stop()


@pytest.fixture
def pack(user: User) -> KnowledgePack:
    made = services.create_pack(user, name="Notes")
    services.add_entries(made, user, ITEMS)
    index_all(made)
    return made


@pytest.fixture
def council(valkey: Broker, user: User, convene: Convene, pack: KnowledgePack) -> CouncilSession:
    session = convene(question="What is in sourdough bread?", options=[], packs=[pack.pk])
    return conclude(user, session)


@pytest.fixture
def draft(valkey: Broker, convene: Convene) -> CouncilSession:
    """Enough where nothing turns on what was decided."""
    return convene()


def looks(kind: str, result: str) -> float:
    return REGISTRY.get_sample_value("quorum_object_cache_total", {"kind": kind, "result": result}) or 0.0


def uncached(settings: LazySettings, read: Callable[[], T]) -> T:
    settings.OBJECT_CACHE = False
    try:
        return read()
    finally:
        settings.OBJECT_CACHE = True


def elsewhere(work: Callable[[], T]) -> T:
    """With a connection of its own."""

    def run() -> T:
        try:
            return work()
        finally:
            connection.close()

    with ThreadPoolExecutor(1) as thread:
        return thread.submit(run).result()


def readers(user: User, session: CouncilSession) -> list[Callable[[], Any]]:
    return [
        lambda: selectors.detail_for(user, session.pk),
        lambda: selectors.session_snapshot(session.pk),
        lambda: within_one_moment(session),
    ]


def within_one_moment(session: CouncilSession) -> Any:
    with one_moment():
        return selectors.snapshot_at_this_moment(session.pk)


# --- What it gives ----------------------------------------------------------------------------------------------------


def test_what_is_kept_is_what_is_read(user: User, council: CouncilSession, settings: LazySettings) -> None:
    for read in readers(user, council):
        fresh = uncached(settings, read)
        assert read() == fresh
        assert read() == fresh


def test_the_second_read_asks_for_the_version_alone(user: User, council: CouncilSession) -> None:
    hits = looks("snapshot", "hit")
    selectors.session_snapshot(council.pk)
    with CaptureQueriesContext(connection) as asked:
        selectors.session_snapshot(council.pk)
    assert (len(asked), looks("snapshot", "hit")) == (1, hits + 1)
    selectors.detail_for(user, council.pk)
    with CaptureQueriesContext(connection) as asked:
        selectors.detail_for(user, council.pk)
    assert len(asked) == 2  # and what has become of the sources


def test_a_page_and_a_socket_share_what_is_kept(council: CouncilSession) -> None:
    selectors.session_snapshot(council.pk)
    misses = looks("snapshot", "miss")
    state, seq = read_snapshot(CouncilSessions(), council.pk)
    assert (state["last_seq"], looks("snapshot", "miss")) == (seq, misses)


def test_another_users_council_is_unknown_however_often_it_was_read(
    user: User, other_user: User, draft: CouncilSession, api: Api, other_api: Api
) -> None:
    path = f"/api/council-sessions/{draft.pk}"
    for _ in range(2):
        assert api.get(path).status_code == 200
        assert other_api.get(path).status_code == 404
    with pytest.raises(NotFound):
        selectors.detail_for(other_user, draft.pk)


def test_a_new_body_has_another_tag_and_the_same_one_is_not_sent_again(draft: CouncilSession, api: Api) -> None:
    path = f"/api/council-sessions/{draft.pk}"
    tag = api.get(path)["ETag"]
    assert api.get(path, If_None_Match=tag).status_code == 304
    assert api.patch(path, {"title": "Another"}, If_Match=tag).status_code == 200
    again = api.get(path, If_None_Match=tag)
    assert (again.status_code, again.json()["title"]) == (200, "Another")


def test_the_access_log_says_what_was_found(draft: CouncilSession, api: Api, caplog: pytest.LogCaptureFixture) -> None:
    for path in (f"/api/council-sessions/{draft.pk}", f"/api/council-sessions/{draft.pk}", "/api/me"):
        api.get(path)
    lines = [one.msg for one in caplog.records if isinstance(one.msg, dict) and one.msg["event"] == "request"]
    assert [line["cache"] for line in lines] == [["session:miss"], ["session:hit"], None]


# --- What changes without an event --------------------------------------------------------------------------------------


def test_another_shape_of_snapshots_is_another_version(draft: CouncilSession, monkeypatch: pytest.MonkeyPatch) -> None:
    before = versions.version(draft.pk)
    assert versions.version(draft.pk) == before
    monkeypatch.setattr(versions, "_shape", lambda: "of the next release")
    assert versions.version(draft.pk) != before


@pytest.mark.forges
def test_what_changes_without_an_event_is_shown_at_once(
    user: User, other_user: User, council: CouncilSession, settings: LazySettings
) -> None:
    Message.objects.create(session=council, author=other_user, content="Hm.")
    CouncilSession.objects.filter(pk=council.pk).update(title="Touched")  # the message above has no event
    before = [read() for read in readers(user, council)]
    cited = before[0]["decision"]["citations"]
    first, revisions = cited[0], EntryRevision.objects.filter(pk__in=[one["revision"] for one in cited])
    changes: dict[str, Callable[[], Any]] = {
        "its source is revised": lambda: services.revise_entry(first["entry"], user, {"content": "Rye, water, salt."}),
        "usage is counted": lambda: Budget.objects.filter(session=council).update(tokens_used=4711),
        "its sources are purged": lambda: revisions.update(entry=None),
        "its pack is purged": lambda: SessionPack.objects.filter(councilsession=council).delete(),
        "an author is deleted": other_user.delete,
    }
    for what, change in changes.items():
        change()
        after = [read() for read in readers(user, council)]
        assert after == [uncached(settings, read) for read in readers(user, council)], what
        assert after != before, what
        before = after


# --- Transactions -------------------------------------------------------------------------------------------------------


def test_what_is_not_committed_is_neither_kept_nor_found(
    user: User, draft: CouncilSession, settings: LazySettings
) -> None:
    """The number of the next event is given twice: by what is taken back, and by what comes after."""
    with transaction.atomic():
        councils.update_session(user, draft.pk, {"title": "Taken back"}, lambda _: None)
        assert selectors.detail_for(user, draft.pk)["title"] == "Taken back"
        assert selectors.session_snapshot(draft.pk)["session"]["title"] == "Taken back"
        transaction.set_rollback(True)
    councils.update_session(user, draft.pk, {"title": "Kept"}, lambda _: None)
    assert selectors.detail_for(user, draft.pk)["title"] == "Kept"
    assert selectors.session_snapshot(draft.pk)["session"]["title"] == "Kept"


def write(user: User, session: CouncilSession, title: str) -> None:
    elsewhere(lambda: councils.update_session(user, session.pk, {"title": title}, lambda _: None))


def title_of(session: CouncilSession) -> Any:
    return {"title": CouncilSession.objects.get(pk=session.pk).title}


def test_a_write_that_commits_while_a_body_is_read_is_not_in_it(user: User, draft: CouncilSession) -> None:
    def body() -> Any:
        write(user, draft, "Later")
        return title_of(draft)

    write(user, draft, "Before")
    assert versions.current("test", draft.pk, body) == {"title": "Before"}
    assert versions.current("test", draft.pk, lambda: title_of(draft)) == {"title": "Later"}


def test_a_body_is_kept_under_the_version_that_it_was_read_with(user: User, draft: CouncilSession) -> None:
    asked: list[caching.Version] = []

    def version() -> caching.Version:
        asked.append(versions.version(draft.pk))
        if len(asked) == 1:
            write(user, draft, "Between")  # after the reader looked, before it reads
        return asked[-1]

    assert caching.current("test", version, lambda: title_of(draft)) == {"title": "Between"}
    assert asked[0] != asked[1]
    kept = versions.current("test", draft.pk, lambda: pytest.fail("it was kept under its own version"))
    assert kept == {"title": "Between"}


# --- Many at once -------------------------------------------------------------------------------------------------------


def test_those_who_miss_together_read_once(draft: CouncilSession) -> None:
    reads: list[int] = []
    together = threading.Barrier(8)

    def body() -> Any:
        reads.append(1)
        time.sleep(0.1)
        return {"n": len(reads)}

    def ask(_: int) -> Any:
        try:
            together.wait(timeout=30)
            return versions.current("test", draft.pk, body)
        finally:
            connection.close()

    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(ask, range(8)))
    assert (answers, len(reads)) == ([{"n": 1}] * 8, 1)
    assert len({id(answer) for answer in answers}) == 8  # nobody can change another's


def test_another_process_that_reads_the_same_is_waited_for(
    user: User, draft: CouncilSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    def announced() -> str:
        name = f"{caching.FORMAT}:test:{versions.version(draft.pk).name}"
        caches["objects"].set(f"{name}:reading", b"1", 60)
        return name

    announced()  # by one that dies
    assert versions.current("test", draft.pk, lambda: {"n": 1}) == {"n": 1}
    write(user, draft, "Another version")
    name = announced()
    monkeypatch.setattr(caching, "WAIT_S", 30.0)
    other = threading.Timer(0.05, lambda: caches["objects"].set(name, b'{"n":2}', 60))
    other.start()
    assert versions.current("test", draft.pk, lambda: pytest.fail("it was being read")) == {"n": 2}
    other.join()


def test_a_reader_that_fails_takes_nobody_along(draft: CouncilSession) -> None:
    failing = threading.Event()

    def fails() -> Any:
        failing.set()
        time.sleep(0.2)
        raise RuntimeError("no luck")

    with ThreadPoolExecutor(1) as thread:
        first = thread.submit(lambda: elsewhere(lambda: versions.current("test", draft.pk, fails)))
        assert failing.wait(30)
        assert versions.current("test", draft.pk, lambda: {"n": 2}) == {"n": 2}
        with pytest.raises(RuntimeError):
            first.result()


def test_no_reader_sees_less_than_what_was_committed_before_it_asked(
    user: User, draft: CouncilSession, valkey: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two writers and four readers for some seconds, while the cache is emptied, frozen and stopped. A title tells which version it
    belongs to; ``floor`` is the newest that is known to be committed."""
    monkeypatch.setattr(caching, "breaker", Quick())
    floor = [CouncilSession.objects.get(pk=draft.pk).version]
    start, ends = floor[0], time.monotonic() + 4
    ways: list[Callable[[], Any]] = [
        lambda: selectors.detail_for(user, draft.pk),
        lambda: selectors.session_snapshot(draft.pk)["session"],
    ]
    hits = looks("session", "hit")
    dice = random.Random(6)

    def write() -> None:
        while time.monotonic() < ends:
            seen: list[int] = []
            with transaction.atomic():
                with connection.cursor() as cursor:
                    cursor.execute("SELECT version FROM council_councilsession WHERE id = %s FOR UPDATE", [draft.pk])
                    number = cursor.fetchone()[0] + 1
                done = councils.update_session(user, draft.pk, {"title": f"v{number}"}, seen.append)
            floor[0] = max(floor[0], done.version)
            time.sleep(dice.random() * 0.05)

    def read() -> int:
        newest, count = 0, 0
        while time.monotonic() < ends:
            known = floor[0]
            shown = dice.choice(ways)()
            assert shown["version"] >= max(known, newest), "older than what was known"
            assert shown["title"] == f"v{shown['version']}" or shown["version"] == start, "two versions in one body"
            newest, count = shown["version"], count + 1
        return count

    with ThreadPoolExecutor(6) as threads:
        writing = [threads.submit(elsewhere, write) for _ in range(2)]
        reading = [threads.submit(elsewhere, read) for _ in range(4)]
        trouble(valkey)
        counts = [one.result() for one in reading]
        for one in writing:
            one.result()
    assert floor[0] > start + 3
    assert min(counts) > 3
    assert looks("session", "hit") > hits


class Quick(Breaker):
    """Leaves a server alone for a moment only, so that a short test sees it come back."""

    def trip(self) -> None:
        self.closed_until = time.monotonic() + 0.1


def trouble(valkey: Broker) -> None:
    for act in (caches["objects"].clear, valkey.freeze, valkey.thaw, valkey.stop, valkey.start):
        time.sleep(0.6)
        act()


# --- Without Valkey -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["frozen", "gone"])
def test_without_valkey_every_read_is_right_and_none_hangs(
    user: User, draft: CouncilSession, valkey: Broker, how: str
) -> None:
    expected = selectors.session_snapshot(draft.pk)
    fall, rise = (valkey.freeze, valkey.thaw) if how == "frozen" else (valkey.stop, valkey.start)
    fall()
    began = time.monotonic()
    for _n in range(5):
        assert selectors.session_snapshot(draft.pk) == expected
    assert time.monotonic() - began < PATIENCE_S
    rise()
    caching.breaker.closed_until = 0.0
    selectors.session_snapshot(draft.pk)
    hits = looks("snapshot", "hit")
    assert selectors.session_snapshot(draft.pk) == expected
    assert looks("snapshot", "hit") == hits + 1


def test_what_is_not_ours_is_a_miss(user: User, draft: CouncilSession) -> None:
    expected = selectors.session_snapshot(draft.pk)
    name = f"{caching.FORMAT}:snapshot:{versions.version(draft.pk).name}"
    for junk in (b"", b"\x80\x04K\x01.", b'{"session": '):
        caches["objects"].set(name, junk, 60)
        assert selectors.session_snapshot(draft.pk) == expected


def test_what_is_too_large_is_read_each_time(draft: CouncilSession, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(caching, "LARGEST", 100)
    before = looks("snapshot", "too_large")
    first, second = selectors.session_snapshot(draft.pk), selectors.session_snapshot(draft.pk)
    assert (first == second, looks("snapshot", "too_large")) == (True, before + 2)


# --- Permissions are asked every time -------------------------------------------------------------------------------------


def test_a_revoked_share_is_refused_at_the_very_next_request(
    user: User, other_user: User, pack: KnowledgePack, api: Api, other_api: Api
) -> None:
    paths = [f"/api/knowledge-packs/{pack.pk}{end}" for end in ("", "/entries", "/entries/search?q=bread")]
    paths.append(f"/api/knowledge-packs/search?q=bread&packs={pack.pk}")
    for _ in range(5):
        share, _made = services.share(pack.pk, None, other_user.email, "viewer")
        assert [other_api.get(path).status_code for path in paths] == [200] * 4
        assert api.delete(f"/api/knowledge-packs/{pack.pk}/shares/{share.pk}").status_code == 204
        assert [other_api.get(path).status_code for path in paths] == [404] * 4
        asked = {"question": "What?", "packs": [str(pack.pk)]}
        assert other_api.post("/api/council-sessions", asked).status_code == 400
