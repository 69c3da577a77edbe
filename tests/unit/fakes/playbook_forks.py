"""Run ansible-playbook in forks of one process, which imports Ansible once for all tests. This file is also the program of that process.

The modules of Ansible that the playbook runs on hosts that are this machine can run in the process of their task. So most of the processor time is that of the
playbook, and not that of the start of programs.
"""

from __future__ import annotations

import atexit
import contextlib
import copy
import functools
import gc
import importlib
import importlib.util
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import traceback
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple
from unittest import mock

ROOT = Path(__file__).resolve().parents[3]
#: A playbook without a task.
NOTHING = "- hosts: all\n  gather_facts: false\n  tasks: []\n"
#: Stands for a file of tasks of a role: writes to a log which host did what.
LOGGED = '- ansible.builtin.shell: echo "{{{{ inventory_hostname }}}} {step}" >> {{{{ log }}}}\n  changed_when: true\n'
#: Seconds after which a run is ended.
LIMIT = 120
#: Plugins of Ansible that each run loads, by their kinds. One filter and one test load all of theirs.
PLUGINS = {"connection": "local", "shell": "sh", "become": "sudo", "strategy": "linear", "callback": "default", "filter": "to_json", "test": "truthy"}


class Run(NamedTuple):
    """What a run of a playbook did, by the log that its stubs wrote, and what it wrote itself."""

    steps: list[str]
    text: str
    status: int

    @classmethod
    def of(cls, log: Path, done: subprocess.CompletedProcess[str]) -> Run:
        """Return what a run that has ended did."""
        return cls(log.read_text().splitlines(), " ".join((done.stdout + done.stderr).split()), done.returncode)

    def did(self, step: str) -> set[str]:
        """Return which hosts did a step."""
        return {host for host, _space, did in (line.partition(" ") for line in self.steps) if did == step}


def collection_with(folder: Path, playbook: str) -> Path:
    """Return the folder of a collection with a playbook and its tasks, without plays before it, and with empty folders for the tasks of roles.

    :param folder: A folder for temporary files.
    """
    collection = folder / "collections/ansible_collections/atlas/mlflow"
    shutil.copytree(ROOT / "playbooks/internal/tasks", collection / "playbooks/internal/tasks")
    shutil.copy(ROOT / "playbooks" / playbook, collection / "playbooks")
    for name in ("facts", "verify_proxies"):
        (collection / f"playbooks/internal/{name}.yml").write_text(NOTHING)
    for name in ("plugins/filter", "roles/mlflow_server/tasks", "roles/postgres/tasks"):
        (collection / name).mkdir(parents=True)
    for suffix in ("failure.py", "failure_text.yml"):
        shutil.copy(ROOT / f"plugins/filter/{suffix}", collection / "plugins/filter")
    return collection


def ansible_playbook(folder: Path, *arguments: str | Path, modules_here: bool = False, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run ansible-playbook with the settings of the checkout, and return its exit status and its output.

    :param folder: A folder for temporary files.
    :param arguments: The inventory, the playbook and the options.
    :param modules_here: Whether Ansible's own modules run in the process of their task, and not as programs of the host's interpreter.
    :param environment: Additional environment variables.
    """
    own = {"ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "ANSIBLE_LOCAL_TEMP": str(folder / "temporary"), "ANSIBLE_INVENTORY_ENABLED": "yaml"}
    env = {**os.environ, **own, **environment}
    process = _parent()
    assert process.stdin and process.stdout
    process.stdin.write(json.dumps({"arguments": [str(word) for word in arguments], "env": env, "modules_here": modules_here}) + "\n")
    process.stdin.flush()
    status, said, complained = json.loads(process.stdout.readline())
    return subprocess.CompletedProcess(arguments, status, said, complained)


@functools.cache
def _parent() -> subprocess.Popen[str]:
    """Start the process whose forks run ansible-playbook. It ends with this process."""
    # Its environment has no settings of Ansible. Each fork reads those of its own environment, apart from the few that Ansible reads only while it is imported.
    env = {name: value for name, value in os.environ.items() if not name.startswith("ANSIBLE_")}
    process = subprocess.Popen([sys.executable, __file__], env=env, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    atexit.register(process.communicate)
    return process


class Call(NamedTuple):
    """What stands for the text of a module that runs in the process of its task."""

    module: str
    arguments: dict[str, Any]

    def run(self) -> dict[str, Any]:
        """Run the module, and return what its program would write."""
        from ansible.module_utils.testing import patch_module_args

        said, complained, status = io.StringIO(), io.StringIO(), 0
        with patch_module_args(self.arguments), contextlib.redirect_stdout(said), contextlib.redirect_stderr(complained):
            try:
                importlib.import_module(self.module).main()
            except SystemExit as end:
                status = end.code if isinstance(end.code, int) else 1
            except Exception:
                traceback.print_exc()
                status = 1
        return {"rc": status, "stdout": said.getvalue(), "stdout_lines": said.getvalue().splitlines(), "stderr": complained.getvalue()}


class Bits(NamedTuple):
    """What Ansible knows of a module that it has made ready for a host."""

    b_module_data: Call
    module_style: str = "new"
    shebang: str = "#!/usr/bin/python3"
    serialization_profile: str = "legacy"
    #: What ansible-core asks for since 2.21: whether the module changes to the user by itself, sets the environment, and has a function for its result.
    has_become: bool = False
    has_environment: bool = False
    process_result: Any = None

    def get_command_args(self, _path: str | None) -> tuple[list[str], Call]:
        """Return the command that would run the module, and its input. ansible-core asks for them since 2.21."""
        return [self.b_module_data.module], self.b_module_data


def _run_modules_here() -> None:
    """Let Ansible's own modules run in the process of their task."""
    from ansible.plugins.action import ActionBase

    configure, execute = ActionBase._configure_module, ActionBase._low_level_execute_command

    def configured(self: Any, module_name: str, module_args: dict[str, Any], task_vars: dict[str, Any]) -> Any:
        collection, _dot, name = module_name.rpartition(".")
        if collection in ("ansible.builtin", "ansible.legacy"):
            return Bits(Call(f"ansible.modules.{name}", module_args)), name
        return configure(self, module_name, module_args, task_vars)

    def executed(self: Any, *given: Any, in_data: Any = None, **named: Any) -> Any:
        return in_data.run() if isinstance(in_data, Call) else execute(self, *given, in_data=in_data, **named)

    ActionBase._configure_module, ActionBase._low_level_execute_command = configured, executed


def _run_tasks_here() -> None:
    """Let tasks run in the process of their playbook, one after the other, and not in a fork each.

    What a fork does to its own copies is done to copies here. What it does to itself is left out: another terminal, signals and output. Since ansible-core 2.21,
    the process of the playbook answers questions of its forks, and so needs forks.
    """
    if importlib.util.find_spec("ansible._internal._rpc_host"):
        return
    from ansible.executor.process import worker

    def start(process: Any) -> None:
        process._host, process._task, process._play_context = copy.copy(process._host), process._task.copy(), process._play_context.copy()
        process.run()

    def fail(_process: Any, error: str) -> None:
        sys.exit(error)

    worker.sys = SimpleNamespace(stdout=io.StringIO(), stderr=io.StringIO())
    worker.display = worker.signal = mock.Mock()
    changed = {"start": start, "is_alive": lambda _process: False, "close": lambda _process: None, "_detach": lambda _process: None, "_hard_exit": fail}
    for name, function in changed.items():
        setattr(worker.WorkerProcess, name, function)


def _serve() -> None:
    """Run ansible-playbook for each line of the input, and write a line with its result."""
    # What a fork writes by mistake does not come between.
    answers = os.fdopen(os.dup(1), "w")
    sys.path.insert(0, str(ROOT))
    import ansible.cli.playbook
    import ansible.constants
    import ansible.executor.task_queue_manager
    import ansible.modules.command
    import ansible.modules.copy
    import ansible.modules.file
    import ansible.modules.stat
    from ansible.plugins import loader

    from tools import forks, quick_copies

    quick_copies.install()
    for kind, name in PLUGINS.items():
        getattr(loader, f"{kind}_loader").get_with_context(name, class_only=True)
    # The options that the plugins have, and not the values of these.
    options = ansible.constants.config._plugins
    gc.disable()
    gc.freeze()
    for line in sys.stdin:
        asked = json.loads(line)

        def program(asked: dict[str, Any] = asked) -> Any:
            signal.alarm(LIMIT)
            importlib.reload(ansible.constants)
            ansible.constants.config._plugins = options
            _run_tasks_here()
            if asked["modules_here"]:
                _run_modules_here()
            return ansible.cli.playbook.main()

        done = forks.fork(program, ["ansible-playbook", *asked["arguments"]], asked["env"], ROOT)
        answers.write(json.dumps([done.returncode, done.stdout, done.stderr]) + "\n")
        answers.flush()


if __name__ == "__main__":
    _serve()
