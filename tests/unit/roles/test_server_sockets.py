"""Answers are sent at once: connections that the server accepts have TCP_NODELAY, and no other socket is touched."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
from server_package import fresh


@pytest.fixture
def sockets(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    return fresh(monkeypatch, "sockets")


@pytest.fixture(params=[(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")], ids=["IPv4", "IPv6"])
def bound(request: pytest.FixtureRequest) -> Iterator[socket.socket]:
    """Return a socket as uvicorn makes it for several workers: of protocol 0, bound, not listening yet."""
    family, address = request.param
    with socket.socket(family=family) as made:
        assert made.proto == 0
        made.bind((address, 0))
        yield made


def nodelay(one: socket.socket) -> bool:
    """Say whether a socket has TCP_NODELAY."""
    return one.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) != 0


def accepted_nodelay(listener: socket.socket) -> bool:
    """Say whether a new connection has TCP_NODELAY where it is accepted."""
    with socket.create_connection(listener.getsockname()[:2]), listener.accept()[0] as connection:
        return nodelay(connection)


def test_connections_of_a_socket_that_listens_are_sent_at_once(sockets: ModuleType, bound: socket.socket) -> None:
    bound.listen()
    assert not accepted_nodelay(bound)
    sockets.turn_off_nagle()
    assert accepted_nodelay(bound)


def test_connections_of_a_socket_that_listens_later_are_sent_at_once(sockets: ModuleType, bound: socket.socket) -> None:
    """uvicorn's workers load MLflow between the two."""
    sockets.turn_off_nagle()
    bound.listen()
    assert accepted_nodelay(bound)


def test_no_other_socket_is_touched(sockets: ModuleType, bound: socket.socket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bound.listen()
    touched = []

    class Recorded(socket.socket):
        def setsockopt(self, *arguments: object) -> None:
            touched.append((self.getsockname(), *arguments))

    with (
        socket.socket() as unbound,
        socket.socket(type=socket.SOCK_DGRAM) as datagrams,
        socket.socket(socket.AF_UNIX) as local,
        socket.create_connection(bound.getsockname()[:2]) as asking,
        bound.accept()[0] as answering,
    ):
        datagrams.bind(("127.0.0.1", 0))
        local.bind(str(tmp_path / "socket"))
        local.listen()
        names = [one.getsockname() for one in (bound, unbound, datagrams, local, asking)]
        descriptors = set(os.listdir("/proc/self/fd"))
        with monkeypatch.context() as patched:
            patched.setattr(sockets.socket, "socket", Recorded)
            sockets.turn_off_nagle()
        # Once: the accepted connection has the same name.
        assert [call for call in touched if call[0] in names] == [(bound.getsockname(), socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)]
        sockets.turn_off_nagle()
        assert [nodelay(one) for one in (bound, unbound, asking, answering)] == [True, False, False, False]
        # Each is as open as before, and none more.
        assert set(os.listdir("/proc/self/fd")) == descriptors
        asking.sendall(b"sent")
        assert answering.recv(4) == b"sent"


@pytest.mark.parametrize("call", ["listdir", "fstat", "dup"])
def test_a_start_goes_on_if_the_kernel_refuses(sockets: ModuleType, bound: socket.socket, monkeypatch: pytest.MonkeyPatch, call: str) -> None:
    refused = []

    def refuse(given: object) -> None:
        refused.append(given)
        raise OSError(errno.EACCES, "Permission denied")

    with monkeypatch.context() as patched:
        patched.setattr(os, call, refuse)
        sockets.turn_off_nagle()
    assert refused
    assert not nodelay(bound)
