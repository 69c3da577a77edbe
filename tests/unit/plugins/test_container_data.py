"""Which volume a store's container has, and which settings would leave the data there."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from ansible.template import Templar
from ansible_collections.atlas.mlflow.plugins.filter.stack import kept_of_stack
from ansible_collections.atlas.mlflow.plugins.module_utils import stack
from ansible_collections.atlas.mlflow.plugins.module_utils.container_data import (
    MARKS,
    OWN_MARKS,
    UNITS,
    read_container_data,
    read_container_names,
    read_podman_data,
)
from ansible_collections.atlas.mlflow.plugins.module_utils.quadlet import quadlet_file
from ansible_collections.atlas.mlflow.plugins.plugin_utils.rules.data import STEPS, data_fault
from ansible_collections.atlas.mlflow.plugins.plugin_utils.rules.postgres import IMAGE_STEPS
from in_process import LOADER, role_variables, trusted


def container(role: str, volume: str, folder: Path, runs: bool = True, created: str = "2026-05-04T00:00:00Z", target: str = "") -> dict[str, Any]:
    """Return what Docker says of a container."""
    target = target or {"postgres": "/var/lib/postgresql/data", "minio": "/data"}[role]
    return {
        "Created": created,
        "State": {"Running": runs},
        "Mounts": [
            {"Type": "bind", "Source": MARKS[role], "Destination": "/run/secrets/it"},
            {"Type": "volume", "Name": "of-the-image", "Source": str(folder / "other"), "Destination": "/elsewhere"},
            {"Type": "volume", "Name": volume, "Source": str(folder), "Destination": target},
        ],
    }


@pytest.mark.parametrize("target", ["/var/lib/postgresql/data", "/var/lib/postgresql"])
def test_a_container_is_known_by_its_files_and_tells_its_volume(tmp_path: Path, target: str) -> None:
    version, home = ("17", tmp_path) if target.endswith("data") else ("18", tmp_path / "18/docker")
    home.mkdir(parents=True, exist_ok=True)
    (home / "PG_VERSION").write_text(f"{version}\n")
    stranger = {**container("minio", "theirs", tmp_path), "Mounts": [{"Type": "volume", "Name": "theirs", "Source": "/x", "Destination": "/data"}]}
    said = json.dumps([stranger, container("postgres", "mine", tmp_path, target=target), container("minio", "kept", tmp_path)])
    assert read_container_data(said) == {"postgres": {"volume": "mine", "version": version}, "minio": {"volume": "kept"}}


def test_of_two_containers_the_running_one_counts_and_then_the_newest(tmp_path: Path) -> None:
    stopped = [container("minio", name, tmp_path, False, created) for name, created in (("new", "2026-05-04T02:00:00Z"), ("old", "2026-05-04T01:00:00Z"))]
    assert read_container_data(json.dumps(stopped)) == {"minio": {"volume": "new"}}
    assert read_container_data(json.dumps([container("minio", "running", tmp_path), *stopped])) == {"minio": {"volume": "running"}}
    assert read_container_data("[]") == {}


def test_a_role_tells_its_containers_also_by_a_former_name() -> None:
    def named(name: str, *sources: str) -> dict[str, Any]:
        return {"Name": f"/{name}", "Mounts": [{"Type": "bind", "Source": source, "Destination": "/run/it"} for source in sources]}

    said = [named("tracking", OWN_MARKS["mlflow_server"], "/elsewhere"), named("pg2", OWN_MARKS["postgres"]), named("atlas-postgres", OWN_MARKS["postgres"])]
    assert read_container_names(json.dumps([*said, named("web", "/srv")])) == {"mlflow_server": ["tracking"], "postgres": ["atlas-postgres", "pg2"]}
    assert read_container_names(json.dumps([{**named("web"), "Mounts": None}])) == {}


def test_the_roles_write_the_files_by_which_their_containers_are_known() -> None:
    for role, name in (("mlflow_server", "_mlflow_server_settings_file"), ("minio", "_minio_settings_file"), ("postgres", "_postgres_container_password_file")):
        variables = role_variables(role, {f"{role}_deployment": "container"})
        assert Templar(loader=LOADER, variables=variables).template(trusted(f"{{{{ {name} }}}}")) == OWN_MARKS[role]


def test_the_stack_has_the_volumes_and_keeps_them_when_it_is_removed(tmp_path: Path) -> None:
    said = json.dumps([container("postgres", "mine", tmp_path), container("minio", "kept", tmp_path)])
    for mark in MARKS.values():
        (tmp_path / mark[1:]).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / mark[1:]).write_text('MINIO_ROOT_PASSWORD="canary"\n')
    found = stack.read_stack(tmp_path, said)
    assert (found["postgres"]["volume"], found["minio"]["volume"]) == ("mine", "kept")
    (tmp_path / stack.KEPT).write_text(json.dumps(kept_of_stack(found, [])))
    for mark in MARKS.values():
        (tmp_path / mark[1:]).unlink()
    assert [stack.read_stack(tmp_path)[role]["volume"] for role in MARKS] == ["mine", "kept"]
    assert "postgres" not in kept_of_stack(found, ["postgres"])


def test_a_service_goes_before_a_container_that_it_replaced(tmp_path: Path) -> None:
    for path, text in (("etc/default/minio", ""), ("etc/systemd/system/minio.service", '[Service]\nExecStart="/opt/minio" "server" "/var/lib/minio"\n')):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text)
    found = stack.read_stack(tmp_path, json.dumps([container("minio", "left", tmp_path, runs=False)]))
    assert found["minio"]["folder"] == "/var/lib/minio" and "volume" not in found["minio"]


ROOT = Path(__file__).resolve().parents[3]
OURS = [{"version": "17", "name": "main", "ours": True}]


@pytest.mark.parametrize(
    ("role", "section", "wanted", "words"),
    [
        (
            "minio",
            {"volume": "old"},
            {"deployment": "container", "volume": "new"},
            ["minio_container_volume is new", "the Docker volume old", "minio_allow_data_change"],
        ),
        (
            "minio",
            {"volume": "old"},
            {"deployment": "systemd", "folder": "/var/lib/minio"},
            ["minio_deployment is systemd", "the Docker volume old", STEPS],
        ),
        ("minio", {"folder": "/srv"}, {"deployment": "container"}, ["minio_deployment is container", "its data in /srv"]),
        ("minio", {"folder": "/srv"}, {"deployment": "systemd", "folder": "/mnt"}, ["minio_data_dir is /mnt", "its data in /srv", "move the folder"]),
        (
            "postgres",
            {"volume": "old", "version": "17"},
            {"deployment": "container", "volume": "new", "version": "17"},
            ["postgres_container_volume is new", "copy the data from this volume to the other one", STEPS],
        ),
        ("postgres", {"volume": "old"}, {"deployment": "systemd"}, ["postgres_deployment is systemd", "the Docker volume old", "postgres_allow_data_change"]),
        ("postgres", {}, {"deployment": "container", "present_clusters": OURS}, ["postgres_deployment is container", "the cluster 17/main"]),
        ("postgres", {}, {"deployment": "podman", "present_clusters": OURS}, ["postgres_deployment is podman", "the cluster 17/main"]),
        ("postgres", {"podman_volume": "old"}, {"deployment": "systemd"}, ["postgres_deployment is systemd", "the Podman volume old", STEPS]),
        ("minio", {"podman_volume": "old"}, {"deployment": "podman", "volume": "new"}, ["minio_container_volume is new", "the Podman volume old"]),
        # A volume of this name in Docker is another one in Podman.
        ("minio", {"volume": "data"}, {"deployment": "podman"}, ["minio_deployment is podman", "the Docker volume data"]),
        ("minio", {"podman_volume": "data"}, {"deployment": "container"}, ["minio_deployment is container", "the Podman volume data"]),
    ],
)
def test_settings_that_leave_the_data_are_refused_unless_it_is_meant(role: str, section: dict[str, str], wanted: dict[str, Any], words: list[str]) -> None:
    given = {"volume": "data", **wanted}
    fault = data_fault(section, role, **given)
    assert [word for word in words if word not in fault] == []
    assert data_fault(section, role, **given, allowed=True) == ""


@pytest.mark.parametrize("role", ["postgres", "minio"])
def test_the_steps_of_the_message_move_the_data_of_the_roles(role: str) -> None:
    """The page names what the roles name, and the run of step 5 is not refused."""
    page = (ROOT / STEPS).read_text()
    defaults = role_variables(role, {})
    names = [f"{role}_deployment", f"{role}_container_volume", defaults[f"{role}_container_volume"]]
    names += [defaults["minio_data_dir"]] if role == "minio" else [f" exec --user 999 {defaults['postgres_container_name']} pg_dump --username postgres"]
    assert [name for name in names if name not in page] == []
    (run,) = re.findall("(?m)^ansible-playbook site.yml .* -e .*$", page)
    former = {"systemd": {"folder": defaults["minio_data_dir"]} if role == "minio" else {}, "container": {"volume": "v"}, "podman": {"podman_volume": "v"}}
    for before, section in former.items():
        for after in {*former} - {before}:
            given = {
                "volume": "v",
                "folder": defaults.get("minio_data_dir", ""),
                "present_clusters": OURS if role == "postgres" and before == "systemd" else (),
            }
            assert f"the steps in {STEPS}" in data_fault(section, role, after, **given)
            assert data_fault(section, role, after, **given, allowed=f"-e {role}_allow_data_change=true" in run) == ""


def test_the_steps_to_another_version_in_a_container_load_a_dump_beside_what_site_yml_has_made() -> None:
    """A dump of all databases by pg_dumpall creates what the first start has made already, and its rows collide with those of the empty stack."""
    name, _space, title = IMAGE_STEPS.partition(" ")
    _before, section = (ROOT / name).read_text().split(f"\n## {title.strip('()')}\n")
    defaults = role_variables("postgres", {})
    assert f" exec --user 999 {defaults['postgres_container_name']} pg_dump --username postgres --format=custom mlflow" in section
    assert "pg_restore --username postgres --clean --if-exists" in section
    # The volume and the databases are those that the message speaks of.
    assert f"postgres_container_volume: {defaults['postgres_container_volume']}-" in section and "`postgres_users`" in section
    assert "-e postgres_allow_data_change=true -e mlflow_server_verify=false" in section


def test_a_volume_of_podman_of_another_version_is_refused() -> None:
    section = {"podman_volume": "data", "podman_version": "17", "version": "18"}
    fault = data_fault(section, "postgres", "podman", "data", image="postgres:18", version="18", allowed=True)
    assert "postgres_image is postgres:18" in fault and "the Podman volume data has data of PostgreSQL 17" in fault and IMAGE_STEPS in fault


def test_the_description_of_a_container_of_podman_tells_its_volume(tmp_path: Path) -> None:
    """Podman removes a container that stops, and the description stays."""
    written = {"postgres": "Volume=/etc/x:/run/secrets/x:ro\nVolume=mine:/var/lib/postgresql/data\n", "minio": "Volume=kept:/data\n"}
    for role, text in written.items():
        path = tmp_path / quadlet_file(UNITS[role])[1:]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"[Container]\n{text}")
    (tmp_path / "PG_VERSION").write_text("17\n")
    asked: list[str] = []

    def folder_of(volume: str) -> str:
        asked.append(volume)
        return str(tmp_path) if volume == "mine" else ""

    found = read_podman_data(folder_of, tmp_path)
    assert found == {"postgres": {"podman_volume": "mine", "podman_version": "17"}}
    assert asked == ["mine", "kept"]
    (tmp_path / MARKS["postgres"][1:]).parent.mkdir(parents=True)
    (tmp_path / MARKS["postgres"][1:]).write_text("canary\n")
    assert stack.read_stack(tmp_path, podman=found)["postgres"]["podman_volume"] == "mine"
    assert read_podman_data(folder_of, tmp_path / "elsewhere") == {}


def test_the_roles_write_the_units_that_are_looked_for() -> None:
    named = {role: role_variables(role, {})[f"_{role}_podman_unit"] for role in UNITS}
    assert named == UNITS


@pytest.mark.parametrize("allowed", [False, True])
@pytest.mark.parametrize(("written", "version"), [("17", "18"), ("17", "16"), ("9.6", "17")])
def test_a_volume_of_another_version_is_refused_in_any_case(written: str, version: str, allowed: bool) -> None:
    section = {"volume": "data", "version": written}
    fault = data_fault(section, "postgres", "container", "data", image=f"postgres:{version}-trixie", version=version, allowed=allowed)
    assert f"postgres_image is postgres:{version}-trixie" in fault and f"data of PostgreSQL {written}" in fault and IMAGE_STEPS in fault
    assert data_fault(section, "postgres", "container", "data", version=written) == ""


@pytest.mark.parametrize(
    ("role", "section", "wanted"),
    [
        ("minio", {}, {"deployment": "container"}),
        ("minio", {"volume": "data"}, {"deployment": "container"}),
        ("minio", {"folder": "/srv/minio"}, {"deployment": "systemd", "folder": "/srv//minio/"}),
        ("minio", {"folder": ""}, {"deployment": "systemd", "folder": "/srv/minio"}),
        ("postgres", {"volume": "data", "version": ""}, {"deployment": "container", "version": "17"}),
        ("postgres", {"secrets": {}}, {"deployment": "container", "version": "17"}),
        ("postgres", {}, {"deployment": "systemd", "present_clusters": OURS}),
        ("postgres", {"podman_volume": "data", "podman_version": "17"}, {"deployment": "podman", "version": "17"}),
        ("minio", {"podman_volume": "data"}, {"deployment": "podman"}),
        ("minio", {"podman_volume": "left", "volume": "data"}, {"deployment": "container"}),
        ("minio", {"podman_volume": "data", "volume": "left"}, {"deployment": "podman"}),
        # Both were moved, and what was left is still there.
        ("postgres", {"volume": "left"}, {"deployment": "systemd", "present_clusters": OURS}),
        ("postgres", {"volume": "data"}, {"deployment": "container", "present_clusters": OURS}),
        ("postgres", {}, {"deployment": "container", "present_clusters": [{"version": "15", "name": "main", "ours": False}]}),
    ],
)
def test_settings_that_keep_the_data_pass(role: str, section: dict[str, Any], wanted: dict[str, Any]) -> None:
    assert data_fault(section, role, **{"volume": "data", **wanted}) == ""
