"""The plugin's application with MLflow's own check of Host and Origin headers, which the plugin omits."""

from mlflow.server.fastapi_security import init_fastapi_security
from mlflow_oidc_auth.app import app

# Added last, so it handles a request first.
init_fastapi_security(app)
