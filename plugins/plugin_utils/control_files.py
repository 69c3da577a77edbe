# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read files on the control node that a user names, as the look-up ansible.builtin.file in the roles reads them.

A relative path is searched for in the folders of the role and of the playbook, and a file that is encrypted by Ansible Vault is decrypted.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleError
from ansible.plugins.loader import lookup_loader

#: The first bytes of a file that is encrypted by Ansible Vault.
VAULT = b"$ANSIBLE_VAULT"


class UnreadableFile(OSError):
    """A file is missing, or cannot be read or decrypted."""

    def __init__(self, path: str, reason: str) -> None:
        """Take the path as the user gave it, and the rest of the sentence."""
        super().__init__(f"{path} {reason}")
        self.reason = reason


class ControlFiles:
    """The files on the control node, for a task."""

    def __init__(self, loader: Any, templar: Any, variables: Mapping[str, Any]) -> None:
        """Take the loader and the templar of an action plugin, and the variables of its task."""
        self._loader, self._variables = loader, variables
        self._lookup = lookup_loader.get("ansible.builtin.file", loader=loader, templar=templar)

    def find(self, path: str) -> str:
        """Return the absolute path of a file, empty if there is none."""
        found = self._lookup.find_file_in_search_path(self._variables, "files", path, ignore_missing=True)
        return str(found) if found and Path(found).is_file() else ""

    def read(self, path: str) -> str:
        """Return the text of a file.

        :raises UnreadableFile: If there is no such file, or it cannot be read or decrypted.
        """
        found = self.find(path)
        if not found:
            # The user thinks of the working directory or of the folder of the inventory.
            start = "" if path.startswith(("/", "~")) else ", where a relative path begins in the folders of the playbook: write an absolute one"
            raise UnreadableFile(path, f"is no file on the control node{start}")
        try:
            return str(self._loader.get_text_file_contents(found))
        except AnsibleError as error:
            raise UnreadableFile(path, f"cannot be read on the control node: {error}") from error

    def is_encrypted(self, path: str) -> bool:
        """Return whether a file is encrypted by Ansible Vault. One that is missing or cannot be read is not."""
        found = self.find(path)
        try:
            with Path(found).open("rb") as file:
                return file.read(len(VAULT)) == VAULT
        except OSError:
            return False

    def fault(self, name: str, path: str) -> str:
        """Return why the file that a variable names cannot be read, with the fix, or an empty text.

        :param name: The variable.
        :param path: Its value.
        """
        try:
            self.read(path)
        except UnreadableFile as fault:
            return f"{name} is {path}, which {fault.reason}. Correct the path{', or give the Vault password' if self.is_encrypted(path) else ''}."
        return ""


def own_text(path: str) -> str:
    """Return the text of a file that the collection writes itself, whose path is absolute or begins in a home.

    :raises UnreadableFile: If there is no such file, or it cannot be read.
    """
    file = Path(path).expanduser()
    if not file.is_file():
        raise UnreadableFile(path, "is no file on the control node")
    try:
        return file.read_text(encoding="utf-8", errors="surrogateescape")
    except OSError as error:
        raise UnreadableFile(path, f"cannot be read on the control node: {error.strerror}") from error
