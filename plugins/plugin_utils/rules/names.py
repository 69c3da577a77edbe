# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rules for the names of a tracking server: host names, origins, URLs and their prefix."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from ansible.module_utils.compat.version import LooseVersion
from ansible_collections.atlas.mlflow.plugins.module_utils.names import ORIGIN, is_name
from ansible_collections.atlas.mlflow.plugins.plugin_utils.role_settings import RoleSettings

#: The first release that also has its API below a static prefix.
PREFIX_SINCE = "3.12.0"


def invalid_names(names: Iterable[str]) -> list[str]:
    """Return texts that are not a plain host name, address or pattern of names, for example because of a scheme, a port or a space.

    :param names: Names from the inventory.
    """
    return [str(name) for name in names if not is_name(str(name))]


def invalid_origins(origins: Iterable[str]) -> list[str]:
    """Return texts that are not an origin: SCHEME://HOST with or without a port, C(*) or C(null).

    :param origins: Origins from the inventory.
    """
    return [str(origin) for origin in origins if str(origin) not in ("*", "null") and not ORIGIN.fullmatch(str(origin).strip())]


def unbracketed_urls(urls: Mapping[str, Any]) -> list[str]:
    """Return the names of the settings whose URL has an IPv6 address without brackets.

    :param urls: URLs by the names of their variables. They are not shown, because they may contain a password.
    """
    wrong = []
    for name, url in urls.items():
        authority = re.split("[/?#]", str(url or "").partition("://")[2])[0]
        host = authority.rpartition("@")[2]
        if "[" not in host and host.count(":") > 1:
            wrong.append(name)
    return wrong


def names_are_bare(given: RoleSettings) -> str:
    """The server's names have no scheme, port or comma."""
    wrong = invalid_names(given.items("mlflow_server_names"))
    return f"mlflow_server_names has {' '.join(wrong)}. Give bare host names or addresses, with no scheme, port or comma." if wrong else ""


def origins_have_a_scheme(given: RoleSettings) -> str:
    """Origins of other pages have the form that browsers send."""
    wrong = invalid_origins(given.items("mlflow_server_cors_allowed_origins"))
    way = "Give origins such as https://notebooks.example.com, with a scheme and no path."
    return f"mlflow_server_cors_allowed_origins has {' '.join(wrong)}. {way}" if wrong else ""


def ipv6_has_brackets(given: RoleSettings) -> str:
    """An IPv6 address in a URL has brackets."""
    names = ("mlflow_server_url", "mlflow_server_s3_endpoint_url", "mlflow_server_backend_store_uri", "mlflow_server_auth_store_uri")
    wrong = unbracketed_urls({name: given.text(name) for name in names})
    return f"{', '.join(wrong)} has an IPv6 address without brackets. Write it as http://[fd00::7]:5001." if wrong else ""


def url_has_the_scheme(given: RoleSettings) -> str:
    """The URL of a server with a certificate starts with https. Behind proxies it is the URL of the proxies."""
    url = given.text("mlflow_server_url")
    if given.planned("proxies") or not given.text("mlflow_server_tls_certificate") or url.startswith("https://"):
        return ""
    return f"mlflow_server_url is {url}, and mlflow_server_tls_certificate is set, with which the server speaks https alone. Start it with https://."


def prefix_is_a_path(given: RoleSettings) -> str:
    """A static prefix starts with a slash and does not end with one."""
    prefix = given.text("mlflow_server_static_prefix")
    if not prefix or re.match("/.*[^/]$", prefix):
        return ""
    return f"mlflow_server_static_prefix is {prefix}. It starts with a slash and does not end with one."


def prefix_is_known_to_the_release(given: RoleSettings) -> str:
    """The release also has its API below a static prefix."""
    prefix, version = given.text("mlflow_server_static_prefix"), given.text("mlflow_server_version")
    if not prefix or given.text("mlflow_server_lock_file") or LooseVersion(version) >= LooseVersion(PREFIX_SINCE):
        return ""
    return (
        f"mlflow_server_static_prefix is {prefix}, and release {version} has its page below a prefix, and its API not: clients that are given the URL "
        f"with the prefix get 404. Set mlflow_server_version to {PREFIX_SINCE} or newer, or leave the prefix out."
    )
