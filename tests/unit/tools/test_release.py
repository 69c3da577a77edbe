"""The playbook that makes a release writes the version everywhere, takes the changes into the changelog, and tags; and refuses what would be no release."""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[3]
BIN = Path(sys.executable).parent
WHO = {f"GIT_{who}_{what}": "nobody@example.org" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """Return a repository with this checkout's files."""
    files = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True).stdout
    folder = tmp_path / "checkout"
    folder.mkdir()
    # The collections' folder has the link that leads back to the checkout.
    names = [name for name in files.decode().split("\0") if name and (ROOT / name).exists() and not name.startswith(("collections/", "tests/", "docs/"))]
    subprocess.run(["cp", "--parents", "--no-dereference", *names, folder], cwd=ROOT, check=True)
    for command in (["init", "--quiet", "--initial-branch", "main"], ["add", "--all"], ["commit", "--quiet", "--message", "All"]):
        git(folder, *command)
    return folder


def git(folder: Path, *arguments: str) -> str:
    """Run git, and return what it prints."""
    done = subprocess.run(["git", *arguments], cwd=folder, capture_output=True, text=True, check=True, env={**os.environ, **WHO})
    return done.stdout.strip()


def release(folder: Path, version: str) -> subprocess.CompletedProcess[str]:
    """Run the playbook without the checks."""
    command = [BIN / "ansible-playbook", "tools/release.yml", "--extra-vars", f"version={version} run_checks=false"]
    environment = {**os.environ, **WHO, "PATH": f"{BIN}:{os.environ['PATH']}", "ANSIBLE_LOCALHOST_WARNING": "false", "ANSIBLE_NOCOLOR": "1"}
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, env=environment)


def test_a_release_is_a_commit_with_a_tag(checkout: Path) -> None:
    done = release(checkout, "7.8.9")
    assert done.returncode == 0, done.stdout[-3000:]
    assert git(checkout, "tag", "--list") == "v7.8.9" and git(checkout, "log", "-1", "--format=%s") == "Release 7.8.9"
    assert git(checkout, "status", "--porcelain") == ""
    assert yaml.safe_load((checkout / "galaxy.yml").read_text())["version"] == "7.8.9"
    assert "version: 7.8.9" in (checkout / "execution-environment.yml").read_text()
    assert "\nv7.8.9\n" in (checkout / "CHANGELOG.rst").read_text()
    assert not list((checkout / "changelogs/fragments").glob("*.yml"))
    with tarfile.open(checkout / "dist/atlas-mlflow-7.8.9.tar.gz") as archive:
        assert "galaxy.yml" not in archive.getnames() and "MANIFEST.json" in archive.getnames()


def test_a_checkout_with_changes_is_not_released(checkout: Path) -> None:
    (checkout / "README.md").write_text("Changed.")
    done = release(checkout, "7.8.9")
    assert done.returncode and "README.md" in done.stdout and git(checkout, "tag", "--list") == ""
