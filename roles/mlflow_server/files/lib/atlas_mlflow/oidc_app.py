"""The plugin's application with MLflow's own check of Host and Origin headers, which the plugin omits, and with a memory for the account's password."""

from mlflow.server.fastapi_security import init_fastapi_security
from mlflow_oidc_auth.app import app

from atlas_mlflow import login_memory_oidc

# Added last, so it handles a request first.
init_fastapi_security(app)
login_memory_oidc.install()
