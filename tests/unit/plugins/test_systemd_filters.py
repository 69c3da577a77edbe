"""systemd's quoting, held against systemd's own rules by a parser of them."""

from __future__ import annotations

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.atlas.mlflow.plugins.filter.systemd import systemd_argv, systemd_environment

AWKWARD = ["plain", "two words", "", 'a "quote"', "back\\slash", "100%", "%h", "$HOME", "${HOME}", "semi;colon", "'single'", "é", "\\n"]


def parse_exec(line: str) -> list[str]:
    """Read an ExecStart line as systemd.service(5) says: double quotes, C escapes, then specifiers and variables."""
    arguments, text, position = [], None, 0
    while position < len(line):
        character = line[position]
        if character == '"':
            if text is None:
                text = ""
            else:
                arguments.append(text.replace("%%", "%").replace("$$", "$"))
                text = None
        elif character == "\\":
            position += 1
            text += line[position]
        elif text is not None:
            text += character
        position += 1
    return arguments


def parse_environment(content: str) -> dict[str, str]:
    """Read an environment file as systemd.exec(5) says: between double quotes a backslash keeps what follows it."""
    variables = {}
    for line in content.splitlines():
        name, _, quoted = line.partition("=")
        assert quoted[0] == quoted[-1] == '"'
        text, inner, position = "", quoted[1:-1], 0
        while position < len(inner):
            if inner[position] == "\\" and inner[position + 1] in '\\"$`':
                position += 1
            text += inner[position]
            position += 1
        variables[name] = text
    return variables


def test_each_argument_arrives_as_it_was_given() -> None:
    assert parse_exec(systemd_argv(AWKWARD)) == AWKWARD


def test_numbers_are_arguments_too() -> None:
    assert systemd_argv(["--port", 5001]) == '"--port" "5001"'


@pytest.mark.parametrize("character", ["\n", "\r", "\0"])
def test_a_line_break_that_would_cut_the_command_is_refused(character: str) -> None:
    with pytest.raises(AnsibleFilterError, match="line break"):
        systemd_argv(["mlflow", f"server{character}--host"])


def test_a_shell_string_is_refused() -> None:
    with pytest.raises(AnsibleFilterError, match="not a command line"):
        systemd_argv("mlflow server --host 0.0.0.0")


def test_each_value_arrives_as_it_was_given() -> None:
    variables = {f"NAME_{number}": text for number, text in enumerate(AWKWARD)}
    assert parse_environment(systemd_environment(variables)) == variables


def test_booleans_numbers_and_what_is_left_out() -> None:
    assert systemd_environment({"B": False, "A": 5, "C": None}) == 'A="5"\nB="false"\n'


def test_the_message_about_a_bad_value_does_not_show_it() -> None:
    with pytest.raises(AnsibleFilterError) as refused:
        systemd_environment({"SECRET": "hunter2\nhunter3"})
    assert "SECRET" in str(refused.value) and "hunter" not in str(refused.value)
