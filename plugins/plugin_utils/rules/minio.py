# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rules for MinIO: its data, its installation, its accounts and its bucket."""

from __future__ import annotations

import os
import re
from pathlib import Path

from ansible_collections.atlas.mlflow.plugins.module_utils.folders import folder_faults
from ansible_collections.atlas.mlflow.plugins.plugin_utils.checksums import file_sha256
from ansible_collections.atlas.mlflow.plugins.plugin_utils.role_settings import RoleSettings

#: The collection's folder on a host.
COLLECTION = {"the folder of the collection": "/opt/atlas-mlflow"}


def folder_can_be_the_service_s(given: RoleSettings) -> str:
    """The folder of the data can belong to the service."""
    if given.in_container:
        return ""
    reserved = {"minio_install_dir": given.text("minio_install_dir"), **COLLECTION}
    return " ".join(folder_faults({"minio_data_dir": given.text("minio_data_dir")}, given.text("minio_os_user"), reserved))


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
    file = Path(path).expanduser()
    if not (file.is_file() and os.access(file, os.R_OK)):
        return f"minio_file is {path}, which is not there. Give the path of an executable on the control node."
    # Reading the whole file takes a second, and the role reads it anyway.
    if not wanted or (found := file_sha256(path)) == wanted:
        return ""
    return f"minio_file is {path}, with the sha256 {found}. Give the path of an executable on the control node, and the sha256 it has in minio_file_sha256."


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


def bucket_has_a_name_of_s3(given: RoleSettings) -> str:
    """The bucket has a name that S3 accepts."""
    bucket = given.text("minio_bucket")
    if re.match("^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$", bucket):
        return ""
    return f"minio_bucket is {bucket}. S3 takes 3 to 63 lower-case letters, digits, dots and hyphens, a letter or digit at both ends."
