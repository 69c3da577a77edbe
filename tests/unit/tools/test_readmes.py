"""The READMEs of the roles, which are made from the specifications."""

from __future__ import annotations

from pathlib import Path

from tools import readmes

SPECIFICATION = """
argument_specs:
  main:
    short_description: A part
    description: ['It does this, and O(part_port) C(that), as O(atlas.mlflow.other#role:other_port) in C(systemd.time(7\\)) (see V(x)).']
    options: &options
      part_port: {description: Port. None when V(0)., type: int, default: 0}
      part_name: {description: A | B, choices: [a, b], required: true}
      part_list: {description: A list., type: list, elements: dict, options: {key: {description: A key., type: str}}}
  remove: {short_description: Take the part away, options: *options}
  switches: {short_description: What playbooks read, options: {part_more: {description: More., type: bool, default: false}}}
"""


def test_a_readme_tells_each_variable_and_is_stale_when_the_specification_changes(tmp_path: Path):
    role = tmp_path / "roles/part"
    (role / "meta").mkdir(parents=True)
    (role / "tasks").mkdir()
    (role / "tasks/remove.yml").touch()
    specification = role / "meta/argument_specs.yml"
    specification.write_text(SPECIFICATION)
    assert readmes.stale(tmp_path) == ["roles/part/README.md"]
    (content,) = readmes.wanted(tmp_path).values()
    (role / "README.md").write_text(content)
    assert readmes.stale(tmp_path) == []
    lines = content.splitlines()
    assert "It does this, and `part_port` `that`, as `other_port` in `systemd.time(7)` (see `x`)." in lines
    assert "| `part_port` | int | `0` | Port. None when `0`. |" in lines
    assert "| `part_name` | `a`, `b` | required | A \\| B |" in lines
    assert "| `part_list[].key` | str |  | A key. |" in lines
    assert "| `part_more` | bool | `false` | More. |" in lines
    assert content.count("part_port") == 2 and "`tasks_from: remove`\n\nIt takes the variables above." in content
    assert "tasks_from: switches" not in content
    specification.write_text(SPECIFICATION.replace("default: 0", "default: 1"))
    assert readmes.stale(tmp_path) == ["roles/part/README.md"]
