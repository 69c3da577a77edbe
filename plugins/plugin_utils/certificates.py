# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Check a certificate before a server gets it, and decide whether one of the inventory's own authority must be made."""

from __future__ import annotations

import stat
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime, timedelta, timezone
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ansible_collections.atlas.mlflow.plugins.module_utils.names import canonical_name
from ansible_collections.atlas.mlflow.plugins.plugin_utils.control_files import UnreadableFile, own_text
from ansible_collections.atlas.mlflow.plugins.plugin_utils.stores import Hosts
from ansible_collections.atlas.mlflow.plugins.plugin_utils.topology import topology_hosts

# Importing cryptography takes long, and the rules of every role are loaded: import it only if there is a certificate.
if TYPE_CHECKING:
    from cryptography import x509

#: The name of an inventory's own authority, as C(roles/common/tasks/certificates.yml) makes it.
AUTHORITY = "Authority of an atlas.mlflow inventory"
#: Returns the text of a file on the control node, or raises C(UnreadableFile).
Reader = Callable[[str], str]


def _parsed(text: str) -> x509.Certificate:
    """Return the first certificate in a text.

    :raises ValueError: If there is none.
    """
    from cryptography import x509

    return x509.load_pem_x509_certificate(text.encode(errors="surrogateescape"))


def covers(certificate: x509.Certificate, name: str) -> bool:
    """Return whether a certificate is for a name or an IP address, as RFC 6125 defines it for clients: only the subject's alternative names count."""
    from cryptography import x509

    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return False
    try:
        return ip_address(name) in names.get_values_for_type(x509.IPAddress)
    except ValueError:
        pass
    wanted = canonical_name(name)
    patterns = [canonical_name(pattern) for pattern in names.get_values_for_type(x509.DNSName)]
    return wanted in patterns or "*." + wanted.partition(".")[2] in patterns


def usages(certificate: x509.Certificate) -> set[str]:
    """Return the roles in TLS that a certificate is for, of C(serverAuth) and C(clientAuth): both if it names none (RFC 5280)."""
    from cryptography import x509
    from cryptography.x509.oid import ExtendedKeyUsageOID

    words = {ExtendedKeyUsageOID.SERVER_AUTH: "serverAuth", ExtendedKeyUsageOID.CLIENT_AUTH: "clientAuth"}
    try:
        found = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except x509.ExtensionNotFound:
        return set(words.values())
    return {words[usage] for usage in found if usage in words}


def client_faults(path: str, read: Reader = own_text) -> list[str]:
    """Return in words what prevents a service from logging in to another one with a certificate.

    :param path: PEM file on the control node.
    :param read: Reads the file.
    """
    found = usages(_parsed(read(path)))
    return [] if "clientAuth" in found else [f"{path} is not for clients (its extended key usage has no clientAuth)"]


def certificate_faults(path: str, key_path: str, names: Iterable[str] = (), now: datetime | None = None, read: Reader = own_text) -> list[str]:
    """Return in words what prevents a server from using a certificate, or its clients from trusting it.

    :param path: PEM file on the control node. Certificates after the first one lead to the authority. An empty path has no faults.
    :param key_path: PEM file with its key.
    :param names: Names and IP addresses by which clients call the server.
    :param now: The current time, for tests.
    :param read: Reads the two files.
    """
    if not path or not key_path:
        return []
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    texts, faults = {}, []
    for one in (path, key_path):
        try:
            texts[one] = read(one)
        except UnreadableFile as fault:
            faults.append(str(fault))
    if faults:
        return faults
    try:
        certificate = _parsed(texts[path])
    except ValueError:
        return [f"{path} holds no certificate in PEM"]
    try:
        key = load_pem_private_key(texts[key_path].encode(errors="surrogateescape"), password=None)
    except TypeError:
        return [f"the key {key_path} is protected by a passphrase, which no service can enter"]
    except ValueError:
        return [f"{key_path} holds no private key in PEM"]
    now = now or datetime.now(timezone.utc)
    if key.public_key() != certificate.public_key():
        faults.append(f"{key_path} is not the key of {path}")
    if certificate.not_valid_after_utc <= now:
        faults.append(f"{path} ended on {certificate.not_valid_after_utc:%Y-%m-%d}")
    if certificate.not_valid_before_utc > now:
        faults.append(f"{path} counts from {certificate.not_valid_before_utc:%Y-%m-%d} on only")
    missing = [name for name in names if not covers(certificate, name)]
    if missing:
        faults.append(f"{path} is not for {', '.join(missing)}, by which clients call the server")
    return faults


def certificate_name(text: str | None, names: list[str]) -> str:
    """Return the first of the names that a certificate is for, or the first name if it is for none, or is not there or not one.

    :param text: The certificate in PEM.
    :param names: Names and IP addresses, at least one.
    """
    if len(names) < 2 or not text:
        return names[0]
    try:
        certificate = _parsed(text)
    except ValueError:
        return names[0]
    return next((name for name in names if covers(certificate, name)), names[0])


def _subject(name: x509.Name) -> str:
    """Return the common name in a certificate's subject or issuer, empty if it has none."""
    from cryptography.x509.oid import NameOID

    return next((str(part.value) for part in name.get_attributes_for_oid(NameOID.COMMON_NAME)), "")


def _issued(certificate: x509.Certificate, authority: Path) -> bool:
    """Return whether an authority issued a certificate. One without a file, or with a file that is no certificate, issued none."""
    from cryptography import x509
    from cryptography.exceptions import InvalidSignature

    try:
        certificate.verify_directly_issued_by(x509.load_pem_x509_certificate(authority.read_bytes()))
    except (OSError, ValueError, TypeError, InvalidSignature):
        return False
    return True


def authority_faults(hostvars: Hosts, groups: Mapping[str, list[str]], folder: str, left_out: Iterable[str] = (), now: datetime | None = None) -> list[str]:
    """Return a sentence if this run would replace the inventory's own authority although nobody asked for it, or could not use it.

    A folder with the former authority next to the present one, with the end C(.previous), asks for it.

    :param hostvars: The variables of all hosts, with the facts of C(atlas.mlflow.host_facts).
    :param groups: The groups of the inventory.
    :param folder: The folder of the authority on the control node.
    :param left_out: Hosts that C(--limit) leaves out.
    :param now: The current time, for tests.
    """
    held = {host: (hostvars[host].get("ansible_facts") or {}).get("certificates") or [] for host in topology_hosts(groups)}
    if not any(held.values()):
        return []
    from cryptography import x509

    parsed = {host: [x509.load_pem_x509_certificate(pem.encode()) for pem in pems] for host, pems in held.items()}
    issued = {host: own for host, found in parsed.items() if (own := [one for one in found if _subject(one.issuer) == AUTHORITY])}
    place = Path(folder).expanduser()
    authority, former = place / "authority.pem", place.with_name(f"{place.name}.previous") / "authority.pem"
    # A service that is no longer on a host may have left a certificate of an earlier authority there.
    others = [host for host, found in issued.items() if not any(_issued(one, authority) for one in found)]
    asked = [host for host in others if any(_issued(one, former) for one in issued[host])]
    unasked = [host for host in others if host not in asked]
    outside = [host for host in issued if host in set(left_out)]
    if unasked:
        return [
            f"{', '.join(unasked)} already {'has a certificate' if len(unasked) == 1 else 'have certificates'} of the inventory's own CA, and this "
            f"control node {'has another CA' if authority.is_file() else 'does not have the CA'} in {folder}: all hosts would get new certificates, and "
            "clients that trust the present CA would refuse them. Copy the folder from the control node that set up the stack, or set "
            f"atlas_mlflow_secrets_dir to a folder that all control nodes share. To replace the CA, move the folder with the present one to {former.parent}."
        ]
    if asked and outside:
        return [
            f"{', '.join(asked)} would get a certificate of another CA, and --limit leaves out {', '.join(outside)}, which would not trust it. "
            "Run this playbook without --limit."
        ]
    faults = certificate_faults(str(authority), str(place / "authority.key"), now=now) if issued and not asked else []
    if not faults:
        return []
    return [
        f"The inventory's own CA cannot issue certificates: {', '.join(faults)}. Copy the file from the control node that set up the stack. To replace the CA, "
        f"move {folder} to {former.parent}, run site.yml, and give the new authority.pem to all clients."
    ]


def own_is_current(plan: Mapping[str, Any], renew_days: int, now: datetime | None = None) -> bool:
    """Return whether ``roles/common/tasks/certificates.yml`` has nothing to do for a host: keys and certificates exist and match.

    :param plan: The host's plan, with the paths on the control node (``tls_dir``, ``tls_authority``, ``tls_certificate``, ``tls_key``), the names
        in the certificate (``certificate_names``), and the roles in TLS that it is for (``certificate_usages``).
    :param renew_days: Days before the end of a certificate from which it is renewed.
    :param now: The current time, for tests.
    """
    from cryptography import x509

    folder, until = Path(plan["tls_dir"]).expanduser(), (now or datetime.now(timezone.utc)) + timedelta(days=renew_days)
    pairs = [(plan["tls_authority"], str(folder / "authority.key")), (plan["tls_certificate"], plan["tls_key"])]
    if any(certificate_faults(path, key, now=until) for path, key in pairs):
        return False
    if any(stat.S_IMODE(Path(path).expanduser().stat().st_mode) & 0o077 for path in (folder, *(key for _path, key in pairs))):
        return False
    certificate = x509.load_pem_x509_certificate(Path(plan["tls_certificate"]).expanduser().read_bytes())
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return False
    if not _issued(certificate, Path(plan["tls_authority"]).expanduser()):
        return False
    if not set(plan["certificate_usages"]) <= usages(certificate):
        return False
    found = [*names.get_values_for_type(x509.DNSName), *map(str, names.get_values_for_type(x509.IPAddress))]
    return sorted(found) == sorted(set(map(str, plan["certificate_names"])))
