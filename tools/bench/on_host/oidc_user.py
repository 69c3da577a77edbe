"""Give a user of the OpenID Connect plugin a token, and rights on experiments and prompts. Runs on the host, in the server's environment.

Arguments: the name of the user, the experiments and the prompts (with commas). Prints the token as JSON. A person would get it after a login by the provider.
"""

import json
import os
import sys
from datetime import datetime, timedelta, timezone

from mlflow import MlflowClient
from mlflow_oidc_auth.store import store

name, experiments, prompts = sys.argv[1], sys.argv[2].split(","), sys.argv[3].split(",")
if not store.has_user(name):
    store.create_user(name, name)
    client = MlflowClient(os.environ["MLFLOW_BACKEND_STORE_URI"])
    for experiment in experiments:
        store.create_experiment_permission(client.get_experiment_by_name(experiment).experiment_id, name, "MANAGE")
    for prompt in prompts:
        store.create_registered_model_permission(prompt, name, "MANAGE")
_record, token, _replaced = store.replace_user_token(name, "bench", datetime.now(timezone.utc) + timedelta(days=1), name)
print(json.dumps(token))
