# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Look up the path of a file on the control node that a user names."""

from __future__ import annotations

DOCUMENTATION = r"""
name: control_file
short_description: Return the absolute path of a file on the control node
version_added: 1.0.0
author: atlas.mlflow maintainers (@atlas-mlflow)
description:
  - Returns the path of the file that the look-up C(ansible.builtin.file) would read. It searches for a relative path in the folders of the role and of
    the playbook.
  - This is for programs that read the file themselves. An error if there is no such file.
options:
  _terms:
    description: The path as the user gave it.
    type: list
    elements: path
    required: true
"""

EXAMPLES = r"""
- name: Show where the CA file is
  ansible.builtin.debug:
    msg: "{{ lookup('atlas.mlflow.control_file', 'corporate-ca.pem') }}"
"""

RETURN = r"""
_raw:
  description: The absolute path.
  type: list
  elements: path
"""

from collections.abc import Mapping
from typing import Any

from ansible.errors import AnsibleError
from ansible.plugins.lookup import LookupBase
from ansible_collections.atlas.mlflow.plugins.plugin_utils.control_files import ControlFiles


class LookupModule(LookupBase):
    """Return the paths of files."""

    def run(self, terms: list[str], variables: Mapping[str, Any] | None = None, **kwargs: Any) -> list[str]:
        """Return the absolute path of each file."""
        self.set_options(var_options=variables, direct=kwargs)
        files = ControlFiles(self._loader, self._templar, variables or {})
        found = {term: files.find(term) for term in terms}
        if missing := [term for term, path in found.items() if not path]:
            raise AnsibleError(f"{', '.join(missing)} is no file on the control node")
        return list(found.values())
