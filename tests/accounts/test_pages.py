from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.test import Client

from accounts.models import ApiKey, SignIn, User
from accounts.services import create_api_key, user_for_key

LOGIN, KEYS = "/accounts/login", "/accounts/keys"
PASSWORD = "correct horse battery"


def sign_in(client: Client, email: str = "ada@example.org", password: str = PASSWORD, **extra: str) -> int:
    return client.post(LOGIN, {"username": email, "password": password, **extra}).status_code


@pytest.fixture
def page(user: User) -> Client:
    client = Client()
    client.force_login(user, backend="django.contrib.auth.backends.ModelBackend")
    return client


class TestSigningIn:
    @pytest.mark.parametrize("path", [LOGIN, LOGIN + "/"])
    def test_the_page_has_a_labelled_form(self, client: Client, db: None, path: str) -> None:
        page = client.get(path).content.decode()
        assert re.search(r'<label for="id_username">\s*Email', page)
        assert 'type="email"' in page

    def test_email_and_password_open_the_door_whatever_the_case(self, client: Client, user: User) -> None:
        assert sign_in(client, "ADA@Example.org") == 302
        assert client.session["_auth_user_id"] == str(user.pk)

    @pytest.mark.parametrize(("email", "password"), [("ada@example.org", "wrong"), ("nobody@example.org", PASSWORD)])
    def test_a_wrong_pair_is_refused_without_saying_which(
        self, client: Client, user: User, email: str, password: str
    ) -> None:
        answer = client.post(LOGIN, {"username": email, "password": password})
        assert b"do not match an active account" in answer.content
        assert "_auth_user_id" not in client.session

    def test_an_inactive_user_is_refused_alike(self, client: Client, user: User) -> None:
        User.objects.update(is_active=False)
        answer = client.post(LOGIN, {"username": "ada@example.org", "password": PASSWORD})
        assert b"do not match an active account" in answer.content

    def test_the_form_needs_its_csrf_token(self, user: User) -> None:
        assert sign_in(Client(enforce_csrf_checks=True)) == 403

    def test_next_leads_only_within_this_site(self, client: Client, user: User) -> None:
        answer = client.post(LOGIN, {"username": "ada@example.org", "password": PASSWORD, "next": "//evil.example/"})
        assert answer.headers["Location"] == "/"
        other = Client().post(LOGIN, {"username": "ada@example.org", "password": PASSWORD, "next": KEYS})
        assert other.headers["Location"] == KEYS

    def test_every_attempt_on_an_account_leaves_a_trace(self, client: Client, user: User) -> None:
        sign_in(client, password="wrong")
        sign_in(client)
        sign_in(client, "nobody@example.org")
        assert list(SignIn.objects.order_by("id").values_list("user", "succeeded", "ip")) == [
            (user.pk, False, "127.0.0.1"),
            (user.pk, True, "127.0.0.1"),
        ]

    def test_signing_out_is_a_post_and_ends_the_session(self, page: Client) -> None:
        assert page.get("/accounts/logout").status_code == 405
        page.post("/accounts/logout")
        assert page.get(KEYS).status_code == 302


class TestKeys:
    def test_strangers_are_sent_to_sign_in(self, client: Client, db: None) -> None:
        assert client.get(KEYS).headers["Location"] == f"{LOGIN}?next={KEYS}"

    def test_a_new_key_is_shown_once_and_works(self, page: Client, user: User) -> None:
        answer = page.post(KEYS, {"name": "cron", "scopes": ["packs:read"], "expires_on": ""})
        found = re.search(r'value="(qk_[^"]+)"', answer.content.decode())
        assert found is not None
        assert user_for_key(found[1]) == user
        assert "no-store" in answer.headers["Cache-Control"]
        again = page.get(KEYS).content.decode()
        assert found[1] not in again
        assert "cron" in again

    def test_a_key_works_to_the_end_of_its_last_day(self, page: Client, user: User) -> None:
        today = datetime.now(UTC).date()
        page.post(KEYS, {"name": "a", "scopes": ["admin"], "expires_on": today.isoformat()})
        expires = user.api_keys.get().expires_at
        assert expires == datetime(today.year, today.month, today.day, tzinfo=UTC) + timedelta(days=1)

    @pytest.mark.parametrize(
        "form",
        [
            {"name": ""},
            {"name": "x" * 81},
            {"name": "a", "expires_on": "2020-01-01"},
            {"name": "a", "expires_on": "9999-12-31"},
            {"name": "a", "expires_on": "soon"},
            {"name": "a\x00"},
            {"scopes": []},
            {"scopes": ["packs:read", "everything"]},
        ],
    )
    def test_a_bad_form_makes_nothing(self, page: Client, form: dict[str, Any]) -> None:
        assert page.post(KEYS, {"name": "a", "scopes": ["packs:read"], **form}).status_code == 400
        assert not ApiKey.objects.exists()

    def test_revoking_ends_the_key(self, page: Client, user: User) -> None:
        key, plaintext = create_api_key(user, "a")
        assert page.post(f"{KEYS}/{key.pk}/revoke").status_code == 302
        assert user_for_key(plaintext) is None
        assert b"revoked" in page.get(KEYS).content

    def test_the_page_asks_for_scopes_and_says_them(self, page: Client, user: User) -> None:
        page.post(KEYS, {"name": "reader", "scopes": ["packs:read", "councils:read"]})
        assert user.api_keys.get().scopes == ["packs:read", "councils:read"]
        assert b"<code>packs:read</code>" in page.get(KEYS).content

    def test_rotating_shows_a_new_key_once_and_the_old_one_goes_on(self, page: Client, user: User) -> None:
        key, old = create_api_key(user, "a")
        answer = page.post(f"{KEYS}/{key.pk}/rotate", {"overlap": "3600"})
        found = re.search(r'value="(qk_[^"]+)"', answer.content.decode())
        assert found is not None
        assert "no-store" in answer.headers["Cache-Control"]
        assert user_for_key(found[1]) == user_for_key(old) == user
        assert found[1] not in page.get(KEYS).content.decode()

    @pytest.mark.parametrize("overlap", ["", "-1", "604801", "soon"])
    def test_a_bad_overlap_rotates_nothing(self, page: Client, user: User, overlap: str) -> None:
        key, _ = create_api_key(user, "a")
        assert page.post(f"{KEYS}/{key.pk}/rotate", {"overlap": overlap}).status_code == 302
        assert user.api_keys.get().rotated_at is None

    def test_what_cannot_be_rotated_is_said(self, page: Client, user: User) -> None:
        key, _ = create_api_key(user, "a")
        page.post(f"{KEYS}/{key.pk}/rotate", {"overlap": "3600"})
        answer = page.post(f"{KEYS}/{key.pk}/rotate", {"overlap": "3600"}, follow=True)
        assert b"works until" in answer.content

    def test_another_users_key_is_404_and_goes_on_working(self, page: Client, other_user: User) -> None:
        key, plaintext = create_api_key(other_user, "theirs")
        assert page.post(f"{KEYS}/{key.pk}/revoke").status_code == 404
        assert page.post(f"{KEYS}/{key.pk}/rotate", {"overlap": "0"}).status_code == 404
        assert user_for_key(plaintext) == other_user
        assert b"theirs" not in page.get(KEYS).content

    def test_the_page_carries_no_inline_script_or_style(self, page: Client, user: User) -> None:
        create_api_key(user, "<script>alert(1)</script>")
        answer = page.get(KEYS)
        html = answer.content.decode()
        assert "'unsafe-inline'" not in answer.headers["Content-Security-Policy"]
        assert not re.search(r"<style|\sstyle=|\son\w+=|<script(?![^>]*\ssrc=)", html)


def test_sign_up_is_closed_unless_it_is_opened(client: Client, settings: object) -> None:
    from allauth.account.adapter import get_adapter
    from django.test import RequestFactory

    request = RequestFactory().get("/")
    assert get_adapter().is_open_for_signup(request) is False
    settings.SIGNUP_OPEN = True  # type: ignore[attr-defined]  # the fixture takes any setting
    assert get_adapter().is_open_for_signup(request) is True
