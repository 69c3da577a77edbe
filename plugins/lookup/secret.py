# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Look up a secret of the stack."""

from __future__ import annotations

DOCUMENTATION = r"""
name: secret
short_description: Return a secret of the stack, from the inventory or generated
version_added: 0.1.0
author: atlas.mlflow maintainers (@atlas-mlflow)
description:
  - Returns the secret that the inventory sets for the host that owns it, or else the generated one. Generates it if it does not exist.
  - Generated secrets are files on the control node, one for each secret, readable only by their owner.
  - The defaults of the roles use this look-up. It needs the plan of the host, see M(atlas.mlflow.plan), and returns an empty string without a plan.
options:
  _terms:
    description: The name of the secret, which is the name of its file.
    type: list
    elements: str
    required: true
  former:
    description: Whether to return a list of the generated secrets that C(playbooks/rotate_secrets.yml) has replaced, the most recent first.
    type: bool
    default: false
  generate:
    description: Whether to generate a secret that does not exist. Without this, it is an empty string.
    type: bool
    default: true
"""

EXAMPLES = r"""
- name: Show the administrator's password
  ansible.builtin.debug:
    msg: "{{ lookup('atlas.mlflow.secret', 'mlflow_admin_password') }}"
"""

RETURN = r"""
_raw:
  description: The secret, or the list of the former ones.
  type: list
  elements: raw
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleError
from ansible.plugins.loader import lookup_loader
from ansible.plugins.lookup import LookupBase
from ansible_collections.atlas.mlflow.plugins.plugin_utils.secrets import SECRETS, former, given


class LookupModule(LookupBase):
    """Return secrets by their names."""

    def run(self, terms: list[str], variables: Mapping[str, Any] | None = None, **kwargs: Any) -> list[Any]:
        """Return the secrets, or a list of former secrets for each name."""
        self.set_options(var_options=variables, direct=kwargs)
        unknown = sorted(set(terms) - set(SECRETS))
        if unknown:
            raise AnsibleError(f"atlas.mlflow.secret knows no {', '.join(unknown)}. It knows {', '.join(SECRETS)}.")
        known = variables or {}
        plan = known.get("_atlas_mlflow_plan") or {}
        folder = plan.get("secrets_dir")
        if self.get_option("former"):
            return [former(term, folder) if folder else [] for term in terms]
        return [self._secret(term, plan, known) if folder else "" for term in terms]

    def _secret(self, name: str, plan: Mapping[str, Any], variables: Mapping[str, Any]) -> str:
        """Return a secret. Generate it if neither the inventory nor the control node has it, unless the option says otherwise."""
        secret = SECRETS[name]
        value = given(secret, plan, variables.get("hostvars") or {})
        if value is None:
            passwords = lookup_loader.get("ansible.builtin.password", loader=self._loader, templar=self._templar)
            path = f"{plan['secrets_dir']}/{name}"
            if not self.get_option("generate") and not Path(path).expanduser().is_file():
                return ""
            value = passwords.run([path], variables, length=secret.length, chars=["ascii_letters", "digits"])[0] + secret.end
        return value
