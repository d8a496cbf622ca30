"""``/api/me/api-keys``: what is given out once, what is never stored, and what a key may make of keys."""

from __future__ import annotations

import functools
import threading
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries

from accounts import keys
from accounts.errors import InsufficientScope, KeyEnded, KeyRotating
from accounts.models import ApiKey, IdempotencyRecord, User
from accounts.scopes import ALL
from tests.accounts.conftest import csrf
from tests.conftest import Api

KEYS = "/api/me/api-keys"
HOUR = timedelta(hours=1)


def made(api: Api, scopes: list[str] | None = None, **more: Any) -> Any:
    answer = api.post(KEYS, {"name": "bot", "scopes": scopes or ["packs:read"], **more})
    assert answer.status_code == 201, answer.content
    return answer.json()


def limited(user: User, *scopes: str, expires_at: datetime | None = None) -> Api:
    return Api(keys.create_api_key(user, "limited", expires_at, scopes=scopes)[1])


class TestOne:
    def test_a_new_key_is_shown_once_and_works(self, api: Api) -> None:
        answer = api.post(KEYS, {"name": " bot ", "scopes": ["packs:write", "packs:read", "packs:read"]})
        body = answer.json()
        assert (answer.status_code, answer["Cache-Control"], answer["ETag"]) == (201, "no-store", '"v1"')
        assert (body["name"], body["scopes"], body["status"]) == ("bot", ["packs:read", "packs:write"], "active")
        assert Api(body["key"]).get("/api/knowledge-packs").status_code == 200
        for again in (api.get(KEYS), api.get(f"{KEYS}/{body['id']}")):
            assert body["key"] not in again.content.decode()

    @pytest.mark.parametrize(
        ("wrong", "pointer"),
        [
            ({"name": ""}, "/name"),
            ({"name": "x" * 81}, "/name"),
            ({"scopes": []}, "/scopes"),
            ({"scopes": ["everything"]}, "/scopes/0"),
            ({"scopes": None}, "/scopes"),
            ({"expires_at": "soon"}, "/expires_at"),
            ({"user": str(uuid.uuid4())}, "/user"),
        ],
    )
    def test_a_wrong_field_is_pointed_at(self, api: Api, user: User, wrong: dict[str, Any], pointer: str) -> None:
        answer = api.post(KEYS, {"name": "bot", "scopes": ["packs:read"], **wrong})
        assert (answer.status_code, user.api_keys.count()) == (400, 1)
        assert [error["pointer"].rpartition("/0")[0] or error["pointer"] for error in answer.json()["errors"]] == [
            pointer.rpartition("/0")[0] or pointer
        ]

    def test_scopes_are_not_guessed(self, api: Api) -> None:
        assert api.post(KEYS, {"name": "bot"}).status_code == 400

    def test_it_ends_when_it_was_to(self, api: Api, user: User) -> None:
        assert (
            api.post(KEYS, {"name": "a", "scopes": ["admin"], "expires_at": "2020-01-01T00:00:00Z"}).status_code == 400
        )
        body = made(api, expires_at=(timezone.now() + HOUR).isoformat())
        ApiKey.objects.filter(pk=body["id"]).update(expires_at=timezone.now())
        assert Api(body["key"]).get("/api/knowledge-packs").status_code == 401
        assert [one["name"] for one in api.get(f"{KEYS}?status=expired").json()["results"]] == ["bot"]

    def test_name_and_end_are_changed_and_scopes_are_not(self, api: Api) -> None:
        path, end = f"{KEYS}/{made(api)['id']}", datetime(2100, 1, 1, tzinfo=UTC)
        answer = api.patch(path, {"name": "robot", "expires_at": end.isoformat()}, If_Match='"v1"')
        assert (answer.status_code, answer["ETag"], answer.json()["name"]) == (200, '"v2"', "robot")
        assert datetime.fromisoformat(answer.json()["expires_at"]) == end
        assert api.patch(path, {"expires_at": None}).json()["expires_at"] is None
        assert api.patch(path, {"scopes": ["admin"]}).status_code == 400
        assert api.patch(path, {"name": "other"}, If_Match='"v1"').status_code == 412

    def test_revoking_is_for_ever_and_may_be_repeated(self, api: Api) -> None:
        body = made(api)
        path = f"{KEYS}/{body['id']}"
        assert [api.delete(path).status_code for _ in range(2)] == [204, 204]
        assert Api(body["key"]).get("/api/knowledge-packs").status_code == 401
        assert api.get(path).json()["status"] == "revoked"
        for answer in (api.patch(path, {"expires_at": None}), api.post(f"{path}/rotate", {})):
            assert (answer.status_code, answer.json()["code"]) == (409, "key_ended")

    def test_a_stale_revocation_is_412(self, api: Api) -> None:
        body = made(api)
        assert api.delete(f"{KEYS}/{body['id']}", If_Match='"v9"').status_code == 412
        assert Api(body["key"]).get("/api/knowledge-packs").status_code == 200

    def test_the_list_has_pages_and_a_filter(self, api: Api, other_api: Api) -> None:
        names = [made(api, name=f"k{index}")["name"] for index in range(5)]
        made(other_api, name="theirs")
        first = api.get(f"{KEYS}?limit=3&status=active").json()
        second = api.get(first["next"]).json()
        assert [one["name"] for one in first["results"] + second["results"]] == [*reversed(names), "tests"]
        assert api.get(f"{KEYS}?status=revoked").json()["results"] == []
        assert api.get(f"{KEYS}?status=lost").status_code == 400

    def test_the_list_costs_the_same_however_long(
        self, api: Api, user: User, django_assert_max_num_queries: Any
    ) -> None:
        for index in range(30):
            keys.create_api_key(user, f"k{index}")
        api.get(KEYS)
        with django_assert_max_num_queries(2):
            api.get(KEYS)

    def test_another_persons_key_is_404(self, api: Api, other_api: Api) -> None:
        body = made(other_api)
        path = f"{KEYS}/{body['id']}"
        answers = (api.get(path), api.patch(path, {"name": "x"}), api.delete(path), api.post(f"{path}/rotate", {}))
        assert {answer.status_code for answer in answers} == {404}
        assert Api(body["key"]).get("/api/knowledge-packs").status_code == 200

    def test_a_person_needs_no_key_for_it(self, browser: Client) -> None:
        body = {"name": "first", "scopes": ["admin"]}
        answer = browser.post(KEYS, body, content_type="application/json", headers=csrf(browser))
        assert answer.status_code == 201


class TestSecrets:
    """The plaintext is in one answer, and nowhere else."""

    def test_a_repetition_is_told_everything_but_the_secret(self, api: Api, user: User) -> None:
        body = {"name": "bot", "scopes": ["packs:read"]}
        first, second = (api.post(KEYS, body, Idempotency_Key="k1") for _ in range(2))
        assert (second.status_code, second["Idempotency-Replayed"], second["ETag"]) == (201, "true", '"v1"')
        assert second.json() == {**first.json(), "key": None}
        assert user.api_keys.filter(name="bot").count() == 1
        assert Api(first.json()["key"]).get("/api/knowledge-packs").status_code == 200

    def test_nor_is_a_rotation_repeated(self, api: Api) -> None:
        path = f"{KEYS}/{made(api)['id']}/rotate"
        first, second = (api.post(path, {}, Idempotency_Key="k1") for _ in range(2))
        assert second.json() == {**first.json(), "key": None}
        assert Api(first.json()["key"]).get("/api/knowledge-packs").status_code == 200

    def test_no_table_has_it(self, api: Api) -> None:
        first = api.post(KEYS, {"name": "bot", "scopes": ["packs:read"]}, Idempotency_Key="k1").json()
        second = api.post(f"{KEYS}/{first['id']}/rotate", {}, Idempotency_Key="k2").json()
        assert IdempotencyRecord.objects.count() == 2
        for secret in (first["key"], second["key"]):
            assert not found(secret[3:])

    def test_a_refusal_is_repeated_whole(self, api: Api) -> None:
        first, second = (api.post(KEYS, {"name": "bot"}, Idempotency_Key="k1") for _ in range(2))
        assert (first.status_code, second.status_code) == (400, 400)
        assert first.content == second.content


def found(text: str) -> list[str]:
    """The tables of which a row contains the text, in a column of text, JSON or bytes."""
    tables = connection.introspection.table_names()
    with connection.cursor() as cursor:
        hits = []
        for table in tables:
            query = f'SELECT count(*) FROM "{table}" AS t WHERE t::text LIKE %s OR t::text LIKE %s'  # noqa: S608
            cursor.execute(query, [f"%{text}%", f"%{text.encode().hex()}%"])
            hits += [table] if cursor.fetchone()[0] else []
    return hits


def test_the_search_of_tables_finds_what_is_there(user: User) -> None:
    IdempotencyRecord.objects.create(user=user, key="k", fingerprint=b"", body=b"a needle here")
    assert found("needle") == ["accounts_idempotencyrecord"]


class TestMakers:
    """A key makes and keeps alive nothing that could do more, or for longer, than itself."""

    @pytest.mark.parametrize("scope", ["packs:read", "packs:write", "councils:read", "councils:run"])
    def test_without_admin_a_key_may_not_even_look(self, user: User, scope: str) -> None:
        mine = user.api_keys.create(name="a", scopes=["admin"], prefix="", digest=b"a")
        api, path = limited(user, scope), f"{KEYS}/{mine.pk}"
        answers = [api.get(KEYS), api.post(KEYS, {"name": "x", "scopes": [scope]}), api.get(path), api.delete(path)]
        answers += [api.patch(path, {"name": "x"}), api.post(f"{path}/rotate", {})]
        assert {(answer.status_code, answer.json()["code"]) for answer in answers} == {(403, "insufficient_scope")}
        assert user.api_keys.count() == 2

    def test_the_service_does_not_widen_whoever_asks(self, user: User) -> None:
        maker, _ = keys.create_api_key(user, "a", scopes=["packs:write"])
        assert keys.create_api_key(user, "b", scopes=["packs:read"], maker=maker)[0].scopes == ["packs:read"]
        with pytest.raises(InsufficientScope):
            keys.create_api_key(user, "c", scopes=["packs:read", "councils:read"], maker=maker)
        with pytest.raises(InsufficientScope):
            keys.rotate_api_key(user, keys.create_api_key(user, "d")[0].pk, maker=maker)

    def test_no_key_outlives_its_maker(self, user: User) -> None:
        end = timezone.now() + HOUR
        api = limited(user, "admin", expires_at=end)
        for_ever, _ = keys.create_api_key(user, "for ever")
        later = (end + HOUR).isoformat()
        brief = made(api, expires_at=(end - timedelta(minutes=1)).isoformat())["id"]
        answers = [
            api.post(KEYS, {"name": "x", "scopes": ["packs:read"]}),
            api.post(KEYS, {"name": "x", "scopes": ["packs:read"], "expires_at": later}),
            api.patch(f"{KEYS}/{brief}", {"expires_at": later}),
            api.patch(f"{KEYS}/{brief}", {"expires_at": None}),
            api.post(f"{KEYS}/{for_ever.pk}/rotate", {}),
        ]
        assert {(answer.status_code, answer.json()["code"]) for answer in answers} == {(403, "key_outlives_maker")}
        assert api.delete(f"{KEYS}/{for_ever.pk}").status_code == 204

    def test_a_key_rotates_itself(self, user: User) -> None:
        key, secret = keys.create_api_key(user, "a", timezone.now() + HOUR, scopes=["admin"])
        answer = Api(secret).post(f"{KEYS}/{key.pk}/rotate", {"overlap_s": 0})
        assert answer.status_code == 200
        assert Api(secret).get(KEYS).status_code == 401
        assert Api(answer.json()["key"]).get(KEYS).status_code == 200


class TestRotation:
    def test_the_old_secret_goes_on_for_the_overlap_and_no_longer(
        self, user: User, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        start, now = timezone.now(), [timezone.now()]
        monkeypatch.setattr("accounts.keys.timezone.now", lambda: now[0])
        now[0] = start
        key, old = keys.create_api_key(user, "a", scopes=["packs:read"])
        rotated, new = keys.rotate_api_key(user, key.pk, HOUR)
        assert (rotated.pk, rotated.scopes, rotated.previous_until) == (key.pk, ["packs:read"], start + HOUR)
        assert new.startswith(rotated.prefix)
        for passed, goes_on in (
            (timedelta(0), True),
            (HOUR - timedelta(seconds=1), True),
            (HOUR, False),
            (2 * HOUR, False),
        ):
            now[0] = start + passed
            assert keys.user_for_key(new) == user
            assert (keys.user_for_key(old) == user) is goes_on

    def test_at_once_ends_all_older_ones(self, user: User) -> None:
        key, first = keys.create_api_key(user, "a")
        _, second = keys.rotate_api_key(user, key.pk, HOUR)
        _, third = keys.rotate_api_key(user, key.pk, timedelta(0))
        assert [keys.user_for_key(secret) for secret in (first, second, third)] == [None, None, user]

    def test_during_an_overlap_only_that_is_taken(self, api: Api) -> None:
        path = f"{KEYS}/{made(api)['id']}"
        until = api.post(f"{path}/rotate").json()["previous_until"]
        assert 3590 < (datetime.fromisoformat(until) - timezone.now()).total_seconds() <= 3600
        refused = api.post(f"{path}/rotate", {"overlap_s": 60})
        assert (refused.status_code, refused.json()["code"]) == (409, "key_rotating")
        assert api.post(f"{path}/rotate", {"overlap_s": 0}).json()["previous_until"] is None

    def test_after_the_overlap_a_key_rotates_again(self, user: User) -> None:
        key, _ = keys.create_api_key(user, "a")
        keys.rotate_api_key(user, key.pk, HOUR)
        ApiKey.objects.update(previous_until=timezone.now())
        _, third = keys.rotate_api_key(user, key.pk, HOUR)
        assert keys.user_for_key(third) == user

    @pytest.mark.parametrize("overlap", [-1, 604_801, "soon", None])
    def test_an_overlap_is_from_none_to_seven_days(self, api: Api, overlap: object) -> None:
        path = f"{KEYS}/{made(api)['id']}/rotate"
        assert api.post(path, {"overlap_s": overlap}).status_code == 400
        assert api.post(path, {"overlap_s": 604_800}).status_code == 200

    def test_revoking_ends_both_secrets(self, user: User) -> None:
        key, old = keys.create_api_key(user, "a")
        rotated, new = keys.rotate_api_key(user, key.pk, HOUR)
        keys.revoke_api_key(rotated)
        assert [keys.user_for_key(secret) for secret in (old, new)] == [None, None]

    def test_an_end_of_the_key_is_the_end_of_the_overlap(self, user: User) -> None:
        key, old = keys.create_api_key(user, "a")
        keys.rotate_api_key(user, key.pk, HOUR)
        ApiKey.objects.update(expires_at=timezone.now())
        assert keys.user_for_key(old) is None


@pytest.mark.django_db(transaction=True)
class TestRaces:
    def together(self, *calls: Callable[[], Any]) -> list[Any]:
        """The calls at the same moment, each with a connection of its own; an exception is a result."""
        start = threading.Barrier(len(calls))

        def run(call: Callable[[], Any]) -> Any:
            start.wait(30)
            try:
                return call()
            except KeyRotating as error:
                return error
            finally:
                connection.close()

        with ThreadPoolExecutor(len(calls)) as pool:
            return list(pool.map(run, calls))

    def test_of_two_rotations_one_is_refused_and_no_secret_is_lost(self, user: User) -> None:
        key, old = keys.create_api_key(user, "a")
        results = self.together(*[lambda: keys.rotate_api_key(user, key.pk, HOUR)[1]] * 4)
        secrets = [one for one in results if isinstance(one, str)]
        assert len(secrets) == 1
        assert keys.user_for_key(old) == keys.user_for_key(secrets[0]) == user

    def test_of_two_that_end_the_old_one_at_once_the_later_stands(self, user: User) -> None:
        key, old = keys.create_api_key(user, "a")
        secrets = self.together(*[lambda: keys.rotate_api_key(user, key.pk, timedelta(0))[1]] * 4)
        assert sorted(keys.user_for_key(secret) is not None for secret in secrets) == [False, False, False, True]
        assert keys.user_for_key(old) is None
        assert ApiKey.objects.get(pk=key.pk).version == 5

    def test_no_rotation_revives_a_key_that_is_being_revoked(self, user: User) -> None:
        for _ in range(5):
            key, old = keys.create_api_key(user, "a")

            def rotate(key: ApiKey = key) -> str | None:
                try:
                    return keys.rotate_api_key(user, key.pk, HOUR)[1]
                except KeyEnded:
                    return None

            new, _ = self.together(rotate, functools.partial(keys.revoke_api_key, key))
            assert keys.user_for_key(old) is None
            assert new is None or keys.user_for_key(new) is None


class TestUse:
    def test_last_use_says_when_and_from_where(self, api: Api, user: User) -> None:
        api.client.get("/api/knowledge-packs", REMOTE_ADDR="192.0.2.7")
        body = api.get(KEYS).json()["results"][0]
        assert body["last_used_ip"] == "192.0.2.7"
        assert body["last_used_at"] is not None

    def test_a_busy_key_costs_one_query(self, user: User, django_assert_num_queries: DjangoAssertNumQueries) -> None:
        secret = keys.create_api_key(user, "a")[1]
        keys.live_key(secret, "192.0.2.7")
        with django_assert_num_queries(1):
            key = keys.live_key(secret, "192.0.2.8")
            assert key is not None
            assert (key.user.email, key.granted) == (user.email, frozenset(ALL))

    def test_a_request_of_a_key_costs_one_query_more_than_its_own(
        self, api: Api, django_assert_num_queries: DjangoAssertNumQueries
    ) -> None:
        api.get("/api/council-sessions/export-schema")
        with django_assert_num_queries(1):
            assert api.get("/api/council-sessions/export-schema").status_code == 200
