"""What the roles download is pinned for x86_64 and for arm64, and a host gets that of its own architecture. arm64 is not run."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml
from ansible_collections.atlas.mlflow.plugins.plugin_utils.rules import minio

from inventories import Case, Run

ROOT = Path(__file__).resolve().parents[3]
PINS = yaml.safe_load((ROOT / "roles/minio/files/downloads.yml").read_text())
ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
LOCKS = sorted(
    [
        *ROOT.glob("roles/mlflow_server/files/releases/*/*.txt"),
        *(ROOT / f"roles/{name}.txt" for name in ("common/files/uv", "minio/files/admin", "postgres/files/patroni")),
    ]
)


def known(machine: str, **given: str) -> Run:
    """Return what a run knows of a host of MinIO."""
    return Run(Case({"mlflow_servers": ["one"], "minio": ["one"]}, {"one": {"ansible_facts": {"architecture": machine, "processor_nproc": 2}, **given}}))


@pytest.mark.parametrize("machine", ARCHITECTURES)
def test_a_host_downloads_the_minio_of_its_architecture(machine: str) -> None:
    run = known(machine)
    pin = PINS[run.value("one", "minio", "minio_flavour")]["architectures"][ARCHITECTURES[machine]]
    assert (run.value("one", "minio", "minio_url"), run.value("one", "minio", "minio_sha256")) == (pin["url"], pin["sha256"])
    assert ARCHITECTURES[machine] in pin["url"] and run.told("one", "minio", minio.download_is_pinned) == ""


def test_each_pin_is_a_checksum_of_its_own() -> None:
    listed = [one for pin in PINS.values() for one in pin.get("architectures", {}).values()]
    assert len({one["sha256"] for one in listed}) == len(listed) and all(re.fullmatch("[0-9a-f]{64}", one["sha256"]) for one in listed)


def test_a_flavour_without_a_pin_for_the_architecture_is_refused_with_the_way_out() -> None:
    assert "minio has no pinned download for aarch64. Set minio_url" in known("aarch64", minio_flavour="minio").told("one", "minio", minio.download_is_pinned)


@pytest.mark.parametrize("lock", LOCKS, ids=lambda path: str(path.relative_to(ROOT)))
def test_what_a_lock_has_for_one_architecture_it_has_for_the_other(lock: Path) -> None:
    """A lock is for all platforms (`uv pip compile --universal`), with the checksums of all wheels."""
    markers = re.findall(r"(?m)^[\w.\[\]-]+==\S+ ; (.*?) *\\\\?$", lock.read_text())
    assert [marker for marker in markers if ("'x86_64'" in marker) != ("'aarch64'" in marker)] == []
    assert all(text.count("--hash=sha256:") for text in re.split(r"(?m)^(?=[\w.-]+(?:\[|==))", lock.read_text()) if "==" in text)
