#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ansible module that reads the few facts that the collection's roles use."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: host_facts
short_description: Read the few facts that the roles of this collection use
version_added: 0.1.0
author:
  - atlas.mlflow maintainers (@atlas-mlflow)
extends_documentation_fragment: [atlas.mlflow.attributes, atlas.mlflow.attributes.reads_only]
description:
  - Returns some of the facts of M(ansible.builtin.setup), M(ansible.builtin.getent) and M(ansible.builtin.package_facts), by their
    names there, in a third of the time of the first alone. A play that gathers those needs no call of this module.
  - In a registered result each name has the prefix C(ansible_), as in one of M(ansible.builtin.setup).
attributes:
  facts:
    description: Returns facts of the host.
    support: full
options:
  folders:
    description: Folders whose content is returned as C(installed). By default the folders into which the roles install with the settings of the host.
    type: list
    elements: path
    default: []
  drives:
    description: Folders whose devices are returned as C(drive_devices). By default the folders of MinIO's data.
    type: list
    elements: path
    default: []
"""

EXAMPLES = r"""
- name: Read the facts that the roles use
  atlas.mlflow.host_facts:
"""

RETURN = r"""
ansible_facts:
  description: Facts with the names of M(ansible.builtin.setup) and M(ansible.builtin.package_facts).
  returned: always
  type: dict
  contains:
    addresses:
      description: The IPv4 addresses of the host's interfaces, except loopback, each with the length of its network's prefix.
      type: list
      elements: dict
      sample: [{interface: eth0, address: 10.0.0.7, prefix: 24}]
    added_packages:
      description: Empty. M(atlas.mlflow.packages) later adds the packages here that it adds to C(packages).
      type: list
      elements: str
      sample: []
    architecture:
      description: The machine's architecture.
      type: str
      sample: x86_64
    binds_any_address:
      description: Whether a service may listen on an IPv4 address that the host does not have (C(net.ipv4.ip_nonlocal_bind)).
      type: bool
      sample: false
    ca_file:
      description: The CA file of the host's trust store.
      type: str
      sample: /etc/ssl/certs/ca-certificates.crt
    certificates:
      description:
        - The first certificate of each file in the folder of the services' certificates, in PEM, those of authorities among them. Equal ones are there once.
        - Empty without permissions of root.
      type: list
      elements: str
      sample: ["-----BEGIN CERTIFICATE-----..."]
    default_ipv4:
      description: The source address of the default route, as C(address). Empty if there is no default route.
      type: dict
      sample: {address: 10.0.0.7}
    distribution_id:
      description: Name of the distribution, as C(ID) of C(/etc/os-release).
      type: str
      sample: debian
    distribution_name:
      description: Name and release of the distribution for people.
      type: str
      sample: Debian GNU/Linux 12 (bookworm)
    distribution_version_id:
      description: Release of the distribution, as C(VERSION_ID) of C(/etc/os-release).
      type: str
      sample: "12"
    distribution_release:
      description: Code name of the distribution's release.
      type: str
      sample: bookworm
    drained_servers:
      description:
        - Servers that the HAProxy of the host gives no requests because they are drained, as during a restart, each with its backend and its name. Empty
          without permissions of root.
      type: list
      elements: dict
      sample: [{backend: mlflow_servers, name: mlflow1}]
    drive_devices:
      description: The device of the root file system and of each of O(drives), or of the nearest folder above it that exists.
      type: dict
      sample: {/: 2049, /srv/disk1: 2065}
    etcd:
      description:
        - What the etcd of a cluster of PostgreSQL says on this host. C(members) are its members by their C(id), each with the C(url) for the others;
          a member that has never started has no C(name). C(healthy) is whether a majority of them answers, and C(command) asks it.
        - Empty if the host runs no etcd of the role etcd, and without root permissions.
      type: dict
      sample:
        command: [etcdctl, --endpoints=https://10.0.0.7:2379]
        healthy: true
        members: [{id: 8e9e05c52164694d, name: db1, url: "https://10.0.0.7:2380"}]
    firewall:
      description:
        - What the rules of nftables of the role firewall open, as C(openings) in the form of C(firewall_allowed), without the ports of SSH. Empty if the host
          has no such rules.
      type: dict
      sample: {openings: [{port: 5432, sources: [10.0.0.7]}]}
    foreign_containers:
      description: The names of containers of C(docker) and C(podman) that these roles did not make. Empty without permissions of root.
      type: dict
      sample: {docker: [registry], podman: []}
    fqdn:
      description: The host's full name.
      type: str
      sample: mlflow.example.com
    getent_passwd:
      description: Users, each with the fields of its line in C(/etc/passwd) after the name.
      type: dict
      sample: {mlflow: [x, "999", "999", "", /var/lib/mlflow, /usr/sbin/nologin]}
    hostname:
      description: The host's name up to the first dot.
      type: str
      sample: mlflow
    installed:
      description: The content of O(folders), so that a task runs only if something is missing there.
      type: dict
      contains:
        environments:
          description: The stamp of each environment of M(atlas.mlflow.uv_environment), by its path.
          type: dict
        executables:
          description: Files of root in C(releases/*/) of a folder that everybody may execute.
          type: list
          elements: str
        served:
          description: The text of the file C(served) in a folder, by its path.
          type: dict
      sample:
        environments: {/opt/minio/admin: {requirements: 4c1d, interpreter: /usr/bin/python3.13, files: {}}}
        executables: [/opt/minio/releases/minio-RELEASE.2025-09-07T16-13-09Z/minio]
        served: {/opt/minio/served: /opt/minio/releases/minio-RELEASE.2025-09-07T16-13-09Z/minio}
    listeners:
      description:
        - The listening TCP sockets, each with its process and the last part of that process's control group, which is a unit's name.
        - For a port that Docker publishes, the group is C(container) and the container's name.
        - Without root permissions, processes of other users are missing.
      type: list
      elements: dict
      sample:
        - {address: 0.0.0.0, port: 5001, pid: 812, process: mlflow, group: mlflow-server.service}
        - {address: 127.0.0.1, port: 5432, pid: 912, process: docker-proxy, group: container atlas-postgres}
    memtotal_mb:
      description: The memory of the host in units of 1024 x 1024 bytes. 0 if it is not known.
      type: int
      sample: 7952
    mlflow_upgrade_from:
      description: The release from which an unfinished upgrade of the tracking server started. Empty if there is none.
      type: str
      sample: ""
    os_family:
      description: V(Debian), or V(RedHat) for Enterprise Linux. Empty for any other system.
      type: str
      sample: Debian
    own_containers:
      description: The names of the containers of these roles in Docker, by role. A role has more than one after a change of its container's name.
      type: dict
      sample: {postgres: [atlas-postgres]}
    packages:
      description: Installed packages of the distribution, each name with a list of their versions. Absent without dpkg or, on Enterprise Linux, without rpm.
      type: dict
      sample: {postgresql-17: [{version: 17.6-0+deb13u1}]}
    postgres_clusters:
      description:
        - The clusters of PostgreSQL that have a folder of Debian's making, or the one of Enterprise Linux. Each has its major version and name, whether its
          settings are these roles' own, and the phase of an interrupted upgrade, C(begun) or C(switched). C(data) is the folder of its data, and C(start) is
          whether Debian's unit starts it, C(auto), C(manual) or C(disabled).
      type: list
      elements: dict
      sample: [{version: "17", name: main, ours: true, upgrade: "", data: /var/lib/postgresql/17/main, start: auto}]
    postgres_restoring:
      description:
        - The record of a restore of the one host of PostgreSQL that was interrupted. C(to) is the point or the moment, and C(postgres) is what PostgreSQL
          answered before. Empty if there is none, and without root permissions.
      type: dict
      sample: {to: atlas-20260504T023000Z, postgres: {data: /var/lib/postgresql/17/main, config: /etc/postgresql/17/main/postgresql.conf, major: 17}}
    processor_nproc:
      description: Number of cores that a process may use.
      type: int
      sample: 4
    python3:
      description: The target of C(python3) in root's path, on Enterprise Linux of C(python3.12) if it is there. Empty if there is none.
      type: str
      sample: /usr/bin/python3.13
    stack:
      description:
        - What the services of this collection use, by role. The stores that the tracking server uses, the folder or the volume of MinIO, the volume
          of a PostgreSQL in a container and the version of its data, the repository of the backup, and a salted fingerprint of each secret. Volumes of
          Podman are C(podman_volume) and C(podman_version).
        - Whether the tracking server has workspaces, and its release at the last verification.
        - The number of the user that runs the tracking server, MinIO, and a PostgreSQL in a container (C(uid)).
        - Of a cluster of PostgreSQL, its members, its version, the versions that have data on the host, and the record of an unfinished upgrade.
        - The address that the proxies share, whether keepalived has the settings of this collection, and the sections in settings of HAProxy that others wrote
          (C(foreign)).
        - For a role that C(playbooks/remove.yml) removed, the recorded values. Empty without root permissions.
      type: dict
      sample:
        mlflow_server:
          secrets: {postgres_password: "scrypt:6f:9a"}
          stores: {backend: {kind: postgresql, host: 10.0.0.7, port: "5432", name: mlflow}}
    system_python:
      description:
        - The Python that has the libraries in the distribution's packages, C(/usr/bin/python3) on Debian and Ubuntu. If Ansible searches for Python, later
          modules run with this one. Empty on other systems, and if there is none.
      type: str
      sample: /usr/bin/python3
    timers:
      description: Timers of systemd that the administrator has created, by the names of their units.
      type: list
      elements: str
      sample: [mlflow-gc.timer]
    ufw:
      description: The rules of ufw that let TCP in, as C(open), with their ports and source. Empty if ufw is not active.
      type: dict
      sample: {open: [{ports: "22", source: 0.0.0.0/0}]}
    watchdog:
      description: Whether the host has C(/dev/watchdog), by which Patroni resets a host that cannot stop PostgreSQL in time.
      type: bool
      sample: false
"""

import json
import os
import platform
import pwd
import re
import socket
import stat
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.atlas.mlflow.plugins.module_utils.container_data import OWN_MARKS, read_container_names, read_podman_data
from ansible_collections.atlas.mlflow.plugins.module_utils.containers import PROXY, foreign_names, read_publishers
from ansible_collections.atlas.mlflow.plugins.module_utils.environments import STAMP, python_of, read_stamp
from ansible_collections.atlas.mlflow.plugins.module_utils.etcd import read_etcd
from ansible_collections.atlas.mlflow.plugins.module_utils.firewall_rules import read_firewall, read_ufw
from ansible_collections.atlas.mlflow.plugins.module_utils.haproxy import drained_servers
from ansible_collections.atlas.mlflow.plugins.module_utils.interfaces import own_addresses
from ansible_collections.atlas.mlflow.plugins.module_utils.os_release import ca_file_of, family_of, own_os_release
from ansible_collections.atlas.mlflow.plugins.module_utils.sockets import read_all_listeners
from ansible_collections.atlas.mlflow.plugins.module_utils.stack import read_stack

#: Where the roles put the certificates of services, and a certificate in a PEM file (RFC 7468).
TLS_FOLDER = Path("/etc/atlas-mlflow/tls")
CERTIFICATE = re.compile(r"-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----")
#: The Python of Debian and Ubuntu.
SYSTEM_PYTHON = "/usr/bin/python3"
#: What the role postgres adds to the settings of Enterprise Linux.
INCLUDED = "include_dir = 'conf.d'  # atlas.mlflow"


def read_note(path: Path) -> str:
    """Return the text of a file with one line, empty if there is no file."""
    return path.read_text(encoding="utf-8").strip() if path.exists() else ""


def read_record(path: Path) -> dict[str, Any]:
    """Return the content of a JSON file, empty if there is no such file or no permission to read it."""
    try:
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found


def read_certificates(folder: Path) -> list[str]:
    """Return the first certificate of each PEM file in a folder and in the folders directly in it, each certificate once.

    :param folder: A folder that may not exist, or that only root may read.
    """
    found = set()
    for path in (*folder.glob("*"), *folder.glob("*/*")):
        try:
            text = path.read_text(encoding="ascii")
        except (OSError, ValueError):
            continue
        found.update(CERTIFICATE.findall(text)[:1])
    return sorted(found)


def default_address() -> str:
    """Return the address that this host uses for connections to other networks, empty if it has no route.

    Connecting a datagram socket sends nothing. The kernel only chooses the route and the source address (udp(7)).
    192.0.2.1 is reserved for documentation (RFC 5737), so no host has it.
    """
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
            return str(probe.getsockname()[0])
        except OSError:
            return ""


def read_memory(text: str) -> int:
    """Return the memory of the host in units of 1024 x 1024 bytes, 0 if it is not known.

    :param text: Lines of C(/proc/meminfo).
    """
    found = re.search(r"(?m)^MemTotal: +(\d+) kB$", text)
    return int(found.group(1)) // 1024 if found else 0


def read_packages(text: str) -> dict[str, list[dict[str, str]]]:
    """Return the installed packages from the output of ``dpkg-query``, in the form of ``package_facts``.

    :param text: Lines of status, name and version, separated by spaces; ``ii`` is the status of an installed package.
    """
    packages: dict[str, list[dict[str, str]]] = {}
    for line in text.splitlines():
        fields = line.split()
        if len(fields) == 3 and fields[0] == "ii":
            packages.setdefault(fields[1], []).append({"name": fields[1], "version": fields[2]})
    return packages


def read_rpms(text: str) -> dict[str, list[dict[str, str]]]:
    """Return the installed packages from the output of ``rpm --query --all``, in the same form.

    :param text: Lines of name and version, separated by a space.
    """
    packages: dict[str, list[dict[str, str]]] = {}
    for line in text.splitlines():
        name, _space, version = line.partition(" ")
        packages.setdefault(name, []).append({"name": name, "version": version})
    return packages


def read_clusters(folder: Path) -> list[dict[str, str | bool]]:
    """Return the clusters that Debian's tools have created, in the order of their versions.

    :param folder: The folder of their settings, with a folder for each version, and in that one a folder for each cluster.
    """
    clusters: list[dict[str, str | bool]] = []
    for path in folder.glob("*/*/postgresql.conf"):
        note = path.with_name("atlas-mlflow-upgrade")
        clusters.append(
            {
                "version": path.parts[-3],
                "name": path.parts[-2],
                "ours": path.with_name("conf.d").joinpath("atlas-mlflow.conf").exists(),
                "upgrade": read_note(note),
                "data": read_setting(path.read_text(encoding="utf-8", errors="replace"), "data_directory"),
                "start": read_start(path.with_name("start.conf")),
            }
        )
    return sorted(clusters, key=lambda cluster: (float(cluster["version"]), cluster["name"]))


def read_own_cluster(root: Path) -> list[dict[str, str | bool]]:
    """Return the cluster of Enterprise Linux, which has one folder for it. The package does not create it, so one without our settings is somebody else's.

    :param root: The root of the file system.
    """
    data = root / "var/lib/pgsql/data"
    if not os.path.exists(data / "PG_VERSION"):
        return []
    settings = data / "postgresql.conf"
    # The drop-in is written before the cluster is created, and the line in the settings stays with data that are kept.
    ours = (root / "etc/systemd/system/postgresql.service.d/atlas-mlflow.conf").exists() or (
        settings.exists() and INCLUDED in settings.read_text(encoding="utf-8", errors="replace")
    )
    place = f"/{data.relative_to(root)}"
    return [{"version": read_note(data / "PG_VERSION"), "name": "main", "ours": ours, "upgrade": "", "data": place, "start": "auto"}]


def read_setting(text: str, name: str) -> str:
    """Return the last value of a setting of PostgreSQL that is in quotes, empty if there is none.

    :param text: The content of postgresql.conf.
    :param name: The name of the setting.
    """
    return str((re.findall(rf"(?m)^\s*{name}\s*=?\s*'([^']*)'", text) or [""])[-1])


def read_start(path: Path) -> str:
    """Return whether Debian's unit starts a cluster: the first word in its start.conf that is no comment, C(auto) without one."""
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    return str((re.findall(r"(?m)^\s*(\w+)", text) or ["auto"])[0])


def read_installed(folders: list[str]) -> dict[str, Any]:
    """Return the environments, the executables and the notes about the active release in the folders of roles.

    :param folders: Absolute paths. A folder that does not exist has nothing.
    """
    environments: dict[str, dict[str, object]] = {}
    executables: list[str] = []
    served: dict[str, str] = {}
    for folder in {Path(folder) for folder in folders}:
        # A release of the tracking server is one level below. MinIO's client libraries are directly in the folder.
        for stamp in (*folder.glob(f"*/{STAMP}"), *folder.glob(f"*/*/{STAMP}")):
            environments[str(stamp.parent)] = read_stamp(str(stamp.parent))
        executables += [str(path) for path in folder.glob("releases/*/*") if is_executable(path)]
        if (note := folder / "served").is_file():
            served[str(note)] = read_note(note)
    return {"environments": environments, "executables": sorted(executables), "served": served}


def is_executable(path: Path) -> bool:
    """Return whether a path is a file of root that everybody may read and execute, and only root may write."""
    status = path.lstat()
    return stat.S_ISREG(status.st_mode) and status.st_uid == 0 and stat.S_IMODE(status.st_mode) == 0o755


def device_of(folder: str) -> int:
    """Return the number of the device of a folder, or of the nearest folder above it that exists."""
    path = Path(folder)
    return next(one for one in (path, *path.parents) if one.exists()).stat().st_dev


def read_listeners(module: AnsibleModule) -> list[dict[str, str | int]]:
    """Return the listening sockets with their owners. Docker is asked only if it owns one of them."""
    listeners = read_all_listeners()
    publishers: dict[tuple[str, int], str] = {}
    docker = module.get_bin_path("docker")
    if docker and any(listener.process == PROXY for listener in listeners):
        code, listed, _error = module.run_command([docker, "ps", "--format", "{{.Names}} {{.Ports}}"])
        publishers = read_publishers(listed) if code == 0 else {}
    facts: list[dict[str, str | int]] = []
    for listener in listeners:
        container = publishers.get((str(listener.address), listener.port)) if listener.process == PROXY else None
        fact = {key: value for key, value in listener.as_dict(own=False).items() if key != "own"}
        facts.append({**fact, "group": f"container {container}" if container else listener.group})
    return facts


def read_containers(module: AnsibleModule) -> str:
    """Return the output of C(docker inspect) for the containers of the roles. Docker is asked only if the host has their files."""
    docker = module.get_bin_path("docker")
    if not docker or not any(os.path.exists(mark) for mark in OWN_MARKS.values()):
        return "[]"
    filters = [argument for mark in OWN_MARKS.values() for argument in ("--filter", f"volume={mark}")]
    code, listed, _error = module.run_command([docker, "ps", "--all", "--quiet", *filters])
    if code != 0 or not listed.split():
        return "[]"
    code, described, _error = module.run_command([docker, "inspect", *listed.split()])
    return described if code == 0 else "[]"


def read_foreign_containers(module: AnsibleModule, docker_runs: bool) -> dict[str, list[str]]:
    """Return the names of containers that these roles did not make, by the program that runs them.

    :param docker_runs: Whether Docker runs. A question would start a Docker that is stopped.
    """
    found = {}
    for engine, is_asked in (("docker", docker_runs), ("podman", True)):
        program = module.get_bin_path(engine) if is_asked else None
        code, listed, _error = module.run_command([program, "ps", "--all", "--format", "{{.Names}} {{.Labels}}"]) if program else (1, "", "")
        found[engine] = foreign_names(listed) if code == 0 else []
    return found


def volume_folder(module: AnsibleModule, volume: str) -> str:
    """Return the folder of a volume of root's Podman, empty if there is no such volume."""
    podman = module.get_bin_path("podman")
    code, folder, _error = module.run_command([podman, "volume", "inspect", "--format", "{{.Mountpoint}}", volume]) if podman else (1, "", "")
    return str(folder).strip() if code == 0 else ""


def read_members(module: AnsibleModule, listeners: list[dict[str, str | int]]) -> dict[str, Any]:
    """Return what the etcd of the host says. It is asked only if it listens."""

    def run(command: list[str]) -> tuple[int, str]:
        code, said, _error = module.run_command(command, environ_update={"ETCDCTL_API": "3"})
        return code, said

    try:
        return read_etcd(run, {int(listener["port"]) for listener in listeners}) if module.get_bin_path("etcdctl") else {}
    except OSError:
        return {}


#: The program that lists the installed packages, its arguments, and the function that reads its output.
DPKG = ("dpkg-query", ["--show", "--showformat", "${db:Status-Abbrev} ${Package} ${Version}\\n"], read_packages)
RPM = ("rpm", ["--query", "--all", "--queryformat", "%{NAME} %{VERSION}-%{RELEASE}\\n"], read_rpms)


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={name: {"type": "list", "elements": "path", "default": []} for name in ("folders", "drives")}, supports_check_mode=True
    )
    os_release = own_os_release()
    family = family_of(os_release)
    python = python_of(family, module.get_bin_path)
    listeners, containers = read_listeners(module), read_containers(module)
    facts = {
        # An earlier playbook of this run may have added packages. They are among the installed packages now.
        "added_packages": [],
        "addresses": own_addresses(),
        "architecture": platform.machine(),
        "binds_any_address": read_note(Path("/proc/sys/net/ipv4/ip_nonlocal_bind")) == "1",
        "ca_file": ca_file_of(os_release),
        "certificates": read_certificates(TLS_FOLDER),
        "default_ipv4": {"address": default_address()} if default_address() else {},
        "distribution_id": os_release.get("ID", ""),
        "distribution_name": os_release.get("PRETTY_NAME", ""),
        "distribution_version_id": os_release.get("VERSION_ID", ""),
        "distribution_release": os_release.get("VERSION_CODENAME", ""),
        "drained_servers": drained_servers(),
        "drive_devices": {folder: device_of(folder) for folder in ("/", *module.params["drives"])},
        "etcd": read_members(module, listeners),
        "firewall": read_firewall(),
        "foreign_containers": read_foreign_containers(module, os.path.exists("/run/docker.pid")),
        "fqdn": socket.getfqdn(),
        "getent_passwd": {user.pw_name: [str(field) for field in user[1:]] for user in pwd.getpwall()},
        "installed": read_installed(module.params["folders"]),
        "listeners": listeners,
        "memtotal_mb": read_memory(Path("/proc/meminfo").read_text(encoding="utf-8")),
        "mlflow_upgrade_from": read_note(Path("/etc/atlas-mlflow/upgrade-from")),
        "hostname": platform.node().partition(".")[0],
        "os_family": family,
        "own_containers": read_container_names(containers),
        "postgres_clusters": read_own_cluster(Path("/")) if family == "RedHat" else read_clusters(Path("/etc/postgresql")),
        "postgres_restoring": read_record(Path("/etc/atlas-mlflow/restoring.json")),
        "processor_nproc": len(os.sched_getaffinity(0)),
        "python3": os.path.realpath(python) if python else "",
        "stack": read_stack(containers=containers, podman=read_podman_data(lambda volume: volume_folder(module, volume))),
        "system_python": SYSTEM_PYTHON if family == "Debian" and os.path.exists(SYSTEM_PYTHON) else "",
        "timers": sorted(path.name for path in Path("/etc/systemd/system").glob("*.timer")),
        "ufw": read_ufw(),
        "watchdog": Path("/dev/watchdog").is_char_device(),
    }
    program, arguments, read = RPM if family == "RedHat" else DPKG
    path = module.get_bin_path(program)
    if path:
        code, listed, _error = module.run_command([path, *arguments])
        if code == 0:
            facts["packages"] = read(listed)
    # By default, Ansible makes a variable of each fact by the name that it has here. It is the prefix that keeps them from replacing a user's own variables.
    module.exit_json(changed=False, ansible_facts={f"ansible_{name}": fact for name, fact in facts.items()})


if __name__ == "__main__":
    main()
