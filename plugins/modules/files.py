#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ansible module that creates and changes a list of files, folders and links in one call."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: files
short_description: Create and change several files, folders and links
version_added: 0.1.0
author:
  - atlas.mlflow maintainers (@atlas-mlflow)
extends_documentation_fragment: [atlas.mlflow.attributes]
description:
  - Writes a list of small text files, folders and symbolic links in one call, where M(ansible.builtin.copy) and
    M(ansible.builtin.file) take two or three round trips for each.
  - A file is written next to its place and then moved, so a reader sees either the whole old text or the whole new text.
attributes:
  check_mode:
    description: Can run in check mode and say what would change.
    support: full
  diff_mode:
    description: Returns the difference of each file, except files with a secret.
    support: full
options:
  files:
    description: The files, in the order in which they are created.
    type: list
    elements: dict
    required: true
    suboptions:
      path:
        description: The path.
        type: path
        required: true
      state:
        description: The kind of the entry. With V(absent), a file or link is removed; a folder is refused, because it may contain data.
        type: str
        choices: [file, directory, link, absent]
        default: file
      content:
        description: The text of a file. Required for a file, unless its text is in O(secret_contents).
        type: str
      purge:
        description:
          - Whether to remove everything in or below a folder that is not in the list. Use it only for folders that contain only files of this module.
          - This is done after all files of the list are in their places.
        type: bool
        default: false
      target:
        description: The target of a link.
        type: path
      owner:
        description: Name of the owner.
        type: str
        default: root
      group:
        description: Name of the group.
        type: str
        default: root
      mode:
        description: Permissions as an octal string. Not used for a link.
        type: str
      validate:
        description:
          - Command that must succeed before the new text replaces the old one, with C(%s) in place of the path of the new text.
          - Not run in check mode. The command runs after all earlier files of the list are in their places.
        type: str
  secret_contents:
    description:
      - Texts of files with secrets, by their paths. They are in no output and not in the host's journal.
      - This is a separate option, because Ansible logs the whole list of files to the journal, and masks a secret there only if its text is unchanged.
    type: dict
    default: {}
  unit:
    description:
      - Unit of systemd that uses these files. RV(stale) and RV(settled) show whether it runs, and whether it uses the present files.
      - Before the unit's own file is removed, which is an entry of O(files) with its name and the state V(absent), the unit is stopped and disabled.
        systemd would call a unit failed that loses its file, or the unit that it starts, while it runs.
    type: str
  unit_reloads:
    description: Whether the unit reads these files at a reload, so that its last reload counts instead of its start.
    type: bool
    default: false
"""

EXAMPLES = r"""
- name: Configure the service
  atlas.mlflow.files:
    files:
      - path: /var/lib/mlflow
        state: directory
        owner: mlflow
        group: mlflow
        mode: "0750"
      - path: /etc/default/mlflow-server
        mode: "0600"
      - path: /etc/systemd/system/mlflow-server.service
        content: "{{ lookup('ansible.builtin.template', 'mlflow-server.service.j2') }}"
        mode: "0644"
    secret_contents:
      /etc/default/mlflow-server: "{{ settings | atlas.mlflow.systemd_environment }}"
    unit: mlflow-server.service
  register: written

- name: Start the service, anew where it runs with older files
  ansible.builtin.systemd_service:
    name: mlflow-server.service
    state: "{{ 'restarted' if written is changed or written.stale else 'started' }}"
    daemon_reload: "{{ written is changed or written.stale }}"
  when: not written.settled
"""

RETURN = r"""
active:
  description: Whether the unit is active.
  returned: when O(unit) is given
  type: bool
  sample: true
changed_paths:
  description: The paths that were changed.
  returned: always
  type: list
  elements: str
  sample: [/etc/default/mlflow-server]
newest:
  description: When the newest of the files was last written, in nanoseconds since 1970. Folders and links do not count.
  returned: when there is one
  type: int
  sample: 1763942400000000000
settled:
  description:
    - Whether nothing must be done for the unit. No file has changed, the unit is active, it starts with the host, and it is not RV(stale).
  returned: when O(unit) is given
  type: bool
  sample: true
stale:
  description:
    - Whether systemd has not read the unit's files since they were written, or the unit's process was started before the newest file or link was written.
    - This happens if an earlier run was interrupted between the writing and the restart, or the reload with O(unit_reloads).
  returned: when O(unit) is given
  type: bool
  sample: false
"""

import grp
import os
import pwd
import shlex
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.common.text.converters import to_bytes, to_text
from ansible_collections.atlas.mlflow.plugins.module_utils.processes import seconds_after_boot

_HIDDEN = "(not shown, it holds secrets)\n"


def read(path: str) -> str | None:
    """Return a file's text, None if there is no file."""
    try:
        with open(path, "rb") as file:
            return str(to_text(file.read(), errors="surrogate_or_replace"))
    except OSError:
        return None


def is_known(find: Callable[[str], object], name: str) -> bool:
    """Return whether the host has a user or a group. A number needs none: it may be a user of a container.

    :param find: Finds it by its name, or raises KeyError.
    """
    if name.isdigit():
        return True
    try:
        find(name)
    except KeyError:
        return False
    return True


class Files:
    """The list, and its changes."""

    def __init__(self, module: AnsibleModule) -> None:
        self.module = module
        self.changed_paths: list[str] = []
        self.differences: list[dict[str, object]] = []

    def note(self, path: str, before: str, after: str) -> None:
        """Record that a path changes, and how."""
        if path not in self.changed_paths:
            self.changed_paths.append(path)
        self.differences.append({"before_header": path, "after_header": path, "before": before, "after": after})

    def write(self, path: str, text: str, secret: bool, validate: str | None) -> None:
        """Write a file if its text differs."""
        present = read(path)
        if present == text:
            return
        if os.path.isdir(path):
            self.module.fail_json(msg=f"{path} is a folder, and a file is asked for there: move it away")
        self.note(path, (_HIDDEN if secret and present is not None else present) or "", _HIDDEN + "\n" if secret else text)
        if self.module.check_mode:
            return
        # Not in Ansible's own folder: for a module without a file, Ansible would create it in root's home.
        handle, new = tempfile.mkstemp()
        self.module.add_cleanup_file(new)
        with os.fdopen(handle, "wb") as file:
            file.write(to_bytes(text))
        if validate:
            self.validate(path, new, validate, secret)
        self.module.atomic_move(new, path)

    def validate(self, path: str, new: str, command: str, secret: bool) -> None:
        """Check the new text of a file with a command, and do not change the file if the command fails."""
        code, out, err = self.module.run_command([word.replace("%s", new) for word in shlex.split(command)])
        if code:
            os.unlink(new)
            said = "is kept back, as the file holds secrets" if secret else (out + err).strip().replace(new, path)
            self.module.fail_json(msg=f"{path} was left as it is. What `{command.replace('%s', path)}` says of its new text: {said}")

    def make_directory(self, path: str) -> None:
        """Create a folder and its parents."""
        if os.path.isdir(path):
            return
        if os.path.lexists(path):
            self.module.fail_json(msg=f"{path} is there and is no folder: move it away")
        self.note(path, "", "folder\n")
        if not self.module.check_mode:
            os.makedirs(path, mode=0o755)

    def make_link(self, path: str, target: str) -> None:
        """Create a link, or change its target, in one step."""
        present = os.readlink(path) if os.path.islink(path) else None
        if present == target:
            return
        if present is None and os.path.lexists(path):
            self.module.fail_json(msg=f"{path} is there and is no link: move it away")
        self.note(path, f"-> {present}\n" if present else "", f"-> {target}\n")
        if not self.module.check_mode:
            new = f"{path}.new"
            if os.path.lexists(new):
                os.unlink(new)
            os.symlink(target, new)
            os.replace(new, path)

    def remove(self, path: str) -> None:
        """Remove a file or a link."""
        if not os.path.lexists(path):
            return
        if os.path.isdir(path) and not os.path.islink(path):
            self.module.fail_json(msg=f"{path} is a folder, which is never removed: remove it by hand if it holds nothing of worth")
        self.note(path, "file\n", "")
        if self.module.check_mode:
            return
        if self.module.params["unit"] == os.path.basename(path):
            self.stop(self.module.params["unit"])
        os.unlink(path)

    def stop(self, unit: str) -> None:
        """Stop and disable a unit whose file is to be removed, and let systemd forget that it, or the service of a timer, has failed."""
        systemctl = self.module.get_bin_path("systemctl")
        if not systemctl:
            return
        code, out, err = self.module.run_command([systemctl, "disable", "--now", unit])
        if code:
            self.module.fail_json(msg=f"{unit} cannot be stopped, and its file was left as it is. systemctl says: {(out + err).strip()}")
        # Fails for a unit that systemd does not have in its memory, which has nothing to forget.
        for name in dict.fromkeys([unit, f"{unit.rpartition('.')[0]}.service"]):
            self.module.run_command([systemctl, "reset-failed", name])

    def purge(self, folder: str, paths: list[str]) -> None:
        """Remove the content of a folder, except some paths and their parent folders. Links are not followed."""
        kept = {str(path) for listed in map(Path, paths) for path in (listed, *listed.parents)}
        for parent, folders, names in os.walk(os.path.normpath(folder), topdown=False):
            for path in [os.path.join(parent, name) for name in (*folders, *names)]:
                if path in kept:
                    continue
                is_folder = os.path.isdir(path) and not os.path.islink(path)
                self.note(path, "folder\n" if is_folder else "file\n", "")
                if not self.module.check_mode:
                    (os.rmdir if is_folder else os.unlink)(path)

    def set_attributes(self, entry: dict[str, str]) -> None:
        """Set owner, group and permissions. A check run cannot do this if the path or the owner does not exist yet."""
        path = entry["path"]
        if entry["state"] in ("link", "absent") or not os.path.exists(path):
            return
        difference: dict[str, object] = {}
        arguments = {**entry, "attributes": None, "seuser": None, "serole": None, "setype": None, "selevel": None}
        if self.module.check_mode and path in self.changed_paths:
            return
        if self.module.check_mode and not (is_known(pwd.getpwnam, entry["owner"]) and is_known(grp.getgrnam, entry["group"])):
            # An earlier task would have created the owner, for example of a folder on which a disk is mounted.
            self.note(path, "", f"owner {entry['owner']}, group {entry['group']}\n")
            return
        if self.module.set_fs_attributes_if_different(self.module.load_file_common_arguments(arguments, path=path), False, diff=difference):
            self.note(path, f"{difference.get('before')}\n", f"{difference.get('after')}\n")

    def bring(self, entry: dict[str, str]) -> None:
        """Bring one entry of the list to its wanted state."""
        if entry["state"] == "directory":
            self.make_directory(entry["path"])
        elif entry["state"] == "link":
            self.make_link(entry["path"], entry["target"])
        elif entry["state"] == "absent":
            self.remove(entry["path"])
        else:
            secrets = self.module.params["secret_contents"]
            secret = entry["path"] in secrets
            self.write(entry["path"], secrets[entry["path"]] if secret else entry["content"], secret, entry["validate"])
        self.set_attributes(entry)


#: States of a unit that starts with the host, by itself or by a generator, such as a cluster of Debian's PostgreSQL (systemctl(1), is-enabled).
ENABLED = ("enabled", "enabled-runtime", "generated")


def ask_systemd(module: AnsibleModule, unit: str) -> dict[str, str]:
    """Return the properties of a unit that show whether and since when it runs, empty if systemd does not answer."""
    systemctl = module.get_bin_path("systemctl")
    if not systemctl:
        return {}
    asked = "--property=ActiveState,UnitFileState,MainPID,NeedDaemonReload,StateChangeTimestampMonotonic"
    code, said, _error = module.run_command([systemctl, "show", asked, unit])
    return dict(line.partition("=")[::2] for line in said.splitlines()) if code == 0 else {}


def is_stale(properties: dict[str, str], paths: list[str], reloads: bool) -> bool:
    """Return whether systemd must read a unit again, or the unit has been running since before one of the files and links was written.

    :param properties: The unit's properties from systemd.
    :param paths: Files and links; missing ones do not count.
    :param reloads: Whether the unit reads the files at a reload.
    """
    pid = int(properties.get("MainPID") or 0)
    written = [os.lstat(path).st_mtime for path in paths if os.path.lexists(path)]
    try:
        since = changed_at(properties) if reloads or not pid else started_at(pid)
        return properties.get("NeedDaemonReload") == "yes" or bool(pid and written and max(written) > since)
    except OSError:  # the process has just ended
        return False


def is_settled(properties: dict[str, str]) -> bool:
    """Return whether a unit is active and starts with the host, from systemd's properties."""
    return properties.get("ActiveState") == "active" and properties.get("UnitFileState") in ENABLED


def changed_at(properties: dict[str, str]) -> float:
    """Return when a unit last changed its state, which includes each start and reload, in seconds since 1970."""
    return time.time() - time.monotonic() + int(properties.get("StateChangeTimestampMonotonic") or 0) / 1e6


def started_at(pid: int) -> float:
    """Return the start of a process in seconds since 1970, exact to hundredths. The kernel's boot time alone is less exact.

    :raises OSError: If there is no such process.
    """
    return time.time() - time.clock_gettime(time.CLOCK_BOOTTIME) + seconds_after_boot(pid)


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "files": {
                "type": "list",
                "elements": "dict",
                "required": True,
                "options": {
                    "path": {"type": "path", "required": True},
                    "state": {"type": "str", "choices": ["file", "directory", "link", "absent"], "default": "file"},
                    "content": {"type": "str"},
                    "purge": {"type": "bool", "default": False},
                    "target": {"type": "path"},
                    "owner": {"type": "str", "default": "root"},
                    "group": {"type": "str", "default": "root"},
                    "mode": {"type": "str"},
                    "validate": {"type": "str"},
                },
                "required_if": [
                    ("state", "file", ("mode",)),
                    ("state", "directory", ("mode",)),
                    ("state", "link", ("target",)),
                ],
            },
            "secret_contents": {"type": "dict", "default": {}, "no_log": True},
            "unit": {"type": "str"},
            "unit_reloads": {"type": "bool", "default": False},
        },
        supports_check_mode=True,
    )
    without_text = [
        entry["path"]
        for entry in module.params["files"]
        if entry["state"] == "file" and (entry["content"] is None) != (entry["path"] in module.params["secret_contents"])
    ]
    if without_text:
        module.fail_json(msg=f"{', '.join(without_text)}: give either content or a text in secret_contents")
    # For parent folders that must be created. A new file is private until its permissions are set, because mkstemp creates it.
    os.umask(0o022)
    files = Files(module)
    for entry in module.params["files"]:
        files.bring(entry)
    for entry in module.params["files"]:
        if entry["state"] == "directory" and entry["purge"]:
            files.purge(entry["path"], [other["path"] for other in module.params["files"]])
    written = [os.stat(entry["path"]).st_mtime_ns for entry in module.params["files"] if entry["state"] == "file" and os.path.exists(entry["path"])]
    more: dict[str, int] = {"newest": max(written)} if written else {}
    if module.params["unit"]:
        properties = ask_systemd(module, module.params["unit"])
        paths = [entry["path"] for entry in module.params["files"] if entry["state"] in ("file", "link")]
        more["active"] = properties.get("ActiveState") == "active"
        more["stale"] = is_stale(properties, paths, module.params["unit_reloads"])
        more["settled"] = not files.changed_paths and not more["stale"] and is_settled(properties)
    module.exit_json(changed=bool(files.changed_paths), **more, changed_paths=files.changed_paths, diff=files.differences)


if __name__ == "__main__":
    main()
