"""What people see who log in by OpenID Connect, in a real browser: the login page, the provider's pages, and MLflow by its public name.

The stack is changed from logins with a password to logins by the provider first, so these tests come after the others of the scenario.
"""

from __future__ import annotations

from typing import Any

import pytest
from stack.support import hosts_of, play, playbook, run_python, said, secrets_folder
from test_browser import LOOK, NAME, keep
from testinfra.host import Host

HOME = f"https://{NAME}/"
#: Seconds for the run that changes the logins.
PATIENCE = 900


@pytest.fixture(scope="module")
def provider() -> str:
    """Return the provider's URL."""
    return f"https://{hosts_of('providers')[0]}:8443"


@pytest.fixture(scope="module")
def changed(server_name: str, provider: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Let people log in by the provider."""
    settings = {
        "mlflow_server_auth": "oidc",
        "mlflow_server_oidc_discovery_url": f"{provider}/.well-known/openid-configuration",
        "mlflow_server_oidc_client_id": "mlflow",
        "mlflow_server_oidc_client_secret": "{{ oidc_client_secret }}",
        "mlflow_server_oidc_redirect_uri": "{{ oidc_redirect_uri }}",
        "mlflow_server_oidc_groups": ["data-science"],
        "mlflow_server_oidc_admin_groups": ["platform"],
    }
    done = play(playbook("site", {"mlflow_servers": {"hosts": {server_name: settings}}}, tmp_path_factory.mktemp("openid")), patience=PATIENCE)
    assert done.returncode == 0, said(done)


def login(client: Host, person: str, *after: dict[str, Any]) -> dict[str, Any]:
    """Let a person log in, and return what the browser saw of each page.

    :param after: Pages after the login.
    """
    password = (secrets_folder() / "oidc_person_password").read_text(encoding="utf-8").strip()
    pages = [
        {"name": "openid_login", "url": HOME, "words": ["Login with OIDC"], "steps": [{"press": "Login with OIDC"}]},
        {"name": "name", "words": ["Sign in to"], "steps": [{"fill": {"input[name=login]": person}, "press": "Continue"}]},
        {"name": "password", "words": ["enter your password"], "steps": [{"fill": {"input[name=password]": password}, "press": "Sign in"}]},
        {"name": "consent", "words": ["requesting access"], "steps": [{"press": "Accept"}]},
        *after,
    ]
    answers = run_python(client, LOOK, {"pages": pages})
    keep(answers, ("openid_login", "openid"))
    return {one["name"]: one for one in answers}


@pytest.fixture(scope="module")
def ann(client: Host, changed: None) -> dict[str, Any]:
    """Return what a person sees who may log in: the page after the login, MLflow's first page, and the login page again after the logout."""
    return login(
        client,
        "ann",
        {"name": "end", "words": ["ann@example.org"]},
        {"name": "openid", "url": HOME, "words": ["Recent Experiments", "ann@example.org", "iris"], "steps": [{"press": "Logout"}]},
        {"name": "out", "url": HOME, "words": ["Login with OIDC"]},
    )


def test_the_login_leads_to_the_provider_and_back(ann: dict[str, Any], provider: str) -> None:
    assert {name: one["missing"] for name, one in ann.items()} == {name: [] for name in ann}, {name: (one["at"], one["text"]) for name, one in ann.items()}
    assert all(ann[name]["at"].startswith(provider) for name in ("name", "password", "consent"))
    assert all(ann[name]["at"].startswith(HOME) for name in ("openid_login", "end", "openid", "out"))


def test_no_page_of_the_server_has_an_error(ann: dict[str, Any]) -> None:
    assert {name: ann[name]["errors"] for name in ("openid_login", "openid")} == {"openid_login": [], "openid": []}


def test_a_person_of_no_group_sees_no_experiment(client: Host, changed: None) -> None:
    seen = login(client, "bob", {"name": "end", "words": ["bob"]}, {"name": "home", "url": HOME, "words": []})
    assert seen["consent"]["missing"] == []
    assert "iris" not in seen["home"]["text"] and "bob@example.org" not in seen["home"]["text"], seen["home"]["text"]
    assert "not" in seen["end"]["text"], seen["end"]["text"]
