# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Find versions of PostgreSQL, and a host's clusters that Debian's tools have created."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from ansible.module_utils.compat.version import LooseVersion

#: The major version in each distribution.
OF_DISTRIBUTION = {"bookworm": "15", "trixie": "17", "jammy": "14", "noble": "16"}


def major_version(wanted: Any, facts: Mapping[str, Any]) -> str:
    """Return the major version of the packages, empty if it is not known.

    :param wanted: The version in the settings. If it is empty, use the version of the distribution.
    :param facts: The facts of the host.
    """
    return str(wanted) or OF_DISTRIBUTION.get(str(facts.get("distribution_release", "")), "")


def image_version(image: str, wanted: Any) -> str:
    """Return the major version in an image, empty if it is not known.

    :param image: The image. Its tag contains the version; a registry's port and a digest do not count.
    :param wanted: The version in the settings, for an image without such a tag.
    """
    tag = re.search(r"(?<=:)[0-9]+(?=[^/:]*$)", image.partition("@")[0])
    return tag[0] if tag else str(wanted)


def clusters(facts: Mapping[str, Any], version: str) -> dict[str, Any]:
    """Return the clusters with other versions than the wanted one that belong to the role or that nothing uses.

    :param facts: The facts of the host.
    :param version: The wanted major version.
    :returns: ``former``: the cluster whose data the wanted version does not have (empty if there is none). ``older``: clusters of older versions, which
        remain after upgrades. ``failed``: clusters of upgrades that were rolled back.
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
