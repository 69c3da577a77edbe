#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ansible module that brings an image to Podman: from an archive, a build or a registry."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: podman_image
short_description: Load, build or pull an image for Podman
version_added: 1.0.0
author:
  - atlas.mlflow maintainers (@atlas-mlflow)
extends_documentation_fragment: [atlas.mlflow.attributes, atlas.mlflow.image_build, atlas.mlflow.downloads]
description:
  - Brings an image to the Podman of root, once. The image is loaded from O(archive), built from O(build_path), or else pulled from its registry.
options:
  name:
    description: Name of the image with its registry, such as V(docker.io/library/python:3.13).
    type: str
    required: true
  archive:
    description: Path on the host of an archive made by C(docker save) or C(podman save).
    type: path
  force_load:
    description: Whether to load the archive even if an image with this name exists, because the archive may have another one.
    type: bool
    default: false
  build_path:
    description: Folder on the host with a Dockerfile and what it needs. The base image must exist.
    type: path
"""

EXAMPLES = r"""
- name: Pull the image
  atlas.mlflow.podman_image:
    name: ghcr.io/mlflow/mlflow:v3.17.2-full
  become: true
  register: image
"""

RETURN = r"""
image:
  description: The identity of the image, which another image of the same name does not have. Empty in a check run if the image is missing.
  returned: always
  type: str
  sample: c37195fdb7d5081ae041217f79b159262c1eb49119f4a3f040d79b27b778bdf6
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.atlas.mlflow.plugins.module_utils.downloads import DOWNLOADS, use_environment
from ansible_collections.atlas.mlflow.plugins.module_utils.images import BUILD, build_options, build_secrets, full_image_name

#: The registry in the names of images that an archive of Docker has without one.
LOCAL = "localhost/"


class Images:
    """The images of root's Podman."""

    def __init__(self, module: AnsibleModule, podman: str) -> None:
        self.module = module
        self.podman = podman

    def run(self, *arguments: str, environment: dict[str, str] | None = None) -> str:
        """Run Podman and return its output; fail with its message if it fails."""
        code, out, err = self.module.run_command([self.podman, *arguments], environ_update=environment or {})
        if code:
            said = [line for line in (err or out).strip().splitlines() if "level=warning" not in line]
            self.module.fail_json(msg=f"podman {arguments[0]} of {self.module.params['name']} failed: {' '.join(said[-6:])}")
        return str(out)

    def identity(self, name: str) -> str:
        """Return the identity of an image, empty if it is missing."""
        code, out, _err = self.module.run_command([self.podman, "image", "inspect", "--format", "{{.Id}}", name])
        return str(out).strip() if code == 0 else ""

    def load(self, name: str, archive: str) -> None:
        """Load an archive, and give its image the wanted name."""
        out = self.run("load", "--quiet", "--input", archive)
        loaded = [line.partition(":")[2].strip() for line in out.splitlines() if line.startswith("Loaded image")]
        # Docker writes names without their registry into an archive.
        alike = [one for one in loaded if name in (one, full_image_name(one.removeprefix(LOCAL)))]
        if not alike:
            self.module.fail_json(msg=f"{archive} has the image {', '.join(loaded) or 'without a name'}, and not {name}. Save the image with this name.")
        if alike[0] != name:
            self.run("tag", alike[0], name)

    def build(self, name: str, path: str, arguments: dict[str, str], network: str) -> None:
        """Build an image. The values of its arguments come from the environment."""
        self.run("build", "--tag", name, "--pull=never", "--layers=false", *build_options(arguments, network), path, environment=arguments)


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "name": {"type": "str", "required": True},
            "archive": {"type": "path"},
            "force_load": {"type": "bool", "default": False},
            "build_path": {"type": "path"},
            **BUILD,
            **DOWNLOADS,
        },
        supports_check_mode=True,
        mutually_exclusive=[("archive", "build_path")],
    )
    params = module.params
    # The journal has none of the arguments, and the output of the module all but their secrets.
    module.no_log_values = build_secrets(params["build_args"])
    use_environment(module)
    # In a check run, a bare host has no Podman.
    podman = module.get_bin_path("podman", required=not module.check_mode)
    if not podman:
        module.exit_json(changed=True, image="")
    images, name = Images(module, podman), params["name"]
    before = images.identity(name)
    if before and not (params["archive"] and params["force_load"]):
        module.exit_json(changed=False, image=before)
    if module.check_mode:
        module.exit_json(changed=True, image=before)
    if params["build_path"]:
        images.build(name, params["build_path"], {key: str(value) for key, value in params["build_args"].items()}, params["build_network"])
    elif params["archive"]:
        images.load(name, params["archive"])
    else:
        images.run("pull", "--quiet", name)
    after = images.identity(name)
    module.exit_json(changed=after != before, image=after)


if __name__ == "__main__":
    main()
