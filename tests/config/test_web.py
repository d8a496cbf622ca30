"""The sockets of the web server: bound once, and not lost between two servers."""

from __future__ import annotations

import socket

import pytest

from config import web
from config.embedded.errors import PortTaken
from config.web import bind


def test_a_connection_between_two_servers_waits_for_the_second() -> None:
    [listener] = bind("127.0.0.1", 0)
    with listener:
        address = listener.getsockname()
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(address)  # no server has begun yet
        with listener.dup() as first:  # as in a forked child
            first.listen()
        with socket.create_connection(address, timeout=10) as client, listener.dup() as second:
            second.listen()
            accepted, _ = second.accept()
            with accepted:
                accepted.sendall(b"here")
            assert client.recv(4) == b"here"


def test_a_taken_port_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(PortTaken, match=f"port {port} of 127.0.0.1"):
            bind("127.0.0.1", port)


def test_a_name_is_bound_at_all_its_addresses() -> None:
    listeners = bind("localhost", 0)
    try:
        assert {one.family for one in listeners} <= {socket.AF_INET, socket.AF_INET6}
        assert socket.AF_INET in {one.family for one in listeners}
    finally:
        for one in listeners:
            one.close()


@pytest.mark.skipif(not hasattr(socket, "TCP_USER_TIMEOUT"), reason="Linux has it")
def test_the_kernel_ends_a_connection_whose_peer_has_stopped_reading(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(web, "UNREAD_S", 1.0)
    [listener] = bind("127.0.0.1", 0)
    with listener:
        listener.listen()
        with socket.create_connection(listener.getsockname()):
            accepted, _ = listener.accept()
            with accepted, pytest.raises(TimeoutError, match="Connection timed out"):
                accepted.sendall(b"unread" * 10_000_000)
