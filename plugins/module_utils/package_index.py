# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The index of a folder with packages of Debian, as apt reads it, and what apt says it would install."""

from __future__ import annotations

import re
from collections.abc import Iterable

#: A line of ``apt-get --simulate``: the package, in brackets its present version, and in parentheses the new one with its architecture at the end.
INSTALLED = re.compile(r"(?m)^Inst ([^\s:]+)\S* (?:\[[^\]]*\] )?\((\S+)[^)]*\[(\w+)\]\)")
#: Fields of a repository, which the index adds to those of the package.
OF_THE_INDEX = ("Filename", "Size", "SHA256")


def fields_of(stanza: str) -> dict[str, str]:
    """Return the fields of one package that have a single line, by their names."""
    return dict(re.findall(r"(?m)^([A-Za-z0-9-]+): *(.*)$", stanza))


def stanzas_of(index: str) -> list[dict[str, str]]:
    """Return the fields of each package in an index."""
    return [fields_of(stanza) for stanza in re.split(r"\n\s*\n", index) if stanza.strip()]


def file_name(control: str) -> str:
    """Return the name of a package's file in a bundle. It has no epoch: apt would read its colon as a part of a URI.

    :param control: The control fields of the package.
    """
    fields = fields_of(control)
    version = fields["Version"].partition(":")[2] or fields["Version"]
    return f"{fields['Package']}_{version}_{fields['Architecture']}.deb"


def stanza(control: str, name: str, size: int, sha256: str) -> str:
    """Return the entry of a package in the index.

    :param control: The control fields of the package.
    :param name: The name of its file in the folder of the index.
    """
    added = zip(OF_THE_INDEX, (f"./{name}", str(size), sha256), strict=True)
    return control.strip() + "".join(f"\n{field}: {value}" for field, value in added) + "\n"


def files_to_install(simulated: str, index: str) -> list[str]:
    """Return the names of the files that apt would install.

    :param simulated: What ``apt-get --simulate install`` printed.
    :param index: The index that apt read.
    :raises KeyError: If apt would install a package that the index does not have.
    """
    files = {(one["Package"], one["Version"], one["Architecture"]): one["Filename"].removeprefix("./") for one in stanzas_of(index)}
    return sorted({files[found] for found in INSTALLED.findall(simulated)})


def configuration(folder: str, lines: Iterable[str] = ()) -> str:
    """Return settings with which apt keeps all that it writes about repositories in a folder.

    :param folder: The folder, with ``lists/partial`` and ``archives/partial``.
    :param lines: Further settings.
    """
    own = {
        "Dir::State::lists": f"{folder}/lists",
        "Dir::Cache::archives": f"{folder}/archives",
        "Dir::Cache::pkgcache": "",
        "Dir::Cache::srcpkgcache": "",
        # Only the user of this folder reads it.
        "APT::Sandbox::User": "root",
        "APT::Install-Recommends": "false",
        "Acquire::Languages": "none",
    }
    return "".join(f'{name} "{value}";\n' for name, value in own.items()) + "".join(f"{line}\n" for line in lines)
