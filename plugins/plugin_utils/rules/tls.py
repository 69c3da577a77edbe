# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rules for TLS: certificates with their keys, and the CA files with which they are checked."""

from __future__ import annotations

import re
import ssl
from urllib.parse import urlsplit

from ansible_collections.atlas.mlflow.plugins.plugin_utils.certificates import certificate_faults
from ansible_collections.atlas.mlflow.plugins.plugin_utils.names import host_names
from ansible_collections.atlas.mlflow.plugins.plugin_utils.role_settings import RoleSettings
from ansible_collections.atlas.mlflow.plugins.plugin_utils.topology import is_loopback

#: A certificate in PEM.
CERTIFICATE = re.compile(r"-----BEGIN (?:X509 |TRUSTED )?CERTIFICATE-----[A-Za-z0-9+/=\s]+-----END (?:X509 |TRUSTED )?CERTIFICATE-----")
#: The name of a role's certificate in messages.
CALLED_BY = {
    "mlflow_server": "Give others, or set mlflow_server_url to a name that the certificate is for.",
    "postgres": "Give others. The name by which PostgreSQL is called is atlas_mlflow_address of its host, and, through proxies, theirs.",
    "minio": "Give others. The name by which MinIO is called is atlas_mlflow_address of its host.",
    "metrics": "Give others. The name by which exporters are called is atlas_mlflow_address of their host.",
    "haproxy": "Give others, or set mlflow_server_url of the tracking servers to a name that the certificate is for.",
}
#: The place in the plan of the certificate from the inventory's own authority. It is made after the preflight.
OWN = {"mlflow_server": "server_tls_certificate"}


def certificate_has_its_key(given: RoleSettings) -> str:
    """A certificate and its key are both set, or neither."""
    certificate, key = f"{given.role}_tls_certificate", f"{given.role}_tls_key"
    if bool(given.text(certificate)) == bool(given.text(key)):
        return ""
    neither = "no TLS" if given.role == "postgres" else "plain HTTP"
    return f"One of {certificate} and {key} is set and the other is empty. Set both, or neither for {neither}."


def called_names(given: RoleSettings) -> list[str]:
    """Return the names that clients use for a role's service. They must be in its certificate."""
    if given.role == "mlflow_server":
        return [str(given.variable("_mlflow_server_tls_name"))]
    if given.role == "minio":
        return [str(given.variable("_minio_admin_address"))]
    address = str(given.variable("atlas_mlflow_address"))
    if given.role == "metrics":
        return [address] if address and not is_loopback(given.text("metrics_listen_address")) else []
    if given.role == "postgres":
        # Through proxies, a member has their names, and its Patroni is asked by the member's name.
        proxied = [str(name) for name in given.planned("database_names") or []]
        proxied += [str(one["name"]) for one in given.planned("proxied_databases") or [] if one["name"] == host_names([given.host])[0]]
        asked = given.items("postgres_clients") or given.planned("postgres_clients") or any(user.get("clients") for user in given.items("postgres_users"))
        return [name for name in dict.fromkeys([address, *proxied]) if name] if asked else []
    name = urlsplit(given.text("haproxy_url")).hostname or address
    # Clients of a pool of MinIO use the address of the proxies.
    return [one for one in dict.fromkeys([name, str(given.planned("minio_address"))]) if one]


def certificate_fits(given: RoleSettings) -> str:
    """A user's own certificate is valid, and matches the name that clients use and its key."""
    name = f"{given.role}_tls_certificate"
    certificate, key = given.text(name), given.text(f"{given.role}_tls_key")
    if not certificate or certificate == given.planned(OWN.get(given.role, "tls_certificate")):
        return ""
    faults = certificate_faults(certificate, key, called_names(given), read=given.files.read)
    behind = given.role == "mlflow_server" and given.planned("proxies")
    way = "Give others. The proxies of the group haproxy check each server by its name in the inventory." if behind else CALLED_BY[given.role]
    return f"{name} and {given.role}_tls_key do not fit: {'; '.join(faults)}. {way}" if faults else ""


def has_certificates(text: str) -> bool:
    """Return whether a text has certificates in PEM, and no damaged one. What is around them is a comment."""
    found = CERTIFICATE.findall(text)
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cadata="\n".join(found))
    except (ssl.SSLError, ValueError):
        return False
    return bool(found)


def authority_fault(given: RoleSettings, name: str, called: str = "") -> str:
    """Return what is wrong with a CA file, or an empty text. The inventory's own is made after the preflight.

    :param name: The option with the path of the file.
    :param called: The variable that the user has set, if it is another one.
    """
    path = given.text(name)
    is_made = given.switch("atlas_mlflow_tls") and path == given.planned("tls_authority")
    if not path or is_made:
        return ""
    if fault := given.files.fault(called or name, path):
        return fault
    if has_certificates(given.files.read(path)):
        return ""
    return f"{called or name} is {path}, which holds no certificate in PEM, or a damaged one. Give a CA file in PEM."


def ca_certificate_is_a_file(given: RoleSettings) -> str:
    """The CA file of this site's mirrors, which hosts trust, exists."""
    name, shared = f"{given.role}_ca_certificate", "atlas_mlflow_ca_certificate"
    return authority_fault(given, name, shared if given.text(name) == given.variable(shared) else "")


def prometheus_authority_is_a_file(given: RoleSettings) -> str:
    """The CA file with which Prometheus checks the certificates of the services exists."""
    return authority_fault(given, "prometheus_tls_authority")


def mlflow_authority_is_a_file(given: RoleSettings) -> str:
    """The CA file of the tracking server and its stores exists. The probe and the diagnosis on the control node read it too."""
    name = "mlflow_server_tls_authority"
    if fault := authority_fault(given, name):
        return fault
    path, front = given.text(name), str(given.planned("front_authority"))
    # That of the proxies, beside the inventory's own one.
    if front not in ("", path, given.planned("tls_authority")) and (fault := given.files.fault("atlas_mlflow_tls_authority", front)):
        return fault
    if not path or not given.files.is_encrypted(path):
        return ""
    return (
        f"{name} is {path}, which is encrypted by Ansible Vault, and the probe on the control node reads it as it is. A CA file is no secret: decrypt it with "
        "`ansible-vault decrypt`."
    )


def minio_authority_is_a_file(given: RoleSettings) -> str:
    """The CA file of MinIO exists."""
    return authority_fault(given, "minio_tls_authority")


def haproxy_authority_is_a_file(given: RoleSettings) -> str:
    """The CA file of the servers behind the proxy exists."""
    return authority_fault(given, "haproxy_servers_tls_authority")


def jobs_need_plain_http(given: RoleSettings) -> str:
    """MLflow's jobs are used only with plain HTTP, because they call their server without TLS."""
    if not given.text("mlflow_server_tls_certificate") or not given.flag("mlflow_server_jobs_enabled"):
        return ""
    return (
        "mlflow_server_jobs_enabled is true, and MLflow's jobs call their server by plain HTTP, which mlflow_server_tls_certificate ends. Set "
        "mlflow_server_jobs_enabled to false, or let a proxy in front of the server speak TLS."
    )


def proxy_speaks_tls_to_servers_with_tls(given: RoleSettings) -> str:
    """The proxy uses TLS if the servers use TLS, and plain HTTP if they do not."""
    servers = given.planned("servers_with_tls") or {}
    others = ", ".join(name for name, tls in servers.items() if tls != given.flag("haproxy_servers_tls"))
    if not others:
        return ""
    if given.flag("haproxy_servers_tls"):
        # Servers that the user lists may use TLS in their own way.
        if given.items("haproxy_servers") != given.planned("proxied_servers"):
            return ""
        return (
            f"haproxy_servers_tls is true, and mlflow_server_tls_certificate is empty for {others}, so that the proxy would speak TLS to plain HTTP. Set "
            "atlas_mlflow_tls to true, give each tracking server a certificate, or set haproxy_servers_tls to false for all proxies."
        )
    return (
        f"mlflow_server_tls_certificate is set, and haproxy_servers_tls is not, so that the proxy would speak plain HTTP to {others} with TLS. Set "
        "haproxy_servers_tls to true for all proxies, or remove mlflow_server_tls_certificate."
    )


def hsts_needs_tls(given: RoleSettings) -> str:
    """Browsers are told to use TLS only if the proxy has TLS."""
    seconds = given.number("haproxy_hsts_seconds")
    if seconds == 0 or seconds > 0 and given.text("haproxy_tls_certificate"):
        return ""
    return f"haproxy_hsts_seconds is {seconds}, which only a proxy with TLS may say. Set haproxy_tls_certificate, or leave it at 0."
