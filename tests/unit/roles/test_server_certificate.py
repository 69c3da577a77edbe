"""A user's own certificate of the tracking server is for the name by which those in front of it check it, and is read as the roles read it."""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.parsing.vault import VaultLib, VaultSecret
from ansible.template import Templar
from ansible_collections.atlas.mlflow.plugins.action.preflight import ActionModule
from ansible_collections.atlas.mlflow.plugins.plugin_utils.certificates import certificate_name
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from in_process import LOADER, ROOT, act, role_variables, trusted

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
    certificate_text, key_text = (Path(path).read_text() for path in pair)
    assert certificate_name(certificate_text, [PUBLIC, HOST]) == HOST
    assert [certificate_name(text, [PUBLIC, HOST]) for text in ("", None, key_text)] == [PUBLIC] * 3


@pytest.fixture
def vault() -> Iterator[VaultLib]:
    """Return a vault whose password Ansible has in this test."""
    secret = VaultSecret(b"vault-password")
    secret.load()
    library = VaultLib([("default", secret)])
    LOADER.set_vault_secrets(library.secrets)
    yield library
    LOADER.set_vault_secrets([])


def encrypt(library: VaultLib, *paths: str) -> None:
    """Encrypt files in their places, as C(ansible-vault encrypt) does."""
    for path in paths:
        Path(path).write_bytes(library.encrypt(Path(path).read_bytes()))


def test_files_encrypted_by_vault_are_decrypted(tmp_path: Path, vault: VaultLib) -> None:
    """The roles read them with the same look-up. A role that has proxies of others reads the certificate's names, too."""
    pair = certificate(tmp_path, HOST)
    encrypt(vault, *pair)
    assert told(pair, **OWN) == ""
    assert told(pair, **FOREIGN) == ""
    assert f"is not for {PUBLIC}" in told(pair)


def test_a_missing_vault_password_is_said(tmp_path: Path, vault: VaultLib) -> None:
    pair = certificate(tmp_path, PUBLIC)
    encrypt(vault, pair[1])
    LOADER.set_vault_secrets([])
    said = told(pair)
    assert f"{pair[1]} cannot be read on the control node" in said and "vault" in said and "PEM" not in said


def test_a_file_that_others_may_not_read_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Root reads all files, so the test refuses this one itself."""
    pair = certificate(tmp_path, PUBLIC)
    authority = tmp_path / "authority.pem"
    authority.write_text(Path(pair[0]).read_text())

    def refuse(path: Any, *_given: Any, **_more: Any) -> Any:
        if Path(os.fsdecode(path)) == authority:
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return opened(path, *_given, **_more)

    opened = open
    monkeypatch.setattr("builtins.open", refuse)
    monkeypatch.setattr("io.open", refuse)
    assert f"mlflow_server_tls_authority is {authority}, which cannot be read on the control node" in told(pair, mlflow_server_tls_authority=str(authority))


def test_relative_paths_begin_in_the_folders_of_the_role_and_of_the_playbook(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = tmp_path / "playbook/files"
    files.mkdir(parents=True)
    certificate(files, PUBLIC)
    monkeypatch.setattr(LOADER, "get_basedir", lambda: str(tmp_path))
    monkeypatch.chdir(files)
    assert "server.pem is no file on the control node" in told(("server.pem", "server.key"))
    monkeypatch.setattr(LOADER, "get_basedir", lambda: str(tmp_path / "playbook"))
    monkeypatch.chdir(tmp_path)
    assert told(("server.pem", "server.key")) == ""
    assert told(("server.pem", "server.key"), mlflow_server_tls_authority="files/server.pem") == ""


def values(tree: Any, key: str) -> Iterator[str]:
    """Return the values of a key at any depth."""
    if isinstance(tree, dict) and key in tree:
        yield tree[key]
    for branch in tree.values() if isinstance(tree, dict) else tree if isinstance(tree, list) else ():
        yield from values(branch, key)


@pytest.mark.parametrize(
    ("file", "variable", "expression"),
    [
        ("roles/minio/tasks/install.yml", "minio_file", "_minio_file_sha256"),
        ("roles/mlflow_server/tasks/verify_url.yml", "_mlflow_server_front_authority", "ca_path"),
        ("playbooks/diagnose.yml", "_atlas_mlflow_plan", "ca_path"),
    ],
)
def test_modules_on_the_control_node_read_the_same_files(tmp_path: Path, file: str, variable: str, expression: str) -> None:
    value = trusted(next(found for found in values(yaml.safe_load((ROOT / file).read_text()), expression) if variable in found))
    (tmp_path / "files").mkdir()
    present = tmp_path / "files/present"
    present.write_text("text")
    wanted = hashlib.sha256(b"text").hexdigest() if "sha256" in expression else str(present)
    for path in ("present", "files/present", str(present)):
        variables = {variable: {"front_authority": path} if variable == "_atlas_mlflow_plan" else path, "ansible_search_path": ["/no/such/role", str(tmp_path)]}
        assert Templar(loader=LOADER, variables=variables).template(value) == wanted


def test_the_diagnosis_names_a_ca_file_that_is_missing() -> None:
    """A control node may lack the files of the inventory's own CA. The module warns of the path that cannot be read."""
    value = trusted(next(values(yaml.safe_load((ROOT / "playbooks/diagnose.yml").read_text()), "ca_path")))
    variables = {"_atlas_mlflow_plan": {"front_authority": "/no/such/authority.pem"}, "ansible_search_path": [str(ROOT / "playbooks")]}
    assert Templar(loader=LOADER, variables=variables).template(value) == "/no/such/authority.pem"


def test_the_ca_file_that_the_probe_reads_is_not_encrypted(tmp_path: Path, vault: VaultLib) -> None:
    pair = certificate(tmp_path, PUBLIC)
    authority = tmp_path / "authority.pem"
    authority.write_text(Path(pair[0]).read_text())
    assert told(pair, mlflow_server_tls_authority=str(authority)) == ""
    encrypt(vault, str(authority))
    assert "authority.pem, which is encrypted by Ansible Vault" in told(pair, mlflow_server_tls_authority=str(authority))
    LOADER.set_vault_secrets([])
    assert "or give the Vault password" in told(pair, mlflow_server_tls_authority=str(authority))
