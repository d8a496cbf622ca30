"""Repeated POSTs. The races use real connections: every thread has its own, and nothing is wrapped in a test's transaction."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.utils import timezone

from accounts import cleaning, idempotency
from accounts.models import IdempotencyRecord, User
from realtime.cleaning import run
from tests.accounts import probe
from tests.accounts.conftest import csrf, program_of

pytestmark = [pytest.mark.urls("tests.accounts.probe"), pytest.mark.django_db(transaction=True)]
THINGS = "/api/probe/things"


def make(client: Client, body: dict[str, Any], key: str = "k1", path: str = THINGS) -> Any:
    return client.post(path, body, content_type="application/json", headers={"Idempotency-Key": key})


def made(user: User) -> int:
    return user.api_keys.exclude(name="test").count()


def age(**by: float) -> None:
    record = IdempotencyRecord.objects.get()
    moved = {name: getattr(record, name) - timedelta(seconds=seconds) for name, seconds in by.items()}
    IdempotencyRecord.objects.update(**moved)


@pytest.fixture
def waiting() -> Iterator[None]:
    """Lets a handler with the mood ``wait`` be caught in the middle."""
    probe.reached.clear()
    probe.proceed.clear()
    yield
    probe.proceed.set()


@pytest.fixture
def threads() -> Iterator[Callable[..., Future[Any]]]:
    """Runs a function in a thread with a database connection of its own."""

    def run(function: Callable[..., Any], *args: Any) -> Any:
        try:
            return function(*args)
        finally:
            connection.close()

    with ThreadPoolExecutor(16) as pool:
        yield lambda function, *args: pool.submit(run, function, *args)


class TestReplay:
    def test_a_repetition_gets_the_first_answer_and_changes_nothing(self, program: Client, user: User) -> None:
        first, second = (make(program, {"name": "a"}) for _ in range(2))
        assert (first.status_code, first.content) == (second.status_code, second.content)
        assert (second.headers["ETag"], second.headers["Content-Type"]) == (first.headers["ETag"], "application/json")
        assert "Idempotency-Replayed" not in first.headers
        assert second.headers["Idempotency-Replayed"] == "true"
        assert made(user) == 1

    def test_a_browsers_repetition_is_recognised_as_well(self, browser: Client, user: User) -> None:
        headers = {**csrf(browser), "Idempotency-Key": "k1"}
        for _ in range(2):
            assert (
                browser.post(THINGS, {"name": "a"}, content_type="application/json", headers=headers).status_code == 201
            )
        assert made(user) == 1

    def test_a_trailing_slash_makes_no_other_request(self, program: Client, user: User) -> None:
        make(program, {"name": "a"})
        assert "Idempotency-Replayed" in make(program, {"name": "a"}, path=THINGS + "/").headers
        assert made(user) == 1

    def test_another_key_is_another_request(self, program: Client, user: User) -> None:
        make(program, {"name": "a"}, "k1")
        make(program, {"name": "a"}, "k2")
        assert made(user) == 2

    @pytest.mark.parametrize(("body", "path"), [({"name": "b"}, THINGS), ({"name": "a"}, THINGS + "?x=1")])
    def test_the_same_key_with_another_request_is_422(
        self, program: Client, user: User, body: dict[str, Any], path: str
    ) -> None:
        make(program, {"name": "a"})
        answer = make(program, body, path=path)
        assert (answer.status_code, answer.json()["code"]) == (422, "idempotency_key_reused")
        assert made(user) == 1

    def test_users_do_not_share_keys(self, program: Client, user: User, other_user: User) -> None:
        make(program, {"name": "a"})
        assert "Idempotency-Replayed" not in make(program_of(other_user), {"name": "a"}).headers
        assert made(other_user) == 1

    def test_a_refusal_is_repeated_too_and_its_changes_are_undone(self, program: Client, user: User) -> None:
        first, second = (make(program, {"name": "a", "mood": "illegal"}) for _ in range(2))
        assert first.status_code == second.status_code == 409
        assert first.content == second.content
        assert second.headers["Content-Type"] == "application/problem+json"
        assert made(user) == 0

    def test_a_500_is_undone_and_not_kept(self, program: Client, user: User) -> None:
        assert make(program, {"name": "a", "mood": "crash"}).status_code == 500
        assert made(user) == 0
        assert not IdempotencyRecord.objects.exists()

    def test_without_the_header_every_post_counts(self, program: Client, user: User) -> None:
        for _ in range(2):
            program.post(THINGS, {"name": "a"}, content_type="application/json")
        assert made(user) == 2

    @pytest.mark.parametrize("key", ["", "x" * 256, "ü", "a\tb"])
    def test_a_bad_key_is_400(self, program: Client, user: User, key: str) -> None:
        answer = make(program, {"name": "a"}, key)
        assert (answer.status_code, answer.json()["code"]) == (400, "bad_idempotency_key")
        assert made(user) == 0

    def test_an_answer_is_forgotten_after_a_day(self, program: Client, user: User) -> None:
        make(program, {"name": "a"})
        age(created_at=86_390)
        assert "Idempotency-Replayed" in make(program, {"name": "a"}).headers
        age(created_at=20)
        assert make(program, {"name": "b"}).status_code == 201
        assert made(user) == 2

    def test_only_expired_ones_that_do_not_run_are_removed(self, program: Client, user: User) -> None:
        make(program, {"name": "a"}, "old")
        age(created_at=90_000)
        make(program, {"name": "a"}, "new")
        IdempotencyRecord.objects.create(user=user, key="running", fingerprint=b"")
        IdempotencyRecord.objects.filter(key="running").update(created_at=timezone.now() - timedelta(days=2))
        assert (cleaning.IDEMPOTENCY.count(), run("idempotency", cleaning.IDEMPOTENCY).removed) == (1, 1)
        assert {record.key for record in IdempotencyRecord.objects.all()} == {"new", "running"}


class TestRaces:
    def test_of_many_at_once_one_runs_and_the_others_get_its_answer(
        self, user: User, threads: Callable[..., Future[Any]]
    ) -> None:
        clients, start = [program_of(user) for _ in range(8)], threading.Barrier(8)

        def together(client: Client) -> Any:
            start.wait(10)
            return make(client, {"name": "a"})

        answers = [future.result(30) for future in [threads(together, client) for client in clients]]
        assert {answer.status_code for answer in answers} == {201}
        assert len({answer.content for answer in answers}) == 1
        assert sum("Idempotency-Replayed" in answer.headers for answer in answers) == 7
        assert made(user) == 1

    def test_a_repetition_waits_for_the_first(
        self, user: User, program: Client, threads: Callable[..., Future[Any]], waiting: None
    ) -> None:
        body = {"name": "a", "mood": "wait"}
        first = threads(make, program_of(user), body)
        assert probe.reached.wait(10)
        second = threads(make, program, body)
        with pytest.raises(TimeoutError):
            second.result(0.5)
        probe.proceed.set()
        assert second.result(10).content == first.result(10).content
        assert second.result().headers["Idempotency-Replayed"] == "true"

    def test_waiting_requests_hold_no_connection(
        self, user: User, program: Client, threads: Callable[..., Future[Any]], waiting: None
    ) -> None:
        """More of them than the pool has connections; a reader beside them is served all the same."""
        body = {"name": "a", "mood": "wait"}
        clients = [program_of(user) for _ in range(12)]
        repetitions = [threads(make, client, body) for client in clients]
        assert probe.reached.wait(10)
        with pytest.raises(TimeoutError):
            repetitions[0].result(1)
        assert threads(program.get, THINGS).result(5).status_code == 200
        probe.proceed.set()
        assert {future.result(20).status_code for future in repetitions} == {201}

    def test_a_wait_in_vain_is_409(
        self,
        user: User,
        program: Client,
        threads: Callable[..., Future[Any]],
        waiting: None,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setattr(idempotency, "WAIT_S", 0.2)
        body = {"name": "a", "mood": "wait"}
        threads(make, program_of(user), body)
        assert probe.reached.wait(10)
        answer = make(program, body)
        assert (answer.status_code, answer.json()["code"]) == (409, "idempotency_key_in_use")
        assert int(answer.headers["Retry-After"]) > 0

    def test_a_request_that_was_overtaken_undoes_its_changes(
        self, user: User, program: Client, threads: Callable[..., Future[Any]], waiting: None
    ) -> None:
        body = {"name": "a", "mood": "wait"}
        slow = threads(make, program_of(user), body)
        assert probe.reached.wait(10)
        age(claimed_at=61)
        probe.reached.clear()
        overtaker = threads(make, program, body)
        assert probe.reached.wait(10)
        probe.proceed.set()
        statuses = sorted(future.result(10).status_code for future in (slow, overtaker))
        assert statuses == [201, 409]
        assert slow.result().status_code == 409
        assert made(user) == 1
        assert make(program, body).content == overtaker.result().content


class TestCrash:
    def test_what_a_dying_request_changed_is_undone_and_a_repetition_runs_after_a_minute(
        self, program: Client, user: User, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        probe.died.clear()
        body = {"name": "a", "mood": "die"}
        with pytest.raises(SystemExit):
            make(program, body)
        assert made(user) == 0
        monkeypatch.setattr(idempotency, "WAIT_S", 0.1)
        age(claimed_at=50)
        assert make(program, body).status_code == 409
        age(claimed_at=11)
        assert make(program, body).status_code == 201
        assert made(user) == 1
