"""Every option of every shipped release starts or is refused with a reason, as an argument and by its name in the environment."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.atlas.mlflow.plugins.plugin_utils.server_options import (
    REFUSED,
    SECRET,
    STARTABLE,
    WEB_REFUSED,
    argument_faults,
    environment_faults,
    option_value,
    server_fault,
)

ROOT = Path(__file__).resolve().parents[3]
RELEASES = {path.parent.name: json.loads(path.read_text()) for path in (ROOT / "roles/mlflow_server/files/releases").glob("*/options.json")}
OPTIONS = [(version, option) for version, facts in RELEASES.items() for option in facts["options"]]
WEB_OPTIONS = [(version, option) for version, facts in RELEASES.items() for option in facts["web_server_options"]]
NEWEST = "3.17.2"
DATA = "/var/lib/mlflow"


def faults(arguments: list[Any], version: str = NEWEST) -> list[str]:
    return argument_faults(arguments, RELEASES[version], version, DATA)


def of_environment(environment: dict[str, Any], version: str = NEWEST) -> list[str]:
    return environment_faults(environment, RELEASES[version], version, DATA)


def named(option: tuple[str, dict[str, Any]]) -> str:
    return f"{option[0]}{option[1]['flags'][0]}"


def test_the_releases_are_there() -> None:
    assert len(RELEASES) >= 5 and NEWEST in RELEASES
    assert {facts["web_server"] for facts in RELEASES.values()} == {"uvicorn", "gunicorn"}


@pytest.mark.parametrize("version_and_option", OPTIONS, ids=named)
def test_each_option_starts_or_is_refused_with_a_reason(version_and_option: tuple[str, dict[str, Any]]) -> None:
    version, option = version_and_option
    for flag in option["flags"]:
        given = [flag, STARTABLE.get(flag) or "value"] if option["takes_value"] else [flag]
        said = faults(given, version)
        starts = flag in STARTABLE and not server_fault(flag, RELEASES[version])
        if starts:
            assert flag not in REFUSED and said == [], said
        else:
            assert said and said[0].startswith(f"{flag}: ") and len(said[0]) > len(flag) + 20, said


@pytest.mark.parametrize("version_and_option", [one for one in OPTIONS if one[1]["envvar"]], ids=named)
def test_an_option_that_is_refused_is_refused_by_its_name_in_the_environment_too(version_and_option: tuple[str, dict[str, Any]]) -> None:
    version, option = version_and_option
    name, flag = option["envvar"], option["flags"][0]
    said = of_environment({name: STARTABLE.get(flag) or "canary-secret"}, version)
    if flag in SECRET or flag in STARTABLE and flag != "--serve-artifacts" and not server_fault(flag, RELEASES[version]):
        assert said == []
    else:
        assert said and said[0].startswith(f"{name}: "), said
        assert "canary-secret" not in said[0]


def test_the_scenario_starts_every_option_that_is_not_refused() -> None:
    """It starts each release once, with all of them at once."""
    scenario = yaml.safe_load((ROOT / "molecule/releases/molecule.yml").read_text())
    started = scenario["provisioner"]["inventory"]["group_vars"]["mlflow_servers"]["releases_arguments"]
    assert set(started) >= {"3.0.1", "3.5.1", "3.10.1", NEWEST}
    for version, arguments in started.items():
        startable = {
            flag for option in RELEASES[version]["options"] for flag in option["flags"] if flag in STARTABLE and not server_fault(flag, RELEASES[version])
        }
        assert {item for item in arguments if item.startswith("--") and " " not in item} == startable, version
        assert faults(arguments, version) == []
    # 3.0.0 has the options of 3.0.1.
    assert RELEASES["3.0.0"]["options"] == RELEASES["3.0.1"]["options"]


@pytest.mark.parametrize(
    "arguments",
    [
        ["--uvicorn-opts", "--timeout-keep-alive 300"],
        ["--uvicorn-opts=--timeout-keep-alive 300"],
        ["--uvicorn-opts", "--timeout-keep-alive=300 --no-access-log"],
        ["--uvicorn-opts", "--header 'X-A: b c' --log-level debug"],
        ["--x-frame-options", "DENY", "--secrets-cache-ttl", 60],
        ["--expose-prometheus", "/var/lib/mlflow/metrics"],
        [],
    ],
)
def test_the_value_of_an_option_is_no_option(arguments: list[Any]) -> None:
    assert faults(arguments) == []


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--timeout-keep-alive", "300"], ["--timeout-keep-alive, which `mlflow server` of release 3.17.2 does not know", "--expose-prometheus"]),
        (["-h", "0.0.0.0"], ["-h: Set mlflow_server_host"]),
        (["-p5001"], ["-p: Set mlflow_server_port"]),
        (["--port=5001"], ["--port: Set mlflow_server_port"]),
        (["--x-frame-options"], ["--x-frame-options has no value", "next item"]),
        (["--enable-workspaces=yes"], ["--enable-workspaces takes no value"]),
        (["--secrets-cache-ttl", "soon"], ["--secrets-cache-ttl is soon", "an integer"]),
        (["--secrets-cache-ttl", "5"], ["--secrets-cache-ttl is 5. It takes 10 to 300"]),
        (["--expose-prometheus", "/srv/metrics"], ["--expose-prometheus is /srv/metrics", "/var/lib/mlflow/metrics"]),
        (["--expose-prometheus", "metrics"], ["--expose-prometheus is metrics", "/var/lib/mlflow/metrics"]),
        (["--expose-prometheus", "/var/lib/mlflow/../metrics"], ["Choose a folder below /var/lib/mlflow"]),
        (["--enable-workspaces", "yes"], ["'yes' is no option and no value of one"]),
        (["--x-frame-options DENY"], ["--x-frame-options DENY, which"]),
        (["postgresql://u:canary-secret@db/m"], ["an item is no option"]),
        (["--uvicorn-opts", "--timeout 300"], ["--uvicorn-opts has --timeout, which uvicorn does not know", "--timeout-keep-alive"]),
        (["--uvicorn-opts", "--timeout-keep-alive soon"], ["--uvicorn-opts has --timeout-keep-alive is soon"]),
        (["--uvicorn-opts", "--host 127.0.0.1"], ["--uvicorn-opts has --host", "second socket"]),
        (["--uvicorn-opts", "--uds /run/m.sock"], ["--uvicorn-opts has --uds", "second socket"]),
        (["--uvicorn-opts", "--ssl-certfile /a"], ["mlflow_server_tls_certificate"]),
        (["--uvicorn-opts", "--version"], ["--version", "and end"]),
        (["--uvicorn-opts", "--header 'X"], ["a quote that does not end"]),
        (["--gunicorn-opts", "--timeout 300"], ["--gunicorn-opts", "no --allowed-hosts", "--uvicorn-opts"]),
        (["--gunicorn-opts", "-b 127.0.0.1:5000"], ["second socket"]),
    ],
)
def test_each_fault_is_named(arguments: list[Any], words: list[str]) -> None:
    said = " ".join(faults(arguments))
    for word in words:
        assert word in said, said
    assert "canary-secret" not in said


def test_gunicorn_has_options_of_its_own_with_the_releases_that_start_it() -> None:
    for good in ("--timeout 300", "-t 300 --keep-alive 5", "--threads=4"):
        assert faults(["--gunicorn-opts", good], "3.0.1") == []
    for bad in ("--bind 127.0.0.1:5000", "-b127.0.0.1:5000", "--bind=unix:/run/m.sock", "-w 3", "-D", "--daemon", "-c gunicorn.py", "--timeout-keep-alive 5"):
        assert faults(["--gunicorn-opts", bad], "3.0.1"), bad


@pytest.mark.parametrize(
    ("environment", "words"),
    [
        ({"MLFLOW_GUNICORN_OPTS": "--timeout 300"}, "MLFLOW_GUNICORN_OPTS: This release then takes no --allowed-hosts"),
        ({"MLFLOW_UVICORN_OPTS": "--host 127.0.0.1 --port 5000"}, "MLFLOW_UVICORN_OPTS: --uvicorn-opts has --host: It would open a second socket"),
        ({"MLFLOW_STATIC_PREFIX": "/x"}, "Set mlflow_server_static_prefix"),
        ({"MLFLOW_DEFAULT_ARTIFACT_ROOT": "s3://b"}, "Leave it out, and set mlflow_server_artifacts_destination"),
        ({"MLFLOW_SERVER_DISABLE_SECURITY_MIDDLEWARE": True}, "Set mlflow_server_names"),
        ({"MLFLOW_SERVE_ARTIFACTS": False}, "the artifact store's own address"),
        ({"MLFLOW_EXPOSE_PROMETHEUS": "/srv/metrics"}, "Choose a folder below /var/lib/mlflow"),
        ({"UVICORN_UDS": "/run/m.sock"}, "second socket"),
        ({"UVICORN_SSL_CERTFILE": "/a"}, "Set mlflow_server_tls_certificate"),
        ({"_MLFLOW_SERVER_ARTIFACT_ROOT": "s3://b"}, "MLflow sets it itself"),
        ({"PROMETHEUS_MULTIPROC_DIR": "/tmp"}, "Set --expose-prometheus in mlflow_server_extra_args"),
        ({"MLFLOW_WORKSPACE": "team"}, "a server does not start"),
    ],
)
def test_each_twin_in_the_environment_is_named(environment: dict[str, Any], words: str) -> None:
    assert words in " ".join(of_environment(environment))


def test_settings_that_are_no_options_are_left_alone() -> None:
    good = {
        "MLFLOW_SQLALCHEMYSTORE_POOL_SIZE": 5,
        "MLFLOW_UVICORN_OPTS": "--timeout-keep-alive 300",
        "MLFLOW_SERVE_ARTIFACTS": True,
        "MLFLOW_REGISTRY_STORE_URI": "sqlite:///x.db",
        "UVICORN_TIMEOUT_KEEP_ALIVE": 300,
        "FORWARDED_ALLOW_IPS": "10.0.0.1",
    }
    assert of_environment(good) == []
    assert of_environment({"MLFLOW_GUNICORN_OPTS": "--timeout 300"}, "3.0.1") == []


@pytest.mark.parametrize("version", RELEASES)
def test_names_and_origins_have_variables_with_every_release(version: str) -> None:
    said = of_environment({"MLFLOW_SERVER_ALLOWED_HOSTS": "*", "MLFLOW_SERVER_CORS_ALLOWED_ORIGINS": "*"}, version)
    assert [fault.partition(":")[0] for fault in said] == ["MLFLOW_SERVER_ALLOWED_HOSTS", "MLFLOW_SERVER_CORS_ALLOWED_ORIGINS"]


def test_a_release_of_ones_own_may_have_options_that_no_other_has() -> None:
    facts = RELEASES[NEWEST]
    assert argument_faults(["--new-option", "x", "--newer", "--uvicorn-opts", "--newest 1"], facts) == []
    assert argument_faults(["--new-option", "x", "--host", "y"], facts) == ["--host: Set mlflow_server_host."]
    assert argument_faults("--host 0.0.0.0", facts) == []


@pytest.mark.parametrize("version_and_option", WEB_OPTIONS, ids=named)
def test_no_option_of_the_web_server_opens_a_socket(version_and_option: tuple[str, dict[str, Any]]) -> None:
    _version, option = version_and_option
    if any(word in flag for flag in option["flags"] for word in ("bind", "--host", "--port", "--uds", "--fd", "--workers")):
        assert any(flag in WEB_REFUSED for flag in option["flags"]), option


def test_the_value_of_an_option_is_found_wherever_it_is_set() -> None:
    facts = RELEASES[NEWEST]
    assert option_value(["--expose-prometheus", "/a"], "--expose-prometheus", facts) == "/a"
    assert option_value(["--expose-prometheus=/a", "--expose-prometheus=/b"], "--expose-prometheus", facts) == "/b"
    assert option_value([], "--expose-prometheus", facts, {"MLFLOW_EXPOSE_PROMETHEUS": "/c"}) == "/c"
    assert option_value(["--uvicorn-opts", "--expose-prometheus"], "--expose-prometheus", facts, {}) == ""
