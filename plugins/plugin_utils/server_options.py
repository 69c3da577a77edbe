# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Check options of `mlflow server`, in arguments or as variables of the environment, against those of a release.

A release's facts (C(files/releases/VERSION/options.json)) list the options of `mlflow server` and of the web server that it starts.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

#: Options of `mlflow server` that the role has a variable for, or that would break a promise of the role, each with the fix.
REFUSED = {
    "--host": "Set mlflow_server_host.",
    "--port": "Set mlflow_server_port.",
    "--workers": "Set mlflow_server_workers.",
    "--allowed-hosts": "Set mlflow_server_names, or mlflow_server_allowed_hosts for the whole list.",
    "--cors-allowed-origins": "Set mlflow_server_cors_allowed_origins.",
    "--static-prefix": "Set mlflow_server_static_prefix.",
    "--backend-store-uri": "Set mlflow_server_backend_store_uri, which stays out of the process list.",
    "--read-replica-backend-store-uri": "Set mlflow_server_read_replicas or mlflow_server_read_replica_store_uri, which stays out of the process list.",
    "--artifacts-destination": "Set mlflow_server_artifacts_destination.",
    "--default-artifact-root": (
        "Experiments would get this root for good, and clients would need its credentials. Leave it out, and set mlflow_server_artifacts_destination."
    ),
    "--no-serve-artifacts": "Clients would need the artifact store's own address and its credentials. Leave it out.",
    "--artifacts-only": "The server would have no experiments and no page. Leave it out.",
    "--app-name": "Set mlflow_server_auth.",
    "--disable-security-middleware": "Set mlflow_server_names to the names that people use.",
    "--dev": "It is for work on MLflow itself: the server restarts whenever a file changes. Leave it out.",
    "--waitress-opts": "waitress is a web server for Windows, and is not installed. Leave it out.",
    "--help": "The server would print its options and end. Leave it out.",
}
#: Options whose value may contain a password, which is safe in the environment and not in the process list.
SECRET = {
    "--registry-store-uri": "MLFLOW_REGISTRY_STORE_URI",
    "--workspace-store-uri": "MLFLOW_WORKSPACE_STORE_URI",
}
#: Options with values, each with a value that works.
STARTABLE: dict[str, str | None] = {
    "--serve-artifacts": None,
    "--expose-prometheus": "/var/lib/mlflow/metrics",
    "--gunicorn-opts": "--timeout 300",
    "--uvicorn-opts": "--timeout-keep-alive 300",
    "--x-frame-options": "DENY",
    "--trace-archival-config": "/var/lib/mlflow/archival.yaml",
    "--secrets-cache-ttl": "60",
    "--secrets-cache-max-size": "100",
    "--enable-workspaces": None,
    "--disable-workspaces": None,
}
#: Options of the web server behind `mlflow server` (uvicorn or gunicorn) that are not allowed in --uvicorn-opts or --gunicorn-opts.
SECOND_SOCKET = "It would open a second socket. Set mlflow_server_host and mlflow_server_port."
OWN_TLS = "Set mlflow_server_tls_certificate and mlflow_server_tls_key."
ENDS = "The server would print something and end. Leave it out."
WEB_REFUSED = {
    **dict.fromkeys(("--bind", "--host", "--port", "--uds", "--fd"), SECOND_SOCKET),
    **dict.fromkeys(("--certfile", "--keyfile", "--ssl-certfile", "--ssl-keyfile", "--ssl-keyfile-password"), OWN_TLS),
    **dict.fromkeys(("--help", "--version", "--check-config", "--print-config"), ENDS),
    **dict.fromkeys(("--reload", "--reload-engine"), "The server would restart whenever a file changes. Leave it out."),
    **dict.fromkeys(("--app-dir", "--factory", "--paste", "--chdir", "--pythonpath"), "MLflow says what the web server runs. Leave it out."),
    **dict.fromkeys(("--config", "--env-file"), "Its settings would not be checked. Write them as options."),
    **dict.fromkeys(("--user", "--group"), "Set mlflow_server_os_user."),
    "--workers": "Set mlflow_server_workers.",
    "--daemon": "The service manager would lose sight of the server. Leave it out.",
}
#: The options of `mlflow server` that contain options of its web server.
WEB_SERVERS = {"--gunicorn-opts": "gunicorn", "--uvicorn-opts": "uvicorn"}
METRICS = "--expose-prometheus"
#: Other variables of the environment that are not allowed.
REFUSED_NAMES = {
    # Releases before 3.5 do not read them.
    "MLFLOW_SERVER_ALLOWED_HOSTS": REFUSED["--allowed-hosts"],
    "MLFLOW_SERVER_CORS_ALLOWED_ORIGINS": REFUSED["--cors-allowed-origins"],
    # Releases without the option do not read it.
    "MLFLOW_READ_REPLICA_BACKEND_STORE_URI": REFUSED["--read-replica-backend-store-uri"],
    "MLFLOW_WORKSPACE": "It is a setting of clients, with which a server does not start.",
    "prometheus_multiproc_dir": f"Set {METRICS} in mlflow_server_extra_args.",
    "PROMETHEUS_MULTIPROC_DIR": f"Set {METRICS} in mlflow_server_extra_args.",
}

Option = Mapping[str, Any]
Release = Mapping[str, Any]


@dataclass(frozen=True)
class Given:
    """An option that was given: its flag as written, the option if it is known, and its value if it has one."""

    flag: str
    option: Option | None = None
    value: str | None = None

    @property
    def names(self) -> list[str]:
        """Return the option's flags with the meaning of the given one: for C(--x/--no-x), this excludes the opposite flag."""
        if not self.option:
            return [self.flag]
        same = self.option["takes_value"] or not self.flag.startswith("--")
        return [flag for flag in self.option["flags"] if same or flag == self.flag or not flag.startswith("--")]


def find(options: Iterable[Option], flag: str) -> Option | None:
    """Return the option with a flag."""
    return next((option for option in options if flag in option["flags"]), None)


def parse(arguments: Iterable[Any], options: list[Option]) -> tuple[list[Given], list[str]]:
    """Return the options in a list of arguments, and the arguments that are neither an option nor the value of an option.

    Like click, use the argument after a flag as its value if the option has a value, even if it starts with a hyphen. For an unknown option,
    an argument without a hyphen after the flag is the value.
    """
    given: list[Given] = []
    stray: list[str] = []
    rest = [str(argument) for argument in arguments]
    while rest:
        item = rest.pop(0)
        flag, equals, value = item.partition("=") if item.startswith("--") else (item[:2], item[2:], item[2:])
        if not re.match(r"--?[A-Za-z]", item):
            stray.append(item)
            continue
        option = find(options, flag)
        if equals:
            given.append(Given(flag, option, value))
        elif option is None:
            given.append(Given(flag, None, rest.pop(0) if rest and not rest[0].startswith("-") else None))
        else:
            given.append(Given(flag, option, rest.pop(0) if option["takes_value"] and rest else None))
    return given, stray


def value_fault(one: Given) -> str:
    """Return what is wrong with an option's value, or an empty text."""
    option = one.option or {}
    if not option:
        return ""
    if option["takes_value"] and not one.value:
        return f"{one.flag} has no value. Write it as the next item of the list."
    if not option["takes_value"]:
        return f"{one.flag} takes no value. Leave out {one.value}." if one.value is not None else ""
    if option["type"].startswith("integer"):
        low, high = option.get("min"), option.get("max")
        if not re.fullmatch(r"-?\d+", str(one.value)):
            return f"{one.flag} is {one.value}, and takes an integer."
        if low is not None and int(str(one.value)) < low or high is not None and int(str(one.value)) > high:
            return f"{one.flag} is {one.value}. It takes {low if low is not None else 'no least value'} to {high if high is not None else 'no greatest value'}."
    if option.get("choices") and one.value not in option["choices"]:
        return f"{one.flag} is {one.value}, and takes one of {', '.join(option['choices'])}."
    return ""


def quoted(item: str) -> str:
    """Return an argument in a form that a message may show: without a text that may contain a password."""
    return f"'{item}'" if re.fullmatch(r"[\w./=, -]{0,60}", item) else "an item"


def web_faults(flag: str, value: str, release: Release, version: str) -> list[str]:
    """Return what is wrong with the web server's options in an option of `mlflow server`.

    :param flag: The option that contains them, such as C(--uvicorn-opts).
    :param version: The release with these facts. If it is empty, an unknown option is not a fault.
    """
    server = WEB_SERVERS[flag]
    options = list(release.get("web_server_options") or []) if release.get("web_server") == server else []
    try:
        arguments = shlex.split(value)
    except ValueError:
        return [f"{flag} has a quote that does not end."]
    given, stray = parse(arguments, options)
    faults = [f"{flag} has {quoted(item)}, which is no option and no value of one." for item in stray]
    for one in given:
        refused = next((WEB_REFUSED[name] for name in [*one.names, one.flag] if name in WEB_REFUSED), "")
        if one.flag == "-b":
            refused = SECOND_SOCKET
        if refused:
            faults.append(f"{flag} has {one.flag}: {refused}")
        elif options and version and one.option is None:
            known = sorted(name for option in options for name in option["flags"] if name.startswith("--"))
            faults.append(f"{flag} has {one.flag}, which {server} does not know. It knows {', '.join(known)}.")
        elif fault := value_fault(one):
            faults.append(f"{flag} has {fault}")
    return faults


def server_fault(flag: str, release: Release) -> str:
    """Return why a web server cannot be chosen, or an empty text."""
    if flag in WEB_SERVERS and release.get("web_server", WEB_SERVERS[flag]) != WEB_SERVERS[flag]:
        return "This release then takes no --allowed-hosts, without which it refuses the names that people use. Use --uvicorn-opts."
    return ""


def refusal(names: Iterable[str], release: Release) -> str:
    """Return why an option is refused, with the fix, or an empty text."""
    for name in names:
        if name in REFUSED:
            return REFUSED[name]
        if name in SECRET:
            return f"Set {SECRET[name]} in mlflow_server_environment, which stays out of the process list."
        if fault := server_fault(name, release):
            return fault
    return ""


def metrics_fault(folder: str, data_dir: str) -> str:
    """Return what is wrong with the folder of the metrics, or an empty text."""
    if data_dir and not folder.startswith(data_dir.rstrip("/") + "/") or ".." in folder.split("/"):
        return f"{METRICS} is {folder}. Choose a folder below {data_dir}, where the service may write: {data_dir}/metrics."
    return ""


def argument_faults(arguments: Iterable[Any], release: Release, version: str = "", data_dir: str = "") -> list[str]:
    """Return a sentence for each fault in a list of arguments of `mlflow server`.

    :param arguments: One list item for each argument.
    :param release: The facts of the release.
    :param version: The release with these facts. If it is empty, an unknown option is not a fault.
    :param data_dir: The folder that the service may write to.
    """
    if isinstance(arguments, str):  # another rule refuses it
        return []
    options = list(release.get("options") or [])
    given, stray = parse(arguments, options)
    faults = [f"{quoted(item)} is no option and no value of one. Give one item for each argument." for item in stray]
    for one in given:
        if refused := refusal([*one.names, one.flag], release):
            faults.append(f"{one.flag}: {refused}")
        elif one.option is None and version:
            known = sorted(flag for option in options for flag in option["flags"] if flag.startswith("--"))
            faults.append(f"{one.flag}, which `mlflow server` of release {version} does not know. It knows {', '.join(known)}.")
        elif (fault := value_fault(one)) or one.flag == METRICS and (fault := metrics_fault(str(one.value), data_dir)):
            faults.append(fault)
        if one.flag in WEB_SERVERS and one.value:
            faults += web_faults(one.flag, one.value, release, version)
    return faults


def environment_faults(environment: Mapping[str, Any], release: Release, version: str = "", data_dir: str = "") -> list[str]:
    """Return a part of a sentence for each variable of an environment that sets a refused option, or that breaks the server.

    Values are shown only for options without secrets.

    :param environment: Names and values.
    :param release: The facts of the release. Its options have names in the environment.
    :param version: The release with these facts.
    :param data_dir: The folder that the service may write to.
    """
    named = {option["envvar"]: Given(option["flags"][0], option) for option in release.get("options") or [] if option.get("envvar")}
    web = {option["envvar"]: Given(option["flags"][0], option) for option in release.get("web_server_options") or [] if option.get("envvar")}
    faults = []
    for name, value in environment.items():
        text = str(value)
        if name in REFUSED_NAMES:
            faults.append(f"{name}: {REFUSED_NAMES[name]}")
        elif name.startswith("_MLFLOW"):
            faults.append(f"{name}: MLflow sets it itself. Leave it out.")
        elif name in named:
            flags = named[name].option["flags"]  # type: ignore[index]
            harmless = flags[0] == "--serve-artifacts" and text.lower() in ("true", "1")
            if name not in SECRET.values() and not harmless and (refused := refusal(flags, release)):
                faults.append(f"{name}: {refused}")
            elif flags[0] in WEB_SERVERS:
                faults += [f"{name}: {fault}" for fault in web_faults(flags[0], text, release, version)]
            elif flags[0] == METRICS and (fault := metrics_fault(text, data_dir)):
                faults.append(f"{name}: {fault}")
        elif name in web:
            refused = next((WEB_REFUSED[flag] for flag in web[name].option["flags"] if flag in WEB_REFUSED), "")  # type: ignore[index]
            if refused:
                faults.append(f"{name}: {refused}")
    return faults


def option_value(arguments: Iterable[Any], flag: str, release: Release, environment: Mapping[str, Any] | None = None) -> str:
    """Return the value of an option from the arguments or from the environment, or an empty text.

    :param arguments: One list item for each argument.
    :param flag: The option.
    :param release: The facts of the release.
    :param environment: Names and values.
    """
    options = list(release.get("options") or [])
    values = [one.value for one in parse(arguments, options)[0] if one.flag == flag and one.value]
    name = (find(options, flag) or {}).get("envvar")
    return str(values[-1] if values else (environment or {}).get(name, "") if name else "")
