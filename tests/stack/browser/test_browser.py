"""What people see: MLflow's page by its public name, through the proxy with TLS and a login, and the page of the diagnosis, in a real browser."""

from __future__ import annotations

import base64
import os
from pathlib import Path
from typing import Any

import pytest
from stack.support import ROOT, administrator, ask, play, playbook, run_python, said
from testinfra.host import Host

LOOK = (Path(__file__).parent / "look.py").read_text(encoding="utf-8")
NAME = "mlflow.example.com"
#: What a page with a plot has.
PLOT = ".js-plotly-plot .scatterlayer path, .js-plotly-plot .bars path"
#: The pages whose pictures are kept.
KEPT = ("run", "metrics", "artifacts", "diagnosis")
#: Where the pictures go. The documentation has them in docs/pictures.
PICTURES = ROOT / (os.environ.get("PICTURES") or f"{os.environ['MOLECULE_EPHEMERAL_DIRECTORY']}/pictures")


def keep(answers: list[dict[str, Any]], names: tuple[str, ...]) -> None:
    """Write the pictures of these pages."""
    PICTURES.mkdir(parents=True, exist_ok=True)
    for one in (one for one in answers if one["name"] in names):
        (PICTURES / f"{one['name']}.png").write_bytes(base64.b64decode(one["picture"]))


@pytest.fixture(scope="module")
def run(client: Host) -> dict[str, Any]:
    """Return the newest run of the demo."""
    login = administrator()
    found = ask(client, f"https://{NAME}/api/2.0/mlflow/experiments/search?max_results=100", login=login).json()["experiments"]
    numbers = [one["experiment_id"] for one in found if one["experiment_id"] != "0"]
    runs = ask(client, f"https://{NAME}/api/2.0/mlflow/runs/search", method="POST", body={"experiment_ids": numbers}, login=login).json()["runs"]
    return dict(next(one for one in runs if one["data"].get("metrics")))


@pytest.fixture(scope="module")
def diagnosis(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return the page of the diagnosis. The control node does not know the public name, which is a fault."""
    page = tmp_path_factory.mktemp("diagnosis") / "page.html"
    done = play(playbook("diagnose", {}, page.parent), "-e", f"diagnose_html={page}")
    assert done.returncode == 2 and "name-does-not-resolve" in said(done), said(done)
    return page.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def seen(client: Host, run: dict[str, Any], diagnosis: str) -> dict[str, Any]:
    """Return what the browser saw of each page, and keep its pictures."""
    login = administrator()
    assert login
    info, base = run["info"], f"https://{NAME}/#/experiments/{run['info']['experiment_id']}"
    metric, value = run["data"]["metrics"][0]["key"], run["data"]["params"][0]["key"]
    artifacts = ask(client, f"https://{NAME}/api/2.0/mlflow/artifacts/list?run_id={info['run_id']}").json()["files"]
    picture = next(one["path"] for one in artifacts if one["path"].endswith(".png"))
    pages = [
        {"name": "runs", "url": f"{base}/runs", "words": [info["run_name"]]},
        {"name": "run", "url": f"{base}/runs/{info['run_id']}", "words": [info["run_name"], metric, value, "Finished"]},
        {"name": "metrics", "url": f"{base}/runs/{info['run_id']}/model-metrics", "words": [info["run_name"], metric], "shows": PLOT},
        {"name": "artifacts", "url": f"{base}/runs/{info['run_id']}/artifacts/{picture}", "words": [picture], "shows": "img[src^=blob]"},
        {"name": "diagnosis", "url": "file:///root/diagnosis.html", "words": ["browser-mlflow", f"{NAME} does not resolve"]},
    ]
    answers = run_python(client, LOOK, {"login": f"https://{login[0]}:{login[1]}@{NAME}/", "pages": pages, "files": {"/root/diagnosis.html": diagnosis}})
    keep(answers, KEPT)
    return {one["name"]: one for one in answers}


@pytest.mark.parametrize("page", ["runs", "run", "metrics", "artifacts", "diagnosis"])
def test_a_page_shows_what_it_is_for_and_no_error(seen: dict[str, Any], page: str) -> None:
    one = seen[page]
    assert (one["missing"], one["errors"]) == ([], []), one["text"][:2000]


def test_a_browser_without_a_login_sees_nothing(client: Host, run: dict[str, Any]) -> None:
    """A test of the test: what it looks for is not on every page."""
    page = {"name": "runs", "url": f"https://{NAME}/#/experiments/{run['info']['experiment_id']}/runs", "words": []}
    (one,) = run_python(client, LOOK, {"pages": [page]})
    assert run["info"]["run_name"] not in one["text"]


def test_a_browser_refuses_a_name_that_is_not_in_the_certificate(client: Host) -> None:
    address = client.check_output("getent hosts mlflow.example.com").split()[0]
    client.check_output("sh -c 'grep -q other.example.com /etc/hosts || echo %s other.example.com >> /etc/hosts'", address)
    (one,) = run_python(client, LOOK, {"pages": [{"name": "other", "url": "https://other.example.com/", "words": []}]})
    assert "ERR_CERT_COMMON_NAME_INVALID" in one["text"], one["text"]
