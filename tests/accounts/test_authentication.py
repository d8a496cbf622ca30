from __future__ import annotations

import pytest
from django.test import Client

from accounts.models import User
from accounts.services import create_api_key, revoke_api_key
from tests.accounts.conftest import csrf, program_of

pytestmark = pytest.mark.urls("tests.accounts.probe")
THINGS = "/api/probe/things"


def test_no_credentials_is_401_with_a_challenge(db: None) -> None:
    answer = Client().get(THINGS)
    assert answer.status_code == 401
    assert answer.headers["WWW-Authenticate"] == "Bearer"
    assert answer.json()["code"] == "not_authenticated"


@pytest.mark.parametrize("path", [THINGS, THINGS + "/"])
def test_a_key_opens_both_spellings_of_a_path(program: Client, path: str) -> None:
    assert program.get(path).status_code == 200


@pytest.mark.parametrize("value", ["Bearer", "Bearer ", "Bearer qk_wrong", "bearer nonsense", "Bearer qk_a qk_b"])
def test_a_bad_bearer_is_401(user: User, value: str) -> None:
    answer = Client(headers={"Authorization": value}).get(THINGS)
    assert (answer.status_code, answer.json()["code"]) == (401, "authentication_failed")
    assert answer.headers["WWW-Authenticate"] == "Bearer"


def test_a_bad_bearer_is_refused_beside_a_good_cookie(browser: Client) -> None:
    assert browser.get(THINGS).status_code == 200
    assert browser.get(THINGS, headers={"Authorization": "Bearer qk_wrong"}).status_code == 401


def test_another_scheme_is_ignored(browser: Client) -> None:
    assert browser.get(THINGS, headers={"Authorization": "Basic YTpi"}).status_code == 200


def test_a_revoked_key_is_refused_at_once(user: User) -> None:
    key, plaintext = create_api_key(user, "a")
    client = Client(headers={"Authorization": f"bearer {plaintext}"})
    assert client.get(THINGS).status_code == 200
    revoke_api_key(key)
    assert client.get(THINGS).status_code == 401


def test_a_browser_needs_the_csrf_token_to_write(browser: Client, user: User) -> None:
    body = {"name": "x"}
    refused = browser.post(THINGS, body, content_type="application/json")
    assert (refused.status_code, refused.json()["code"]) == (403, "permission_denied")
    assert not user.api_keys.exists()
    assert browser.post(THINGS, body, content_type="application/json", headers=csrf(browser)).status_code == 201


def test_a_program_needs_no_csrf_token(user: User) -> None:
    client = program_of(user)
    client.handler.enforce_csrf_checks = True
    assert client.post(THINGS, {"name": "x"}, content_type="application/json").status_code == 201
