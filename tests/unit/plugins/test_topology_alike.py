"""Any tracking server may get a client's next request, so what a client would notice is the same on all, and refused otherwise."""

from __future__ import annotations

from typing import Any

import pytest
from ansible.template import Templar
from ansible_collections.atlas.mlflow.plugins.plugin_utils.settings import specifications
from ansible_collections.atlas.mlflow.plugins.plugin_utils.topology import alike
from ansible_collections.atlas.mlflow.plugins.plugin_utils.topology.hosts import Host, resolver_of
from in_process import LOADER, ROOT, trusted
from test_plan import host

DATABASE = "postgresql+psycopg2://ml:canary-secret@{}/{}"
#: Settings that concern one host, or that only add something on it, so that they may differ.
OWN = {
    "mlflow_server_workers": 7,
    "mlflow_server_port": 5002,
    "mlflow_server_host": "10.0.0.2",
    "mlflow_server_deployment": "container",
    "mlflow_server_data_dir": "/data",
    "mlflow_server_environment": {"MLFLOW_SQLALCHEMYSTORE_POOL_SIZE": 3},
    "mlflow_server_extra_args": ["--x-frame-options", "DENY"],
    "mlflow_server_names": ["two.example.com"],
    "mlflow_server_s3_endpoint_url": "http://10.0.0.9:9000",
}


def told(one: dict[str, Any], two: dict[str, Any]) -> list[str]:
    """Return what is said of the second server, with these settings of the first and of the second one."""
    given = {"one": host("one", 1, **one), "two": host("two", 2, **two), "db": host("db", 3)}
    hosts = {name: Host(name, trusted(variables), resolver_of(Templar(loader=LOADER))) for name, variables in given.items()}
    return alike.differences(hosts["one"], hosts["two"], hosts.values())


@pytest.mark.parametrize("name", [*alike.SHOWN, *alike.SHOWN_IF_GIVEN])
def test_a_setting_that_differs_is_named_with_both_hosts_and_values(name: str) -> None:
    default = specifications(ROOT / "roles")[name].get("type") == "list"
    (message,) = told({name: ["left"] if default else "left"}, {name: ["right"] if default else "right"})
    assert message.startswith(f"{name} is ")
    assert all(word in message for word in ("left", "on one", "right", "on two", "mlflow_servers"))
    assert told({name: "same"}, {name: "same"}) == []


def test_workspaces_are_on_all_servers_or_on_none() -> None:
    """A server without them knows nothing of the members of a workspace."""
    (message,) = told({"mlflow_server_workspaces": "yes"}, {})
    assert message.startswith("mlflow_server_workspaces is true on one and false on two.") and "mlflow_servers" in message
    assert told({"mlflow_server_workspaces": "yes"}, {"mlflow_server_workspaces": True}) == []
    assert told({"mlflow_server_workspaces": False}, {}) == []


@pytest.mark.parametrize("name", [*alike.SECRET, *alike.SECRET_OF_THE_FIRST])
def test_a_secret_that_differs_is_named_and_not_shown(name: str) -> None:
    (message,) = told({name: "canary-left"}, {name: "canary-right"})
    assert message.startswith(f"{name} is not the same on one and two") and "canary" not in message
    assert told({}, {name: "canary-right"})
    assert told({name: "canary-left"}, {name: "canary-left"}) == []


@pytest.mark.parametrize("name", alike.SECRET_OF_THE_FIRST)
def test_what_the_first_server_has_for_all_need_not_be_repeated(name: str) -> None:
    assert told({name: "canary-left"}, {}) == []


@pytest.mark.parametrize("name", alike.SECRET)
def test_a_secret_of_one_server_alone_would_be_generated_for_the_other(name: str) -> None:
    assert told({name: "canary-left"}, {})


def test_a_default_that_is_repeated_is_no_difference() -> None:
    assert told({"mlflow_server_auth": "none", "mlflow_server_artifact_mode": "proxied"}, {}) == []
    assert told({}, {"mlflow_server_auth": "none", "mlflow_server_oidc_scopes": ["openid", "profile", "email", "groups"]}) == []


@pytest.mark.parametrize("name", alike.DATABASES)
@pytest.mark.parametrize(
    ("one", "two", "shown"),
    [
        # By any name of a host of the stack, with any options.
        (("db", "ml"), ("10.0.0.3:5432", "ml?connect_timeout=10"), ()),
        (("db.example.com", "ml"), ("DB", "ml"), ()),
        (("localhost", "ml"), ("one", "ml"), ()),
        (("localhost", "ml"), ("localhost", "ml"), ("the database ml on one", "the database ml on two")),
        (("db", "ml"), ("db", "other"), ("ml on db", "other on db")),
        (("db", "ml"), ("elsewhere", "ml"), ("ml on db on one", "ml on elsewhere on two")),
    ],
)
def test_servers_share_their_databases_by_any_name(name: str, one: tuple[str, str], two: tuple[str, str], shown: tuple[str, ...]) -> None:
    messages = told({name: DATABASE.format(*one)}, {name: DATABASE.format(*two)})
    assert bool(messages) == bool(shown) and all(text in messages[0] and "canary" not in messages[0] for text in shown)


def test_servers_share_their_bucket() -> None:
    name = alike.DESTINATION
    assert told({name: "s3://a/runs"}, {name: "s3://a/runs/"}) == []
    (message,) = told({name: "s3://a"}, {name: "s3://b"})
    assert message.startswith(f"{name} is s3://a on one and s3://b on two")
    assert "not set on one" in told({}, {name: "s3://b"})[0]


def test_what_concerns_one_host_may_differ() -> None:
    assert told({}, OWN) == []


def test_all_are_named_at_once() -> None:
    assert len(told({}, {"mlflow_server_auth": "basic", "mlflow_server_static_prefix": "/ml", "mlflow_server_webhook_key": "canary"})) == 3
