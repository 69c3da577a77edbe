"""The server's application: the one that MLflow's command line chose, with what this collection adds.

The command line chooses MLflow's own application, the one with users (``--app-name basic-auth``), or the application of a plugin, by the name of a
module and an object in it (``mlflow.server.fastapi_app:app``).
"""

from __future__ import annotations

import contextlib
import importlib
import os
import types
from typing import Any

from atlas_mlflow import artifacts, compact, flask_bridge, login_memory_basic, metrics, middleware, replicas, request_heads, sockets

#: The application with users.
_WITH_USERS = "mlflow.server.auth"
#: Part of each application on uvicorn.
_OF_MLFLOW = "mlflow.server.fastapi_app"

#: Modules with models of the database that MLflow loads in a request. A release may have no jobs, and may lack what users need.
_LATE = (_WITH_USERS, "mlflow.store.jobs.sqlalchemy_store")

#: MLflow's setting for the URI of replicas.
_REPLICAS = "MLFLOW_READ_REPLICA_BACKEND_STORE_URI"
#: The variable with the addresses and networks that may read the metrics.
_METRICS_CLIENTS = "ATLAS_MLFLOW_METRICS_CLIENTS"
#: The variable that names the application which MLflow's command line chose.
_CHOSEN = "ATLAS_MLFLOW_APPLICATION"


def load(chosen: str) -> None:
    """Name the application that MLflow's command line chose. Load the modules of MLflow's own applications, in the process that the workers are forks of.

    These modules connect to no database. A plugin's module may, and a connection must not be shared, so each worker loads the plugin itself.

    Without users, MLflow loads the models of users and of jobs in the first requests that need them. If one thread defines the models of users while
    another one loads a store, SQLAlchemy gives up these models, and the worker answers all requests to the other store with 500 until it ends.

    :param chosen: Module and object, as for uvicorn.
    """
    os.environ[_CHOSEN] = chosen
    if os.environ.get(_REPLICAS):
        replicas.install()
    for name in (_OF_MLFLOW, chosen.partition(":")[0]):
        if name.startswith("mlflow.server"):
            importlib.import_module(name)
    for name in _LATE:
        with contextlib.suppress(ImportError):
            importlib.import_module(name)


def create_app() -> Any:
    """Return the application of a worker. Its sockets exist already."""
    module, name = os.environ[_CHOSEN].split(":")
    application = getattr(importlib.import_module(module), name)
    if isinstance(application, types.FunctionType):
        application = application()
    compact.install()
    if module == _WITH_USERS:
        login_memory_basic.install(application)
    sockets.turn_off_nagle()
    request_heads.limit()
    # A plugin may have an application of another kind.
    if hasattr(application, "add_exception_handler"):
        flask_application = importlib.import_module("mlflow.server").app
        refuse = flask_bridge.wrong_login(flask_application, importlib.import_module(_WITH_USERS)) if module == _WITH_USERS else None
        middleware.install(application, flask_bridge.install(application, flask_application, refuse))
        artifacts.install(application, flask_application)
    clients = os.environ.get(_METRICS_CLIENTS)
    return metrics.Guard(application, clients.split(",")) if clients else application
