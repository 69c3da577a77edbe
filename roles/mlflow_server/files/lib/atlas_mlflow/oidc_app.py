"""The plugin's application with MLflow's own check of Host and Origin headers, which the plugin omits, and with a short way to what each request asks."""

from mlflow.server.fastapi_security import init_fastapi_security
from mlflow_oidc_auth.app import app

from atlas_mlflow import login_memory_oidc, rights_oidc
from atlas_mlflow.login_memory import AnswersOfEachRequest

# Added last, so it handles a request first.
init_fastapi_security(app)
app.add_middleware(AnswersOfEachRequest)
login_memory_oidc.install()
rights_oidc.install()
