"""Settings of Sphinx for the documentation. `python -m tools.docs` passes the version of the collection."""

from __future__ import annotations

import re
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx

project = "atlas.mlflow"
author = "atlas.mlflow maintainers"
# The page has no line about a copyright.
project_copyright = ""
html_show_copyright = False
html_show_sphinx = False
html_title = "atlas.mlflow"
html_theme = "furo"
html_copy_source = False

extensions = ["myst_parser", "sphinx_antsibull_ext"]
exclude_patterns = ["performance/*.json"]
# The numbers and the options in the pages are those that people type: no typographic dashes and quotes.
smartquotes = False
highlight_language = "yaml"
# Links to a heading of a page, as on GitHub.
myst_heading_anchors = 4
myst_enable_extensions = ["attrs_block"]

#: Where Ansible describes what the pages of modules refer to.
ANSIBLE = "https://docs.ansible.com/ansible/latest/"
PLACES = (
    (re.compile(r"ansible_collections\.ansible\.builtin\.(\w+_module)"), r"collections/ansible/builtin/\1.html"),
    (re.compile("common_return_values"), "reference_appendices/common_return_values.html"),
    (re.compile("action_plugins"), "plugins/action.html"),
    (re.compile("ansible_configuration_settings"), "reference_appendices/config.html"),
)


def _of_ansible(_app: Sphinx, _env: Any, node: Any, content: nodes.TextElement) -> nodes.reference | None:
    """Return the link for a reference to Ansible's documentation, None for any other reference. Nothing is fetched from the network."""
    for pattern, place in PLACES:
        if match := pattern.fullmatch(node.get("reftarget", "")):
            return nodes.reference("", "", content, internal=False, refuri=ANSIBLE + match.expand(place))
    return None


def setup(app: Sphinx) -> None:
    """Connect the function with Sphinx."""
    app.connect("missing-reference", _of_ansible)
