"""How a key is written, and that nothing mistyped or cut off costs a query."""

from __future__ import annotations

import secrets
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pytest_django import DjangoAssertNumQueries

from accounts import keyformat, keys
from accounts.keyformat import BASE62, LENGTH, PREFIX, generate, is_well_formed
from accounts.models import ApiKey, User

ANYTHING = st.characters(codec="utf-8")


def test_a_key_is_well_formed_and_as_scanners_look_for_it() -> None:
    for _ in range(200):
        key = generate()
        assert is_well_formed(key)
        assert len(key) == LENGTH == 52
        assert key.startswith(PREFIX)
        assert set(key[len(PREFIX) :]) <= set(BASE62)


def test_the_checksum_is_crc_32_in_base_62() -> None:
    for text in ("", "qk_", generate()[:-6]):
        digits = keyformat.checksum(text)
        number = sum(BASE62.index(digit) * 62**place for place, digit in enumerate(reversed(digits)))
        assert (len(digits), number) == (6, zlib.crc32(text.encode()))


def test_every_change_of_one_character_is_noticed() -> None:
    key = generate()
    for place in range(LENGTH):
        for other in set(BASE62 + "-_ .") - {key[place]}:
            assert not is_well_formed(key[:place] + other + key[place + 1 :])


@given(st.integers(0, LENGTH - 1), ANYTHING)
def test_every_change_to_any_character_at_all_is_noticed(place: int, other: str) -> None:
    key = generate()
    assert is_well_formed(key[:place] + other + key[place + 1 :]) == (other == key[place])


def test_every_truncation_is_noticed_at_either_end() -> None:
    for _ in range(200):  # what six characters fewer leave has the length of an old key
        key = generate()
        assert not any(is_well_formed(key[:length]) for length in range(LENGTH))
        assert not any(is_well_formed(key[start:]) for start in range(1, LENGTH))


@given(st.integers(0, LENGTH), ANYTHING)
def test_a_character_too_many_is_noticed(place: int, more: str) -> None:
    key = generate()
    assert not is_well_formed(key[:place] + more + key[place:])


@given(st.text(max_size=80))
def test_no_text_is_too_odd_to_be_refused(text: str) -> None:
    assert not is_well_formed(text)
    assert not is_well_formed(PREFIX + text)


def old_key() -> str:
    """As they were made until there were checksums."""
    return PREFIX + secrets.token_urlsafe(32)


def test_keys_made_before_stay_well_formed() -> None:
    assert all(is_well_formed(old_key()) for _ in range(500))


def test_a_key_made_before_still_opens(user: User) -> None:
    secret = old_key()
    ApiKey.objects.create(user=user, name="old", scopes=["admin"], prefix=secret[:10], digest=ApiKey.hash(secret))
    assert keys.user_for_key(secret) == user


@pytest.mark.parametrize("spoil", [lambda key: key[:-1], lambda key: key[:-6], lambda key: key[:-1] + "-", str.lower])
def test_a_spoiled_key_is_refused_without_a_query(
    user: User, django_assert_num_queries: DjangoAssertNumQueries, spoil: object
) -> None:
    _, secret = keys.create_api_key(user, "a")
    assert callable(spoil)
    with django_assert_num_queries(0):
        assert keys.live_key(spoil(secret)) is None
