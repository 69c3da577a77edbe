"""Artifacts are streamed between clients and MinIO: in ranges, whole or not at all, and nothing stays of an upload that ends early."""

from __future__ import annotations

import concurrent.futures
import time
import uuid
from typing import Any

import pytest
from stack.support import administrator, ask, authority, base_url, minio_endpoint, run_boto, run_python
from testinfra.host import Host

#: Bytes of an artifact: several parts of a multipart upload.
LENGTH = 20 * 2**20 + 7

#: Opens a connection, as the scripts below do it.
CONNECT = """
import base64, http.client, json, random, ssl, sys, time, urllib.parse
url, authority, login, length, more = json.load(sys.stdin)
parts = urllib.parse.urlsplit(url)
secure = {"context": ssl.create_default_context(cadata=authority)} if authority else {}
kind = http.client.HTTPSConnection if authority else http.client.HTTPConnection
connection = kind(parts.hostname, parts.port, timeout=60, **secure)
headers = {"Authorization": "Basic " + base64.b64encode(":".join(login).encode()).decode()} if login else {}
content = random.Random(length).randbytes(length)
def ask(method, path, body=None, **given):
    connection.request(method, path, body, {**headers, **given})
    answer = connection.getresponse()
    return answer, answer.read()
"""

#: Stores an artifact, and reads it back whole and in ranges, by the artifact's own path and by the one that MLflow's page asks.
ROUND_TRIP = (
    CONNECT
    + """
seen = {"stored": ask("PUT", parts.path, content)[0].status}
for name, path in (("artifact", parts.path), ("page", more)):
    whole, body = ask("GET", path)
    seen[name] = {"status": whole.status, "headers": {key.lower(): value for key, value in whole.getheaders()}, "same": body == content}
    tag = whole.headers["ETag"]
    for what, given, expected in (
        ("middle", {"Range": "bytes=9000000-9000099"}, content[9000000:9000100]),
        ("end", {"Range": "bytes=-5", "If-Range": tag}, content[-5:]),
        ("replaced", {"Range": "bytes=-5", "If-Range": '"other"'}, content),
        ("behind", {"Range": f"bytes={length}-"}, b""),
    ):
        answer, body = ask("GET", path, **given)
        seen[name][what] = [answer.status, answer.headers["Content-Range"], body == expected]
print(json.dumps(seen))
"""
)

#: Sends the first half of an artifact, and closes the connection after some seconds.
GO_AWAY = (
    CONNECT
    + """
connection.putrequest("PUT", parts.path)
for name, value in {**headers, "Content-Length": str(2 * length)}.items():
    connection.putheader(name, value)
connection.endheaders()
connection.send(content)
time.sleep(more)
connection.close()
print(json.dumps("gone"))
"""
)

#: Tells how many unfinished uploads MinIO has for a key, and whether there is an object.
UNFINISHED = """
import boto3, json, sys, time
endpoint, secret_key, key, wanted = json.load(sys.stdin)
client = boto3.client("s3", endpoint_url=endpoint, aws_access_key_id="mlflow", aws_secret_access_key=secret_key, region_name="us-east-1")
def look():
    uploads = client.list_multipart_uploads(Bucket="mlflow", Prefix=key).get("Uploads", [])
    return [len(uploads), client.list_objects_v2(Bucket="mlflow", Prefix=key)["KeyCount"]]
deadline = time.monotonic() + 20
while look()[0] != wanted and time.monotonic() < deadline:
    time.sleep(0.1)
print(json.dumps(look()))
"""


@pytest.fixture(scope="module")
def run(client: Host, server_name: str) -> dict[str, str]:
    """Return a new run."""
    api = f"{base_url(server_name)}/api/2.0/mlflow"
    experiment = ask(client, f"{api}/experiments/create", method="POST", body={"name": f"artifacts-{uuid.uuid4().hex}"}).json()["experiment_id"]
    info: dict[str, str] = ask(client, f"{api}/runs/create", method="POST", body={"experiment_id": experiment}).json()["run"]["info"]
    return info


def exchange(client: Host, server_name: str, script: str, key: str, more: Any) -> Any:
    """Run a script on the client with the URL of an artifact, and return what it prints."""
    return run_python(client, script, [f"{base_url(server_name)}/api/2.0/mlflow-artifacts/artifacts/{key}", authority(), administrator(), LENGTH, more])


def test_an_artifact_comes_back_whole_and_in_ranges(client: Host, server_name: str, run: dict[str, str]) -> None:
    root = run["artifact_uri"].removeprefix("mlflow-artifacts:/")
    seen = exchange(client, server_name, ROUND_TRIP, f"{root}/page.html", f"/get-artifact?run_id={run['run_id']}&path=page.html")
    assert seen.pop("stored") == 200
    for name, answers in seen.items():
        headers = answers.pop("headers")
        assert (headers["content-length"], headers["accept-ranges"]) == (str(LENGTH), "bytes"), name
        # What a client uploaded is not shown as a page of this server.
        assert (headers["content-disposition"], headers["x-content-type-options"]) == ("attachment; filename=page.html", "nosniff"), name
        assert answers == {
            "status": 200,
            "same": True,
            "middle": [206, f"bytes 9000000-9000099/{LENGTH}", True],
            "end": [206, f"bytes {LENGTH - 5}-{LENGTH - 1}/{LENGTH}", True],
            "replaced": [200, None, True],
            "behind": [416, f"bytes */{LENGTH}", True],
        }, name


def test_nothing_stays_of_a_client_that_goes_away(client: Host, server_name: str, minio: Host, run: dict[str, str], secrets: dict[str, str]) -> None:
    key = run["artifact_uri"].removeprefix("mlflow-artifacts:/") + "/gone.bin"
    asked = [minio_endpoint(minio), secrets["minio_secret_key"], key]
    with concurrent.futures.ThreadPoolExecutor() as pool:
        sender = pool.submit(exchange, client, server_name, GO_AWAY, key, 4)
        # The first parts are in the store already.
        assert run_boto(minio, UNFINISHED, [*asked, 1]) == [1, 0]
        began = time.monotonic()
        assert sender.result() == "gone"
    assert run_boto(minio, UNFINISHED, [*asked, 0]) == [0, 0]
    assert time.monotonic() - began < 20
