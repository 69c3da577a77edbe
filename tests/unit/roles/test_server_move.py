"""Stores move as a whole: what the source has arrives, what the target had is not mixed with it, and a difference is an error."""

from __future__ import annotations

import hashlib
import io
import os
import threading
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from server_package import fresh


class Objects:
    """A bucket in memory, with faults to switch on."""

    bucket, prefix = "mlflow", ""

    def __init__(self, module: ModuleType) -> None:
        self.entry = module.Entry
        self.objects: dict[str, bytes] = {}
        self.written: list[str] = []
        self.about: dict[str, dict[str, Any]] = {}
        self.spoiled = ""
        self.lock = threading.Lock()

    def entries(self) -> dict[str, Any]:
        return {name: self.entry(len(content), self.mark(name)) for name, content in self.objects.items()}

    def mark(self, name: str) -> str:
        return hashlib.md5(self.objects[name]).hexdigest() if name in self.objects else ""

    def open(self, name: str) -> io.BytesIO:
        return io.BytesIO(self.objects[name])

    def attributes(self, name: str) -> dict[str, Any]:
        return self.about.get(name, {})

    def write(self, name: str, content: Any, attributes: dict[str, Any] | None = None) -> None:
        with self.lock:
            if attributes:
                self.about[name] = attributes
            data = content.read()
            self.objects[name] = data[:-1] + b"?" if name == self.spoiled else data
            self.written.append(name)

    def remove(self, name: str) -> None:
        del self.objects[name]


@pytest.fixture
def files(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    return fresh(monkeypatch, "move_files")


@pytest.fixture
def rows(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    return fresh(monkeypatch, "move_rows")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder of artifacts."""
    for name, content in (("1/run/artifacts/ü %20.txt", b"one"), ("1/run/artifacts/deep/empty", b""), ("2/large", os.urandom(3 * 2**20))):
        path = tmp_path / "artifacts" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return tmp_path / "artifacts"


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def copied(files: ModuleType, folder: Path, bucket: Objects, final: bool = True, target: str = "s3://mlflow") -> list[str]:
    """Copy, and return what was said."""
    said: list[str] = []
    files.copy(files.Folder(str(folder)), bucket, files.Record(folder.parent / "record", target), final, said.append)
    return said


def test_each_artifact_arrives_once_and_the_folder_stays(files: ModuleType, folder: Path) -> None:
    bucket, before = Objects(files), contents(folder)
    assert copied(files, folder, bucket) == [
        f"3 artifacts with {3 * 2**20 + 3} bytes are in the source. 3 of them were copied and compared by their SHA-256 now."
    ]
    assert bucket.objects == contents(folder) == before
    bucket.written.clear()
    assert "0 of them" in copied(files, folder, bucket)[0] and not bucket.written


def test_what_changed_since_the_first_copy_is_copied_and_what_was_removed_is_removed(files: ModuleType, folder: Path) -> None:
    bucket = Objects(files)
    copied(files, folder, bucket, final=False)
    bucket.written.clear()
    (folder / "2/large").write_bytes(b"two")
    (folder / "3").mkdir()
    (folder / "3/new").write_bytes(b"new")
    (folder / "1/run/artifacts/deep/empty").unlink()
    copied(files, folder, bucket)
    assert sorted(bucket.written) == ["2/large", "3/new"]
    assert bucket.objects == contents(folder)


def test_an_object_that_changed_is_copied_again(files: ModuleType, folder: Path) -> None:
    bucket = Objects(files)
    copied(files, folder, bucket)
    bucket.objects["2/large"] = bytes(3 * 2**20)
    copied(files, folder, bucket)
    assert bucket.objects == contents(folder)


def test_the_record_of_another_bucket_does_not_count(files: ModuleType, folder: Path) -> None:
    bucket = Objects(files)
    copied(files, folder, bucket)
    bucket.written.clear()
    copied(files, folder, bucket, target="s3://other")
    assert len(bucket.written) == 3


def test_a_line_that_was_cut_short_does_not_count(files: ModuleType, folder: Path) -> None:
    bucket = Objects(files)
    copied(files, folder, bucket)
    record = folder.parent / "record"
    record.write_text(record.read_text()[:-5])
    bucket.written.clear()
    copied(files, folder, bucket)
    assert len(bucket.written) == 1


def test_a_copy_that_differs_is_an_error(files: ModuleType, folder: Path) -> None:
    bucket = Objects(files)
    bucket.spoiled = "2/large"
    with pytest.raises(files.StoreError, match="The copy of 2/large has the SHA-256"):
        copied(files, folder, bucket)
    # The servers still run, and need not be stopped for this.
    with pytest.raises(files.StoreError, match="The copy of 2/large"):
        copied(files, folder, bucket, final=False)


@pytest.mark.parametrize("change", [lambda path: path.write_bytes(b"changed"), lambda path: path.unlink()])
def test_what_changes_during_its_copy_is_left_to_the_last_copy(files: ModuleType, folder: Path, change: Any) -> None:
    bucket, path = Objects(files), folder / "2/large"
    write = bucket.write

    def fail(name: str, content: Any, attributes: dict[str, Any] | None = None) -> None:
        if name == "2/large" and not bucket.spoiled:
            bucket.spoiled = "done"
            change(path)
            raise OSError("interrupted")
        write(name, content, attributes)

    bucket.write = fail  # type: ignore[method-assign]
    copied(files, folder, bucket, final=False)
    assert "2/large" not in bucket.objects
    copied(files, folder, bucket)
    assert bucket.objects == contents(folder)


def test_a_bucket_is_copied_with_what_its_objects_have_in_addition(files: ModuleType, folder: Path) -> None:
    source, target = Objects(files), Objects(files)
    source.objects, source.about = {"1/a.html": b"<p>", "1/b": b""}, {"1/a.html": {"ContentType": "text/html"}}
    files.copy(source, target, files.Record(folder.parent / "record", "s3://pool"), True, lambda _said: None)
    assert (target.objects, target.about) == (source.objects, source.about)
    assert source.written == []


def test_a_bucket_at_two_addresses_is_found(files: ModuleType) -> None:
    source, target = Objects(files), Objects(files)
    source.objects = {"1/a": b"one"}
    assert not files.is_same(source, target) and target.objects == {}
    assert files.is_same(source, source) and source.objects == {"1/a": b"one"}

    def refuse(*_given: Any) -> None:
        raise OSError("no space")

    target.write = refuse  # type: ignore[method-assign]
    with pytest.raises(files.StoreError, match="Nothing can be written to the new artifact store: no space"):
        files.is_same(source, target)


def test_objects_of_others_are_an_error(files: ModuleType, folder: Path) -> None:
    bucket = Objects(files)
    copied(files, folder, bucket)
    record = files.Record(folder.parent / "record", "s3://mlflow")
    assert files.foreign(files.Folder(str(folder)), bucket, record) == []
    bucket.objects["theirs"] = b""
    assert files.foreign(files.Folder(str(folder)), bucket, record) == ["theirs"]
    with pytest.raises(files.StoreError, match="not the same artifacts as the source: theirs"):
        copied(files, folder, bucket)


def test_what_no_bucket_can_have_is_refused(files: ModuleType, folder: Path) -> None:
    (folder / "lost+found").mkdir()
    (folder / "lost+found/x").write_bytes(b"")
    assert set(files.Folder(str(folder)).entries()) == set(contents(folder)) - {"lost+found/x"}
    (folder / "link").symlink_to(folder / "1")
    with pytest.raises(files.StoreError, match="link is a link to a folder"):
        files.Folder(str(folder)).entries()
    (folder / "link").unlink()
    (folder / "pipe").symlink_to("/nowhere")
    with pytest.raises(files.StoreError, match="pipe is a link"):
        files.Folder(str(folder)).entries()


def test_a_folder_that_no_artifact_has_created_yet_is_empty(files: ModuleType, tmp_path: Path) -> None:
    assert files.Folder(str(tmp_path / "none")).entries() == {}


@pytest.mark.parametrize(
    ("table", "row", "moved"),
    [
        ("experiments", {"artifact_location": "file:///srv/ml/1"}, {"artifact_location": "mlflow-artifacts:/1"}),
        ("experiments", {"artifact_location": "file:///srv/ml"}, {"artifact_location": "mlflow-artifacts:/"}),
        ("runs", {"artifact_uri": "/srv/ml/1/r/artifacts"}, {"artifact_uri": "mlflow-artifacts:/1/r/artifacts"}),
        ("runs", {"artifact_uri": "/srv/mlruns/1"}, {"artifact_uri": "/srv/mlruns/1"}),
        ("runs", {"artifact_uri": None, "name": "/srv/ml"}, {"artifact_uri": None, "name": "/srv/ml"}),
        ("trace_tags", {"key": "mlflow.artifactLocation", "value": "/srv/ml/t"}, {"key": "mlflow.artifactLocation", "value": "mlflow-artifacts:/t"}),
        ("trace_tags", {"key": "note", "value": "/srv/ml/t"}, {"key": "note", "value": "/srv/ml/t"}),
        ("tags", {"key": "x", "value": "/srv/ml/t"}, {"key": "x", "value": "/srv/ml/t"}),
    ],
)
def test_locations_are_replaced_where_mlflow_has_them(rows: ModuleType, table: str, row: dict[str, Any], moved: dict[str, Any]) -> None:
    assert rows.relocate(["/srv/ml/", "file:///srv/ml"])(table, dict(row)) == moved
    assert rows.relocate([])(table, dict(row)) == row


def test_the_content_of_a_table_does_not_depend_on_the_order_or_on_the_database(rows: ModuleType) -> None:
    sqlite = [{"a": 1, "b": b"\x00"}, {"a": 0, "b": None}]
    postgresql = [{"b": None, "a": False}, {"b": memoryview(b"\x00"), "a": True}]
    assert rows.content(sqlite) == rows.content(postgresql)
    for other in ([sqlite[0]], [sqlite[0]] * 2, [*sqlite, sqlite[0]], [{"a": 1, "b": b"\x01"}, sqlite[1]], [{"a": 1.5, "b": b"\x00"}, sqlite[1]]):
        assert rows.content(other) != rows.content(sqlite)
    assert rows.content(sqlite[:1]) + rows.content(sqlite[1:]) == rows.content(sqlite)
