#!/usr/bin/env python3
"""Write the README of each role from its specification.

python tools/readmes.py             write all
python tools/readmes.py --check     list the READMEs that are not up to date
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Container
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[1]
MADE = "<!-- Written by tools/readmes.py from meta/argument_specs.yml. -->"
#: Ansible's markup for an option, a value, a module or code. A backslash comes before a parenthesis in it. An option may have the role to which it belongs.
MARKUP = re.compile(r"\b[OVMCE]\((?:[a-z_.]+#role:)?((?:\\.|[^)\\])*)\)")


def text(description: str | list[str]) -> str:
    """Return a description in a specification as one line of Markdown."""
    line = " ".join([description] if isinstance(description, str) else description)
    return MARKUP.sub(lambda found: "`" + re.sub(r"\\(.)", r"\1", found[1]) + "`", line).replace("|", "\\|")


def kind(option: dict[str, Any]) -> str:
    """Return the type of an option in words: the type of its elements, or its allowed values."""
    if "choices" in option:
        return ", ".join(f"`{choice}`" for choice in option["choices"])
    of_elements = f" of {option['elements']}" if "elements" in option else ""
    return f"{option.get('type', 'str')}{of_elements}"


def default(option: dict[str, Any]) -> str:
    """Return the default of an option in YAML form, or that the option is required."""
    if option.get("required"):
        return "required"
    value = option.get("default", "")
    return "" if value == "" else f"`{value if isinstance(value, str) else json.dumps(value)}`"


def rows(options: dict[str, dict[str, Any]], within: str = "") -> list[str]:
    """Return the lines of a table with options, each followed by the options of its entries."""
    lines = []
    for name, option in options.items():
        lines.append(f"| `{within}{name}` | {kind(option)} | {default(option)} | {text(option.get('description', ''))} |")
        inner = f"{within}{name}{'[]' if option.get('type') == 'list' else ''}."
        lines += rows(option.get("options", {}), inner)
    return lines


def readme(role: str, specifications: dict[str, dict[str, Any]], files: Container[str]) -> str:
    """Return the README of a role.

    :param role: Its name.
    :param specifications: Its entry points, from ``meta/argument_specs.yml``.
    :param files: The names of its task files. An entry point without a task file lists variables that playbooks read.
    """
    head = [f"# atlas.mlflow.{role}", "", MADE]
    body: list[str] = []
    for entry, specification in specifications.items():
        title = text(specification["short_description"])
        body += ["", f"{title}." if entry == "main" else f"## {title}"]
        body += ["", f"`tasks_from: {entry}`"] if entry != "main" and entry in files else []
        if "description" in specification:
            body += ["", text(specification["description"])]
        options = specification.get("options", {})
        if options and (entry == "main" or options != specifications.get("main", {}).get("options")):
            body += ["", "| variable | type | default | text |", "| --- | --- | --- | --- |", *rows(options)]
        elif options:
            body += ["", "It takes the variables above."]
    return "\n".join([*head, *body, ""])


def wanted(root: Path) -> dict[Path, str]:
    """Return the text of each README that a checkout must have."""
    found = sorted((root / "roles").glob("*/meta/argument_specs.yml"))
    roles = [path.parents[1] for path in found]
    files = [{tasks.stem for tasks in (role / "tasks").glob("*.yml")} for role in roles]
    return {
        role / "README.md": readme(role.name, yaml.safe_load(path.read_text())["argument_specs"], names)
        for role, path, names in zip(roles, found, files, strict=True)
    }


def stale(root: Path) -> list[str]:
    """Return the READMEs that are missing or differ from the specifications."""
    return [str(path.relative_to(root)) for path, content in wanted(root).items() if not path.exists() or path.read_text() != content]


def main() -> int:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing, and say which are not up to date")
    if not parser.parse_args().check:
        for path, content in wanted(ROOT).items():
            path.write_text(content)
        return 0
    if found := stale(ROOT):
        print(f"Not what the specifications give: {', '.join(found)}. Run tools/readmes.py.")
    return bool(found)


if __name__ == "__main__":
    sys.exit(main())
