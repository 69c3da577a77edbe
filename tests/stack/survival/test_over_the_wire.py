"""Bad input over the wire, from a host that has no part in the stack: what gets in is nothing, and others are served meanwhile.

The last test looks for what the others have tried to leave behind: all of it is called by the same word.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest
from stack.support import PORT, Service, ask, base_url, run_python, service_of
from testinfra.host import Host

WORD = "got-in"
API = "/api/2.0/mlflow"
SEARCH, CREATE = f"{API}/experiments/search?max_results=1000", f"{API}/experiments/create"
ARTIFACTS = "/api/2.0/mlflow-artifacts/artifacts"

#: Sends requests as they stand, each a list of texts and how often each is sent, and prints the answers as JSON. For run_python.
SEND = """
import json, socket, sys
name, port, wait, requests = json.load(sys.stdin)
answers = []
for chunks in requests:
    connection, answer = socket.create_connection((name, port), timeout=wait), b""
    try:
        for text, times in chunks:
            for _ in range(times):
                connection.sendall(text.encode("latin-1"))
    except OSError:
        pass  # It may answer, and close, before it has all.
    try:
        while len(answer) < 1_000_000 and (more := connection.recv(65536)):
            answer += more
    except OSError as error:
        answer = answer or f"nothing: {error}".encode()
    connection.close()
    answers.append(answer.decode(errors="replace"))
print(json.dumps(answers))
"""

#: Opens many connections, sends a byte a second on each, and asks all the while as others do. Prints how often,
#: how often it was answered, and how many of the slow ones are still there.
DRIP = """
import json, socket, sys, threading, time, urllib.request
name, port, url, seconds, heads = json.load(sys.stdin)
opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
slow = []
for head in heads:
    slow.append(socket.create_connection((name, port)))
    slow[-1].sendall(head.encode())
end = time.monotonic() + seconds
def drip():
    while time.monotonic() < end:
        for connection in list(slow):
            try:
                connection.sendall(b"a")
            except OSError:
                slow.remove(connection)
        time.sleep(1)
threading.Thread(target=drip, daemon=True).start()
asked, answered = 0, 0
while time.monotonic() < end:
    asked += 1
    try:
        with opener.open(url, timeout=seconds) as response:
            answered += response.status == 200
    except OSError as error:
        print(error, file=sys.stderr)
    time.sleep(0.2)
print(json.dumps([asked, answered, len(slow)]))
"""


@pytest.fixture(scope="module", autouse=True)
def stamp(server: Host) -> str:
    """Return a file that is as old as these tests."""
    server.check_output("touch /run/wire-stamp")
    return "/run/wire-stamp"


@pytest.fixture(scope="module")
def run(client: Host, server_name: str) -> dict[str, str]:
    """Return a run of an experiment, and the model that versions are made of."""
    base = base_url(server_name)
    experiment = ask(client, f"{base}{CREATE}", method="POST", body={"name": "wire"}).json()["experiment_id"]
    ask(client, f"{base}{API}/registered-models/create", method="POST", body={"name": "wire"})
    return ask(client, f"{base}{API}/runs/create", method="POST", body={"experiment_id": experiment}).json()["run"]["info"]


def send(client: Host, name: str, requests: Sequence[str | list[Any]], wait: float = 30) -> list[str]:
    """Send requests as they stand, one after the other, and return the answers."""
    chunks = [[[part, 1] if isinstance(part, str) else part for part in ([request] if isinstance(request, str) else request)] for request in requests]
    return run_python(client, SEND, [name, PORT, wait, chunks])


def head(name: str, path: str, method: str = "GET", headers: str = "", length: int | None = None) -> str:
    """Return a request's head."""
    content = "" if length is None else f"Content-Type: application/json\r\nContent-Length: {length}\r\n"
    return f"{method} {path} HTTP/1.1\r\nHost: {name}:{PORT}\r\nConnection: close\r\n{headers}{content}\r\n"


def whole(name: str, path: str, body: Any, method: str = "POST", headers: str = "") -> str:
    """Return a request with a body, which is JSON unless it is text."""
    text = body if isinstance(body, str) else json.dumps(body)
    return head(name, path, method, headers, len(text.encode())) + text


def status(answer: str) -> int:
    """Return an answer's status, 0 where there was none."""
    return int(answer.split(" ", 2)[1]) if answer.startswith("HTTP/1.1 ") else 0


def test_a_foreign_host_is_refused(client: Host, server_name: str) -> None:
    own = f"{server_name}:{PORT}"
    hosts = ["evil.example", f"evil.example:{PORT}", "10.evil.com", f"{server_name}.evil.com:{PORT}", f"localhost@evil.com:{PORT}", "", f"{own}, evil"]
    asked = [f"GET {SEARCH} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n" for host in [own, *hosts]]
    asked += [
        f"GET {SEARCH} HTTP/1.1\r\nHost: {own}\r\nHost: evil.example\r\nConnection: close\r\n\r\n",
        f"GET {SEARCH} HTTP/1.1\r\nHost: evil.example\r\nHost: {own}\r\nConnection: close\r\n\r\n",
        f"GET {SEARCH} HTTP/1.1\r\nConnection: close\r\n\r\n",
        f"GET {SEARCH} HTTP/1.0\r\n\r\n",
        f"GET {SEARCH} HTTP/1.1\r\nHost: evil.example\r\nX-Forwarded-Host: {own}\r\nConnection: close\r\n\r\n",
    ]
    first, *others = send(client, server_name, asked)
    assert status(first) == 200, first
    assert {status(answer) for answer in others} <= {400, 403}, list(zip(asked[1:], others, strict=True))


def test_a_page_of_a_foreign_origin_changes_nothing(client: Host, server_name: str) -> None:
    origins = ["http://evil.example", f"http://evil.example:{PORT}", "null", "http://localhost.evil.example", f"http://{server_name}.evil.example:{PORT}"]
    body = {"name": f"{WORD} by a foreign page"}
    asked = [whole(server_name, CREATE, body, headers=f"Origin: {origin}\r\n") for origin in origins]
    # What a page may send without being asked first.
    asked.append(asked[0].replace("application/json", "text/plain"))
    answers = send(client, server_name, asked)
    assert {status(answer) for answer in answers} == {403}, answers
    wishes = "Access-Control-Request-Method: POST\r\nAccess-Control-Request-Headers: content-type\r\n"
    answers = send(client, server_name, [head(server_name, CREATE, "OPTIONS", f"Origin: {origin}\r\n{wishes}") for origin in origins])
    assert [answer for answer in answers if "access-control-allow-origin" in answer.lower()] == []


UP = ("..", "%2e%2e", "%252e%252e", ".%2e", "..%00", "..;")
NAMES = [
    *(f"{up}/{up}/{up}/{up}/{WORD}" for up in UP),
    *(f"{up}%2f{up}%2f{up}%2f{up}%2f{WORD}" for up in UP),
    *(f"wire/{up}/{up}/{up}/{up}/{WORD}" for up in UP[:3]),
    f"..\\..\\..\\{WORD}",
    f"..%5c..%5c..%5c{WORD}",
    f"/var/tmp/{WORD}",
    f"%2fvar%2ftmp%2f{WORD}",
    f"%252fvar%252ftmp%252f{WORD}",
    f"C:%5c{WORD}",
    f"file:///var/tmp/{WORD}",
    f"file:%2f%2f%2fvar%2ftmp%2f{WORD}",
    f"s3://other/{WORD}",
    f"../.minio.sys/config/{WORD}",
]


def test_no_name_of_an_artifact_leads_out_of_the_store(client: Host, server_name: str, run: dict[str, str]) -> None:
    asked = [whole(server_name, f"{ARTIFACTS}/{name}", WORD, method) for name in NAMES for method in ("PUT", "DELETE")]
    asked += [whole(server_name, f"/ajax-api/2.0/mlflow/upload-artifact?run_uuid={run['run_id']}&path={name}", WORD) for name in NAMES]
    answers = send(client, server_name, asked)
    # A NUL and a semicolon are letters like others in the name of an object.
    odd = [(request.split(" ", 2)[1], answer[:200]) for request, answer in zip(asked, answers, strict=True) if status(answer) < 300]
    assert [one for one in odd if "%00" not in one[0] and ";" not in one[0]] == []
    reads = [name.replace(WORD, "passwd").replace("var/tmp", "etc").replace("var%2ftmp", "etc") for name in NAMES]
    ways = [f"{ARTIFACTS}/", f"{ARTIFACTS}?path=", f"/get-artifact?run_id={run['run_id']}&path=", f"{API}/artifacts/list?run_id={run['run_id']}&path="]
    answers = send(client, server_name, [head(server_name, way + name) for way in ways for name in reads])
    assert [answer for answer in answers if "root:" in answer] == []


def test_no_source_of_a_model_leads_to_a_file_of_the_server(client: Host, server_name: str, run: dict[str, str]) -> None:
    local = ["file:///etc", "file:/etc", "FILE:///etc", "file://localhost/etc", "/etc", "../../etc"]
    others = ["mlflow-artifacts:/../../etc", "mlflow-artifacts:/%2e%2e/etc", "runs:/../../etc", "http://127.0.0.1:9000/etc", "ftp://127.0.0.1/etc"]
    asked = [{"name": "wire", "source": source, **way} for source in local + others for way in ({}, {"run_id": run["run_id"]})]
    answers = send(client, server_name, [whole(server_name, f"{API}/model-versions/create", body) for body in asked])
    assert {status(answer) for answer in answers} == {400}, list(zip(asked, answers, strict=True))


def test_no_experiment_reads_or_writes_files_of_the_server(client: Host, server_name: str) -> None:
    """MLflow lets a client say where an experiment's artifacts are, also in a folder of the server's: what confines the service counts here."""
    places = ["file:///etc", "/etc", "file:///etc?x", "file:///etc#", "../../etc", "file:///opt/mlflow", "/root", "mlflow-artifacts:/../../etc"]
    made = send(client, server_name, [whole(server_name, CREATE, {"name": f"wire {place}", "artifact_location": place}) for place in places])
    experiments = [json.loads(answer.partition("\r\n\r\n")[2])["experiment_id"] for answer in made if status(answer) == 200]
    create = f"{base_url(server_name)}{API}/runs/create"
    runs = [ask(client, create, method="POST", body={"experiment_id": one}).json()["run"]["info"]["run_id"] for one in experiments]
    asked = [whole(server_name, f"/ajax-api/2.0/mlflow/upload-artifact?run_uuid={one}&path={WORD}", WORD) for one in runs]
    asked += [head(server_name, f"/get-artifact?run_id={one}&path={name}") for one in runs for name in ("passwd", "../../passwd", "%2e%2e/%2e%2e/passwd")]
    assert experiments and [answer for answer in send(client, server_name, asked) if "root:" in answer] == []


def memory(service: Service) -> int:
    """Return the resident bytes of the service's processes."""
    return 1024 * sum(int(service.host.run(f"ps -o rss= -p {pid}").stdout or 0) for pid in service.pids)


def test_what_is_too_big_does_no_harm(client: Host, server: Host, server_name: str) -> None:
    service = service_of(server)
    before, pids = memory(service), service.pids
    mebibyte = ["x" * 1024, 1024]
    asked = [
        [head(server_name, CREATE, "POST", length=48 * 1024**2 + 11), '{"name": "', *[mebibyte] * 48, "}"],
        [head(server_name, CREATE, "POST", length=2 * 1024**2), ["[" * 1024, 1024], ["]" * 1024, 1024]],
        [head(server_name, CREATE, "POST", "Transfer-Encoding: chunked\r\n"), ["400\r\n" + "x" * 1024 + "\r\n", 48 * 1024], "0\r\n\r\n"],
        [f"GET {SEARCH} HTTP/1.1\r\nHost: {server_name}:{PORT}\r\nX-Big: ", mebibyte, "\r\n\r\n"],
        [f"GET {SEARCH} HTTP/1.1\r\nHost: {server_name}:{PORT}\r\n", ["X-Many: x\r\n", 20000], "\r\n"],
        [f"GET {SEARCH}&big=", mebibyte, f" HTTP/1.1\r\nHost: {server_name}:{PORT}\r\n\r\n"],
    ]
    answers = send(client, server_name, asked, wait=120)
    assert all(status(answer) in (0, 400, 413, 414, 431, 500) and not answer.startswith("nothing: timed out") for answer in answers), answers
    assert service_of(server).pids == pids, server.run(service.log).stdout
    assert memory(service) - before < 512 * 1024**2
    assert ask(client, f"{base_url(server_name)}{SEARCH}").status == 200


def test_broken_http_carries_no_second_request(client: Host, server_name: str) -> None:
    second = whole(server_name, CREATE, {"name": f"{WORD} behind another request"})
    start = f"POST {SEARCH} HTTP/1.1\r\nHost: {server_name}:{PORT}\r\nConnection: close\r\n"
    lengths = [
        f"Content-Length: 0\r\nContent-Length: {len(second)}\r\n",
        "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n",
        "Transfer-Encoding: xchunked\r\n",
        "Content-Length: -1\r\n",
        "Content-Length: +5\r\n",
        "Content-Length: 0, 44\r\n",
        "Content-Length : 5\r\n",
        "X-Nul: a\0b\r\n",
    ]
    asked = [f"{start}{length}\r\n0\r\n\r\n{second}" for length in lengths]
    asked += [f"{start}Transfer-Encoding: chunked\r\n\r\n{chunk}" for chunk in ("zz\r\nabc\r\n0\r\n\r\n", "5;a\nb\r\nabcde\r\n0\r\n\r\n")]
    asked += ["\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"]
    answers = send(client, server_name, asked, wait=10)
    assert all(status(answer) in (0, 400, 403) for answer in answers), list(zip(asked, answers, strict=True))


def test_an_upload_that_breaks_off_stores_nothing(client: Host, server_name: str) -> None:
    base = f"{ARTIFACTS}/wire"
    (stored,) = send(client, server_name, [whole(server_name, f"{base}/kept", "whole", "PUT")])
    assert status(stored) == 200, stored
    half = "import socket, sys; c = socket.create_connection((sys.argv[1], int(sys.argv[2]))); c.sendall(sys.argv[3].encode()); c.close()"
    for name in ("kept", "half"):
        client.check_output("python3 -c %s %s %s %s", half, server_name, str(PORT), head(server_name, f"{base}/{name}", "PUT", length=99999) + WORD)
    assert ask(client, f"{base_url(server_name)}{base}/kept").body == "whole"
    assert ask(client, f"{base_url(server_name)}{base}/half").status != 200


def test_slow_clients_starve_nobody(client: Host, server_name: str) -> None:
    heads = [
        f"GET {SEARCH} HTTP/1.1\r\nHost: {server_name}:{PORT}\r\nX-Slow: ",
        head(server_name, CREATE, "POST", length=1000),
        head(server_name, f"{ARTIFACTS}/wire/slow", "PUT", length=1000),
    ]
    asked, answered, slow = run_python(client, DRIP, [server_name, PORT, f"{base_url(server_name)}{SEARCH}", 15, heads * 24])
    assert asked > 5 and answered == asked and slow > 0


def test_nothing_got_in(client: Host, server: Host, server_name: str, stamp: str) -> None:
    experiments = ask(client, f"{base_url(server_name)}{SEARCH}").json()["experiments"]
    assert [one["name"] for one in experiments if WORD in one["name"]] == []
    assert server.check_output("find / -path /proc -prune -o -path /sys -prune -o -path /var/lib/minio/mlflow -prune -o -name %s -print", f"*{WORD}*") == ""
    assert server.check_output("find /etc /opt /usr /root /home /srv -newer %s", stamp) == ""
