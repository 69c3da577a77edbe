# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Versions of PostgreSQL, and the clusters of Debian's making that a host has of them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from ansible.module_utils.compat.version import LooseVersion

#: The major version that each distribution carries.
OF_DISTRIBUTION = {"bookworm": "15", "trixie": "17", "jammy": "14", "noble": "16"}


def major_version(wanted: Any, facts: Mapping[str, Any]) -> str:
    """Return the major version of the packages, empty if it is not known.

    :param wanted: The version that is set. Empty: the one of the distribution.
    :param facts: The facts of the host.
    """
    return str(wanted) or OF_DISTRIBUTION.get(str(facts.get("distribution_release", "")), "")


def image_version(image: str, wanted: Any) -> str:
    """Return the major version in an image, empty if it is not known.

    :param image: The image. Its tag tells the version, which neither a registry's port nor a digest is.
    :param wanted: The version that is set, for an image without such a tag.
    """
    tag = re.search(r"(?<=:)[0-9]+(?=[^/:]*$)", image.partition("@")[0])
    return tag[0] if tag else str(wanted)


def clusters(facts: Mapping[str, Any], version: str) -> dict[str, Any]:
    """Return the clusters of other versions than the wanted one that are the role's own, or that nothing runs.

    :param facts: The facts of the host.
    :param version: The wanted major version.
    :returns: ``former``, the one whose data the wanted version lacks (empty if there is none); ``older``, those of older versions, which upgrades have
        left; ``failed``, those that an upgrade was rolled back from.
    """
    found = facts.get("postgres_clusters") or []
    main = [cluster for cluster in found if cluster["name"] == "main"]
    groups = [re.fullmatch(r"postgresql@(.*)-main[.]service", listener["group"]) for listener in facts.get("listeners") or []]
    running = {match[1] for match in groups if match}
    others = [cluster for cluster in main if cluster["version"] != version and (cluster["ours"] or cluster["version"] not in running)]
    others.sort(key=lambda cluster: LooseVersion(str(cluster["version"])))
    begun = [cluster for cluster in others if cluster["upgrade"]]
    without_data = [] if any(cluster["version"] == version for cluster in main) else others
    return {
        "former": ([{}] + (begun or without_data))[-1],
        "older": [cluster for cluster in others if version and LooseVersion(str(cluster["version"])) < LooseVersion(version)],
        "failed": [cluster for cluster in found if cluster["name"] == "failed"],
    }
