#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ansible module that downloads on a builder what a bundle contains, and packs it."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: bundle_make
short_description: Make a bundle on a builder
version_added: 1.0.0
author:
  - atlas.mlflow maintainers (@atlas-mlflow)
extends_documentation_fragment: [atlas.mlflow.attributes, atlas.mlflow.downloads]
description:
  - Downloads packages of the distribution with all their dependencies, the wheels of locks, and further files, and packs them with a manifest of their
    checksums into one archive on the builder. The playbook C(bundle.yml) copies it to the control node.
  - The distribution's packages are checked by apt, the wheels by the hashes in their locks, and other files by their sha256.
  - Needs C(python3-venv) on the builder. It needs permissions of root only for O(images).
attributes:
  check_mode:
    description: Says only that a bundle would be made.
    support: full
  diff_mode:
    description: Has no diff.
    support: none
options:
  needs:
    description: What the roles on the hosts need. The action plugin makes O(packages), O(locks), O(downloads) and O(images) of it.
    type: list
    elements: dict
    default: []
  folder:
    description: An empty folder on the builder, which the caller removes.
    type: path
    required: true
  packages:
    description: The packages of the distribution, without versions and dependencies. The action plugin sets them.
    type: list
    elements: str
    default: []
  locks:
    description: Texts of locks with hashes. The action plugin sets them.
    type: list
    elements: str
    default: []
  downloads:
    description: Further files, each with its C(name), C(url) and C(sha256). One without a URL is in O(folder). The action plugin sets them.
    type: list
    elements: dict
    default: []
  images:
    description: Names of images, which Docker or Podman on the builder has. They need permissions of root. The action plugin sets them.
    type: list
    elements: str
    default: []
  version:
    description: Version of the collection. The action plugin sets it.
    type: str
    default: ""
  index_url:
    description: A package index to use instead of the default one.
    type: str
    default: ""
  ca_bundle:
    description: CA file (PEM) that the package clients trust. Ignored if the file does not exist.
    type: path
    default: /etc/ssl/certs/ca-certificates.crt
"""

EXAMPLES = r"""
- name: Make a bundle of HAProxy
  atlas.mlflow.bundle_make:
    folder: /home/admin/bundle
    needs: [{packages: [haproxy]}]
"""

RETURN = r"""
archive:
  description: Path of the archive on the builder.
  returned: changed
  type: str
  sample: /home/admin/bundle/atlas-mlflow-1.0.0-debian12-x86_64.tar
sha256:
  description: Checksum of the archive.
  returned: changed and not in check mode
  type: str
  sample: 9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08
size:
  description: Bytes of the archive.
  returned: changed and not in check mode
  type: int
  sample: 367001600
counts:
  description: Number of files of each kind.
  returned: changed and not in check mode
  type: dict
  sample: {packages: 117, wheels: 101, downloads: 1, images: 0}
"""

import io
import json
import os
import platform
import tarfile

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.atlas.mlflow.plugins.module_utils.bundle_parts import FORM
from ansible_collections.atlas.mlflow.plugins.module_utils.downloads import DOWNLOADS, fetch, use_environment
from ansible_collections.atlas.mlflow.plugins.module_utils.environments import digest
from ansible_collections.atlas.mlflow.plugins.module_utils.os_release import own_os_release
from ansible_collections.atlas.mlflow.plugins.module_utils.package_index import configuration, file_name, stanza
from ansible_collections.atlas.mlflow.plugins.module_utils.redaction import Redactor, uri_secrets


class Maker:
    """A bundle that is made in a folder."""

    def __init__(self, module: AnsibleModule) -> None:
        self.module = module
        self.folder: str = module.params["folder"]
        self._secrets = use_environment(module) | uri_secrets(module.params["index_url"])
        # The hosts make their environments with the same one.
        self.python: str = module.get_bin_path("python3", required=True)
        self.files: dict[str, str] = {}
        self.locks: dict[str, list[str]] = {}
        self.downloads: dict[str, str] = {}
        self.images: dict[str, str] = {}

    def run(self, what: str, argv: list[str], **variables: str) -> str:
        """Run a command, and return its output. Fail the module with its errors."""
        code, out, error = self.module.run_command(argv, environ_update={"LC_ALL": "C", **variables})
        if code != 0:
            hide = Redactor(self._secrets).text
            self.module.fail_json(msg=f"{what} failed: {hide((error or out).strip())}", rc=code, stdout=hide(out), stderr=hide(error))
        return str(out)

    def subfolder(self, name: str) -> str:
        """Create a folder in the bundle's folder, and return its path."""
        path = os.path.join(self.folder, name)
        os.makedirs(path, exist_ok=True)
        return path

    def get_packages(self) -> None:
        """Download the packages with all their dependencies, as for a host without a single package, and write their index."""
        names = self.module.params["packages"]
        if not names:
            return
        apt = self.subfolder("apt")
        for part in ("lists/partial", "archives/partial"):
            self.subfolder(f"apt/{part}")
        settings = [f'Dir::State::status "{apt}/status";', f'Dir::State::extended_states "{apt}/extended_states";', 'Debug::NoLocking "true";']
        for name, text in (("status", ""), ("apt.conf", configuration(apt, settings))):
            with open(f"{apt}/{name}", "w", encoding="utf-8") as file:
                file.write(text)
        command = [self.module.get_bin_path("apt-get", required=True), "--quiet"]
        self.run("Reading the distribution's lists of packages", [*command, "update"], APT_CONFIG=f"{apt}/apt.conf")
        self.run("Downloading packages", [*command, "--yes", "--download-only", "install", *names], APT_CONFIG=f"{apt}/apt.conf")
        entries = []
        for archive in sorted(os.listdir(f"{apt}/archives")):
            if archive.endswith(".deb"):
                path = f"{apt}/archives/{archive}"
                control = self.run(f"Reading {archive}", ["dpkg-deb", "--field", path])
                entries.append(stanza(control, file_name(control), os.path.getsize(path), self.module.sha256(path)))
                self.files[f"packages/{file_name(control)}"] = path
        with open(f"{apt}/Packages", "w", encoding="utf-8") as index:
            index.write("\n".join(entries))
        self.files["packages/Packages"] = f"{apt}/Packages"

    def get_wheels(self) -> None:
        """Download the wheels of each lock. pip compares them with the hashes in the lock."""
        locks = self.module.params["locks"]
        if not locks:
            return
        venv = os.path.join(self.folder, "venv")
        self.run("Making an environment (is python3-venv installed?)", [self.python, "-m", "venv", venv])
        variables = {"PIP_DISABLE_PIP_VERSION_CHECK": "1", "PIP_CACHE_DIR": os.path.join(self.folder, "cache")}
        if os.path.exists(self.module.params["ca_bundle"]):
            variables.update(PIP_CERT=self.module.params["ca_bundle"])
        if self.module.params["index_url"]:
            variables.update(PIP_INDEX_URL=self.module.params["index_url"])
        for text in locks:
            target = self.subfolder(f"wheels/{digest(text)}")
            with open(f"{target}.txt", "w", encoding="utf-8") as lock:
                lock.write(text)
            pip = [f"{venv}/bin/python", "-m", "pip", "download", "--quiet", "--require-hashes", "--no-deps", "--only-binary", ":all:"]
            self.run("Downloading wheels", [*pip, "--dest", target, "--requirement", f"{target}.txt"], **variables)
            names = sorted(os.listdir(target))
            self.locks[digest(text)] = [f"wheels/{name}" for name in names]
            self.files.update({f"wheels/{name}": os.path.join(target, name) for name in names})

    def get_downloads(self) -> None:
        """Download the other files, and compare them with their checksums."""
        for one in self.module.params["downloads"]:
            path = os.path.join(self.folder, one["name"])
            if one.get("url"):
                fetch(self.module, one["url"], path, one["sha256"])
            self.downloads[one["name"]] = f"downloads/{one['name']}"
            self.files[self.downloads[one["name"]]] = path

    def engine_of(self, image: str) -> str:
        """Return the path of the engine that has an image. Fail the module if none has it."""
        engines = [str(path) for path in map(self.module.get_bin_path, ("docker", "podman")) if path]
        having = [engine for engine in engines if self.module.run_command([engine, "image", "inspect", "--format", "{{.Id}}", image])[0] == 0]
        if not having:
            present = ", ".join(engines) or "there is neither Docker nor Podman"
            self.module.fail_json(msg=f"No engine of containers on this host has the image {image} ({present}).")
        return having[0]

    def get_images(self) -> None:
        """Save the images, which Docker or Podman on this host has."""
        self.subfolder("images")
        for number, name in enumerate(self.module.params["images"]):
            path = os.path.join(self.folder, "images", f"{number}.tar")
            self.run(f"Saving the image {name}", [self.engine_of(name), "save", "--output", path, name])
            self.images[name] = f"images/{number}.tar"
            self.files[self.images[name]] = path

    def name(self, system: dict[str, str]) -> str:
        """Return the name of the archive."""
        return f"atlas-mlflow-{self.module.params['version']}-{system.get('ID', '')}{system.get('VERSION_ID', '')}-{platform.machine()}.tar"

    def pack(self, system: dict[str, str], archive: str) -> None:
        """Write the archive, with the manifest first."""
        manifest = {
            "form": FORM,
            "collection": self.module.params["version"],
            "release": system.get("VERSION_CODENAME", ""),
            "architecture": platform.machine(),
            "python": os.path.basename(os.path.realpath(self.python)).removeprefix("python"),
            "packages": self.module.params["packages"],
            "locks": self.locks,
            "downloads": self.downloads,
            "images": self.images,
            "files": {name: {"sha256": self.module.sha256(path), "size": os.path.getsize(path)} for name, path in sorted(self.files.items())},
        }
        text = json.dumps(manifest, indent=1, sort_keys=True).encode()
        with tarfile.open(archive, "w") as tar:
            head = tarfile.TarInfo("manifest.json")
            head.size = len(text)
            tar.addfile(head, io.BytesIO(text))
            for name, path in sorted(self.files.items()):
                member = tarfile.TarInfo(name)
                member.size = os.path.getsize(path)
                with open(path, "rb") as file:
                    tar.addfile(member, file)


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "needs": {"type": "list", "elements": "dict", "default": []},
            "folder": {"type": "path", "required": True},
            "packages": {"type": "list", "elements": "str", "default": []},
            "locks": {"type": "list", "elements": "str", "default": []},
            "downloads": {"type": "list", "elements": "dict", "default": []},
            "images": {"type": "list", "elements": "str", "default": []},
            "version": {"type": "str", "default": ""},
            "index_url": {"type": "str", "default": "", "no_log": True},
            "ca_bundle": {"type": "path", "default": "/etc/ssl/certs/ca-certificates.crt"},
            **DOWNLOADS,
        },
        supports_check_mode=True,
    )
    if digests := [name for name in module.params["images"] if "@" in name]:
        module.fail_json(
            msg=f"An archive of an image has no digest, so hosts would not find {', '.join(digests)} in the bundle. Name images by a tag, in postgres_image, "
            "minio_image or mlflow_server_image. The bundle has the checksums of their archives."
        )
    maker, system = Maker(module), own_os_release()
    archive = os.path.join(maker.folder, maker.name(system))
    if module.check_mode:
        module.exit_json(changed=True, archive=archive)
    maker.get_packages()
    maker.get_wheels()
    maker.get_downloads()
    maker.get_images()
    maker.pack(system, archive)
    kinds = [name.partition("/")[0] for name in maker.files]
    counts = {kind: kinds.count(kind) for kind in ("packages", "wheels", "downloads", "images")}
    module.exit_json(changed=True, archive=archive, sha256=module.sha256(archive), size=os.path.getsize(archive), counts=counts)


if __name__ == "__main__":
    main()
