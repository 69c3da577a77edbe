"""Compare the store with a memory to the store of the release that runs this, in databases of its own. Prints the differences as JSON."""

import asyncio
import base64
import json
import os
import sys
import tempfile
import warnings
from pathlib import Path

warnings.simplefilter("ignore")
json.load(sys.stdin)
NAME, RIGHT, NEXT, WRONG = "ada", "the-right-password", "the-next-password", "a-wrong-password"
folder = tempfile.TemporaryDirectory()
users = f"sqlite:///{folder.name}/users.db"
config = Path(folder.name, "auth.ini")
config.write_text(
    f"[mlflow]\ndatabase_uri = {users}\ndefault_permission = READ\nadmin_username = admin\nadmin_password = the-administrators\n"
    "authorization_function = mlflow.server.auth:authenticate_request_basic_auth\n",
    encoding="utf-8",
)
os.environ |= {
    "MLFLOW_AUTH_CONFIG_PATH": str(config),
    "_MLFLOW_SERVER_FILE_STORE": f"sqlite:///{folder.name}/runs.db",
    "_MLFLOW_SERVER_ARTIFACT_ROOT": folder.name,
}

from atlas_mlflow import compact, rights_basic  # noqa: E402
from atlas_mlflow import login_memory_basic as memory  # noqa: E402
from atlas_mlflow.login_memory import AnswersOfEachRequest  # noqa: E402
from mlflow.server import auth, handlers  # noqa: E402
from mlflow.server.auth import permissions  # noqa: E402
from mlflow.utils.search_utils import SearchUtils  # noqa: E402


class App:
    """Stands in for the FastAPI application."""

    def __init__(self):
        """Begin without a middleware."""
        self.added = []

    def add_middleware(self, made):
        """Note what is added."""
        self.added.append(made)


differences = []


def compare(what, seen, expected):
    """Note a difference."""
    if seen != expected:
        differences.append(f"{what}: {seen} and not {expected}")


plain = auth.store
plain.init_db(users)
plain.create_user(NAME, RIGHT)
plain.create_experiment_permission("7", NAME, "EDIT")
plain.create_registered_model_permission("a model", NAME, "MANAGE")
tracking, models = auth._get_tracking_store(), auth._get_model_registry_store()
experiment = tracking.create_experiment("e")
run = tracking.create_run(experiment, "me", 1, [], "a name")

app = App()
compare("installed", memory.install(app), True)
compare("middleware", [made.__name__ for made in app.added], ["AnswersOfEachRequest"])
store = auth.store
compare("the store", type(store).__name__, "RememberingStore")
slow = []
check = type(plain).authenticate_user
type(plain).authenticate_user = lambda self, name, password, **more: slow.append(password) or check(self, name, password, **more)

compare("right", [store.authenticate_user(NAME, RIGHT) for _ in range(3)], [True] * 3)
compare("wrong", [store.authenticate_user(NAME, WRONG) for _ in range(2)], [False] * 2)
compare("unknown", store.authenticate_user("nobody", RIGHT), False)
compare("nothing", store.authenticate_user(None, None), False)
compare("slow checks", slow, [RIGHT, WRONG, WRONG, RIGHT, None])
compare("user", store.get_user(NAME).to_json(), plain.get_user(NAME).to_json())
if hasattr(plain, "list_grants"):
    number = plain.get_user(NAME).id
    plain.grant_user_resource_permission(NAME, "prompt", "a prompt", "EDIT")
    compare("quick rights", memory._quick_grants(type(plain), sys.modules["mlflow.server.auth.db.models"]) is not None, True)
    for types in ({"experiment"}, {"experiment", "registered_model"}, {"prompt"}, {"run"}):
        compare(f"rights of {types}", sorted(store.list_grants(number, "default", types)), sorted(plain.list_grants(number, "default", types)))
    compare("rights of nobody", store.list_grants(number + 1, "default", {"experiment"}), [])
else:
    compare("right", store.get_experiment_permission("7", NAME).permission, "EDIT")
    compare(
        "rights", [right.to_json() for right in store.list_experiment_permissions(NAME)], [right.to_json() for right in plain.list_experiment_permissions(NAME)]
    )

# The module for users takes a release whose users have no list of permissions as one that has types for prompts and MCP servers.
types = getattr(permissions, "VALID_RESOURCE_TYPES", frozenset())
listed = "experiment_permissions" in plain.get_user(NAME).to_json()
compare("types of permissions", sorted(types & {"mcp_server", "prompt"}), [] if listed else ["mcp_server", "prompt"])

checked = auth._get_tracking_store()
compare("the checked store", type(checked).__name__, "CheckedStore")
compare("experiment of a run", checked.get_run(run.info.run_id).info.experiment_id, experiment)
compare("name of a run", checked.get_run(run.info.run_id).info.run_name, "a name")
try:
    compare("no run", checked.get_run("0" * 32), None)
except Exception as error:
    compare("no run", getattr(error, "error_code", error), "RESOURCE_DOES_NOT_EXIST")


def filled_up(search, most):
    """Return the names of every second row, as filters of answers collect them, with their own tokens of pages."""
    found, offset = [], 1
    while len(found) < most:
        more = search(max_results=most, order_by=["name"], page_token=SearchUtils.create_page_token(offset))[: most - len(found)]
        if not more:
            break
        found += [row.name for row in more if row.name[-1] in "02468"]
        offset += len(more)
    return found


async def in_a_request(*given):
    """Fill up two answers, as in a request of a user with rights on half of the rows."""
    for most in (7, 25):
        compare(f"{most} experiments", filled_up(checked.search_experiments, most), filled_up(tracking.search_experiments, most))
        compare(f"{most} models", filled_up(registry.search_registered_models, most), filled_up(models.search_registered_models, most))


for number in range(30):
    tracking.create_experiment(f"experiment {number:02}")
    models.create_registered_model(f"model {number:02}")
registry = auth._get_model_registry_store()
compare("the checked registry", type(registry).__name__, "CheckedRegistry")
compare("half of the experiments", len(filled_up(checked.search_experiments, 100)), 15)
asyncio.run(AnswersOfEachRequest(in_a_request)({}, None, None))


def answers(name, most, filtered):
    """Return the status of a search of experiments and the answer as JSON, behind a filter of answers."""
    login = {"Authorization": "Basic " + base64.b64encode(f"{name}:{RIGHT}".encode()).decode()}
    with auth.app.test_request_context("/api/2.0/mlflow/experiments/search", method="POST", json={"max_results": most}, headers=login):
        answer = handlers._search_experiments()
        filtered(answer)
        return answer.status_code, json.loads(answer.get_data())


if hasattr(plain, "list_grants"):
    compare("functions of another form", rights_basic.install(auth), [])
    compare("short answers", compact.install(), True)
    auth.auth_config = auth.auth_config._replace(default_permission="NO_PERMISSIONS")
    for number in range(3, 25, 3):
        plain.grant_user_resource_permission(NAME, "experiment", str(number), "READ")
    made = rights_basic.readable_experiments(auth)
    compare("a short answer", handlers.message_to_json(handlers.SearchExperiments.Response()), "{}")
    for most in (1, 2, 5, 8, 9, 25, 100):
        compare(f"{most} readable experiments", answers(NAME, most, made), answers(NAME, most, auth.filter_search_experiments))
    compare("number of readable experiments", len(answers(NAME, 100, made)[1]["experiments"]), 9)

plain.update_user(NAME, password=NEXT)
compare("after a change", [store.authenticate_user(NAME, password) for password in (RIGHT, NEXT, NEXT)], [False, True, True])
plain.update_user(NAME, is_admin=True)
compare("administrator", store.get_user(NAME).is_admin, True)
store.delete_experiment_permission("7", NAME)
store.delete_registered_model_permission("a model", NAME)
store.delete_user(NAME)
compare("after the removal", store.authenticate_user(NAME, NEXT), False)
print(json.dumps(differences))
