# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rules for names and options that are passed to a service: misspelled variables, environments, settings, arguments of `mlflow server`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from ansible_collections.atlas.mlflow.plugins.plugin_utils.role_settings import RoleSettings
from ansible_collections.atlas.mlflow.plugins.plugin_utils.rules.releases import known_version, options_facts
from ansible_collections.atlas.mlflow.plugins.plugin_utils.server_options import argument_faults, environment_faults
from ansible_collections.atlas.mlflow.plugins.plugin_utils.settings import similar_names

#: Environment variables that MLflow ignores, or that the role has its own variable for. Those of the options of `mlflow server` are in the release's facts.
OF_MLFLOW = {
    "GUNICORN_CMD_ARGS": "MLflow's own address wins over it. Set mlflow_server_host and mlflow_server_port.",
    "PORT": "MLflow does not read it. Set mlflow_server_port.",
    "HOST": "MLflow does not read it. Set mlflow_server_host.",
    "MLFLOW_S3_ENDPOINT_URL": "Set mlflow_server_s3_endpoint_url.",
    "MLFLOW_AUTH_CONFIG_PATH": "Set mlflow_server_auth to basic, which writes the file.",
    "MLFLOW_AUTH_ADMIN_USERNAME": "Set mlflow_server_admin_user.",
    "MLFLOW_AUTH_ADMIN_PASSWORD": "Set mlflow_server_admin_password.",
    "MLFLOW_WEBHOOK_SECRET_ENCRYPTION_KEY": "Set mlflow_server_webhook_key.",
    "MLFLOW_CRYPTO_KEK_PASSPHRASE": "Set mlflow_server_kek_passphrase.",
    "MLFLOW_FLASK_SERVER_SECRET_KEY": "Set mlflow_server_flask_secret_key.",
    "OIDC_DISCOVERY_URL": "Set mlflow_server_oidc_discovery_url.",
    "OIDC_CLIENT_ID": "Set mlflow_server_oidc_client_id.",
    "OIDC_CLIENT_SECRET": "Set mlflow_server_oidc_client_secret.",
    "OIDC_REDIRECT_URI": "Set mlflow_server_oidc_redirect_uri.",
    "OIDC_USERS_DB_URI": "Set mlflow_server_auth_store_uri.",
    "OIDC_GROUP_NAME": "Set mlflow_server_oidc_groups.",
    "OIDC_ADMIN_GROUP_NAME": "Set mlflow_server_oidc_admin_groups.",
    "SECRET_KEY": "Set mlflow_server_flask_secret_key.",
    "AWS_ACCESS_KEY_ID": "Set mlflow_server_s3_access_key_id.",
    "AWS_SECRET_ACCESS_KEY": "Set mlflow_server_s3_secret_access_key.",
}
#: Settings of PostgreSQL and MinIO that the role has its own variable for, or that the role sets itself, with the fix for each.
OF_POSTGRES = {
    "listen_addresses": "Set postgres_listen_addresses.",
    "port": "Set postgres_port.",
    "ssl": "Set postgres_tls_certificate and postgres_tls_key.",
    "ssl_cert_file": "Set postgres_tls_certificate.",
    "ssl_key_file": "Set postgres_tls_key.",
    "hba_file": "The role writes it: set postgres_clients.",
    "data_directory": "The data stay where the packages or the volume have them.",
    "password_encryption": "It is scram-sha-256.",
}
OF_MINIO = {
    "MINIO_ROOT_USER": "Set minio_root_user.",
    "MINIO_ROOT_PASSWORD": "Set minio_root_password.",
    "MINIO_REGION": "Set minio_region.",
    "MINIO_BROWSER": "Set minio_console_port.",
    "MINIO_ADDRESS": "Set minio_listen_address and minio_port.",
    "MINIO_CONSOLE_ADDRESS": "Set minio_console_port.",
    "MINIO_VOLUMES": "Set minio_data_dir.",
}

#: The least that a whole number may be, by its variable. Numbers with other bounds have rules of their own.
LEAST = {
    "mlflow_server_stores_timeout": 1,
    "mlflow_server_start_timeout": 1,
    "mlflow_server_migration_timeout": 0,
    "mlflow_server_drain_timeout": 0,
    "mlflow_server_verify_artifact_bytes": 1,
    "minio_drain_timeout": 0,
    "postgres_replica_timeout": 1,
    "postgres_connections": 0,
}


def invalid_settings(settings: Mapping[str, Any], refused: Mapping[str, str] | None = None, null_is_left_out: bool = False) -> list[str]:
    """Return a part of a sentence for each fault in a dictionary of settings, without the values: a value may be a secret.

    :param settings: Names and values.
    :param refused: Names that are not allowed, each with the fix.
    :param null_is_left_out: Whether a setting that is null is left out, and may be.
    """
    faults = []
    for name, value in settings.items():
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_.]*", str(name)):
            faults.append(f"{name}: this is no name of a setting")
        elif refused and name in refused:
            faults.append(f"{name}: {refused[name]}")
        elif isinstance(value, (list, tuple, Mapping)):
            faults.append(f"{name}: its value is a list or a dictionary, and must be a string, a number or a boolean")
        elif value is None and not null_is_left_out:
            faults.append(f"{name}: its value is empty (null). Remove the line, or give it a value")
    return faults


def _table_fault(given: RoleSettings, name: str, refused: Mapping[str, str] | None = None, null_is_left_out: bool = False) -> str:
    """Return what is wrong in a dictionary of settings, or an empty text."""
    faults = invalid_settings(given.table(name), refused, null_is_left_out)
    return f"{name} has {'; '.join(faults)}" if faults else ""


def no_name_is_misspelled(given: RoleSettings) -> str:
    """The name of no variable is similar to a variable of the role."""
    wrong = similar_names(given.names(), given.options)
    return f"The inventory sets {', '.join(wrong)}: nothing reads that name. Correct it." if wrong else ""


def mlflow_environment_is_passed_on(given: RoleSettings) -> str:
    """The environment has only variables that MLflow reads, and none that the role has its own variable for."""
    environment = given.table("mlflow_server_environment")
    faults = invalid_settings(environment, OF_MLFLOW, null_is_left_out=True)
    faults += environment_faults(environment, options_facts(given), known_version(given), given.text("mlflow_server_data_dir"))
    return f"mlflow_server_environment has {'; '.join(faults)}" if faults else ""


def download_environment_is_one(given: RoleSettings) -> str:
    """The environment of downloads is valid."""
    return _table_fault(given, f"{given.role}_download_environment")


def mlflow_lists_are_lists(given: RoleSettings) -> str:
    """A list is not given as text, which would be cut."""
    if not any(given.is_text(f"mlflow_server_{name}") for name in ("extra_args", "names", "allowed_hosts")):
        return ""
    return (
        "mlflow_server_extra_args, mlflow_server_names and mlflow_server_allowed_hosts are lists, one item an argument or a name. One of them is a "
        "string, which a space or a newline would cut: write it as a list."
    )


def mlflow_arguments_are_known(given: RoleSettings) -> str:
    """The release accepts the arguments, and the role has no own variable for any of them."""
    if given.is_text("mlflow_server_extra_args"):  # another rule refuses it
        return ""
    faults = argument_faults(given.items("mlflow_server_extra_args"), options_facts(given), known_version(given), given.text("mlflow_server_data_dir"))
    return f"mlflow_server_extra_args: {' '.join(faults)}" if faults else ""


def postgres_settings_are_passed_on(given: RoleSettings) -> str:
    """The role has no own variable for any of PostgreSQL's settings."""
    return _table_fault(given, "postgres_settings", OF_POSTGRES)


def minio_environment_is_passed_on(given: RoleSettings) -> str:
    """The role has no own variable for any variable of MinIO's environment."""
    return _table_fault(given, "minio_environment", OF_MINIO, null_is_left_out=True)


def numbers_are_large_enough(given: RoleSettings) -> str:
    """Times and sizes are not negative, and a wait is not zero: systemd ignores such a time, and Docker refuses it after the former container is gone."""
    found = {name: (given.number(name), least) for name, least in LEAST.items() if name.startswith(f"{given.role}_")}
    return " ".join(f"{name} is {number}. Set {least} or more." for name, (number, least) in found.items() if number < least)
