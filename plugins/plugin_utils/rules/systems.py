# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The rules for the operating system of a host, and for what the roles cannot do on one of them."""

from __future__ import annotations

from collections.abc import Iterator

from ansible_collections.atlas.mlflow.plugins.plugin_utils.postgres import major_version
from ansible_collections.atlas.mlflow.plugins.plugin_utils.role_settings import RoleSettings

#: The supported systems: the name in os-release(5), the name for people, and the releases.
SUPPORTED = {"debian": ("Debian", ("12", "13")), "ubuntu": ("Ubuntu", ("22.04", "24.04"))}
#: Systems that the roles know only by their documentation, in the same form. Nobody has run the roles there.
UNRUN = {
    "almalinux": ("AlmaLinux", ("9", "10")),
    "centos": ("CentOS Stream", ("9", "10")),
    "ol": ("Oracle Linux", ("9", "10")),
    "rhel": ("Red Hat Enterprise Linux", ("9", "10")),
    "rocky": ("Rocky Linux", ("9", "10")),
}
#: The first minor release of 9 with Python 3.12 and PostgreSQL 16.
FIRST_OF_9 = 4
#: The versions of PostgreSQL in Enterprise Linux: streams of a module in 9, and the package in 10.
POSTGRES_OF_EL = {"9": ("15", "16"), "10": ("16",)}
ACCEPTED, UNSUPPORTED = "atlas_mlflow_allow_unrun_system", "atlas_mlflow_allow_unsupported_system"
OTHER_HOST = "Take a host with Debian or Ubuntu for it."


def system_is_supported(given: RoleSettings) -> str:
    """The host runs a supported system, or one that the user accepts. A host without the facts of its system is not judged."""
    name, version = str(given.facts.get("distribution_id", "")), str(given.facts.get("distribution_version_id", ""))
    _shown, releases = SUPPORTED.get(name, ("", ()))
    if not name or version in releases or given.switch(UNSUPPORTED):
        return ""
    shown = given.facts.get("distribution_name") or name
    if version.partition(".")[0] in UNRUN.get(name, ("", ()))[1]:
        return _accepted(given, shown, version)
    systems = " and ".join(f"{shown} {' or '.join(versions)}" for shown, versions in SUPPORTED.values())
    return (
        f"The host runs {shown}, and this collection supports {systems}. Choose a host with one of them. For a system "
        f"with the same packages, such as a derivative, set {UNSUPPORTED} to true."
    )


def _accepted(given: RoleSettings, shown: str, version: str) -> str:
    """Return a sentence if a release of Enterprise Linux is too old, or if the user has not accepted that nobody has run the roles there."""
    release, _dot, minor = version.partition(".")
    if release == "9" and minor.isdecimal() and int(minor) < FIRST_OF_9:
        return f"The host runs {shown}, which has no Python 3.12 and no PostgreSQL 16. Update it to 9.{FIRST_OF_9} or newer."
    if given.switch(ACCEPTED):
        return ""
    return (
        f"The host runs {shown}. The roles know Enterprise Linux by its documentation only: nobody has run them there. Choose a host with Debian or Ubuntu, "
        f"or try them on a host without data that you need: set {ACCEPTED} to true."
    )


def system_has_what_is_asked(given: RoleSettings) -> str:
    """On Enterprise Linux, nothing is asked of a role that it does there only on Debian and Ubuntu."""
    return next(_missing_on_el(given), "") if given.facts.get("os_family") == "RedHat" else ""


def _missing_on_el(given: RoleSettings) -> Iterator[str]:
    """Return a sentence for each setting that a role does not have on Enterprise Linux, with the reason and the way out."""
    role, here = given.role, f"{given.host or 'The host'} runs Enterprise Linux"
    if given.variable("atlas_mlflow_bundle", ""):
        yield f"atlas_mlflow_bundle is set, and {here}, while a bundle has packages of Debian. Leave it empty for this host, and give it a mirror."
    if role == "backup":
        yield f"{here}, which has no packages of pgBackRest and rclone. Make backups there by your own means (pg_dump, mc mirror). {OTHER_HOST}"
    if role in ("metrics", "prometheus"):
        yield f"{here}, which has no packages of Prometheus and its exporters. Set atlas_mlflow_metrics to false. {OTHER_HOST}"
    if role in ("mlflow_server", "postgres", "minio") and given.in_container:
        lacking = "which has no package of Docker" if given.deployment == "container" else "where a container of Podman was never tried"
        yield f"{role}_deployment is {given.deployment}, and {here}, {lacking}. Set {role}_deployment to systemd."
    if role == "etcd" or (role == "postgres" and given.items("postgres_members")):
        yield f"The group postgres has several hosts, and {here}, which has no packages of Patroni and etcd. Leave one host in the group. {OTHER_HOST}"
    if role == "postgres":
        yield from _missing_of_postgres(given, here)
    if role == "minio" and given.planned("minio_pools"):
        yield f"The group minio has several hosts, and {here}, where a pool was never tried. Leave one host in the group. {OTHER_HOST}"
    if role == "haproxy" and given.text("haproxy_virtual_address"):
        yield f"haproxy_virtual_address is set, and {here}, where SELinux confines keepalived. Leave it empty, and use a name with several addresses."


def _missing_of_postgres(given: RoleSettings, here: str) -> Iterator[str]:
    """Return the same for PostgreSQL."""
    release = str(given.facts.get("distribution_version_id", "")).partition(".")[0]
    versions = POSTGRES_OF_EL.get(release, ("16",))
    if given.text("postgres_repository") == "pgdg":
        yield f"postgres_repository is pgdg, and {here}, where the packages of PGDG have other folders. Set it to distribution."
    if major_version(given.text("postgres_version"), given.facts) not in versions:
        yield f"postgres_version is {given.text('postgres_version')}, and {here} {release}, which has PostgreSQL {' and '.join(versions)}. Set one of these."
    if given.number("postgres_port") != 5432:
        yield f"postgres_port is {given.number('postgres_port')}, and {here}, where SELinux lets PostgreSQL have port 5432 only. Leave it out."
    if given.flag("postgres_pgbouncer"):
        yield f"postgres_pgbouncer is true, and {here}, whose own packages have no PgBouncer. Leave it out. {OTHER_HOST}"


def upgrade_is_not_on_enterprise_linux(given: RoleSettings) -> str:
    """No upgrade of PostgreSQL to another major version is asked for on Enterprise Linux, which has the programs of one version only."""
    if given.facts.get("os_family") != "RedHat":
        return ""
    return (
        f"{given.host or 'The host'} runs Enterprise Linux, which has the programs of one version of PostgreSQL only. Upgrade it as its documentation says "
        "(postgresql-setup --upgrade), and set postgres_version to the new version."
    )
