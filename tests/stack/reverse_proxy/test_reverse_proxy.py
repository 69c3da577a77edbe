"""Two tracking servers behind a proxy that ends TLS, below a static prefix: who is served, who is turned away, and what happens when a server goes."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from stack.support import PORT, ROOT, address_of, ask, authority, connect, host_of, hosts_of, make_webhook, play, playbook, query, webhooks
from testinfra.host import Host

PREFIX = "/mlflow"
SEARCH = f"{PREFIX}/api/2.0/mlflow/experiments/search?max_results=1"
ARTIFACTS = f"{PREFIX}/api/2.0/mlflow-artifacts/artifacts"
LIMIT = 100 * 1024**2
#: The port of the proxy's metrics.
METRICS = 8405
#: An authority that has certified nobody here.
FOREIGN = ROOT / "tests/stack/embedded/authority.pem"
#: Seconds: a bound against waiting for ever, far above what anything here takes.
PATIENCE = 120

#: Speaks HTTP by hand over TLS: sends the pieces given, each after a pause, then a filling of zeros, and prints what comes back first.
SPEAK = """
import json, socket, ssl, sys, time
name, pieces, pause, zeros, authority = json.loads(sys.argv[1])
context = ssl.create_default_context(cadata=authority)
connection = context.wrap_socket(socket.create_connection((name, 443), 60), server_hostname=name)
try:
    for piece in pieces:
        connection.sendall(piece.encode())
        time.sleep(pause)
    while zeros > 0:
        zeros -= connection.send(bytes(min(zeros, 65536)))
except OSError:
    pass  # it has been cut off: what it was told is to be read
print(connection.recv(65536).decode(errors="replace"))
"""
#: Sends an artifact with a pause in its middle, for the time that a file is there, and prints the status of the answer.
PAUSE_WITHIN = """
import json, os, socket, ssl, sys, time
name, path, flag, authority = json.loads(sys.argv[1])
context = ssl.create_default_context(cadata=authority)
connection = context.wrap_socket(socket.create_connection((name, 443), 60), server_hostname=name)
connection.sendall(f"PUT {path} HTTP/1.1\\r\\nHost: {name}\\r\\nConnection: close\\r\\nContent-Length: 2000000\\r\\n\\r\\n".encode() + bytes(1000000))
open(flag, "w").close()
end = time.monotonic() + 60
while os.path.exists(flag) and time.monotonic() < end:
    time.sleep(0.1)
connection.sendall(bytes(1000000))
print(connection.recv(65536).decode(errors="replace").split()[1])
"""
#: Asks with headers, follows no redirect, and prints status and headers.
HEADERS = """
import http.client, json, ssl, sys
scheme, name, port, path, headers, authority = json.loads(sys.argv[1])
context = ssl.create_default_context(cadata=authority)
connection = http.client.HTTPSConnection(name, port, timeout=60, context=context) if scheme == "https" else http.client.HTTPConnection(name, port, timeout=60)
connection.request("GET", path, headers=headers)
answer = connection.getresponse()
print(json.dumps([answer.status, {name.lower(): value for name, value in answer.getheaders()}]))
"""
#: Sends an artifact of random bytes up and takes it down, and prints whether it came back the same.
ROUND_TRIP = """
import hashlib, json, os, ssl, sys, urllib.request
url, size, authority = json.loads(sys.argv[1])
trust = urllib.request.HTTPSHandler(context=ssl.create_default_context(cadata=authority))
opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), trust)
content = os.urandom(size)
opener.open(urllib.request.Request(url, method="PUT", data=content), timeout=300).close()
with opener.open(url, timeout=300) as answer:
    print(hashlib.sha256(answer.read()).digest() == hashlib.sha256(content).digest())
opener.open(urllib.request.Request(url, method="DELETE"), timeout=60).close()
"""
#: Asks HAProxy on its own host, through the socket that root alone may open.
STATE = """
import csv, io, json, socket
with socket.socket(socket.AF_UNIX) as connection:
    connection.connect("/run/haproxy/stats.sock")
    connection.sendall(b"show stat\\n")
    said = connection.makefile().read()
rows = csv.DictReader(io.StringIO(said.lstrip("# ")))
# A star says that the next check is under way.
print(json.dumps({row["svname"]: [row["status"].split()[0], row["check_status"].lstrip("* ")] for row in rows if row["pxname"] == "mlflow_servers"}))
"""


@pytest.fixture(scope="module")
def proxy() -> Host:
    """Return the proxy's host."""
    return host_of("haproxy")


@pytest.fixture(scope="module")
def proxy_name() -> str:
    """Return the proxy's name."""
    return hosts_of("haproxy")[0]


@pytest.fixture(scope="module")
def url(proxy_name: str) -> str:
    """Return what users call the tracking servers by."""
    return f"https://{proxy_name}"


def test_metrics_are_for_those_who_ask_a_server_itself(client: Host, url: str) -> None:
    """Who scrapes through the proxy would see one server now and another one then."""
    for path in ("/metrics", "//metrics", "/%6detrics"):
        answer = ask(client, url + path)
        assert answer.status == 404, (path, answer)
    for server in hosts_of("mlflow_servers"):
        # The firewall opens the servers' port to the proxy alone, and leaves loopback open.
        answer = ask(host_of("mlflow_servers", hosts_of("mlflow_servers").index(server)), f"http://localhost:{PORT}/metrics")
        assert answer.status == 200 and "mlflow_http_request_total" in answer.body, (server, answer)


def headers(client: Host, name: str, path: str, scheme: str = "https", port: int = 443, sent: dict[str, str] | None = None) -> tuple[int, dict[str, str]]:
    """Ask from a host, and return the status and the headers of the answer, which may be a redirect."""
    status, answered = json.loads(client.check_output("python3 -c %s %s", HEADERS, json.dumps([scheme, name, port, path, sent or {}, authority()])))
    return status, answered


def speak(client: Host, name: str, pieces: list[str], pause: float = 0, zeros: int = 0) -> str:
    """Return the beginning of what the proxy answers to a request that no library would send."""
    return client.check_output("python3 -c %s %s", SPEAK, json.dumps([name, pieces, pause, zeros, authority()]))


def states(proxy: Host) -> dict[str, list[str]]:
    """Return how HAProxy sees the servers."""
    return json.loads(proxy.check_output("python3 -c %s", STATE))


def until(condition: Callable[[], bool], what: str) -> None:
    """Wait for something to become true."""
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, what
        time.sleep(0.5)


@contextmanager
def stopped(host: Host, unit: str) -> Iterator[None]:
    """Have a service stopped for a while."""
    host.check_output("systemctl stop %s", unit)
    try:
        yield
    finally:
        host.check_output("systemctl start %s", unit)


def test_both_servers_serve_and_are_asked_for_their_api(proxy: Host) -> None:
    assert {name: states(proxy)[name] for name in hosts_of("mlflow_servers")} == dict.fromkeys(hosts_of("mlflow_servers"), ["UP", "L7OK"])
    servers = hosts_of("mlflow_servers")
    log = proxy.check_output("journalctl -u haproxy.service --no-pager -o cat")
    assert all(f"mlflow_servers/{server} " in log for server in servers), "not every server has been given a request"


def test_it_answers_by_every_name(client: Host, proxy: Host, url: str) -> None:
    for base, host in ((url, ""), (f"https://{address_of(proxy)}", ""), (url, "mlflow.example.com")):
        for path in (SEARCH, f"{PREFIX}/"):
            answer = ask(client, base + path, host=host)
            assert answer.status == 200, (base, host, path, answer)
    assert ask(client, url + SEARCH, host="evil.example.com").status == 403


@pytest.mark.parametrize("path", ["/health", f"{PREFIX}/health", "/version", f"{PREFIX}/version"])
def test_health_and_version_answer_with_the_prefix_and_without(client: Host, url: str, path: str) -> None:
    assert ask(client, url + path).body in {"OK", "3.17.2"}


@pytest.mark.parametrize("path", ["/", PREFIX])
def test_people_find_the_page_without_the_prefix(client: Host, proxy_name: str, path: str) -> None:
    status, answered = headers(client, proxy_name, path)
    assert (status, answered["location"]) == (302, f"{PREFIX}/")


def test_plain_http_is_sent_on_to_https(client: Host, proxy_name: str) -> None:
    status, answered = headers(client, proxy_name, SEARCH, scheme="http", port=80)
    assert (status, answered["location"]) == (308, f"https://{proxy_name}{SEARCH}")
    assert headers(client, proxy_name, SEARCH)[1]["strict-transport-security"] == "max-age=3600"


def test_the_page_may_call_its_own_server_and_others_may_not(client: Host, url: str) -> None:
    """A browser names the page's origin with each POST, also to the server that the page came from."""
    for origin, host, expected in (
        (url, "", 200),
        ("https://mlflow.example.com", "mlflow.example.com", 200),
        ("https://evil.example.com", "", 403),
    ):
        call = f"{url}{PREFIX}/ajax-api/2.0/mlflow/experiments/search"
        answer = ask(client, call, host=host, method="POST", body={"max_results": 1}, origin=origin)
        assert answer.status == expected, (origin, answer)


def test_the_servers_believe_the_proxy_alone_about_the_scheme(proxy: Host, server: Host) -> None:
    """MLflow itself redirects the prefix without a slash, by the scheme that it takes a request to have come with."""
    name = hosts_of("mlflow_servers")[0]
    told = {"X-Forwarded-Proto": "https"}
    assert headers(proxy, name, PREFIX, scheme="http", port=PORT, sent=told)[1]["location"].startswith("https://")
    # By its own address, which is no proxy's; a firewall keeps others from asking at all.
    assert headers(server, name, PREFIX, scheme="http", port=PORT, sent=told)[1]["location"].startswith("http://")


@pytest.mark.parametrize(("version", "spoken"), [("-tls1_1", False), ("-tls1_2", True), ("-tls1_3", True)])
def test_old_tls_is_not_spoken(client: Host, proxy_name: str, version: str, spoken: bool) -> None:
    session = client.run("openssl s_client %s -cipher DEFAULT:@SECLEVEL=0 -connect %s </dev/null", version, f"{proxy_name}:443")
    assert ("Cipher is (NONE)" not in session.stdout) == spoken, session


def test_a_slow_client_is_cut_off_while_others_are_served(client: Host, proxy_name: str, url: str) -> None:
    """A byte a second of a header that never ends, more of them than a limit of 3 seconds lets through."""
    line_end = "\r\n"
    slow = f"python3 -c '{SPEAK}' '{json.dumps([proxy_name, [f'GET {SEARCH} HTTP/1.1{line_end}Name: ', *'slowly'], 1, 0, authority()])}'"
    client.check_output("sh -c %s", f"({slow}) >/tmp/slow 2>&1 &")
    answers = [ask(client, url + SEARCH).status for _ in range(5)]
    assert answers == [200] * 5
    until(lambda: client.file("/tmp/slow").size > 0, "the slow client was not answered")
    assert "408" in client.file("/tmp/slow").content_string.splitlines()[0]


def test_a_body_beyond_the_limit_is_refused_before_it_is_sent(client: Host, proxy_name: str) -> None:
    head = f"PUT {ARTIFACTS}/0/huge HTTP/1.1\r\nHost: {proxy_name}\r\n"
    assert " 413 " in speak(client, proxy_name, [f"{head}Content-Length: {LIMIT + 1}\r\n\r\n"]).splitlines()[0]
    # One that does not say its length could be of any, and is let through while it is small.
    chunk = f"10000\r\n{'x' * 0x10000}\r\n"
    assert " 411 " in speak(client, proxy_name, [f"{head}Transfer-Encoding: chunked\r\n\r\n{chunk}"]).splitlines()[0]
    empty = f"{head.replace('/huge', '/empty')}Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
    assert " 200 " in speak(client, proxy_name, [empty]).splitlines()[0]


def test_a_webhook_of_one_server_is_read_by_all_workers_of_both(client: Host, url: str) -> None:
    assert make_webhook(client, f"{url}{PREFIX}").status == 200
    assert webhooks(client, f"{url}{PREFIX}", 12) == {(200, ("kept",))}


def test_a_large_artifact_passes_both_ways(client: Host, url: str) -> None:
    """As large as the limit lets through."""
    given = json.dumps([f"{url}{ARTIFACTS}/0/large", LIMIT, authority()])
    assert client.check_output("python3 -c %s %s", ROUND_TRIP, given) == "True"


def test_an_upload_outlives_a_reload(client: Host, proxy: Host, proxy_name: str) -> None:
    flag = "/tmp/upload-under-way"
    given = json.dumps([proxy_name, f"{ARTIFACTS}/0/paused", flag, authority()])
    client.check_output("sh -c %s", f"(python3 -c '{PAUSE_WITHIN}' '{given}') >/tmp/paused 2>&1 &")
    until(lambda: client.file(flag).exists, "the upload has not begun")
    before = proxy.check_output("systemctl show --property MainPID --value haproxy.service")
    proxy.check_output("systemctl reload haproxy.service")
    assert proxy.check_output("systemctl show --property MainPID --value haproxy.service") == before
    client.check_output("rm %s", flag)
    until(lambda: client.file("/tmp/paused").size > 0, "the upload was not answered")
    assert client.file("/tmp/paused").content_string.strip() == "200"


def test_it_runs_as_its_own_user_and_is_confined(proxy: Host) -> None:
    pids = proxy.check_output("pgrep --exact haproxy").split()
    assert len(pids) >= 2 and {proxy.check_output("ps -o user= -p %s", pid).strip() for pid in pids} == {"haproxy"}
    assert all("Seccomp:\t2" in proxy.file(f"/proc/{pid}/status").content_string for pid in pids)
    rating = proxy.check_output("systemd-analyze security --no-pager haproxy.service")
    found = re.search(r"Overall exposure level for \S+: ([0-9.]+)", rating)
    assert found and float(found.group(1)) <= 2.0, rating
    key = proxy.file("/etc/atlas-mlflow/tls/haproxy.pem.key")
    assert (key.user, key.mode) == ("haproxy", 0o400)


def test_a_server_that_goes_is_not_noticed(client: Host, proxy: Host, url: str) -> None:
    second = hosts_of("mlflow_servers")[1]
    with stopped(host_of("mlflow_servers", 1), "mlflow-server.service"):
        # Before and after the proxy has found out.
        assert [ask(client, url + SEARCH).status for _ in range(4)] == [200] * 4
        until(lambda: states(proxy)[second][0] == "DOWN", "a stopped server is not taken out")
        assert [ask(client, url + SEARCH).status for _ in range(4)] == [200] * 4
    until(lambda: states(proxy)[second][0] == "UP", "a started server is not taken in")


def test_health_does_not_say_that_all_is_well_without_the_database(client: Host, proxy: Host, postgres: Host, url: str) -> None:
    """MLflow's own health path does."""
    assert query(postgres, "SELECT 1") == "1"
    with stopped(postgres, "postgresql@15-main.service"):
        until(lambda: ask(client, f"{url}/health").status == 503, "servers without a database are not taken out")
    until(lambda: ask(client, url + SEARCH).status == 200, "the servers do not come back with their database")
    until(lambda: {states(proxy)[name][0] for name in hosts_of("mlflow_servers")} == {"UP"}, "not every server came back")


def test_tls_goes_on_to_the_servers_where_it_shall(client: Host, proxy: Host, url: str, tmp_path: Path) -> None:
    """Which changes both sides, and nothing that users see."""
    servers = hosts_of("mlflow_servers")
    done = play(playbook("site", {"haproxy": {"vars": {"haproxy_servers_tls": True}}}, tmp_path))
    assert done.returncode == 0, done.stdout[-5000:]
    assert {name: states(proxy)[name] for name in servers} == dict.fromkeys(servers, ["UP", "L7OK"])
    assert ask(client, url + SEARCH).status == 200
    # From the one place that the firewall lets ask.
    assert [ask(proxy, f"{scheme}://{servers[0]}:{PORT}{SEARCH}").status for scheme in ("https", "http")] == [200, 0]


def test_a_server_whose_certificate_is_of_another_authority_is_given_nothing(client: Host, proxy: Host, url: str) -> None:
    authorities = "/etc/atlas-mlflow/tls/haproxy-authority.pem"
    proxy.check_output("cp --preserve %s /run/kept && echo %s > %s", authorities, FOREIGN.read_text(), authorities)
    proxy.check_output("systemctl reload haproxy.service")
    try:
        until(lambda: {states(proxy)[name][0] for name in hosts_of("mlflow_servers")} == {"DOWN"}, "servers that cannot prove themselves are asked")
        assert ask(client, url + SEARCH).status == 503
    finally:
        proxy.check_output("cp --preserve /run/kept %s && systemctl reload haproxy.service", authorities)
    until(lambda: {states(proxy)[name][0] for name in hosts_of("mlflow_servers")} == {"UP"}, "not every server came back")


def test_metrics_of_the_proxy_are_for_those_who_are_named(client: Host, proxy: Host, server: Host, proxy_name: str, tmp_path: Path) -> None:
    """By the firewall and, for those behind it, by HAProxy."""
    given = {"haproxy_metrics_port": METRICS, "haproxy_metrics_address": "0.0.0.0", "haproxy_metrics_clients": [address_of(client)]}
    done = play(playbook("site", {"haproxy": {"vars": given}}, tmp_path))
    assert done.returncode == 0, done.stdout[-5000:]
    answer = ask(client, f"https://{proxy_name}:{METRICS}/metrics")
    assert answer.status == 200
    for name in hosts_of("mlflow_servers"):
        assert re.search(rf'^haproxy_server_status{{proxy="mlflow_servers",server="{name}",state="UP"}} 1$', answer.body, re.MULTILINE), name
    assert ask(client, f"https://{proxy_name}:{METRICS}/").status == 404
    assert connect(server, proxy, METRICS) == ["dropped"]
    # The firewall lets a host ask itself. By its own address, it is not among the named.
    assert ask(proxy, f"https://{address_of(proxy)}:{METRICS}/metrics").status == 403
    assert ask(proxy, f"https://localhost:{METRICS}/metrics").status == 200
