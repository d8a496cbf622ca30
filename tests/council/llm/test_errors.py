from __future__ import annotations

import random
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from council.llm import errors
from council.llm.backoff import BASE_S, CAP_S, RETRY_AFTER_CAP_S, backoff
from council.llm.errors import LlmError, from_status, message_of, retry_after_seconds


@pytest.mark.parametrize(
    ("status", "kind", "retryable"),
    [
        (301, errors.BadRequest, False),
        (400, errors.BadRequest, False),
        (401, errors.AuthFailed, False),
        (402, errors.AuthFailed, False),
        (403, errors.AuthFailed, False),
        (404, errors.BadRequest, False),
        (408, errors.ServerError, True),
        (413, errors.BadRequest, False),
        (422, errors.BadRequest, False),
        (429, errors.RateLimited, True),
        (500, errors.ServerError, True),
        (529, errors.ServerError, True),
    ],
)
def test_every_status_has_its_error(status: int, kind: type[LlmError], retryable: bool) -> None:
    error = from_status(status, {"error": {"message": "no"}})
    assert (type(error), error.retryable, error.status, error.detail) == (kind, retryable, status, "no")


def test_an_empty_purse_is_not_worth_a_retry() -> None:
    assert not from_status(429, {"error": {"message": "pay", "code": "insufficient_quota"}}).retryable


def test_a_filter_in_front_of_the_model_is_a_refusal() -> None:
    assert isinstance(from_status(400, {"error": {"message": "x", "code": "content_filter"}}), errors.Refused)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"error": {"message": "a"}}, "a"),
        ({"message": "b"}, "b"),
        ({"error": "c"}, "c"),
        ("d", "d"),
        ({"detail": [{"loc": ["body", "response_format"]}]}, '{"detail": [{"loc": ["body", "response_format"]}]}'),
    ],
)
def test_the_message_is_found_in_the_bodies_that_servers_send(body: object, message: str) -> None:
    assert message_of(body) == message


NOW = datetime(2026, 1, 1, 12, 0, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": "3"}, 3.0),
        ({"retry-after": "-3"}, 0.0),
        ({"retry-after": "Thu, 01 Jan 2026 12:00:07 GMT"}, 7.0),
        ({"retry-after": "Thu, 01 Jan 2026 12:00:07 -0000"}, 7.0),
        ({"retry-after": "Thu, 01 Jan 2026 11:00:00 GMT"}, 0.0),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "3", "retry-after-ms": "250"}, 0.25),
    ],
)
def test_retry_after_is_read_in_every_form(headers: dict[str, str], seconds: float | None) -> None:
    assert retry_after_seconds(headers, NOW) == seconds


@given(st.integers(1, 10_000), st.integers())
def test_backoff_without_a_hint_is_full_jitter_under_the_cap(attempt: int, seed: int) -> None:
    wait = backoff(attempt, errors.ServerError(), random.Random(seed))
    assert 0 <= wait <= min(CAP_S, BASE_S * 2 ** min(attempt - 1, 16))


@given(st.floats(0, 1e9), st.integers())
def test_backoff_waits_as_long_as_the_server_asks_within_reason(asked: float, seed: int) -> None:
    wait = backoff(1, errors.RateLimited(retry_after=asked), random.Random(seed))
    assert min(asked, RETRY_AFTER_CAP_S) <= wait <= RETRY_AFTER_CAP_S + BASE_S


def test_details_are_cut_for_the_log() -> None:
    assert len(errors.ServerError("x" * 10_000).detail) == errors.DETAIL_CHARS
