# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Check the variables of a host from the inventory and the command line against the specifications of the roles and the playbooks.

The files ``roles/*/meta/argument_specs.yml`` are the only place with the types of variables. Ansible itself checks a role's variables only when
the role starts, in the middle of a run, and ignores names that the role does not have.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible.module_utils.common.validation import check_type_float, check_type_int
from ansible.module_utils.common.yaml import yaml_load
from ansible_collections.atlas.mlflow.plugins.module_utils.redaction import hide_by_shape

#: The oldest release of ansible-core that the collection supports. In older releases a template returns text instead of a number.
OLDEST_ANSIBLE = (2, 19)
#: The ends of the names of strategies in which a host does not wait for the others, such as C(mitogen_free).
HASTY = ("free", "host_pinned")
#: How similar two names must be to count as near (difflib's ratio). Variables of another role with the same prefix are less similar.
LIKENESS = 0.9
#: The same for the names of groups, which are short, and for names with the collection's own prefix.
GROUP_LIKENESS = 0.85
#: The prefix of the collection's own switches. No other name may have this prefix.
OWN_PREFIX = "atlas_mlflow_"
#: Names with this prefix that the collection's plays set for later plays, and that no user sets.
LEFT_BEHIND = ("atlas_mlflow_ip", "atlas_mlflow_names")
#: Marks an option whose value must not be shown.
SECRET = "no_log"
#: The error of a value that no password of Vault decrypts, and how the message about a failed look-up begins.
UNDECRYPTABLE, LOOKUP = "UndecryptableVaultError", "The lookup plugin"
#: Words that are booleans for Python and for templates: a template reads C(y) as false.
BOOLEANS = ("true", "false", "yes", "no", "on", "off", "1", "0")
#: Words for the types in a specification.
WORDS = {"bool": "a boolean (true or false)", "int": "a number", "float": "a number", "list": "a list", "dict": "a dictionary"}


def tags_fault(selected: Iterable[str], own: Iterable[str]) -> str:
    """Return what is wrong with the tags that a run selects, or an empty string.

    No task of the collection has a tag, because each part needs what the parts before it found. A selection would do nothing and report success.

    :param selected: The run's tags, ``all`` if there are none.
    :param own: The tags of the first task. A user's playbook that imports one of ours may give a tag to all of it.
    """
    wanted = set(selected)
    if "all" in wanted or wanted & (set(own) - {"always"}):
        return ""
    return (
        f"--tags {','.join(sorted(wanted))} selects nothing: the playbooks of atlas.mlflow have no tags, as each part needs "
        "what the parts before it have found. "
        "Run the playbook without --tags: what is as asked for is left alone. atlas.mlflow.verify is the proof alone."
    )


def words_fault(rest: str) -> str:
    """Return what is wrong if ``-e`` has words without a name, or an empty string. Such a word is the end of a value, or a setting that nothing reads.

    :param rest: The words, which Ansible keeps in the variable ``_raw_params``. The message does not show them, because they may be a part of a secret.
    """
    if not rest:
        return ""
    return (
        "The command line has a word of -e (--extra-vars) that is no NAME=VALUE. Ansible splits the text of -e at spaces, and a value that has one is cut "
        'there. Write such a value as -e \'{"NAME": "VALUE"}\'.'
    )


def version_fault(version: str) -> str:
    """Return what is wrong with a release of ansible-core, or an empty string.

    An older release continues after a warning, and fails later without a clear reason.

    :param version: Such as ``2.19.14`` or ``2.20.0rc1``.
    """
    if tuple(int(number) for number in re.findall(r"\d+", version)[:2]) >= OLDEST_ANSIBLE:
        return ""
    return (
        f"This is ansible-core {version}, and atlas.mlflow needs 2.19 or newer, which needs Python 3.11 or newer on the control node. "
        "Install it, for example with `pip install 'ansible-core>=2.19'`."
    )


def strategy_fault(strategy: str) -> str:
    """Return what is wrong with the strategy of Ansible's settings, or an empty string.

    With one that does not wait for all hosts after each task, a host would be changed before the settings of the others are checked.

    :param strategy: Such as ``linear`` or ``ansible.builtin.free``.
    """
    if not strategy.endswith(HASTY):
        return ""
    return (
        f"The strategy of Ansible's settings is {strategy}, in which a host does not wait for the others. The hosts of a stack are checked and planned "
        "together before one of them is changed. Set ANSIBLE_STRATEGY=linear for this run, or remove the strategy from ansible.cfg."
    )


def specifications(roles: Path) -> dict[str, dict[str, Any]]:
    """Return the options of all roles by name, from the specifications.

    :param roles: The folder of the roles.
    """
    found: dict[str, dict[str, Any]] = {}
    for path in sorted(roles.glob("*/meta/argument_specs.yml")):
        for entry in yaml_load(path.read_text(encoding="utf-8"))["argument_specs"].values():
            found = {**(entry.get("options") or {}), **found}
    return found


def value_fault(name: str, option: Mapping[str, Any], value: Any) -> str:
    """Return what is wrong with a value, with the fix, or an empty string.

    Text is accepted as a boolean or a number that it spells, because ``-e name=value`` and INI inventories have only text. It is not accepted as a
    list or a dictionary, because only its author knows where to split it.

    :param name: The variable.
    :param option: Its option in the specification.
    :param value: The value, with its templates resolved.
    """
    kind, shown = option.get("type", "str"), "a value" if option.get(SECRET) else repr(value)
    wanted = WORDS.get(kind, "")
    if fault := null_fault(name, option, value):
        return fault
    if kind in ("list", "dict"):
        if isinstance(value, (list, tuple) if kind == "list" else Mapping):
            return _deep_fault(name, option, value)
        sample = '["..."]' if kind == "list" else '{"...": "..."}'
        return f"{name} is {shown}, which is not {wanted}. Write it as {wanted}; on the command line as -e '{{\"{name}\": {sample}}}'."
    if kind in ("bool", "int", "float"):
        try:
            # True is a number for Python.
            if str(value).lower() not in BOOLEANS if kind == "bool" else isinstance(value, bool):
                raise TypeError
            if kind != "bool":
                {"int": check_type_int, "float": check_type_float}[kind](value.strip() if isinstance(value, str) else value)
        except (TypeError, ValueError):
            return f"{name} is {shown}, which is not {wanted}. Set {'true or false' if kind == 'bool' else 'a whole number' if kind == 'int' else 'a number'}."
        return ""
    if isinstance(value, (Mapping, list, tuple)):
        return f"{name} is {shown}, which is not text. Write one value."
    if isinstance(value, bool) or (not isinstance(value, str) and option.get(SECRET)):
        return f"{name} is not text, as it has no quotes. Put it in quotes: YAML makes a number or a boolean of it, and changes it so."
    if isinstance(value, float) and name.endswith("version"):
        return f"{name} is the number {value}, from which a zero at its end is lost. Put it in quotes."
    return _deep_fault(name, option, value)


def template_fault(name: str, error: BaseException) -> str:
    """Return why the template of a value cannot be resolved, with the fix.

    A part of the value may be a secret, so it is not quoted. What a look-up says of its source is no part of the value.

    :param name: The variable.
    :param error: The error of Ansible.
    """
    causes = [error]
    while causes[-1].__cause__ is not None:
        causes.append(causes[-1].__cause__)
    # Ansible has the class of an error of Vault in a module that is private.
    if any(type(cause).__name__ == UNDECRYPTABLE for cause in causes):
        return f"{name} is encrypted by Ansible Vault, and no given password decrypts it. Give its password, such as by --vault-password-file."
    if said := next((str(cause) for cause in causes if str(cause).startswith(LOOKUP)), ""):
        return f"{name} cannot be looked up. {hide_by_shape(said).rstrip('.')}. Correct the look-up, or make what it reads available."
    braces = "If its braces are meant as they are, write it as !unsafe '...'"
    return f"{name} has braces that Jinja cannot read ({type(error).__name__}). {braces}, or correct the template."


def null_fault(name: str, option: Mapping[str, Any], value: Any) -> str:
    """Return what is wrong with a value that is null, or has null in an entry or a key of its specification, with the fix, or an empty string.

    No option means anything by null: it replaces the default of the role, and a role may read it as text, as a number, or as nothing.

    :param name: The variable.
    :param option: Its option in the specification.
    :param value: The value, with its templates resolved.
    """
    place, kind = next(_nulls(name, option, value), ("", ""))
    if not place:
        return ""
    empty = {"str": '""', "path": '""', "list": "[]", "dict": "{}"}.get(kind)
    nothing = f", such as {empty} for none" if empty else ""
    return f"{place} is empty (null). Remove the line to get the default, or give it a value{nothing}."


def _nulls(place: str, option: Mapping[str, Any], value: Any) -> Iterator[tuple[str, str]]:
    """Return each place of a value where it is null, with its type. Keys without a specification, such as those of an environment, may be null."""
    if value is None:
        yield place, option.get("type", "str")
    elif isinstance(value, (list, tuple)) and "elements" in option:
        for number, item in enumerate(value):
            yield from _nulls(f"{place}[{number}]", {**option, "type": option["elements"], "elements": ""}, item)
    elif isinstance(value, Mapping):
        for key, part in (option.get("options") or {}).items():
            if key in value:
                yield from _nulls(f"{place}.{key}", part, value[key])


def _deep_fault(name: str, option: Mapping[str, Any], value: Any) -> str:
    """Return the faults that Ansible's own validation finds: choices, elements, the keys of dictionaries."""
    result = ArgumentSpecValidator({name: {key: item for key, item in option.items() if key not in ("description", "default", "required")}}).validate(
        {name: value}
    )
    return "" if not result.error_messages else f"{result.error_messages[0].rstrip('.')}."


def similar_names(names: Iterable[str], known: Iterable[str], likeness: float = LIKENESS) -> list[str]:
    """Return the names that are not known and are similar to a known one, each with the known one.

    :param names: Names in the settings.
    :param known: Names that exist.
    :param likeness: How similar two names must be.
    """
    wanted = list(known)
    nearest = {name: difflib.get_close_matches(name, wanted, 1, likeness) for name in sorted(set(names) - set(wanted))}
    return [f"{name} (did you mean {near[0]}?)" for name, near in nearest.items() if near]


def near_misses(names: Iterable[str], known: Iterable[str]) -> list[str]:
    """Return the unknown names that are similar to a known one, or that have the collection's own prefix.

    :param names: Names of variables in the settings.
    :param known: Names in the specifications.
    """
    wanted = sorted(known)
    lengths = {len(name) for name in wanted}
    found = []
    for name in sorted(set(names) - set(wanted)):
        if name in LEFT_BEHIND or name.startswith(("_", "ansible_")) or not any(abs(len(name) - length) <= 3 for length in lengths):
            continue
        ours = name.startswith(OWN_PREFIX)
        found += similar_names([name], wanted, GROUP_LIKENESS if ours else LIKENESS) or ([name] if ours else [])
    return found


def near_groups(present: Mapping[str, Iterable[str]], known: Iterable[str]) -> list[str]:
    """Return the groups whose names are similar to one of the collection's groups, if that one has no host.

    :param present: The inventory's groups with their hosts.
    :param known: The collection's groups.
    """
    found = []
    for name in known:
        if list(present.get(name, ())):
            continue
        others = [group for group in present if group not in ("all", "ungrouped") and list(present[group])]
        found += [f"{near} (did you mean {name}?)" for near in difflib.get_close_matches(name, others, 1, GROUP_LIKENESS)]
    return found


def unread_fault(path: str, names: Iterable[str]) -> str:
    """Return what is wrong with a file of variables next to a user's playbook that Ansible does not read, or an empty string.

    For a playbook that is imported or that is in a collection, Ansible reads the files next to that one, and those next to the inventory.

    :param path: The file.
    :param names: The collection's variables that it sets, and that the host does not have.
    """
    if not (listed := ", ".join(sorted(names))):
        return ""
    return (
        f"{path} sets {listed}, and Ansible does not read this file for the playbooks of atlas.mlflow: it is not next to them, nor next to the inventory. Move "
        "the file to group_vars or host_vars next to the inventory."
    )


def folders_fault(folders: Mapping[str, str]) -> str:
    """Return what is wrong if the hosts of a stack have different folders of generated secrets, or an empty string.

    :param folders: ``atlas_mlflow_secrets_dir`` of each host, empty if it is not set.
    """
    first = next(iter(folders), "")
    other = next((host for host, folder in folders.items() if folder != folders[first]), "")
    if not other:
        return ""
    shown = " and ".join(f"{folders[host] or 'not set'} on {host}" for host in (first, other))
    return (
        f"atlas_mlflow_secrets_dir is {shown}. The hosts of a stack share their secrets, and a service would get another password than its clients. Set it "
        "for all hosts, such as below vars of the group all."
    )


def folder_fault(folder: str | None, folders: Iterable[str | None]) -> str:
    """Return what is wrong with the folder of the generated secrets, or an empty string.

    :param folder: ``atlas_mlflow_secrets_dir``, if it is set.
    :param folders: The folders of the inventory's sources, one for each host; None for a list of hosts on the command line.
    """
    way = "Set atlas_mlflow_secrets_dir to the absolute path of a folder on the control node"
    if folder is not None:
        return "" if re.match(r"[/~]", str(folder)) else f"atlas_mlflow_secrets_dir is {folder!r}, which depends on the folder that Ansible is run in. {way}."
    places = set(folders)
    if places & {None, ""}:
        return f"The inventory is no file, so it has no folder for generated secrets. {way}, or write the hosts into a file."
    if len(places) > 1:
        listed = " and ".join(sorted(str(place) for place in places))
        return f"The inventory has sources in {listed}, and each would get secrets of its own. {way}, for all hosts."
    return ""
