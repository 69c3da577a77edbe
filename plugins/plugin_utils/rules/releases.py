# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rules for releases of MLflow: the shipped locks, the packages that a lock needs, and upgrades."""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Mapping
from typing import Any

from ansible.module_utils.compat.version import LooseVersion
from ansible_collections.atlas.mlflow.plugins.plugin_utils.role_settings import ROLES, RoleSettings
from ansible_collections.atlas.mlflow.plugins.plugin_utils.server_options import option_value

RELEASES = ROLES / "mlflow_server/files/releases"
#: The oldest release that has a lock with the plugin for OpenID Connect.
OIDC_SINCE = "3.17.2"
IS_RELEASE = "[0-9]+[.]"


def shipped(given: RoleSettings) -> list[str]:
    """Return the releases with a shipped lock, the newest first."""
    return [str(release) for release in given.variable("_mlflow_server_releases")]


@functools.cache
def read_options(version: str) -> Mapping[str, Any]:
    """Return the options of a release's `mlflow server`, which were read from the release itself."""
    options: Mapping[str, Any] = json.loads((RELEASES / version / "options.json").read_text(encoding="utf-8"))
    return options


def known_version(given: RoleSettings) -> str:
    """Return the release; empty with a user's own lock, whose release is not known."""
    return "" if given.text("mlflow_server_lock_file") else given.text("mlflow_server_version")


def options_facts(given: RoleSettings) -> Mapping[str, Any]:
    """Return the options of `mlflow server`. With a user's own lock, these are the options of the newest shipped release."""
    return read_options(known_version(given) or shipped(given)[0])


def exposes_metrics(given: RoleSettings) -> bool:
    """Return whether the server has metrics for Prometheus."""
    arguments = [] if given.is_text("mlflow_server_extra_args") else given.items("mlflow_server_extra_args")
    return given.flag("mlflow_server_metrics") or bool(
        option_value(arguments, "--expose-prometheus", options_facts(given), given.table("mlflow_server_environment"))
    )


def lock_lacks(given: RoleSettings, package: str) -> bool:
    """Return whether there is a user's own lock without a package.

    :param package: A pattern for the package's name.
    """
    lock = given.text("mlflow_server_lock_file")
    return bool(lock) and not re.search(f"(?mi)^{package}==", given.files.read(lock))


def release_can_be_installed(given: RoleSettings) -> str:
    """There is a lock for the release, shipped or the user's own."""
    version, lock = given.text("mlflow_server_version"), given.text("mlflow_server_lock_file")
    if lock:
        return given.files.fault("mlflow_server_lock_file", lock)
    if version in shipped(given):
        return ""
    return (
        f"mlflow_server_version is {version}, for which no lock is shipped. Choose one of {', '.join(shipped(given))}, or set mlflow_server_lock_file to a "
        "lock of your own (uv pip compile --generate-hashes)."
    )


def no_upgrade_was_cut_short(given: RoleSettings) -> str:
    """No upgrade is unfinished on the host."""
    former = given.facts.get("mlflow_upgrade_from")
    if not former or given.switch("_mlflow_server_upgrading"):
        return ""
    return f"An upgrade from {former} was cut short on this host. Run upgrade.yml, which goes on with it, or restore.yml, which makes an end of it."


def release_fits_the_database(given: RoleSettings) -> str:
    """A release that cannot use the present database does not take the place of one that serves."""
    served, wanted = str(given.stack.get("release") or ""), known_version(given)
    replaced = given.switch("_mlflow_server_upgrading") or given.flag("mlflow_server_allow_store_change")
    # Of other releases, the schema is not known.
    if replaced or not {served, wanted} <= set(shipped(given)) or read_options(served)["schema_revision"] == read_options(wanted)["schema_revision"]:
        return ""
    if LooseVersion(wanted) < LooseVersion(served):
        return (
            f"mlflow_server_version is {wanted}, and release {served} has served, whose database an older release cannot read. Set mlflow_server_version to "
            f"{served} or newer. To go back, run restore.yml with a backup from before. If the database is another one by now, set "
            "mlflow_server_allow_store_change to true for one run."
        )
    if given.text("mlflow_server_backend_store_uri").startswith("sqlite:") or given.flag("mlflow_server_backend_store_upgrade"):
        return ""
    return (
        f"mlflow_server_version is {wanted}, and release {served} serves, whose database has an older schema: the new release would not start. Run "
        "upgrade.yml, which keeps a copy of the database and changes the schema. Or make a backup, and set mlflow_server_backend_store_upgrade to true for "
        "one run of site.yml."
    )


def release_guards_metrics(given: RoleSettings) -> str:
    """A server with metrics for Prometheus runs on the web server with which the collection decides who may read them."""
    if not given.flag("mlflow_server_metrics") or any("--allowed-hosts" in option["flags"] for option in options_facts(given)["options"]):
        return ""
    return (
        f"mlflow_server_metrics is true, and MLflow {given.text('mlflow_server_version')} cannot keep others from its metrics. Use release 3.5 or newer, or "
        "set atlas_mlflow_metrics: false for this host."
    )


def lock_has_metrics(given: RoleSettings) -> str:
    """A lock has the packages for metrics."""
    if not lock_lacks(given, "prometheus[-_]flask[-_]exporter") or not exposes_metrics(given):
        return ""
    return "--expose-prometheus is set, and mlflow_server_lock_file has no prometheus-flask-exporter, which that needs. Add it to the lock."


def lock_has_basic_auth(given: RoleSettings) -> str:
    """A lock has the packages for users with passwords."""
    if given.text("mlflow_server_auth") != "basic" or not lock_lacks(given, "flask[-_]wtf"):
        return ""
    return "mlflow_server_auth is basic, and mlflow_server_lock_file has no Flask-WTF, which that needs. Make the lock from mlflow[auth]."


def lock_has_oidc(given: RoleSettings) -> str:
    """A lock has the plugin for OpenID Connect."""
    if given.text("mlflow_server_auth") != "oidc" or not lock_lacks(given, "mlflow[-_]oidc[-_]auth"):
        return ""
    return "mlflow_server_auth is oidc, and mlflow_server_lock_file has no mlflow-oidc-auth, the plugin that does it. Make the lock with it."


def release_has_oidc(given: RoleSettings) -> str:
    """The plugin for OpenID Connect supports the release."""
    version = known_version(given)
    if given.text("mlflow_server_auth") != "oidc" or not version or (RELEASES / version / "oidc.txt").is_file():
        return ""
    return (
        f"mlflow_server_auth is oidc, and mlflow-oidc-auth, the plugin that does it, fits no release older than {OIDC_SINCE}, while mlflow_server_version "
        f"is {version}. Set a newer one, or mlflow_server_auth to basic."
    )


def gc_age_is_a_time(given: RoleSettings) -> str:
    """The age after which deleted runs are removed is a time."""
    age = given.text("mlflow_server_gc_older_than")
    return "" if re.match("^([0-9]+[dhms])+$", age) else f"mlflow_server_gc_older_than is {age}. Give days, hours, minutes and seconds, such as 30d or 12h30m."


def workers_are_one_or_more(given: RoleSettings) -> str:
    """There is at least one worker."""
    workers = given.number("mlflow_server_workers")
    return f"mlflow_server_workers is {workers}. Set 1 or more." if workers < 1 else ""


def _upgrade_from(given: RoleSettings) -> str:
    """Return the release from which an upgrade starts, empty if the server does not report it."""
    release = str(given.variable("mlflow_server_upgrade_from"))
    return release if re.match(IS_RELEASE, release) else ""


def server_tells_its_release(given: RoleSettings) -> str:
    """An upgrade starts from a server that works."""
    if _upgrade_from(given):
        return ""
    port = given.number("mlflow_server_port")
    return f"The tracking server does not say its release at port {port}. Run site.yml with the release that is installed, and upgrade a server that works."


def upgrade_leads_to_a_newer_release(given: RoleSettings) -> str:
    """An upgrade leads to a newer release: an older one cannot read the database."""
    former, version = _upgrade_from(given), given.text("mlflow_server_version")
    if not former or LooseVersion(version) >= LooseVersion(former):
        return ""
    return (
        f"mlflow_server_version is {version}, and {former} is installed, whose database an older release cannot read. Restore a backup from before with "
        "restore.yml, or set a newer release."
    )


def upgrade_can_be_taken_back(given: RoleSettings) -> str:
    """A rollback is possible: the former release can be installed again with the packages or the image in the inventory, which are for the new one."""
    former = _upgrade_from(given)
    if not former or not given.switch("mlflow_server_upgrade_wanted"):
        return ""
    custom = given.in_container and given.text("mlflow_server_image_source") == "custom"
    hindrances = ["mlflow_server_lock_file"] if given.text("mlflow_server_lock_file") else []
    hindrances += ["mlflow_server_image_source"] if custom else []
    hindrances += [f"the release {former}"] if former not in shipped(given) else []
    if not hindrances:
        return ""
    return (
        f"With {' and '.join(hindrances)}, a failed upgrade could not go back: that takes a release for which a lock is shipped, "
        f"{', '.join(shipped(given))}, without a lock or an image of your own. Make a backup with backup.yml, and run site.yml, for this one run with "
        "mlflow_server_backend_store_upgrade set to true."
    )


def upgrade_can_bring_the_database_back(given: RoleSettings) -> str:
    """The collection can copy the database for a rollback."""
    if given.text("mlflow_server_backend_store_uri").startswith("sqlite:") or given.planned("postgres_host"):
        return ""
    return (
        "mlflow_server_backend_store_uri names a database that the inventory does not have in the group postgres, so it could not be brought back. Back it "
        "up on its own host, and run site.yml, for this one run with mlflow_server_backend_store_upgrade set to true."
    )
