from __future__ import annotations

import base64
from datetime import timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from django.test import Client
from django.utils import timezone

from accounts.models import ApiKey, User
from accounts.services import create_api_key
from tests.accounts.conftest import program_of

pytestmark = pytest.mark.urls("tests.accounts.probe")
THINGS = "/api/probe/things"


@pytest.fixture
def tied(user: User, other_user: User) -> Client:
    """Eleven rows (one is the client's own key) of which seven share one moment, and one of somebody else."""
    client = program_of(user)
    for index in range(10):
        create_api_key(user, f"k{index}")
    create_api_key(other_user, "other")
    moment = timezone.now() - timedelta(days=1)
    ApiKey.objects.filter(name__in=[f"k{index}" for index in range(2, 9)]).update(created_at=moment)
    return client


def _expected(user: User) -> list[str]:
    return [str(pk) for pk in user.api_keys.order_by("-created_at", "-id").values_list("pk", flat=True)]


def _ids(page: dict[str, Any]) -> list[str]:
    return [row["id"] for row in page["results"]]


def _walk(client: Client, url: str | None, link: str) -> list[dict[str, Any]]:
    pages = []
    while url:
        pages.append(client.get(url).json())
        url = pages[-1][link]
    return pages


@pytest.mark.parametrize("limit", [1, 2, 3, 5, 10, 11, 12])
def test_next_visits_every_row_once_in_order(tied: Client, user: User, limit: int) -> None:
    pages = _walk(tied, f"{THINGS}?limit={limit}", "next")
    assert [id_ for page in pages for id_ in _ids(page)] == _expected(user)
    assert all(page["results"] for page in pages)


@pytest.mark.parametrize("limit", [1, 2, 3, 5, 10])
def test_previous_leads_back_over_the_same_rows(tied: Client, user: User, limit: int) -> None:
    last = _walk(tied, f"{THINGS}?limit={limit}", "next")[-1]
    back = _walk(tied, last["previous"], "previous")
    assert [id_ for page in reversed(back) for id_ in _ids(page)] + _ids(last) == _expected(user)


def test_the_first_page_has_no_previous_and_the_only_page_no_next(tied: Client) -> None:
    page = tied.get(THINGS).json()
    assert (page["next"], page["previous"]) == (None, None)


def test_rows_that_come_and_go_move_no_other_row(tied: Client, user: User) -> None:
    expected = _expected(user)
    first = tied.get(f"{THINGS}?limit=5").json()
    user.api_keys.filter(pk=expected[4]).delete()  # the very row the cursor stands on, within the tie
    create_api_key(user, "newest")
    assert _ids(tied.get(first["next"]).json()) == expected[5:10]


def test_links_keep_the_other_parameters_and_are_absolute(tied: Client) -> None:
    link = urlsplit(tied.get(f"{THINGS}?limit=2&tag=a%26b").json()["next"])
    assert (link.scheme, link.netloc, link.path) == ("http", "testserver", THINGS)
    assert parse_qs(link.query) | {"cursor": []} == {"limit": ["2"], "tag": ["a&b"], "cursor": []}


def test_another_users_rows_are_not_reached_by_any_cursor(tied: Client, other_user: User) -> None:
    mine = tied.get(f"{THINGS}?limit=2").json()["next"]
    assert all("k" not in row["name"] for row in program_of(other_user).get(mine).json()["results"])


@pytest.mark.parametrize("limit", ["0", "201", "-1", "1.5", "ten", "", "٣", "99999999999999999999", " 5", "+5"])
def test_a_bad_limit_is_400(program: Client, limit: str) -> None:
    answer = program.get(THINGS, {"limit": limit})
    assert (answer.status_code, answer.json()["code"]) == (400, "bad_limit")


def _encoded(text: str) -> str:
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


@pytest.mark.parametrize(
    "cursor",
    [
        "",
        "x",
        "ü",
        "%%%",
        _encoded("[]"),
        _encoded("{}"),
        _encoded('[0,"yesterday","a"]'),
        _encoded('[0,"2024-01-01T00:00:00","0190a1b2-0000-7000-8000-000000000000"]').replace("A", "B"),
        _encoded('[5,"2024-01-01T00:00:00+00:00","0190a1b2-0000-7000-8000-000000000000"]'),
        _encoded('[0,"2024-01-01T00:00:00+00:00","not-a-uuid"]'),
        _encoded("[" * 10_000),
    ],
)
def test_a_bad_cursor_is_400(program: Client, cursor: str) -> None:
    answer = program.get(THINGS, {"cursor": cursor})
    assert (answer.status_code, answer.json()["code"]) == (400, "bad_cursor")


def test_oldest_first_is_the_same_list_backwards(tied: Client, user: User) -> None:
    pages = _walk(tied, f"{THINGS}?limit=3&order=created_at", "next")
    assert [id_ for page in pages for id_ in _ids(page)] == _expected(user)[::-1]
    back = _walk(tied, pages[-1]["previous"], "previous")
    assert [id_ for page in reversed(back) for id_ in _ids(page)] + _ids(pages[-1]) == _expected(user)[::-1]


@pytest.mark.parametrize("order", ["name", "", "-", "--created_at", "id"])
def test_an_order_that_the_list_does_not_have_is_400(tied: Client, order: str) -> None:
    answer = tied.get(f"{THINGS}?order={order}")
    assert (answer.status_code, answer.json()["code"]) == (400, "bad_order")
    assert answer.json()["errors"][0]["pointer"] == "/order"


def test_an_unknown_parameter_is_400_and_named(tied: Client) -> None:
    answer = tied.get(f"{THINGS}?limit=2&lmit=3&a/b=1")
    assert (answer.status_code, answer.json()["code"]) == (400, "unknown_parameter")
    assert [error["pointer"] for error in answer.json()["errors"]] == ["/a~1b", "/lmit"]
