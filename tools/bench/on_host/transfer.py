"""Measure artifacts through the tracking server, and straight to the store by boto3, in turns. Runs on the host, in the server's environment.

Arguments: the URL of the server, the number of bytes of a file, the number of files, the number of rounds, the ways (with commas), and the URL of the proxy for
the way `proxy`. Prints seconds as JSON.
"""

import concurrent.futures
import filecmp
import json
import logging
import os
import sys
import tempfile
import time
import urllib.parse
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import boto3
import mlflow
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

#: Threads of boto3 for many files: MLflow's client takes as many.
THREADS = 8
#: What a client sets to use a server in direct mode, also for files that are not large.
DIRECT = {
    "MLFLOW_ENABLE_PROXY_MULTIPART_UPLOAD": "true",
    "MLFLOW_ENABLE_PROXY_MULTIPART_DOWNLOAD": "true",
    "MLFLOW_MULTIPART_UPLOAD_MINIMUM_FILE_SIZE": "10000000",
    "MLFLOW_MULTIPART_DOWNLOAD_MINIMUM_FILE_SIZE": "10000000",
}

url, size, count, rounds, ways = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]), sys.argv[5].split(",")
logging.getLogger("mlflow").setLevel(logging.ERROR)
os.environ["MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR"] = "false"
destination = urllib.parse.urlsplit(os.environ["MLFLOW_ARTIFACTS_DESTINATION"].removeprefix("proxied-"))
bucket = destination.netloc
s3 = boto3.client("s3", endpoint_url=os.environ["MLFLOW_S3_ENDPOINT_URL"])
client = mlflow.MlflowClient(url)
found = client.get_experiment_by_name("bench-transfer")
experiment = found.experiment_id if found else client.create_experiment("bench-transfer")
run = client.create_run(experiment)
root = (destination.path.strip("/") + urllib.parse.urlsplit(run.info.artifact_uri).path).strip("/")
#: Where plain requests go, by way.
artifacts = f"/api/2.0/mlflow-artifacts/artifacts{urllib.parse.urlsplit(run.info.artifact_uri).path}"
plain = {way: base + artifacts for way, base in zip(("http", "proxy"), (url, *sys.argv[6:]))}
#: What ends the name of a way that transfers one file after the other, as MLflow's client uploads them.
IN_TURN = "-in-turn"


def each(action: Callable[[str], object], names: list[str], threads: int) -> None:
    """Call a function for each name, in threads if there are several names."""
    if len(names) == 1 or threads == 1:
        for name in names:
            action(name)
        return
    with concurrent.futures.ThreadPoolExecutor(threads) as pool:
        list(pool.map(action, names))


def up_boto3(source: Path, folder: str, name: str) -> None:
    """Upload a file by boto3."""
    s3.upload_file(str(source / name), bucket, f"{root}/{folder}/{name}")


def down_boto3(target: Path, folder: str, name: str) -> None:
    """Download a file by boto3."""
    s3.download_file(bucket, f"{root}/{folder}/{name}", str(target / name))


def repository(folder: str) -> Any:
    """Return MLflow's client of a folder of artifacts."""
    return get_artifact_repository(f"{run.info.artifact_uri}/{folder}", tracking_uri=url)


def put(address: str, source: Path) -> None:
    """Upload a file by one plain request."""
    with source.open("rb") as body:
        headers = {"Content-Length": str(source.stat().st_size), "Content-Type": "application/octet-stream"}
        urllib.request.urlopen(urllib.request.Request(address, data=body, headers=headers, method="PUT")).read()


def get(address: str, target: Path) -> None:
    """Download a file by one plain request."""
    with urllib.request.urlopen(address) as answer, target.open("wb") as file:
        while block := answer.read(1024**2):
            file.write(block)


def link(action: str, folder: str, name: str) -> str:
    """Return a link to the store, as the server returns in direct mode."""
    kind = {"ContentType": "application/octet-stream"} if action == "put_object" else {}
    return str(s3.generate_presigned_url(action, Params={"Bucket": bucket, "Key": f"{root}/{folder}/{name}", **kind}))


#: Functions that upload or download one file.
UP: dict[str, Callable[[Path, str, str], None]] = {
    "boto3": up_boto3,
    "http": lambda source, folder, name: put(f"{plain['http']}/{folder}/{name}", source / name),
    "proxy": lambda source, folder, name: put(f"{plain['proxy']}/{folder}/{name}", source / name),
    "link": lambda source, folder, name: put(link("put_object", folder, name), source / name),
}
DOWN: dict[str, Callable[[Path, str, str], None]] = {
    "boto3": down_boto3,
    "http": lambda target, folder, name: get(f"{plain['http']}/{folder}/{name}", target / name),
    "proxy": lambda target, folder, name: get(f"{plain['proxy']}/{folder}/{name}", target / name),
    "link": lambda target, folder, name: get(link("get_object", folder, name), target / name),
}


def upload(way: str, source: Path, folder: str) -> None:
    """Upload the files of a folder."""
    if one := UP.get(way.removesuffix(IN_TURN)):
        names = sorted(path.name for path in source.iterdir())
        each(lambda name: one(source, folder, name), names, 1 if way.endswith(IN_TURN) else THREADS)
    else:
        repository(folder).log_artifacts(str(source))


def download(way: str, target: Path, folder: str, names: list[str]) -> None:
    """Download files."""
    if one := DOWN.get(way.removesuffix(IN_TURN)):
        each(lambda name: one(target, folder, name), names, 1 if way.endswith(IN_TURN) else THREADS)
    elif len(names) == 1:
        # What a user of one file calls: MLflow lists a folder first.
        repository(folder).download_artifacts(names[0], str(target))
    else:
        repository(folder).download_artifacts("", str(target))


def seconds_of(action: Callable[..., None], *given: Any) -> float:
    """Return the seconds that a function takes."""
    begun = time.monotonic()
    action(*given)
    return time.monotonic() - begun


mlflow.set_tracking_uri(url)
if "direct" in ways:
    os.environ.update(DIRECT)
taken: dict[str, list[float]] = {f"{way} {direction}": [] for way in ways for direction in ("up", "down")}
try:
    with tempfile.TemporaryDirectory() as scratch:
        source = Path(scratch, "source")
        source.mkdir()
        # The first request of each way makes clients and connections.
        warm = Path(scratch, "warm")
        warm.mkdir()
        (warm / "file").write_bytes(os.urandom(100_000))
        for way in ways:
            upload(way, warm, f"warm-{way}")
            with tempfile.TemporaryDirectory(dir=scratch) as target:
                download(way, Path(target), f"warm-{way}", ["file"])
        names = [f"file-{number:04d}" for number in range(count)]
        for name in names:
            with (source / name).open("wb") as file:
                for begin in range(0, size, 1024**2):
                    file.write(os.urandom(min(1024**2, size - begin)))
        for number in range(rounds):
            for way in ways:
                folder = f"{way}-{number}"
                taken[f"{way} up"].append(seconds_of(upload, way, source, folder))
                with tempfile.TemporaryDirectory(dir=scratch) as target:
                    taken[f"{way} down"].append(seconds_of(download, way, Path(target), folder, names))
                    equal = filecmp.cmpfiles(source, target, names, shallow=False)[0]
                    if len(equal) != count:
                        sys.exit(f"{count - len(equal)} of {count} files came back changed by {way}")
finally:
    for page in s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=root + "/"):
        if page.get("Contents"):
            s3.delete_objects(Bucket=bucket, Delete={"Objects": [{"Key": item["Key"]} for item in page["Contents"]]})
    client.delete_run(run.info.run_id)
print(json.dumps(taken))
