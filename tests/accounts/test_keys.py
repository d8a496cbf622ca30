from __future__ import annotations

from datetime import timedelta
from io import StringIO

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries

from accounts.models import ApiKey, User
from accounts.services import create_api_key, revoke_api_key, user_for_key
from realtime.errors import InvalidInput


def test_a_new_key_finds_its_user_and_is_stored_only_as_a_digest(user: User) -> None:
    key, plaintext = create_api_key(user, " importer ")
    assert user_for_key(plaintext) == user
    assert key.name == "importer"
    assert plaintext.startswith(key.prefix)
    assert not any(plaintext in str(value) for value in ApiKey.objects.values_list().get(pk=key.pk))


@pytest.mark.parametrize("wrong", ["", "qk_", "qk_unknown", "xx_abc", "qk_" + "a" * 500, "qk_ключ"])
def test_what_is_not_a_key_finds_nobody(user: User, wrong: str) -> None:
    create_api_key(user, "a")
    assert user_for_key(wrong) is None


def test_a_key_minus_its_last_character_finds_nobody(user: User) -> None:
    assert user_for_key(create_api_key(user, "a")[1][:-1]) is None


def test_a_revoked_key_finds_nobody_and_stays_revoked(user: User) -> None:
    key, plaintext = create_api_key(user, "a")
    revoke_api_key(key)
    first = key.revoked_at
    revoke_api_key(key)
    assert user_for_key(plaintext) is None
    assert key.revoked_at == first


def test_an_expired_key_finds_nobody(user: User) -> None:
    key, plaintext = create_api_key(user, "a", timezone.now() + timedelta(hours=1))
    assert user_for_key(plaintext) == user
    ApiKey.objects.filter(pk=key.pk).update(expires_at=timezone.now() - timedelta(seconds=1))
    assert user_for_key(plaintext) is None


def test_the_key_of_an_inactive_user_finds_nobody(user: User) -> None:
    _, plaintext = create_api_key(user, "a")
    User.objects.filter(pk=user.pk).update(is_active=False)
    assert user_for_key(plaintext) is None


@pytest.mark.parametrize("name", ["", "  ", "x" * 81, "a\x00b"])
def test_a_bad_name_is_refused(user: User, name: str) -> None:
    with pytest.raises(InvalidInput):
        create_api_key(user, name)
    assert not user.api_keys.exists()


def test_an_expiry_in_the_past_is_refused(user: User) -> None:
    with pytest.raises(InvalidInput):
        create_api_key(user, "a", timezone.now())


def test_last_use_is_noted_at_most_once_a_minute(user: User) -> None:
    key, plaintext = create_api_key(user, "a")
    user_for_key(plaintext)
    key.refresh_from_db()
    first = key.last_used_at
    assert first is not None
    user_for_key(plaintext)
    key.refresh_from_db()
    assert key.last_used_at == first
    ApiKey.objects.update(last_used_at=first - timedelta(seconds=61))
    user_for_key(plaintext)
    key.refresh_from_db()
    assert key.last_used_at is not None
    assert key.last_used_at >= first


def test_a_busy_key_costs_one_query(user: User, django_assert_num_queries: DjangoAssertNumQueries) -> None:
    _, plaintext = create_api_key(user, "a")
    user_for_key(plaintext)
    with django_assert_num_queries(1):
        user_for_key(plaintext)


def test_the_command_prints_a_key_that_works(user: User) -> None:
    out = StringIO()
    call_command("create_api_key", "ADA@example.org", name="cron", stdout=out)
    assert user_for_key(out.getvalue().strip()) == user
    assert user.api_keys.get().name == "cron"


@pytest.mark.parametrize(("email", "name"), [("nobody@example.org", "a"), ("ada@example.org", " ")])
def test_the_command_refuses_in_one_line(user: User, email: str, name: str) -> None:
    with pytest.raises(CommandError):
        call_command("create_api_key", email, name=name)
