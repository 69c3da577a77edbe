"""End the connections of PgBouncer if PostgreSQL has stopped, started or got another role, as a callback of Patroni.

PgBouncer tells new clients what PostgreSQL once told it, also whether it is a replica, and keeps clients that wrote to a former primary. So it ends itself, and
its unit starts it again at once: clients then look for the primary. A new primary is awaited before, because Patroni calls while it is still a replica.
"""

import subprocess
import sys
import time

#: Where PostgreSQL and PgBouncer have their sockets, and the seconds for the end of the recovery.
SOCKETS = "/var/run/postgresql"
PATIENCE = 60
#: The user in PgBouncer's own database whom it lets in without a password if the operating system's user is the one that runs it.
CONSOLE = "pgbouncer"


def psql(port: str, user: str, database: str, command: str) -> str:
    """Return what a database behind a socket answers, empty if it does not answer."""
    argv = ["psql", "--host", SOCKETS, "--port", port, "--username", user, "--dbname", database, "--no-psqlrc", "--tuples-only", "--no-align"]
    try:
        done = subprocess.run([*argv, "--command", command], capture_output=True, text=True, timeout=5, check=False)
    except subprocess.TimeoutExpired:
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def follow(action: str, role: str, pooler: str, postgres: str) -> None:
    """End PgBouncer, after PostgreSQL is what Patroni has made it.

    :param action: The event in Patroni's words.
    :param role: The role that the member has now, in Patroni's words.
    :param pooler: The port of PgBouncer.
    :param postgres: The port of PostgreSQL.
    """
    leads = action != "on_stop" and role in ("primary", "master", "promoted")
    deadline = time.monotonic() + PATIENCE
    while leads and psql(postgres, "postgres", "postgres", "SELECT pg_is_in_recovery()") != "f" and time.monotonic() < deadline:
        time.sleep(0.1)
    psql(pooler, CONSOLE, CONSOLE, "SHUTDOWN")


if __name__ == "__main__":
    follow(sys.argv[3], sys.argv[4], sys.argv[1], sys.argv[2])
