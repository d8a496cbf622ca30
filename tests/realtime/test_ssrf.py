"""Every door through which people can have our server ask an address, against every way to write one that it must not ask: a canary
that all of them would reach counts no connection. Names are resolved by the test, and nothing leaves the loopback."""

from __future__ import annotations

import asyncio
import ipaddress
import itertools
import socket
import ssl
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any
from urllib.parse import urlsplit

import httpcore2
import httpx2
import pytest
from django.conf import LazySettings

from accounts.models import WebhookEndpoint
from accounts.webhooks import endpoints as webhooks
from council import endpoints as models
from council.llm.errors import AddressBlocked
from council.llm.guard import GuardedTransport as GuardedModels
from council.llm.loop import LIMITS
from knowledge import embeddings
from realtime.addresses import Blocked
from realtime.outbound import Door, Fetcher, FetchFailed, Poster
from realtime.transport import GuardedTransport
from tests.conftest import Api
from tests.realtime.test_outbound import PUBLIC, Canary, canary  # noqa: F401  # a fixture

# --- Cases, by rule -----------------------------------------------------------------------------------------------------

TARGETS = (
    "127.0.0.1", "10.1.2.3", "169.254.169.254", "192.168.1.1", "172.16.0.9", "100.64.0.1", "0.0.0.0", "224.0.0.1",  # noqa: S104
)  # fmt: skip


def number(address: str) -> int:
    return int(ipaddress.IPv4Address(address))


def octets(address: str) -> list[int]:
    return list(ipaddress.IPv4Address(address).packed)


def v6(prefix: str, address: str, shift: int = 0) -> str:
    return f"[{ipaddress.IPv6Address(int(ipaddress.IPv6Address(prefix)) | number(address) << shift)}]"


def wide(address: str) -> str:
    return "".join(chr(ord(char) + 0xFEE0) if char.isdigit() else char for char in address)


SPELLINGS: dict[str, Callable[[str], str]] = {
    "plain": str,
    "trailing dot": "{}.".format,
    "decimal": lambda a: str(number(a)),
    "hexadecimal": lambda a: hex(number(a)),
    "octal": lambda a: f"0{number(a):o}",
    "dotted hexadecimal": lambda a: ".".join(map(hex, octets(a))),
    "dotted octal": lambda a: ".".join(f"0{one:o}" for one in octets(a)),
    "short": lambda a: f"{octets(a)[0]}.{number(a) & 0xFFFFFF}",
    "leading zeros": lambda a: ".".join(f"{one:03}" for one in octets(a)),
    "IPv4-mapped": lambda a: v6("::ffff:0:0", a),
    "IPv4-mapped, dotted": lambda a: f"[::ffff:{a}]",
    "IPv4-compatible": lambda a: v6("::", a),
    "IPv4-translated": lambda a: v6("::ffff:0:0:0", a),
    "NAT64": lambda a: v6("64:ff9b::", a),
    "NAT64, local": lambda a: v6("64:ff9b:1::", a),
    "6to4": lambda a: v6("2002::", a, 80),
    "Teredo": lambda a: v6("2001::", a, 64),
    "full-width digits": wide,
    "ideographic full stops": lambda a: a.replace(".", "\u3002"),
    "behind a user": "good.example.com@{}".format,
    "behind a user and a password": "good.example.com:443@{}".format,
    "before a fragment": "{}#@good.example.com".format,
    "before a backslash": "{}\\@good.example.com".format,
    "percent-encoded": lambda a: a.replace(".", "%2e"),
}
ODD = (
    "localhost", "LOCALHOST.", "a.localhost", "printer.local", "metadata.google.internal", "[::1]", "[::]", "[fe80::1%25eth0]",
    "[fd00:ec2::254]", "[fc00::1]", "[ff02::1]", "[::1%2500]", "[0:0:0:0:0:0:0:1]", "intranet",
)  # fmt: skip
TEXTS = {
    **{f"{how} {target}": spell(target) for (how, spell), target in itertools.product(SPELLINGS.items(), TARGETS)},
    **{one: one for one in ODD},
}
# What a harmless name resolves to, each time that it is asked.
NAME = "good.example.com"
ANSWERS: dict[str, list[list[str]]] = {
    **{f"to {target}": [[target]] for target in TARGETS},
    "to the loopback of IPv6": [["::1"]],
    "to an IPv4-mapped one": [["::ffff:127.0.0.1"]],
    "to a link-local one with a zone": [["fe80::1%lo"]],
    "to a private one among public ones": [[PUBLIC, "10.0.0.1"]],
    "to a private one before public ones": [["127.0.0.1", PUBLIC]],
    "to no address at all": [["localhost"]],
}


class Names:
    """A resolver as the system's is: it takes every spelling of IPv4 for the address, and other names as the test says."""

    def __init__(self, answers: Sequence[list[str]] = ((["127.0.0.1"]),)) -> None:
        self._answers, self.asked = list(answers), 0

    def __call__(self, host: str, port: int) -> list[str]:
        try:
            return [socket.inet_ntoa(socket.inet_aton(host))]
        except OSError:
            pass
        self.asked += 1
        return self._answers[min(self.asked, len(self._answers)) - 1]

    def getaddrinfo(self, host: str, port: int, *_given: Any, **_named: Any) -> list[Any]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (one, port)) for one in self(host, port)]


# --- Doors --------------------------------------------------------------------------------------------------------------

Knock = Callable[[str, Names, Canary], object]


def page(url: str, names: Names, reached: Canary) -> object:
    """Every host is on the list, so that the list is not what refuses."""
    listed = [NAME, urlsplit(url).hostname or ""]
    return Fetcher(listed, resolver=names, connector=reached.connector).get(url, max_bytes=100)


def webhook(url: str, names: Names, reached: Canary) -> object:
    door = Door(webhooks.policy(), resolver=names, connector=reached.connector)
    return Poster(door, total_s=5).post(url, b"{}", {}, read=10)


def embedding(url: str, names: Names, reached: Canary) -> object:
    transport = GuardedTransport(embeddings.may_be_called, names)
    with httpx2.Client(transport=transport, trust_env=False, timeout=5) as client:
        return client.get(url)


def model(url: str, names: Names, reached: Canary) -> object:
    async def ask() -> object:
        transport = GuardedModels(models.may_be_called, LIMITS)
        async with httpx2.AsyncClient(transport=transport, trust_env=False, timeout=5) as client:
            return await client.get(url)

    return asyncio.run(ask())


DOORS: dict[str, Knock] = {"page": page, "webhook": webhook, "embedding": embedding, "model": model}
SCHEMES = {"page": "http", "webhook": "https", "embedding": "http", "model": "http"}
REFUSALS = (Blocked, FetchFailed, AddressBlocked, httpx2.InvalidURL, httpx2.UnsupportedProtocol, httpx2.ConnectError)


@pytest.fixture
def reached(canary: Canary, settings: LazySettings, monkeypatch: pytest.MonkeyPatch) -> Canary:  # noqa: F811
    """Whatever a door connects to is the canary."""
    settings.LLM_PRIVATE_NETWORKS = settings.WEBHOOK_PRIVATE_NETWORKS = []
    here, now = httpcore2.SyncBackend.connect_tcp, httpcore2.AnyIOBackend.connect_tcp

    def led(self: Any, host: str, port: int, *given: Any, **named: Any) -> Any:
        canary.wanted.append((host, port))
        return here(self, "127.0.0.1", canary.server_port)

    async def led_too(self: Any, host: str, port: int, *given: Any, **named: Any) -> Any:
        canary.wanted.append((host, port))
        return await now(self, "127.0.0.1", canary.server_port)

    tls = ssl.create_default_context()  # once: reading the authorities takes 50 ms, and there are hundreds of clients
    monkeypatch.setattr(httpx2, "create_ssl_context", lambda: tls)
    monkeypatch.setattr(httpcore2.SyncBackend, "connect_tcp", led)
    monkeypatch.setattr(httpcore2.AnyIOBackend, "connect_tcp", led_too)
    return canary


def knocked(door: str, url: str, names: Names, reached: Canary, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Whether it was refused."""
    with monkeypatch.context() as patched:
        if door == "model":  # which asks the system itself
            patched.setattr(socket, "getaddrinfo", names.getaddrinfo)
        try:
            DOORS[door](url, names, reached)
        except REFUSALS:
            return True
    return False


def test_there_are_many_cases() -> None:
    assert len(TEXTS) + len(ANSWERS) >= 200


@pytest.mark.parametrize("door", DOORS)
def test_no_spelling_leads_to_where_nobody_may_go(door: str, reached: Canary, monkeypatch: pytest.MonkeyPatch) -> None:
    let_in = [
        how
        for how, host in TEXTS.items()
        if not knocked(door, f"{SCHEMES[door]}://{host}/", Names(), reached, monkeypatch)
    ]
    assert (let_in, reached.connections, reached.wanted) == ([], 0, [])


@pytest.mark.parametrize("door", DOORS)
def test_no_name_leads_there(door: str, reached: Canary, monkeypatch: pytest.MonkeyPatch) -> None:
    let_in = [
        how
        for how, answers in ANSWERS.items()
        if not knocked(door, f"{SCHEMES[door]}://{NAME}/", Names(answers), reached, monkeypatch)
    ]
    assert (let_in, reached.connections, reached.wanted) == ([], 0, [])


@pytest.mark.parametrize("door", DOORS)
def test_the_canary_would_be_reached_and_a_name_that_changes_its_mind_is_of_no_use(
    door: str, reached: Canary, monkeypatch: pytest.MonkeyPatch
) -> None:
    names, port = Names([[PUBLIC], ["127.0.0.1"]]), 443 if SCHEMES[door] == "https" else 80
    knocked(door, f"{SCHEMES[door]}://{NAME}/", names, reached, monkeypatch)  # the canary speaks no TLS
    assert (names.asked, reached.connections, reached.wanted) == (1, 1, [(PUBLIC, port)])
    assert knocked(door, f"{SCHEMES[door]}://{NAME}/", names, reached, monkeypatch)
    assert reached.wanted == [(PUBLIC, port)]


@pytest.mark.parametrize("door", DOORS)
def test_proxies_of_the_environment_are_not_used(door: str, reached: Canary, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{reached.server_port}")
    assert knocked(door, f"{SCHEMES[door]}://{NAME}/", Names([["10.0.0.1"]]), reached, monkeypatch)
    assert (reached.connections, reached.wanted) == (0, [])


def test_a_server_that_drips_is_left_in_time(reached: Canary) -> None:
    """A byte now and then keeps every time-out of a socket from coming."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def connector(address: str, port: int, timeout: float) -> socket.socket:
            ours = socket.create_connection(server.getsockname())
            theirs, _ = server.accept()
            _drip(theirs)
            return ours

        with pytest.raises(FetchFailed, match="TimeoutError"):
            Fetcher([NAME], total_s=0.6, resolver=Names([[PUBLIC]]), connector=connector).get(
                f"http://{NAME}/", max_bytes=100
            )


def _drip(theirs: socket.socket) -> None:
    def send() -> None:
        with theirs:
            try:
                for byte in b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 100:
                    theirs.sendall(bytes([byte]))
                    time.sleep(0.1)
            except OSError:
                return  # cut off, as it should be

    threading.Thread(target=send, daemon=True).start()


@pytest.mark.django_db
def test_whoever_may_use_the_api_gets_nowhere_with_any_of_them(api: Api, reached: Canary) -> None:
    answers = {
        how: api.post("/api/me/webhooks", {"url": f"https://{host}/", "events": ["pack.*"]})
        for how, host in TEXTS.items()
    }
    assert {how for how, answer in answers.items() if answer.status_code != 400} == set()
    assert {answer.json()["code"] for answer in answers.values()} == {"address_blocked"}
    assert not WebhookEndpoint.objects.exists()
    assert reached.connections == 0
