"""Login sessions: both time-outs, the list of them, and their end; with their sockets in tests/realtime/test_losing_access.py."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.conf import LazySettings
from django.contrib.sessions.backends.base import UpdateError
from django.db.models import F
from django.test import Client
from django.utils import timezone

from accounts import logins
from accounts.models import LoginSession, User
from accounts.models_audit import AuditEntry
from accounts.session_store import SessionStore
from tests.accounts.conftest import csrf, program_of

ME, SESSIONS = "/api/me", "/api/me/sessions"
FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"
DOORS = ["/api/me", "/accounts/keys", "/admin/"]


def browser_of(user: User, **options: Any) -> Client:
    client = Client(**options)
    client.force_login(user, backend="django.contrib.auth.backends.ModelBackend")
    return client


def login_of(client: Client) -> LoginSession:
    return LoginSession.objects.get(digest=LoginSession.hash(client.session.session_key or ""))


def app_of(client: Client) -> Client:
    """The same login, by its token."""
    return Client(headers={"X-Session-Token": client.session.session_key or ""})


def back_in_time(**by: timedelta) -> None:
    LoginSession.objects.update(**{column: F(column) - delta for column, delta in by.items()})


def is_let_in(client: Client, path: str) -> bool:
    return client.get(path).status_code == 200


@pytest.fixture
def staff(user: User) -> User:
    User.objects.update(is_staff=True, is_superuser=True)
    user.refresh_from_db()
    return user


class TestTimeOuts:
    @pytest.mark.parametrize("door", DOORS)
    def test_an_idle_login_ends_at_every_door(self, staff: User, door: str) -> None:
        client = browser_of(staff)
        back_in_time(last_seen_at=timedelta(minutes=29))
        assert is_let_in(client, door)
        back_in_time(last_seen_at=timedelta(minutes=31))
        assert not is_let_in(client, door)

    @pytest.mark.parametrize("door", DOORS)
    def test_a_busy_login_ends_after_twelve_hours(self, staff: User, door: str) -> None:
        client = browser_of(staff)
        back_in_time(created_at=timedelta(hours=11, minutes=59))
        assert is_let_in(client, door)
        back_in_time(created_at=timedelta(minutes=2))
        assert not is_let_in(client, door)

    def test_a_token_ends_like_a_cookie(self, user: User) -> None:
        app = app_of(browser_of(user))
        assert is_let_in(app, ME)
        back_in_time(last_seen_at=timedelta(minutes=31))
        assert app.get(ME).status_code == 401

    def test_requests_keep_a_login_awake_and_looking_at_it_does_not(self, user: User) -> None:
        client = browser_of(user)
        back_in_time(last_seen_at=timedelta(minutes=20))
        before = login_of(client).last_seen_at
        assert SessionStore(client.session.session_key).load() != {}
        assert login_of(client).last_seen_at == before
        client.get(ME)
        assert login_of(client).last_seen_at > timezone.now() - timedelta(minutes=1)

    def test_a_busy_page_writes_once_a_minute(self, user: User) -> None:
        client = browser_of(user)
        client.get(ME)
        before = login_of(client).last_seen_at
        client.get(ME)
        assert login_of(client).last_seen_at == before

    def test_shorter_time_outs_hold_for_those_who_are_in(self, user: User, settings: LazySettings) -> None:
        client = browser_of(user)
        back_in_time(last_seen_at=timedelta(minutes=6), created_at=timedelta(minutes=6))
        settings.SESSION_IDLE_MINUTES = 5
        assert client.get(ME).status_code == 401


class TestStore:
    def test_the_table_does_not_hold_what_signs_in(self, user: User) -> None:
        key = browser_of(user).session.session_key or ""
        row = LoginSession.objects.values().get()
        assert key not in str(row)
        assert key.encode() not in bytes(row["digest"])

    def test_what_strangers_leave_in_theirs_is_kept(self, db: None) -> None:
        session = SessionStore()
        session["something"] = 1
        session.save()
        assert SessionStore(session.session_key)["something"] == 1

    def test_an_ended_session_is_not_written_back(self, user: User) -> None:
        client = browser_of(user)
        session = SessionStore(client.session.session_key)
        session["something"] = 1
        logins.end(user, login_of(client).pk)
        with pytest.raises(UpdateError):
            session.save()
        assert not LoginSession.objects.exists()

    def test_signing_in_takes_a_new_key(self, client: Client, user: User) -> None:
        session = client.session
        session["planted"] = 1
        session.save()
        planted = session.session_key
        client.cookies["quorum_session"] = planted or ""
        client.post("/accounts/login", {"username": user.email, "password": "correct horse battery"})
        assert client.session.session_key != planted
        assert not SessionStore(planted).load()


class TestList:
    def test_it_says_where_and_since_when(self, user: User) -> None:
        client = browser_of(user, headers={"User-Agent": FIREFOX}, REMOTE_ADDR="192.0.2.7")
        back_in_time(created_at=timedelta(hours=2), last_seen_at=timedelta(minutes=5))
        (login,) = client.get(SESSIONS).json()["results"]
        assert (login["device"], login["address"], login["current"]) == ("Firefox on Linux", "192.0.2.7", True)
        assert login["since"] < login["last_seen"] < login["ends_at"]
        assert set(login) == {"id", "device", "user_agent", "address", "since", "last_seen", "ends_at", "current"}

    def test_only_ones_own_that_have_not_run_out(self, user: User, other_user: User) -> None:
        browser_of(user)
        back_in_time(last_seen_at=timedelta(hours=1))
        browser_of(other_user)
        client = browser_of(user)
        listed = client.get(SESSIONS).json()["results"]
        assert [login["id"] for login in listed] == [str(login_of(client).pk)]

    @pytest.mark.parametrize(("agent", "device"), [
        (FIREFOX, "Firefox on Linux"),
        ("Mozilla/5.0 (iPhone; CPU iPhone OS 19_0 like Mac OS X) AppleWebKit/605 Version/19.0 Safari/604.1", "Safari on iPhone"),
        ("Mozilla/5.0 (Windows NT 10.0; Win64) AppleWebKit/537.36 Chrome/140.0 Safari/537.36 Edg/140.0", "Edge on Windows"),
        ("QuorumMobile/3.2", "QuorumMobile"),
        ("", "Unknown device"),
    ])  # fmt: skip
    def test_devices_in_words(self, agent: str, device: str) -> None:
        assert logins.device(agent) == device


class TestEnding:
    def test_one_login_ends_and_the_others_go_on(self, user: User) -> None:
        here, there = browser_of(user), browser_of(user)
        assert here.delete(f"{SESSIONS}/{login_of(there).pk}").status_code == 204
        assert (is_let_in(here, ME), is_let_in(there, ME)) == (True, False)

    def test_all_others_end(self, user: User, other_user: User) -> None:
        here, there, elsewhere = browser_of(user), browser_of(user), browser_of(other_user)
        assert here.delete(SESSIONS).json() == {"ended": 1}
        assert [is_let_in(client, ME) for client in (here, there, elsewhere)] == [True, False, True]
        entry = AuditEntry.objects.get(action="user.logins_ended")
        assert (entry.object_id, entry.actor_id, entry.details) == (str(user.pk), user.pk, {"count": 1})

    def test_by_token_the_login_of_the_token_is_the_current_one(self, user: User) -> None:
        client, other = browser_of(user), browser_of(user)
        assert app_of(client).delete(SESSIONS).json() == {"ended": 1}
        assert (is_let_in(client, ME), is_let_in(other, ME)) == (True, False)

    def test_another_users_and_unknown_ones_are_404(self, user: User, other_user: User) -> None:
        theirs = browser_of(other_user)
        client = browser_of(user)
        for pk in (login_of(theirs).pk, uuid4()):
            assert client.delete(f"{SESSIONS}/{pk}").status_code == 404
        assert is_let_in(theirs, ME)

    def test_ending_needs_the_csrf_token_of_a_cookie(self, user: User) -> None:
        client, there = browser_of(user, enforce_csrf_checks=True), browser_of(user)
        path = f"{SESSIONS}/{login_of(there).pk}"
        assert client.delete(path).status_code == 403
        assert client.delete(path, headers=csrf(client)).status_code == 204

    @pytest.mark.parametrize(
        ("method", "path"), [("get", SESSIONS), ("delete", SESSIONS), ("delete", f"{SESSIONS}/{UUID(int=7)}")]
    )
    def test_neither_strangers_nor_keys(self, user: User, method: str, path: str) -> None:
        there = browser_of(user)
        answers = [getattr(client, method)(path) for client in (Client(), program_of(user))]
        assert [one.json()["code"] for one in answers] == ["not_authenticated", "session_required"]
        assert is_let_in(there, ME)


class TestPasswords:
    def test_a_changed_password_ends_every_login(self, user: User) -> None:
        client = browser_of(user)
        user.set_password("another battery staple")
        user.save()
        assert not is_let_in(client, ME)
        assert not LoginSession.objects.exists()

    def test_an_upgraded_hash_ends_none(self, user: User, settings: LazySettings) -> None:
        client = browser_of(user)
        settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.PBKDF2PasswordHasher", *settings.PASSWORD_HASHERS]
        before = user.password
        assert user.check_password("correct horse battery")
        assert User.objects.get().password != before
        assert LoginSession.objects.count() == 1
        assert client.session.session_key


class TestProfile:
    def test_who_one_is(self, user: User) -> None:
        known = browser_of(user).get(ME).json()
        assert known == {
            "id": str(user.pk),
            "email": user.email,
            "name": "Ada",
            "is_staff": False,
            "mfa": False,
            "scopes": None,
        }

    def test_a_name_is_changed_and_nothing_else(self, user: User, program: Client) -> None:
        assert program.patch(ME, {"name": " Ada L. "}, content_type="application/json").json()["name"] == "Ada L."
        for body in (
            {"is_staff": True},
            {"email": "root@example.org"},
            {"name": "x" * 121},
            {"name": "a\x00"},
            {"name": None},
        ):
            assert program.patch(ME, body, content_type="application/json").status_code == 400
        user.refresh_from_db()
        assert (user.name, user.email, user.is_staff) == ("Ada L.", "ada@example.org", False)
