"""Build the documentation, and write what is generated in its pages.

python -m tools.docs build    build the site in .cache/docs/html; a warning is an error
python -m tools.docs write    write docs/troubleshooting.md, and the files that pages show
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import sys
from pathlib import Path

import yaml

from tools import bootstrap
from tools.testbed.shell import BIN, ROOT, environment, run, run_command_line, say

HERE = Path(__file__).parent
LOCK = HERE / "requirements.txt"
CACHE = ROOT / ".cache" / "docs"
VENV = CACHE / "venv"
HTML = CACHE / "html"
#: A copy of `docs/` with the generated reference, in a folder that has links to the rest of the checkout: pages include files by relative paths.
TREE = CACHE / "tree"


def install() -> None:
    """Make the environment contain exactly the packages in the lock, unless it does."""
    stamp, digest = VENV / "lock.sha256", hashlib.sha256(LOCK.read_bytes()).hexdigest()
    if stamp.exists() and stamp.read_text() == digest:
        return
    say("    installs Sphinx and antsibull-docs")
    settings = bootstrap.pip_settings()
    bootstrap.run([BIN / "uv", "venv", "--quiet", "--clear", "--python", BIN / "python", VENV], env=settings)
    bootstrap.run([BIN / "uv", "pip", "sync", "--quiet", "--require-hashes", LOCK, "--python", VENV / "bin" / "python"], env=settings)
    stamp.write_text(digest)


def make_tree() -> Path:
    """Make the folder that Sphinx reads, and return it."""
    shutil.rmtree(TREE, ignore_errors=True)
    TREE.mkdir(parents=True)
    for path in ROOT.iterdir():
        if not path.name.startswith(".") and path.name != "docs":
            (TREE / path.name).symlink_to(path)
    return Path(shutil.copytree(ROOT / "docs", TREE / "docs"))


def build() -> None:
    """Build the site. A warning, also of a link or a reference that leads nowhere, is an error."""
    install()
    source = make_tree()
    tools = os.pathsep.join([str(VENV / "bin"), environment()["PATH"]])
    reference = source / "reference"
    reference.mkdir()
    say("    reads the specifications of roles and plugins")
    program = VENV / "bin" / "antsibull-docs"
    command: list[str | Path] = [program, "--config-file", HERE / "antsibull-docs.cfg", "collection", "--use-current", "--squash-hierarchy"]
    run([*command, "--fail-on-error", "--dest-dir", reference, "atlas.mlflow"], PATH=tools)
    say("    builds the pages")
    version = yaml.safe_load((ROOT / "galaxy.yml").read_text())["version"]
    strict = ["-W", "--keep-going", "-n", "-q", "-j", "auto"]
    given: list[str | Path] = ["-c", HERE, "-d", CACHE / "doctrees", "-D", f"version={version}", "-D", f"release={version}"]
    run([VENV / "bin" / "python", "-m", "sphinx", "-b", "html", *strict, *given, source, HTML], PATH=tools)
    say(f"    {len(list(HTML.rglob('*.html')))} pages: {HTML.relative_to(ROOT) / 'index.html'}")


def write() -> None:
    """Write the page that is made from the catalogue, and the files that pages show."""
    # The catalogue is imported by the name that Ansible gives to it.
    sys.path.insert(0, str(ROOT / "collections"))
    from . import pages

    pages.PAGE.write_text(pages.wanted())
    for page in pages.PAGES:
        page.write_text(pages.filled(page.read_text()))


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    top = argparse.ArgumentParser(prog="python -m tools.docs", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = top.add_subparsers(required=True, metavar="COMMAND")
    for name, do in (("build", build), ("write", write)):
        commands.add_parser(name, help=(do.__doc__ or "").partition("\n")[0]).set_defaults(do=lambda _, do=do: do())
    return top


def main() -> int:
    """Run from the command line."""
    return run_command_line(parser())


if __name__ == "__main__":
    sys.exit(main())
