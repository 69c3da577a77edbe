# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Copy files from the control node, or from a bundle there, to the host of a task."""

from __future__ import annotations

import os
import tempfile
import uuid
from collections.abc import Iterable
from typing import Any

from ansible import constants
from ansible.plugins.action import ActionBase
from ansible_collections.atlas.mlflow.plugins.module_utils.bundle_parts import PLACE, PREFIX
from ansible_collections.atlas.mlflow.plugins.plugin_utils.bundles import Bundle


def copy(action: ActionBase, task_vars: dict[str, Any], **arguments: Any) -> dict[str, Any]:
    """Return the result of the action ansible.builtin.copy on the host of a task.

    :param action: The action plugin of the task.
    :param arguments: The arguments of copy.
    """
    task = action._task.copy()
    # Neither the arguments nor a background task of the caller, and no comparison of binary files.
    task.args, task.async_val, task.diff = arguments, 0, False
    loader = action._shared_loader_obj.action_loader
    plugin = loader.get(
        "ansible.builtin.copy",
        task=task,
        connection=action._connection,
        play_context=action._play_context,
        loader=action._loader,
        templar=action._templar,
        shared_loader_obj=action._shared_loader_obj,
    )
    result: dict[str, Any] = plugin.run(task_vars=task_vars)
    return result


def copy_parts(action: ActionBase, task_vars: dict[str, Any], bundle: Bundle, names: Iterable[str]) -> dict[str, Any]:
    """Copy some files of a bundle to the host of a task as one archive, and return the result of copy with the archive's path as ``dest``."""
    with tempfile.TemporaryDirectory(dir=constants.DEFAULT_LOCAL_TMP) as folder:
        parts = os.path.join(folder, "parts.tar")
        bundle.pack(names, parts)
        return copy(action, task_vars, src=parts, dest=f"{PLACE}/{PREFIX}{uuid.uuid4().hex}.tar", mode="0600")


def copy_file(action: ActionBase, task_vars: dict[str, Any], bundle: Bundle, name: str, **arguments: Any) -> dict[str, Any]:
    """Copy a file of a bundle to the host of a task, and return the result of copy.

    :param arguments: Further arguments of copy, such as ``dest``.
    """
    with tempfile.TemporaryDirectory(dir=constants.DEFAULT_LOCAL_TMP) as folder:
        source = os.path.join(folder, os.path.basename(name))
        bundle.extract(name, source)
        return copy(action, task_vars, src=source, **arguments)
