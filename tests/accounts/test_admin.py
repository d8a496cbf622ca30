from __future__ import annotations

import re

import pytest
from django.test import Client

from accounts.models import ApiKey, User
from accounts.services import create_api_key, user_for_key


@pytest.fixture
def staff(db: None) -> Client:
    client = Client()
    chief = User.objects.create_superuser("chief@example.org", "a-long-password")
    client.force_login(chief, backend="django.contrib.auth.backends.ModelBackend")
    return client


NEW_USER = {"email": "New@Example.org", "name": "New", "usable_password": "true"}
PASSWORDS = {"password1": "correct-horse-battery", "password2": "correct-horse-battery"}


@pytest.mark.parametrize("model", ["user", "apikey", "signin"])
def test_lists_open(staff: Client, user: User, model: str) -> None:
    create_api_key(user, "a")
    assert staff.get(f"/admin/accounts/{model}/").status_code == 200


def test_a_user_is_added_with_a_lower_case_address(staff: Client) -> None:
    assert staff.post("/admin/accounts/user/add/", {**NEW_USER, **PASSWORDS}).status_code == 302
    assert User.objects.get(email="new@example.org").check_password(PASSWORDS["password1"])


def test_a_twin_in_capitals_is_refused(staff: Client, user: User) -> None:
    answer = staff.post("/admin/accounts/user/add/", {**NEW_USER, **PASSWORDS, "email": "ADA@example.org"})
    assert b"already exists" in answer.content


def test_a_user_is_shown_and_changed(staff: Client, user: User) -> None:
    url = f"/admin/accounts/user/{user.pk}/change/"
    assert staff.get(url).status_code == 200
    assert staff.post(url, {"email": user.email, "name": "Countess", "is_active": "on"}).status_code == 302
    user.refresh_from_db()
    assert user.name == "Countess"


def test_a_key_made_here_is_shown_once_and_works(staff: Client, user: User) -> None:
    form = {"user": str(user.pk), "name": "cron", "scopes": ["packs:read"], "expires_at_0": "", "expires_at_1": ""}
    answer = staff.post("/admin/accounts/apikey/add/", form, follow=True)
    found = re.search(r"qk_\w{49}", answer.content.decode())
    assert found is not None
    assert user_for_key(found[0]) == user
    assert user.api_keys.get().scopes == ["packs:read"]
    assert found[0] not in staff.get("/admin/accounts/apikey/").content.decode()


def test_a_key_that_expired_already_is_refused_by_the_form(staff: Client, user: User) -> None:
    form = {
        "user": str(user.pk),
        "name": "cron",
        "scopes": ["admin"],
        "expires_at_0": "2020-01-01",
        "expires_at_1": "00:00:00",
    }
    answer = staff.post("/admin/accounts/apikey/add/", form)
    assert b"must expire in the future" in answer.content
    assert not ApiKey.objects.exists()


def test_a_key_is_seen_but_not_edited(staff: Client, user: User) -> None:
    key, _ = create_api_key(user, "a")
    url = f"/admin/accounts/apikey/{key.pk}/change/"
    assert staff.get(url).status_code == 200
    assert staff.post(url, {"name": "b"}).status_code == 403


def test_the_action_revokes(staff: Client, user: User) -> None:
    key, plaintext = create_api_key(user, "a")
    staff.post("/admin/accounts/apikey/", {"action": "revoke", "_selected_action": str(key.pk)})
    assert user_for_key(plaintext) is None


def test_a_user_with_keys_can_be_deleted(staff: Client, user: User) -> None:
    create_api_key(user, "a")
    staff.post(f"/admin/accounts/user/{user.pk}/delete/", {"post": "yes"})
    assert not User.objects.filter(pk=user.pk).exists()


def test_the_admins_own_door_lets_staff_in(db: None) -> None:
    User.objects.create_superuser("chief@example.org", "a-long-password")
    client = Client()
    answer = client.post("/admin/login/", {"username": "chief@example.org", "password": "a-long-password"})
    assert answer.status_code == 302
    assert "_auth_user_id" in client.session
