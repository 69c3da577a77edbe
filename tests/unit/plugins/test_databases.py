"""What PostgreSQL has is told from what is asked for, and a password by the verifier that PostgreSQL keeps."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.atlas.mlflow.plugins.plugin_utils.databases import differences, is_password

#: PostgreSQL's form of the password "pencil" with the salt and the iterations of the example in RFC 7677.
SALT, ITERATIONS = "W22ZaJ0SNY7soEsUEjb6gQ==", 4096
VERIFIER = f"SCRAM-SHA-256${ITERATIONS}:{SALT}$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU="
ROLE = {"kind": "role", "name": "mlflow", "detail": VERIFIER, "good": True}
DATABASES = [{"kind": "database", "name": name, "detail": owner, "good": True} for name, owner in [("mlflow", "mlflow"), ("postgres", "postgres")]]


@pytest.mark.parametrize(
    ("verifier", "password", "same"),
    [
        (VERIFIER, "pencil", True),
        (VERIFIER, "pencils", False),
        (VERIFIER, "", False),
        (VERIFIER, "péncil", False),
        ("md5" + "0" * 32, "pencil", False),
        ("", "pencil", False),
        ("None", "pencil", False),
    ],
)
def test_a_password_is_known_by_its_verifier(verifier: str, password: str, same: bool) -> None:
    assert is_password(verifier, password) is same


@pytest.mark.parametrize(
    ("rows", "owner", "databases"),
    [
        ([ROLE, *DATABASES], False, []),
        ([], True, ["mlflow"]),
        (DATABASES, True, []),
        ([ROLE], False, ["mlflow"]),
        ([{**ROLE, "good": False}, *DATABASES], True, []),
        ([{**ROLE, "detail": None}, *DATABASES], True, []),
        ([ROLE, {**DATABASES[0], "detail": "postgres"}], False, ["mlflow"]),
        ([ROLE, {**DATABASES[0], "good": False}], False, ["mlflow"]),
    ],
)
def test_only_what_differs_is_told(rows: list[dict[str, Any]], owner: bool, databases: list[str]) -> None:
    owners = [{"name": "mlflow", "password": "pencil", "databases": ["mlflow"]}]
    assert differences(rows, owners) == {"owners": ["mlflow"] * owner, "databases": [{"name": name, "owner": "mlflow"} for name in databases]}


def test_another_password_is_a_difference() -> None:
    owners = [{"name": "mlflow", "password": "pen", "databases": ["mlflow", "mlflow_auth"]}]
    assert differences([ROLE, *DATABASES], owners) == {"owners": ["mlflow"], "databases": [{"name": "mlflow_auth", "owner": "mlflow"}]}


def test_each_owner_has_databases_of_its_own() -> None:
    owners = [{"name": "mlflow", "password": "pencil", "databases": ["mlflow"]}, {"name": "grafana", "password": "pencil", "databases": ["grafana", "mlflow"]}]
    assert differences([ROLE, *DATABASES], owners) == {
        "owners": ["grafana"],
        "databases": [{"name": "grafana", "owner": "grafana"}, {"name": "mlflow", "owner": "grafana"}],
    }
    reader = {"name": "mlflow", "password": "pencil"}
    assert differences([ROLE, *DATABASES], [reader]) == {"owners": [], "databases": []}
