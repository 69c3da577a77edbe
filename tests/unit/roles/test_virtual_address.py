"""The address that proxies share: who has which settings for keepalived, what the check of HAProxy says, and what a host tells of it."""

from __future__ import annotations

import socket
import struct
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.atlas.mlflow.plugins.filter.stack import kept_of_stack
from ansible_collections.atlas.mlflow.plugins.module_utils.interfaces import read_addresses
from ansible_collections.atlas.mlflow.plugins.module_utils.stack import read_stack
from plays import tasks_of

from inventories import Case, Run

ROOT = Path(__file__).resolve().parents[3]
PROGRAM = ROOT / "roles/haproxy/files/haproxy_serves.py"
SHARED = {"haproxy_virtual_address": "10.0.0.99/24", "atlas_mlflow_firewall": True, "atlas_mlflow_tls": True}
#: What `show stat` of HAProxy says, without most of its columns.
HEAD = "# pxname,svname,scur,status,weight,lastchg\n"
SERVING = "mlflow,FRONTEND,1,OPEN,,\nmlflow_servers,one,0,UP,1,3\nmlflow_servers,two,0,DOWN,1,90\nmlflow_servers,BACKEND,0,UP,1,3\n\n"


def run(**given: Any) -> Run:
    """Return what a run knows of a server behind two proxies."""
    groups = {"mlflow_servers": ["one"], "haproxy": ["Two.Example.com", "ml_three"]}
    return Run(Case(groups, dict.fromkeys(("one", "Two.Example.com", "ml_three"), given)), secrets={})


def settings(known: Run, name: str) -> str:
    """Return the settings of keepalived on a host."""
    known.hosts[name]["ansible_facts"]["addresses"] = [{"interface": "eth1", "address": known.hosts[name]["atlas_mlflow_ip"], "prefix": 24}]
    text: str = known.value(name, "haproxy", "lookup('ansible.builtin.template', 'keepalived.conf.j2')")
    return text


def test_proxies_announce_to_one_another_alone_and_with_the_same_priority() -> None:
    known = run(**SHARED, haproxy_virtual_secret="eightlet")
    texts = {name: settings(known, name).split() for name in ("Two.Example.com", "ml_three")}
    for name, peer in (("Two.Example.com", "ml_three"), ("ml_three", "Two.Example.com")):
        text, own, other = texts[name], known.hosts[name]["atlas_mlflow_ip"], known.hosts[peer]["atlas_mlflow_ip"]
        assert text[text.index("unicast_src_ip") + 1] == own
        assert text[text.index("unicast_peer") :][:4] == ["unicast_peer", "{", other, "}"]
        assert text[text.index("virtual_ipaddress") :][:6] == ["virtual_ipaddress", "{", "10.0.0.99/24", "dev", "eth1", "}"]
        assert text[text.index("auth_pass") + 1] == "eightlet"
        assert {"protocol": "vrrp", "sources": [other]} in known.plans[name]["firewall_needed"]
        rules = known.value(name, "firewall", "lookup('ansible.builtin.template', 'rules.nft.j2')")
        assert f"ip saddr {{ {other} }} meta l4proto 112 accept\n" in rules
        assert "tcp dport 443 accept\n" in rules
    # What differs is the host itself, its peer and nothing else.
    assert len(set(texts["ml_three"]) ^ set(texts["Two.Example.com"])) == 2
    assert "112" not in known.value("one", "firewall", "lookup('ansible.builtin.template', 'rules.nft.j2')")


def test_one_proxy_keeps_the_address_if_the_checks_fail_on_all_of_them() -> None:
    """Without a weight, keepalived gives the address up. The priority stays above zero, and a proxy that serves has a higher one than one that does not."""
    text = settings(run(**SHARED, haproxy_virtual_secret="eightlet"), "ml_three")
    scripts = text.split("vrrp_script ")[1:]
    weights = {script.split()[0]: int(script.split("weight ")[1].split()[0]) for script in scripts}
    priority = int(text.split("priority ")[1].split()[0])
    assert weights.keys() == {"serves", "reaches_servers"} and all(weight < 0 for weight in weights.values())
    assert priority + sum(weights.values()) > 0 and weights["serves"] < weights["reaches_servers"]


def test_a_proxy_keeps_the_address_while_a_primary_is_replaced_and_gives_it_up_if_it_alone_finds_none() -> None:
    member = {"name": "db", "address": "10.0.0.4:5432"}
    text = settings(run(**SHARED, haproxy_virtual_secret="eightlet", haproxy_postgres_servers=[member]), "ml_three")
    script = dict(line.split(None, 1) for line in text.split("vrrp_script finds_primary {")[1].split("}")[0].strip().splitlines())
    # A primary is replaced in about half a minute.
    assert int(script["interval"]) * int(script["fall"]) >= 40 and -50 < int(script["weight"]) < 0 and script["script"].endswith(' postgres 10.0.0.99"')
    assert "finds_primary" in text.split("track_script")[1]
    assert "finds_primary" not in settings(run(**SHARED, haproxy_virtual_secret="eightlet"), "ml_three")


def test_a_host_that_loses_the_address_ends_its_own_connections_to_it() -> None:
    known = run(**SHARED, haproxy_virtual_secret="eightlet")
    program = known.value("ml_three", "haproxy", "_haproxy_left_program")
    text, unit = settings(known, "ml_three"), known.value("ml_three", "haproxy", "lookup('ansible.builtin.template', 'keepalived-drop-in.conf.j2')")
    assert [f'notify_{state} "{program} 10.0.0.99"' in text for state in ("backup", "fault")] == [True, True]
    assert f"ExecStopPost=-{program} 10.0.0.99\n" in unit
    assert program in [file["path"] for file in known.value("ml_three", "haproxy", "_haproxy_keepalived_files")]


def test_hosts_use_the_shared_address_for_all_proxies() -> None:
    known = run(**SHARED)
    addresses = [known.hosts[name]["atlas_mlflow_ip"] for name in ("Two.Example.com", "ml_three")]
    for name in known.hosts:
        assert known.plans[name]["proxy_urls"] == [f"https://{address}" for address in ("10.0.0.99", *addresses)]
        assert known.plans[name]["client_url"] == "https://10.0.0.99"
        assert ("10.0.0.99" in known.plans[name]["certificate_names"]) == (name != "one")
    assert "10.0.0.99" in known.plans["one"]["called_names"]
    assert known.value("one", "mlflow_server", "mlflow_server_url") == "https://10.0.0.99"


def test_without_a_shared_address_no_secret_is_looked_up_and_nothing_is_opened(tmp_path: Path) -> None:
    known = run(atlas_mlflow_firewall=True, atlas_mlflow_secrets_dir=str(tmp_path))
    assert known.value("ml_three", "haproxy", "haproxy_virtual_secret") == "" and list(tmp_path.iterdir()) == []
    assert known.plans["ml_three"]["firewall_needed"] == [{"port": 80, "sources": ["any"]}]
    assert known.plans["ml_three"]["virtual_address"] == ""


@pytest.mark.parametrize(
    ("answer", "question", "good"),
    [
        (HEAD + SERVING, [], True),
        (HEAD + SERVING, ["servers"], True),
        # A proxy without the address waits until the one that has it has noticed that the servers are back.
        (HEAD + SERVING, ["servers", "127.0.0.1"], True),
        (HEAD + SERVING, ["servers", "192.0.2.9"], False),
        (HEAD + SERVING.replace("UP,1,3", "UP,1,30"), ["servers", "192.0.2.9"], True),
        (HEAD + SERVING + "postgres,BACKEND,0,UP,0,4\n", ["postgres", "192.0.2.9"], False),
        (HEAD + SERVING.replace("OPEN", "FULL"), [], True),
        (HEAD + SERVING.replace("OPEN", "STOP"), [], False),
        (HEAD + SERVING.replace("BACKEND,0,UP", "BACKEND,0,DOWN"), [], True),
        (HEAD + SERVING.replace("BACKEND,0,UP", "BACKEND,0,DOWN"), ["servers"], False),
        # While there is no primary of PostgreSQL, the address stays for a while, by a check of its own. A proxy that does not listen for it gives the address away.
        (HEAD + SERVING + "postgres,FRONTEND,0,OPEN,\npostgres,BACKEND,0,DOWN,0\n", ["servers"], True),
        (HEAD + SERVING + "postgres,BACKEND,0,DOWN,0\n", ["postgres"], False),
        (HEAD + SERVING.replace("BACKEND,0,UP", "BACKEND,0,DOWN") + "postgres,BACKEND,0,UP,0\n", ["postgres"], True),
        (HEAD + SERVING, ["postgres"], False),
        (HEAD + SERVING + "postgres,FRONTEND,0,STOP,\npostgres,BACKEND,0,UP,0\n", [], False),
        (HEAD, [], False),
        (None, [], False),
    ],
)
def test_the_check_succeeds_if_haproxy_serves(tmp_path: Path, answer: str | None, question: list[str], good: bool) -> None:
    path = str(tmp_path / "s")
    text = PROGRAM.read_text().replace("/run/haproxy/stats.sock", path)
    assert path in text
    with socket.socket(socket.AF_UNIX) as haproxy:
        if answer is not None:
            haproxy.bind(path)
            haproxy.listen()

            def serve() -> None:
                client, _ = haproxy.accept()
                with client:
                    assert client.recv(100) == b"show stat\n"
                    client.sendall(answer.encode())

            threading.Thread(target=serve, daemon=True).start()
        done = subprocess.run([sys.executable, "-IS", "-c", text, *question], capture_output=True, timeout=20, check=False)
    assert (done.returncode == 0) == good, done.stderr
    assert b"Traceback" not in done.stderr


def entry(interface: str, address: str) -> bytes:
    """Return an entry of the kernel for an interface's address."""
    return struct.pack("16sHH4s16x", interface.encode(), socket.AF_INET, 0, socket.inet_aton(address))


def test_a_host_tells_its_addresses() -> None:
    masks = {"eth0": "255.255.255.0", "eth0:1": "255.255.255.255"}

    def ask(request: bytes) -> bytes:
        return entry("", masks[request[:16].rstrip(b"\0").decode()])

    answer = b"".join(entry(*one) for one in [("lo", "127.0.0.1"), ("eth0", "10.0.0.7"), ("eth0:1", "10.0.0.99")])
    assert read_addresses(answer, ask) == [
        {"interface": "eth0", "address": "10.0.0.7", "prefix": 24},
        {"interface": "eth0", "address": "10.0.0.99", "prefix": 32},
    ]


def test_a_host_tells_whose_keepalived_it_has(tmp_path: Path) -> None:
    path = tmp_path / "etc/keepalived/keepalived.conf"
    path.parent.mkdir(parents=True)
    assert read_stack(tmp_path) == {}
    path.write_text(settings(run(**SHARED, haproxy_virtual_secret="eightlet"), "ml_three"))
    ours = read_stack(tmp_path)
    assert ours == {"haproxy": {"keepalived": "ours", "virtual_address": "10.0.0.99", "secrets": {}}}
    # A removal keeps the data of a host, and a proxy has none.
    assert kept_of_stack(ours, []) == {}
    path.write_text("vrrp_instance other {\n}\n")
    assert read_stack(tmp_path)["haproxy"] == {"keepalived": "other", "virtual_address": "", "secrets": {}}


def test_a_host_tells_what_others_let_its_haproxy_do(tmp_path: Path) -> None:
    path = tmp_path / "etc/haproxy/haproxy.cfg"
    path.parent.mkdir(parents=True)
    packaged = "global\n    daemon\ndefaults\n    # listen nowhere\n    log global\n    errorfile 400 /etc/haproxy/errors/400.http\n"
    ours = run(**SHARED, haproxy_virtual_secret="eightlet").value("ml_three", "haproxy", "lookup('ansible.builtin.template', 'haproxy.cfg.j2')")
    for text in (packaged, ours, f"{packaged}frontend  main\n    bind *:5000\nbackend static\nbackend     app\n"):
        path.write_text(text)
        assert read_stack(tmp_path) == {}
    path.write_text(f"{packaged}frontend www\n    bind *:80\n  backend  shop\n    server one 10.0.0.7:80\nlisten stats\n")
    assert read_stack(tmp_path) == {"haproxy": {"foreign": ["frontend www", "backend shop", "listen stats"], "secrets": {}}}
    keepalived = tmp_path / "etc/keepalived/keepalived.conf"
    keepalived.parent.mkdir()
    keepalived.write_text("vrrp_instance other {\n}\n")
    assert read_stack(tmp_path)["haproxy"].keys() == {"foreign", "keepalived", "virtual_address", "secrets"}


def test_a_removal_leaves_the_haproxy_of_others() -> None:
    tasks = yaml.safe_load((ROOT / "roles/haproxy/tasks/remove.yml").read_text())
    (removal,) = [task for task in tasks if "block" in task]
    assert removal["when"] == "not _haproxy_is_foreign" and [task for task in tasks if task is not removal] == tasks[:1]
    known = run(**SHARED)
    assert known.value("ml_three", "haproxy", "_haproxy_is_foreign") is False
    known = run(**SHARED, ansible_facts={"stack": {"haproxy": {"foreign": ["frontend www"], "secrets": {}}}})
    assert known.value("ml_three", "haproxy", "_haproxy_is_foreign") is True


@pytest.mark.parametrize("name", ["service", "virtual_address"])
def test_proxies_restart_one_after_another(name: str) -> None:
    """The others serve, and have the address, meanwhile."""
    tasks = tasks_of(yaml.safe_load((ROOT / f"roles/haproxy/tasks/{name}.yml").read_text()))
    (starts,) = [task for task in tasks if "restarted" in str(task.get("ansible.builtin.systemd_service", ""))]
    assert starts["throttle"] == 1
