"""The pages of the documentation: what they name exists, their links lead somewhere, their commands are tested, and the page of symptoms fits the catalogue."""

from __future__ import annotations

import functools
import itertools
import re
import shlex
from pathlib import Path

import pytest
import yaml
from ansible.parsing.splitter import parse_kv
from ansible_collections.atlas.mlflow.plugins.module_utils.diagnosis import logs
from ansible_collections.atlas.mlflow.plugins.module_utils.faults import FAULTS, Fault
from ansible_collections.atlas.mlflow.plugins.plugin_utils.secrets import SECRETS

from tools.docs import pages

ROOT = Path(__file__).resolve().parents[3]
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "SECURITY.md", *sorted(DOCS.rglob("*.md"))]
#: Code in a page: a block with its language and the comment before it, or words in backticks.
BLOCK = re.compile(r"^(?P<mark><!-- illustration -->\n)?```(?P<language>[^\n]*)\n(?P<code>.*?)^```$", re.MULTILINE | re.DOTALL)
INLINE = re.compile(r"`([^`\n]+)`")
#: A variable of the collection. One after an asterisk is the end of several.
VARIABLE = re.compile(r"(?<![\w*.])(?:atlas_mlflow|mlflow_server|postgres|minio|haproxy|backup|firewall|etcd|rotate|diagnose)_[a-z0-9]\w*")
#: A file or folder of the checkout.
PATH = re.compile(r"(?<![\w./-])(?:docs|examples|inventories|meta|molecule|playbooks|plugins|roles|tests|tools)/[\w./-]*\w")
#: What an operator makes, or a placeholder.
MADE = re.compile(r"inventories/mine|[A-Z]{4}")
LINK = re.compile(r"\]\(([^)\s]+)\)")
#: What follows the names of the collection.
PART = re.compile(r"\batlas\.mlflow\.([a-z_]+)\b")


def code(page: str) -> str:
    """Return all code of a page."""
    return "\n".join([*(block["code"] for block in BLOCK.finditer(page)), *INLINE.findall(BLOCK.sub("", page))])


def options(specified: dict) -> set[str]:
    """Return the names of options, with those of their entries."""
    return set(specified) | {name for option in specified.values() for name in options(option.get("options", {}))}


@functools.cache
def variables() -> frozenset[str]:
    """Return the names of all variables of the collection, and other names that look like one: of secrets, modules, programs and playbooks."""
    found = {path.stem for folder in ("plugins/modules", "playbooks", "roles/backup/files") for path in (ROOT / folder).glob("*.*")} | SECRETS.keys()
    for path in ROOT.glob("roles/*/meta/argument_specs.yml"):
        for entry in yaml.safe_load(path.read_text())["argument_specs"].values():
            found |= options(entry.get("options") or {})
    # Those that only a playbook reads.
    for path in (ROOT / "playbooks").rglob("*.yml"):
        found |= set(re.findall(r"(?<![\w])(postgres_(?:member|switch_over_to|remove_older))\b", path.read_text()))
    return frozenset(found)


@functools.cache
def targets() -> frozenset[str]:
    """Return the targets of the Makefile."""
    return frozenset(re.findall(r"^([a-z]+): ##", (ROOT / "Makefile").read_text(), re.MULTILINE))


@functools.cache
def parts() -> frozenset[str]:
    """Return what a name that begins with `atlas.mlflow.` may name."""
    folders = ("playbooks", "roles", "plugins/modules", "plugins/filter", "plugins/lookup")
    groups = yaml.safe_load((ROOT / "meta/runtime.yml").read_text())["action_groups"]
    return frozenset(groups) | {path.stem for folder in folders for path in (ROOT / folder).iterdir()}


@functools.cache
def scenarios() -> str:
    """Return the text of the scenarios and of their tests."""
    return "\n".join(path.read_text() for folder in ("molecule", "tests/stack") for kind in ("*.yml", "*.py") for path in (ROOT / folder).rglob(kind))


#: Playbooks that the test bed runs for the demo, and no scenario does: scenarios run the role's verification and nothing of the playbook around it.
BY_DEMO = {"verify"}


def runs(playbook: str) -> bool:
    """Return whether a scenario runs a playbook, or the demo."""
    if playbook in BY_DEMO:
        return f"playbooks/{playbook}.yml" in (ROOT / "tools/testbed/demo.py").read_text()
    return (ROOT / "playbooks" / f"{playbook}.yml").exists() and bool(re.search(rf"playbooks/{playbook}\.yml|playbook\(\s*[\"']{playbook}[\"']", scenarios()))


def exists(path: str) -> bool:
    """Return whether a path, perhaps with an asterisk, is in the checkout or in a role."""
    return any(any(ROOT.glob(place)) for place in (path, f"roles/*/{path}"))


def unknown(text: str) -> list[str]:
    """Return what a page names in code that is not there. Files of the checkout that it shows may have variables of their own."""
    shown = code(pages.SHOWN.sub("", text))
    return [
        *(f"the variable {name}" for name in VARIABLE.findall(shown) if name not in variables()),
        *(f"the path {path}" for path in PATH.findall(shown) if not MADE.search(path) and not exists(path)),
        *(f"make {name}" for name in re.findall(r"\bmake ([a-z]+)", shown) if name not in targets()),
        *(f"atlas.mlflow.{name}" for name in PART.findall(shown) if name not in parts()),
        *(f"the playbook {name}" for name in re.findall(r"(?<![\w/.-])([a-z_]+)\.yml\b", shown) if name not in NAMES),
    ]


#: Files that are named without their folder: playbooks, and files that each role, scenario or checkout has.
NAMES = {path.stem for folder in ("", "playbooks", "playbooks/internal", "tools") for path in (ROOT / folder).glob("*.yml")} | {"molecule", "apply"}


def untested(text: str) -> list[str]:
    """Return the commands of a page that no test runs, and that are not marked as an illustration."""
    found = []
    for block in BLOCK.finditer(text):
        if block["language"] != "console" or block["mark"]:
            continue
        for line in block["code"].splitlines():
            words = shlex.split(line, comments=True)
            # Settings of the environment come before the command.
            while words and re.match(r"[A-Z]+=", words[0]):
                words.pop(0)
            if words and not is_tested(words):
                found.append(line)
    return found


def is_tested(words: list[str]) -> bool:
    """Return whether a test runs a command, at least with other arguments."""
    match words:
        case ["make", target, *_]:
            return target in targets()
        case ["ansible-playbook", playbook, "-i", "inventories/mine", *_]:
            return runs(re.sub(r"^playbooks/|^atlas\.mlflow\.|\.yml$", "", playbook))
        case ["cp", "-r", source, "inventories/mine"]:
            return (ROOT / source / "hosts.yml").exists()
        case ["ansible-playbook", "playbooks/inventory.yml" | "atlas.mlflow.inventory"]:
            return "playbooks/inventory.yml" in (ROOT / "tests/unit/plugins/test_new_inventory.py").read_text()
        case ["ansible-galaxy", "collection", "install", "-r", "requirements.yml"]:
            return True
        case ["ansible-galaxy", "collection", "build"]:
            return "ansible-galaxy, collection, build" in (ROOT / "tools/testbed/hosts/ssh/collection.yml").read_text()
        case [".venv/bin/molecule", "converge", "-s", scenario]:
            return (ROOT / "molecule" / scenario).exists()
        case [".venv/bin/python", "-m", module, *_]:
            return (ROOT / module.replace(".", "/") / "__main__.py").exists()
    return False


def cut(text: str) -> list[str]:
    """Return the arguments of `-e` on a page of which Ansible reads only the first word as the value."""
    found = []
    for line in [*(line for block in BLOCK.finditer(text) for line in block["code"].splitlines()), *INLINE.findall(BLOCK.sub("", text))]:
        if not re.search(r"(^|\s)(-e|--extra-vars) ", line):
            continue
        words = shlex.split(line, comments=True)
        given = [value for option, value in itertools.pairwise(words) if option in ("-e", "--extra-vars")]
        found += [value for value in given if value[:1] not in "{[@" and "_raw_params" in parse_kv(value)]
    return found


def anchors(page: Path) -> set[str]:
    """Return the anchors of the headings of a page, as GitHub and Sphinx make them."""
    text = page.read_text()
    # A page may be a file of another folder.
    text += "".join((page.parent / name).read_text() for name in re.findall(r"^```\{include\} (\S+)$", text, re.MULTILINE))
    headings = re.findall(r"^#+ (.+)$", BLOCK.sub("", text), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def broken(page: Path, text: str) -> list[str]:
    """Return the relative links of a page that lead nowhere."""
    found = []
    for link in LINK.findall(BLOCK.sub("", text)):
        place, _, anchor = link.partition("#")
        target = page.parent / place if place else page
        if re.match(r"https?://|mailto:", link):
            continue
        if not target.exists() or (anchor and anchor not in anchors(target)):
            found.append(link)
    return found


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_a_page_names_what_exists_links_to_it_and_shows_commands_that_are_tested(page: Path) -> None:
    text = page.read_text()
    assert unknown(text) == []
    assert broken(page, text) == []
    assert untested(text) == []
    assert cut(text) == []
    for block in BLOCK.finditer(text):
        if block["language"] == "yaml":
            assert yaml.safe_load(block["code"])
        if block["language"] == "python":
            compile(block["code"], str(page), "exec")


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("`mlflow_server_prot: 1`", ["the variable mlflow_server_prot"]),
        ("```yaml\nminio_buckets: []\n```", ["the variable minio_buckets"]),
        ("`make al`", ["make al"]),
        ("`playbooks/upgrad.yml`", ["the path playbooks/upgrad.yml"]),
        ("`upgrad.yml`", ["the playbook upgrad"]),
        ("`atlas.mlflow.mlflow_usr`", ["atlas.mlflow.mlflow_usr"]),
        ("`*_remove_data` and mlflow_server_prot outside of code", []),
    ],
)
def test_a_wrong_name_is_found(text: str, found: list[str]) -> None:
    assert unknown(text) == found


def test_a_command_that_no_test_runs_is_found_unless_it_is_an_illustration() -> None:
    for command in (
        "systemctl stop mlflow-server",
        "make al",
        "ansible-playbook playbooks/upgrad.yml -i inventories/mine",
        "cp -r inventories/x inventories/mine",
    ):
        assert untested(f"```console\n{command}   # why\n```") == [f"{command}   # why"]
        assert untested(f"<!-- illustration -->\n```console\n{command}\n```") == []
    assert untested("```console\nTOPOLOGY=embedded make up\n\nansible-playbook playbooks/upgrade.yml -i inventories/mine --check\n```") == []


def test_a_value_that_ansible_cuts_at_a_space_is_found() -> None:
    assert cut("```console\nansible-playbook site.yml -e a='b c'   # -e d='e f'\n```\n`-e a='b c'`") == ["a=b c", "a=b c"]
    assert cut("""`-e a=b -e '{"c": ["d e"]}' -e 'f="g h"'`, `-e` and -e i='j k'""") == []


def test_an_image_that_a_page_builds_is_not_asked_of_a_registry() -> None:
    lines = [line for page in PAGES for line in page.read_text().splitlines()]
    built = {name for line in lines for name in re.findall(r"^ansible-builder build .*-t (\S+)", line)}
    runs_of = [line for line in lines if re.search(rf"^ansible-navigator .*--execution-environment-image ({'|'.join(built)})\b", line)]
    # By its default, ansible-navigator pulls an image without a tag each time.
    assert runs_of and all("--pull-policy missing" in line for line in runs_of)


def open_dumps(text: str) -> list[str]:
    """Return the commands of a page that write a dump, with the hashes of passwords, into a file that others may read."""
    blocks = [block["code"] for block in BLOCK.finditer(text) if block["language"] == "console"]
    return [line for code in blocks for line in code.splitlines() if re.search("pg_dump.* > ", line) and "umask 077\n" not in code.partition(line)[0]]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_a_dump_is_readable_by_its_user_alone(page: Path) -> None:
    assert open_dumps(page.read_text()) == []


def test_a_dump_that_others_may_read_is_found() -> None:
    assert open_dumps("```console\npg_dump mlflow > a\numask 077\npg_dump users > b\n```\n") == ["pg_dump mlflow > a"]


def test_a_broken_link_is_found() -> None:
    text = "[a](users.md) [b](user.md) [c](security.md#tls) [d](security.md#ssl) [e](https://example.com/x)"
    assert broken(DOCS / "index.md", text) == ["user.md", "security.md#ssl"]


def test_each_page_is_in_the_contents() -> None:
    listed: set[Path] = set()
    for page in DOCS.rglob("*.md"):
        for block in BLOCK.finditer(page.read_text()):
            if block["language"] == "{toctree}":
                listed |= {page.parent / f"{line}.md" for line in block["code"].splitlines() if line and not line.startswith(":")}
    assert set(DOCS.rglob("*.md")) - listed == {DOCS / "index.md"}


@pytest.mark.parametrize("page", pages.PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_a_page_shows_its_files_as_they_are(page: Path) -> None:
    text = page.read_text()
    assert text == pages.filled(text), "Run `python -m tools.docs write`."
    assert text.count("<!-- Shows ") == len(pages.SHOWN.findall(text))
    # Nobody who reads the page in the repository sees what this would include.
    assert "{literalinclude}" not in text


def test_the_page_of_operations_has_each_playbook() -> None:
    listed = re.findall(r"^\| `playbooks/(\w+)\.yml` \|", (DOCS / "operations/index.md").read_text(), re.MULTILINE)
    assert sorted(listed) == sorted(path.stem for path in (ROOT / "playbooks").glob("*.yml"))


def test_the_playbook_writes_the_inventory_that_the_pages_name() -> None:
    (play,) = yaml.safe_load((ROOT / "playbooks/inventory.yml").read_text())
    assert "default('inventories/mine', true)" in play["vars"]["__folder"]


def test_the_page_of_symptoms_is_what_the_catalogue_gives() -> None:
    assert pages.PAGE.read_text() == pages.wanted(), "Run `python -m tools.docs write`."


def test_each_fault_has_a_symptom() -> None:
    assert sorted(pages.symptoms()) == sorted(FAULTS)
    assert all(seen and all(isinstance(text, str) for text in seen) for seen in pages.symptoms().values())


def test_the_diagnosis_reads_a_symptom_in_a_log_as_its_fault() -> None:
    for name, _pattern in logs.LOG_FAULTS:
        messages = [message for text in pages.symptoms()[name] for message in INLINE.findall(text)]
        read = [logs.log_fault(message) for message in messages]
        assert name in [fault["fault"] for fault in read if fault], f"None of the symptoms of {name} is a line that the diagnosis reads as it."


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Set MLFLOW_HOST and MLFLOW_PORT. If", "Set `MLFLOW_HOST` and `MLFLOW_PORT`. If"),
        ("Set MLFLOW_PORT.", "Set `MLFLOW_PORT`."),
        ("Set mlflow_server_port, or read /etc/mlflow/settings.yml.", "Set `mlflow_server_port`, or read `/etc/mlflow/settings.yml`."),
        ("Look at my_app.service.", "Look at `my_app.service`."),
    ],
)
def test_a_full_stop_is_no_part_of_a_name(text: str, expected: str) -> None:
    assert pages.prose(text) == expected


def test_the_page_shows_a_fault_by_its_symptoms_and_its_layer() -> None:
    faults = {"a-b": Fault("a-b", "one", "Set my_value of {host}.", "Use --x."), "c-d": Fault("c-d", "two", "C.", "D."), "e-f": Fault("e-f", "one", "E.", "F.")}
    text = pages.troubleshooting(faults, {"a-b": ["`zero | x`"], "c-d": ["Another"]})
    assert text.index("| Another | [c-d](#c-d) |") < text.index("| `zero \\| x` | [a-b](#a-b) |")
    assert "### a-b\n\n- **You see:** `zero | x`.\n- **Cause:** Set `my_value` of *host*.\n- **Fix:** Use `--x`.\n\n### e-f\n\n- **Cause:**" in text
    assert [line for line in text.splitlines() if line.startswith("## Layer")] == ["## Layer: one", "## Layer: two"]
