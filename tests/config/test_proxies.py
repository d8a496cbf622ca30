"""Whose word about the caller's address counts."""

from __future__ import annotations

import pytest
from django.http import HttpRequest, HttpResponse
from pytest_django import Settings

from config import web
from config.http.proxies import TrustedProxies

PROXY, CALLER, MADE_UP = "10.0.0.2", "198.51.100.7", "203.0.113.9"


@pytest.fixture(autouse=True)
def proxies(settings: Settings) -> Settings:
    settings.TRUSTED_PROXIES = ["10.0.0.0/8", "2001:db8:1::/48"]
    settings.PROXY_HEADER = "x-forwarded-for"
    return settings


def seen(peer: str, **headers: str) -> HttpRequest:
    request = HttpRequest()
    request.META = {"REMOTE_ADDR": peer, **{f"HTTP_{name}": value for name, value in headers.items()}}
    TrustedProxies(lambda _: HttpResponse())(request)
    return request


def test_strangers_are_not_believed() -> None:
    request = seen(MADE_UP, X_FORWARDED_FOR=CALLER, FORWARDED=f"for={CALLER}", X_FORWARDED_PROTO="https")
    assert request.META == {"REMOTE_ADDR": MADE_UP}


@pytest.mark.parametrize(
    ("header", "address"),
    [
        (CALLER, CALLER),
        (f"{MADE_UP}, {CALLER}", CALLER),
        (f"{MADE_UP}, {CALLER}, 10.9.9.9", CALLER),
        (f"{CALLER}:4711", CALLER),
        ("[2001:db8:2::1]:443", "2001:db8:2::1"),
        (f"{CALLER}, 2001:db8:1::5", CALLER),
        (f"{MADE_UP}, unknown", PROXY),
        ("", PROXY),
        ("10.1.1.1, 10.2.2.2", PROXY),
    ],
)
def test_the_nearest_address_that_is_no_proxy_counts(header: str, address: str) -> None:
    assert seen(PROXY, X_FORWARDED_FOR=header).META["REMOTE_ADDR"] == address


@pytest.mark.parametrize(
    ("header", "address"),
    [
        (f"for={CALLER};proto=https", CALLER),
        (f"for={MADE_UP}, by=10.0.0.2;For={CALLER}", CALLER),
        ('for="[2001:db8:2::1]:443"', "2001:db8:2::1"),
        (f"for={MADE_UP}, for=_hidden", PROXY),
    ],
)
def test_of_two_headers_only_the_proxys_own_is_read(proxies: Settings, header: str, address: str) -> None:
    proxies.PROXY_HEADER = "forwarded"
    assert seen(PROXY, FORWARDED=header, X_FORWARDED_FOR=MADE_UP).META["REMOTE_ADDR"] == address


def test_the_server_itself_reads_no_forwarded_headers(monkeypatch: pytest.MonkeyPatch) -> None:
    configured: list[bool] = []
    monkeypatch.setattr(web.Server, "run", lambda server, **_: configured.append(server.config.proxy_headers))
    monkeypatch.setattr(web, "_wait_briefly", lambda: None)
    monkeypatch.setattr("sys.setswitchinterval", lambda _: None)
    web.serve([])
    assert configured == [False]
