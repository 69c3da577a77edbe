"""How many connections tracking servers may open, and what PostgreSQL needs for them."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.atlas.mlflow.plugins.plugin_utils.connections import max_connections, most_connections

SMALL = {"MLFLOW_SQLALCHEMYSTORE_POOL_SIZE": "2", "MLFLOW_SQLALCHEMYSTORE_MAX_OVERFLOW": 1}


@pytest.mark.parametrize(
    ("servers", "connections"),
    [
        ([], 0),
        ([{"mlflow_server_workers": 1}], 30),
        ([{"ansible_facts": {"processor_nproc": 4}}], 120),
        ([{"mlflow_server_workers": "4"}, {"mlflow_server_workers": 2}], 180),
        ([{"mlflow_server_workers": 2, "mlflow_server_auth": "basic"}], 98),
        ([{"mlflow_server_workers": 2, "mlflow_server_auth": "basic", "mlflow_server_auth_store_uri": "sqlite:////x"}], 60),
        ([{"mlflow_server_workers": 2, "mlflow_server_jobs_enabled": "true"}], 300),
        ([{"mlflow_server_workers": 2, "mlflow_server_jobs_enabled": "false"}], 60),
        ([{"mlflow_server_workers": 2, "mlflow_server_environment": SMALL}], 12),
        ([{"mlflow_server_workers": 2, "mlflow_server_read_replicas": "true"}], 122),
        ([{"mlflow_server_workers": 2, "mlflow_server_read_replicas": True, "mlflow_server_read_replica_store_uri": "postgresql+psycopg2://x/m"}], 60),
        ([{"mlflow_server_workers": 2, "mlflow_server_environment": {"MLFLOW_SQLALCHEMYSTORE_POOLCLASS": "NullPool"}}], 0),
        ([{"mlflow_server_workers": 2, "mlflow_server_backend_store_uri": "postgresql+psycopg2://elsewhere/m"}], 0),
    ],
)
def test_the_connections_of_all_servers_are_counted(servers: list[dict[str, Any]], connections: int) -> None:
    assert most_connections(servers) == connections


@pytest.mark.parametrize(("connections", "needed"), [(0, 0), (60, 0), (90, 0), (91, 150), (120, 150), (240, 250), (241, 300)])
def test_postgres_gets_as_many_as_that_takes(connections: int, needed: int) -> None:
    assert max_connections(connections) == needed
