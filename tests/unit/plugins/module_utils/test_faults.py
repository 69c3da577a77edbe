"""The catalogue of faults: each one is named by a probe or by the diagnosis, is told once, and has a way out."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from ansible_collections.atlas.mlflow.plugins.module_utils import data_loss, faults, judge_answers, openid, probed_service, round_trip, web
from ansible_collections.atlas.mlflow.plugins.module_utils.containers import Container
from ansible_collections.atlas.mlflow.plugins.module_utils.diagnosis import judge, judge_stores, logs
from ansible_collections.atlas.mlflow.plugins.module_utils.faults import FAULTS, Fault
from ansible_collections.atlas.mlflow.plugins.module_utils.findings import Finding
from ansible_collections.atlas.mlflow.plugins.module_utils.judge_sockets import judge as judge_sockets
from ansible_collections.atlas.mlflow.plugins.module_utils.judge_sockets import judge_container
from ansible_collections.atlas.mlflow.plugins.module_utils.round_trip import RoundTrip
from ansible_collections.atlas.mlflow.plugins.module_utils.sockets import Listener
from ansible_collections.atlas.mlflow.plugins.module_utils.tracking import API, ARTIFACTS, Response, TrackingServer
from ansible_collections.atlas.mlflow.plugins.module_utils.units import Unit
from ansible_collections.atlas.mlflow.plugins.module_utils.web import Answer, Base, NoAnswer
from fake_tracking import FakeS3, FakeTracking, serving
from test_diagnosis import CASES, WANTED
from test_diagnosis_stack import CASES as STACK_CASES

ANY = ip_address("0.0.0.0")
BASE = Base("http", "mlflow.example", 5001)


def answer(status: int, text: str = "", **headers: str) -> Answer:
    """Return an answer of a server."""
    return Answer(status, headers, text.encode(), 0.01)


@dataclass(frozen=True)
class Canned(TrackingServer):
    """A server with an answer for each path, and 404 for the others."""

    base: Base = BASE
    host: str = "mlflow.example:5001"
    said: Mapping[str, Response] = field(default_factory=dict)

    def attempt(self, method: str, path: str, query: Mapping[str, Any] | None = None, timeout: float | None = None) -> Response:
        """Return the answer."""
        return self.said.get(path, answer(404))


# -- what brings a fault about in the probes
def listening(*places: str, state: str = "active/running", pids: tuple[int, ...] = (812,), argv: tuple[str, ...] = (), taken: str = "") -> list[Finding]:
    """Judge a unit that listens there."""
    others = [Listener(ip_address(taken), 5001, 9, "other")] if taken else []
    own = [Listener(ip_address(address), int(port), 812, "mlflow") for address, port in (place.split(":") for place in places)]
    return judge_sockets(Unit("mlflow-server.service", state, pids, "journalctl -u mlflow-server.service"), own, others, ANY, 5001, argv)


def unpublished() -> list[Finding]:
    """Judge a container without a published port."""
    unit = Unit("container c", "running", (812,), "docker logs c")
    return judge_container(Container("c", "running", 812, ()), unit, [Listener(ANY, 5001, 812)], [], ANY, 5001)


def ended(log: str) -> list[Finding]:
    """Return what is said of a server that ended with this log."""
    return [probed_service.end_finding("service", "x", "failed/failed", log, "journalctl -u x", probed_service.Redactor())]


def unreadable() -> list[Finding]:
    """Look at sockets without the right to."""
    module = mock.Mock(params={"unit": "x"}, run_command=lambda _command: (0, "LoadState=loaded\nMainPID=0\n", ""))
    with mock.patch.object(probed_service.sockets, "read_listeners", side_effect=PermissionError):
        return probed_service.check_sockets(module, {}, ANY, 5001)


def answered(status: int, text: str = "", credentials: tuple[str, str] | None = None, healthy: bool = False, **headers: str) -> Fault:
    """Return what an answer of the API means."""
    said: dict[str, Response] = {"/health": answer(200 if healthy else 500)}
    return judge_answers.answer_fault(Canned(said=said, credentials=credentials), answer(status, text, **headers))


def unanswered(kind: str, connected: bool = False) -> Fault:
    """Return what it means that there is no answer."""
    return judge_answers.answer_fault(Canned(), NoAnswer(kind, "mlflow.example:5001", "nothing", connected))


def artifact(response: Response) -> list[Finding]:
    """Return what is said of an answer to the question for artifacts."""
    return judge_answers.server_facts(Canned(said={f"{ARTIFACTS}/artifacts": response}), "probe")[1]


def warned() -> Fault:
    """Return what is warned of if webhooks cannot be read."""
    text = judge_answers.webhooks_warning(Canned(said={f"{API}/webhooks": answer(500)}))
    return next(fault for fault in FAULTS.values() if text == f"{fault.cause} {fault.fix}")


def foreign(version: str) -> list[Finding]:
    """Ask by a foreign name, and get an answer."""
    return judge_answers.check_foreign_host(Canned(said={f"{API}/experiments/search": answer(200)}), "foreign.invalid", version)


def login(public: bool) -> list[Finding]:
    """Ask without a login, or by the one that old releases came with, and be let in."""

    class Open(Canned):
        def attempt(self, method: str, path: str, query: Mapping[str, Any] | None = None, timeout: float | None = None) -> Response:
            return answer(200 if (self.credentials is not None) == public else 401)

    return judge_answers.check_login(Open())


def modes(mode: str, advertised: bool) -> list[Finding]:
    """Compare what is advertised with the mode."""
    return judge_answers.check_artifact_mode({"presigned_for_client": advertised, "presigned_for_page": advertised}, mode)


def pages() -> list[Finding]:
    """Ask for the page of an MLflow that has none."""
    said = {f"{API}/experiments/search": answer(200, "{}"), "/": answer(200, "Unable to display MLflow UI - landing page (index.html) not found")}
    return judge_answers.check_names(Canned(said=said), {"mlflow.example": "mlflow.example:5001"})[1]


def lost() -> list[Finding]:
    """Hold an empty database against the record of one with an experiment."""
    before = {"at": "2026-05-04", "made": 1000, "experiments": 1, "more": False, "some": {"1": ["churn", 2000]}}
    now = {"made": 4000, "experiments": 0, "more": False, "some": {}}
    found = data_loss.vanished(Canned(), before, now)
    return [found] if found else []


@contextmanager
def fake_server(**switches: Any) -> Iterator[FakeTracking]:
    """Serve a tracking server with faults."""
    with serving(FakeTracking()) as fake:
        assert isinstance(fake, FakeTracking)
        for switch, value in switches.items():
            setattr(fake, switch, value)
        yield fake


def trip(s3_error: str = "", **switches: Any) -> list[Finding]:
    """Take a round trip with such a server, and its artifact store."""
    with fake_server(**switches) as fake, serving(FakeS3(fake, s3_error)) as store:
        assert isinstance(store, FakeS3)
        fake.advertised = store.origin if s3_error else fake.advertised
        taken = RoundTrip(TrackingServer(Base.parse(fake.url), f"127.0.0.1:{fake.port}"), "faults", 100)
        with mock.patch.object(round_trip, "READ_WITHIN", 0):
            taken.run()
    return taken.findings


def collide() -> list[Finding]:
    """Take a round trip whose run another probe has deleted."""
    with mock.patch.object(TrackingServer, "post", lambda *_: answer(404, "gone")):
        return trip()


CLIENT = openid.Client("mlflow", "secret", "https://mlflow.example/callback")
WAY = openid.Way(1)
PROVIDER = {name: f"https://login.example/{name}" for name in openid.ENDPOINTS}


def provider(check: str, *said: Response, **described: Any) -> list[Finding]:
    """Ask an OpenID provider that answers so."""
    login_url = f"{PROVIDER['authorization_endpoint']}?client_id=mlflow&redirect_uri={CLIENT.redirect_uri}"
    to_provider = answer(302, location=login_url) if check == "login" else answer(302, location="https://elsewhere.example/")
    answers = iter(said)
    with mock.patch.object(openid, "attempt", lambda *_: next(answers)), mock.patch.object(openid, "ask", return_value=to_provider):
        if check == "discover":
            return openid.discover("https://login.example/.well-known/openid-configuration", WAY)[1]
        if check == "client":
            return openid.check_client(PROVIDER["token_endpoint"], CLIENT, WAY)
        return openid.check_login(BASE, None, {**PROVIDER, **described}, CLIENT, WAY)


def discovered(text: str) -> list[Finding]:
    """Read such a discovery document."""
    return provider("discover", answer(200, text))


NO_CHALLENGE = '{"authorization_endpoint": "a", "token_endpoint": "b", "jwks_uri": "c", "code_challenge_methods_supported": ["plain"]}'

#: The fault, and what brings it about in a probe.
PROBED: list[tuple[str, Callable[[], Any]]] = [
    ("sockets-unreadable", unreadable),
    ("server-not-found", lambda: listening(state="not found", pids=())),
    ("server-not-running", lambda: listening(state="failed/failed", pids=())),
    ("server-not-running", lambda: ended("")),
    ("server-starting", listening),
    ("port-taken", lambda: listening(taken="127.0.0.1")),
    ("default-port", lambda: listening("127.0.0.1:5000")),
    ("bound-to-loopback", lambda: listening("127.0.0.1:5001")),
    ("wrong-socket", lambda: listening("0.0.0.0:5002")),
    ("bind-in-gunicorn-opts", lambda: listening("0.0.0.0:5001", "127.0.0.1:5000", argv=("--gunicorn-opts", "--bind 127.0.0.1:5000"))),
    ("extra-socket", lambda: listening("0.0.0.0:5001", "0.0.0.0:5999")),
    ("shadowing-listener", lambda: listening("0.0.0.0:5001", taken="127.0.0.1")),
    ("port-not-published", unpublished),
    ("database-driver-missing", lambda: ended("ModuleNotFoundError: No module named 'psycopg2'")),
    ("host-header-refused", lambda: answered(403, "Invalid Host header")),
    ("host-check-missing", lambda: foreign("3.4.1")),
    ("host-check-open", lambda: foreign("3.17.2")),
    ("login-refused", lambda: answered(401, credentials=("ada", "x"))),
    ("login-missing", lambda: answered(401)),
    ("login-not-asked-for", lambda: login(public=False)),
    ("default-login", lambda: login(public=True)),
    ("request-refused", lambda: answered(403, "no")),
    ("redirected", lambda: answered(302, location="https://login.example/start?state=secret")),
    ("path-unknown", lambda: answered(404)),
    ("backend-store-fails", lambda: answered(503, healthy=True)),
    ("proxy-upstream", lambda: answered(502)),
    ("api-fails", lambda: answered(500)),
    ("not-mlflow", lambda: answered(200, "It works!")),
    ("page-missing", pages),
    ("webhooks-not-decrypted", warned),
    ("artifacts-not-served", lambda: artifact(answer(503, "--no-serve-artifacts"))),
    ("artifact-store-fails", lambda: artifact(answer(500))),
    ("artifact-store-silent", lambda: artifact(NoAnswer("timeout", "", "", True))),
    ("proxy-body-limit", lambda: artifact(answer(413))),
    ("links-advertised", lambda: modes("proxied", advertised=True)),
    ("links-not-advertised", lambda: modes("direct", advertised=False)),
    ("values-changed", lambda: trip(wrong_param=True)),
    ("artifact-changed", lambda: trip(corrupt=True)),
    ("artifact-root-not-served", lambda: trip(artifact_root="s3://bucket/")),
    ("artifact-root-on-clients", lambda: trip(artifact_root="/mlartifacts/")),
    ("probes-collide", collide),
    ("s3-unreachable-for-clients", lambda: trip(advertised="http://127.0.0.1:1")),
    ("clock-skew", lambda: trip("RequestTimeTooSkewed")),
    ("link-signature-changed", lambda: trip("SignatureDoesNotMatch")),
    ("link-denied", lambda: trip("AccessDenied")),
    ("link-elsewhere", lambda: trip("NoSuchKey")),
    ("data-gone", lost),
    ("name-does-not-resolve", lambda: unanswered("resolve")),
    ("connection-refused", lambda: unanswered("refused")),
    ("address-unreachable", lambda: unanswered("unreachable")),
    ("connection-timeout", lambda: unanswered("timeout")),
    ("answer-late", lambda: unanswered("timeout", connected=True)),
    ("connection-dropped", lambda: unanswered("reset", connected=True)),
    ("tls-fails", lambda: unanswered("tls", connected=True)),
    ("not-http", lambda: unanswered("protocol", connected=True)),
    ("connection-broken", lambda: unanswered("error")),
    ("provider-untrusted", lambda: provider("discover", NoAnswer("tls", "", "", True))),
    ("provider-not-there", lambda: discovered("{}")),
    ("provider-without-challenge", lambda: discovered(NO_CHALLENGE)),
    ("provider-refuses-flow", lambda: provider("client", answer(400, '{"error": "unauthorized_client"}'))),
    ("provider-refuses-scope", lambda: provider("login", answer(302, location=f"{CLIENT.redirect_uri}?error=invalid_scope"))),
    ("provider-refuses-client", lambda: provider("client", answer(401))),
    ("provider-broken", lambda: provider("client", answer(500))),
    ("provider-unknown-to-server", lambda: provider("elsewhere")),
    ("client-not-registered", lambda: provider("login", answer(400))),
]


@pytest.mark.parametrize(("name", "bring_about"), PROBED, ids=[name for name, _bring_about in PROBED])
def test_a_probe_names_the_fault_and_no_other(name: str, bring_about: Callable[[], Any]) -> None:
    told = bring_about()
    for found in [told] if isinstance(told, Fault) else [finding.fault for finding in told] or [None]:
        assert found and found.id == name, found
        assert not re.search(r"[{}]", found.cause + found.fix) and found.cause and found.fix


def test_every_fault_is_brought_about_by_a_test() -> None:
    shared = {name for names, _hosts in STACK_CASES for name in names}
    assert {name for name, _bring_about in PROBED} | {name for name, _server, _client in CASES} | shared == set(FAULTS)


@pytest.mark.parametrize("name", sorted({name for name, _bring_about in PROBED} & {name for name, _server, _client in CASES}))
def test_a_fault_that_both_name_has_one_text(name: str) -> None:
    """What is filled in may differ, the words around it may not."""
    diagnosed = [check for case in CASES if case[0] == name for check in judge.diagnose(WANTED, case[1], case[2]) if check.fault == name]
    told = next(bring_about() for probed, bring_about in PROBED if probed == name)
    probed = told if isinstance(told, Fault) else told[0].fault
    for found in (probed, *(check.found for check in diagnosed)):
        assert found
        for text, template in ((found.cause, FAULTS[name].cause), (found.fix, FAULTS[name].fix)):
            words = ".+".join(re.escape(part) for part in re.split(r"{\w+}", template))
            assert re.match(words, text), text


def test_no_text_stands_twice_and_each_is_a_sentence() -> None:
    texts = Counter(text for fault in FAULTS.values() for text in (fault.cause, fault.fix))
    assert [text for text, times in texts.items() if times > 1] == []
    for fault in FAULTS.values():
        assert fault.layer and re.fullmatch(r"[a-z0-9-]+", fault.id)
        for text, ends in ((fault.cause, (".", "{why}")), (fault.fix, (".",))):
            assert text.endswith(ends) and (text[0].isupper() or text.startswith(("systemctl", "mlflow_server_"))), text


def test_no_text_of_the_catalogue_is_written_elsewhere() -> None:
    """A judgement names a fault; what is said of it stands in the catalogue alone."""
    folder = Path(faults.__file__).parent
    sources = [path for path in (*folder.rglob("*.py"), *(folder.parent / "modules").glob("*.py")) if path.name != "faults.py"]
    for path in sources:
        source = path.read_text(encoding="utf-8").partition('RETURN = r"""')
        code = source[0] + source[2].partition('"""')[2]
        assert [fault.id for fault in FAULTS.values() if fault.cause.rstrip(".") in code or len(fault.fix) > 30 and fault.fix.rstrip(".") in code] == [], path


def test_what_names_faults_by_a_table_names_those_of_the_catalogue() -> None:
    tables = [
        *web.FAULT_OF_KIND.values(),
        *(name for name, _pattern in logs.LOG_FAULTS),
        *judge_stores.DATABASE_FAULTS.values(),
        *judge_stores.S3_FAULTS.values(),
    ]
    assert set(tables) <= set(FAULTS)
    for name in tables:
        assert faults.fault(name) == FAULTS[name]


def test_a_fault_that_tells_of_something_is_not_named_without_it() -> None:
    with pytest.raises(KeyError):
        faults.fault("host-header-refused", hosts="'mlflow'")
    with pytest.raises(KeyError):
        faults.fault("no-such-fault")


@pytest.mark.parametrize("name", ["database-down", "database-name-unresolved"])
def test_the_fix_for_a_stopped_container_of_a_store_starts_it(name: str) -> None:
    """A container that does not run has no name in the network of the containers."""
    fix = FAULTS[name].fix
    assert "docker start atlas-postgres" in fix and "systemctl start atlas-postgres" in fix
