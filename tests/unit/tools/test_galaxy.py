"""What galaxy-importer is spared: to ask for plugins of a kind that a collection has no folder for."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from tools import galaxy


def test_ansible_doc_is_asked_for_the_kinds_that_have_a_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for folder in ("modules", "filter"):
        (tmp_path / "plugins" / folder).mkdir(parents=True)
    monkeypatch.setattr(galaxy, "_ask", lambda _loader, kind: {f"a.b.{kind}": {}})
    loader = SimpleNamespace(path=str(tmp_path))
    found = {kind: galaxy.plugins_of(loader, kind) for kind in ("become", "filter", "module")}
    assert found == {"become": {}, "filter": {"a.b.filter": {}}, "module": {"a.b.module": {}}}
