"""The modules files, host_facts and uv_environment, with arguments as Ansible gives them."""

from __future__ import annotations

import contextlib
import grp
import hashlib
import importlib
import io
import json
import os
import pwd
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.module_utils.testing import patch_module_args
from ansible_collections.atlas.mlflow.plugins.module_utils.environments import python_of
from ansible_collections.atlas.mlflow.plugins.module_utils.os_release import CA_FILES, ca_file_of, family_of, read_os_release
from ansible_collections.atlas.mlflow.plugins.modules import host_facts

ROOT = Path(__file__).resolve().parents[3]
OWNER = {"owner": pwd.getpwuid(os.getuid()).pw_name, "group": grp.getgrgid(os.getgid()).gr_name}


def run_module(name: str, check: bool = False, remote_tmp: Path | None = None, **arguments: Any) -> dict[str, Any]:
    """Run a module of the collection, and return what it printed.

    :param remote_tmp: Where it puts what it needs for a while. If it is given, the module runs as a process of its own, and what it leaves can be looked at.
    """
    given = {**arguments, "_ansible_check_mode": check, "_ansible_diff": True, "_ansible_remote_tmp": str(remote_tmp or "/tmp")}
    if remote_tmp:
        program = (
            "import json, sys\n"
            "from ansible.module_utils.testing import patch_module_args\n"
            f"from ansible_collections.atlas.mlflow.plugins.modules import {name}\n"
            "with patch_module_args(json.load(sys.stdin)):\n"
            f"    {name}.main()\n"
        )
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT / "collections"), os.environ.get("PYTHONPATH", "")])}
        done = subprocess.run([sys.executable, "-c", program], input=json.dumps(given), capture_output=True, text=True, env=environment, check=False)
        assert done.stdout, done.stderr
        printed = done.stdout
    else:
        module = importlib.import_module(f"ansible_collections.atlas.mlflow.plugins.modules.{name}")
        said = io.StringIO()
        with patch_module_args(json.loads(json.dumps(given))), contextlib.redirect_stdout(said), pytest.raises(SystemExit):
            module.main()
        printed = said.getvalue()
    return json.loads(printed.splitlines()[-1])


def entries(folder: Path, text: str = "one\n") -> list[dict[str, str]]:
    """Return a list with one entry of each kind."""
    return [
        {"path": str(folder / "made"), "state": "directory", "mode": "0750", **OWNER},
        {"path": str(folder / "made" / "plain"), "content": text, "mode": "0644", **OWNER},
        {"path": str(folder / "made" / "secret"), "mode": "0600", **OWNER},
        {"path": str(folder / "current"), "state": "link", "target": str(folder / "made")},
    ]


def run_files(folder: Path, check: bool = False, text: str = "one\n") -> dict[str, Any]:
    """Run the module files on the entries, with a text that holds what a journal's line would quote."""
    secrets = {str(folder / "made" / "secret"): 'PASSWORD="hunter2-canary"\nKEY="it\'s-canary"\n'}
    return run_module("files", check=check, files=entries(folder, text), secret_contents=secrets)


@pytest.mark.parametrize("missing", ["owner", "group"])
def test_a_check_run_says_that_a_present_folder_gets_an_owner_who_does_not_exist_yet(tmp_path: Path, missing: str) -> None:
    """On a bare host, an earlier task would have created the user. A disk may be mounted on the folder already."""
    entry = {"path": str(tmp_path), "state": "directory", "mode": "0750", **OWNER, missing: "nobody-yet"}
    told = run_module("files", check=True, files=[entry])
    assert told["changed_paths"] == [str(tmp_path)] and "nobody-yet" in told["diff"][0]["after"]
    assert run_module("files", files=[entry])["failed"] is True


def test_a_check_run_knows_that_a_file_has_the_number_of_its_owner(tmp_path: Path) -> None:
    """A user of a container is a number, which no user of the host has."""
    file = tmp_path / "password"
    entry = {"path": str(file), "content": "one\n", "mode": "0400", "owner": str(os.getuid()), "group": str(os.getgid())}
    run_module("files", files=[entry])
    assert run_module("files", check=True, files=[entry])["changed"] is False
    assert run_module("files", check=True, files=[{**entry, "owner": "54321"}])["changed_paths"] == [str(file)]


def test_files_are_made_and_a_second_run_changes_nothing(tmp_path: Path) -> None:
    assert run_files(tmp_path)["changed"] is True
    assert (tmp_path / "made" / "plain").read_text() == "one\n"
    assert oct((tmp_path / "made").stat().st_mode)[-3:] == "750"
    assert oct((tmp_path / "made" / "secret").stat().st_mode)[-3:] == "600"
    assert os.readlink(tmp_path / "current") == str(tmp_path / "made")
    again = run_files(tmp_path)
    assert (again["changed"], again["changed_paths"]) == (False, [])


def test_a_folder_that_is_purged_holds_what_is_listed_and_nothing_else(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "kept").write_text("a link does not lead the removal away")
    folder = tmp_path / "lib"
    for name in ("former/__pycache__/one.pyc", "former/one.py", "new/former.py", "new/deep/listed.py"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("former\n")
    (folder / "link").symlink_to(outside)
    (folder / "empty").mkdir()
    listed = [
        {"path": str(folder), "state": "directory", "mode": "0755", "purge": True, **OWNER},
        {"path": str(folder / "new" / "one.py"), "content": "one\n", "mode": "0644", **OWNER},
        {"path": str(folder / "new" / "deep" / "listed.py"), "content": "former\n", "mode": "0644", **OWNER},
    ]
    removed = {"former", "former/__pycache__", "former/__pycache__/one.pyc", "former/one.py", "new/former.py", "link", "empty"}
    before = sorted(tmp_path.rglob("*"))
    said = run_module("files", check=True, files=listed)
    assert {str(Path(path).relative_to(folder)) for path in said["changed_paths"]} == removed | {"new/one.py"}
    assert sorted(tmp_path.rglob("*")) == before
    run_module("files", files=listed)
    assert {str(path.relative_to(folder)) for path in folder.rglob("*")} == {"new", "new/one.py", "new/deep", "new/deep/listed.py"}
    assert (outside / "kept").exists()
    assert run_module("files", files=listed)["changed"] is False


def test_a_check_run_says_what_would_change_and_changes_nothing(tmp_path: Path) -> None:
    said = run_files(tmp_path, check=True)
    assert len(said["changed_paths"]) == 4 and list(tmp_path.iterdir()) == []
    run_files(tmp_path)
    assert run_files(tmp_path, check=True)["changed"] is False
    said = run_files(tmp_path, check=True, text="two\n")
    assert said["changed_paths"] == [str(tmp_path / "made" / "plain")]
    assert (said["diff"][0]["before"], said["diff"][0]["after"]) == ("one\n", "two\n")
    assert (tmp_path / "made" / "plain").read_text() == "one\n"


@pytest.mark.parametrize(
    ("written", "reload_needed", "stale"),
    [("before", "no", False), ("after", "no", True), ("before", "yes", True), ("link after", "no", True), ("not running", "no", False)],
)
def test_a_unit_that_runs_with_older_files_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, written: str, reload_needed: str, stale: bool) -> None:
    path, link = tmp_path / "unit", tmp_path / "current"
    process = subprocess.Popen(["sleep", "60"])
    try:
        pid = 0 if written == "not running" else process.pid
        systemctl = tmp_path / "systemctl"
        systemctl.write_text(f"#!/bin/sh\necho MainPID={pid}\necho NeedDaemonReload={reload_needed}\n")
        systemctl.chmod(0o755)
        monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
        path.write_text("one\n")
        path.chmod(0o644)
        link.symlink_to(tmp_path)
        now = time.time()
        os.utime(path, (now, now + {"after": 5, "not running": 5}.get(written, -5)))
        os.utime(link, (now, now + {"link after": 5}.get(written, -5)), follow_symlinks=False)
        files = [{"path": str(path), "content": "one\n", "mode": "0644", **OWNER}, {"path": str(link), "state": "link", "target": str(tmp_path)}]
        said = run_module("files", files=files, unit="mlflow-server.service")
        assert (said["changed"], said["stale"]) == (False, stale)
    finally:
        process.kill()
        process.wait()


@pytest.mark.parametrize(
    ("active", "enabled", "reload_needed", "text", "settled"),
    [
        ("active", "enabled", "no", "one\n", True),
        ("active", "enabled-runtime", "no", "one\n", True),
        ("active", "enabled", "no", "two\n", False),
        ("active", "enabled", "yes", "one\n", False),
        ("active", "disabled", "no", "one\n", False),
        ("inactive", "enabled", "no", "one\n", False),
        ("failed", "enabled", "no", "one\n", False),
        ("", "", "no", "one\n", False),
    ],
)
def test_a_unit_is_settled_only_if_it_runs_with_these_files_and_starts_with_the_host(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, active: str, enabled: str, reload_needed: str, text: str, settled: bool
) -> None:
    path, systemctl = tmp_path / "settings", tmp_path / "systemctl"
    path.write_text("one\n")
    path.chmod(0o644)
    systemctl.write_text(f"#!/bin/sh\nprintf '%s\\n' ActiveState={active} UnitFileState={enabled} MainPID=0 NeedDaemonReload={reload_needed}\n")
    systemctl.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    said = run_module("files", files=[{"path": str(path), "content": text, "mode": "0644", **OWNER}], unit="minio.service")
    assert (said["settled"], said["active"]) == (settled, active == "active")


@pytest.mark.parametrize("stops", [True, False])
def test_a_unit_is_stopped_while_its_file_and_its_service_are_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stops: bool) -> None:
    """Otherwise systemd calls a timer failed whose service has vanished, and keeps it in its list."""
    for name in ("one.timer", "one.service"):
        (tmp_path / name).write_text("")
    systemctl = tmp_path / "systemctl"
    systemctl.write_text(f'#!/bin/sh\ncd {tmp_path}\necho "$*" $(ls one.*) >> calls\ncase $1 in disable) exit {int(not stops)};; esac\n')
    systemctl.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    arguments = {"files": [{"path": str(tmp_path / name), "state": "absent"} for name in ("one.timer", "one.service")], "unit": "one.timer"}
    assert run_module("files", check=True, **arguments)["changed"] is True
    (tmp_path / "calls").unlink()
    said = run_module("files", **arguments)
    calls = (tmp_path / "calls").read_text().splitlines()
    assert calls[0] == "disable --now one.timer one.service one.timer"
    if stops:
        assert [call.split(" one.service one.timer")[0] for call in calls[1:3]] == ["reset-failed one.timer", "reset-failed one.service"]
        assert not list(tmp_path.glob("one.*"))
        (tmp_path / "calls").unlink()
        assert run_module("files", **arguments)["changed"] is False
        assert "disable" not in (tmp_path / "calls").read_text()
    else:
        assert "one.timer cannot be stopped" in said["msg"] and (tmp_path / "one.timer").exists()


@pytest.mark.parametrize(("read", "stale"), [("since", False), ("before", True)])
def test_a_unit_that_reloads_is_as_old_as_its_last_reload(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, read: str, stale: bool) -> None:
    """Its process is older than the file either way."""
    path, systemctl = tmp_path / "settings", tmp_path / "systemctl"
    path.write_text("one\n")
    path.chmod(0o644)
    now = time.time()
    os.utime(path, (now, now - 5))
    changed = int((time.monotonic() - {"since": 2, "before": 60}[read]) * 1e6)
    systemctl.write_text(f"#!/bin/sh\necho MainPID=1\necho NeedDaemonReload=no\necho StateChangeTimestampMonotonic={changed}\n")
    systemctl.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    files = [{"path": str(path), "content": "one\n", "mode": "0644", **OWNER}]
    said = run_module("files", files=files, unit="haproxy.service", unit_reloads=True)
    assert (said["changed"], said["stale"]) == (False, stale)


def test_a_text_that_is_not_good_does_not_take_the_place_of_one_that_is(tmp_path: Path) -> None:
    path = tmp_path / "settings"

    def bring(text: str, check: bool = False, **more: Any) -> dict[str, Any]:
        entry = {"path": str(path), "mode": "0600", "validate": "grep --quiet good %s", **OWNER, **({} if more else {"content": text})}
        return run_module("files", check=check, files=[entry], **more)

    assert bring("good\n")["changed"] is True
    refused = bring("bad\n")
    assert refused["failed"] and f"{path} was left as it is. What `grep --quiet good {path}` says" in refused["msg"]
    assert path.read_text() == "good\n" and [one.name for one in tmp_path.iterdir()] == ["settings"]
    assert bring("bad\n", check=True)["changed"] is True
    # A secret's text may be in what the command says.
    entry = {"path": str(path), "mode": "0600", "validate": "sh -c 'cat %s; false'", **OWNER}
    refused = run_module("files", files=[entry], secret_contents={str(path): "hunter2-canary\n"})
    assert "kept back" in refused["msg"] and "hunter2-canary" not in refused["msg"]


def test_folders_above_the_one_asked_for_are_open_to_others(tmp_path: Path) -> None:
    run_module("files", files=[{"path": str(tmp_path / "above" / "asked"), "state": "directory", "mode": "0700", **OWNER}])
    assert oct((tmp_path / "above").stat().st_mode)[-3:] == "755"


def test_a_drifted_mode_and_link_are_brought_back(tmp_path: Path) -> None:
    run_files(tmp_path)
    (tmp_path / "made" / "secret").chmod(0o644)
    (tmp_path / "current").unlink()
    (tmp_path / "current").symlink_to("/elsewhere")
    said = run_files(tmp_path)
    assert sorted(said["changed_paths"]) == sorted([str(tmp_path / "made" / "secret"), str(tmp_path / "current")])
    assert oct((tmp_path / "made" / "secret").stat().st_mode)[-3:] == "600"


def test_a_secret_is_in_no_output(tmp_path: Path) -> None:
    for _ in range(2):
        assert "hunter2-canary" not in json.dumps(run_files(tmp_path))
    (tmp_path / "made" / "secret").write_text("PASSWORD=hunter1-canary\n")
    assert "canary" not in json.dumps(run_files(tmp_path))


def test_a_secret_is_not_in_what_ansible_logs_to_the_journal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ansible logs a module's arguments; this looks at the very line, which masks only what stands in it to the letter."""
    from ansible.module_utils import basic
    from ansible_collections.atlas.mlflow.plugins.modules import files

    lines: list[str] = []
    monkeypatch.setattr(basic.AnsibleModule, "log", lambda self, msg, log_args=None: lines.append(str(basic.remove_values(msg, self.no_log_values))))
    secrets = {str(tmp_path / "secret"): 'PASSWORD="hunter2-canary"\nKEY="it\'s-canary"\n'}
    with patch_module_args({"files": [{"path": str(tmp_path / "secret"), "mode": "0600", **OWNER}], "secret_contents": secrets}), pytest.raises(SystemExit):
        files.main()
    assert any("Invoked with" in line for line in lines) and "canary" not in "".join(lines)


def test_what_is_in_the_way_is_not_removed(tmp_path: Path) -> None:
    (tmp_path / "current").mkdir()
    (tmp_path / "current" / "data").write_text("kept")
    said = run_files(tmp_path)
    assert said["failed"] is True and "move it away" in said["msg"]
    assert (tmp_path / "current" / "data").read_text() == "kept"


def test_os_release_is_read_with_and_without_quotes() -> None:
    settings = read_os_release('# comment\nVERSION_CODENAME=trixie\nPRETTY_NAME="Debian GNU/Linux 13"\n\n')
    assert settings == {"VERSION_CODENAME": "trixie", "PRETTY_NAME": "Debian GNU/Linux 13"}


@pytest.mark.parametrize(
    ("text", "family"),
    [
        ("ID=debian\n", "Debian"),
        ("ID=ubuntu\nID_LIKE=debian\n", "Debian"),
        ('ID="rhel"\nID_LIKE="fedora"\n', "RedHat"),
        ('ID="rocky"\nID_LIKE="rhel centos fedora"\n', "RedHat"),
        ('ID="ol"\nID_LIKE="fedora"\n', "RedHat"),
        ("ID=fedora\n", ""),
        ("", ""),
    ],
)
def test_a_system_belongs_to_a_family(text: str, family: str) -> None:
    assert family_of(read_os_release(text)) == family
    assert ca_file_of(read_os_release(text)) == CA_FILES[family or "Debian"]


def test_an_environment_has_a_python_that_mlflow_runs_with() -> None:
    known = {name: f"/usr/bin/{name}" for name in ("python3", "python3.12")}
    assert python_of("RedHat", known.get) == "/usr/bin/python3.12" and python_of("Debian", known.get) == "/usr/bin/python3"
    assert python_of("RedHat", {"python3": "/usr/bin/python3"}.get) == "/usr/bin/python3" and python_of("RedHat", {}.get) == ""


def test_memory_is_read_in_mebibytes() -> None:
    assert host_facts.read_memory("MemTotal:        8142848 kB\nMemFree:  1 kB\n") == 7952 and host_facts.read_memory("") == 0


def test_only_installed_packages_count() -> None:
    packages = host_facts.read_packages("ii  python3 3.13.5-1\nrc  removed 1.0\nii  postgresql-17 17.6-0+deb13u1\n")
    assert sorted(packages) == ["postgresql-17", "python3"]
    rpms = host_facts.read_rpms("python3 3.9.18-3.el9\nkernel 5.14.0-1\nkernel 5.14.0-2\n")
    assert {name: [one["version"] for one in found] for name, found in rpms.items()} == {"python3": ["3.9.18-3.el9"], "kernel": ["5.14.0-1", "5.14.0-2"]}


def test_a_cluster_of_enterprise_linux_is_ours_if_we_wrote_its_drop_in_or_its_settings(tmp_path: Path) -> None:
    data, drop_in = tmp_path / "var/lib/pgsql/data", tmp_path / "etc/systemd/system/postgresql.service.d/atlas-mlflow.conf"
    data.mkdir(parents=True)
    assert host_facts.read_own_cluster(tmp_path) == []
    (data / "PG_VERSION").write_text("16\n")
    (data / "postgresql.conf").write_text("port = 5432\n")
    theirs = {"version": "16", "name": "main", "ours": False, "upgrade": "", "data": "/var/lib/pgsql/data", "start": "auto"}
    assert host_facts.read_own_cluster(tmp_path) == [theirs]
    drop_in.parent.mkdir(parents=True)
    drop_in.touch()
    assert host_facts.read_own_cluster(tmp_path) == [{**theirs, "ours": True}]
    drop_in.unlink()
    # remove.yml leaves this line with the data.
    line = yaml.safe_load((ROOT / "roles/postgres/vars/main/el.yml").read_text())["_postgres_el_include"]
    (data / "postgresql.conf").write_text(f"port = 5432\n{line}\n")
    assert host_facts.read_own_cluster(tmp_path) == [{**theirs, "ours": True}]


def test_clusters_are_read_with_their_owner_and_their_upgrade(tmp_path: Path) -> None:
    for name in ("9.6/main", "17/main", "15/main", "17/failed"):
        (tmp_path / name / "conf.d").mkdir(parents=True)
        (tmp_path / name / "postgresql.conf").touch()
    (tmp_path / "17/main/conf.d/atlas-mlflow.conf").touch()
    (tmp_path / "15/main/atlas-mlflow-upgrade").write_text("begun\n")
    (tmp_path / "18/main").mkdir(parents=True)
    (tmp_path / "15/main/postgresql.conf").write_text("#data_directory = '/no'\ndata_directory = '/var/lib/postgresql/15/main'\t# use data in another\n")
    (tmp_path / "17/main/start.conf").write_text("# Automatic startup configuration\n#   auto: start\n\ndisabled\n")
    found = [tuple(cluster.values()) for cluster in host_facts.read_clusters(tmp_path)]
    assert found == [
        ("9.6", "main", False, "", "", "auto"),
        ("15", "main", False, "begun", "/var/lib/postgresql/15/main", "auto"),
        ("17", "failed", False, "", "", "auto"),
        ("17", "main", True, "", "", "disabled"),
    ]


def test_what_is_installed_is_read_from_the_folders_of_the_roles(tmp_path: Path) -> None:
    for name in ("mlflow/releases/3.17.2", "minio/admin"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / ".atlas-mlflow.json").write_text(json.dumps({"requirements": name}))
    (tmp_path / "mlflow/releases/3.17.1").mkdir()
    for name, mode in (("good", 0o755), ("open", 0o777), ("partial", 0o600)):
        path = tmp_path / "minio/releases" / name / "minio"
        path.parent.mkdir(parents=True)
        path.touch()
        path.chmod(mode)
    (tmp_path / "minio/releases/link").symlink_to(tmp_path / "minio/releases/good/minio")
    (tmp_path / "minio/served").write_text("/opt/minio/releases/good/minio\n")
    found = host_facts.read_installed([str(tmp_path / name) for name in ("mlflow", "minio", "none")])
    assert found == {
        "environments": {str(tmp_path / name): {"requirements": name} for name in ("mlflow/releases/3.17.2", "minio/admin")},
        "executables": [str(tmp_path / "minio/releases/good/minio")] if os.getuid() == 0 else [],
        "served": {str(tmp_path / "minio/served"): "/opt/minio/releases/good/minio"},
    }


def test_the_facts_are_those_that_setup_gives() -> None:
    """Names and values agree with ansible.builtin.setup on this machine."""
    found = run_module("host_facts")["ansible_facts"]
    # Ansible makes a variable of each name, by default. Those that begin so are Ansible's own.
    assert [name for name in found if not name.startswith("ansible_")] == []
    ours = {name.removeprefix("ansible_"): fact for name, fact in found.items()}
    ansible = str(Path(sys.executable).parent / "ansible")
    printed = subprocess.run(
        [ansible, "localhost", "-m", "ansible.builtin.setup"],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "ANSIBLE_CALLBACK_RESULT_FORMAT": "json"},
    ).stdout
    theirs = json.loads(printed[printed.index("{") :])["ansible_facts"]
    shared = {name for name in ours if f"ansible_{name}" in theirs} - {"default_ipv4"}
    assert {"architecture", "hostname", "fqdn", "processor_nproc", "distribution_release", "os_family", "memtotal_mb"} <= shared
    # Another fact of the same name would replace theirs in the rest of a user's run, and in a cache of facts.
    for name in shared:
        assert ours[name] == theirs[f"ansible_{name}"], name
    assert ours["default_ipv4"].get("address") == theirs["ansible_default_ipv4"].get("address")


LOCK = "six==1.16.0 --hash=sha256:8abb2f1d86890a2dfb989f9a77cfcfd3e47c2a354b01111771326f8aa26e0254\n"


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, Any]:
    """Return the module's arguments for a small environment whose uv is the one that runs the tests."""
    uv = Path(sys.executable).parent / "uv"
    stand_in = tmp_path / "uv" / "bin"
    stand_in.mkdir(parents=True)
    (stand_in / "uv").symlink_to(uv)
    lock = "uv==0.0.0 --hash=sha256:0\n"
    digest = hashlib.sha256(lock.encode()).hexdigest()
    (tmp_path / "uv" / ".atlas-mlflow.json").write_text(json.dumps({"requirements": digest}))
    return {"path": str(tmp_path / "env"), "requirements": LOCK, "uv_path": str(tmp_path / "uv"), "uv_requirements": lock, "python": sys.executable}


def test_an_environment_is_made_once_and_its_files_follow(environment: dict[str, Any]) -> None:
    assert run_module("uv_environment", check=True, **environment)["changed_parts"] == ["packages"]
    assert not Path(environment["path"]).exists()
    former = {"plugin/one.py": "ONE = 1\n", "former/deep/one.py": "ONE = 1\n", "former-1.0.0.dist-info/METADATA": "Name: former\n"}
    made = run_module("uv_environment", extra_files=former, **environment)
    assert made["changed_parts"] == ["packages", "files"], made
    assert (
        subprocess.run([made["python"], "-c", "import six, plugin.one; print(six.__version__)"], capture_output=True, text=True, check=True).stdout
        == "1.16.0\n"
    )
    assert run_module("uv_environment", extra_files=former, **environment)["changed"] is False
    packages = next(Path(environment["path"]).glob("lib/python*/site-packages"))
    subprocess.run([made["python"], "-m", "compileall", "-q", str(packages / "former")], check=True)
    assert run_module("uv_environment", extra_files={"plugin/two.py": "TWO = 2\n"}, **environment)["changed_parts"] == ["files"]
    gone = subprocess.run([made["python"], "-c", "import plugin.two, plugin.one"], capture_output=True, text=True, check=False)
    assert "plugin.one" in gone.stderr
    # Python would import an empty folder as a package, and take one that is named like a package's metadata for it.
    assert [path.name for path in packages.iterdir() if path.name.startswith("former")] == []


def test_what_is_imported_once_is_compiled(environment: dict[str, Any]) -> None:
    run_module("uv_environment", warm_imports=["six", "no_such_module"], **environment)
    packages = next(Path(environment["path"]).glob("lib/python*/site-packages"))
    assert list((packages / "__pycache__").glob("six.*.pyc"))


def test_nothing_is_left_in_the_home(environment: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of what uv keeps, of what a package writes when it is imported, and of temporary files, whose folder Ansible would make with a warning."""
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    for name in ("XDG_CACHE_HOME", "UV_CACHE_DIR"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "writes_home.py").write_text("import os\nos.makedirs(os.path.expanduser('~/.config/writes_home'))\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    said = run_module("uv_environment", warm_imports=["six", "writes_home"], remote_tmp=home / ".ansible" / "tmp", **environment)
    assert said["changed"] and not said.get("warnings")
    written = run_module("files", files=[{"path": str(tmp_path / "file"), "content": "one\n", "mode": "0644", **OWNER}], remote_tmp=home / ".ansible" / "tmp")
    assert written["changed"] and not written.get("warnings")
    assert list(home.iterdir()) == []


def test_an_environment_that_was_cut_short_is_made_again(environment: dict[str, Any]) -> None:
    Path(environment["path"]).mkdir()
    (Path(environment["path"]) / "pyvenv.cfg").write_text("home = /nowhere\n")
    assert run_module("uv_environment", **environment)["changed_parts"] == ["packages"]
    assert (Path(environment["path"]) / ".atlas-mlflow.json").exists()


def test_a_package_that_is_not_what_the_lock_names_is_refused(environment: dict[str, Any]) -> None:
    environment["requirements"] = LOCK.replace("8abb", "0000")
    said = run_module("uv_environment", **environment)
    assert said["failed"] is True and "hash" in said["msg"].lower()
    assert not (Path(environment["path"]) / ".atlas-mlflow.json").exists()


def test_a_folder_with_something_else_is_not_removed(environment: dict[str, Any]) -> None:
    Path(environment["path"]).mkdir()
    (Path(environment["path"]) / "data").write_text("kept")
    said = run_module("uv_environment", **environment)
    assert said["failed"] is True and (Path(environment["path"]) / "data").read_text() == "kept"


def test_certificates_are_read_once_and_no_key(tmp_path: Path) -> None:
    first, second = (f"-----BEGIN CERTIFICATE-----\n{text}\n-----END CERTIFICATE-----" for text in ("Zmlyc3Q=", "c2Vjb25k"))
    key = "-----BEGIN PRIVATE KEY-----\na2V5\n-----END PRIVATE KEY-----"
    files = {"server.pem": f"{first}\n{second}\n", "server.key": key, "haproxy.pem": f"{key}\n{second}\n", "minio/public.crt": f"{first}\n", "none.pem": "é"}
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text, encoding="latin-1")
    assert host_facts.read_certificates(tmp_path) == [first, second]
    assert host_facts.read_certificates(tmp_path / "none") == []


def test_only_engines_that_run_are_asked_for_containers_of_others() -> None:
    asked: list[str] = []

    class Module:
        """A host with both engines."""

        def get_bin_path(self, name: str) -> str:
            """Return a path."""
            return f"/usr/bin/{name}"

        def run_command(self, command: list[str]) -> tuple[int, str, str]:
            """Answer with one container of others."""
            asked.append(command[0])
            return 0, "web \n", ""

    module: Any = Module()
    assert host_facts.read_foreign_containers(module, docker_runs=True) == {"docker": ["web"], "podman": ["web"]}
    assert host_facts.read_foreign_containers(module, docker_runs=False) == {"docker": [], "podman": ["web"]}
    assert asked == ["/usr/bin/docker", "/usr/bin/podman", "/usr/bin/podman"]
