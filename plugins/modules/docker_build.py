#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ansible module that builds an image for Docker, and shows nobody the secrets in the arguments of the build."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: docker_build
short_description: Build an image for Docker, and keep secrets of the build to it
version_added: 1.0.0
author:
  - atlas.mlflow maintainers (@atlas-mlflow)
extends_documentation_fragment: [atlas.mlflow.attributes, atlas.mlflow.image_build]
description:
  - Builds an image, once, with Docker's own builder, because the host's Docker may lack the plugin buildx.
  - This builder has no secrets of a build, and keeps the arguments of a stage in the history of its layers. A stage whose arguments may have a secret has the
    label C(atlas.mlflow.stage). Its layers are removed after the build, also if the build fails.
options:
  name:
    description: Name of the image.
    type: str
    required: true
  build_path:
    description: Folder on the host with a Dockerfile and what it needs. The base image must exist.
    type: path
    required: true
"""

EXAMPLES = r"""
- name: Build the image
  atlas.mlflow.docker_build:
    name: atlas-mlflow/mlflow:3.17.2
    build_path: /opt/mlflow/image
    build_args: {BASE: "docker.io/library/python:3.13", HTTPS_PROXY: "http://proxy.example.com:3128"}
  become: true
"""

RETURN = r"""
image:
  description: The identity of the image. Empty in a check run if the image is missing.
  returned: success
  type: str
  sample: sha256:c37195fdb7d5081ae041217f79b159262c1eb49119f4a3f040d79b27b778bdf6
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.atlas.mlflow.plugins.module_utils.images import BUILD, STAGE, build_options, build_secrets
from ansible_collections.atlas.mlflow.plugins.module_utils.redaction import Redactor


def identity(module: AnsibleModule, docker: str, name: str) -> str:
    """Return the identity of an image, empty if it is missing."""
    code, out, _error = module.run_command([docker, "image", "inspect", "--format", "{{.Id}}", name])
    return str(out).strip() if code == 0 else ""


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "name": {"type": "str", "required": True},
            "build_path": {"type": "path", "required": True},
            **BUILD,
        },
        supports_check_mode=True,
    )
    name, arguments = module.params["name"], {key: str(value) for key, value in module.params["build_args"].items()}
    # The journal has none of the arguments, and the output of the module all but their secrets.
    module.no_log_values = build_secrets(arguments)
    # In a check run, a bare host has no Docker.
    docker = module.get_bin_path("docker", required=not module.check_mode)
    present = identity(module, docker, name) if docker else ""
    if present or module.check_mode:
        module.exit_json(changed=not present, image=present)
    build = [docker, "build", "--tag", name, "--force-rm", *build_options(arguments, module.params["build_network"]), module.params["build_path"]]
    prune = [docker, "image", "prune", "--force", "--filter", f"label={STAGE}"]
    try:
        code, out, error = module.run_command(build, environ_update={"DOCKER_BUILDKIT": "0", **arguments})
    finally:
        pruned, _out, unpruned = module.run_command(prune)
    if code:
        hide = Redactor(module.no_log_values).text
        lines = [hide(line) for line in [*out.splitlines(), *error.splitlines()]]
        module.fail_json(msg=f"docker build of {name} failed: {' '.join(lines[-6:])}", stdout="\n".join(lines))
    if pruned:
        module.fail_json(msg=f"The layers of the build of {name} that may have secrets were not removed (docker image prune): {unpruned.strip()}")
    module.exit_json(changed=True, image=identity(module, docker, name))


if __name__ == "__main__":
    main()
