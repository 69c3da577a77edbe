"""Members of the cluster are replaced and refused by playbooks, and no row is lost."""

from __future__ import annotations

import json
import subprocess
import time
from pathlib import Path

import pytest
import testinfra
from stack.support import PATIENCE, hosts_of, play, playbook, said
from testinfra.host import Host

#: Rows that a client has logged.
DIGEST = "SELECT count(*), md5(string_agg(run_uuid, ',' ORDER BY run_uuid)) FROM runs"


def host(name: str) -> Host:
    """Return a host by its name."""
    return testinfra.get_host(f"docker://{name}")


def sql(name: str, query: str) -> str:
    """Return what PostgreSQL on a host answers."""
    return host(name).check_output("sudo -u postgres psql --no-psqlrc --tuples-only --no-align --dbname mlflow --command %s", query)


def members(name: str) -> list[str]:
    """Return the members of etcd that have started, as a host says."""
    url, tls = "$(grep ADVERTISE_CLIENT /etc/default/etcd | cut -d'\"' -f2)", "/etc/atlas-mlflow/tls/etcd"
    files = f"--cacert={tls}-authority.pem --cert={tls}.pem --key={tls}.key"
    listed = host(name).check_output(f"ETCDCTL_API=3 etcdctl --endpoints={url} {files} member list --write-out=json")
    return sorted(member.get("name", "") for member in json.loads(listed)["members"])


def roles(name: str) -> dict[str, str]:
    """Return the role of each member that runs, as Patroni says."""
    rows = json.loads(host(name).check_output("sudo -u postgres patronictl -c /etc/patroni/config.yml list --format json"))
    return {row["Member"]: row["Role"] for row in rows if row["State"] in ("running", "streaming")}


@pytest.fixture
def names() -> list[str]:
    """Return the members."""
    return hosts_of("postgres")


def test_a_member_is_not_removed_if_no_cluster_would_remain(names: list[str], tmp_path: Path) -> None:
    done = play(playbook("remove_postgres_member", {"postgres": {"vars": {}}}, tmp_path), "-e", f"postgres_member={names[0]}")
    assert done.returncode != 0 and "the cluster has 2 members" in said(done) and "replace_postgres_member.yml" in said(done), done.stdout
    assert members(names[0]) == sorted(names) and len(roles(names[0])) == len(names)


def test_the_primary_is_replaced_by_a_new_copy_and_no_row_is_lost(names: list[str], tmp_path: Path) -> None:
    """Its host gives up its data as one that is set up again from nothing would: the playbook renames them, and adds the host as a new member."""
    (primary,) = [name for name, role in roles(names[0]).items() if role == "Leader"]
    before, (other, *_rest) = sql(primary, DIGEST), [name for name in names if name != primary]
    command = playbook("replace_postgres_member", {"postgres": {"vars": {}}}, tmp_path)
    # It ends with site.yml for all hosts.
    done = subprocess.run([*command, "-e", f"postgres_member={primary}"], capture_output=True, text=True, timeout=3 * PATIENCE, check=False)
    assert done.returncode == 0, done.stdout[-4000:]
    assert members(other) == sorted(names)
    found = roles(other)
    assert sorted(found) == sorted(names) and found[primary] != "Leader", found
    deadline = time.monotonic() + PATIENCE
    while sql(primary, "SELECT status FROM pg_stat_wal_receiver") != "streaming" and time.monotonic() < deadline:
        time.sleep(1)
    assert sql(primary, DIGEST) == before and sql(primary, "SELECT pg_is_in_recovery()") == "t"
    kept = host(primary).check_output("ls -d /var/lib/postgresql/*/main.removed-* /var/lib/etcd/atlas-mlflow.removed-*").split()
    assert len(kept) == 2
