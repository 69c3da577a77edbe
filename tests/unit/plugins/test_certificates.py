"""Each fault of a certificate is said, and a good one has none."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from ipaddress import ip_address
from pathlib import Path

import pytest
from ansible_collections.atlas.mlflow.plugins.plugin_utils.certificates import certificate_faults
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, NoEncryption, PrivateFormat

NOW = datetime(2026, 6, 1, tzinfo=timezone.utc)
NAMES = ["mlflow.example.com", "xn--mlle-0ra.example", "*.lab.example.com", "10.0.0.7"]


def write_key(path: Path, passphrase: bytes = b"") -> ec.EllipticCurvePrivateKey:
    """Make a key, write it, and return it."""
    key = ec.generate_private_key(ec.SECP256R1())
    path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(passphrase) if passphrase else NoEncryption()))
    return key


@pytest.fixture
def pair(tmp_path: Path) -> tuple[str, str]:
    """Return a certificate for NAMES that counts for a month from NOW on, and its key."""
    key = write_key(tmp_path / "server.key")
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "common.example.com")])
    names = x509.SubjectAlternativeName([*(x509.DNSName(name) for name in NAMES[:3]), x509.IPAddress(ip_address(NAMES[3]))])
    builder = x509.CertificateBuilder().subject_name(subject).issuer_name(subject).public_key(key.public_key()).serial_number(1)
    builder = builder.not_valid_before(NOW).not_valid_after(NOW + timedelta(days=30)).add_extension(names, critical=False)
    (tmp_path / "server.pem").write_bytes(builder.sign(key, SHA256()).public_bytes(Encoding.PEM))
    return str(tmp_path / "server.pem"), str(tmp_path / "server.key")


def test_a_good_one_has_no_fault(pair: tuple[str, str]) -> None:
    assert certificate_faults(*pair, ["mlflow.example.com", "MLflow.example.com", "MÜlle.example", "a.lab.example.com", "10.0.0.7"], now=NOW + timedelta(days=1)) == []
    assert certificate_faults("", "", ["mlflow.example.com"]) == []


@pytest.mark.parametrize("name", ["other.example.com", "lab.example.com", "a.b.lab.example.com", "10.0.0.8", "common.example.com"])
def test_a_name_that_it_is_not_for_is_said(pair: tuple[str, str], name: str) -> None:
    (fault,) = certificate_faults(*pair, ["mlflow.example.com", name], now=NOW + timedelta(days=1))
    assert fault.endswith(f"is not for {name}, by which clients call the server")


def test_one_that_has_ended_or_not_begun_is_said(pair: tuple[str, str]) -> None:
    assert certificate_faults(*pair, now=NOW + timedelta(days=31)) == [f"{pair[0]} ended on 2026-07-01"]
    assert certificate_faults(*pair, now=NOW - timedelta(days=1)) == [f"{pair[0]} counts from 2026-06-01 on only"]


def test_a_key_that_cannot_be_used_is_said(pair: tuple[str, str], tmp_path: Path) -> None:
    other, locked = tmp_path / "other.key", tmp_path / "locked.key"
    write_key(other)
    write_key(locked, b"passphrase")
    assert certificate_faults(pair[0], str(other), now=NOW + timedelta(days=1)) == [f"{other} is not the key of {pair[0]}"]
    assert "protected by a passphrase" in certificate_faults(pair[0], str(locked))[0]
    assert certificate_faults(pair[0], pair[0]) == [f"{pair[0]} holds no private key in PEM"]


def test_a_file_that_is_none_is_said(pair: tuple[str, str]) -> None:
    assert certificate_faults("/no/such.pem", pair[1]) == ["/no/such.pem is no file on the control node"]
    assert certificate_faults(pair[1], pair[1]) == [f"{pair[1]} holds no certificate in PEM"]
