# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rules for the users of a tracking server: the administrator, users with passwords, and people from an OpenID provider."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from ansible.module_utils.compat.version import LooseVersion
from ansible_collections.atlas.mlflow.plugins.module_utils.users import DEFAULT, KINDS, PROMPTS_SINCE, ambiguous
from ansible_collections.atlas.mlflow.plugins.module_utils.users import PERMISSIONS as GIVEN
from ansible_collections.atlas.mlflow.plugins.plugin_utils.role_settings import RoleSettings
from ansible_collections.atlas.mlflow.plugins.plugin_utils.rules.keys import ON_ALL, length_fault
from ansible_collections.atlas.mlflow.plugins.plugin_utils.rules.releases import known_version

#: Allowed passwords and names. They are the same in a file of settings, in a header and in a URL.
PASSWORD = "(?!password1234$)[!-~]([ -~]*[!-~])?$"
PASSWORD_OF_A_USER = "(?!password1234$)[!-~][ -~]{10,}[!-~]$"
NAME = "[A-Za-z0-9][A-Za-z0-9._@+-]*$"
PERMISSIONS = (*GIVEN, DEFAULT)
GROUPS, ADMIN_GROUPS = "mlflow_server_oidc_groups", "mlflow_server_oidc_admin_groups"


def has_users(given: RoleSettings) -> bool:
    """Return whether people log in."""
    return given.text("mlflow_server_auth") != "none"


def with_oidc(given: RoleSettings) -> bool:
    """Return whether people log in with an OpenID provider."""
    return given.text("mlflow_server_auth") == "oidc"


def _for_login(given: RoleSettings) -> str:
    """Return why a server with users needs a password, as a part of a sentence."""
    return f", and mlflow_server_auth is {given.text('mlflow_server_auth')}"


def users_of(given: RoleSettings) -> list[Mapping[str, Any]]:
    """Return the users in the inventory."""
    return given.items("mlflow_server_users")


def present_users(given: RoleSettings) -> list[Mapping[str, Any]]:
    """Return the users in the inventory that should exist."""
    return [user for user in users_of(given) if user.get("state", "present") == "present"]


def admin_password_is_long(given: RoleSettings) -> str:
    """The administrator's password is long."""
    return length_fault(given, "mlflow_server_admin_password", _for_login(given)) if has_users(given) else ""


def admin_password_arrives(given: RoleSettings) -> str:
    """The administrator's password is not a well-known one, and has only allowed characters."""
    if not has_users(given) or re.match(PASSWORD, given.text("mlflow_server_admin_password")):
        return ""
    return (
        "mlflow_server_admin_password is the one that old releases of MLflow came with, or has a character that is lost on the way: take letters, digits "
        "and signs of ASCII, with no space at its ends."
    )


def admin_name_arrives(given: RoleSettings) -> str:
    """The administrator's name has only allowed characters."""
    name = given.text("mlflow_server_admin_user")
    if not has_users(given) or re.match(NAME, name):
        return ""
    return f"mlflow_server_admin_user is {name}. Take letters, digits and the signs . _ @ + -"


def users_need_basic_auth(given: RoleSettings) -> str:
    """Users are listed only with basic auth."""
    auth = given.text("mlflow_server_auth")
    if auth == "basic" or not users_of(given):
        return ""
    return f"mlflow_server_users is set, and mlflow_server_auth is {auth}, which has no users from here. Set it to basic, or remove them."


def user_names_are_their_own(given: RoleSettings) -> str:
    """All users have different names with only allowed characters."""
    names = [str(user["name"]) for user in users_of(given)]
    if all(re.match(NAME, name) for name in names) and len({given.text("mlflow_server_admin_user"), *names}) == len(names) + 1:
        return ""
    return (
        f"mlflow_server_users are {', '.join(names)}. Give each a name of its own, other than mlflow_server_admin_user, of letters, digits and the signs "
        ". _ @ + -"
    )


def user_passwords_are_long(given: RoleSettings) -> str:
    """Each user that should exist has a long password."""
    wrong = [str(user["name"]) for user in present_users(given) if not re.match(PASSWORD_OF_A_USER, str(user.get("password", "")))]
    if not wrong:
        return ""
    return (
        f"mlflow_server_users gives {', '.join(wrong)} no password of 12 or more letters, digits and signs of ASCII, other than the one that old releases "
        "of MLflow came with. Set password, or state absent."
    )


def permissions_are_known(given: RoleSettings) -> str:
    """The permissions of users exist in MLflow."""
    given_to = [table for kind in KINDS for user in users_of(given) if (table := user.get(kind.option))]
    wrong = list(dict.fromkeys(str(value) for table in given_to for value in table.values() if value not in PERMISSIONS))
    return f"mlflow_server_users has the permission {', '.join(wrong)}. There are {', '.join(PERMISSIONS)}." if wrong else ""


def permissions_are_known_to_the_release(given: RoleSettings) -> str:
    """The release has each kind of permission that users get."""
    version = known_version(given)
    for kind in KINDS:
        names = [str(user["name"]) for user in present_users(given) if user.get(kind.option)]
        if names and version and kind.since and LooseVersion(version) < LooseVersion(kind.since):
            return (
                f"mlflow_server_users gives {', '.join(names)} permissions in {kind.option}, and release {version} has none for them. Set "
                f"mlflow_server_version to {kind.since} or newer, or leave {kind.option} out."
            )
    return ""


def models_and_prompts_agree(given: RoleSettings) -> str:
    """A name has one permission if the release keeps one for a registered model and a prompt of this name."""
    version = known_version(given)
    if not version or LooseVersion(version) >= LooseVersion(PROMPTS_SINCE):
        return ""
    wrong = [f"{user['name']} on {name}" for user in present_users(given) for name in ambiguous(user)]
    if not wrong:
        return ""
    return (
        f"mlflow_server_users gives {', '.join(wrong)} one permission in registered_models and another one in prompts, and release {version} keeps one "
        "for both. Give the name in one of them."
    )


def form_key_is_long(given: RoleSettings) -> str:
    """The key that signs browsers' forms is long."""
    return length_fault(given, "mlflow_server_flask_secret_key", _for_login(given), ON_ALL) if has_users(given) else ""


def oidc_image_is_built(given: RoleSettings) -> str:
    """The image is built if OpenID Connect is used, because only then it has the plugin."""
    source = given.text("mlflow_server_image_source")
    if not with_oidc(given) or not given.in_container or source == "build":
        return ""
    return (
        f"mlflow_server_auth is oidc, and mlflow_server_image_source is {source}, an image without mlflow-oidc-auth, the plugin that does it. Set "
        "mlflow_server_image_source to build."
    )


def oidc_provider_describes_itself(given: RoleSettings) -> str:
    """The URL is that of the provider's discovery document."""
    url = given.text("mlflow_server_oidc_discovery_url")
    if not with_oidc(given) or re.match("https://[^/]+/.*[.]well-known/", url):
        return ""
    return (
        f"mlflow_server_oidc_discovery_url is {url or 'empty'}. Set the provider's, which starts with https:// and ends with /.well-known/openid-configuration."
    )


def oidc_client_is_known(given: RoleSettings) -> str:
    """The client of the provider has an identifier and a secret."""
    if not with_oidc(given) or given.text("mlflow_server_oidc_client_id") and given.text("mlflow_server_oidc_client_secret"):
        return ""
    return "mlflow_server_oidc_client_id or mlflow_server_oidc_client_secret is empty. Set both to what the provider gave for the tracking server."


def oidc_leads_back_by_https(given: RoleSettings) -> str:
    """The redirect URI uses https and leads to the plugin's page."""
    uri = given.text("mlflow_server_oidc_redirect_uri")
    if not with_oidc(given) or re.match("https://[^/]+/callback$", uri):
        return ""
    return (
        f"mlflow_server_oidc_redirect_uri is {uri}. The provider sends people back to https://NAME/callback or https://NAME:PORT/callback, and never by "
        "plain HTTP: set it so, with atlas_mlflow_tls or a proxy in front that speaks TLS."
    )


def oidc_has_a_group(given: RoleSettings) -> str:
    """At least one group may log in."""
    if not with_oidc(given) or any(given.items(GROUPS)):
        return ""
    return f"{GROUPS} is empty, so nobody could log in. Name the provider's groups whose members may."


def oidc_groups_have_no_comma(given: RoleSettings) -> str:
    """The groups' names have no comma, because the plugin reads the groups as one text with commas."""
    if not with_oidc(given) or not any("," in str(group) for group in given.items(GROUPS) + given.items(ADMIN_GROUPS)):
        return ""
    return f"{GROUPS} or {ADMIN_GROUPS} has a name with a comma, which separates names. Give each group an item of its own."


def oidc_has_no_prefix(given: RoleSettings) -> str:
    """There is no static prefix, because the plugin has its pages at the root."""
    prefix = given.text("mlflow_server_static_prefix")
    if not with_oidc(given) or not prefix:
        return ""
    return (
        f"mlflow_server_static_prefix is {prefix}, and mlflow_server_auth is oidc, whose plugin has its pages at the root. Leave the prefix out, and give "
        "the server a name of its own."
    )


def oidc_has_no_jobs(given: RoleSettings) -> str:
    """There are no MLflow jobs, because they cannot log in with a provider."""
    if not with_oidc(given) or not given.flag("mlflow_server_jobs_enabled"):
        return ""
    return "mlflow_server_jobs_enabled is true, and mlflow_server_auth is oidc, by which MLflow's jobs cannot log in. Set mlflow_server_jobs_enabled to false."
