# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Compute the hosts and origins that a server must accept from its names."""

from __future__ import annotations

from collections.abc import Iterable

from ansible_collections.atlas.mlflow.plugins.module_utils.names import bracketed, canonical_host, canonical_name, canonical_origin


def unique(values: Iterable[str]) -> list[str]:
    """Return the values in their order, without empty and repeated ones."""
    return list(dict.fromkeys(value for value in values if value))


def name_in(url: str) -> str:
    """Return the host in a URL, not changed; empty if there is none."""
    place = url.partition("://")[2].partition("/")[0].rpartition("@")[2]
    return place.partition("]")[0][1:] if place.startswith("[") else place.partition(":")[0]


def host_names(names: Iterable[str]) -> list[str]:
    """Return names and addresses in the form that clients send: lower case, and ASCII.

    :param names: Names from the inventory. Empty ones are omitted.
    """
    return unique(canonical_name(str(name)) for name in names)


def allowed_hosts(names: Iterable[str], ports: Iterable[str] = ("",)) -> list[str]:
    """Return the Host headers of clients that use these names for a server.

    curl and Python's http.client send capital letters as the user typed them, browsers and requests send lower case. Both forms are returned.

    :param names: Names and addresses.
    :param ports: The text after a name: V(:5001), or an empty text for the default port.
    """
    given = unique(str(name).strip() for name in names)
    spelled = unique(name for one in given for name in (canonical_name(one), one if one.isascii() and not one.endswith(".") else ""))
    return unique(bracketed(name) + port for name in spelled for port in ports)


def listed_hosts(hosts: Iterable[str]) -> list[str]:
    """Return listed Host headers, each also in the form that clients send.

    :param hosts: Names with or without a port, and patterns with C(*).
    """
    return unique(form for host in hosts for form in (canonical_host(str(host)), str(host).strip() if str(host).isascii() else ""))


def allowed_origins(names: Iterable[str], bases: Iterable[str], more: Iterable[str] = ()) -> list[str]:
    """Return the origins of a server's own page for each of its names, and those of other pages, in the form that a browser sends.

    :param names: Names and addresses of the server.
    :param bases: Scheme and port of each way to the server, such as V(https://:5001) or V(https://).
    :param more: Origins of other pages.
    """
    ways = [base.partition("://")[::2] for base in bases]
    own = [canonical_origin(f"{scheme}://{bracketed(name)}{port}") for scheme, port in ways for name in host_names(names)]
    return unique([*own, *(canonical_origin(str(origin)) for origin in more)])
