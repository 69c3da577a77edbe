"""What is generated in the documentation: troubleshooting by symptom, from the catalogue of faults, and blocks that show a file of the checkout."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from itertools import groupby
from pathlib import Path

import yaml
from ansible_collections.atlas.mlflow.plugins.module_utils.faults import FAULTS, Fault

ROOT = Path(__file__).resolve().parents[2]
SYMPTOMS = Path(__file__).with_name("symptoms.yml")
PAGE = ROOT / "docs" / "troubleshooting.md"
#: Pages that may show files of the checkout. An include of Sphinx would show nothing to those who read the page in the repository.
PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")))
#: A block that shows a file of the checkout: the comment, which names the file, and the fence.
SHOWN = re.compile(r"^(?P<head><!-- Shows (?P<path>\S+), written by `python -m tools\.docs write`\. -->\n```\w+\n).*?^```$", re.MULTILINE | re.DOTALL)
#: Options, variables, settings and paths in the texts of faults, which are shown as code.
CODE = re.compile(r"(?<![\w`/-])(?:--[a-z][\w-]*|(?:[\w.-]*/)*\w+_\w+(?:\.\w+)*|/[a-z][\w/.-]*\w)(?![\w`])")
HEAD = """# Troubleshooting by symptom

<!-- Written by `python -m tools.docs write` from plugins/module_utils/faults.py and tools/docs/symptoms.yml. -->

The [diagnosis](operations/diagnose.md) finds the fault for you in a few seconds, and changes nothing:

```console
ansible-playbook playbooks/diagnose.yml -i inventories/mine
```

This page lists each fault that the diagnosis and the verification can name, first by what you see. A word in *italics* is a value that they fill in.

## What stops a run

- **You see:** `could not download`, in an error of the role `minio`.
- **Cause:** The host does not reach the download of MinIO.
- **Fix:** Set a proxy, a mirror or a file: see [Downloads](install/index.md#downloads). Then run the playbook again.

## What you see

The table is sorted by the first words. Your message may have other words before them: search this page for a part of it without names and numbers.
"""


def symptoms() -> dict[str, list[str]]:
    """Return what people see of each fault."""
    listed: dict[str, list[str]] = yaml.safe_load(SYMPTOMS.read_text())
    return listed


def prose(text: str) -> str:
    """Return a text of the catalogue as Markdown: values to fill in as words in italics, names as code."""
    return CODE.sub(r"`\g<0>`", re.sub(r"\{(\w+)\}", r"*\1*", text.replace("*", r"\*").replace("<", r"\<")))


def _by_first_word(row: tuple[str, str]) -> tuple[str, str]:
    """Return the key by which the symptoms are sorted: their letters and digits."""
    return re.sub(r"[^a-z0-9 ]", "", row[0].lower()).strip(), row[1]


def troubleshooting(faults: Mapping[str, Fault], seen: Mapping[str, Sequence[str]]) -> str:
    """Return the page.

    :param faults: The catalogue of faults.
    :param seen: What people see of each of them.
    """
    rows = sorted(((text, name) for name in faults for text in seen.get(name, ())), key=_by_first_word)
    lines = [HEAD, "| you see | fault |", "| --- | --- |", *(f"| {text.replace('|', chr(92) + '|')} | [{name}](#{name}) |" for text, name in rows), ""]
    # A layer has several groups in the catalogue. Each has one heading here.
    in_order = {layer: place for place, layer in enumerate(dict.fromkeys(fault.layer for fault in faults.values()))}
    for layer, group in groupby(sorted(faults.values(), key=lambda fault: in_order[fault.layer]), key=lambda fault: fault.layer):
        lines += [f"## Layer: {layer}", ""]
        for fault in group:
            lines += [f"### {fault.id}", ""]
            lines += [f"- **You see:** {'; '.join(seen[fault.id])}."] if seen.get(fault.id) else []
            lines += [f"- **Cause:** {prose(fault.cause)}", f"- **Fix:** {prose(fault.fix)}", ""]
    return "\n".join(lines)


def wanted() -> str:
    """Return the text that the page of symptoms must have."""
    return troubleshooting(FAULTS, symptoms())


def _show(match: re.Match[str]) -> str:
    """Return a block that shows a file, with the file's present text."""
    return match["head"] + (ROOT / match["path"]).read_text().removeprefix("---\n") + "```"


def filled(text: str) -> str:
    """Return a page with the present text of each file that it shows."""
    return SHOWN.sub(_show, text)
