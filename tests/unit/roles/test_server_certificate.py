"""A user's own certificate of the tracking server is for the name by which those in front of it check it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.atlas.mlflow.plugins.action.preflight import ActionModule
from ansible_collections.atlas.mlflow.plugins.plugin_utils.certificates import certificate_name
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from in_process import act, role_variables

#: The name in the inventory, and the one that people use.
HOST, PUBLIC = "mlflow1.internal", "mlflow.example.com"


def certificate(folder: Path, *names: str) -> tuple[str, str]:
    """Make a certificate for names, and return its path and that of its key."""
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "server")])
    builder = x509.CertificateBuilder().subject_name(subject).issuer_name(subject).public_key(key.public_key()).serial_number(1)
    builder = builder.not_valid_before(now - timedelta(days=1)).not_valid_after(now + timedelta(days=30))
    builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(name) for name in names]), critical=False)
    (folder / "server.pem").write_bytes(builder.sign(key, SHA256()).public_bytes(Encoding.PEM))
    (folder / "server.key").write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return str(folder / "server.pem"), str(folder / "server.key")


def told(pair: tuple[str, str], **given: Any) -> str:
    """Return what the preflight says of a server with a certificate."""
    known = {
        "inventory_hostname": HOST,
        "mlflow_server_url": f"https://{PUBLIC}",
        "mlflow_server_tls_certificate": pair[0],
        "mlflow_server_tls_key": pair[1],
        "mlflow_server_webhook_key": "Abcdefghijklmnopqrstuvwxyz0123456789AbcdefA=",
        "mlflow_server_kek_passphrase": "long-enough-passphrase",
        "ansible_facts": {"architecture": "x86_64", "listeners": []},
    }
    result = act(ActionModule, {"role": "mlflow_server"}, role_variables("mlflow_server", {**known, **given}))
    return " ".join(result["msg"]) if result["failed"] else ""


#: Proxies that others set up, and those of the inventory.
FOREIGN: dict[str, Any] = {"mlflow_server_proxies": ["10.0.0.9"]}
OWN: dict[str, Any] = {"_atlas_mlflow_plan": {"proxies": ["edge"], "proxy_addresses": ["10.0.0.9"]}}


@pytest.mark.parametrize(
    ("names", "given", "passes"),
    [
        ([PUBLIC], {}, True),
        ([HOST], {}, False),
        ([PUBLIC], FOREIGN, True),
        (["*.example.com"], FOREIGN, True),
        ([HOST], FOREIGN, True),
        (["other.example.org"], FOREIGN, False),
        ([PUBLIC], OWN, False),
        ([HOST], OWN, True),
        ([PUBLIC], {**OWN, **FOREIGN}, False),
    ],
)
def test_the_certificate_has_the_name_by_which_it_is_checked(tmp_path: Path, names: list[str], given: dict[str, Any], passes: bool) -> None:
    said = told(certificate(tmp_path, *names), **given)
    assert (said == "") == passes, said


def test_the_message_names_a_way_that_helps(tmp_path: Path) -> None:
    pair = certificate(tmp_path, "other.example.org")
    assert f"is not for {PUBLIC}" in told(pair, **FOREIGN) and "set mlflow_server_url to a name that the certificate is for" in told(pair, **FOREIGN)
    assert f"is not for {HOST}" in told(pair, **OWN) and "check each server by its name in the inventory" in told(pair, **OWN)
    assert "mlflow_server_url" not in told(pair, **OWN)


def test_a_name_is_found_without_a_certificate(tmp_path: Path) -> None:
    pair = certificate(tmp_path, HOST)
    assert certificate_name(pair[0], [PUBLIC, HOST]) == HOST
    assert [certificate_name(path, [PUBLIC, HOST]) for path in ("", "/no/such.pem", pair[1])] == [PUBLIC] * 3
