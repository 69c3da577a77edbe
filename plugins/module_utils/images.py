# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The names of images, and the arguments of their builds."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from ansible_collections.atlas.mlflow.plugins.module_utils.redaction import uri_secrets

#: The arguments of modules that build an image, as the fragment image_build documents them.
BUILD: dict[str, Any] = {
    "build_args": {"type": "dict", "default": {}, "no_log": True},
    "build_network": {"type": "str", "default": ""},
}
#: The label of a stage of a build whose arguments may have a secret. No image keeps the layers of this stage.
STAGE = "atlas.mlflow.stage"
#: A login without a password in a URL, which is too long for a user's name.
_TOKEN = re.compile(r"://([^/@:\s]{16,})@")


def full_image_name(name: str) -> str:
    """Return the name of an image with its registry, which Podman needs where Docker adds its own.

    :param name: The name, as Docker takes it.
    """
    first, slash, _rest = name.partition("/")
    if slash and ("." in first or ":" in first or first == "localhost"):
        return name
    return f"docker.io/{name}" if slash else f"docker.io/library/{name}"


def build_options(arguments: Iterable[str], network: str) -> list[str]:
    """Return the options of a build for its network and its arguments. Without a value, an argument has that of the environment, which no list shows."""
    return [*(["--network", network] if network else []), *(word for argument in arguments for word in ("--build-arg", argument))]


def build_secrets(arguments: Mapping[str, object]) -> set[str]:
    """Return the possible secrets in the arguments of a build: in the URL of a proxy or a package index, a password, or a token that stands for a login."""
    texts = [str(value) for value in arguments.values()]
    return {secret for text in texts for secret in (*uri_secrets(text), *_TOKEN.findall(text)) if secret}
