"""The rows that compare runs of the playbook: with a bare script, with a well-known role, by the number of hosts, and with one changed setting."""

from __future__ import annotations

import json
import subprocess
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from tools import bootstrap
from tools.testbed import minio
from tools.testbed.shell import BIN, ROOT, run

from . import hosts, machine
from .figures import Pair
from .hosts import BENCH, Stack, notice, seconds_of
from .rows import Options

#: The well-known role. Galaxy has it, and `--role` names a folder with it.
ROLE, ROLE_VERSION = "geerlingguy.postgresql", "4.0.3"
#: The collections that the role uses, and where they are installed.
ROLE_COLLECTIONS, COLLECTIONS = ("community.general",), BENCH / "collections"
SCRIPT = Path(__file__).parent / "bare_stack.sh"
RELEASES = ROOT / "roles" / "mlflow_server" / "files" / "releases"
#: The setting that changes, and the numbers of servers.
CHANGED, SERVERS = "mlflow_server_workers", (1, 2, 4, 8)
FIRST = Stack("first", prepared=False)
BARE = Stack("bare", prepared=False)
ROLE_HOST = Stack("role", prepared=False)
CHANGE, SERVERS_STACK = Stack("change"), Stack("servers")

#: The playbook of the well-known role, with a database and a user like ours.
ROLE_PLAY = [
    {
        "hosts": "postgres",
        "vars": {
            "postgresql_databases": [{"name": "mlflow", "owner": "mlflow"}],
            "postgresql_users": [{"name": "mlflow", "password": "a-throw-away-host", "encrypted": True}],
            "postgres_users_no_log": True,
        },
        "roles": [{"role": ROLE}],
    }
]


def bare_script(stack: Stack) -> float:
    """Run the bare script on a host, and return its seconds with the copy of its files."""
    host = stack.hosts[0]
    files = {"bare_stack.sh": SCRIPT, "requirements.txt": newest_lock(), "uv.txt": ROOT / "roles/common/files/uv.txt", "minio": minio.EXECUTABLE.resolve()}

    def script() -> None:
        for name, source in files.items():
            run(["docker", "cp", source, f"{host}:/root/{name}"])
        hosts.in_host(host, "sh", "/root/bare_stack.sh")

    return seconds_of(script)


def newest_lock() -> Path:
    """Return the lock of the newest release of MLflow."""
    return RELEASES / machine.newest_release() / "requirements.txt"


def role_folder(options: Options, scratch: Path) -> Path | None:
    """Return the folder with the well-known role, from the options or from Galaxy; None if there is none. Its collections are installed too."""
    if options.role:
        (scratch / ROLE).symlink_to(options.role.resolve())
    else:
        command: list[str | Path] = [BIN / "ansible-galaxy", "role", "install", f"{ROLE},{ROLE_VERSION}", "-p", scratch]
        if subprocess.run(command, capture_output=True, timeout=60, check=False).returncode:
            return None
    missing = [name for name in ROLE_COLLECTIONS if not (COLLECTIONS / "ansible_collections" / name.replace(".", "/")).exists()]
    if missing:
        bootstrap.from_carrier(missing, COLLECTIONS)
    return scratch


def play_role(stack: Stack, folder: Path) -> float:
    """Run the well-known role on a host, and return its seconds."""
    play = folder / "role.json"
    play.write_text(json.dumps(ROLE_PLAY))
    command: list[str | Path] = [BIN / "ansible-playbook", "-i", stack.inventory, play]
    found = f"{COLLECTIONS}:{ROOT / 'collections'}"
    return seconds_of(
        lambda: run(command, ANSIBLE_NOCOLOR="1", ANSIBLE_INJECT_FACT_VARS="true", ANSIBLE_ROLES_PATH=str(folder), ANSIBLE_COLLECTIONS_PATH=found)
    )


def runs(options: Options) -> list[Pair]:
    """Compare the first and the second run of the playbook with those of a bare script, and of a well-known role, each on a new host in each round."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = role_folder(options, Path(scratch))
        actions: dict[str, tuple[Stack, Callable[[], float]]] = {"ours": (FIRST, FIRST.play), SCRIPT.name: (BARE, lambda: bare_script(BARE))}
        if folder:
            actions[ROLE] = (ROLE_HOST, lambda: play_role(ROLE_HOST, folder))
        else:
            notice(f"Galaxy does not give {ROLE} to this machine, so it is left out. Name a folder with it: make bench ROLE=/path/to/role")
        values: dict[str, list[list[float]]] = {who: [] for who in actions}
        for number in range(options.rounds):
            for who, (stack, action) in actions.items():
                stack.remove()
                try:
                    stack.create()
                    values[who].append([action(), action()])
                finally:
                    stack.remove()
            notice(f"round {number + 1}: " + ", ".join(f"{who} {given[-1][0]:.1f} and {given[-1][1]:.1f} s" for who, given in values.items()))
    pairs = []
    for which, place in (("first", 0), ("second", 1)):
        ours = [given[place] for given in values["ours"]]
        pairs.append(Pair("runs", f"{which} run", "s", "bare script", ours, [given[place] for given in values[SCRIPT.name]], more_is_better=False))
        if folder:
            others = [given[place] for given in values[ROLE]]
            aim = 0.8 if which == "second" else None
            pairs.append(Pair("runs", f"{which} run", "s", f"{ROLE}, PostgreSQL alone", ours, others, more_is_better=False, aim=aim))
    return pairs


def servers(options: Options) -> list[Pair]:
    """Compare a run without changes over several tracking servers with that over one."""
    values: dict[int, list[float]] = {}
    for count in [count for count in SERVERS if count <= options.most_servers]:
        with hosts.running(replace(SERVERS_STACK, name=f"servers{count}", servers=count), options.keep) as stack:
            values[count] = [stack.play() for _ in range(options.rounds)]
            notice(f"{count} servers: " + ", ".join(f"{seconds:.1f} s" for seconds in values[count]))
    return [
        Pair("servers", f"run without changes, {count} tracking servers", "s", "1 tracking server", values[count], values[1], more_is_better=False)
        for count in values
        if count > 1
    ]


def change(options: Options) -> list[Pair]:
    """Compare a run that changes one setting of the tracking server with a run that changes nothing."""
    changed, unchanged = [], []
    with hosts.running(CHANGE, options.keep) as stack:
        for number in range(options.rounds):
            changed.append(stack.play("-e", f"{CHANGED}={3 + number}"))
            unchanged.append(stack.play("-e", f"{CHANGED}={3 + number}"))
            notice(f"round {number + 1}: {changed[-1]:.1f} and {unchanged[-1]:.1f} s")
    return [Pair("change", f"run that changes {CHANGED}", "s", "run without changes", changed, unchanged, more_is_better=False)]


ROWS: dict[str, Callable[[Options], list[Pair]]] = {"runs": runs, "servers": servers, "change": change}
STACKS = {"runs": [FIRST, BARE, ROLE_HOST], "servers": [SERVERS_STACK], "change": [CHANGE]}
