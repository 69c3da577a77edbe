"""The firewall: each host answers those that need it, on the ports that they need, and nobody else."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from stack.support import PORT, connect, host_of, stack_hosts
from testinfra.host import Host

#: A service that no topology knows of.
OTHER = 8088
#: What the distribution's service does to the table, without what it does to those that Docker has for a test host's name server.
OWN_RULES = "/run/systemd/system/nftables.service.d"
EMPTY = '/usr/sbin/nft "add table inet atlas_mlflow; delete table inet atlas_mlflow"'
EMPTYING = "[Service]\n" + "".join(f"{when}=\n{when}={EMPTY}\n" for when in ("ExecStart", "ExecReload", "ExecStop"))
TABLE = "nft list table inet atlas_mlflow"


def rules(host: Host) -> tuple[str, str]:
    """Return the rules of the table, without what they have counted, and the table's number."""
    return host.check_output(TABLE).split("counter")[0], host.check_output(f"nft --handle {TABLE.removeprefix('nft ')}").splitlines()[0]


@pytest.fixture(scope="module")
def proxy() -> Host:
    """Return the proxy's host."""
    return host_of("haproxy")


@pytest.fixture(scope="module")
def second() -> Host:
    """Return the tracking server's host that has no store."""
    return host_of("mlflow_servers", 1)


@pytest.fixture(scope="module", autouse=True)
def other_service(server: Host) -> Iterator[None]:
    """Have something else listen on the host of the stores, on every address."""
    server.check_output("systemd-run --quiet --unit=other python3 -m http.server %s", str(OTHER))
    yield
    server.check_output("systemctl stop other.service")


def test_clients_reach_the_proxy_and_nothing_else(client: Host, proxy: Host, server: Host, second: Host) -> None:
    assert connect(client, proxy, 443, 80, PORT) == ["open", "open", "dropped"]
    assert connect(client, server, PORT, 5432, 9000, OTHER) == ["dropped"] * 4
    assert connect(client, second, PORT) == ["dropped"]


def test_the_proxy_reaches_the_servers_and_the_servers_their_stores(proxy: Host, server: Host, second: Host) -> None:
    assert connect(proxy, server, PORT, 5432, 9000) == ["open", "dropped", "dropped"]
    assert connect(proxy, second, PORT) == ["open"]
    assert connect(second, server, PORT, 5432, 9000, OTHER) == ["dropped", "open", "open", "dropped"]


def test_ssh_stays_open(client: Host) -> None:
    for host in stack_hosts():
        assert connect(client, host, 22) == ["open"], host.backend.hostname


def test_a_host_reaches_itself(server: Host) -> None:
    assert connect(server, server, PORT, OTHER) == ["open", "open"]


def test_it_stands_beside_other_tables(server: Host) -> None:
    server.check_output("nft add table inet somebody_else")
    server.check_output("systemctl reload atlas-mlflow-firewall.service")
    assert "table inet somebody_else" in server.check_output("nft list tables")
    server.check_output("nft delete table inet somebody_else")


@pytest.mark.parametrize("verb", ["start", "restart", "reload", "stop"])
def test_it_outlives_the_distributions_own_rules(server: Host, verb: str) -> None:
    """Their service empties all tables, by which this one would go as well."""
    # Before the role's own by its name, as it takes back what was said before it.
    server.check_output("sh -c %s", f"mkdir -p {OWN_RULES} && printf %s '{EMPTYING}' >{OWN_RULES}/a-test.conf")
    server.check_output("systemctl daemon-reload")
    before = rules(server)
    server.check_output("systemctl %s nftables.service", verb)
    server.check_output("sh -c %s", f"for i in $(seq 100); do {TABLE} >/dev/null && exit 0; sleep 0.1; done; exit 1")
    # The same rules in another table: by a number that the kernel gives to none twice.
    after = rules(server)
    assert after[0] == before[0] and after[1] != before[1]
    assert server.check_output("systemctl is-enabled atlas-mlflow-firewall.service") == "enabled"


def test_rules_that_nobody_confirmed_are_taken_back(second: Host, client: Host) -> None:
    """As when Ansible does not come through the new ones: the role arms this before it loads them."""
    second.check_output(
        "systemd-run --unit=atlas-mlflow-firewall-undo --on-active=1 --timer-property=AccuracySec=100ms systemctl stop atlas-mlflow-firewall.service"
    )
    second.check_output("sh -c %s", "for i in $(seq 100); do systemctl is-active --quiet atlas-mlflow-firewall.service || exit 0; sleep 0.3; done; exit 1")
    assert second.run(TABLE).rc != 0
    assert connect(client, second, PORT) == ["open"]
    second.check_output("systemctl start atlas-mlflow-firewall.service")
    assert connect(client, second, PORT) == ["dropped"]
