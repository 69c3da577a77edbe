"""Each worker remembers logins, and a changed password, a removed user and a withdrawn right count at the next request, whichever worker answers."""

from __future__ import annotations

from typing import Any

import pytest
from stack.support import administrator, base_url, run_python
from testinfra.host import Host

API = "api/2.0/mlflow"
#: Requests that are enough to reach each worker, each over a connection of its own.
TIMES = 8
#: Asks a server in the order given, each time over a connection of its own. Prints for each step the statuses of its answers, and the median of their times.
ASK_IN_ORDER = """
import base64, json, statistics, sys, time, urllib.error, urllib.request
base, steps = json.load(sys.stdin)
opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
done = []
for login, method, path, body, times in steps:
    statuses, took = [], []
    for _ in range(times):
        headers = {"Content-Type": "application/json", "Authorization": "Basic " + base64.b64encode(":".join(login).encode()).decode()}
        request = urllib.request.Request(base + path, method=method, headers=headers, data=None if body is None else json.dumps(body).encode())
        began = time.perf_counter()
        try:
            with opener.open(request, timeout=60) as response:
                statuses.append(response.status)
        except urllib.error.HTTPError as error:
            statuses.append(error.code)
        took.append(time.perf_counter() - began)
    done.append([statuses, statistics.median(took)])
print(json.dumps(done))
"""
SEARCH = f"{API}/experiments/search?max_results=1"
ONE, TWO, NAME = "the-first-password", "the-second-password", "remembered"


def steps_of(client: Host, server_name: str, *steps: tuple[tuple[str, str], str, str, Any, int]) -> list[tuple[set[int], float]]:
    """Make requests in the order given, and return for each step the different statuses and the median time in seconds."""
    done = run_python(client, ASK_IN_ORDER, [f"{base_url(server_name)}/", steps])
    return [(set(statuses), median) for statuses, median in done]


@pytest.fixture
def nobody_left(client: Host, server_name: str) -> Any:
    """Remove the user of an earlier run, before and after."""
    step = (administrator(), "DELETE", f"{API}/users/delete", {"username": NAME}, 1)
    steps_of(client, server_name, step)  # type: ignore[arg-type]
    yield
    steps_of(client, server_name, step)  # type: ignore[arg-type]


@pytest.mark.usefixtures("nobody_left")
def test_what_has_changed_counts_at_the_next_request_of_each_worker(client: Host, server_name: str) -> None:
    admin = administrator()
    one, two = (NAME, ONE), (NAME, TWO)
    run = f"{API}/experiments/get?experiment_id=0"
    grant = {"username": NAME, "resource_type": "experiment", "resource_id": "0"}
    user = {"username": NAME}
    done = steps_of(
        client,
        server_name,
        (admin, "POST", f"{API}/users/create", {**user, "password": ONE}, 1),
        (admin, "POST", "api/3.0/mlflow/users/permissions/grant", {**grant, "permission": "READ"}, 1),
        (one, "GET", run, None, TIMES),
        ((NAME, "a-wrong-password"), "GET", run, None, 3),
        (admin, "POST", "api/3.0/mlflow/users/permissions/revoke", grant, 1),
        (one, "GET", run, None, TIMES),
        (admin, "PATCH", f"{API}/users/update-admin", {**user, "is_admin": True}, 1),
        (one, "GET", run, None, TIMES),
        (admin, "PATCH", f"{API}/users/update-admin", {**user, "is_admin": False}, 1),
        (one, "GET", run, None, TIMES),
        (admin, "PATCH", f"{API}/users/update-password", {**user, "password": TWO}, 1),
        (one, "GET", SEARCH, None, TIMES),
        (two, "GET", SEARCH, None, TIMES),
        (admin, "DELETE", f"{API}/users/delete", user, 1),
        (two, "GET", SEARCH, None, TIMES),
    )  # type: ignore[arg-type]
    withdrawn = [{200}, {403}]
    assert [statuses for statuses, _ in done] == [{200}, {200}, {200}, {401}, *withdrawn, {200}, {200}, *withdrawn, {200}, {401}, {200}, {200}, {401}], done


def test_a_login_that_is_known_takes_less_than_half_of_a_slow_check(client: Host, server_name: str) -> None:
    """A wrong password is checked once, as slowly as MLflow does it. MLflow checks a right one several times in a request."""
    admin = administrator()
    assert admin is not None
    (known, fast), (wrong, slow) = steps_of(
        client, server_name, (admin, "GET", SEARCH, None, 3 * TIMES), ((admin[0], "a-wrong-password"), "GET", SEARCH, None, 5)
    )
    assert (known, wrong) == ({200}, {401})
    assert fast < slow / 2, (fast, slow)
