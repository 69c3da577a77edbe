# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Say what the facts of a server and of a client mean. Nothing here asks anything: facts go in, checks come out."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from ipaddress import ip_address
from typing import Any, Optional, Union

from ansible_collections.atlas.mlflow.plugins.module_utils.arguments import has_option
from ansible_collections.atlas.mlflow.plugins.module_utils.diagnosis.front import PROXIES
from ansible_collections.atlas.mlflow.plugins.module_utils.faults import FAULTS, Fault, fault
from ansible_collections.atlas.mlflow.plugins.module_utils.judge_answers import GATEWAY_STATUS, login_fault, name_fault
from ansible_collections.atlas.mlflow.plugins.module_utils.judge_sockets import (
    MLFLOW_DEFAULT,
    extra_fault,
    place_fault,
    serves,
    shadow_fault,
    takers,
    unpublished_fault,
)
from ansible_collections.atlas.mlflow.plugins.module_utils.sockets import Listener

UNKNOWN = "unknown"  # stands in a fault's place, where what was seen is neither right nor wrong
SKEW = 300  # seconds: the most that S3's signatures bear is 15 minutes, and links are often good for less
FULL_SHARE, FULL_BYTES = 0.01, 64 * 1024**2  # of a disk that counts as full: both less than this free, or no inode
DATABASE_FAULTS = {
    "no-driver": "database-driver-missing",
    "unresolved": "database-name-unresolved",
    "down": "database-down",
    "wrong-password": "database-wrong-password",
    "refused": "database-access-refused",
    "no-slots": "database-connections-exhausted",
    "denied": "database-permission-denied",
    "missing": "database-missing",
    "failed": "database-failed",
}
S3_FAULTS = {
    "untrusted": "s3-untrusted-certificate",
    "wrong-scheme": "s3-wrong-scheme",
    "down": "s3-down",
    "wrong-key": "s3-wrong-key",
    "missing": "s3-bucket-missing",
    "read-only": "s3-read-only",
    "denied": "s3-denied",
    "full": "disk-full",
    "clock": "clock-skew",
    "no-driver": "s3-failed",
    "failed": "s3-failed",
}


@dataclass(frozen=True)
class Check:
    """One thing that was looked at: C(verdict) is ok, fault, follows (from a fault before it) or unknown."""

    layer: str
    expected: str
    seen: str
    verdict: str = "ok"
    found: Optional[Fault] = None

    @property
    def fault(self) -> str:
        """Return the name of the fault, empty for none."""
        return self.found.id if self.found else ""

    def as_dict(self) -> dict[str, str]:
        """Return the check as plain data, a fault with its cause and fix."""
        plain = {"layer": self.layer, "expected": self.expected, "seen": self.seen, "verdict": self.verdict, "fault": self.fault}
        return {**plain, "cause": self.found.cause, "fix": self.found.fix} if self.found else plain


def listeners(facts: Iterable[Mapping[str, Any]]) -> list[Listener]:
    """Return listening sockets from their facts."""
    return [Listener.from_dict(one) for one in facts]


def endpoints(sockets: Iterable[Listener]) -> str:
    """Return where sockets listen, as text; empty for none."""
    return ", ".join(sorted({one.endpoint for one in sockets}))


class Diagnosis:
    """The checks of one server, in the order of its layers."""

    def __init__(self, wanted: Mapping[str, Any], server: Mapping[str, Any], client: Optional[Mapping[str, Any]] = None) -> None:
        self.wanted, self.server, self.client = wanted, server, client or {}
        self.address, self.port = ip_address(wanted["host"]), int(wanted["port"])
        self.wanted_socket = Listener(self.address, self.port)
        #: What shows all that the server wrote.
        self.log = server.get("log") or "the server's log"
        self.checks: list[Check] = []

    @property
    def faults(self) -> list[Check]:
        """Return the checks that found a fault."""
        return [check for check in self.checks if check.verdict == "fault"]

    def note(self, layer: str, expected: str, seen: str, found: Union[Fault, str, None] = None, follows: bool = False) -> None:
        """Note what a layer showed.

        :param found: The fault that it means, or the name of one of which nothing is to be filled in.
        :param follows: Whether an earlier fault explains it.
        """
        verdict = "ok" if not found else "follows" if follows else "unknown" if found == UNKNOWN else "fault"
        named = fault(found) if verdict == "fault" and isinstance(found, str) else found
        self.checks.append(Check(layer, expected, seen, verdict, named if verdict == "fault" and isinstance(named, Fault) else None))

    def run(self) -> list[Check]:
        """Look at every layer."""
        self._process()
        if not self.server.get("kind"):
            return self.checks
        self._environment()
        self._sockets()
        self._published()
        self._configuration()
        self._memory()
        self._stores()
        self._disks()
        self._clock()
        self._not_running()
        self._answers()
        self._client()
        return self.checks

    # -- the process and its sockets
    @property
    def runs(self) -> bool:
        return bool(self.server.get("argv"))

    def _process(self) -> None:
        kind, name = self.server.get("kind", ""), self.server.get("name", "")
        if not kind:
            self.note("process", "a unit, a container or a process of MLflow", "none", "server-not-found")
            return
        seen = f"{kind} {name}, {self.server.get('state', '')}" + (f", pid {self.server['pid']}" if self.server.get("pid") else "")
        if self.runs:
            configured, argv = self.server.get("configured_options", self.server.get("configured", "")), self.server["argv"]
            missing = [option for option in ("--host", "--port") if option in configured and not has_option(argv, option)]
            # A process from before the change cannot have what was changed.
            if missing and not self.server.get("stale"):
                self.note("process", "the arguments that are configured", f"started without {' and '.join(missing)}", "arguments-cut")
                return
            self.note("process", "a running server", seen)

    def _environment(self) -> None:
        ignored = self.server.get("ignored_environment") or {}
        default = MLFLOW_DEFAULT in {(one.address, one.port) for one in self.own} and self.port != MLFLOW_DEFAULT[1]
        seen = ", ".join(f"{name}={value}" for name, value in sorted(ignored.items())) or "none"
        self.note("environment", "no address in variables that MLflow ignores", seen, "ignored-environment" if ignored and default and not self.front and not self.faults else "")

    @property
    def own(self) -> list[Listener]:
        """Return the sockets of the server's own processes."""
        return listeners(self.server.get("sockets") or ())

    @property
    def front(self) -> Mapping[str, Any]:
        """Return the proxy that has the server's port."""
        return self.server.get("front") or {}

    @property
    def inside(self) -> bool:
        """Say whether the server has a network of its own, in a container."""
        return self.server.get("kind") == "container" and self.server.get("network_mode") != "host"

    def _sockets(self) -> None:
        own = self.own
        if self.front:
            self.note("sockets", "a socket that the proxy reaches", f"{endpoints(own)}, behind {self._proxy()}")
            return
        if self.runs:
            wanted = Listener(ip_address("0.0.0.0"), self._inner_port()) if self.inside else self.wanted_socket
            self._own_sockets(own, wanted)
        others = listeners(one for one in self.server.get("host_listeners") or () if not one.get("own"))
        having = takers(others, self.wanted_socket, is_open=self.runs and bool(own))
        seen = "; ".join(f"{one.endpoint} held by {one.owner}" for one in having) or "none"
        if self.runs and own:
            self.note("sockets", f"no other listener on port {self.port}", seen, shadow_fault(having[0], self.wanted_socket) if having else None)
        else:
            self.note("sockets", f"no other listener on port {self.port}", seen, "port-taken" if having and not self._are_proxies(having) else None)

    def _own_sockets(self, own: list[Listener], wanted: Listener) -> None:
        argv, seen = self.server["argv"], endpoints(own) or "none"
        right = [one for one in own if serves(one, wanted, by_either=True)]
        expected = f"{wanted.address}:{wanted.port}"
        if right and len(right) < len(own):
            self.note("sockets", f"{expected} alone", seen, extra_fault(argv))
        elif right or not own:
            self.note("sockets", expected, seen if right else "none yet")
        elif self.server.get("kind") == "container" and has_option(argv, "--port") and not any(one.port == wanted.port for one in own):
            self.note("sockets", expected, seen, "stale-container", follows=bool(self.faults))
        else:
            self.note("sockets", expected, seen, place_fault(own, wanted, argv), follows=bool(self.faults))

    def _are_proxies(self, having: list[Listener]) -> bool:
        """Say whether proxies have the port and wait for a server that has another one, and has not opened it."""
        configured = [*(self.server.get("argv") or ()), self.server.get("configured", "")]
        return all(one.process.startswith(PROXIES) for one in having) and not any(re.search(rf"\b{self.port}\b", word) for word in configured)

    def _inner_port(self) -> int:
        """Return the port in the container that the expected one leads to; the same where nothing leads anywhere."""
        for one in self.server.get("published") or []:
            if one["port"] == self.port:
                return int(one["inner"])
        return self.port

    def _published(self) -> None:
        if not self.inside or not self.runs or self.front:
            return
        published = [(Listener(ip_address(one["address"]), one["port"]), one["inner"]) for one in self.server.get("published") or ()]
        seen = ", ".join(f"{one.endpoint} to {inner}" for one, inner in published) or "none"
        right = [inner for one, inner in published if serves(one, self.wanted_socket, by_either=True)]
        ports = {one.port for one in self.own}
        leads = bool(right) and (not ports or bool(ports.intersection(right)))
        expected = f"{self.address}:{self.port} into the container"
        self.note("published port", expected, seen, None if leads else unpublished_fault(self.wanted_socket), follows=bool(right and self.faults))

    def _configuration(self) -> None:
        stale = self.server.get("stale") or []
        found = "stale-container" if self.server.get("kind") == "container" else "stale-service"
        if self.runs:
            seen = f"changed since: {', '.join(stale)}" if stale else "as it was at its start"
            self.note("configuration", "read by the running server", seen, found if stale else None, follows=self._has(found))

    def _memory(self) -> None:
        killed = self.server.get("killed") or ""
        self.note("memory", "no process of it was killed for memory", killed or "none was", "out-of-memory" if killed else "")

    # -- the stores
    def _stores(self) -> None:
        stores = self.server.get("stores") or {}
        database, s3 = stores.get("database"), stores.get("s3")
        if database:
            self._database(database)
        elif self.server.get("not_encoded") and not self.runs:
            self.note("database", "a URI that can be read", "a password that is not percent-encoded", "database-password-not-encoded")
        if s3:
            found = S3_FAULTS.get(s3["outcome"])
            network = found == "s3-down" and self._is_elsewhere(s3)
            seen = f"{s3.get('endpoint') or 'Amazon S3'}, bucket {s3['bucket']}: {s3.get('detail') or 'may be listed and written to'}"
            self.note("artifact store", "answers, and may be written to", seen, "wrong-network" if network else found, follows=network and self._has("wrong-network"))
        said = self.server.get("log_fault") or {}
        if said and not self.faults:
            self.note(FAULTS[said["fault"]].layer, "nothing in the log that explains it", said["line"], said["fault"])

    def _database(self, database: Mapping[str, Any]) -> None:
        found = DATABASE_FAULTS.get(database["outcome"])
        if (self.server.get("not_encoded") or database.get("not_encoded")) and (found or not self.runs):
            found = "database-password-not-encoded"
        elif found == "database-name-unresolved" and database.get("host") in (self.server.get("stopped") or ()):
            found = "database-down"
        elif found == "database-name-unresolved" and self._is_elsewhere(database):
            found = "wrong-network"
        self.note("database", "answers", f"{database['where']}: {database.get('detail') or 'answers'}", found)
        if not found:
            schema = database.get("schema", "unknown")
            seen = f"revision {database.get('revision') or 'none'}, the release's is {database.get('head') or 'not known'}"
            self.note("schema", "the release's own", seen, {"old": "database-schema-old", "new": "database-schema-new"}.get(schema))

    def _is_elsewhere(self, store: Mapping[str, Any]) -> bool:
        """Say whether a store's host is a container on networks that the server is not on."""
        return store.get("host") in (self.server.get("elsewhere") or {})

    def _has(self, *faults: str) -> bool:
        return any(check.fault in faults for check in self.faults)

    def _disks(self) -> None:
        full = [disk for disk in self.server.get("disks") or [] if self._is_full(disk)]
        seen = ", ".join(f"{disk['path']}: {disk['free'] // 1024**2} MiB free of {disk['size'] // 1024**2}, {disk['inodes']} inodes" for disk in full)
        # A full disk is what a store then complains of: it is the cause.
        if full:
            symptoms = ("database-down", "database-failed", "s3-failed", "disk-full")
            self.checks = [replace(check, verdict="follows", found=None) if check.fault in symptoms else check for check in self.checks]
        self.note("disk", "room to write", seen or "enough on all", "disk-full" if full else "", follows=self._has("disk-full"))

    @staticmethod
    def _is_full(disk: Mapping[str, Any]) -> bool:
        return bool(disk["free"] < min(FULL_BYTES, disk["size"] * FULL_SHARE) or disk["free"] == 0 or disk["inodes"] == 0)

    def _clock(self) -> None:
        s3 = (self.server.get("stores") or {}).get("s3") or {}
        apart = {"the artifact store": s3.get("skew")}
        if self.client.get("now") and self.server.get("now"):
            apart["the client"] = round(self.client["now"] - self.server["now"])
        known = {who: seconds for who, seconds in apart.items() if seconds is not None}
        far = {who: seconds for who, seconds in known.items() if abs(seconds) >= SKEW}
        seen = ", ".join(f"{who} {seconds:+d} s" for who, seconds in known.items()) or "not known"
        self.note("clock", f"within {SKEW} s", seen, "clock-skew" if far else "", follows=self._has("clock-skew"))

    def _not_running(self) -> None:
        said, restarts = self.server.get("last_words"), self.server.get("restarts") or 0
        if self.runs and said is None:
            return
        seen = [f"{self.server['kind']} {self.server.get('name', '')}: {self.server.get('state', '')}"]
        seen += [self.server["ended"]] if self.server.get("ended") else []
        seen += [f"restarts: {restarts}"] if restarts else []
        seen += [f"its log ends with: {said}"] if said else []
        seen += [f"another server runs: {self.server['instead']}"] if self.server.get("instead") else []
        self.note("process", "a server that keeps running", "; ".join(seen), fault("server-not-running", log=self.log), follows=bool(self.faults))

    # -- what it answers
    def _answers(self) -> None:
        if not self.runs:
            return
        names = self.server.get("names") or []
        if self.front and self._changed_by_proxy(names):
            return
        if self.server.get("starting") is not None and not self.server.get("sockets") and names and all(one["api"] == 0 for one in names):
            said = self.server["starting"]
            seen = "no socket yet" + (f"; its log ends with: {said}" if said else "")
            self.note("process", "a server that has opened its port", seen, fault("server-starting", log=self.log), follows=bool(self.faults))
            return
        refused = [one["host"] for one in names if one["api"] == 403 and one["health"] == 200]
        seen = ", ".join(f"{one['host']}: API {one['api'] or one.get('error', 'no answer')}, health {one['health'] or 'no answer'}" for one in names)
        if refused:
            self.note("Host header", "every name is answered", f"403 for {', '.join(refused)}, health 200", name_fault(refused))
        elsewhere = self.server.get("answers_below")
        if elsewhere is not None:
            self.note("static prefix", self.wanted.get("static_prefix") or "/", elsewhere or "/", "static-prefix")
        failing = [one for one in names if one["api"] != 200]
        if names and not refused and elsewhere is None:
            closed = {one["api"] for one in failing} == {401}
            self.note("login" if closed else "API", "200 by every name", seen, self._closed() if closed else "api-fails" if failing else "", follows=bool(self.faults))

    def _proxy(self) -> str:
        return f"{self.front['process'] or 'a process'} (pid {self.front['pid']}) on {Listener.from_dict(self.front).endpoint}"

    def _changed_by_proxy(self, names: list[dict[str, Any]]) -> bool:
        """Note what the proxy does to requests that the server itself answers. Returns whether it is at fault for what is answered."""
        direct = {one["host"]: one["api"] for one in self.front.get("direct") or ()}
        worse = [one for one in names if one["api"] not in (200, 401) and direct.get(one["host"]) in (200, 401)]
        seen = ", ".join(f"{one['host']}: {one['api'] or one.get('error', 'no answer')}, and {direct[one['host']]} without it" for one in worse)
        found = ""
        if worse:
            status = worse[0]["api"]
            if self.front.get("refuses_host"):
                found = "proxy-host-header"
            elif status == 404 and self.server.get("answers_below") is None:
                found = "proxy-path"
            elif status in (0, *GATEWAY_STATUS):
                found = "proxy-upstream"
        elif self.front.get("refuses_large"):
            found, seen = "proxy-body-limit", "413 for 100 MiB"
        self.note("proxy", "passes requests on as they are", f"{self._proxy()}: {seen or 'it does'}", found, follows=bool(self.faults))
        return bool(found) and found != "proxy-body-limit"

    def _closed(self) -> Union[Fault, str]:
        """Return what it means that the server asks for a login: without one to give, nothing more can be seen."""
        return login_fault("its administrator") if self.server.get("logs_in") else UNKNOWN

    # -- what a client sees
    def _client(self) -> None:
        if not self.client:
            return
        works = any(one["api"] == 200 for one in self.server.get("names") or [])
        for one in self.client.get("names") or []:
            who = f"{one['name']} from the client"
            if one["kind"] == "resolve":
                self.note("name resolution", f"{one['name']} resolves for the client", "it does not", "name-does-not-resolve")
                continue
            dropped = one["kind"] in ("timeout", "unreachable") and not one["connected"]
            rules = self.server.get("firewall") or []
            if dropped and works:
                self.note("firewall", f"{who} can connect", one["error"] + (f"; rule: {rules[0]}" if rules else ""), "firewall-drop")
            elif one["kind"]:
                # The server's own layers explain it, where they show a fault.
                rejected = bool(rules) and one["kind"] == "refused" and works
                self.note("network", f"{who} gets an answer", one["error"], "firewall-drop" if rejected else "client-cannot-connect", follows=bool(self.faults))
            else:
                known = {200: None, 401: self._closed(), 403: name_fault([one.get("host") or one["name"]])}
                self.note("API", f"200 for {who}", str(one["api"]), known.get(one["api"], "api-fails"), follows=bool(self.faults))
        self._artifacts()

    def _artifacts(self) -> None:
        """Note where the server sends a client with its artifacts."""
        direct, root = self.client.get("s3"), self.server.get("artifact_root") or {}
        kind, where = root.get("kind", "served"), root.get("where", "")
        own = "keys of its own, and MLFLOW_S3_ENDPOINT_URL" if kind == "s3" else "access of its own"
        if kind == "path":
            self.note("artifact store", "clients send artifacts to the server", f"clients write to {where} on their own disks", "artifact-root-on-clients")
        elif kind != "served" and not (direct and direct["error"]):
            self.note("artifact store", "clients send artifacts to the server", f"clients write to {where} themselves: each needs {own}", UNKNOWN)
        if direct:
            by_link = fault("s3-unreachable-for-clients", endpoint=direct["endpoint"], why=f"{direct['error']}.")
            found = None if not direct["error"] else "artifact-root-not-served" if kind == "s3" else by_link
            self.note("artifact store", f"the client reaches {direct['endpoint']}", direct["error"] or "it does", found, self._has("s3-down", "s3-wrong-scheme"))


def diagnose(wanted: Mapping[str, Any], server: Mapping[str, Any], client: Optional[Mapping[str, Any]] = None) -> list[Check]:
    """Return the checks of a server.

    :param wanted: ``host`` and ``port`` where it should listen, and ``static_prefix``.
    :param server: What M(atlas.mlflow.mlflow_diagnose) returns on the server's host.
    :param client: What it returns where a client stands, if it was asked there.
    """
    return Diagnosis(wanted, server, client).run()
