"""allauth's routes for the SPA and for apps, with our counters, our sessions and our settings behind them."""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import Any

import pytest
from allauth.account.models import EmailAddress
from allauth.mfa.models import Authenticator
from allauth.mfa.totp.internal.auth import TOTP, format_hotp_value, hotp_value
from django.core import mail
from django.test import Client
from django.urls import reverse
from pytest_django import Settings

from accounts import challenges
from accounts.models import LoginSession, SignIn, User
from accounts.models_audit import AuditEntry
from tests.accounts.test_sign_in_guard import OPEN, rates, solve
from tests.support.access import routes

APP, WEB = "/_allauth/app/v1", "/_allauth/browser/v1"
PASSWORD, NEW = "correct horse battery", "purple monkey dishwasher"
SECRET = "JBSWY3DPEHPK3PXP"

# What a stranger who asks for it is told. Whatever is not here leads to sign in, or is 401.
STRANGERS = {
    200: {
        "account_signup", "account_reset_password", "account_reset_password_done", "account_reset_password_from_key_done",
        "account_email_verification_sent", "account_inactive", "account_reset_password_from_key",
        "account_confirm_email", "socialaccount_login_cancelled", "config", "login_webauthn",
    },
    400: {"reset_password", "verify_email"},
    404: {"openid_connect_login", "openid_connect_callback"},  # none is configured
    405: {
        "login", "signup", "request_password_reset", "resend_email_verification_code", "redirect_to_provider",
        "provider_token", "refresh",
    },
    409: {"confirm_login_code", "provider_signup"},
}  # fmt: skip


@pytest.fixture(autouse=True)
def in_memory_mail(settings: Settings, tmp_path: Path) -> None:
    settings.ACCOUNT_RATE_LIMITS = False  # allauth's own, which count in the cache that all tests share


def post(client: Client, path: str, body: Any, token: str = "", **headers: str) -> Any:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    if token:
        named["X-Session-Token"] = token
    return client.post(path, body, content_type="application/json", headers=named)


def app_token(email: str = "ada@example.org", password: str = PASSWORD) -> str:
    answer = post(Client(), f"{APP}/auth/login", {"email": email, "password": password})
    assert answer.status_code == 200, answer.content
    return str(answer.json()["meta"]["session_token"])


def with_totp(user: User) -> None:
    TOTP.activate(user, SECRET)


def code() -> str:
    return str(format_hotp_value(hotp_value(SECRET, int(time.time()) // 30)))


@pytest.mark.django_db
def test_every_route_is_known_and_tells_strangers_nothing() -> None:
    values = {"pk": 1, "key": "k", "uidb36": "1", "provider_id": "oidc"}
    wrong = []
    for route in (one for one in routes() if one.pattern.callback.__module__.startswith("allauth.")):
        if "phone" in route.name or route.name in ("account_login", "account_logout"):
            continue  # ours stand before them
        short = route.name.rpartition(":")[2]
        expected = next((status for status, names in STRANGERS.items() if short in names), None)
        answer = Client().get(reverse(route.name, kwargs={key: values[key] for key in route.keys}))
        away = answer.status_code == 401 or "/accounts/login" in answer.headers.get("Location", "")
        if not (answer.status_code == expected or (expected is None and away)):
            wrong.append((route.name, answer.status_code, answer.headers.get("Location")))
    assert wrong == []


class TestApps:
    def test_a_token_opens_the_api_and_a_ticket(self, user: User) -> None:
        client = Client(headers={"X-Session-Token": app_token(), "User-Agent": "QuorumMobile/1.0"})
        assert client.get("/api/me").json()["email"] == user.email
        (login,) = client.get("/api/me/sessions").json()["results"]
        assert login["current"] is True
        assert client.post("/api/tickets").status_code == 201

    def test_signing_out_ends_the_token(self, user: User) -> None:
        token = app_token()
        assert Client().delete(f"{APP}/auth/session", headers={"X-Session-Token": token}).status_code == 401
        assert Client(headers={"X-Session-Token": token}).get("/api/me").status_code == 401
        assert not LoginSession.objects.exists()

    def test_a_wrong_token_is_refused_also_beside_a_good_cookie(self, client: Client, user: User) -> None:
        client.force_login(user, backend="django.contrib.auth.backends.ModelBackend")
        assert client.get("/api/me", headers={"X-Session-Token": "x" * 32}).status_code == 401

    def test_another_password_ends_the_other_logins(self, user: User) -> None:
        here, there = app_token(), app_token()
        body = {"current_password": PASSWORD, "new_password": NEW}
        answer = post(Client(), f"{APP}/account/password/change", body, token=here)
        assert answer.status_code == 200
        kept = answer.json()["meta"].get("session_token", here)
        opened = [Client(headers={"X-Session-Token": token}).get("/api/me").status_code for token in (kept, there)]
        assert opened == [200, 401]
        assert LoginSession.objects.count() == 1

    def test_another_address_is_audited_without_saying_which(self, user: User) -> None:
        token = app_token()
        answer = post(Client(), f"{APP}/account/email", {"email": "new@example.org"}, token)
        assert answer.status_code == 200, answer.content
        added = EmailAddress.objects.get(email="new@example.org")
        EmailAddress.objects.filter(pk=added.pk).update(verified=True)
        headers = {"X-Session-Token": token}
        body = {"email": added.email, "primary": True}
        changed = Client(headers=headers).patch(f"{APP}/account/email", body, content_type="application/json")
        assert changed.status_code == 200, changed.content
        entries = AuditEntry.objects.filter(action="user.changed")
        assert [entry.details for entry in entries] == [{"fields": ["email"]}] * 2
        assert {entry.actor_id for entry in entries} == {user.pk}

    def test_attempts_leave_a_trace(self, user: User) -> None:
        post(Client(), f"{APP}/auth/login", {"email": user.email, "password": "wrong"})
        app_token()
        assert list(SignIn.objects.order_by("id").values_list("succeeded", flat=True)) == [False, True]


class TestCounting:
    @pytest.fixture(autouse=True)
    def limited(self, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Settings:
        monkeypatch.setattr(challenges, "BITS", 6)
        settings.RATELIMIT_ENABLE = True
        settings.RATE_LIMITS = OPEN
        settings.RATELIMIT_CACHE_PREFIX = f"test-{time.monotonic_ns()}:"
        return settings

    @pytest.mark.parametrize("base", [APP, WEB])
    def test_attempts_are_counted_with_those_at_the_page(self, settings: Settings, user: User, base: str) -> None:
        rates(settings, login="2/d")
        for _ in range(2):
            Client().post("/accounts/login", {"username": user.email, "password": "wrong"})
        refused = post(Client(), f"{base}/auth/login", {"email": user.email, "password": PASSWORD})
        assert (refused.status_code, refused.json()["code"]) == (429, "rate_limited")
        assert int(refused.headers["Retry-After"]) > 0

    def test_a_challenge_is_answered_in_a_header(self, settings: Settings, user: User) -> None:
        rates(settings, login_account="1/d")
        body = {"email": user.email, "password": PASSWORD}
        post(Client(), f"{APP}/auth/login", {**body, "password": "wrong"})
        refused = post(Client(), f"{APP}/auth/login", body)
        assert (refused.status_code, refused.json()["code"]) == (429, "challenge_required")
        proof = solve(refused.json()["challenge"])
        assert post(Client(), f"{APP}/auth/login", body, X_Login_Proof=proof).status_code == 200

    def test_without_a_counter_the_door_stays_shut(self, settings: Settings, user: User) -> None:
        rates(settings, login="2/d")
        nobody = {"LOCATION": "redis://127.0.0.1:1/0"}
        settings.CACHES = {name: {**cache, **nobody} for name, cache in settings.CACHES.items()}
        refused = post(Client(), f"{APP}/auth/login", {"email": user.email, "password": PASSWORD})
        assert (refused.status_code, refused.json()["code"]) == (503, "limiter_unavailable")


class TestSecondFactor:
    def test_an_app_is_in_only_after_the_code(self, user: User) -> None:
        with_totp(user)
        first = post(Client(), f"{APP}/auth/login", {"email": user.email, "password": PASSWORD})
        token = first.json()["meta"]["session_token"]
        assert first.status_code == 401
        assert Client(headers={"X-Session-Token": token}).get("/api/me").status_code == 401
        assert post(Client(), f"{APP}/auth/2fa/authenticate", {"code": "000000"}, token=token).status_code == 400
        second = post(Client(), f"{APP}/auth/2fa/authenticate", {"code": code()}, token=token)
        token = second.json()["meta"].get("session_token", token)
        assert Client(headers={"X-Session-Token": token}).get("/api/me").json()["mfa"] is True

    @pytest.mark.parametrize("door", ["/accounts/login", "/admin/login/"])
    def test_no_page_lets_in_by_password_alone(self, client: Client, user: User, door: str) -> None:
        User.objects.update(is_staff=True, is_superuser=True)
        with_totp(user)
        answer = client.post(door, {"username": user.email, "password": PASSWORD})
        assert answer.headers["Location"].startswith("/accounts/2fa/authenticate/")
        assert client.get("/api/me").status_code == 401
        done = client.post("/accounts/2fa/authenticate/", {"code": code()})
        assert done.headers["Location"] == ("/admin/" if "admin" in door else "/")
        assert client.get("/admin/").status_code == 200

    def test_the_admin_demands_it_of_a_login_that_is_older(self, client: Client, user: User) -> None:
        User.objects.update(is_staff=True, is_superuser=True)
        client.force_login(User.objects.get(), backend="django.contrib.auth.backends.ModelBackend")
        assert client.get("/admin/").status_code == 200
        with_totp(user)
        asked = client.get("/admin/accounts/user/", follow=True)
        assert asked.redirect_chain[-1][0].startswith("/accounts/2fa/reauthenticate/")
        client.post(asked.redirect_chain[-1][0], {"code": code()})
        assert client.get("/admin/accounts/user/").status_code == 200

    def test_the_admin_may_require_one_of_everybody(self, client: Client, user: User, settings: Settings) -> None:
        settings.ADMIN_REQUIRES_MFA = True
        User.objects.update(is_staff=True, is_superuser=True)
        client.force_login(User.objects.get(), backend="django.contrib.auth.backends.ModelBackend")
        assert client.get("/admin/", follow=True).redirect_chain[-1][0] == "/accounts/2fa/"

    def test_its_secret_is_sealed(self, user: User) -> None:
        with_totp(user)
        assert SECRET not in str(Authenticator.objects.get().data)

    def test_passkeys_are_offered(self, db: None) -> None:
        config = Client().get(f"{WEB}/config").json()["data"]
        assert {"totp", "webauthn", "recovery_codes"} == set(config["mfa"]["supported_types"])
        options = Client().get(f"{WEB}/auth/webauthn/login").json()["data"]["request_options"]
        assert options["publicKey"]["challenge"]


class TestSigningUp:
    BODY = {"email": "eve@example.org", "password": PASSWORD}

    def test_it_is_closed_unless_it_is_opened(self, db: None) -> None:
        assert post(Client(), f"{APP}/auth/signup", self.BODY).status_code == 403
        assert not User.objects.exists()

    def test_with_mail_the_address_is_verified_first(self, db: None, settings: Settings) -> None:
        settings.SIGNUP_OPEN, settings.ACCOUNT_EMAIL_VERIFICATION = True, "mandatory"
        first = post(Client(), f"{APP}/auth/signup", self.BODY)
        assert first.status_code == 401
        token = first.json()["meta"]["session_token"]
        assert Client(headers={"X-Session-Token": token}).get("/api/me").status_code == 401
        (letter,) = mail.outbox
        found = re.search(r"/accounts/confirm-email/([^/\s]+)/", str(letter.body))
        assert found is not None
        assert post(Client(), f"{APP}/auth/email/verify", {"key": found[1]}).status_code in (200, 401)
        assert app_token("eve@example.org")

    def test_accounts_from_staff_need_no_verification(self, user: User, settings: Settings) -> None:
        settings.ACCOUNT_EMAIL_VERIFICATION = "mandatory"
        assert app_token()
        assert EmailAddress.objects.get(user=user).verified

    def test_a_weak_password_is_refused(self, db: None, settings: Settings) -> None:
        settings.SIGNUP_OPEN = True
        assert post(Client(), f"{APP}/auth/signup", {**self.BODY, "password": "short"}).status_code == 400


class TestReset:
    def test_a_letter_leads_to_a_new_password_and_ends_every_login(self, user: User) -> None:
        old = app_token()
        assert post(Client(), f"{APP}/auth/password/request", {"email": user.email}).status_code == 200
        found = re.search(r"/accounts/password/reset/key/([^/\s]+)/", str(mail.outbox[0].body))
        assert found is not None
        answer = post(Client(), f"{APP}/auth/password/reset", {"key": found[1], "password": NEW})
        assert answer.status_code in (200, 401)
        assert Client(headers={"X-Session-Token": old}).get("/api/me").status_code == 401
        assert app_token(password=NEW)

    def test_strangers_learn_nothing_and_get_no_letter(self, user: User) -> None:
        answers = [
            post(Client(), f"{APP}/auth/password/request", {"email": email}) for email in (user.email, "x@y.org")
        ]
        assert answers[0].content == answers[1].content
        assert [letter.to for letter in mail.outbox] == [[user.email]]
