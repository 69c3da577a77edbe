"""Each fault of a certificate is said, and a good one has none."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import pytest
from ansible_collections.atlas.mlflow.plugins.plugin_utils.certificates import AUTHORITY, authority_faults, certificate_faults, client_faults, own_is_current
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, NoEncryption, PrivateFormat, load_pem_private_key
from cryptography.x509.oid import ExtendedKeyUsageOID

NOW = datetime(2026, 6, 1, tzinfo=UTC)
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


@pytest.mark.parametrize("usages", [[], ["serverAuth"], ["serverAuth", "clientAuth"]])
def test_a_member_of_a_cluster_needs_a_certificate_for_clients_too(own: dict[str, object], usages: list[str]) -> None:
    folder = Path(str(own["tls_dir"]))
    authority = load_pem_private_key((folder / "authority.key").read_bytes(), None)
    present = x509.load_pem_x509_certificate((folder / "one.pem").read_bytes())
    builder = x509.CertificateBuilder().subject_name(present.subject).issuer_name(present.issuer).public_key(present.public_key()).serial_number(2)
    builder = builder.not_valid_before(NOW).not_valid_after(NOW + timedelta(days=60))
    builder = builder.add_extension(present.extensions.get_extension_for_class(x509.SubjectAlternativeName).value, critical=False)
    words = {"serverAuth": ExtendedKeyUsageOID.SERVER_AUTH, "clientAuth": ExtendedKeyUsageOID.CLIENT_AUTH}
    if usages:
        builder = builder.add_extension(x509.ExtendedKeyUsage([words[usage] for usage in usages]), critical=False)
    (folder / "one.pem").write_bytes(builder.sign(authority, SHA256()).public_bytes(Encoding.PEM))  # type: ignore[arg-type]
    for_both = usages != ["serverAuth"]
    assert own_is_current(own, 30, now=NOW)
    assert own_is_current({**own, "certificate_usages": ["serverAuth", "clientAuth"]}, 30, now=NOW) == for_both
    assert (client_faults(str(folder / "one.pem")) == []) == for_both


def test_a_good_one_has_no_fault(pair: tuple[str, str]) -> None:
    assert (
        certificate_faults(*pair, ["mlflow.example.com", "MLflow.example.com", "MÜlle.example", "a.lab.example.com", "10.0.0.7"], now=NOW + timedelta(days=1))
        == []
    )
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


@pytest.fixture
def own(tmp_path: Path) -> dict[str, object]:
    """Return the plan of a host whose certificate by an authority of its own lasts for 60 days from NOW on."""
    folder = tmp_path / "tls"
    folder.mkdir(mode=0o700)
    keys = {name: write_key(folder / f"{name}.key") for name in ("authority", "one")}
    names = {name: x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)]) for name in keys}
    for name, days in (("authority", 3650), ("one", 60)):
        builder = x509.CertificateBuilder().subject_name(names[name]).issuer_name(names["authority"]).public_key(keys[name].public_key()).serial_number(1)
        builder = builder.not_valid_before(NOW).not_valid_after(NOW + timedelta(days=days))
        builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName("one.example"), x509.IPAddress(ip_address("::1"))]), critical=False)
        (folder / ("authority.pem" if name == "authority" else "one.pem")).write_bytes(builder.sign(keys["authority"], SHA256()).public_bytes(Encoding.PEM))
    for path in folder.glob("*.key"):
        path.chmod(0o600)
    files = {"tls_authority": str(folder / "authority.pem"), "tls_certificate": str(folder / "one.pem"), "tls_key": str(folder / "one.key")}
    return {"tls_dir": str(folder), **files, "certificate_names": ["one.example", "::1"], "certificate_usages": ["serverAuth"]}


def test_an_own_certificate_that_is_current_is_left(own: dict[str, object]) -> None:
    assert own_is_current(own, 30, now=NOW) and own_is_current(own, 30, now=NOW + timedelta(days=29))


@pytest.mark.parametrize(
    "broken",
    ["renewal", "name more", "name less", "no authority", "no key", "other key", "other authority", "no text", "open key", "open folder"],
)
def test_an_own_certificate_that_is_not_current_is_told(own: dict[str, object], tmp_path: Path, broken: str) -> None:
    folder, now = Path(str(own["tls_dir"])), NOW
    if broken == "renewal":
        now = NOW + timedelta(days=31)
    elif broken.startswith("name"):
        own["certificate_names"] = ["one.example", "::1", "two.example"] if broken == "name more" else ["one.example"]
    elif broken.startswith("no "):
        {"no authority": folder / "authority.pem", "no key": folder / "one.key", "no text": folder / "one.pem"}[broken].unlink()
    elif broken.startswith("other"):
        write_key(folder / ("one.key" if broken == "other key" else "authority.key"))
        for path in folder.glob("*.key"):
            path.chmod(0o600)
    else:
        (folder / "one.key" if broken == "open key" else folder).chmod(0o744)
    assert not own_is_current(own, 30, now=now)


GROUPS = {"mlflow_servers": ["server"], "postgres": ["db"]}


def make_authority(folder: Path, name: str = AUTHORITY) -> list[str]:
    """Make an authority in a folder, and return in PEM what a host has of it: the authority, and a certificate."""
    folder.mkdir()
    keys = {part: write_key(folder / f"{part}.key") for part in ("authority", "host")}
    pems = []
    for part, key in keys.items():
        subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name if part == "authority" else part)])
        issuer = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
        builder = x509.CertificateBuilder().subject_name(subject).issuer_name(issuer).public_key(key.public_key()).serial_number(1)
        signed = builder.not_valid_before(NOW).not_valid_after(NOW + timedelta(days=3650)).sign(keys["authority"], SHA256())
        (folder / f"{part}.pem").write_bytes(signed.public_bytes(Encoding.PEM))
        pems.append(signed.public_bytes(Encoding.PEM).decode())
    return pems


def holding(server: list[str], db: list[str]) -> dict[str, dict[str, object]]:
    """Return the variables of two hosts that have certificates, as facts have them."""
    return {"server": {"ansible_facts": {"certificates": server}}, "db": {"ansible_facts": {"certificates": db}}}


def test_the_own_ca_has_the_name_that_the_tasks_give_it() -> None:
    tasks = Path(__file__).parents[3] / "roles/common/tasks/certificates.yml"
    assert f"    common_name: {AUTHORITY}\n" in tasks.read_text()


def test_a_control_node_with_the_ca_may_go_on(tmp_path: Path) -> None:
    pems = make_authority(tmp_path / "tls")
    assert authority_faults(holding(pems, pems[1:]), GROUPS, str(tmp_path / "tls"), now=NOW) == []
    assert authority_faults(holding(pems, []), GROUPS, str(tmp_path / "tls"), ["db"], now=NOW) == []
    assert authority_faults(holding([], []), GROUPS, str(tmp_path / "none"), now=NOW) == []


@pytest.mark.parametrize(("folder", "seen"), [("none", "does not have the CA in"), ("other", "has another CA in")])
def test_a_control_node_without_the_ca_is_refused(tmp_path: Path, folder: str, seen: str) -> None:
    pems = make_authority(tmp_path / "tls")
    make_authority(tmp_path / "other")
    (fault,) = authority_faults(holding(pems, pems[1:]), GROUPS, str(tmp_path / folder), now=NOW)
    assert fault.startswith("server, db already have certificates of the inventory's own CA, and this control node ")
    assert seen in fault and "atlas_mlflow_secrets_dir" in fault and f"to {tmp_path / folder}.previous." in fault


def test_a_host_that_no_play_reaches_and_a_certificate_of_a_company_do_not_count(tmp_path: Path) -> None:
    ours, company = make_authority(tmp_path / "tls"), make_authority(tmp_path / "company", "A company")
    assert authority_faults(holding(company, company), GROUPS, str(tmp_path / "none"), now=NOW) == []
    (fault,) = authority_faults(holding(company, ours), GROUPS, str(tmp_path / "none"), now=NOW)
    assert fault.startswith("db already has a certificate ")
    assert authority_faults({"db": {}, **holding(ours, [])}, {"postgres": ["db"]}, str(tmp_path / "none"), now=NOW) == []


def test_a_certificate_that_a_former_service_left_does_not_count(tmp_path: Path) -> None:
    ours, older = make_authority(tmp_path / "tls"), make_authority(tmp_path / "older")
    assert authority_faults(holding([*ours, *older], ours), GROUPS, str(tmp_path / "tls"), now=NOW) == []


def test_a_ca_is_replaced_if_the_former_one_was_moved_aside(tmp_path: Path) -> None:
    pems = make_authority(tmp_path / "tls.previous")
    stack, folder = holding(pems, pems), str(tmp_path / "tls")
    assert authority_faults(stack, GROUPS, folder, now=NOW) == []
    (fault,) = authority_faults(stack, GROUPS, folder, ["db"], now=NOW)
    assert fault.startswith("server, db would get a certificate of another CA, and --limit leaves out db")
    new = make_authority(tmp_path / "tls")
    assert authority_faults(stack, GROUPS, folder, now=NOW) == [] == authority_faults(holding(new, pems), GROUPS, folder, now=NOW)
    assert authority_faults(holding(new, new), GROUPS, folder, ["db"], now=NOW) == []


def test_a_ca_that_cannot_issue_is_told(tmp_path: Path) -> None:
    pems, folder = make_authority(tmp_path / "tls"), tmp_path / "tls"
    (fault,) = authority_faults(holding(pems, pems), GROUPS, str(folder), now=NOW + timedelta(days=3651))
    assert f"cannot issue certificates: {folder}/authority.pem ended on 2036-05-29" in fault and f"move {folder} to {folder}.previous" in fault
    (folder / "authority.key").unlink()
    (fault,) = authority_faults(holding(pems, pems), GROUPS, str(folder), now=NOW)
    assert f"cannot issue certificates: {folder}/authority.key is no file on the control node" in fault
