# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Show checks as a table of text, or as a page that can be attached to a ticket."""

from __future__ import annotations

import html
import textwrap
from collections.abc import Iterable, Mapping

COLUMNS = ("layer", "expected", "seen", "verdict")
WIDTHS = {"expected": 40, "seen": 56}
STYLE = (
    "body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:70rem;padding:0 1rem;color:#1d2530}"
    "table{border-collapse:collapse;width:100%}th,td{text-align:left;vertical-align:top;padding:.4rem .6rem;border-bottom:1px solid #d5dbe3}"
    "td:nth-child(3){font-family:ui-monospace,monospace;font-size:13px;overflow-wrap:anywhere}"
    ".fault td:last-child{color:#b3261e;font-weight:600}.ok td:last-child{color:#1a7f37}.follows td:last-child{color:#6b7280}"
    "section{border-left:4px solid #b3261e;padding:.2rem 1rem;margin:1rem 0;background:#fdf3f2}"
)


def verdict(check: Mapping[str, str]) -> str:
    """Return the verdict of a check in words."""
    return f"FAULT {check['fault']}" if check["verdict"] == "fault" else check["verdict"]


def faults(checks: Iterable[Mapping[str, str]]) -> list[Mapping[str, str]]:
    """Return the checks that found a fault."""
    return [check for check in checks if check["verdict"] == "fault"]


def summary(checks: list[Mapping[str, str]]) -> str:
    """Return the result in one line."""
    found = faults(checks)
    if not found:
        return f"No fault in {len(checks)} checks."
    return f"{len(found)} fault{'s' if len(found) > 1 else ''}: {', '.join(check['fault'] for check in found)}."


def table(host: str, checks: list[Mapping[str, str]]) -> list[str]:
    """Return the lines of a table, followed by the cause and fix of each fault."""
    rows = [{column: verdict(check) if column == "verdict" else check[column] for column in COLUMNS} for check in checks]
    first = max(len(row["layer"]) for row in [*rows, {"layer": "layer"}])
    lines = [f"{host}: {summary(checks)}", ""]
    for row in [dict(zip(COLUMNS, COLUMNS)), *rows]:
        cells = [textwrap.wrap(row[column], WIDTHS[column]) or [""] for column in ("expected", "seen")]
        for index in range(max(map(len, cells))):
            left, right = (cell[index] if index < len(cell) else "" for cell in cells)
            ends = (row["layer"], row["verdict"]) if index == 0 else ("", "")
            lines.append(f"{ends[0]:<{first}}  {left:<{WIDTHS['expected']}}  {right:<{WIDTHS['seen']}}  {ends[1]}".rstrip())
    for check in faults(checks):
        lines += ["", f"{check['fault']}: {check['cause']}", f"  Seen: {check['seen']}", f"  Fix: {check['fix']}"]
    return lines


def page(hosts: Mapping[str, list[Mapping[str, str]]], when: str) -> str:
    """Return an HTML page without external resources.

    :param when: The time of the diagnosis, as it is shown.
    """
    parts = [
        f"<!doctype html><html lang=en><meta charset=utf-8><title>Diagnosis of MLflow</title><style>{STYLE}</style>",
        f"<h1>Diagnosis of MLflow</h1><p>{html.escape(when)}</p>",
    ]
    for host, checks in hosts.items():
        parts.append(f"<h2>{html.escape(host)}</h2><p>{html.escape(summary(checks))}</p>")
        for check in faults(checks):
            parts.append(
                f"<section><h3>{html.escape(check['fault'])}</h3><p>{html.escape(check['cause'])}</p>"
                f"<p>Seen: <code>{html.escape(check['seen'])}</code></p><p><b>Fix:</b> {html.escape(check['fix'])}</p></section>"
            )
        parts.append("<table><tr>" + "".join(f"<th>{column}</th>" for column in COLUMNS) + "</tr>")
        for check in checks:
            cells = "".join(f"<td>{html.escape(verdict(check) if column == 'verdict' else check[column])}</td>" for column in COLUMNS)
            parts.append(f"<tr class={check['verdict']}>{cells}</tr>")
        parts.append("</table>")
    return "".join(parts) + "</html>\n"
