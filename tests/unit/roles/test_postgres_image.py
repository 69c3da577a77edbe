"""The recipe of the image with pgBackRest, on stand-ins for the systems that an image may have."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

RECIPE = Path(__file__).resolve().parents[3] / "roles/postgres/files/Dockerfile"


def build(folder: Path, *programs: str, noted: str = "", **given: str) -> tuple[int, list[str], str]:
    """Run the recipe's script with the given programs alone, which note how they are called; return its status, these calls, and what it said.

    :param noted: What a program notes with its call: variables of a shell.
    :param given: Variables of the environment.
    """
    script = RECIPE.read_text(encoding="utf-8").partition("\nRUN ")[2].replace("\\\n", " ")
    # Away from the files of this machine.
    script = re.sub(r"(?<=[ =>])/(?=(tmp|etc|var)/)", f"{folder}/", script)
    assert not re.search(r"[ =>]/", script.replace(str(folder), "FOLDER"))
    for path in ("tmp", "etc/ssl/certs", "var/lib/apt/lists", "bin"):
        (folder / path).mkdir(parents=True)
    (folder / "tmp/atlas-mlflow-authorities.crt").write_text("the authority of a mirror\n")
    for name in ("cat", "rm"):
        (folder / "bin" / name).symlink_to(shutil.which(name) or "")
    for name in programs:
        (folder / "bin" / name).write_text(f'#!/bin/sh\necho "{name} $*{noted}" >>{folder}/calls\n')
        (folder / "bin" / name).chmod(0o755)
    done = subprocess.run(["/bin/sh", "-c", script], env={"PATH": str(folder / "bin"), **given}, capture_output=True, text=True, check=False)
    calls = folder / "calls"
    return done.returncode, calls.read_text().splitlines() if calls.exists() else [], done.stderr


def test_debian_installs_the_package_by_the_authorities_of_the_host(tmp_path: Path) -> None:
    status, (update, install), _said = build(tmp_path, "apt-get")
    assert status == 0 and update.endswith("update") and install.endswith("pgbackrest")
    assert "CAInfo=" in update and "CAInfo=" in install


def test_alpine_installs_the_package_by_the_authorities_of_the_host(tmp_path: Path) -> None:
    assert build(tmp_path, "apk")[:2] == (0, ["apk add --no-cache pgbackrest"])
    assert (tmp_path / "etc/ssl/certs/ca-certificates.crt").read_text() == "the authority of a mirror\n"


@pytest.mark.parametrize("name", [str.upper, str.lower])
def test_debian_installs_the_package_by_the_proxy_of_downloads(tmp_path: Path, name: Callable[[str], str]) -> None:
    """apt reads the names in lower case only, and the other programs that download read both."""
    given = {name(variable): f"http://{variable}.example.com" for variable in ("http_proxy", "https_proxy", "no_proxy")}
    status, (update, _install), _said = build(tmp_path, "apt-get", noted=" by $http_proxy $https_proxy $no_proxy", **given)
    assert status == 0 and update.endswith(f" by {' '.join(given.values())}")


@pytest.mark.parametrize("system", ["apt-get", "apk"])
def test_an_image_that_has_pgbackrest_takes_no_network(tmp_path: Path, system: str) -> None:
    assert build(tmp_path, "pgbackrest", system)[:2] == (0, [])


def test_an_image_of_another_system_is_refused_with_the_way_out(tmp_path: Path) -> None:
    status, calls, said = build(tmp_path, "microdnf")
    assert status and calls == [] and "has no pgbackrest" in said and "postgres_image" in said
