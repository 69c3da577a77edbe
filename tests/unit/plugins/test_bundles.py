"""What a bundle says about itself: whether it has what a host needs, and whether its files are those that were downloaded."""

from __future__ import annotations

import hashlib
import io
import json
import os
import subprocess
import tarfile
from pathlib import Path
from typing import Any

import pytest
from ansible.errors import AnsibleError
from ansible_collections.atlas.mlflow.plugins.action.packages import ActionModule as Packages
from ansible_collections.atlas.mlflow.plugins.action.uv_environment import ActionModule as Environment
from ansible_collections.atlas.mlflow.plugins.filter.bundles import bundle_image
from ansible_collections.atlas.mlflow.plugins.module_utils.bundle_parts import unpacked
from ansible_collections.atlas.mlflow.plugins.module_utils.environments import digest, wanted_stamp
from ansible_collections.atlas.mlflow.plugins.modules import bundle_make
from ansible_collections.atlas.mlflow.plugins.plugin_utils import bundles, transfers
from ansible_collections.atlas.mlflow.plugins.plugin_utils.bundles import Bundle, collection_version, merged
from in_process import act
from test_host_modules import run_module

LOCK, UV = "mlflow==3.17.2 --hash=sha256:1\n", "uv==0.13.9 --hash=sha256:2\n"
#: An engine of containers that has one image.
AN_ENGINE = """#!/bin/sh
case "$*" in
  "image inspect --format {{.Id}} IMAGE") exit 0 ;;
  "save --output "*" IMAGE") echo ENGINE > "$3" ;;
  *) exit 1 ;;
esac
"""
FACTS = {"distribution_release": "bookworm", "architecture": "x86_64", "python3": "/usr/bin/python3.11", "packages": {"tar": []}}
CONTENT = {
    "packages/Packages": b"Package: haproxy\n",
    "packages/haproxy_2.6_amd64.deb": b"deb",
    "wheels/mlflow.whl": b"wheel",
    "wheels/uv.whl": b"uv",
    "downloads/minio.tar.gz": b"minio",
    "images/0.tar": b"image",
}
NEEDS = {
    "packages": ["haproxy"],
    "locks": {"MLflow 3.17.2": LOCK, "uv": UV},
    "downloads": [{"name": "minio.tar.gz", "sha256": hashlib.sha256(b"minio").hexdigest()}],
    "images": ["postgres:17"],
}


def manifest(**changed: Any) -> dict[str, Any]:
    """Return the manifest of the content."""
    return {
        "form": bundles.FORM,
        "collection": "0.0.9",
        "release": "bookworm",
        "architecture": "x86_64",
        "python": "3.11",
        "packages": ["haproxy", "ca-certificates"],
        "locks": {digest(LOCK): ["wheels/mlflow.whl"], digest(UV): ["wheels/uv.whl"]},
        "downloads": {"minio.tar.gz": "downloads/minio.tar.gz"},
        "images": {"postgres:17": "images/0.tar"},
        "files": {name: {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data)} for name, data in CONTENT.items()},
        **changed,
    }


def write(path: Path, content: dict[str, bytes] = CONTENT, **changed: Any) -> Path:
    """Write a bundle as an archive, or as a folder if the path has no ending."""
    files = {"manifest.json": json.dumps(manifest(**changed)).encode(), **content}
    if not path.suffix:
        for name, data in files.items():
            (path / name).parent.mkdir(parents=True, exist_ok=True)
            (path / name).write_bytes(data)
        return path
    with tarfile.open(path, "w") as archive:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return path


def check(path: Path, needs: dict[str, Any] = NEEDS, **facts: Any) -> list[str]:
    """Return what the check says of a bundle."""
    return Bundle(str(path)).faults("one", merged([needs]), {**FACTS, **facts})


@pytest.fixture(params=["bundle.tar", "bundle"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """Return the path of a bundle that is an archive, and of one that is a folder."""
    return tmp_path / request.param


def test_a_bundle_that_has_all_is_accepted(place: Path) -> None:
    assert check(write(place)) == []


@pytest.mark.parametrize(
    ("needs", "named"),
    [
        ({**NEEDS, "packages": ["haproxy", "nftables"]}, "lacks the package nftables."),
        ({**NEEDS, "locks": {"MLflow 3.10.1": "mlflow==3.10.1\n"}}, "lacks the lock of MLflow 3.10.1."),
        ({**NEEDS, "images": ["postgres:18"]}, "lacks the image postgres:18."),
        ({**NEEDS, "downloads": [{"name": "silo.tar.gz", "sha256": "1"}]}, "lacks the download silo.tar.gz."),
        ({**NEEDS, "downloads": [{"name": "minio.tar.gz", "sha256": "1"}]}, "lacks the download minio.tar.gz."),
    ],
)
def test_what_it_lacks_is_named_with_its_version_and_system(place: Path, needs: dict[str, Any], named: str) -> None:
    (said,) = check(write(place), needs)
    assert named in said
    assert "made by version 0.0.9 of the collection for bookworm on x86_64 with Python 3.11" in said
    assert f"with this version of the collection ({collection_version()})" in said


def test_a_package_that_the_host_has_is_not_needed(place: Path) -> None:
    assert check(write(place), {"packages": ["tar", "nftables"]}, added_packages=["nftables"]) == []


@pytest.mark.parametrize(
    ("facts", "named"),
    [
        ({"distribution_release": "trixie"}, "one is trixie on x86_64 with Python 3.11"),
        ({"architecture": "aarch64"}, "one is bookworm on aarch64 with Python 3.11"),
        ({"python3": "/usr/bin/python3.13"}, "one is bookworm on x86_64 with Python 3.13"),
    ],
)
def test_a_bundle_for_another_system_is_refused(place: Path, facts: dict[str, str], named: str) -> None:
    (said,) = check(write(place), **facts)
    assert "is for bookworm on x86_64 with Python 3.11, and" in said and named in said


@pytest.mark.parametrize("name", sorted(CONTENT))
def test_a_file_that_differs_from_its_checksum_is_named(place: Path, name: str) -> None:
    changed = write(place, {**CONTENT, name: b"x" + CONTENT[name][1:]})
    (said,) = check(changed)
    assert f"is damaged: {name} differ" in said


def test_a_file_that_is_missing_is_named(place: Path) -> None:
    (said,) = check(write(place, {name: data for name, data in CONTENT.items() if name != "wheels/uv.whl"}))
    assert "wheels/uv.whl" in said


def test_a_file_that_the_host_does_not_need_is_not_read(place: Path) -> None:
    assert check(write(place, {**CONTENT, "wheels/mlflow.whl": b"other"}), {**NEEDS, "locks": {"uv": UV}}) == []


@pytest.mark.parametrize("content", [b"", b"no archive", b"{}"])
def test_what_is_no_bundle_is_refused_with_the_name_of_the_variable(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "bundle.tar"
    path.write_bytes(content)
    with pytest.raises(AnsibleError, match="atlas_mlflow_bundle is .*playbooks/bundle.yml"):
        Bundle(str(path))
    with pytest.raises(AnsibleError, match="atlas_mlflow_bundle is "):
        Bundle(str(tmp_path / "missing.tar"))


def test_a_bundle_of_another_form_is_refused(place: Path) -> None:
    with pytest.raises(AnsibleError, match="in another form"):
        Bundle(str(write(place, form=0)))


def test_parts_are_packed_and_unpacked_and_leave_nothing(place: Path, tmp_path: Path) -> None:
    parts = tmp_path / "parts.tar"
    Bundle(str(write(place))).pack(["wheels/mlflow.whl", "wheels/uv.whl"], str(parts))
    with unpacked(str(parts)) as folder:
        assert {path.name: path.read_bytes() for path in Path(folder).iterdir()} == {"mlflow.whl": b"wheel", "uv.whl": b"uv"}
        assert Path(folder).stat().st_mode & 0o077 == 0
        assert not parts.exists()
    assert not Path(folder).exists()


def test_parts_that_cannot_be_used_are_removed(tmp_path: Path) -> None:
    parts = tmp_path / "parts.tar"
    parts.write_bytes(b"no archive")
    with pytest.raises(tarfile.ReadError), unpacked(str(parts)):
        pass
    assert not parts.exists()


def test_a_file_that_changed_after_the_check_is_not_copied(place: Path, tmp_path: Path) -> None:
    bundle = Bundle(str(write(place, {**CONTENT, "wheels/uv.whl": b"xx"})))
    with pytest.raises(AnsibleError, match=r"wheels/uv\.whl differs from its checksum"):
        bundle.pack(["wheels/uv.whl"], str(tmp_path / "parts.tar"))
    with pytest.raises(AnsibleError, match=r"wheels/uv\.whl differs from its checksum"):
        bundle.extract("wheels/uv.whl", str(tmp_path / "uv.whl"))


def test_what_several_roles_need_is_joined() -> None:
    download = {"name": "minio.tar.gz", "url": "https://example.com/minio.tar.gz", "sha256": "1"}
    joined = merged(
        [{"packages": ["b", "a"]}, {"packages": ["a"], "locks": {"uv": UV}, "downloads": [download]}, {"locks": {"uv": UV}, "downloads": [download]}]
    )
    assert joined == {"packages": ["a", "b", "ca-certificates"], "locks": {UV: "uv"}, "downloads": [download], "images": []}


def test_an_image_is_known_by_the_checksum_of_its_archive(place: Path) -> None:
    """A later bundle may have another image of the same name."""
    assert bundle_image(str(write(place)), "postgres:17") == hashlib.sha256(b"image").hexdigest()
    with pytest.raises(AnsibleError, match="lacks postgres:18, which should be among its images"):
        bundle_image(str(place), "postgres:18")


def test_both_sides_have_the_same_form() -> None:
    assert bundle_make.FORM == bundles.FORM


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, Any]]:
    """Return what is asked of a host: copies with the files in the copied archive, and modules with their arguments."""
    calls: list[tuple[str, Any]] = []

    def copy(_action: Any, _variables: Any, **arguments: Any) -> dict[str, Any]:
        with tarfile.open(arguments["src"]) as archive:
            calls.append(("copy", sorted(archive.getnames())))
        return {"changed": True, "dest": "/var/tmp/parts.tar"}

    def execute(_action: Any, module_name: str = "own", module_args: Any = None, **_: Any) -> dict[str, Any]:
        calls.append((module_name, module_args))
        return {"changed": bool(module_args.get("parts")), "files": ["haproxy_2.6_amd64.deb"]}

    monkeypatch.setattr(transfers, "copy", copy)
    for action in (Packages, Environment):
        monkeypatch.setattr(action, "_execute_module", execute)
    return calls


def test_the_packages_that_apt_names_are_copied_and_installed(place: Path, asked: list[tuple[str, Any]]) -> None:
    done = act(Packages, {"names": ["haproxy", "tar"], "bundle": str(write(place))}, {"ansible_facts": FACTS})
    module = {"names": ["haproxy"], "index": "Package: haproxy\n"}
    assert asked == [
        ("atlas.mlflow.bundle_packages", {**module, "parts": "/var/tmp/parts.tar"}),
        ("copy", ["packages/haproxy_2.6_amd64.deb"]),
        ("atlas.mlflow.bundle_packages", {**module, "parts": "/var/tmp/parts.tar"}),
    ]
    assert done["changed"] is True and done["ansible_facts"] == {"ansible_added_packages": ["haproxy"]}


def test_a_check_run_copies_nothing(place: Path, asked: list[tuple[str, Any]]) -> None:
    done = act(Packages, {"names": ["haproxy"], "bundle": str(write(place))}, {"ansible_facts": FACTS}, check_mode=True)
    assert [name for name, _ in asked] == ["atlas.mlflow.bundle_packages"] and done["changed"] is True
    act(Environment, {"path": "/opt/one", "requirements": LOCK, "uv_requirements": UV, "bundle": str(place)}, {"ansible_facts": FACTS}, check_mode=True)
    assert [name for name, _ in asked][1:] == ["own"]


def test_the_wheels_of_an_environment_are_copied_unless_only_its_files_change(place: Path, asked: list[tuple[str, Any]]) -> None:
    arguments = {"path": "/opt/one", "requirements": LOCK, "uv_requirements": UV, "extra_files": {"a.py": "A = 2\n"}, "bundle": str(write(place))}
    act(Environment, arguments, {"ansible_facts": FACTS})
    assert asked == [("copy", ["wheels/mlflow.whl", "wheels/uv.whl"]), ("own", {**arguments, "parts": "/var/tmp/parts.tar"})]
    asked.clear()
    stamp = wanted_stamp(LOCK, FACTS["python3"], {"a.py": "A = 1\n"})
    act(Environment, arguments, {"ansible_facts": {**FACTS, "installed": {"environments": {"/opt/one": stamp}}}})
    assert asked == [("own", arguments)]


def test_a_lock_that_the_bundle_does_not_have_is_refused(place: Path, asked: list[tuple[str, Any]]) -> None:
    arguments = {"path": "/opt/one", "requirements": "other\n", "uv_requirements": UV, "bundle": str(write(place))}
    with pytest.raises(AnsibleError, match=r"lacks a lock .*Make a new bundle with playbooks/bundle\.yml"):
        act(Environment, arguments, {"ansible_facts": FACTS})
    assert asked == []


def test_the_archive_on_a_builder_is_a_bundle(tmp_path: Path) -> None:
    """Without packages and wheels, which need a network: the module packs a file, and the control node reads it."""
    source, folder = tmp_path / "minio", tmp_path / "folder"
    source.write_bytes(b"minio")
    folder.mkdir()
    download = {"name": "minio.tar.gz", "url": source.as_uri(), "sha256": hashlib.sha256(b"minio").hexdigest()}
    made = run_module("bundle_make", folder=str(folder), downloads=[download], version="1.2.3")
    assert made["counts"] == {"packages": 0, "wheels": 0, "downloads": 1, "images": 0}
    assert made["sha256"] == hashlib.sha256(Path(made["archive"]).read_bytes()).hexdigest()
    bundle = Bundle(made["archive"])
    assert bundle.manifest["collection"] == "1.2.3" and bundle.manifest["python"].startswith("3")
    bundle.extract(bundle.part("downloads", "minio.tar.gz"), str(tmp_path / "copy"))
    assert (tmp_path / "copy").read_bytes() == b"minio"
    wrong = run_module("bundle_make", folder=str(folder), downloads=[{**download, "sha256": "1"}], version="1.2.3")
    assert wrong["failed"] is True and "and 1 is pinned" in wrong["msg"]


def test_an_image_is_saved_by_the_engine_that_has_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    programs, folder, image = tmp_path / "programs", tmp_path / "folder", "quay.example.com/mlflow:3"
    programs.mkdir()
    folder.mkdir()
    for engine, known in (("docker", "postgres:17"), ("podman", image)):
        (programs / engine).write_text(AN_ENGINE.replace("IMAGE", known).replace("ENGINE", engine), encoding="utf-8")
        (programs / engine).chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    made = run_module("bundle_make", folder=str(folder), images=["postgres:17", image])
    bundle = Bundle(made["archive"])
    for name, engine in (("postgres:17", "docker"), (image, "podman")):
        bundle.extract(bundle.part("images", name), str(tmp_path / "copy"))
        assert (tmp_path / "copy").read_text() == f"{engine}\n"
    missing = run_module("bundle_make", folder=str(folder), images=["postgres:18"])
    assert missing["failed"] is True and "No engine of containers on this host has the image postgres:18" in missing["msg"]


@pytest.mark.parametrize("check", [True, False])
def test_an_image_by_its_digest_is_refused_before_anything_is_downloaded(check: bool, tmp_path: Path) -> None:
    """Docker and Podman save it without a name."""
    named = f"postgres@sha256:{'0' * 64}"
    made = run_module("bundle_make", check=check, folder=str(tmp_path), images=["postgres:17", named])
    assert made["failed"] and f"hosts would not find {named} in the bundle" in made["msg"]
    assert list(tmp_path.iterdir()) == []


def test_an_archive_is_read_by_tar(tmp_path: Path) -> None:
    """An operator may unpack it, and name the folder instead."""
    path, folder = write(tmp_path / "bundle.tar"), tmp_path / "unpacked"
    folder.mkdir()
    subprocess.run(["tar", "--extract", "--file", path, "--directory", folder], check=True)
    assert check(folder) == []
