"""The settings with which PostgreSQL runs, in each kind of deployment."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from inventories import Case, Run

POSTGRES = Path(__file__).resolve().parents[3] / "roles/postgres"
#: PostgreSQL on this machine, if it has one.
PROGRAMS = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"))
MEMBERS = ["one", "Two.Example.com", "ml_three"]

#: Where each kind of deployment has the settings, as an expression of the role.
PLACES = {
    "systemd": "lookup('ansible.builtin.template', role_path ~ '/templates/atlas-mlflow.conf.j2')",
    "container": "_postgres_container_argv | join('\n')",
    "podman": "_postgres_quadlet.argv | join('\n')",
}


def settings(deployment: str, **given: Any) -> dict[str, str]:
    """Return the settings of PostgreSQL on a host, as texts."""
    known = Run(Case({"postgres": ["db"]}, {"db": {"postgres_deployment": deployment, **given}}), secrets={"postgres_password": "p"})
    lines = known.value("db", "postgres", PLACES[deployment]).splitlines()
    pairs = (line.removeprefix("--").partition("=") for line in lines if "=" in line)
    return {name.strip(): value.strip(" '") for name, _sign, value in pairs}


@pytest.mark.parametrize("deployment", PLACES)
def test_postgresql_has_connections_for_all_tracking_servers(deployment: str) -> None:
    assert settings(deployment, postgres_connections=240)["max_connections"] == "250"
    assert settings(deployment, postgres_connections="240", postgres_settings={"max_connections": 400})["max_connections"] == "400"
    # The default of PostgreSQL is enough.
    assert "max_connections" not in settings(deployment, postgres_connections=60)


@pytest.mark.parametrize("deployment", PLACES)
def test_the_settings_of_the_user_are_used(deployment: str) -> None:
    found = settings(deployment, postgres_settings={"work_mem": "16MB", "jit": False, "log_min_duration_statement": 500})
    assert (found["work_mem"], found["jit"].lower(), found["log_min_duration_statement"]) == ("16MB", "false", "500")


def systemd(**given: Any) -> Run:
    """Return what a run knows of a PostgreSQL of packages."""
    return Run(Case({"postgres": ["db"]}, {"db": given}), secrets={"postgres_password": "p"})


def test_postgresql_reads_new_settings_before_they_replace_the_present_ones() -> None:
    file = systemd(postgres_version="17").value("db", "postgres", "_postgres_files[0]")
    assert file["validate"] == "/usr/lib/postgresql/17/bin/postgres -C port -D /tmp -c config_file=%s"


def test_postgresql_reads_the_settings_of_a_cluster_before_a_member_has_them() -> None:
    given = {"atlas_mlflow_tls": True, "postgres_version": "17", "postgres_settings": {"work_mem": "16 MB", "jit": False}}
    run = Run(Case({"mlflow_servers": ["one"], "postgres": MEMBERS}, dict.fromkeys(MEMBERS, given)), secrets={})
    argv = run.value("one", "postgres", "_postgres_cluster_check_argv")
    assert argv[:7] == ["/usr/lib/postgresql/17/bin/postgres", "-C", "port", "-D", "/tmp", "-c", "config_file=/dev/null"]
    assert {"work_mem=16 MB", "jit=False", "hot_standby_feedback=on"} <= set(argv[8::2]) and set(argv[5::2]) == {"-c"}
    phases = [task.get("ansible.builtin.import_tasks") for task in yaml.safe_load((POSTGRES / "tasks/patroni.yml").read_text())]
    order = [phases.index(f"patroni_{phase}.yml") for phase in ("install", "check", "configure", "settings")]
    assert order == sorted(order)


@pytest.mark.parametrize(("deployment", "engine", "image"), [("container", "docker", "postgres:17"), ("podman", "podman", "docker.io/library/postgres:17")])
def test_the_image_reads_new_settings_before_the_container_is_recreated(deployment: str, engine: str, image: str) -> None:
    given = {"postgres_image": "postgres:17", "postgres_settings": {"work_mem": "16 MB", "log_line_prefix": "%m 'q"}}
    run = systemd(postgres_deployment=deployment, **given)
    (folder, file) = run.value("db", "postgres", "_postgres_container_check_files")
    assert file["path"] == f"{folder['path']}/settings.json" and json.loads(file["content"]) == {
        "image": image,
        "settings": ["--log_line_prefix=%m 'q", "--work_mem=16 MB"],
    }
    command = shlex.split(file["validate"])
    assert command[:10] == [engine, "run", "--rm", "--pull", "never", "--network", "none", "--entrypoint", "postgres", image]
    assert command[10:] == ["-C", "port", "-D", "/tmp", "-c", "config_file=/dev/null", "--log_line_prefix=%m 'q", "--work_mem=16 MB"]
    assert run.value("db", "postgres", "_postgres_container_argv")[-2:] == command[-2:]
    (check, write) = yaml.safe_load((POSTGRES / f"tasks/configure_{deployment}.yml").read_text())
    assert check["atlas.mlflow.files"]["files"] == "{{ _postgres_container_check_files }}" and "register" in write


@pytest.mark.skipif(not PROGRAMS, reason="this machine has no PostgreSQL")
@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"work_mem": "16MB", "shared_buffers": "1GB", "jit": False, "pg_stat_statements.max": 5}, ""),
        ({"shared_buffers": "25 percent"}, 'invalid value for parameter "shared_buffers": "25 percent"'),
        ({"max_connections": -1}, "-1 is outside the valid range"),
        ({"wrok_mem": "16MB"}, 'unrecognized configuration parameter "wrok_mem"'),
    ],
)
def test_postgresql_says_which_settings_are_wrong(tmp_path: Path, given: dict[str, Any], said: str) -> None:
    file = tmp_path / "settings"
    one = systemd(postgres_settings=given).value("db", "postgres", "_postgres_files[0]")
    file.write_text(one["content"])
    hosts = dict.fromkeys(MEMBERS, {"atlas_mlflow_tls": True, "postgres_settings": given})
    cluster = Run(Case({"mlflow_servers": ["one"], "postgres": MEMBERS}, hosts), secrets={})
    image = systemd(postgres_deployment="container", postgres_settings=given).value("db", "postgres", "_postgres_container_check_argv")
    commands = [shlex.split(one["validate"].replace("%s", str(file))), cluster.value("one", "postgres", "_postgres_cluster_check_argv")]
    for command in (*commands, image[image.index("-C") - 1 :]):
        done = subprocess.run([str(PROGRAMS[-1]), *command[1:]], capture_output=True, text=True, check=False)
        assert (said in done.stderr, done.returncode) == (True, 1 if said else 0)


@pytest.mark.parametrize(
    ("errors", "refused"),
    [
        ([], False),
        ([("max_connections", "setting could not be applied")], False),
        # What was removed from the settings has no name there.
        ([(None, 'parameter "shared_preload_libraries" cannot be changed without restarting the server')], False),
        ([("wrok_mem", "unrecognized configuration parameter")], True),
        ([(None, "syntax error"), ("max_connections", "setting could not be applied")], True),
    ],
)
def test_settings_that_need_a_restart_are_not_refused(errors: list[tuple[str | None, str]], refused: bool) -> None:
    handlers = yaml.safe_load((POSTGRES / "handlers/main.yml").read_text())
    refusal = next(one for one in handlers if one["name"] == "Refuse settings that PostgreSQL cannot read")
    rows = [{"name": name, "error": error} for name, error in errors]
    # A handler's own variables.
    run = systemd(__postgres_file_settings={"query_result": rows}, **refusal.get("vars", {}))
    assert run.value("db", "postgres", refusal["ansible.builtin.assert"]["that"]) is not refused
    restart = next(one for one in handlers if one["name"].startswith("Reload PostgreSQL"))["ansible.builtin.systemd_service"]["state"]
    changed = run.value("db", "postgres", re.sub("__postgres_settings.changed_paths", "[]", restart.strip()[2:-2]))
    assert changed == ("restarted" if rows else "reloaded")
