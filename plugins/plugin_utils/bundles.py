# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A bundle on the control node: what hosts without a network install, with its checksums, and what it lacks for a host."""

from __future__ import annotations

import functools
import json
import os
import shutil
import tarfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleError
from ansible_collections.atlas.mlflow.plugins.module_utils.bundle_parts import FORM
from ansible_collections.atlas.mlflow.plugins.module_utils.environments import digest
from ansible_collections.atlas.mlflow.plugins.plugin_utils.checksums import stream_sha256

MANIFEST = "manifest.json"
INDEX = "packages/Packages"
#: The packages that each host gets: see roles/common/tasks/packages.yml.
ALWAYS = ("ca-certificates",)
COLLECTION = Path(__file__).resolve().parents[2]


@functools.cache
def collection_version() -> str:
    """Return the version of this collection: an installed collection has a manifest, and a checkout has galaxy.yml."""
    manifest = COLLECTION / "MANIFEST.json"
    if manifest.exists():
        return str(json.loads(manifest.read_text(encoding="utf-8"))["collection_info"]["version"])
    lines = (COLLECTION / "galaxy.yml").read_text(encoding="utf-8").splitlines()
    return next(line.partition(":")[2].strip() for line in lines if line.startswith("version:"))


def merged(needs: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Return what several roles on several hosts need, each thing once.

    :param needs: For each role the names of ``packages``, the texts of ``locks`` by what they install, ``downloads`` with ``name`` and either ``url`` and
        ``sha256`` or the ``path`` of a file on the control node, and the names of ``images``.
    """
    every = list(needs)
    downloads = {one["name"]: one for need in every for one in need.get("downloads", [])}
    return {
        "packages": sorted({name for need in every for name in [*need.get("packages", []), *ALWAYS]}),
        "locks": {text: name for need in every for name, text in need.get("locks", {}).items()},
        "downloads": [downloads[name] for name in sorted(downloads)],
        "images": sorted({name for need in every for name in need.get("images", [])}),
    }


class Bundle:
    """A bundle, which is an archive or a folder with the same files."""

    def __init__(self, path: str) -> None:
        """Take the path of a bundle.

        :raises AnsibleError: If there is no bundle that can be read.
        """
        self.path = os.path.expanduser(path)
        try:
            with self._open() as read:
                self.manifest: dict[str, Any] = json.loads(read(MANIFEST).read())
            form = self.manifest["form"]
        except (OSError, KeyError, TypeError, ValueError, tarfile.TarError) as error:
            seen = f"{type(error).__name__}: {error}"
            raise AnsibleError(f"atlas_mlflow_bundle is {path}, and that is no bundle that can be read ({seen}). Make one with playbooks/bundle.yml.") from None
        if form != FORM:
            made = self.manifest.get("collection")
            raise AnsibleError(f"{path} was made by version {made} of the collection in another form. Make a new one with this version.")

    @contextmanager
    def _open(self) -> Iterator[Any]:
        """Return a function that opens a file of the bundle by its name."""
        if os.path.isdir(self.path):
            # The caller closes it.
            yield lambda name: Path(self.path, name).open("rb")  # noqa: SIM115
            return
        # Without a compression, in which no file could be found without reading all before it.
        with tarfile.open(self.path, "r:") as archive:
            yield archive.extractfile

    def files(self, needs: Mapping[str, Any]) -> list[str]:
        """Return the files of the bundle for what a host needs. The packages of the distribution all count, because only apt knows which ones a host lacks."""
        found = {name for name in self.manifest["files"] if needs["packages"] and name.startswith("packages/")}
        for text in needs["locks"]:
            found.update(self.manifest["locks"].get(digest(text), []))
        found.update(self.manifest["downloads"].get(one["name"], "") for one in needs["downloads"])
        found.update(self.manifest["images"].get(name, "") for name in needs["images"])
        return sorted(found - {""})

    def lacks(self, needs: Mapping[str, Any], facts: Mapping[str, Any]) -> list[str]:
        """Return what the bundle does not have of what a host needs.

        :param needs: See :func:`merged`.
        :param facts: The facts of the host. What they show as installed is not needed.
        """
        installed = {*(facts.get("packages") or {}), *(facts.get("added_packages") or [])}
        missing = [f"the package {name}" for name in needs["packages"] if name not in self.manifest["packages"] and name not in installed]
        missing += [f"the lock of {name}" for text, name in needs["locks"].items() if digest(text) not in self.manifest["locks"]]
        missing += [f"the download {one['name']}" for one in needs["downloads"] if not self._has_download(one)]
        return missing + [f"the image {name}" for name in needs["images"] if name not in self.manifest["images"]]

    def _has_download(self, wanted: Mapping[str, Any]) -> bool:
        """Return whether the bundle has a download. One with a pinned checksum must have this checksum."""
        file = self.manifest["downloads"].get(wanted["name"])
        return bool(file) and wanted.get("sha256", self.manifest["files"][file]["sha256"]) == self.manifest["files"][file]["sha256"]

    def faults(self, host: str, needs: Mapping[str, Any], facts: Mapping[str, Any]) -> list[str]:
        """Return a sentence for each reason why a host cannot be installed from the bundle.

        :param host: The name of the host.
        :param needs: See :func:`merged`.
        :param facts: The facts of the host.
        """
        made = self.manifest
        again = f"Make a bundle with playbooks/bundle.yml, with this version of the collection ({collection_version()}) and this inventory"
        python = os.path.basename(str(facts.get("python3", ""))).removeprefix("python")
        here = (facts.get("distribution_release"), facts.get("architecture"), python)
        there = (made["release"], made["architecture"], made["python"])
        if here != there:
            return [
                f"{self.path} is for {_system(*there)}, and {host} is {_system(*here)}. {again}, on a builder with the system of {host}, and set "
                f"atlas_mlflow_bundle of {host} to it."
            ]
        if missing := self.lacks(needs, facts):
            return [f"{self.path}, made by version {made['collection']} of the collection for {_system(*there)}, lacks {', '.join(missing)}. {again}."]
        damaged = self.damaged(self.files(needs))
        return [f"{self.path} is damaged: {', '.join(damaged)} differ from their checksums. Copy the bundle again."] if damaged else []

    def damaged(self, names: Iterable[str]) -> list[str]:
        """Return the files that are missing, or differ from their checksums."""
        damaged = []
        with self._open() as read:
            for name in names:
                try:
                    with read(name) as file:
                        fits = stream_sha256(file) == self.manifest["files"][name]["sha256"]
                except (OSError, KeyError, TypeError, AttributeError):
                    fits = False
                damaged += [] if fits else [name]
        return damaged

    def text(self, name: str) -> str:
        """Return a file of the bundle that is text."""
        with self._open() as read, read(name) as file:
            return str(file.read().decode())

    def wheels(self, *locks: str) -> list[str]:
        """Return the files of the packages in locks.

        :raises AnsibleError: If the bundle was made from other locks.
        """
        try:
            return sorted({file for text in locks for file in self.manifest["locks"][digest(text)]})
        except KeyError as error:
            raise self._lacking("a lock of this version of the collection") from error

    def part(self, kind: str, name: str) -> str:
        """Return the file of one of the ``downloads`` or ``images`` by its name.

        :raises AnsibleError: If the bundle does not have it.
        """
        try:
            return str(self.manifest[kind][name])
        except KeyError as error:
            raise self._lacking(f"{name}, which should be among its {kind}") from error

    def sha256(self, file: str) -> str:
        """Return the checksum of a file."""
        return str(self.manifest["files"][file]["sha256"])

    def _lacking(self, what: str) -> AnsibleError:
        return AnsibleError(f"{self.path} lacks {what}. Make a new bundle with playbooks/bundle.yml.")

    def extract(self, name: str, target: str) -> None:
        """Write a file of the bundle to a path.

        :raises AnsibleError: If its content differs from its checksum.
        """
        with self._open() as read, read(name) as file, open(target, "wb") as copy:
            self._compare(name, file)
            shutil.copyfileobj(file, copy)

    def pack(self, names: Iterable[str], target: str) -> None:
        """Write an archive with some files of the bundle.

        :raises AnsibleError: If the content of one differs from its checksum.
        """
        with self._open() as read, tarfile.open(target, "w") as parts:
            for name in names:
                with read(name) as file:
                    self._compare(name, file)
                    member = tarfile.TarInfo(name)
                    member.size = self.manifest["files"][name]["size"]
                    parts.addfile(member, file)

    def _compare(self, name: str, file: Any) -> None:
        """Compare an open file with its checksum, and go back to its beginning.

        :raises AnsibleError: If they differ.
        """
        if stream_sha256(file) != self.manifest["files"][name]["sha256"]:
            raise AnsibleError(f"{self.path} is damaged: {name} differs from its checksum. Copy the bundle again.")
        file.seek(0)


def _system(release: Any, architecture: Any, python: Any) -> str:
    """Return a system in words."""
    return f"{release or 'an unknown distribution'} on {architecture} with Python {python}"
