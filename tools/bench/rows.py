"""The rows that compare servers: requests, users, memory, artifacts, starts and containers."""

from __future__ import annotations

import hashlib
import http.client
import json
import statistics
import subprocess
import time
import urllib.parse
from base64 import b64encode
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tools import bootstrap
from tools.testbed.shell import BIN, ROOT, TestbedError, environment

from . import hosts, targets
from .figures import Pair
from .hosts import BENCH, Server, Stack, notice
from .processor import Parts
from .seed import EXPERIMENTS, PROMPTS

LOCK = Path(__file__).parent / "requirements.txt"
VENV = BENCH / "venv"
DEFAULTS = "mlflow server, defaults"
#: The share of failed requests above which a result has no meaning.
MOST_FAILURES = 0.01
ADMINISTRATOR, USER = "admin", "person"
OURS = Stack("ours")
DIRECT = Stack("direct", {"mlflow_server_artifact_mode": "direct"})
USERS = Stack(
    "users",
    {
        "mlflow_server_auth": "basic",
        "mlflow_server_default_permission": "NO_PERMISSIONS",
        "mlflow_server_users": [
            {
                "name": USER,
                "password": "{{ lookup('ansible.builtin.password', inventory_dir ~ '/.secrets/user_person') }}",
                "experiments": dict.fromkeys(EXPERIMENTS, "MANAGE"),
                "prompts": dict.fromkeys(PROMPTS, "MANAGE"),
            }
        ],
    },
)
#: Nobody logs in by the provider here: the load has the administrator's password and a token, as programs have.
OIDC = Stack(
    "oidc",
    {
        "mlflow_server_auth": "oidc",
        "mlflow_server_oidc_discovery_url": "https://127.0.0.1/.well-known/openid-configuration",
        "mlflow_server_oidc_client_id": "mlflow",
        "mlflow_server_oidc_client_secret": "{{ lookup('ansible.builtin.password', inventory_dir ~ '/.secrets/oidc_client_secret') }}",
        "mlflow_server_oidc_redirect_uri": "https://127.0.0.1/callback",
        "mlflow_server_oidc_groups": ["people"],
        # The verification asks the provider.
        "mlflow_server_verify": False,
    },
)
CONTAINER = Stack("container", containers=True)
SETTINGS_STACK = Stack("settings")
#: Files: their number and bytes.
TRANSFERS = {"64 MB": (1, 64 * 10**6), "1 GB": (1, 10**9), "200 x 100 kB": (200, 100_000)}
#: Settings whose cost and gain are measured, by how a table names them.
SETTINGS: dict[str, dict[str, Any]] = {
    "mlflow_server_workers: 1": {"mlflow_server_workers": 1},
    "mlflow_server_workers: 4": {"mlflow_server_workers": 4},
    "MLFLOW_SQLALCHEMYSTORE_POOL_SIZE: 1, no overflow": {
        "mlflow_server_environment": {"MLFLOW_SQLALCHEMYSTORE_POOL_SIZE": "1", "MLFLOW_SQLALCHEMYSTORE_MAX_OVERFLOW": "0"}
    },
}
#: The modules that a worker of the server imports.
IMPORTED = "mlflow.server.fastapi_app"


@dataclass(frozen=True)
class Options:
    """How much is measured."""

    rounds: int = 3
    #: Seconds of the load in each round.
    seconds: float = 20
    #: Files of the row `artifacts`, by their names in TRANSFERS.
    files: tuple[str, ...] = tuple(TRANSFERS)
    #: The names of the stacks that stay for a later row, or for the next call.
    keep: frozenset[str] = frozenset()
    #: A folder with the role geerlingguy.postgresql, and the greatest number of tracking servers, for the rows of the play.
    role: Path | None = None
    most_servers: int = 8


def install() -> None:
    """Make .bench/venv contain exactly the packages in the lock, unless it does."""
    stamp, digest = VENV / "lock.sha256", hashlib.sha256(LOCK.read_bytes()).hexdigest()
    if stamp.exists() and stamp.read_text() == digest:
        return
    settings = bootstrap.pip_settings()
    bootstrap.run([BIN / "uv", "venv", "--quiet", "--clear", "--python", BIN / "python", VENV], env=settings)
    bootstrap.run([BIN / "uv", "pip", "sync", "--quiet", "--require-hashes", LOCK, "--python", VENV / "bin" / "python"], env=settings)
    stamp.write_text(digest)


class LoadFailed(TestbedError):
    """Too many requests of a load failed.

    :param server: The server that did not answer them.
    """

    def __init__(self, server: Server, text: str) -> None:
        super().__init__(text)
        self.server = server


def results_in_turns(
    urls: list[str], rounds: int, seconds: float, login: list[str] | None = None, seed_login: list[str] | None = None, parts: Parts | None = None
) -> list[list[dict[str, Any]]]:
    """Send the load to servers with the same stores in turns, and return the results of each of them.

    :param parts: The parts whose processor time is recorded.
    :raises TestbedError: If the load is refused.
    """
    given = json.dumps({"urls": urls, "rounds": rounds, "seconds": seconds, "login": login, "seed_login": seed_login or login, "parts": parts})
    done = subprocess.run(
        [VENV / "bin" / "python", "-m", "tools.bench.load"],
        input=given,
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**environment(), "no_proxy": "*"},
        # A seed on a slow server takes a while; nothing may take longer.
        timeout=rounds * len(urls) * (seconds + 60) + 600,
        check=False,
    )
    if done.returncode:
        raise TestbedError(f"The load on {', '.join(urls)} failed: {done.stderr[-3000:]}")
    results: list[list[dict[str, Any]]] = json.loads(done.stdout.splitlines()[-1])
    return results


def failed_of(results: list[dict[str, Any]], url: str) -> str:
    """Return what is wrong with the results of a server, empty if few enough requests failed."""
    for result in results:
        if result["failures"] > MOST_FAILURES * result["requests"] or not result["requests"]:
            return f"{result['failures']} of {result['requests']} requests to {url} failed: {'; '.join(result['errors'])}"
    return ""


def load_in_turns(servers: list[Server], rounds: int, seconds: float, login: list[str] | None = None, seed_login: list[str] | None = None) -> list[list[float]]:
    """Send the load to servers with the same stores in turns, and return the requests per second of each of them.

    :raises LoadFailed: If too many requests fail.
    :raises TestbedError: If the load is refused.
    """
    return requests_per_second(servers, results_in_turns([server.url for server in servers], rounds, seconds, login, seed_login))


def requests_per_second(servers: list[Server], results: list[list[dict[str, Any]]]) -> list[list[float]]:
    """Return the requests per second of each server in each round.

    :param results: What the load says of each server in each round.
    :raises LoadFailed: If too many requests of a round failed.
    """
    for server, found in zip(servers, results):
        if said := failed_of(found, server.url):
            raise LoadFailed(server, f"{said}\nThe end of its log:\n{server.log()}")
    return [[float(result["requests_per_second"]) for result in found] for found in results]


def load(server: Server, seconds: float, login: list[str] | None = None, seed_login: list[str] | None = None) -> float:
    """Send the load to a server, and return the requests per second."""
    return load_in_turns([server], 1, seconds, login, seed_login)[0][0]


def small_request(server: Server, login: list[str] | None, requests: int = 20) -> float:
    """Return the median of the milliseconds of a small request on a kept connection.

    :raises TestbedError: If the server refuses it.
    """
    targets.check(server.url, targets.testbed_subnets())
    where = urllib.parse.urlsplit(server.url)
    headers = {"Authorization": "Basic " + b64encode(":".join(login).encode()).decode()} if login else {}
    connection = http.client.HTTPConnection(str(where.hostname), where.port, timeout=30)
    taken = []
    for _ in range(requests):
        begun = time.monotonic()
        connection.request("GET", "/api/2.0/mlflow/experiments/get?experiment_id=0", headers=headers)
        answer = connection.getresponse()
        answer.read()
        taken.append((time.monotonic() - begun) * 1000)
        if answer.status != 200:
            raise TestbedError(f"{server.url} answers {answer.status} to a small request.")
    return statistics.median(taken)


def login_of(name: str, stack: Stack = USERS) -> list[str]:
    """Return the name and the password of a user of a stack."""
    path = stack.inventory.parent / ".secrets" / ("mlflow_admin_password" if name == ADMINISTRATOR else f"user_{name}")
    return [name, path.read_text().strip()]


def requests(options: Options) -> list[Pair]:
    """Compare the server with `mlflow server` on the same stores: throughput, and memory after the load. Only one of them runs at a time."""
    ours: list[float] = []
    other: list[float] = []
    ours_memory: list[float] = []
    other_memory: list[float] = []
    with hosts.running(OURS, options.keep) as stack:
        for number in range(options.rounds):
            ours.append(load(stack.server, options.seconds))
            ours_memory.append(stack.server.memory() / 1e9)
            with hosts.stopped(stack.server), hosts.defaults_server(stack.hosts[0]) as defaults:
                other.append(load(defaults, options.seconds))
                other_memory.append(defaults.memory() / 1e9)
            notice(f"round {number + 1}: {ours[-1]:.1f} and {other[-1]:.1f} requests/s, {ours_memory[-1]:.2f} and {other_memory[-1]:.2f} GB")
    return [
        Pair("requests", "16 operations, 10 clients, no users", "requests/s", DEFAULTS, ours, other, aim=2.0),
        Pair("memory", "PSS of all processes of the server after the load", "GB", DEFAULTS, ours_memory, other_memory, more_is_better=False, aim=0.27),
    ]


def users(options: Options) -> list[Pair]:
    """Compare a server with users with a server without, each on a host of its own."""
    return with_logins(options, USERS, "basic auth", lambda: login_of(USER))


def oidc(options: Options) -> list[Pair]:
    """Compare a server with OpenID Connect with a server without users, each on a host of its own."""

    def token() -> list[str]:
        # The seed, on which the user gets rights.
        load(OIDC.server, 1, login_of(ADMINISTRATOR, OIDC))
        return [USER, hosts.with_servers_settings(OIDC.hosts[0], hosts.ON_HOST / "oidc_user.py", USER, ",".join(EXPERIMENTS), ",".join(PROMPTS))]

    return with_logins(options, OIDC, "OpenID Connect", token)


def with_logins(options: Options, stack: Stack, kind: str, login: Callable[[], list[str]]) -> list[Pair]:
    """Compare a server with users with a server without, each on a host of its own.

    :param kind: What the tables call the logins.
    :param login: Returns the name and the password of the user with rights, when the server runs.
    """
    values: dict[str, list[float]] = {name: [] for name in ("none", ADMINISTRATOR, USER, "small none", "small")}
    with hosts.running(OURS, options.keep) as plain, hosts.running(stack, options.keep) as other:
        administrator, person = login_of(ADMINISTRATOR, stack), login()
        for number in range(options.rounds):
            values["none"].append(load(plain.server, options.seconds))
            values[ADMINISTRATOR].append(load(other.server, options.seconds, administrator))
            values[USER].append(load(other.server, options.seconds, person, administrator))
            values["small none"].append(small_request(plain.server, None))
            values["small"].append(small_request(other.server, administrator))
            notice(f"round {number + 1}: " + ", ".join(f"{name} {given[-1]:.1f}" for name, given in values.items() if given))
    none, row = "without users", stack.name
    return [
        Pair(row, f"16 operations, {kind}, administrator", "requests/s", none, values[ADMINISTRATOR], values["none"], aim=0.9),
        Pair(row, f"16 operations, {kind}, user with rights on 100 experiments", "requests/s", none, values[USER], values["none"], aim=0.9),
        Pair(row, "one small request with a login", "ms", none, values["small"], values["small none"], more_is_better=False),
    ]


def transfer(container: str, rounds: int, files: str, ways: tuple[str, ...]) -> list[Pair]:
    """Compare artifacts through a server with boto3 straight to MinIO, in turns in one process on the server's host.

    :param files: A name in TRANSFERS.
    :param ways: Of `server` (MLflow's client), `direct` (the same if the server's mode is direct), `http` (plain requests to the server), `link` (plain
        requests to links to the store), and `boto3`. With `-in-turn`, a way transfers one file after the other, and is compared with boto3 in turn.
    """
    count, size = TRANSFERS[files]
    url = f"http://127.0.0.1:{hosts.PORT}"
    given = [url, str(size), str(count), str(rounds), ",".join(ways)]
    seconds = hosts.with_servers_settings(container, hosts.ON_HOST / "transfer.py", *given)
    row = "direct" if "direct" in ways else "artifacts"
    through = {
        "server": "MLflow's client through the server",
        "http": "plain HTTP through the server",
        "direct": "MLflow's client in direct mode",
        "link": "plain HTTP by the same links",
        "http-in-turn": "plain HTTP through the server, in turn",
    }
    speeds = {key: [count * size / 1e6 / value for value in values] for key, values in seconds.items()}
    aims = {"server": 0.9 if count == 1 else 0.8, "http": 0.9 if count == 1 else 0.8, "direct": 0.95}
    pairs = []
    for way in ways:
        base = "boto3-in-turn" if way.endswith("-in-turn") else "boto3"
        if way == base:
            continue
        name = base.replace("-in-turn", ", in turn")
        for direction in ("up", "down"):
            values = speeds[f"{way} {direction}"], speeds[f"{base} {direction}"]
            pairs.append(Pair(row, f"{files} {direction}", "MB/s", name, *values, aim=aims.get(way), ours=through[way]))
    return pairs


def artifacts(options: Options) -> list[Pair]:
    """Compare artifacts through the server with boto3 straight to MinIO."""
    with hosts.running(OURS, options.keep) as stack:
        ways = {files: ("server", "http", "boto3") + (("http-in-turn", "boto3-in-turn") if TRANSFERS[files][0] > 1 else ()) for files in options.files}
        return [pair for files in options.files for pair in transfer(stack.hosts[0], options.rounds, files, ways[files])]


def direct(options: Options) -> list[Pair]:
    """Compare artifacts by links to the store, which the server returns in direct mode, with boto3 straight to MinIO."""
    with hosts.running(DIRECT, options.keep) as stack:
        large = [files for files in options.files if TRANSFERS[files][0] == 1]
        return [pair for files in large for pair in transfer(stack.hosts[0], options.rounds, files, ("direct", "link", "boto3"))]


def start_of(container: str, rounds: int) -> list[Pair]:
    """Compare the start of a server to its first answer with the import of its modules alone."""
    url = f"http://127.0.0.1:{hosts.PORT}/api/2.0/mlflow/experiments/search?max_results=1"
    script = (hosts.ON_HOST / "start.py").read_text()
    printed = hosts.in_host(container, "python3", "-c", script, hosts.UNIT, url, f"{hosts.RELEASE_BIN}/python", IMPORTED, str(rounds))
    found: dict[str, Any] = json.loads(printed.splitlines()[-1])
    return [Pair("start", "start to the first answer", "s", "import alone", found["start"], found["import"], more_is_better=False, aim=1.3)]


def start(options: Options) -> list[Pair]:
    """Compare the start of the server to its first answer with the import of its modules alone."""
    with hosts.running(OURS, options.keep) as stack:
        return start_of(stack.hosts[0], options.rounds)


def container(options: Options) -> list[Pair]:
    """Compare the server in a container with the server as a unit, each on a host of its own."""
    contained: list[float] = []
    unit: list[float] = []
    with hosts.running(OURS, options.keep) as plain, hosts.running(CONTAINER, options.keep) as other:
        for number in range(options.rounds):
            contained.append(load(other.server, options.seconds))
            unit.append(load(plain.server, options.seconds))
            notice(f"round {number + 1}: container {contained[-1]:.1f}, unit {unit[-1]:.1f} requests/s")
    return [Pair("container", "16 operations, 10 clients, no users", "requests/s", "unit", contained, unit, aim=0.95, ours="container")]


def settings(options: Options) -> list[Pair]:
    """Compare the server with one other setting with the server with its defaults: throughput, and memory after the load."""
    pairs = []
    with hosts.running(SETTINGS_STACK, options.keep) as stack:
        for name, variables in SETTINGS.items():
            speed: dict[bool, list[float]] = {False: [], True: []}
            memory: dict[bool, list[float]] = {False: [], True: []}
            for number in range(options.rounds):
                # In turns, so that what fills up or warms up favours neither.
                for changed in (True, False) if number % 2 else (False, True):
                    stack.play(*(["-e", json.dumps(variables)] if changed else []))
                    speed[changed].append(load(stack.server, options.seconds))
                    memory[changed].append(stack.server.memory() / 1e9)
                notice(f"{name}, round {number + 1}: {speed[True][-1]:.1f}, defaults {speed[False][-1]:.1f} requests/s")
            pairs.append(Pair("settings", f"throughput with {name}", "requests/s", "defaults", speed[True], speed[False]))
            pairs.append(Pair("settings", f"memory with {name}", "GB", "defaults", memory[True], memory[False], more_is_better=False))
    return pairs


ROWS: dict[str, Callable[[Options], list[Pair]]] = {
    "requests": requests,
    "users": users,
    "oidc": oidc,
    "artifacts": artifacts,
    "direct": direct,
    "start": start,
    "container": container,
    "settings": settings,
}
#: The stacks of each row, for what is prepared before.
STACKS = {
    "requests": [OURS],
    "users": [OURS, USERS],
    "oidc": [OURS, OIDC],
    "artifacts": [OURS],
    "direct": [DIRECT],
    "start": [OURS],
    "container": [OURS, CONTAINER],
    "settings": [SETTINGS_STACK],
}
