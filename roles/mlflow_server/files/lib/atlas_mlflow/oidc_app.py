"""The plugin's application behind MLflow's own check of Host and Origin headers, which the plugin leaves out."""

from mlflow.server.fastapi_security import init_fastapi_security
from mlflow_oidc_auth.app import app

# Added last, so a request meets it first.
init_fastapi_security(app)
