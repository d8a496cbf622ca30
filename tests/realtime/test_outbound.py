"""The guard against server-side request forgery. Nothing here leaves the machine: names are resolved by the test, and every
connection goes to a server of the test on the loopback, whatever address the guard asked for."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address

import pytest
import trustme

from realtime.addresses import Blocked, is_public
from realtime.outbound import Fetcher, FetchFailed

PUBLIC = "93.184.216.34"
REFUSED = [
    "0.0.0.0", "0.1.2.3", "10.0.0.1", "10.255.255.255", "100.64.0.1", "100.127.255.255", "127.0.0.1", "127.255.255.254",  # noqa: S104
    "169.254.0.1", "169.254.169.254", "172.16.0.1", "172.31.255.255", "192.0.0.1", "192.0.0.170", "192.0.2.1", "192.31.196.1",
    "192.52.193.1", "192.88.99.1", "192.168.0.1", "192.175.48.1", "198.18.0.1", "198.19.255.255", "198.51.100.1", "203.0.113.1",
    "224.0.0.1", "239.255.255.255", "240.0.0.1", "255.255.255.255",
    "::", "::1", "::127.0.0.1", "::93.184.216.34", "::ffff:127.0.0.1", "::ffff:93.184.216.34", "::ffff:0:127.0.0.1",
    "64:ff9b::7f00:1", "64:ff9b::5db8:d822", "64:ff9b:1::7f00:1", "100::1", "2001::1", "2001:0:4136:e378:8000:63bf:3fff:fdd2",
    "2001:2::1", "2001:10::1", "2001:20::1", "2001:db8::1", "2002:7f00:1::", "2002:5db8:d822::1", "3ffe::1", "3fff::1",
    "2620:4f:8000::1", "4000::1", "5f00::1", "fc00::1", "fd00:ec2::254", "fe80::1", "fe80::1%eth0", "fec0::1", "ff02::1",
    "ff0e::1",
]  # fmt: skip
ACCEPTED = ["1.1.1.1", "93.184.216.34", "172.32.0.1", "100.128.0.1", "2606:4700::1111", "2a00:1450:4001::1"]


class Canary(ThreadingHTTPServer):
    """Answers by path, and remembers who asked for what."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.connections = 0
        self.asked: list[tuple[str, str]] = []
        self.wanted: list[tuple[str, int]] = []

    def get_request(self) -> tuple[socket.socket, object]:
        self.connections += 1
        return super().get_request()

    def connector(self, address: str, port: int, timeout: float) -> socket.socket:
        self.wanted.append((address, port))
        return socket.create_connection(("127.0.0.1", self.server_port), timeout)


class _Handler(BaseHTTPRequestHandler):
    server: Canary

    def do_GET(self) -> None:
        self.server.asked.append((self.headers["Host"], self.path))
        path = self.path.split("?")[0]
        if path.startswith("/to/"):
            self.send_response(302)
            self.send_header("Location", self.path.removeprefix("/to/"))
            self.end_headers()
            return
        self.send_response(404 if path == "/404" else 200)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        if path == "/gzip":
            self.send_header("Content-Encoding", "gzip")
        if path == "/short":
            self.send_header("Content-Length", "100")
        self.end_headers()
        self.wfile.write(b"x" * (5000 if path == "/big" else 5))
        if path == "/slow":
            threading.Event().wait(3)

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def canary() -> Iterator[Canary]:
    with Canary() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


Make = Callable[..., Fetcher]


@pytest.fixture
def fetcher(canary: Canary) -> Make:
    def make(*addresses: str, allowed: tuple[str, ...] = ("a.test", ".b.test"), total_s: float = 5) -> Fetcher:
        return Fetcher(
            allowed,
            total_s=total_s,
            resolver=lambda host, port: addresses or [PUBLIC],
            connector=canary.connector,
        )

    return make


@pytest.mark.parametrize("address", REFUSED)
def test_no_address_but_public_ones_is_connected_to(canary: Canary, fetcher: Make, address: str) -> None:
    with pytest.raises(Blocked):
        fetcher(address).get("http://a.test/", max_bytes=100)
    assert (canary.connections, canary.wanted) == (0, [])


@pytest.mark.parametrize("address", REFUSED)
def test_an_allowed_host_that_is_such_an_address_is_refused_too(canary: Canary, fetcher: Make, address: str) -> None:
    host = f"[{address}]" if ":" in address else address
    with pytest.raises(Blocked):
        fetcher(allowed=(address,)).get(f"http://{host}/", max_bytes=100)
    assert canary.connections == 0


@pytest.mark.parametrize("address", ACCEPTED)
def test_ordinary_addresses_are_public(address: str) -> None:
    assert is_public(ip_address(address))


@pytest.mark.parametrize(
    "url",
    [
        "ftp://a.test/", "file:///etc/passwd", "gopher://a.test/", "//a.test/", "a.test", "http://", "http:///x", "https://a.test:22/",
        "http://a.test:443/", "http://a.test:8080/", "http://a.test:99999/", "http://user@a.test/", "http://user:pw@a.test/",
        "http://other.test/", "http://xa.test/", "http://a.test.evil.test/", "http://evil.test#a.test", "http://evil.test\\@a.test/",
        "http://a.test/\r\nX: y", "http://a.test/ x", "http://2130706433/", "http://0x7f000001/", "http://0177.0.0.1/", "http://127.1/",
        "http://localhost/", "http://[::1]/", "http://[::ffff:7f00:1]/", "http://[/", "http://\u2488\u2488/", "http://xb.test/",
    ],
)  # fmt: skip
def test_other_addresses_are_refused_without_being_resolved(canary: Canary, fetcher: Make, url: str) -> None:
    with pytest.raises(Blocked):
        fetcher().get(url, max_bytes=100)
    assert canary.connections == 0


def test_one_private_address_among_public_ones_spoils_all(canary: Canary, fetcher: Make) -> None:
    with pytest.raises(Blocked):
        fetcher(PUBLIC, "10.0.0.1").get("http://a.test/", max_bytes=100)
    assert canary.connections == 0


def test_the_checked_address_is_used_under_the_hosts_own_name(canary: Canary, fetcher: Make) -> None:
    page = fetcher().get("http://A.test/path?q=1", max_bytes=100)
    assert (page.body, page.media_type, page.url) == (b"xxxxx", "text/html", "http://A.test/path?q=1")
    assert (canary.wanted, canary.asked) == ([(PUBLIC, 80)], [("a.test", "/path?q=1")])


def test_a_name_is_resolved_once(canary: Canary) -> None:
    answers = iter([[PUBLIC], ["127.0.0.1"]])
    Fetcher(["a.test"], resolver=lambda host, port: next(answers), connector=canary.connector).get(
        "http://a.test/", max_bytes=100
    )
    assert canary.wanted == [(PUBLIC, 80)]
    assert next(answers) == ["127.0.0.1"]


def test_hosts_below_a_suffix_are_allowed(canary: Canary, fetcher: Make) -> None:
    for host in ("b.test", "x.y.b.test", "B.TEST."):
        fetcher().get(f"http://{host}/", max_bytes=100)
    assert canary.connections == 3


def test_the_environments_proxy_is_not_used(canary: Canary, fetcher: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    assert fetcher().get("http://a.test/", max_bytes=100).body == b"xxxxx"


@pytest.mark.parametrize(
    "target", ["http://127.0.0.1/", "http://evil.test/", "ftp://a.test/", "http://a.test:22/", "//[::1]/"]
)
def test_a_redirect_to_elsewhere_is_not_followed(canary: Canary, fetcher: Make, target: str) -> None:
    with pytest.raises(Blocked):
        fetcher().get(f"http://a.test/to/{target}", max_bytes=100)
    assert canary.connections == 1


def test_redirects_are_resolved_and_checked_anew(canary: Canary) -> None:
    known = {"a.test": [PUBLIC], "b.test": ["192.168.1.1"]}
    guard = Fetcher(["a.test", "b.test"], resolver=lambda host, port: known[host], connector=canary.connector)
    with pytest.raises(Blocked):
        guard.get("http://a.test/to/http://b.test/", max_bytes=100)
    assert canary.connections == 1


def test_three_redirects_are_followed_and_no_more(canary: Canary, fetcher: Make) -> None:
    assert fetcher().get("http://a.test/to//to//to//end", max_bytes=100).url == "http://a.test/end"
    with pytest.raises(FetchFailed, match="more than 3"):
        fetcher().get("http://a.test/to//to//to//to//end", max_bytes=100)


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("/404", "answered 404"),
        ("/big", "more than 100 bytes"),
        ("/gzip", "compressed"),
        ("/short", "did not answer|broke off"),
    ],
)
def test_unusable_answers_say_why(canary: Canary, fetcher: Make, path: str, reason: str) -> None:
    with pytest.raises(FetchFailed, match=reason):
        fetcher().get(f"http://a.test{path}", max_bytes=100)


def test_a_slow_server_is_left_in_time(canary: Canary, fetcher: Make) -> None:
    with pytest.raises(FetchFailed, match="Timeout"):
        fetcher(total_s=0.5).get("http://a.test/slow", max_bytes=100)


def test_names_that_do_not_resolve_say_so() -> None:
    def none(host: str, port: int) -> list[str]:
        raise socket.gaierror("no such host")

    with pytest.raises(FetchFailed, match="cannot be resolved"):
        Fetcher(["a.test"], resolver=none).get("http://a.test/", max_bytes=100)
    with pytest.raises(FetchFailed, match="cannot be resolved"):
        Fetcher(["a.test"], resolver=lambda host, port: []).get("http://a.test/", max_bytes=100)


class TlsCanary(Canary):
    """Presents a certificate for a.test, and notes under which name it was asked."""

    def __init__(self, authority: trustme.CA) -> None:
        super().__init__()
        self.named: list[str | None] = []
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert("a.test").configure_cert(context)
        context.sni_callback = lambda _socket, name, _context: self.named.append(name)
        self.socket = context.wrap_socket(self.socket, server_side=True)

    def handle_error(self, *args: object) -> None:
        """A client that refuses our certificate breaks off, which is what is tested."""


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def tls_canary(authority: trustme.CA) -> Iterator[TlsCanary]:
    with TlsCanary(authority) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def over_tls(canary: TlsCanary, trusted: trustme.CA | None) -> Fetcher:
    context = ssl.create_default_context()
    if trusted is not None:
        trusted.configure_trust(context)
    return Fetcher(["a.test", ".b.test"], resolver=lambda *_: [PUBLIC], connector=canary.connector, tls=context)


def test_https_goes_to_the_checked_address_under_the_hosts_own_name(
    tls_canary: TlsCanary, authority: trustme.CA
) -> None:
    page = over_tls(tls_canary, authority).get("https://a.test/x", max_bytes=100)
    assert page.body == b"xxxxx"
    assert (tls_canary.wanted, tls_canary.named) == ([(PUBLIC, 443)], ["a.test"])
    assert tls_canary.asked == [("a.test", "/x")]


def test_a_certificate_of_another_host_is_refused(tls_canary: TlsCanary, authority: trustme.CA) -> None:
    with pytest.raises(FetchFailed):
        over_tls(tls_canary, authority).get("https://b.test/", max_bytes=100)
    assert tls_canary.asked == []


def test_a_certificate_that_nobody_vouches_for_is_refused(tls_canary: TlsCanary) -> None:
    with pytest.raises(FetchFailed):
        over_tls(tls_canary, None).get("https://a.test/", max_bytes=100)
    assert tls_canary.asked == []


def test_a_redirect_from_https_to_http_is_not_followed(tls_canary: TlsCanary, authority: trustme.CA) -> None:
    with pytest.raises(Blocked):
        over_tls(tls_canary, authority).get("https://a.test/to/http://a.test/y", max_bytes=100)
    assert tls_canary.asked == [("a.test", "/to/http://a.test/y")]
