"""The secrets in use are in nobody's sight, on any host of the stack. ../watched holds that the search for them finds what is in sight."""

from __future__ import annotations

from stack.sights import in_sight
from stack.support import stack_hosts


def test_no_secret_is_in_sight(secrets: dict[str, str]) -> None:
    assert {name for name, secret in secrets.items() if len(secret) < 12} == set()
    for host in stack_hosts():
        assert in_sight(host, secrets) == {}, host.backend.hostname
