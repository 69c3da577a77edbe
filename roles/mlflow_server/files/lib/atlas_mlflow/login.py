"""The file that lets users in, and how the administrator in it logs in."""

from __future__ import annotations

import configparser
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

#: Names the file with the settings of MLflow's basic-auth app.
CONFIG_PATH = "MLFLOW_AUTH_CONFIG_PATH"


@dataclass(frozen=True)
class Config:
    """What the app that lets users in is told."""

    app: str
    uri: str
    name: str
    password: str


def read_config(environment: Mapping[str, str]) -> Config | None:
    """Return the settings of the app that lets users in, nothing if the service has no users."""
    if not environment.get(CONFIG_PATH):
        return None
    parser = configparser.ConfigParser()
    parser.read_string(Path(environment[CONFIG_PATH]).read_text(encoding="utf-8"))
    section = parser["mlflow"]
    return Config(section.get("app", "basic"), section["database_uri"], section["admin_username"], section["admin_password"])


def log_in(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the variables by which an MLflow client logs in as the administrator, none if the service has no users."""
    config = read_config(environment)
    return {"MLFLOW_TRACKING_USERNAME": config.name, "MLFLOW_TRACKING_PASSWORD": config.password} if config else {}
