"""An image that Docker loads from an archive is the one that the settings name."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml
from ansible.template import Templar
from in_process import LOADER, role_variables, trusted
from plays import tasks_of

ROOT = Path(__file__).resolve().parents[3]
MODULE = "community.docker.docker_image"


def name_to_load(file: str, image: str, archive: str) -> str:
    """Return the name that the module of Docker gets, which must be the one that Docker prints after the load."""
    (task,) = [task[MODULE] for task in tasks_of(yaml.safe_load((ROOT / f"roles/common/tasks/{file}.yml").read_text())) if MODULE in task]
    variables = role_variables("common", {"common_image": image, "common_image_archive": archive})
    return str(Templar(loader=LOADER, variables=variables).template(trusted(task["name"])))


@pytest.mark.parametrize("file", ["image", "bundled_image"])
@pytest.mark.parametrize(
    ("image", "printed"),
    [
        # The default images of PostgreSQL and of Python.
        ("docker.io/library/postgres:17", "postgres:17"),
        ("docker.io/library/python:3.13-slim-trixie", "python:3.13-slim-trixie"),
        ("docker.io/minio/minio:1", "minio/minio:1"),
        ("postgres:17", "postgres:17"),
        ("ghcr.io/mlflow/mlflow:v3.17.2-full", "ghcr.io/mlflow/mlflow:v3.17.2-full"),
        ("registry.example.com:5000/docker.io/library/postgres:17", "registry.example.com:5000/docker.io/library/postgres:17"),
        ("dockerio/library:1", "dockerio/library:1"),
    ],
)
def test_docker_loads_an_image_by_the_name_that_it_prints(file: str, image: str, printed: str) -> None:
    """Docker prints names without its own registry, and the module refuses an archive that has other names."""
    assert name_to_load(file, image, "/srv/image.tar") == printed


def test_docker_pulls_an_image_by_its_full_name() -> None:
    assert name_to_load("image", "docker.io/library/postgres:17", "") == "docker.io/library/postgres:17"


@pytest.mark.parametrize("recipe", sorted(ROOT.glob("roles/*/files/**/Dockerfile*")), ids=lambda path: f"{path.parts[-3]}-{path.name}")
def test_the_history_of_an_image_has_no_url_of_a_package_index(recipe: Path) -> None:
    """The history of an image has the arguments of its last stage, and such a URL may have a password."""
    last = recipe.read_text().rpartition("\nFROM ")[2]
    assert set(re.findall(r"(?m)^ARG (\w+)", last)) <= {"OWNER"}


@pytest.mark.parametrize(("changed", "again"), [(["/var/lib/atlas-mlflow-images/one.tar.loaded"], True), ([], False)])
def test_docker_loads_an_archive_again_that_was_not_loaded(changed: list[str], again: bool) -> None:
    """tests/unit/playbooks/test_image_archive.py runs the same tasks with a stand-in for Podman."""
    tasks = list(tasks_of(yaml.safe_load((ROOT / "roles/common/tasks/image.yml").read_text())))
    (task,) = [task for task in tasks if MODULE in task]
    given = {"common_image": "one:1", "common_image_archive": "/srv/one.tar", "__common_archive_loaded": {"changed_paths": changed}}
    variables = role_variables("common", given)
    assert Templar(loader=LOADER, variables=variables).template(trusted(task[MODULE]["force_source"])) is again
    assert tasks.index(task) < [task["name"] for task in tasks].index("Write which archive was loaded")


def test_the_removal_of_the_stack_removes_the_archives_of_images() -> None:
    """They are as large as the images."""
    plays = [play for play in yaml.safe_load((ROOT / "playbooks/remove.yml").read_text()) if "remove_images" in str(play)]
    assert [play["hosts"] for play in plays] == ["{{ groups | atlas.mlflow.topology_hosts }}"]
    (task,) = yaml.safe_load((ROOT / "roles/common/tasks/remove_images.yml").read_text())
    variables = role_variables("common", {"common_image": "one:1", "common_image_archive": "/srv/one.tar", "atlas_mlflow_bundle": "/srv/bundle.tar"})
    templar = Templar(loader=LOADER, variables=variables)
    folder = templar.template(trusted(task["ansible.builtin.file"]["path"]))
    assert task["ansible.builtin.file"]["state"] == "absent" and Path(folder).is_relative_to("/var/lib/atlas-mlflow-images")
    written = [templar.template(trusted(f"{{{{ {name} }}}}")) for name in ("_common_image_copy", "_common_bundled_archive")]
    assert {str(Path(path).parent) for path in written} == {folder}
