"""Let Ansible copy only what can change of the content of a file.

Ansible keeps the content of each file that it has read, and gives a copy of it to each play and role that needs the file. In these copies, each text and each
number has copies of its tags, which say where it was written. To make them takes half of the processor time of a check of all playbooks. Texts, numbers and
tags never change, so that here the copies share them.

    python tools/quick_copies.py [OPTION OF ANSIBLE-PLAYBOOK]...      run ansible-playbook in this way
"""

from __future__ import annotations

import sys
from typing import Any

from ansible.module_utils._internal import _datatag

#: What never changes: tags, collections of tags, and tagged texts and numbers.
UNCHANGEABLE = ("AnsibleDatatagBase", "_AnsibleTagsMapping", "_AnsibleTaggedStr", "_AnsibleTaggedBytes", "_AnsibleTaggedInt", "_AnsibleTaggedFloat")


def _itself(this: Any, _memory: dict[int, Any]) -> Any:
    """Return the object in place of a copy."""
    return this


def install() -> None:
    """Use it in this process."""
    for name in UNCHANGEABLE:
        getattr(_datatag, name).__deepcopy__ = _itself


if __name__ == "__main__":
    from ansible.cli.playbook import main

    install()
    sys.argv[0] = "ansible-playbook"
    main()
