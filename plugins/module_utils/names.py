# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Convert host names and origins to the form that clients send: lower case and ASCII (IDNA).

MLflow compares names exactly. Browsers and Python's requests send this form, whatever their user typed.
"""

from __future__ import annotations

import re
import unicodedata
from ipaddress import IPv6Address, ip_address

#: Schemes with the port that a browser omits in an origin.
DEFAULT_PORTS = {"http": "80", "https": "443"}
ORIGIN = re.compile(r"(?i)(?P<scheme>[a-z][a-z0-9+.-]*|\*)://(?P<host>\[[^\]]+\]|[^/:?#@\[\]\s]+)(?P<port>:(\d+|\*))?/?")


def canonical_name(name: str) -> str:
    """Return a host name in the form that clients send: lower case, without a final dot, labels that are not ASCII as A-labels (RFC 5890).

    An IPv6 address is returned in its short form, with brackets if the input has them. Anything else, such as C(*), is not changed.
    """
    name = unicodedata.normalize("NFKC", name.strip()).replace("\u3002", ".")
    bare = name[1:-1] if name.startswith("[") and name.endswith("]") else name
    try:
        return name.replace(bare, str(IPv6Address(bare)))
    except ValueError:
        pass
    # Character by character: for a whole word, lower() would end it with a different Greek sigma.
    labels = [unicodedata.normalize("NFC", "".join(character.lower() for character in label)) for label in name.split(".")]
    return ".".join(label if label.isascii() else "xn--" + label.encode("punycode").decode() for label in labels).rstrip(".") or name


def bracketed(name: str) -> str:
    """Return a name or an address in the form of a URL or of a Host header without a port: an IPv6 address in brackets."""
    return f"[{name}]" if name.count(":") > 1 and not name.startswith("[") else name


def is_name(name: str) -> bool:
    """Return whether a text is only a host name, an address, or a pattern of names with C(*): no scheme, no port, no path."""
    try:
        return bool(ip_address(name.strip("[]")))
    except ValueError:
        labels = canonical_name(name).split(".")
        return all(re.fullmatch(r"[a-z0-9_*?-]{1,63}", label) for label in labels)


def canonical_host(host: str) -> str:
    """Return a host with or without a port, as in a Host header, in the form that clients send."""
    if host.count(":") > 1 and "]" not in host:  # an IPv6 address without brackets has no port
        return bracketed(canonical_name(host))
    match = re.fullmatch(r"(\[[^\]]*\]|[^:]*)(:.*)?", host.strip())
    return canonical_name(match[1]) + (match[2] or "") if match else host


def canonical_origin(origin: str) -> str:
    """Return an origin in the form that a browser sends: scheme and name in lower case and ASCII, no default port and no final slash.

    Anything else, such as C(*) or C(null), is not changed.
    """
    match = ORIGIN.fullmatch(origin.strip())
    if not match:
        return origin.strip()
    scheme, port = match["scheme"].lower(), match["port"] or ""
    return f"{scheme}://{canonical_name(match['host'])}{'' if port[1:] == DEFAULT_PORTS.get(scheme) else port}"
