"""Folders that settings name: found, refused with a reason, and opened in a unit's sandbox."""

from __future__ import annotations

import pytest
from ansible_collections.atlas.mlflow.plugins.module_utils.folders import folder_faults, folder_of, named_folders, sandbox, sqlite_file

RESERVED = {"install_dir": "/opt/mlflow"}


@pytest.mark.parametrize(
    ("value", "folder"),
    [
        ("/srv/mlartifacts", "/srv/mlartifacts"),
        ("/srv/mlartifacts/", "/srv/mlartifacts"),
        ("file:///srv/ml%20artifacts", "/srv/ml artifacts"),
        ("file:/srv/a", "/srv/a"),
        ("sqlite:////srv/mlflow/tracking.db", "/srv/mlflow"),
        ("sqlite+pysqlite:////srv/mlflow/tracking.db?timeout=20", "/srv/mlflow"),
        ("sqlite:///tracking.db", ""),
        ("sqlite://", ""),
        ("s3://bucket/prefix", ""),
        ("gs://bucket", ""),
        ("postgresql+psycopg2://u:canary-secret@db/srv", ""),
        ("mlartifacts", ""),
    ],
)
def test_the_folder_of_a_value(value: str, folder: str) -> None:
    assert folder_of(value) == folder


def test_each_folder_once_and_memory_not_at_all() -> None:
    places = {"a": "/srv/m/artifacts", "b": "sqlite:////srv/m/x.db", "c": "sqlite:////srv/m/y.db", "d": "", "e": None, "f": "/tmp/spool", "g": "s3://b"}
    assert named_folders(places) == ["/srv/m", "/srv/m/artifacts"]
    assert named_folders(places, outermost=True) == ["/srv/m"]


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("mlartifacts", "not an absolute path"),
        ("./mlartifacts", "not an absolute path"),
        ("sqlite:///tracking.db", "four slashes"),
        ("sqlite://", "four slashes"),
        ("sqlite:///:memory:", "four slashes"),
        ("file://elsewhere/srv/a", "no folder of this host"),
        ("sqlite:////srv/tracking.db", "/srv belongs to the system"),
        ("sqlite:////var/lib/tracking.db", "/var/lib belongs to the system"),
        ("/etc/mlflow", "belongs to the system"),
        ("/usr/share/mlflow", "belongs to the system"),
        ("/", "belongs to the system"),
        ("/root", "belongs to the system"),
        ("/home/ada", "the home folder of a user"),
        ("/tmp/mlartifacts", "gone after a restart"),
        ("file:///run/mlartifacts", "gone after a restart"),
        ("/opt/mlflow/artifacts", "/opt/mlflow (install_dir), and remove.yml"),
        ("/srv/a/../../etc", "'..'"),
        ("/srv/50%", "a meaning of its own"),
        ('/srv/a"b', "a meaning of its own"),
    ],
)
def test_a_folder_that_a_service_cannot_have_is_refused_by_its_variable(value: str, said: str) -> None:
    (fault,) = folder_faults({"the_variable": value}, "mlflow", RESERVED)
    assert fault.startswith(f"the_variable is {value}, ") and said in fault


@pytest.mark.parametrize(
    "value",
    ["/srv/mlartifacts", "/home/mlflow", "/home/ada/mlflow", "/root/mlflow", "/usr/local/mlflow", "/opt/mlflow-data", "/mnt/my disk/a", "s3://b", "", None],
)
def test_a_folder_of_its_own_is_taken(value: str | None) -> None:
    assert folder_faults({"the_variable": value}, "mlflow", RESERVED) == []


def test_a_password_is_never_shown_and_scratch_may_be_memory() -> None:
    places = {"uri": "postgresql+psycopg2://u:canary-secret@db/../x", "TMPDIR": "/tmp", "other": "/srv"}
    faults = folder_faults(places, "mlflow", RESERVED, scratch=["TMPDIR"])
    assert [fault.split()[0] for fault in faults] == ["other"]


def test_the_sandbox_opens_what_is_named_and_no_home_but_that() -> None:
    assert sandbox(["/var/lib/mlflow"], ["/opt/mlflow"]) == ["ReadWritePaths=/var/lib/mlflow"]
    assert sandbox(["/srv/a b", "/srv/a b/c", "/home/ada/mlflow"], ["/home/ada/venv"]) == [
        'ReadWritePaths=/home/ada/mlflow "/srv/a b"',
        "ProtectHome=tmpfs",
        "TemporaryFileSystem=/home:ro /root:ro",
        "BindPaths=/home/ada/mlflow",
        "BindReadOnlyPaths=/home/ada/venv",
    ]
    assert sandbox(["/var/lib/mlflow"], ["/root/venv"])[1:] == [
        "ProtectHome=tmpfs",
        "TemporaryFileSystem=/home:ro /root:ro",
        "BindReadOnlyPaths=/root/venv",
    ]


def test_the_file_of_sqlite_has_no_options() -> None:
    assert sqlite_file("sqlite:////srv/x.db?timeout=20") == "/srv/x.db"
    assert sqlite_file("postgresql+psycopg2://u:p@db/m") == ""
