"""Compare what a writer's journal says was acknowledged with what the tracking server returns, by content. Runs on the client host.

It asks the server's API itself, so that a fault of MLflow's client cannot hide one of the server, and prints what is missing or different as JSON.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
import urllib.error
import urllib.parse
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

API = "/api/2.0/mlflow"


def fetch(url: str) -> bytes:
    """Return the body of an answer, or in its place what went wrong."""
    try:
        with urllib.request.urlopen(url, timeout=60) as response:
            return response.read()
    except urllib.error.HTTPError as error:
        return f"{error.code}: {error.read(300).decode(errors='replace')}".encode()
    except OSError as error:
        return str(error).encode()


def get(base: str, path: str, **asked: Any) -> Any:
    """Return what the API answers, empty where that is an error."""
    answer = fetch(f"{base}{API}{path}?{urllib.parse.urlencode(asked)}")
    return json.loads(answer) if answer.startswith(b"{") else {"error": answer.decode(errors="replace")}


def compare(base: str, run_id: str, entries: list[dict[str, Any]]) -> list[str]:
    """Return what the server does not have of one run, of that which was acknowledged."""
    answer = get(base, "/runs/get", run_id=run_id)
    if "run" not in answer:
        return [f"run {run_id} is not there: {answer['error'][:200]}"]
    run, found = answer["run"], []
    # An empty list is left out.
    data = {kind: {pair["key"]: pair["value"] for pair in run["data"].get(kind, [])} for kind in ("metrics", "params", "tags")}

    def expect(what: str, acknowledged: Any, stored: Any) -> None:
        if stored != acknowledged:
            found.append(f"run {run_id}: {what} is {stored}, and {acknowledged} was acknowledged")

    for entry in entries:
        if entry["done"] == "batch":
            expect("metrics", entry["metrics"], data["metrics"])
            expect("param", entry["number"], data["params"].get("number"))
            expect("tag", entry["number"], data["tags"].get("number"))
        elif entry["done"] == "artifact":
            root = run["info"]["artifact_uri"].removeprefix("mlflow-artifacts:/")
            body = fetch(f"{base}/api/2.0/mlflow-artifacts/artifacts/{root}/{entry['path']}")
            seen = hashlib.sha256(body).hexdigest()
            expect(f"artifact {entry['path']}", entry["sha256"], seen if seen == entry["sha256"] else f"{seen} ({len(body)} bytes, {body[:400]!r})")
        elif entry["done"] == "version":
            versions = get(base, "/model-versions/search", filter=f"run_id = '{run_id}'").get("model_versions", [])
            # A client that repeats a request whose answer was lost makes a second version.
            expect("source of its model version", {entry["source"]}, {version["source"] for version in versions})
        elif entry["done"] == "end":
            expect("status", "FINISHED", run["info"]["status"])
    return found


def main() -> int:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("uri", help="the tracking server's")
    parser.add_argument("journal", type=Path)
    parser.add_argument("--since", type=float, default=0, help="check what was acknowledged since this moment")
    given = parser.parse_args()
    runs: dict[str, list[dict[str, Any]]] = {}
    for line in given.journal.read_text(encoding="utf-8").splitlines():
        entry = json.loads(line)
        if "done" in entry and entry["at"] >= given.since:
            runs.setdefault(entry["run_id"], []).append(entry)
    with ThreadPoolExecutor(4) as pool:
        missing = [line for lines in pool.map(lambda item: compare(given.uri, *item), runs.items()) for line in lines]
    print(json.dumps({"runs": len(runs), "missing": missing}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
