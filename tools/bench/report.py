"""What is shown of measured pairs: a table for a terminal, and the tables and plots of docs/performance.md and docs/scaling.md."""

from __future__ import annotations

import json
import re
import statistics
from collections.abc import Iterable
from html import escape
from pathlib import Path
from typing import Any

from tools.testbed.shell import ROOT

from . import scaling
from .figures import Pair, number, read, spread

DOCUMENTS = [ROOT / "docs" / "performance.md", ROOT / "docs" / "scaling.md"]
FOLDER = ROOT / "docs" / "performance"
RESULTS = FOLDER / "results.json"
#: The place of the table of a row, or of a table of the model, in a document.
MARKED = re.compile(r"<!-- begin (\w+) -->\n.*?<!-- end \1 -->", re.DOTALL)
#: Sizes of a plot in pixels: the width, that of the names, the height of a line, and the edge.
WIDTH, NAMES, LINE, EDGE = 900, 430, 30, 16


def values(pair: Pair, given: list[float]) -> str:
    """Return the median of some values with their unit, and their spread."""
    return f"{number(statistics.median(given))} {pair.unit} ±{spread(given) * 50:.0f} %"


def aim(pair: Pair) -> str:
    """Return the aim of a pair, and whether it is reached."""
    if pair.aim is None:
        return ""
    return f"{'≥' if pair.more_is_better else '≤'} {pair.aim:g} {'reached' if pair.reached else '**missed**'}"


def table(pairs: Iterable[Pair]) -> str:
    """Return pairs as a table in Markdown."""
    lines = ["| measured | this | compared with | ratio | lowest, highest | aim |", "| --- | --- | --- | --- | --- | --- |"]
    for pair in pairs:
        ours = f"{pair.ours}: " if pair.ours != "ours" else ""
        cells = [
            pair.what,
            ours + values(pair, pair.ours_values),
            f"{pair.other}: {values(pair, pair.other_values)}",
            f"**{pair.ratio:.2f}**",
            f"{min(pair.ratios):.2f}, {max(pair.ratios):.2f}",
            aim(pair),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def terminal(pairs: Iterable[Pair], facts: dict[str, str]) -> str:
    """Return pairs and the facts of the machine as text."""
    lines = [f"{name + ':':<14}{value}" for name, value in facts.items()]
    for pair in pairs:
        lines.append(f"\n{pair.name}")
        for name, given in ((pair.ours, pair.ours_values), (pair.other, pair.other_values)):
            rounds = ", ".join(number(value) for value in given)
            lines.append(f"    {name:<36} {values(pair, given):<26} rounds: {rounds}")
        said = aim(pair).replace("*", "")
        lines.append(f"    {'ratio':<36} {pair.ratio:<26.2f} rounds: {', '.join(f'{ratio:.2f}' for ratio in pair.ratios)}" + (f"  aim {said}" if said else ""))
    return "\n".join(lines)


def plot(pairs: list[Pair]) -> str:
    """Return the ratios of pairs as an SVG: a bar for the median, a line from the lowest to the highest round, a mark for the aim, a line for equality."""
    most = max([1.0, *(max([*pair.ratios, pair.aim or 0]) for pair in pairs)]) * 1.05
    height = EDGE * 2 + LINE * (len(pairs) + 1)

    def x(ratio: float) -> float:
        return round(NAMES + (WIDTH - NAMES - 70) * ratio / most, 1)

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" viewBox="0 0 {WIDTH} {height}" font-family="sans-serif" font-size="13">',
        f'<rect width="{WIDTH}" height="{height}" fill="#ffffff"/>',
        f'<line x1="{x(1)}" x2="{x(1)}" y1="{EDGE}" y2="{height - EDGE - LINE}" stroke="#888888" stroke-dasharray="4 3"/>',
        f'<text x="{x(1)}" y="{height - EDGE - 8}" text-anchor="middle" fill="#555555">equal</text>',
        f'<text x="{NAMES - 10}" y="{height - EDGE - 8}" text-anchor="end" fill="#555555">ratio to what it is compared with; green: the aim</text>',
    ]
    for place, pair in enumerate(pairs):
        y = EDGE + LINE * place
        name = pair.what if pair.ours == "ours" else f"{pair.what}, {pair.ours}"
        parts += [
            f'<text x="{NAMES - 10}" y="{y + 19}" text-anchor="end">{escape(name if len(name) < 66 else name[:64] + "…")}</text>',
            f'<rect x="{NAMES}" y="{y + 6}" width="{round(x(pair.ratio) - NAMES, 1)}" height="{LINE - 12}" fill="#4878a8"/>',
            f'<line x1="{x(min(pair.ratios))}" x2="{x(max(pair.ratios))}" y1="{y + 15}" y2="{y + 15}" stroke="#102030" stroke-width="2"/>',
            f'<text x="{WIDTH - EDGE}" y="{y + 19}" text-anchor="end" font-weight="bold">{pair.ratio:.2f}</text>',
        ]
        if pair.aim is not None:
            parts.append(f'<line x1="{x(pair.aim)}" x2="{x(pair.aim)}" y1="{y + 3}" y2="{y + LINE - 3}" stroke="#2a8a3a" stroke-width="3"/>')
    return "\n".join([*parts, "</svg>", ""])


def document(results: dict[str, Any]) -> dict[Path, str]:
    """Return the contents of the documents and of their plots that agree with results.

    :param results: For each row its pairs and the facts of the machine that it was measured on.
    """
    rows = {row: read(given["pairs"]) for row, given in results.items()}

    def fill(match: re.Match[str]) -> str:
        name = match.group(1)
        row = scaling.ROW if name in scaling.TABLES else name
        if row not in rows:
            text = f"Not measured yet: `make bench ROWS={row} DOCS=1`."
        elif name in scaling.TABLES:
            text = scaling.TABLES[name](rows[row], results[row]["facts"])
        else:
            facts = "; ".join(f"{name}: {value}" for name, value in results[row]["facts"].items())
            text = f"{table(rows[row])}\n\n![The ratios of the row {row}](performance/{row}.svg)\n\n{facts}."
        return f"<!-- begin {name} -->\n{text}\n<!-- end {name} -->"

    return {path: MARKED.sub(fill, path.read_text()) for path in DOCUMENTS} | {FOLDER / f"{row}.svg": plot(pairs) for row, pairs in rows.items()}


def read_results() -> dict[str, Any]:
    """Return the results that the documents show."""
    results: dict[str, Any] = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    return results


def write_document(new: dict[str, Any]) -> None:
    """Replace the results of some rows, and write the documents and their plots again."""
    results = read_results() | new
    FOLDER.mkdir(parents=True, exist_ok=True)
    RESULTS.write_text(json.dumps(results, indent=1, ensure_ascii=False) + "\n")
    for path, text in document(results).items():
        path.write_text(text)
