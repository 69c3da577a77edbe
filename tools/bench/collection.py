"""The collection's own code that the measurements use: HAProxy's socket, and the number of connections to PostgreSQL."""

from __future__ import annotations

import sys

from tools.testbed.shell import ROOT

sys.path.insert(0, str(ROOT / "collections"))

from ansible_collections.atlas.mlflow.plugins.module_utils.haproxy import HaproxyError, Proxy
from ansible_collections.atlas.mlflow.plugins.plugin_utils.connections import max_connections, most_connections

__all__ = ["HaproxyError", "Proxy", "max_connections", "most_connections"]
