"""No four characters in a row of a password leave a module, whatever signs it has, and wherever it stands."""

from __future__ import annotations

import io
import json
import random
import re
import string
import subprocess
from contextlib import redirect_stdout
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock
from urllib.parse import quote

import pytest
from ansible.module_utils import basic
from ansible_collections.atlas.mlflow.plugins.module_utils import redaction, uris
from ansible_collections.atlas.mlflow.plugins.module_utils.diagnosis import collect, judge, report
from ansible_collections.atlas.mlflow.plugins.modules import mlflow_diagnose

SIGNS = string.punctuation + " "
PIECE = 4
FORMS = ("unit", "failed unit", "container")
SHAPES = ("argument", "one-argument", "query", "environment", "others")
WANTED = {"host": "0.0.0.0", "port": 5001, "static_prefix": ""}
PARAMS = {**WANTED, "unit": "mlflow-server.service", "container": "atlas-mlflow-server", "names": [], "folders": []}


def canaries() -> list[str]:
    """Return passwords that have each sign in the middle, at the ends and in a row, and some of signs alone."""
    by_hand = [
        "Red@hat321#",
        "Se/cret",
        "p@ss:w0rd/7?x#y",
        "100%25zQ",
        "%40%41zQx",
        "a&password=Qzx7",
        "Zq://Xw@9v",
        "Zq9@x?k=Xw7v",
        "[Zq9Xw]",
        "Zq'\"Xw9\\v",
        "@Zq9X",
        "Zq9X@",
    ]
    each = [f"Zq9{sign}Xw{sign}K4v" for sign in SIGNS] + [f"{sign}Jk7{sign * 4}Vb{sign}" for sign in SIGNS]
    chance = random.Random(11)
    return by_hand + each + ["".join(chance.choices(SIGNS + string.ascii_letters + string.digits, k=chance.randint(8, 20))) for _ in range(120)]


def pieces(*texts: str) -> set[str]:
    """Return each piece of four characters."""
    return {text[start : start + PIECE] for text in texts for start in range(len(text) - PIECE + 1)}


def driver_messages(uri: str) -> list[str]:
    """Return what SQLAlchemy and a driver say of a URI: they end the password at the first @, and quote what they take for host, port and database."""
    host = uri.partition("://")[2].partition("@")[2]
    where, _slash, database = host.partition("/")
    name, _colon, port = where.partition(":")
    return [
        f'could not translate host name "{where}" to address: Name or service not known',
        f"Could not parse SQLAlchemy URL from given URL string {uri!r}",
        f"invalid literal for int() with base 10: {port!r}",
        f'connection to server at "{name}", port 5432 failed: FATAL:  database "{database}" does not exist',
        f'invalid dsn: missing "=" after "{host}" in connection info string',
        f"Invalid endpoint: http://{host}",
    ]


def argv_of(shape: str, password: str) -> tuple[list[str], dict[str, str], str]:
    """Return arguments and environment of a server that has the password in one place, and its backend store's URI."""
    uri = f"postgresql+psycopg2://m:{password}@127.0.0.1/m"
    server = ["/opt/x/bin/python", "/opt/x/bin/mlflow", "server", "--host", "127.0.0.1", "--port", "5000"]
    if shape == "argument":
        return [*server, "--backend-store-uri", uri], {}, uri
    if shape == "one-argument":
        return [*server, f"--backend-store-uri={uri}"], {"PORT": "5001"}, uri
    if shape == "query":
        uri = f"postgresql+psycopg2://127.0.0.1/m?user=u&password={password}"
        return [*server, "--backend-store-uri", uri], {}, uri
    if shape == "environment":
        return server, {"MLFLOW_BACKEND_STORE_URI": uri, "GUNICORN_CMD_ARGS": f"--bind 0.0.0.0:5001 --certfile {uri}"}, uri
    return [*server, "--some-password", password, f"--db-token={password}"], {"AWS_SECRET_ACCESS_KEY": password, "HOST": f"x{password}"}, uri


class Host:
    """A host with a server of which everything quotes the password."""

    def __init__(self, folder: Path, form: str, shape: str, password: str) -> None:
        self.argv, self.environment, self.uri = argv_of(shape, password)
        self.form, self.password, self.proc = form, password, folder / "proc"
        self.said = [*driver_messages(self.uri), f"KeyError: {password!r}"]
        place = self.proc / "812"
        (place if form == "unit" else self.proc).mkdir(parents=True, exist_ok=True)
        (self.proc / "stat").write_text("btime 1\n")
        if form != "unit":  # it ended
            place = folder / "ended"
            place.mkdir(parents=True, exist_ok=True)
        (place / "cmdline").write_bytes("\0".join([*self.argv, ""]).encode())
        (place / "environ").write_bytes("\0".join([*(f"{name}={value}" for name, value in self.environment.items()), ""]).encode())
        (place / "stat").write_text("812 (mlflow) S 1 " + "0 " * 40)
        self.settings = folder / "settings"
        self.settings.write_text("".join(f"{name}={value}\n" for name, value in self.environment.items()))

    def run(self, command: list[str]) -> tuple[int, str, str]:
        """Answer as systemctl, journalctl and docker do."""
        if command[0] == "systemctl" and self.form != "container":
            runs = self.form == "unit"
            shown = {
                "LoadState": "loaded",
                "ActiveState": "active" if runs else "failed",
                "SubState": "running" if runs else "failed",
                "MainPID": "812" if runs else "0",
                "ControlGroup": "",
                "InvocationID": "i",
                "EnvironmentFiles": f"{self.settings} (ignore_errors=no)",
                "ExecStart": "{ path=/x ; argv[]=" + " ".join(self.argv) + " ; ignore_errors=no }",
            }
            return 0, "".join(f"{name}={value}\n" for name, value in shown.items()), ""
        if command[:2] == ["docker", "inspect"] and self.form == "container":
            config = {"Cmd": ["sh", "-c", " ".join(self.argv)], "Env": [f"{name}={value}" for name, value in self.environment.items()]}
            return (
                0,
                json.dumps(
                    [
                        {
                            "Name": "/atlas-mlflow-server",
                            "Config": config,
                            "HostConfig": {},
                            "NetworkSettings": {"Networks": {}},
                            "State": {"Status": "exited", "Pid": 0, "StartedAt": "", "Error": self.said[1]},
                        }
                    ]
                ),
                "",
            )
        if command[0] == "journalctl" or command[:2] == ["docker", "logs"]:
            return 0, "\n".join(["Traceback", *(f"sqlalchemy.exc.OperationalError: could not connect to server: {line}" for line in self.said)]), ""
        return 1, "", ""

    def stores(self, said: str) -> Any:
        """Return what takes the place of the question to the stores."""
        database = {"outcome": collect.stores.classify_database(said), "detail": said}
        s3 = {"endpoint": self.uri.replace("postgresql+psycopg2", "http"), "bucket": "b", "skew": None, "outcome": "failed", "detail": said}
        return lambda command, **given: subprocess.CompletedProcess(command, 0, stdout=json.dumps({"database": database, "s3": s3}) + "\n", stderr="")


def shown_by(host: Host, said: str) -> str:
    """Return all that the diagnosis shows of a host, one text a line, the facts at -vvv included."""
    server = collect.Server(host.run, PARAMS, host.proc)
    with mock.patch.object(collect.subprocess, "run", host.stores(said)), mock.patch.object(collect, "find_python", lambda *_arguments: "/x/python"):
        facts = server.redactor.clean(server.read())
    checks = [check.as_dict() for check in judge.diagnose(WANTED, facts)]
    texts: list[str] = [report.page({"h": checks}, "now"), *report.table("h", checks), json.dumps(checks)]

    def walk(value: Any) -> None:
        if isinstance(value, dict):
            walk(list(value) + list(value.values()))
        elif isinstance(value, list):
            for one in value:
                walk(one)
        else:
            texts.append(str(value))

    walk([facts, checks])
    return "\n".join(texts)


@pytest.mark.parametrize("shape", SHAPES)
def test_no_piece_of_a_password_is_shown(shape: str, tmp_path: Path) -> None:
    omega = [Host(tmp_path / form[:4], form, shape, "\N{GREEK SMALL LETTER OMEGA}") for form in FORMS]
    harmless = {piece for host in omega for said in host.said for piece in pieces(shown_by(host, said))}
    leaks = []
    for number, canary in enumerate(canaries()[SHAPES.index(shape) % 2 :: 2]):  # each in two places or three
        for written in {canary, quote(canary, safe="")}:
            form = FORMS[number % len(FORMS)]
            host = Host(tmp_path / form[:4], form, shape, written)
            shown = shown_by(host, host.said[number % len(host.said)])
            # Four digits alone may be a part of a number that changes from run to run, such as bytes that are free.
            found = sorted(piece for piece in pieces(canary, written) - harmless if piece in shown and not piece.isdigit())
            if found:
                leaks.append((form, written, found, [line for line in shown.splitlines() if found[0] in line][:2]))
    assert not leaks, f"{len(leaks)}: {leaks[:5]}"


@pytest.mark.parametrize("canary", ["Red@hat321#", "Se/cret", "p@ss:w0rd/7?x#y", "Zq://Xw@9v", "[Zq9Xw]"])
def test_the_module_shows_no_piece_of_a_password(canary: str, tmp_path: Path) -> None:
    host = Host(tmp_path, "unit", "argument", canary)
    # Its own password, and an endpoint that no parser reads.
    for perspective, endpoint in (("server", ""), ("client", f"http://m:{canary}@127.0.0.1:1/")):
        given = {"perspective": perspective, "port": 1, "username": "u", "password": canary, "_ansible_verbosity": 3}
        handed_over = {"_ANSIBLE_ARGS": json.dumps({"ANSIBLE_MODULE_ARGS": given}).encode(), "_ANSIBLE_PROFILE": "legacy"}
        printed = io.StringIO()
        with (
            mock.patch.multiple(basic, create=True, **handed_over),
            mock.patch.object(mlflow_diagnose, "run_quietly", lambda module, host=host: host.run),
            mock.patch.object(mlflow_diagnose.collect, "Server", partial(collect.Server, proc=host.proc)),
            mock.patch.object(collect.subprocess, "run", host.stores(host.said[0])),
            mock.patch.dict(mlflow_diagnose.ARGUMENTS["s3_endpoint"], {"default": endpoint}),
            redirect_stdout(printed),
            pytest.raises(SystemExit),
        ):
            mlflow_diagnose.main()
        result = json.loads(printed.getvalue())
        result.get("invocation", {}).get("module_args", {}).pop("s3_endpoint", None)  # what the user gave to this very module
        assert ("facts" in result) != ("failed" in result)
        assert [piece for piece in pieces(canary) if piece in json.dumps(result, ensure_ascii=False) and piece not in "secret"] == []


def test_what_is_no_secret_stays() -> None:
    redactor = redaction.Redactor(["mlflow", "minioadmin", "atlas-mlflow-server1"], public=["shop.example.org"])
    for text in (
        "mlflow server --host 0.0.0.0 --port 5001",
        "unit mlflow-server.service, active/running",
        "shop.example.org:5001",
        "http://minio:9000, bucket mlflow: Access Denied",
        'FATAL: password authentication failed for user "mlflow"',
        "http://localhost:*",
        "postgresql://db:5432/mlflow",
    ):
        assert redactor.text(text) == text
    assert redactor.text("postgresql://mlflow:mlflow@db/mlflow") == "postgresql://***@db/mlflow"
    assert redactor.text("said server1x") == "said ***x"
    assert redactor.words(["--admin-password", "abc", "--port", "5001"]) == ["--admin-password", "***", "--port", "5001"]


@pytest.mark.parametrize(
    ("uri", "place", "wrong"),
    [
        ("postgresql+psycopg2://m:Red@hat321#@127.0.0.1/m", "postgresql+psycopg2://127.0.0.1/m", True),
        ("postgresql+psycopg2://m:Red%40hat321%23@127.0.0.1:5432/m", "postgresql+psycopg2://127.0.0.1:5432/m", False),
        ("postgresql://m:Se/cret@db/m", "postgresql://db/m", False),  # SQLAlchemy reads this as it is meant
        ("postgresql://m:a@b?c/d@[::1]:5432/m", "postgresql://[::1]:5432/m", True),
        ("postgresql://m:a[b@db/m", "postgresql://db/m", True),
        ("postgresql://user@azure:pw@db/m", "postgresql://db/m", False),
        ("postgresql://m:pw@db/m?application_name=a@b", "postgresql://db/m", False),
        ("postgresql://db/m?user=u&password=p@q", "postgresql://db/m", False),
        ("postgresql://db/m", "postgresql://db/m", False),
        ("sqlite:////var/lib/mlflow/mlflow.db", "sqlite:////var/lib/mlflow/mlflow.db", False),
        ("postgresql://m:a@b/c:d e", "postgresql://***", False),
        ("", "://", False),
    ],
)
def test_a_uri_is_read_as_it_is_meant(uri: str, place: str, wrong: bool) -> None:
    assert (uris.read_uri(uri).place, uris.not_encoded(uri)) == (place, wrong)


def test_a_password_that_is_not_encoded_is_named(tmp_path: Path) -> None:
    host = Host(tmp_path, "failed unit", "argument", "Red@hat321#")
    shown = shown_by(host, host.said[0])
    assert re.search(r"faults: database-password-not-encoded,", shown) and "@ as %40" in shown


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        ("sqlalchemy: postgresql://u:can@a ry@db/m refused", "sqlalchemy: postgresql://***@db/m refused"),
        ("postgresql://u:canary", "postgresql://u:***"),
        ("AWS_SECRET_ACCESS_KEY=canary and more", "AWS_SECRET_ACCESS_KEY=***"),
        ('{"password": "canary"}', '{"password": ***'),
        ("Authorization: Basic Y2FuYXJ5OmNhbmFyeQ==", "Authorization: Basic ***"),
        ("Listening at http://127.0.0.1:5000 (7)", "Listening at http://127.0.0.1:5000 (7)"),
        ("FATAL: password authentication failed for user x", "FATAL: password authentication failed for user x"),
        ("see https://sqlalche.me/e/20/e3q8", "see https://sqlalche.me/e/20/e3q8"),
    ],
)
def test_a_login_in_a_log_that_nobody_knows_is_hidden_by_its_shape(line: str, shown: str) -> None:
    assert redaction.hide_by_shape(line) == shown
