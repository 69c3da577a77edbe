"""What the tests of a running stack share: its hosts by their group, and a client that stands where users stand."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import testinfra
from testinfra.host import Host
from testinfra.utils.ansible_runner import AnsibleRunner

ROOT = Path(__file__).resolve().parents[2]
PORT = 5001
#: Seconds that a playbook may take to come to a task, or to its end, and a server to answer.
PATIENCE = 300

#: Counts what streams from a primary, and what of it is synchronous.
REPLICAS = "SELECT count(*) || ' ' || count(*) FILTER (WHERE sync_state IN ('sync', 'quorum')) FROM pg_stat_replication WHERE state = 'streaming'"

#: Asks one URL by an optional Host header, without a proxy, and prints status and body as JSON. Runs on the client host, for run_python.
ASK = """
import base64, json, ssl, sys, urllib.error, urllib.request
url, host, method, body, authority, login, origin = json.load(sys.stdin)
headers = {"Content-Type": "application/json", **({"Host": host} if host else {}), **({"Origin": origin} if origin else {})}
if login:
    headers["Authorization"] = "Basic " + base64.b64encode(":".join(login).encode()).decode()
request = urllib.request.Request(url, method=method, headers=headers, data=body.encode() if body is not None else None)
trust = urllib.request.HTTPSHandler(context=ssl.create_default_context(cadata=authority or None))
opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), trust)
try:
    with opener.open(request, timeout=20) as response:
        print(json.dumps([response.status, response.read().decode(errors="replace")]))
except urllib.error.HTTPError as error:
    print(json.dumps([error.code, error.read().decode(errors="replace")]))
except OSError as error:
    print(json.dumps([0, str(error)]))
"""

#: Prints how a TCP connection to each of the addresses given goes: a packet that is dropped shows as a time-out.
CONNECT = """
import json, socket, sys
def outcome(address, port):
    try:
        socket.create_connection((address, port), 2).close()
        return "open"
    except TimeoutError:
        return "dropped"
    except ConnectionRefusedError:
        return "refused"
print(json.dumps([outcome(*target) for target in json.loads(sys.argv[1])]))
"""


@dataclass(frozen=True)
class Answer:
    """A server's answer; status 0 means that there was none, and the body says why."""

    status: int
    body: str

    def json(self) -> Any:
        """Return the body as JSON."""
        return json.loads(self.body)


def family(pid: int, processes: str) -> set[int]:
    """Return a process and its descendants, by a list of all processes, each with its parent."""
    parents = [tuple(map(int, line.split())) for line in processes.splitlines()]
    pids = {pid}
    while more := {pid for pid, parent in parents if parent in pids} - pids:
        pids |= more
    return pids


@dataclass(frozen=True)
class Service:
    """The tracking server's service on its host, whichever way it is deployed."""

    host: Host
    main_pid: int
    settings: str
    log: str

    @property
    def pids(self) -> set[int]:
        """Return the main process and its descendants."""
        return family(self.main_pid, self.host.check_output("ps -e -o pid= -o ppid="))

    @property
    def started(self) -> str:
        """Return when the main process was started, as the kernel counts, with its number: no two starts are alike."""
        return f"{self.main_pid} {self.host.check_output(f'cat /proc/{self.main_pid}/stat').rpartition(')')[2].split()[19]}"


def assert_kept_run(client: Host, name: str = "localhost") -> None:
    """See the one run that the oldest release logged, with its parameter, its artifact and the model that is registered of it.

    :param name: The tracking server's name, as ``client`` knows it.
    """
    base = f"{base_url(name)}/api/2.0"
    experiment = ask(client, f"{base}/mlflow/experiments/get-by-name?experiment_name=kept").json()["experiment"]["experiment_id"]
    found = ask(client, f"{base}/mlflow/runs/search", method="POST", body={"experiment_ids": [experiment]}).json()["runs"]
    assert [run["data"]["params"] for run in found] == [[{"key": "kept", "value": "yes"}]]
    root = found[0]["info"]["artifact_uri"].removeprefix("mlflow-artifacts:/")
    assert ask(client, f"{base}/mlflow-artifacts/artifacts/{root}/kept.txt").body == "written by the oldest release"
    versions = ask(client, f"{base}/mlflow/model-versions/search?filter=name%3D%27kept%27").json()["model_versions"]
    assert [(version["version"], version["run_id"]) for version in versions] == [("1", found[0]["info"]["run_id"])]


def make_webhook(client: Host, url: str) -> Answer:
    """Make a webhook with a secret that signs what is sent. It is disabled, and its address is never called."""
    events = [{"entity": "REGISTERED_MODEL", "action": "CREATED"}]
    body = {"name": "kept", "url": "https://9.9.9.9/never-called", "status": "DISABLED", "events": events, "secret": "signs-what-is-sent"}
    return ask(client, f"{url}/api/2.0/mlflow/webhooks", method="POST", body=body)


def webhooks(client: Host, url: str, times: int = 8) -> set[tuple[int, tuple[str, ...]]]:
    """Return each different answer to the question for all webhooks, status and names, asked so often that each worker answers."""
    answers = [ask(client, f"{url}/api/2.0/mlflow/webhooks") for _ in range(times)]
    return {(answer.status, tuple(hook["name"] for hook in answer.json().get("webhooks", [])) if answer.status == 200 else ()) for answer in answers}


def query(postgres: Host, sql: str) -> str:
    """Return what PostgreSQL answers its own administrator."""
    engine = engine_of(postgres, "atlas-postgres")
    runner = f"{engine} exec --user 999 atlas-postgres" if engine else "sudo -u postgres"
    return postgres.check_output(f"{runner} psql --username postgres --no-psqlrc --tuples-only --no-align --dbname mlflow --command %s", sql)


def primary_of(members: dict[str, Host]) -> Host:
    """Return the host of the primary among the members of a cluster, by their names."""
    (name,) = (name for name, host in members.items() if query(host, "SELECT pg_is_in_recovery()") == "f")
    return members[name]


def replicas_of(primary: Host) -> str:
    """Return how many replicas stream from the primary of a cluster, and how many of these are synchronous, such as ``2 1``."""
    return query(primary, REPLICAS)


def engine_of(host: Host, name: str) -> str:
    """Return the program that runs a container of this name on a host, docker or podman; empty if there is no such container."""
    engines = ("docker", "podman")
    return next((engine for engine in engines if host.run(f"{engine} inspect --format '{{{{.State.Running}}}}' %s", name).stdout.strip() == "true"), "")


def service_of(host: Host) -> Service:
    """Return the tracking server's service on a host: its container where there is one, or else its unit."""
    container = host.run("docker inspect --format '{{.State.Pid}}' atlas-mlflow-server")
    if container.rc == 0:
        return Service(host, int(container.stdout), "/etc/atlas-mlflow/mlflow-server.json", "docker logs --tail 30 atlas-mlflow-server 2>&1")
    podman = host.run("podman inspect --format '{{.State.Pid}}' atlas-mlflow-server")
    if podman.rc == 0:
        return Service(host, int(podman.stdout), "/etc/atlas-mlflow/mlflow-server.json", "journalctl -u mlflow-server.service -n 30 --no-pager")
    pid = host.check_output("systemctl show --property MainPID --value mlflow-server.service")
    return Service(host, int(pid), "/etc/default/mlflow-server", "journalctl -u mlflow-server.service -n 30 --no-pager")


def secrets_folder() -> Path:
    """Return where the playbook keeps the scenario's secrets on the control node."""
    return Path(os.environ["MOLECULE_INVENTORY_FILE"]).parent / ".secrets"


def authority() -> str:
    """Return the certificate of the inventory's own authority, empty where the scenario has no TLS."""
    path = secrets_folder() / "tls" / "authority.pem"
    return path.read_text(encoding="utf-8") if path.exists() else ""


def base_url(name: str) -> str:
    """Return the tracking server's URL by a name or an address."""
    return f"{'https' if authority() else 'http'}://{name}:{PORT}"


def administrator() -> tuple[str, str] | None:
    """Return the name and password of MLflow's administrator, nothing where nobody logs in."""
    path = secrets_folder() / "mlflow_admin_password"
    return ("admin", path.read_text(encoding="utf-8").strip()) if path.exists() else None


def login_of(name: str, secret: str = "") -> tuple[str, str]:
    """Return a user's name and password, from where the scenario keeps it."""
    return name, (secrets_folder() / f"user_{secret or name}").read_text(encoding="utf-8").strip()


def ask(
    client: Host,
    url: str,
    host: str = "",
    method: str = "GET",
    body: Any = None,
    login: tuple[str, str] | str | None = "administrator",
    origin: str = "",
) -> Answer:
    """Ask ``url`` from the ``client`` host.

    :param host: The Host header, when it is not the URL's own.
    :param body: Sent as JSON.
    :param login: Name and password; by default the administrator's, where the scenario has one, and with None nobody's.
    :param origin: The Origin header, by which a browser names the page that asks.
    """
    who = administrator() if login == "administrator" else login
    return Answer(*run_python(client, ASK, [url, host, method, None if body is None else json.dumps(body), authority(), who, origin]))


def connect(host: Host, target: Host, *ports: int) -> list[str]:
    """Return how connections from a host to ports of another one go."""
    return json.loads(host.check_output("python3 -c %s %s", CONNECT, json.dumps([[address_of(target), port] for port in ports])))


def assert_stray_is_dropped(client: Host, server: Host, engine: str, image: str) -> None:
    """Check that the firewall drops connections to a port that a foreign container publishes, and that nothing else does.

    :param engine: The program that runs containers on the server: docker or podman.
    :param image: An image with Python.
    """
    server.check_output(f"{engine} run --detach --rm --name stray --publish 8088:8088 --entrypoint python %s -m http.server 8088", image)
    get = "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8088')"
    try:
        server.check_output("timeout 60 sh -c %s", f'until python3 -c "{get}" 2>/dev/null; do sleep 0.2; done')
        assert connect(client, server, 8088) == ["dropped"]
        server.check_output("systemctl stop atlas-mlflow-firewall.service")
        assert connect(client, server, 8088) == ["open"]
    finally:
        server.check_output(f"systemctl start atlas-mlflow-firewall.service && {engine} stop --time 1 stray")


def release(server: Host) -> str:
    """Return the release that answers."""
    return ask(server, f"{base_url('localhost')}/version").body


def wait_for_answer(client: Host, url: str) -> Answer:
    """Ask ``url`` from the ``client`` host until it answers with 200, or PATIENCE is at its end, and return the last answer."""
    deadline = time.monotonic() + PATIENCE
    answer = ask(client, url)
    while answer.status != 200 and time.monotonic() < deadline:
        time.sleep(1)
        answer = ask(client, url)
    return answer


def run_python(host: Host, script: str, given: Any, python: str = "python3", environment: dict[str, str] | None = None) -> Any:
    """Run a script on a host, and return the JSON that it prints.

    :param given: What the script reads from its input as JSON: a secret must not stand in its arguments, where tests look for one.
    """
    variables = [word for name, value in (environment or {}).items() for word in ("--env", f"{name}={value}")]
    command = ["docker", "exec", "--interactive", *variables, host.backend.name, python, "-c", script]
    done = subprocess.run(command, input=json.dumps(given), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def minio_endpoint(minio: Host) -> str:
    """Return the URL by which MinIO's own host reaches it."""
    # A certificate of a company's is for no address of loopback.
    address = "localhost:9000" if authority() else "127.0.0.1:9000" if engine_of(minio, "atlas-minio") else next(iter(listening(minio, "minio")))
    return f"http{'s' * bool(authority())}://{address}"


def run_boto(minio: Host, script: str, given: Any) -> Any:
    """Run a script on MinIO's host with boto3 from the role's own tools, and return the JSON that it prints."""
    trust = {"AWS_CA_BUNDLE": "/etc/atlas-mlflow/tls/minio/authority.pem"} if authority() else {}
    return run_python(minio, script, given, "/opt/minio/admin/bin/python", trust)


def hosts_of(group: str) -> list[str]:
    """Return the names of the scenario's hosts in a group of the inventory."""
    # Which reads the inventory once.
    return AnsibleRunner.get_runner(os.environ["MOLECULE_INVENTORY_FILE"]).get_hosts(group)


def host_of(group: str, number: int = 0) -> Host:
    """Return a host of a group, the first one. A scenario that has no such host is a mistake of the test, and an error."""
    return testinfra.get_host(f"docker://{hosts_of(group)[number]}")


def stack_hosts() -> list[Host]:
    """Return every host that has a part in the stack."""
    names = dict.fromkeys(name for group in ("mlflow_servers", "postgres", "minio", "haproxy", "prometheus") for name in hosts_of(group))
    return [testinfra.get_host(f"docker://{name}") for name in names]


def address_of(host: Host) -> str:
    """Return the address of a host on the scenario's network: the source of its default route. Docker on it has networks of its own."""
    words = host.check_output("ip -4 route get 192.0.2.1").split()
    return words[words.index("src") + 1]


def open_sockets(host: Host) -> set[str]:
    """Return the TCP and UDP sockets of a host that others could reach, as protocol and port.

    Podman's name server is for containers: it listens on the address of their network alone.
    """
    listed = host.check_output("ss --no-header --listening --tcp --udp --numeric --processes").splitlines()
    lines = [line.split() for line in listed if '"aardvark-dns"' not in line]
    return {f"{line[0]} {line[4].rpartition(':')[2]}" for line in lines if not line[4].startswith(("127.", "[::1]"))}


def listening(host: Host, process: str) -> set[str]:
    """Return the TCP addresses on which processes of a name listen."""
    lines = host.check_output("ss --no-header --listening --tcp --numeric --processes").splitlines()
    return {line.split()[3] for line in lines if f'"{process}"' in line}


def playbook(name: str, over: dict[str, Any], folder: Path) -> list[str]:
    """Return the command that runs a playbook with the scenario's inventory, and what is laid over it, written to a folder."""
    extra = folder / "over.yml"
    extra.write_text(json.dumps(over), encoding="utf-8")
    inventory = os.path.dirname(os.environ["MOLECULE_INVENTORY_FILE"])
    ansible = str(Path(sys.executable).parent / "ansible-playbook")
    return [ansible, "--inventory", inventory, "--inventory", str(extra), str(ROOT / "playbooks" / f"{name}.yml")]


def play(command: list[str], *arguments: str, patience: int = PATIENCE) -> subprocess.CompletedProcess[str]:
    """Run a playbook to its end, for which it has some seconds."""
    return subprocess.run(
        [*command, *arguments], cwd=ROOT, capture_output=True, text=True, timeout=patience, check=False, env={**os.environ, "ANSIBLE_NOCOLOR": "1"}
    )


def said(done: subprocess.CompletedProcess[str]) -> str:
    """Return what a playbook said, whose lines Ansible breaks anywhere, as one line."""
    return re.sub(r"\s+", " ", done.stdout)


def changed(done: subprocess.CompletedProcess[str]) -> set[str]:
    """See that a playbook succeeded, and return the numbers of changed tasks on its hosts, each as C(changed=0)."""
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    return set(re.findall(r"changed=\d+", done.stdout))


def assert_unchanged(done: subprocess.CompletedProcess[str]) -> None:
    """See that a playbook succeeded and changed nothing on any host."""
    assert changed(done) == {"changed=0"}, done.stdout[-6000:]


def diagnosis(folder: Path) -> tuple[int, list[str], str]:
    """Run the diagnosis, and return the status of the playbook, the faults that it names, and what it prints."""
    report = folder / "report.json"
    done = play(playbook("diagnose", {}, folder), "--extra-vars", f"diagnose_json={report}")
    checks = [check for part in json.loads(report.read_text()).values() for check in part] if report.exists() else []
    return done.returncode, sorted({check["fault"] for check in checks if check["verdict"] == "fault"}), done.stdout


def play_until(command: list[str], task: str, output: Path, patience: int = PATIENCE) -> subprocess.Popen[bytes]:
    """Run a playbook, and return its process when it comes to a task, for which it has some seconds."""
    with output.open("wb") as log:
        process = subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=log, start_new_session=True, env={**os.environ, "ANSIBLE_NOCOLOR": "1"})
    deadline = time.monotonic() + patience
    while f"[{task}]" not in output.read_text() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.1)
    assert f"[{task}]" in output.read_text(), output.read_text()[-3000:]
    return process


def cut_short(hosts: Sequence[Host], command: list[str], task: str, output: Path, patience: int = PATIENCE) -> None:
    """Run a playbook until it comes to a task, kill it there with all that it started on this machine, and let what it left on the hosts end.

    A module that Ansible has sent there goes on by itself: a verification would meet the next one's, which has the same experiment.
    """
    process = play_until(command, task, output, patience)
    # Ansible's workers lead sessions of their own, so a group is not all.
    for pid in family(process.pid, subprocess.run(["ps", "-e", "-o", "pid=", "-o", "ppid="], capture_output=True, text=True, check=True).stdout):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    process.wait()
    deadline = time.monotonic() + PATIENCE
    # A module comes through its Python's input, so that there is no argument. One that was under way to the host starts a little later.
    quiet = 0
    while quiet < 6 and time.monotonic() < deadline:
        quiet = 0 if any(host.run("pgrep --full --exact '(/usr/bin/)?python3([.][0-9]+)?'").rc == 0 for host in hosts) else quiet + 1
        time.sleep(0.5)
