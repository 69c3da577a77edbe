"""Answers are written as short JSON by releases of MLflow that can."""

from __future__ import annotations

import json
import sys
from types import ModuleType
from typing import Any

import pytest
from server_package import fresh


@pytest.mark.parametrize("has_choice", [True, False])
def test_answers_are_short_if_mlflow_has_a_choice(monkeypatch: pytest.MonkeyPatch, has_choice: bool) -> None:
    def chosen(message: Any, *, pretty: bool = True) -> str:
        return json.dumps(message, indent=2 if pretty else None)

    def fixed(message: Any) -> str:
        return json.dumps(message, indent=2)

    write = chosen if has_choice else fixed
    for name in ("mlflow", "mlflow.utils", "mlflow.utils.proto_json_utils", "mlflow.server.handlers"):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    monkeypatch.delitem(sys.modules, "mlflow.server.auth", raising=False)
    handlers: Any = sys.modules["mlflow.server.handlers"]
    vars(sys.modules["mlflow.utils.proto_json_utils"])["message_to_json"] = handlers.message_to_json = write
    assert fresh(monkeypatch, "compact").install() == has_choice
    assert handlers.message_to_json({"a": 1}) == ('{"a": 1}' if has_choice else '{\n  "a": 1\n}')
