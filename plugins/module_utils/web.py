# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One HTTP request with a chosen Host header and a limit on its whole time, without redirects, and without a proxy unless one is given."""

from __future__ import annotations

import base64
import contextlib
import errno
import http.client
import json
import socket
import ssl
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import SplitResult, quote, unquote, urlsplit
from urllib.request import proxy_bypass

from ansible_collections.atlas.mlflow.plugins.module_utils.names import bracketed, canonical_host, canonical_name

DEFAULT_PORTS = {"http": 80, "https": 443}
EXCERPT = 160  # characters of an answer that a finding may quote


@dataclass(frozen=True)
class Base:
    """Where a server is: the address, the path before the server's own paths, and the name in its certificate if it differs."""

    scheme: str
    host: str
    port: int
    path: str = ""
    tls_name: str = ""

    @classmethod
    def parse(cls, url: str) -> Base:
        """Return the base of an http or https URL; ValueError if the text is no such URL."""
        parts: SplitResult = urlsplit(url)
        if parts.scheme not in DEFAULT_PORTS or not parts.hostname:
            raise ValueError(f"{parts.scheme}://{parts.hostname or ''} is not an http or https URL with a host")
        # As a browser and requests send it: what is encoded stays, and what cannot be sent is encoded.
        path = quote(parts.path.rstrip("/"), safe="/%:@!$&'()*+,;=~")
        return cls(parts.scheme, canonical_name(parts.hostname), parts.port or DEFAULT_PORTS[parts.scheme], path)

    @property
    def origin(self) -> str:
        """Return scheme, host and port, which contain no secret."""
        return f"{self.scheme}://{with_port(self.host, self.port)}"

    def host_header(self, name: str) -> str:
        """Return the Host header that a browser or requests sends if its user enters this name, with or without a port."""
        name = canonical_host(name)
        if ":" in name.rpartition("]")[2]:
            return name
        return name if self.port == DEFAULT_PORTS[self.scheme] else f"{name}:{self.port}"


@dataclass(frozen=True)
class Proxy:
    """A proxy that opens connections to others: its address, and the header with its login if it asks for one."""

    host: str
    port: int
    login: str = field(default="", repr=False)


def proxy_of(environment: Mapping[str, Any], base: Base) -> Proxy | None:
    """Return the proxy by which a program with these variables reaches a server by https, as Python's clients read them. None: no proxy.

    :raises ValueError: If the address of the proxy cannot be read.
    """
    # A name in lower case counts more.
    known = {name.lower()[: -len("_proxy")]: str(environment[name]) for name in sorted(environment) if name.lower().endswith("_proxy")}
    address = known.get("https") or known.get("all") or ""
    if base.scheme != "https" or not address or proxy_bypass(with_port(base.host, base.port), known):
        return None
    parts = urlsplit(address if "://" in address else f"http://{address}")
    if parts.scheme != "http" or not parts.hostname:
        return None
    pair = f"{unquote(parts.username or '')}:{unquote(parts.password or '')}"
    login = "Basic " + base64.b64encode(pair.encode()).decode() if parts.username else ""
    return Proxy(canonical_name(parts.hostname), parts.port or DEFAULT_PORTS["http"], login)


def with_port(host: str, port: int) -> str:
    """Return C(host:port), with brackets around an IPv6 address."""
    return f"{bracketed(host)}:{port}"


@dataclass(frozen=True)
class Answer:
    """A server's answer, and the seconds until its last byte arrived."""

    status: int
    headers: Mapping[str, str]
    body: bytes = field(repr=False)
    seconds: float

    @property
    def text(self) -> str:
        """Return the body as text."""
        return self.body.decode("utf-8", errors="replace")

    def json(self) -> dict[str, Any]:
        """Return the body's JSON object, empty if the body has none."""
        return self._object() or {}

    @property
    def is_object(self) -> bool:
        """Return whether the body is a JSON object, also an empty one."""
        return self._object() is not None

    def _object(self) -> dict[str, Any] | None:
        try:
            content = json.loads(self.body)
        except ValueError:
            return None
        return content if isinstance(content, dict) else None

    @property
    def leads_to(self) -> str:
        """Return where a redirect leads, without login and query."""
        target = urlsplit(self.headers.get("location", ""))
        scheme = f"{target.scheme}:" if target.scheme else ""
        return scheme + (f"//{target.netloc.rpartition('@')[2]}" if target.netloc else "") + target.path

    @property
    def seen(self) -> str:
        """Return the status, and the first words of an error, for a finding."""
        content = self.json()
        said = " ".join(str(content[key]) for key in ("error_code", "message") if content.get(key))
        if not said and "html" not in self.headers.get("content-type", ""):
            said = self.text
        if self.status < 400:  # not an error but data, which must not be shown
            said = ""
        said = " ".join(said.split())[:EXCERPT]
        return f"{self.status} {http.client.responses.get(self.status, '')}".strip() + (f" '{said}'" if said else "")


class NoAnswer(Exception):
    """A request without a complete answer: C(kind) is the reason, C(connected) whether the connection was made."""

    def __init__(self, kind: str, where: str, detail: str, connected: bool) -> None:
        super().__init__(detail)
        self.kind = kind
        self.where = where
        self.detail = detail
        self.connected = connected

    @property
    def seen(self) -> str:
        """Return in words what happened."""
        return f"{self.detail} ({self.where})"

    @property
    def hopeless(self) -> bool:
        """Return whether another request to the same address would fail in the same way."""
        return self.kind in ("resolve", "refused", "unreachable", "timeout", "tls")

    @property
    def fault(self) -> str:
        """Return the name, in the catalogue, of the fault that best explains the failure of a server that should answer at this address."""
        return "answer-late" if self.kind == "timeout" and self.connected else FAULT_OF_KIND[self.kind]


#: The fault that explains each kind of failure.
FAULT_OF_KIND = {
    "resolve": "name-does-not-resolve",
    "refused": "connection-refused",
    "unreachable": "address-unreachable",
    "timeout": "connection-timeout",
    "reset": "connection-dropped",
    "tls": "tls-fails",
    "protocol": "not-http",
    "error": "connection-broken",
}


def no_answer(error: Exception, where: str, connected: bool, seconds: float) -> NoAnswer:
    """Convert an exception of the modules socket, ssl and http.client into words."""
    if isinstance(error, socket.gaierror):
        return NoAnswer("resolve", where, "the name does not resolve", connected)
    if isinstance(error, (TimeoutError, socket.timeout)):  # the same class only from Python 3.10 on
        doing = "complete answer" if connected else "connection"
        return NoAnswer("timeout", where, f"no {doing} within {seconds:g} seconds", connected)
    if isinstance(error, ssl.SSLError):
        return NoAnswer("tls", where, f"TLS failed: {getattr(error, 'verify_message', '') or error.reason or 'the other side closed'}", connected)
    if isinstance(error, ConnectionRefusedError):
        return NoAnswer("refused", where, "connection refused", connected)
    if isinstance(error, (ConnectionError, http.client.IncompleteRead)):
        return NoAnswer("reset", where, "connection reset by peer", connected)
    if isinstance(error, http.client.HTTPException):
        return NoAnswer("protocol", where, "an answer that is not HTTP", connected)
    if isinstance(error, OSError) and error.errno in (errno.ENETUNREACH, errno.EHOSTUNREACH):
        return NoAnswer("unreachable", where, "address unreachable", connected)
    return NoAnswer("error", where, f"{type(error).__name__}: {getattr(error, 'strerror', None) or 'no detail'}", connected)


class Deadline:
    """Closes a connection when its time is over, also if data arrive so slowly that the socket's own time-out does not apply."""

    def __init__(self, sock: socket.socket, seconds: float) -> None:
        self.sock = sock
        self.over = False
        self._timer = threading.Timer(seconds, self._cut)
        self._timer.daemon = True

    def _cut(self) -> None:
        self.over = True
        with contextlib.suppress(OSError):  # the connection may be closed already
            # The method of the plain socket: that of an SSLSocket would remove the TLS state while another thread reads.
            socket.socket.shutdown(self.sock, socket.SHUT_RDWR)

    def __enter__(self) -> Deadline:
        self._timer.start()
        return self

    def __exit__(self, *_exc: object) -> None:
        self._timer.cancel()
        self.sock.close()


def tls_context(ca_path: str | None, validate: bool) -> ssl.SSLContext:
    """Return the context for https; OSError if the CA file cannot be read."""
    try:
        context = ssl.create_default_context(cafile=ca_path)
    except OSError as error:
        # The error of ssl has no name of a file.
        raise OSError(f"The CA file {ca_path} cannot be read: {error.strerror or error}") from error
    if not validate:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def _open_tunnel(sock: socket.socket, base: Base, proxy: Proxy, where: str) -> None:
    """Let a proxy connect an open connection with a server."""
    target = with_port(base.host, base.port)
    login = f"Proxy-Authorization: {proxy.login}\r\n" if proxy.login else ""
    sock.sendall(f"CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n{login}\r\n".encode())
    answer = http.client.HTTPResponse(sock, method="CONNECT")
    answer.begin()
    if answer.status != 200:
        raise NoAnswer("error", where, f"the proxy answered {answer.status} {answer.reason}".strip(), True)


def ask(
    base: Base,
    method: str,
    target: str,
    *,
    host: str | None = None,
    headers: Mapping[str, str] | None = None,
    body: bytes | None = None,
    timeout: float = 10,
    tls: ssl.SSLContext | None = None,
    proxy: Proxy | None = None,
) -> Answer:
    """Send one request to a base's address and return the answer, whatever its status.

    C(target) is the whole path with its query. C(host) is the Host header (by default the base's own). C(timeout) in
    seconds is for the whole request. C(proxy) opens the connection. Raises NoAnswer.
    """
    where = with_port(base.host, base.port) + (f" through the proxy {with_port(proxy.host, proxy.port)}" if proxy else "")
    begin = time.monotonic()
    connected = False
    try:
        sock = socket.create_connection((proxy.host, proxy.port) if proxy else (base.host, base.port), timeout)
        connected = True
        with Deadline(sock, max(0.0, begin + timeout - time.monotonic())) as deadline:
            try:
                if proxy:
                    _open_tunnel(sock, base, proxy, where)
                if base.scheme == "https":
                    context = tls or ssl.create_default_context()
                    deadline.sock = sock = context.wrap_socket(sock, server_hostname=base.tls_name or base.host, do_handshake_on_connect=False)
                    sock.do_handshake()
                connection = http.client.HTTPConnection(base.host, base.port)
                connection.sock = sock
                status, answered, content = _exchange(connection, method, target, host or base.host_header(base.host), headers or {}, body)
            except (OSError, http.client.HTTPException) as error:
                raise (TimeoutError() if deadline.over else error) from None
            if deadline.over:  # data before the deadline may look like a complete answer
                raise TimeoutError
    except (OSError, http.client.HTTPException) as error:
        raise no_answer(error, where, connected, timeout) from None
    return Answer(status, answered, content, time.monotonic() - begin)


def _exchange(
    connection: http.client.HTTPConnection, method: str, target: str, host: str, headers: Mapping[str, str], body: bytes | None
) -> tuple[int, dict[str, str], bytes]:
    """Send a request over an open connection, and return status, headers by lower-case name, and body."""
    connection.putrequest(method, target, skip_host=True, skip_accept_encoding=True)
    for name, value in {"Host": host, "Connection": "close", **headers}.items():
        connection.putheader(name, value)
    if body is not None:
        connection.putheader("Content-Length", str(len(body)))
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # a server may refuse a body without reading it: its answer has the reason
        connection.endheaders(body)
    response = connection.getresponse()
    return response.status, {name.lower(): value for name, value in response.getheaders()}, response.read()
