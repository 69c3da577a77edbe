"""What the program of the role metrics writes of certificates and backups for the node exporter."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

SCRIPT = Path(__file__).resolve().parents[3] / "roles/metrics/files/atlas_mlflow_metrics.py"
POINTS = '[{"name": "atlas-1", "time": "2026-11-01T02:00:00+00:00"}, {"name": "atlas-2", "time": "2026-11-02T02:00:00+00:00"}]'


@pytest.fixture
def script(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """Return the program, with folders of its own."""
    spec = importlib.util.spec_from_file_location("atlas_mlflow_metrics", SCRIPT)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    for name, place in {"CERTIFICATES": "tls", "BACKUP_SETTINGS": "backup.json", "BACKUP_PROGRAM": "backup.py"}.items():
        monkeypatch.setattr(module, name, tmp_path / place)
    return module


def backup(tmp_path: Path, program: str, settings: str = "{}") -> None:
    """Set up a backup whose program is made up."""
    (tmp_path / "backup.json").write_text(settings)
    (tmp_path / "backup.py").write_text(f"import sys\nasked = sys.argv[1:]\n{program}\n")


def written(script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, action: str = "write") -> dict[str, str]:
    """Run the program, and return each series that the exporter then has."""
    monkeypatch.setattr(sys, "argv", ["atlas_mlflow_metrics.py", action, "--folder", str(tmp_path)])
    assert script.main() == 0
    lines = [line for path in sorted(tmp_path.glob("*.prom")) for line in path.read_text().splitlines()]
    assert {line.split()[2] for line in lines if line.startswith("# TYPE")} == {line.split("{")[0].split(" ")[0] for line in lines if line[0] != "#"}
    return dict(line.rsplit(" ", 1) for line in lines if line[0] != "#")


def test_the_end_of_each_certificate_is_written_and_no_key_is_read_as_one(script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "tls/minio"
    folder.mkdir(parents=True)
    made = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-days",
        "13",
        "-subj",
        "/CN=x",
        "-keyout",
        folder / "key.pem",
        "-out",
        folder / "a.crt",
    ]
    subprocess.run(made, check=True, capture_output=True)
    (folder / "broken.pem").write_text("-----BEGIN CERTIFICATE-----\nnothing\n")
    found = written(script, tmp_path, monkeypatch)
    (name,) = found
    assert name == f'atlas_mlflow_certificate_not_after_timestamp_seconds{{path="{folder}/a.crt"}}'
    assert abs(int(found[name]) - script.time.time() - 13 * 86400) < 3600


def test_a_host_without_backup_and_certificates_has_no_series_of_them(script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "atlas_mlflow_backup_check.prom").write_text("left over")
    assert written(script, tmp_path, monkeypatch) == {}


def test_the_last_backup_is_written(script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    backup(tmp_path, f"assert asked == ['list']\nprint('''{POINTS}''')")
    assert written(script, tmp_path, monkeypatch) == {
        "atlas_mlflow_backup_readable": "1",
        "atlas_mlflow_backup_last_timestamp_seconds": "1793584800",
        "atlas_mlflow_backup_points": "2",
    }


@pytest.mark.parametrize("program", ["sys.exit('the repository does not answer')", "print('[')"])
def test_a_list_that_cannot_be_read_is_said_to_be_so(script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, program: str) -> None:
    backup(tmp_path, program)
    assert written(script, tmp_path, monkeypatch) == {"atlas_mlflow_backup_readable": "0"}


def test_no_backup_has_the_time_0(script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    backup(tmp_path, "print('[]')")
    assert written(script, tmp_path, monkeypatch)["atlas_mlflow_backup_last_timestamp_seconds"] == "0"


@pytest.mark.parametrize(("program", "success"), [("assert 'check' in asked", "1"), ("sys.exit('damaged')", "0")])
def test_the_check_of_the_repository_is_written(script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, program: str, success: str) -> None:
    backup(tmp_path, program)
    found = written(script, tmp_path, monkeypatch, "check-backup")
    assert found["atlas_mlflow_backup_check_success"] == success
    assert abs(int(found["atlas_mlflow_backup_check_timestamp_seconds"]) - script.time.time()) < 100


def test_in_a_cluster_the_member_that_makes_the_backup_checks_it(script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for member, success in (("db-one", {"1"}), ("db-two", set())):
        backup(tmp_path, "print('db-one' if asked == ['source'] else '')", f'{{"postgres": {{"member": "{member}"}}}}')
        found = written(script, tmp_path, monkeypatch, "check-backup")
        assert {value for name, value in found.items() if name == "atlas_mlflow_backup_check_success"} == success
