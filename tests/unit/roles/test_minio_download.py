"""A download that fails says why, and how to install MinIO without it."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from playbook_forks import ansible_playbook

ROOT = Path(__file__).resolve().parents[3]


def test_a_failed_download_names_the_address_the_cause_and_the_ways_out(tmp_path: Path) -> None:
    # Nothing listens on port 1.
    values = {"minio_url": "http://127.0.0.1:1/silo.tar.gz", "minio_sha256": "0" * 64, "minio_download_environment": {}}
    values |= {"_minio_archive": str(tmp_path / "archive"), "ansible_become": False, "ansible_python_interpreter": sys.executable}
    tasks = [{"ansible.builtin.include_tasks": str(ROOT / "roles/minio/tasks/install_download.yml")}]
    (tmp_path / "play.yml").write_text(json.dumps([{"hosts": "one", "gather_facts": False, "vars": values, "tasks": tasks}]))
    (tmp_path / "hosts.yml").write_text(json.dumps({"all": {"hosts": {"one": {"ansible_connection": "local"}}}}))
    done = ansible_playbook(tmp_path, "-i", tmp_path / "hosts.yml", tmp_path / "play.yml", modules_here=True)
    said = " ".join((done.stdout + done.stderr).split())
    assert done.returncode != 0 and "one could not download http://127.0.0.1:1/silo.tar.gz: " in said and "Connection refused" in said, said
    for name in ("atlas_mlflow_download_environment", "minio_url", "minio_install_method: file", "minio_file", "atlas_mlflow_bundle"):
        assert name in said, said
