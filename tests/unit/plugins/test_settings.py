"""What is set for a host is held against the specifications before a host is touched: types, names, groups, the place of the secrets."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.parsing.vault import VaultLib, VaultSecret
from ansible_collections.atlas.mlflow.plugins.action.settings import ActionModule
from ansible_collections.atlas.mlflow.plugins.plugin_utils.rules import inventory
from ansible_collections.atlas.mlflow.plugins.plugin_utils.settings import (
    folder_fault,
    near_groups,
    near_misses,
    similar_names,
    specifications,
    strategy_fault,
    tags_fault,
    value_fault,
    version_fault,
    words_fault,
)
from in_process import act, trusted
from playbook_forks import ansible_playbook
from plays import tasks_of

ROOT = Path(__file__).resolve().parents[3]
OPTIONS = specifications(ROOT / "roles")
#: For each type of a specification: values that are taken, and values that are refused.
TAKEN: dict[str, list[Any]] = {"bool": [True, "false", "yes", "0", 1], "int": [0, "5001", " 7 "], "list": [[]], "dict": [{}], "str": ["text"], "path": ["/a"]}
REFUSED: dict[str, list[Any]] = {
    "bool": ["maybe", "", 5001, [], "truee", "y", "t"],
    "int": ["http", "", "50o1", True, 1.5, []],
    "list": ["a,b", '["a"]', 5, {"a": 1}],
    "dict": ["a=b", '{"a": 1}', ["a"], 5],
    "str": [["a"], {"a": 1}, True],
    "path": [["a"], False],
}


def of_type(kinds: dict[str, list[Any]]) -> list[Any]:
    """Return a case for each option of all specifications and each value for its type."""
    cases = [(name, value) for name, option in OPTIONS.items() for value in kinds[option.get("type", "str")]]
    return [pytest.param(name, value, id=f"{name}-{value!r}") for name, value in cases]


def test_every_type_of_the_specifications_has_cases() -> None:
    assert {option.get("type", "str") for option in OPTIONS.values()} <= set(TAKEN)
    assert {"atlas_mlflow_tls", "minio_remove_data", "backup_keep_full", "rotate_secrets"} <= set(OPTIONS)


def test_every_option_refuses_what_is_not_of_its_type_by_its_name() -> None:
    passed = [(name, value) for name, value in (case.values for case in of_type(REFUSED)) if not value_fault(name, OPTIONS[name], value).startswith(name)]
    assert passed == []


def test_every_option_takes_text_that_spells_its_type() -> None:
    cases = [case.values for case in of_type(TAKEN) if "choices" not in OPTIONS[case.values[0]]]
    assert {(name, str(value)): value_fault(name, OPTIONS[name], value) for name, value in cases if value_fault(name, OPTIONS[name], value)} == {}


def test_every_option_refuses_null() -> None:
    """A role's default is the only way to leave an option unset. Keys that the specification does not name, such as those of an environment, may be null."""
    assert [name for name, option in OPTIONS.items() if not value_fault(name, option, None).startswith(f"{name} is empty (null)")] == []
    assert value_fault("mlflow_server_environment", OPTIONS["mlflow_server_environment"], {"HTTP_PROXY": None}) == ""


def test_a_secret_is_not_shown() -> None:
    for name, option in OPTIONS.items():
        if option.get("no_log"):
            assert "canary" not in value_fault(name, option, ["canary"])


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("mlflow_server_auth", "ldap", ["mlflow_server_auth", "none, basic"]),
        ("mlflow_server_names", "a.example", ["mlflow_server_names is 'a.example'", '-e \'{"mlflow_server_names"']),
        ("mlflow_server_version", 3.1, ["3.1", "quotes"]),
        ("postgres_password", 123456789012, ["postgres_password", "quotes"]),
        ("postgres_port", None, ["postgres_port is empty (null)", "Remove the line to get the default", "or give it a value."]),
        ("postgres_tls_certificate", None, ["postgres_tls_certificate is empty (null)", 'such as "" for none']),
        ("mlflow_server_names", ["a.example", None], ["mlflow_server_names[1] is empty (null)"]),
        ("mlflow_server_users", [{"name": "ada", "password": None}], ["mlflow_server_users[0].password is empty (null)"]),
        ("atlas_mlflow_tls", "ture", ["atlas_mlflow_tls is 'ture'", "true or false"]),
    ],
)
def test_a_fault_says_the_way_out(name: str, value: Any, words: list[str]) -> None:
    fault = value_fault(name, OPTIONS[name], value)
    assert all(word in fault for word in words), fault
    assert "123456789012" not in fault


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("atlas_mlflow_tsl", "atlas_mlflow_tls"),
        ("atlas_mlflow_firewal", "atlas_mlflow_firewall"),
        ("atlas_mflow_tls", "atlas_mlflow_tls"),
        ("backup_repositry", "backup_repository"),
        ("minio_remove_dta", "minio_remove_data"),
        ("rotate_secret", "rotate_secrets"),
    ],
)
def test_a_name_that_is_nearly_one_of_ours_is_refused(name: str, near: str) -> None:
    assert near_misses([name], OPTIONS) == [f"{name} (did you mean {near}?)"]


def test_any_other_name_with_our_prefix_is_refused() -> None:
    assert near_misses(["atlas_mlflow_greeting_text"], OPTIONS) == ["atlas_mlflow_greeting_text"]


def test_names_of_others_pass() -> None:
    assert near_misses(["vault_postgres_password", "postgres_exporter_port", "ansible_host", "company", "my_minio_port", *OPTIONS], OPTIONS) == []


def test_what_our_own_plays_leave_behind_passes() -> None:
    files = [*ROOT.glob("playbooks/**/*.yml"), *ROOT.glob("roles/*/tasks/*.yml")]
    tasks = [task for path in files for task in tasks_of(yaml.safe_load(path.read_text(encoding="utf-8")))]
    left = {name for task in tasks for name in (task.get("register"), *task.get("ansible.builtin.set_fact", ())) if name and name[0] != "_"}
    assert {"atlas_mlflow_ip", "mlflow_server_users_changed", "mlflow_server_upgrade_from", "mlflow_server_diagnosis", "backup_check"} <= left
    assert near_misses(left, OPTIONS) == []
    # The rule of each role looks at its own names.
    assert similar_names(left, OPTIONS) == []


def test_a_group_that_is_nearly_one_of_ours_is_refused_while_ours_is_empty() -> None:
    known = ("mlflow_servers", "postgres", "minio", "haproxy")
    assert near_groups({"mlflow_server": ["a"], "postgresql": ["a"], "minio": ["b"], "minio1": ["b"]}, known) == [
        "mlflow_server (did you mean mlflow_servers?)",
        "postgresql (did you mean postgres?)",
    ]
    assert near_groups({"mlflow_servers": ["a"], "clients": ["c"], "postgress": []}, known) == []


@pytest.mark.parametrize(
    ("groups", "words"),
    [
        ({"postgres": ["a"]}, ["no host in the group mlflow_servers"]),
        ({"mlflow_servers": ["a"], "postgres": ["b", "c"]}, ["The group postgres has 2 hosts", "mlflow_server_backend_store_uri"]),
        ({"mlflow_servers": ["a"], "postgres": ["a", "b", "c"]}, []),
        ({"mlflow_servers": ["a"], "postgres": ["a", "b", "c", "d"]}, ["The group postgres has 4 hosts", "survives the loss of 1", "Keep 3, or add one"]),
        ({"mlflow_servers": ["a"], "postgres": list("abcdefghi")}, ["The group postgres has 9 hosts", "Keep 3, 5 or 7"]),
        ({"mlflow_servers": ["a"], "minio": ["b", "c", "d"], "haproxy": ["a"]}, ["The group minio has 3 hosts", "refuse writes", "4 or more"]),
        ({"mlflow_servers": ["a"], "minio": ["b", "c", "d", "e"]}, ["The group minio has 4 hosts", "a host in the group haproxy"]),
        ({"mlflow_servers": ["a"], "minio": ["b", "c", "d", "e"], "haproxy": ["a"]}, []),
        ({"mlflow_servers": ["a", "b"], "postgres": ["b"], "minio": ["b"], "haproxy": ["a", "b"]}, []),
    ],
)
def test_an_inventory_is_a_topology_that_the_roles_can_build(groups: dict[str, list[str]], words: list[str]) -> None:
    said = inventory.faults(inventory.Inventory(groups, tuple({host: None for hosts in groups.values() for host in hosts})))
    assert len(said) == bool(words) and all(word in said[0] for word in words)


@pytest.mark.parametrize(("limit", "missing"), [("abcs", ""), ("s", ""), ("as", "b, c"), ("bc", "a")])
def test_a_run_acts_on_all_members_of_a_cluster_or_on_none(limit: str, missing: str) -> None:
    groups = {"mlflow_servers": ["s"], "postgres": ["a", "b", "c"]}
    said = inventory.faults(inventory.Inventory(groups, tuple(limit), limit=limit))
    assert [f"--limit {limit} leaves out {missing}, which form a cluster" in fault for fault in said] == [True] * bool(missing)


def test_the_first_host_of_a_run_tells_what_is_wrong_with_the_inventory() -> None:
    own = {"groups": {"postgres": ["a", "b"]}, "hostvars": {host: {"inventory_dir": "/i"} for host in "ab"}, "ansible_play_hosts_all": ["a", "b"]}
    told = [act(ActionModule, {"acts_on": []}, {**own, "inventory_hostname": host}, tags=["always"])["faults"] for host in "ab"]
    assert [len(faults) for faults in told] == [2, 0]


def test_a_diagnosis_takes_any_inventory() -> None:
    own = {"groups": {"postgres": ["a", "b"]}, "hostvars": {host: {"inventory_dir": "/i"} for host in "ab"}, "ansible_play_hosts_all": ["a", "b"]}
    assert act(ActionModule, {}, {**own, "inventory_hostname": "a"}, tags=["always"])["faults"] == []


def test_the_place_of_the_secrets() -> None:
    assert folder_fault(None, ["/inv", "/inv"]) == ""
    assert folder_fault("~/secrets", ["/a", "/b", None]) == ""
    assert "/a and /b" in folder_fault(None, ["/b", "/a"])
    assert "no folder" in folder_fault(None, [None])
    assert "'secrets'" in folder_fault("secrets", ["/inv"])


@pytest.mark.parametrize(
    ("web", "database", "of_play", "said"),
    [
        ("~/a", None, None, "is ~/a on web and not set on db. The hosts of a stack share their secrets"),
        ("~/a", "{{ where }}/b", None, "is ~/a on web and /srv/b on db."),
        ("/srv/b", "{{ where }}/b", None, ""),
        (None, None, None, ""),
        # What the play sets holds for all hosts.
        (None, None, "~/a", ""),
        ("~/b", None, "~/a", ""),
    ],
)
def test_all_hosts_have_one_place_of_secrets(web: str | None, database: str | None, of_play: str | None, said: str) -> None:
    hostvars = {"web": {"atlas_mlflow_secrets_dir": web}, "db": {"atlas_mlflow_secrets_dir": database}}
    known = {host: {"inventory_dir": "/i", "where": "/srv", **{name: value for name, value in own.items() if value}} for host, own in hostvars.items()}
    hosts = {"groups": {"mlflow_servers": ["web"], "postgres": ["db"]}, "hostvars": trusted(known), "ansible_play_hosts_all": ["web", "db"]}
    for host, words in (("web", said), ("db", "")):
        own = {**trusted(known[host]), **({"atlas_mlflow_secrets_dir": of_play} if of_play else {})}
        faults = act(ActionModule, {}, {**own, **hosts, "inventory_hostname": host}, tags=["always"])["faults"]
        assert [words in fault for fault in faults] == [True] * bool(words), faults


@pytest.mark.parametrize("version", ["2.16.14", "2.18.19", "2.9.27"])
def test_an_old_ansible_is_refused(version: str) -> None:
    assert f"This is ansible-core {version}, and atlas.mlflow needs 2.19 or newer" in version_fault(version)


@pytest.mark.parametrize("version", ["2.19.0", "2.21.5", "2.20.0rc1", "3.0.0"])
def test_a_new_ansible_is_taken(version: str) -> None:
    assert version_fault(version) == ""


@pytest.mark.parametrize("strategy", ["linear", "ansible.builtin.linear", "debug", "mitogen_linear"])
def test_a_strategy_that_waits_for_all_hosts_is_taken(strategy: str) -> None:
    assert strategy_fault(strategy) == ""


@pytest.mark.parametrize("strategy", ["free", "ansible.builtin.free", "host_pinned", "mitogen_free"])
def test_a_strategy_that_does_not_wait_is_refused_before_a_host_is_touched(tmp_path: Path, strategy: str) -> None:
    assert f"is {strategy}, in which a host does not wait" in strategy_fault(strategy)
    if "mitogen" in strategy:
        return
    one = {"ansible_connection": "local", "ansible_python_interpreter": "/no-such-python"}
    (tmp_path / "hosts.yml").write_text(yaml.safe_dump({"mlflow_servers": {"hosts": {"one": one, "two": one}}}))
    done = ansible_playbook(tmp_path, "-i", tmp_path / "hosts.yml", ROOT / "playbooks/verify.yml", ANSIBLE_STRATEGY=strategy)
    assert "Set ANSIBLE_STRATEGY=linear" in " ".join(done.stdout.split()) and "no-such-python" not in done.stdout + done.stderr


def test_a_value_that_ansible_cannot_get_is_no_template_that_is_wrong(tmp_path: Path) -> None:
    """A look-up that fails, and a value that is encrypted by Vault without its password."""
    encrypted = VaultLib().encrypt("canary", VaultSecret(b"of others")).decode()
    lines = ["all:", "  vars:", "    postgres_password: !vault |", *(f"      {line}" for line in encrypted.splitlines())]
    lines += ["    minio_root_password: \"{{ lookup('ansible.builtin.file', '/no/such/file') }}\"", "    minio_secret_key: '{{ deeper }}'"]
    lines += ["    deeper: \"{{ lookup('ansible.builtin.url', 'http://me:canary@127.0.0.1:9/') }}\"", "    backup_passphrase: '{{ postgres_password }}'"]
    lines += ["    ansible_connection: local", "mlflow_servers: {hosts: {one: {}}}"]
    (tmp_path / "hosts.yml").write_text("\n".join(lines))
    play = [{"hosts": "all", "gather_facts": False, "tasks": [{"atlas.mlflow.settings": None, "tags": ["always"]}]}]
    (tmp_path / "play.yml").write_text(yaml.safe_dump(play))
    said = " ".join(ansible_playbook(tmp_path, "-i", tmp_path / "hosts.yml", tmp_path / "play.yml").stdout.split())
    for name in ("postgres_password", "backup_passphrase"):
        assert f"{name} is encrypted by Ansible Vault, and no given password decrypts it" in said
    assert "minio_root_password cannot be looked up." in said and "Unable to access the file '/no/such/file'" in said.replace("''", "'")
    assert "minio_secret_key cannot be looked up." in said and "@127.0.0.1:9/: <urlopen error [Errno 111] Connection refused>" in said
    assert "braces" not in said and "canary" not in said


@pytest.mark.parametrize("place", ["next to the playbook", "working folder", "next to the inventory", "of another group", "for other roles"])
def test_settings_that_ansible_does_not_read_for_the_collection_are_refused(tmp_path: Path, place: str) -> None:
    inventory, project = tmp_path / "inventories/prod", tmp_path / "project"
    project.mkdir()
    inventory.mkdir(parents=True)
    (tmp_path / "ansible.cfg").touch()
    (inventory / "hosts.yml").write_text("mlflow_servers: {hosts: {one: {ansible_connection: local}}}")
    (project / "site.yml").write_text(yaml.safe_dump([{"ansible.builtin.import_playbook": "atlas.mlflow.verify"}]))
    file = (inventory if place == "next to the inventory" else project) / f"group_vars/{'others' if place == 'of another group' else 'mlflow_servers'}.yml"
    file.parent.mkdir()
    file.write_text("ntp_servers: []" if place == "for other roles" else "atlas_mlflow_tls: 'yes and no'\nntp_servers: []")
    arguments = ["-i", inventory / "hosts.yml", "atlas.mlflow.verify" if place == "working folder" else project / "site.yml"]
    here = {
        "ANSIBLE_CONFIG": str(tmp_path / "ansible.cfg"),
        "ANSIBLE_COLLECTIONS_PATH": str(ROOT / "collections"),
        "ANSIBLE_LOCAL_TEMP": str(tmp_path / "temporary"),
    }
    program = Path(sys.executable).parent / "ansible-playbook"
    done = subprocess.run([program, *arguments], cwd=project, env={**os.environ, **here}, capture_output=True, text=True, check=False)
    said = " ".join(done.stdout.split())
    refused = place in ("next to the playbook", "working folder")
    assert (f"{file} sets atlas_mlflow_tls, and Ansible does not read this file" in said) is refused, said + done.stderr
    assert ("which is not a boolean" in said) is (place == "next to the inventory"), said


#: Hosts with what is set for each, and what the run must say of it; nothing for one that passes.
HOSTS: dict[str, tuple[dict[str, Any], list[str]]] = {
    "typed": ({"minio_remove_data": "false", "postgres_port": "5433", "mlflow_server_names": ["a"]}, []),
    "wrong": ({"minio_remove_data": "maybe"}, ["minio_remove_data is 'maybe'"]),
    "near": ({"atlas_mlflow_tsl": True}, ["atlas_mlflow_tsl (did you mean atlas_mlflow_tls?)"]),
    # By default, Ansible makes a variable of each fact, also of one whose name is similar to an option's.
    "facts": ({"postgres_clusters": [], "ansible_facts": {"postgres_clusters": []}}, []),
    "no fact": ({"postgres_clusters": [], "ansible_facts": {}}, ["postgres_clusters (did you mean postgres_users?)"]),
    "braces": ({"postgres_password": "canary{{secret"}, ["postgres_password has braces", "!unsafe"]),
    "unset": ({"postgres_password": "{{ vault_of_nobody }}"}, ["postgres_password refers to", "vault_of_nobody"]),
    "role": ({"mlflow_server_url": "https://{{ mlflow_server_names[0] }}"}, []),
    "later": ({"mlflow_server_host": "{{ ansible_facts.default_ipv4.address }}"}, []),
}


@pytest.mark.parametrize("name", HOSTS)
def test_the_action_refuses_each_host_by_its_fault(name: str) -> None:
    given, words = HOSTS[name]
    own = {"inventory_hostname": name, "groups": {"mlflow_servers": list(HOSTS)}, "hostvars": {host: {"inventory_dir": "/inventory"} for host in HOSTS}}
    # As `-e backup_keep_full=7` gives it.
    result = act(ActionModule, {}, {**trusted(given), **own, "backup_keep_full": "7"}, tags=["always"])
    assert result["failed"] is bool(words), result
    assert all(word in result.get("msg", "") for word in words), result
    assert "canary" not in str(result)


@pytest.mark.parametrize(
    ("selected", "own", "refused"),
    [
        (["all"], ["always"], False),
        (["mlflow_server_configure"], ["always"], True),
        (["always"], ["always"], True),
        (["tagged"], ["always"], True),
        # A playbook of the user's, which gives its own tag to all that it imports.
        (["mlflow"], ["always", "mlflow"], False),
        (["other"], ["always", "mlflow"], True),
    ],
)
def test_a_selection_by_tags_that_would_leave_parts_out_is_refused(selected: list[str], own: list[str], refused: bool) -> None:
    assert ("the playbooks of atlas.mlflow have no tags" in tags_fault(selected, own)) is refused


def test_each_tag_that_is_listed_and_one_that_is_not_ends_with_the_way_out(tmp_path: Path) -> None:
    (tmp_path / "hosts.yml").write_text(
        yaml.safe_dump({"mlflow_servers": {"hosts": {"one": {"ansible_connection": "local", "ansible_python_interpreter": "/no-such-python"}}}})
    )

    def run(playbook: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        return ansible_playbook(tmp_path, "-i", tmp_path / "hosts.yml", ROOT / "playbooks" / f"{playbook}.yml", *arguments)

    listed = {tag.strip() for tags in re.findall(r"TAGS: \[(.*)\]", run("site", "--list-tags").stdout) for tag in tags.split(",")} - {""}
    assert listed == {"always"}
    for tag in [*listed, "mlflow_server_configure"]:
        assert f"--tags {tag} selects nothing" in act(ActionModule, {}, {"ansible_run_tags": [tag]}, tags=["always"])["msg"]
    # With which site.yml begins.
    done = run("internal/facts", "--tags", "mlflow_server_configure")
    assert done.returncode != 0 and "--tags mlflow_server_configure selects nothing" in " ".join(done.stdout.split()), done.stdout + done.stderr


def test_a_value_that_the_command_line_cuts_at_a_space_is_refused(tmp_path: Path) -> None:
    hosts = {"one": {"ansible_connection": "local", "ansible_python_interpreter": "/no-such-python"}}
    (tmp_path / "hosts.yml").write_text(yaml.safe_dump({"mlflow_servers": {"hosts": hosts}}))
    command = ["-i", tmp_path / "hosts.yml", ROOT / "playbooks/internal/facts.yml", "-e"]
    # Ansible takes the date for the value, and the time for a parameter without a name.
    done = ansible_playbook(tmp_path, *command, "backup_restore_to=2026-05-04 12:30:00+00:00")
    said = " ".join(done.stdout.split())
    assert done.returncode != 0 and "a word of -e (--extra-vars) that is no NAME=VALUE" in said, done.stdout + done.stderr
    assert "12:30" not in said
    assert words_fault("") == "" and act(ActionModule, {}, {"_raw_params": "12:30:00+00:00"}, tags=["always"])["msg"] == words_fault("12:30:00+00:00")
