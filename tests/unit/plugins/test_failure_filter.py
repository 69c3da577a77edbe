"""What a failed task said is told by the last lines of its command, or by its message."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.atlas.mlflow.plugins.filter.failure import failure_text


@pytest.mark.parametrize(
    ("result", "text"),
    [
        ({"failed": True, "msg": "no such file"}, "no such file"),
        ({"failed": True, "msg": "non-zero return code", "stdout_lines": ["begun"], "stderr_lines": ["disk full"]}, "begun disk full"),
        ({"failed": True, "msg": "x", "stdout_lines": [str(number) for number in range(30)]}, " ".join(str(number) for number in range(10, 30))),
        ({"failed": True, "msg": "One or more items failed", "results": [{"msg": "well"}, {"failed": True, "msg": "the second"}]}, "the second"),
        ({"failed": True, "rc": 1}, "{'failed': True, 'rc': 1}"),
        (
            {"failed": True, "msg": "non-zero return code", "rc": 255, "cmd": ["systemd-run", "--wait", "python", "copy"], "stderr_lines": []},
            "The command systemd-run ... copy ended with the status 255 and wrote nothing.",
        ),
    ],
)
def test_the_words_of_a_failed_task_are_told(result: dict[str, Any], text: str) -> None:
    assert failure_text(result) == text
