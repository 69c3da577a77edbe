"""The login file, and the login of its administrator."""

from __future__ import annotations

import configparser
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

#: The variable with the path of the settings of MLflow's basic-auth app.
CONFIG_PATH = "MLFLOW_AUTH_CONFIG_PATH"


@dataclass(frozen=True)
class Config:
    """The settings of the login app."""

    app: str
    uri: str
    name: str
    password: str


def read_config(environment: Mapping[str, str]) -> Config | None:
    """Return the settings of the login app, None if the service has no users."""
    if not environment.get(CONFIG_PATH):
        return None
    parser = configparser.ConfigParser()
    parser.read_string(Path(environment[CONFIG_PATH]).read_text(encoding="utf-8"))
    section = parser["mlflow"]
    return Config(section.get("app", "basic"), section["database_uri"], section["admin_username"], section["admin_password"])


def log_in(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the variables with which an MLflow client logs in as the administrator, empty if the service has no users."""
    config = read_config(environment)
    return {"MLFLOW_TRACKING_USERNAME": config.name, "MLFLOW_TRACKING_PASSWORD": config.password} if config else {}
