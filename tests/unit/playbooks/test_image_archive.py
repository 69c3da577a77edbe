"""The archive of an image is loaded once, and again if a load failed or the archive is another one, also if an image of the same name is there."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest
from playbook_forks import ansible_playbook

ROOT = Path(__file__).resolve().parents[3]
SUDO = '#!/bin/sh\nwhile [ "$1" != /bin/sh ]; do shift; done\nexec "$@"\n'
#: Has one image, whose identity is the content of its archive.
PODMAN = """#!/bin/sh
case "$1" in
  image) cat "{folder}/image" 2>/dev/null || exit 125 ;;
  load) echo load >>"{folder}/log"; [ -e "{folder}/full" ] && exit 1; cat "$4" >"{folder}/image"; echo "Loaded image: docker.io/team/one:1" ;;
esac
"""


def bring(folder: Path) -> tuple[int, int, str]:
    """Run the tasks, and return the exit status, the number of loads so far, and the image that is there."""
    play = {
        "hosts": "all",
        "gather_facts": False,
        "vars_files": [str(ROOT / "roles/common/vars/main/main.yml")],
        "tasks": [{"ansible.builtin.include_tasks": str(ROOT / "roles/common/tasks/podman_image.yml")}],
    }
    (folder / "play.yml").write_text(json.dumps([play]))
    given = {
        "ansible_connection": "local",
        "ansible_python_interpreter": sys.executable,
        "ansible_become_exe": str(folder / "sudo"),
        "common_image": "docker.io/team/one:1",
        "common_image_archive": str(folder / "one.tar"),
        "common_download_environment": {},
    }
    (folder / "hosts.json").write_text(json.dumps({"all": {"hosts": {"here": given}}}))
    owner = {"_common_image_copy": str(folder / "copies/one.tar")}
    path = f"{folder}/bin:{os.environ['PATH']}"
    done = ansible_playbook(folder, "-i", folder / "hosts.json", folder / "play.yml", "--extra-vars", json.dumps(owner), modules_here=True, PATH=path)
    log, image = folder / "log", folder / "image"
    return done.returncode, len(log.read_text().split()) if log.exists() else 0, image.read_text() if image.exists() else done.stdout


@pytest.mark.skipif(os.geteuid() != 0, reason="the files are made for root")
def test_a_load_that_failed_is_repeated(tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    for name, text in (("sudo", SUDO), ("bin/podman", PODMAN.format(folder=tmp_path))):
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    (tmp_path / "one.tar").write_text("first")
    assert bring(tmp_path) == (0, 1, "first")
    assert bring(tmp_path) == (0, 1, "first")
    # The disk is full, and there is an image of this name already.
    (tmp_path / "one.tar").write_text("second")
    (tmp_path / "full").touch()
    assert bring(tmp_path) == (2, 2, "first")
    (tmp_path / "full").unlink()
    assert bring(tmp_path) == (0, 3, "second")
    assert bring(tmp_path) == (0, 3, "second")
