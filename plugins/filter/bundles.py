# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filter that returns what a bundle says of an image."""

from __future__ import annotations

from typing import Any

from ansible_collections.atlas.mlflow.plugins.plugin_utils.bundles import Bundle


def bundle_image(path: str, name: str) -> str:
    """Return the checksum of an image's archive in a bundle.

    :param path: The path of the bundle on the control node.
    :param name: The name of the image.
    """
    bundle = Bundle(path)
    return bundle.sha256(bundle.part("images", name))


class FilterModule:
    """Register the filter with Ansible."""

    def filters(self) -> dict[str, Any]:
        """Return the filter by its name."""
        return {"bundle_image": bundle_image}
