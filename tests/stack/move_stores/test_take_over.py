"""A new stack takes over what a tracking server that others set up by hand contains: an older release with users, on a file or on PostgreSQL and S3.

The data of the second one also move by the steps of docs/migrate/compose.md. The tests build on one another, in this order.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import pytest
import testinfra
from contents import ADA, URL, Contents, search_as
from stack.support import ROOT, assert_unchanged, minio_endpoint, play, said, wait_for_answer
from testinfra.host import Host

#: Seconds for a playbook that installs a stack.
LONG = 900
HOME = "/srv/mlflow"
PYTHON = f"{HOME}/venv/bin/python"
#: The password of throw-away hosts, as molecule/move_stores/side_effect.yml sets it.
PASSWORD = "password-of-this-test"
OLD = "http://localhost:5000"
GROUPS = ("mlflow_servers", "postgres", "minio")
#: The release that the old servers run.
RELEASE = "3.5.1"
#: Creates an experiment that `contents` leaves out, and then runs in it for ten minutes.
WRITE = """
import base64, json, sys, time, urllib.request
def post(path, body):
    request = urllib.request.Request(f"{sys.argv[1]}/api/2.0/mlflow/{path}", json.dumps(body).encode(), {"Content-Type": "application/json"})
    request.add_header("Authorization", "Basic " + base64.b64encode(f"admin:{sys.argv[2]}".encode()).decode())
    return json.load(urllib.request.urlopen(request))
experiment = post("experiments/create", {"name": "atlas-mlflow writes"})["experiment_id"]
for number in range(600):
    post("runs/create", {"experiment_id": experiment, "start_time": int(time.time() * 1000)})
    time.sleep(1)
"""


@dataclass(frozen=True)
class New:
    """A new stack on one host, with an inventory and secrets of its own."""

    folder: Path
    name: str

    @property
    def host(self) -> Host:
        """Return the host of the whole stack."""
        return testinfra.get_host(f"docker://{self.name}")

    def run(self, playbook: str, settings: dict[str, Any], *arguments: str, groups: tuple[str, ...] = GROUPS) -> subprocess.CompletedProcess[str]:
        """Run a playbook with settings of the tracking server."""
        servers = {"mlflow_server_names": [self.name], "mlflow_server_auth": "basic", "mlflow_server_admin_password": PASSWORD, "mlflow_server_workers": 1}
        hosts: dict[str, Any] = {group: {"hosts": {self.name: {"ansible_connection": "community.docker.docker"}}} for group in groups}
        hosts["mlflow_servers"]["vars"] = {**servers, **settings}
        (self.folder / "hosts.yml").write_text(json.dumps(hosts), encoding="utf-8")
        ansible = str(Path(sys.executable).parent / "ansible-playbook")
        command = [ansible, "--inventory", str(self.folder), str(ROOT / "playbooks" / f"{playbook}.yml")]
        return play(command, *arguments, patience=LONG)


def new_stack(folder: Path, name: str) -> New:
    """Return a stack with the scenario's settings of groups, which name local files in place of downloads."""
    shutil.copytree(Path(os.environ["MOLECULE_INVENTORY_FILE"]).parent / "group_vars", folder / "group_vars", ignore=shutil.ignore_patterns("mlflow_servers"))
    return New(folder, name)


def succeeded(done: subprocess.CompletedProcess[str]) -> str:
    """Check that a playbook succeeded, and return what it said."""
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-1000:]
    return said(done)


def stop(host: Host) -> None:
    """Stop the old tracking server."""
    host.check_output("systemctl stop by-hand.service")


def start(host: Host) -> None:
    """Start the old tracking server, and wait for its answer."""
    host.check_output("systemctl start by-hand.service")
    assert wait_for_answer(host, f"{OLD}/health").status == 200


class TestFile:
    """MLflow with a SQLite file and artifact locations that are paths, on the host of the new stack."""

    TAKE_OVER: ClassVar[dict[str, Any]] = {
        "mlflow_server_take_over": {
            "backend_store_uri": f"sqlite:///{HOME}/mlflow.db",
            "artifacts": f"{HOME}/artifacts",
            "auth_store_uri": f"sqlite:///{HOME}/basic_auth.db",
        },
        "mlflow_server_moved_locations": [f"{HOME}/artifacts"],
    }

    #: Not a name that a tracking server would decode.
    FILE = "file ä.txt"

    @pytest.fixture(scope="class")
    def new(self, tmp_path_factory: pytest.TempPathFactory) -> New:
        """Return the new stack."""
        return new_stack(tmp_path_factory.mktemp("file"), "move-stores-file")

    @pytest.fixture(scope="class")
    def before(self, new: New) -> Any:
        """Return what a client sees of the old server."""
        old = Contents(new.host, PYTHON, OLD, PASSWORD, self.FILE)
        old.seed(*ADA)
        return old.described()

    def digests(self, host: Host) -> str:
        """Return the SHA-256 of each file of the old stores."""
        return host.check_output(f"find {HOME}/mlflow.db {HOME}/basic_auth.db {HOME}/artifacts -type f -exec sha256sum {{}} + | sort")

    def test_a_check_run_shows_what_would_be_taken_over(self, new: New, before: Any) -> None:
        done = new.run("move_stores", self.TAKE_OVER, "--check")
        shown = succeeded(done)
        assert f"The backend store: from the file {HOME}/mlflow.db, which others have set up, to the postgresql database mlflow" in shown, done.stdout
        assert f"from the folder {HOME}/artifacts, which others have set up, to the bucket mlflow" in shown, done.stdout
        assert not new.host.file("/etc/atlas-mlflow").exists

    def test_users_are_not_left_behind_in_silence(self, new: New, before: Any) -> None:
        done = new.run("move_stores", {**self.TAKE_OVER, "mlflow_server_auth": "none"})
        assert done.returncode and "Set basic." in said(done), done.stdout[-3000:]
        assert not new.host.file("/etc/atlas-mlflow").exists

    def test_a_write_to_the_old_server_meanwhile_is_found(self, new: New, before: Any) -> None:
        new.host.check_output("systemd-run --quiet --unit writes-meanwhile /usr/bin/python3 -c %s %s %s", WRITE, OLD, PASSWORD)
        try:
            done = new.run("move_stores", self.TAKE_OVER)
        finally:
            new.host.check_output("systemctl stop writes-meanwhile.service")
        assert done.returncode and "Nothing was taken over." in said(done), done.stdout[-3000:]
        assert "somebody wrote to the source of" in said(done) or "changed during its copy" in said(done), done.stdout[-3000:]
        assert not new.host.service("mlflow-server").is_running

    def test_everything_is_taken_over_and_the_old_stores_stay(self, new: New, before: Any) -> None:
        stop(new.host)
        files = self.digests(new.host)
        succeeded(new.run("move_stores", self.TAKE_OVER))
        assert Contents(new.host, PYTHON, URL, PASSWORD, self.FILE).described() == before
        assert (search_as(new.host, *ADA), search_as(new.host, ADA[0], "wrong")) == (200, 401)
        assert self.digests(new.host) == files

    def test_a_second_run_takes_nothing_over(self, new: New) -> None:
        done = new.run("move_stores", self.TAKE_OVER)
        assert "No store of" in succeeded(done)
        assert_unchanged(done)

    def test_the_old_server_can_go_on(self, new: New, before: Any) -> None:
        start(new.host)
        assert Contents(new.host, PYTHON, OLD, PASSWORD, self.FILE).described() == before
        stop(new.host)


class TestBucket:
    """MLflow with PostgreSQL and S3 on another host."""

    OLD_HOST = "move-stores-bucket"
    URI = f"postgresql+psycopg2://mlflow:{PASSWORD}@{OLD_HOST}/"
    KEYS: ClassVar[dict[str, Any]] = {"s3_endpoint_url": f"http://{OLD_HOST}:9000", "s3_access_key_id": "by-hand", "s3_secret_access_key": PASSWORD}
    TAKE_OVER: ClassVar[dict[str, Any]] = {
        "mlflow_server_take_over": {"backend_store_uri": f"{URI}mlflow", "auth_store_uri": f"{URI}users", "artifacts": "s3://runs/of/mlflow", **KEYS}
    }
    #: The stores of the old server, which the first step leaves where they are.
    EXTERNAL: ClassVar[dict[str, Any]] = {
        "mlflow_server_backend_store_uri": f"{URI}mlflow",
        "mlflow_server_auth_store_uri": f"{URI}users",
        "mlflow_server_artifacts_destination": "s3://runs/of/mlflow",
        **{f"mlflow_server_{name}": value for name, value in KEYS.items()},
    }
    PRESENT: ClassVar[dict[str, Any]] = {"mlflow_server_version": RELEASE}

    @pytest.fixture(scope="class")
    def old(self) -> Host:
        """Return the host of the old server."""
        return testinfra.get_host(f"docker://{self.OLD_HOST}")

    @pytest.fixture(scope="class")
    def new(self, tmp_path_factory: pytest.TempPathFactory) -> New:
        """Return the new stack."""
        return new_stack(tmp_path_factory.mktemp("bucket"), "move-stores-new")

    @pytest.fixture(scope="class")
    def before(self, old: Host) -> Any:
        """Return what a client sees of the old server."""
        contents = Contents(old, PYTHON, OLD, PASSWORD)
        contents.seed(*ADA)
        return contents.described()

    def described(self, old: Host, new: New) -> Any:
        """Return what a client of the old release sees of the new server, from the old host."""
        return Contents(old, PYTHON, f"http://{new.name}:5001", PASSWORD).described()

    def stored(self, old: Host) -> str:
        """Return the rows of the old databases and the files of the old bucket, as sums."""
        dump = "runuser --user postgres -- pg_dump --data-only --no-comments"
        # Since a security release, each dump has a key of its own.
        rows = " ".join(old.check_output(f"{dump} {database} | grep -v '^.[un]*restrict ' | sha256sum") for database in ("mlflow", "users"))
        return rows + old.check_output("find /srv/minio/runs -type f -exec sha256sum {} + | sort | sha256sum")

    def test_the_new_server_takes_the_stores_of_the_old_one_first(self, old: Host, new: New, before: Any) -> None:
        stop(old)
        succeeded(new.run("site", {**self.PRESENT, **self.EXTERNAL}, groups=("mlflow_servers",)))
        assert self.described(old, new) == before

    def test_a_new_stack_leaves_them_only_if_this_is_wanted(self, old: Host, new: New) -> None:
        done = new.run("site", self.PRESENT)
        assert done.returncode and "mlflow_server_allow_store_change" in said(done), done.stdout[-3000:]
        succeeded(new.run("site", self.PRESENT, "--extra-vars", "mlflow_server_allow_store_change=true"))

    def test_the_data_move_by_the_commands_of_the_page(self, old: Host, new: New, before: Any) -> None:
        stored = self.stored(old)
        dump = "pg_dump -U mlflow --format=custom --no-owner mlflow"
        restore = "pg_restore --clean --if-exists --no-owner --role=mlflow --single-transaction --dbname=mlflow"
        sync = "rclone sync old:mlflow new:mlflow --checksum"
        page = (ROOT / "docs" / "migrate" / "compose.md").read_text(encoding="utf-8")
        assert f"{dump} > mlflow.dump" in page and f"sudo -u postgres {restore} < mlflow.dump" in page and sync in page
        new.host.check_output("systemctl stop mlflow-server")
        for source, target in (("mlflow", "mlflow"), ("users", "mlflow_auth")):
            name, where = "--no-owner mlflow", "--dbname=mlflow"
            read = ["env", f"PGPASSWORD={PASSWORD}", *dump.replace(name, f"--host localhost --no-owner {source}").split()]
            dumped = subprocess.run(["docker", "exec", self.OLD_HOST, *read], stdout=subprocess.PIPE, check=True).stdout
            write = ["docker", "exec", "--interactive", new.name, "runuser", "--user", "postgres", "--"]
            subprocess.run([*write, *restore.replace(where, f"--dbname={target}").split()], input=dumped, check=True)
        new.host.check_output(f"env {self.remotes(new)} {sync.replace('old:mlflow', 'old:runs/of/mlflow')}")
        succeeded(new.run("site", self.PRESENT))
        succeeded(new.run("verify", self.PRESENT))
        assert self.described(old, new) == before
        assert search_as(new.host, *ADA) == 200
        assert self.stored(old) == stored

    def remotes(self, new: New) -> str:
        """Return variables that make the remotes ``old`` and ``new`` of rclone."""
        secret = (new.folder / ".secrets" / "minio_secret_key").read_text(encoding="utf-8").strip()
        sides = {
            "old": (self.KEYS["s3_endpoint_url"], self.KEYS["s3_access_key_id"], PASSWORD),
            "new": (minio_endpoint(new.host), "mlflow", secret),
        }
        return " ".join(
            f"RCLONE_CONFIG_{name.upper()}_{option}={value}"
            for name, (endpoint, key, secret) in sides.items()
            for option, value in {"TYPE": "s3", "PROVIDER": "Minio", "ENDPOINT": endpoint, "ACCESS_KEY_ID": key, "SECRET_ACCESS_KEY": secret}.items()
        )

    def test_the_moved_data_are_upgraded(self, old: Host, new: New, before: Any) -> None:
        succeeded(new.run("upgrade", {}))
        assert self.described(old, new) == before

    def test_the_stack_is_removed_with_its_data(self, new: New) -> None:
        done = new.run(
            "remove", {}, "--extra-vars", json.dumps(dict.fromkeys([f"{part}_remove_data" for part in ("mlflow_server", "postgres", "minio")], True))
        )
        succeeded(done)
        assert not any(new.host.file(path).exists for path in ("/var/lib/minio", "/var/lib/postgresql/15/main"))

    def test_everything_is_taken_over_and_the_old_stores_stay(self, old: Host, new: New, before: Any) -> None:
        stored = self.stored(old)
        succeeded(new.run("move_stores", self.TAKE_OVER))
        assert self.described(old, new) == before
        assert (search_as(new.host, *ADA), search_as(new.host, ADA[0], "wrong")) == (200, 401)
        assert self.stored(old) == stored

    def test_a_second_run_takes_nothing_over(self, new: New) -> None:
        done = new.run("move_stores", self.TAKE_OVER)
        assert "No store of" in succeeded(done)
        assert_unchanged(done)

    def test_the_old_server_can_go_on(self, old: Host, before: Any) -> None:
        start(old)
        assert Contents(old, PYTHON, OLD, PASSWORD).described() == before
