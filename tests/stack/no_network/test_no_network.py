"""The whole stack on a host that reaches no other network: nothing was asked for there, and nothing of the bundle is left."""

from __future__ import annotations

from testinfra.host import Host


def test_the_packages_are_those_of_the_distribution(server: Host) -> None:
    (version,) = server.check_output("ls /usr/lib/postgresql").split()
    for name in (f"postgresql-{version}", "python3-venv", "nftables", "pgbackrest", "rclone"):
        assert server.package(name).is_installed, name


def test_the_hosts_own_repositories_are_as_they_were(server: Host) -> None:
    sources = server.check_output("cat /etc/apt/sources.list; ls /etc/apt/sources.list.d")
    assert "file:" not in sources and "trusted" not in sources
    assert server.run("apt-config dump | grep -i atlas").stdout == ""


def test_nothing_of_the_bundle_is_left(server: Host) -> None:
    left = server.check_output(
        "find / -xdev '(' -name 'atlas-mlflow-bundle-*' -o -name '*.whl' -o -name '*.deb' ')' -not -path '*/ensurepip/*' -not -path '*/python-wheels/*'"
    )
    assert left == ""
