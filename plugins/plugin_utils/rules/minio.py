# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rules for MinIO: its data, its installation, its accounts and its bucket."""

from __future__ import annotations

import os
import re
from typing import Any

from ansible_collections.atlas.mlflow.plugins.module_utils.folders import COLLECTION, folder_faults
from ansible_collections.atlas.mlflow.plugins.plugin_utils.checksums import file_sha256
from ansible_collections.atlas.mlflow.plugins.plugin_utils.pools import PARITY_SETTING, Layout, layout
from ansible_collections.atlas.mlflow.plugins.plugin_utils.role_settings import RoleSettings
from ansible_collections.atlas.mlflow.plugins.plugin_utils.rules.keys import LENGTH, SERVICE_SECRET, too_long_fault
from ansible_collections.atlas.mlflow.plugins.plugin_utils.secrets import second_account
from ansible_collections.atlas.mlflow.plugins.plugin_utils.stores import server_logins

#: With this setting, MinIO takes a drive for one of the root file system if it is not larger.
ROOT_DRIVE_SETTING = "MINIO_ROOTDRIVE_THRESHOLD_SIZE"
#: The name of a service account, without the signs that MinIO's policies separate by.
ACCESS_KEY = "[^=,\\s]{3,20}$"


def folder_can_be_the_service_s(given: RoleSettings) -> str:
    """The folder of the data can belong to the service."""
    if given.in_container:
        return ""
    reserved = {"minio_install_dir": given.text("minio_install_dir"), **COLLECTION}
    folders = {f"minio_drives[{number}]": str(drive) for number, drive in enumerate(given.items("minio_drives"))}
    return " ".join(folder_faults(folders or {"minio_data_dir": given.text("minio_data_dir")}, given.text("minio_os_user"), reserved))


def download_is_pinned(given: RoleSettings) -> str:
    """A download has a checksum."""
    pinned = given.text("minio_url") and re.match("^[0-9a-f]{64}$", given.text("minio_sha256")) if given.text("minio_install_method") == "download" else True
    if pinned:
        return ""
    return (
        f"minio_install_method is download, and flavour {given.text('minio_flavour')} has no pinned download for {given.facts.get('architecture', '')}. Set "
        "minio_url and minio_sha256, or minio_install_method to source or file."
    )


def file_is_named(given: RoleSettings) -> str:
    """The file for an installation from a file is named."""
    if given.text("minio_install_method") != "file" or given.text("minio_file"):
        return ""
    return "minio_install_method is file, and minio_file is empty. Set it to the path of an executable on the control node."


def file_is_the_one_asked_for(given: RoleSettings) -> str:
    """The file for the installation is on the control node and has the expected checksum."""
    path, wanted = given.text("minio_file"), given.text("minio_file_sha256")
    if given.text("minio_install_method") != "file" or not path:
        return ""
    found = given.files.find(path)
    if not found or not os.access(found, os.R_OK):
        return f"minio_file is {path}, which is not there. Give the path of an executable on the control node."
    # Reading the whole file takes a second, and the role reads it anyway.
    if not wanted or (present := file_sha256(found)) == wanted:
        return ""
    return f"minio_file is {path}, with the sha256 {present}. Give the path of an executable on the control node, and the sha256 it has in minio_file_sha256."


def source_is_of_minio(given: RoleSettings) -> str:
    """The flavour can be built from source."""
    flavour = given.text("minio_flavour")
    if given.text("minio_install_method") != "source" or flavour == "minio":
        return ""
    return (
        f"minio_install_method is source, and minio_flavour is {flavour}: only minio can be built by `go install`. Set minio_flavour to minio, or "
        "minio_install_method to download."
    )


def accounts_differ(given: RoleSettings) -> str:
    """The tracking server's account differs from the administrator's."""
    root, account = given.text("minio_root_user"), given.text("minio_access_key")
    if len(root) >= 3 and len(account) >= 3 and root != account:
        return ""
    return "minio_root_user and minio_access_key must differ and have 3 characters or more: the tracking server never holds the administrator's credentials."


def account_has_a_name_of_minio(given: RoleSettings) -> str:
    """MinIO takes the name of the tracking server's account."""
    return _name_fault(given, "minio_access_key")


def _name_fault(given: RoleSettings, name: str) -> str:
    """Return what is wrong with the name of a service account, or an empty text."""
    account = given.text(name)
    if re.match(ACCESS_KEY, account):
        return ""
    return f"{name} is {account or 'empty'}, and MinIO takes 3 to 20 characters for a service account, with no space, comma or equals sign. Set another one."


def metrics_account_is_one_of_minio(given: RoleSettings) -> str:
    """MinIO takes the name and the secret key of the account for metrics."""
    if not given.planned("minio_metrics_account"):
        return ""
    return _name_fault(given, "minio_metrics_access_key") or too_long_fault(given, "minio_metrics_secret_key")


def accounts_have_names_of_their_own(given: RoleSettings) -> str:
    """Further accounts have different names of 3 to 20 characters, and none is the administrator or the tracking server's account."""
    account = given.text("minio_access_key")
    taken = [given.text("minio_root_user"), given.text("minio_metrics_access_key"), account, second_account(account)]
    names = [str(account["access_key"]) for account in given.items("minio_accounts")]
    wrong = [name for name in names if not re.match("^[A-Za-z0-9._-]{3,20}$", name) or names.count(name) > 1 or name in taken]
    if not wrong:
        return ""
    return (
        f"minio_accounts has {', '.join(sorted(set(wrong)))}. Give each account a name of its own, of 3 to 20 letters, digits, dots, underscores and "
        f"hyphens, and not one of {', '.join(taken)}."
    )


def accounts_have_what_they_need(given: RoleSettings) -> str:
    """Each further account that should exist has a long secret key that MinIO takes, and buckets or a policy."""
    present = [account for account in given.items("minio_accounts") if account.get("state", "present") == "present"]
    wrong = [
        str(account["access_key"])
        for account in present
        if not LENGTH <= len(str(account.get("secret_key") or "")) <= SERVICE_SECRET or not (account.get("buckets") or account.get("policy"))
    ]
    return f"{', '.join(wrong)} in minio_accounts: set a secret_key of {LENGTH} to {SERVICE_SECRET} characters, and buckets or a policy." if wrong else ""


def bucket_has_a_name_of_s3(given: RoleSettings) -> str:
    """Each bucket has a name that S3 accepts."""
    further = [str(name) for account in given.items("minio_accounts") for name in account.get("buckets") or []]
    named = {"minio_bucket": [given.text("minio_bucket")], "minio_accounts": further}
    wrong = [(setting, name) for setting, names in named.items() for name in names if not re.match("^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$", name)]
    if not wrong:
        return ""
    setting, name = wrong[0]
    verb = "is" if setting == "minio_bucket" else "has the bucket"
    return f"{setting} {verb} {name}. S3 takes 3 to 63 lower-case letters, digits, dots and hyphens, a letter or digit at both ends."


def pools_of(given: RoleSettings) -> list[list[dict[str, Any]]]:
    """Return the hosts of each pool as the plan has them, an empty list if the artifact store has one host."""
    return given.planned("minio_pools") or []


def layouts(given: RoleSettings) -> list[Layout]:
    """Return the erasure sets of each pool."""
    return [layout(len(hosts), len(hosts[0]["drives"]), given.table("minio_environment")) for hosts in pools_of(given)]


def drives_are_of_a_pool(given: RoleSettings) -> str:
    """Only a pool has several drives, or a number."""
    drives, number = given.items("minio_drives"), given.number("minio_pool")
    if pools_of(given) or not drives and number == 1:
        return ""
    return (
        f"minio_drives is {', '.join(map(str, drives)) or 'empty'}, minio_pool is {number}, and the group minio has one host. These are settings of a pool: "
        "put four or more hosts in the group minio, or leave both out and set minio_data_dir."
    )


def pool_runs_as_a_service(given: RoleSettings) -> str:
    """The members of a pool are units, because the other hosts and MinIO's start need the host's own address."""
    if not pools_of(given) or not given.in_container:
        return ""
    return (
        f"minio_deployment is {given.deployment}, and the group minio has several hosts. A member of a pool finds itself in the pool by the host's own "
        "address, which a container on a network of its own does not have. Set minio_deployment to systemd for the hosts of the group minio."
    )


def pool_listens_on_the_network(given: RoleSettings) -> str:
    """The hosts of a pool reach each other."""
    address = given.text("minio_listen_address")
    if not pools_of(given) or not address.startswith("127."):
        return ""
    return f"minio_listen_address is {address}, and the other hosts of the pool do not reach it. Leave it out, or set an address that they reach."


def pool_has_one_scheme(given: RoleSettings) -> str:
    """All hosts of the pools use TLS, or none."""
    if len({host["scheme"] for hosts in pools_of(given) for host in hosts}) < 2:
        return ""
    plain = ", ".join(host["name"] for hosts in pools_of(given) for host in hosts if host["scheme"] == "http")
    return f"{plain} has no certificate for MinIO, and other hosts of the group minio have one. Set atlas_mlflow_tls or minio_tls_certificate for all or none."


def pool_is_even(given: RoleSettings) -> str:
    """Each pool has four hosts or more, and its hosts have the same number of drives."""
    for number, hosts in enumerate(pools_of(given), 1):
        if len(hosts) < 4:
            return (
                f"Pool {number} of the group minio has {len(hosts)} of its hosts. Fewer than four hosts do not survive the loss of one with writes. Put four "
                "or more in each pool (minio_pool)."
            )
        if len({len(host["drives"]) for host in hosts}) > 1:
            counts = ", ".join(f"{host['name']} has {len(host['drives'])}" for host in hosts)
            return f"The hosts of a pool of MinIO need the same number of drives, and {counts}. Set minio_drives to equally many folders on each."
    return ""


def pool_survives_the_loss_of_a_host(given: RoleSettings) -> str:
    """The erasure sets leave enough drives for writes when one host is lost."""
    for found in layouts(given):
        if not found.size:
            return (
                f"{found.hosts} hosts with {found.drives} drives each are {found.hosts * found.drives} drives, which no size of an erasure set from 2 to 16 "
                "divides. Use another number of hosts or drives (minio_drives), such as 16 or 18."
            )
        if not 0 < found.parity <= found.size // 2:
            return f"minio_environment has {PARITY_SETTING} EC:{found.parity}, and a set of {found.size} drives takes 1 to {found.size // 2}. Correct it."
        if found.hosts_to_lose_for_writes < 1:
            return (
                f"{found.hosts} hosts with {found.drives} drives each form sets of {found.size} drives, {found.parity} of them parity, and a write needs "
                f"{found.write_quorum}: the loss of one host would stop writes. Use another number of hosts or drives (minio_drives), or more parity "
                f"({PARITY_SETTING} in minio_environment)."
            )
    return ""


def drives_are_disks(given: RoleSettings) -> str:
    """Each drive of a pool is a file system of its own, and not that of the root: MinIO would not use it, since a full drive would stop the host."""
    pools, devices = pools_of(given), given.facts.get("drive_devices") or {}
    drives: list[str] = next((host["drives"] for hosts in pools for host in hosts if host["name"] == given.host), [])
    known = {drive: devices[drive] for drive in drives if drive in devices}
    if not pools or ROOT_DRIVE_SETTING in given.table("minio_environment"):
        return ""
    on_root = [drive for drive, device in known.items() if device == devices.get("/")]
    if on_root:
        return (
            f"{', '.join(on_root)} is on the root file system, where MinIO accepts no drive of a pool. Mount a disk there, or name folders of mounted disks in "
            f"minio_drives. If this host has only one disk, set {ROOT_DRIVE_SETTING} to 1 in minio_environment."
        )
    if len(set(known.values())) < len(known):
        return f"Two of minio_drives ({', '.join(drives)}) are on the same file system, and would be lost together. Name one folder of each disk."
    return ""


def pools(given: RoleSettings) -> str:
    """Return what each pool survives, for the output of a run. Only the first host of the pools reports it."""
    if not pools_of(given) or given.host != given.planned("minio_host"):
        return ""
    return " ".join(
        f"MinIO: {found.hosts} hosts with {found.drives} drive{'s' if found.drives > 1 else ''} each form erasure sets of {found.size} drives, "
        f"{found.parity} of them parity. {found.usable_percent} % of the space is for objects. Reads survive the loss of "
        f"{found.hosts_to_lose_for_reads} hosts, writes of {found.hosts_to_lose_for_writes}."
        for found in layouts(given)
    )


def former_account_stays(given: RoleSettings) -> str:
    """Return a warning if the tracking servers get another account: the former one keeps its rights."""
    if given.role != "minio" or given.host != (given.groups.get("minio") or [""])[0]:
        return ""
    account = given.text("minio_access_key")
    logins = server_logins(given.hostvars, given.groups, "artifacts", given.text("minio_bucket")).values()
    former = sorted({login for login in logins if login not in (account, second_account(account))})
    if not former or former[0] in [str(listed["access_key"]) for listed in given.items("minio_accounts")]:
        return ""
    return (
        f"minio_access_key is {account}, and the tracking servers use {former[0]} until they restart in this run. That account keeps its rights in MinIO. If "
        f"nobody else needs it, remove it in a later run: minio_accounts: [{{access_key: {former[0]}, state: absent}}]."
    )
