"""The test bed's decisions: what is up to date, which hosts a topology has, what counts as passed."""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import re
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable
from concurrent.futures import Future
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
import yaml

from tools.testbed import __main__ as main
from tools.testbed import checks, daemon, demo, images, minio, preparation, registry, scenarios, shell
from tools.testbed.callback import modules_kept
from tools.testbed.shell import ROOT, TestbedError, ask, run


def _future(make: Callable[[], object]) -> Future[None]:
    """Return what making a part has come to."""
    made: Future[None] = Future()
    try:
        make()
        made.set_result(None)
    except TestbedError as error:
        made.set_exception(error)
    return made


class TestPreparation:
    def test_what_a_scenario_needs(self):
        text = "image: atlas-mlflow/prepared:debian12\nimage: atlas-mlflow/host:debian13\n"
        hosts = {*map(preparation.bare, ("debian12", "debian13")), preparation.prepared("debian12")}
        assert preparation.needs(text) == hosts
        assert preparation.needs(f"{text}groups: [minio]") == hosts | {preparation.EXECUTABLE}
        assert preparation.needs(f"{text}groups: [containers]") == hosts | {preparation.ARCHIVES}
        assert preparation.needs(f"{text}registry-images") == hosts | {preparation.ARCHIVES, preparation.REGISTRY}
        assert preparation.needs(text, "ubuntu24.04") == hosts | {preparation.bare("ubuntu24.04")}

    def test_each_part_comes_after_those_that_it_is_made_from(self, monkeypatch: pytest.MonkeyPatch):
        made: list[str] = []
        for module, function, name in (
            *((preparation.daemon, "ensure", "docker"), (minio, "ensure", preparation.EXECUTABLE)),
            *((images, "ensure_archives", preparation.ARCHIVES), (registry, "ensure", preparation.REGISTRY)),
        ):
            monkeypatch.setattr(module, function, lambda name=name: made.append(name))
        monkeypatch.setattr(images, "ensure", lambda system: time.sleep(0.05) or made.append(preparation.bare(system)))
        monkeypatch.setattr(images, "ensure_prepared", lambda system: made.append(preparation.prepared(system)))
        others = {preparation.EXECUTABLE, preparation.ARCHIVES, preparation.REGISTRY}
        wanted = {*others, *map(preparation.bare, ("debian12", "debian13")), preparation.prepared("debian12")}
        preparation.ensure(wanted)
        assert sorted(made) == sorted({"docker", *wanted}) and made[0] == "docker"
        order = [made.index(part) for part in (preparation.bare("debian12"), preparation.bare("debian13"), preparation.ARCHIVES, preparation.REGISTRY)]
        assert order == sorted(order) and made.index(preparation.prepared("debian12")) > order[0]
        assert made.index(preparation.EXECUTABLE) < made.index(preparation.REGISTRY)

    def test_a_part_that_cannot_be_made_stops_those_made_from_it_and_says_why(self, monkeypatch: pytest.MonkeyPatch):
        def fail(_system: str) -> None:
            raise TestbedError("no packages")

        for module, function in ((preparation.daemon, "ensure"), (minio, "ensure"), (images, "ensure_archives")):
            monkeypatch.setattr(module, function, lambda: None)
        monkeypatch.setattr(images, "ensure", fail)
        monkeypatch.setattr(images, "ensure_prepared", lambda _: pytest.fail("it was made from what is not there"))
        parts = preparation.Preparation(["embedded"])
        with pytest.raises(TestbedError, match="no packages"):
            parts.wait()
        with pytest.raises(TestbedError, match="no packages"):
            parts.ready("embedded")


class TestImages:
    def test_the_hash_changes_with_the_release_the_recipe_and_the_authorities(self, tmp_path: Path):
        (tmp_path / "Dockerfile").write_text("FROM x")
        hashes = [images.content_hash("debian12", tmp_path, b"ca"), images.content_hash("debian12", tmp_path, b"ca")]
        assert hashes[0] == hashes[1]
        hashes += [images.content_hash("debian13", tmp_path, b"ca"), images.content_hash("debian12", tmp_path, b"")]
        (tmp_path / "Dockerfile").write_text("FROM y")
        hashes.append(images.content_hash("debian12", tmp_path, b"ca"))
        assert len(set(hashes)) == len(hashes) - 1

    def test_the_images_that_a_scenario_names(self):
        text = "image: atlas-mlflow/host:debian12\nimage: atlas-mlflow/prepared:debian13\nimage: atlas-mlflow/python"
        assert images.named_in(text) == (["debian12", "debian13"], ["debian13"])
        assert images.named_in("") == ([], [])

    def test_what_a_prepared_host_is_made_from_is_there(self):
        assert [place for place in images.PREPARED_FROM if not (ROOT / place).exists()] == []

    @pytest.mark.parametrize("official", [True, False])
    def test_an_archive_has_an_image_by_the_name_that_its_role_has_by_default(self, official: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
        ran: list[list[str]] = []
        monkeypatch.setattr(images, "ARCHIVES", tmp_path)
        monkeypatch.setattr(images, "_read", lambda name, _template: "sha256:1" if official or name.startswith("atlas-mlflow/") else None)
        monkeypatch.setattr(images, "pull", lambda _name: False)
        monkeypatch.setattr(images, "_build", lambda name, *_: ran.append(["build", name]))
        monkeypatch.setattr(images, "run", lambda words: (ran.append(list(map(str, words[1:]))), words[1] == "save" and Path(words[3]).touch()))
        # What an earlier version of the test bed left: the same image by another name.
        (tmp_path / "python.tar").touch()
        (tmp_path / "python.id").write_text("sha256:1")
        images.ensure_archives()
        for kind, default in images.CONTAINER_IMAGES.items():
            name = images.default_image(*default)
            assert re.fullmatch(rf"docker[.]io/library/{kind}:[\w.-]+", name)
            assert ["save", "--output", str(tmp_path / f"{kind}.tar"), name] in ran
            # A name of the registry stays only with the registry's image.
            assert (["build", f"atlas-mlflow/{kind}"] in ran, ["image", "rm", name] in ran) == (not official, not official)
        ran.clear()
        images.ensure_archives()
        assert not [words for words in ran if words[0] == "save"]

    def test_a_scenario_runs_the_images_that_the_roles_have_by_default(self):
        named = "|".join(variable for _role, variable in images.CONTAINER_IMAGES.values())
        settings = [*ROOT.glob("molecule/*/molecule.yml"), ROOT / ".config/molecule/config.yml"]
        assert [str(path) for path in settings if re.search(rf"\b({named}|minio_image):", path.read_text())] == []

    def test_the_packages_of_the_registrys_images_are_those_of_the_locks(self):
        for release, packages in registry.IMAGES.values():
            lock = (ROOT / "roles/mlflow_server/files/releases" / release / "requirements.txt").read_text()
            pins = registry.constraints(release).splitlines()
            assert len(pins) == sum(line[:1].isalnum() for line in lock.splitlines()) and f"mlflow=={release}" in pins and f"mlflow=={release}" in packages
            assert all("\\" not in pin and "--hash" not in pin for pin in pins)

    def test_the_registrys_images_are_built_again_if_the_recipe_or_the_base_changes(self, tmp_path: Path):
        (tmp_path / "Dockerfile").write_text("FROM x")
        hashes = [registry.images_hash(tmp_path, base) for base in ("sha256:1", "sha256:1", "sha256:2")]
        (tmp_path / "Dockerfile").write_text("FROM y")
        hashes.append(registry.images_hash(tmp_path, "sha256:1"))
        assert hashes[0] == hashes[1] and len(set(hashes)) == 3

    def test_a_scenario_that_is_not_there_is_named(self):
        with pytest.raises(TestbedError, match="There is no scenario no_such. There are basic_auth, "):
            main.test(["embedded", "no_such"], "")

    @pytest.mark.parametrize(("former", "name"), [("full_stack", "one_host"), ("default", "embedded")])
    def test_a_former_name_is_refused_with_the_name(self, former: str, name: str, monkeypatch: pytest.MonkeyPatch):
        # A name that is not refused must not run a scenario from here.
        monkeypatch.setattr(preparation, "start", lambda _: pytest.fail("it was not refused"))
        with pytest.raises(TestbedError, match=rf"There is no scenario {former}\. It is called {name} now\."):
            main.test([former], "")

    def test_a_former_topology_is_refused_with_its_name_before_anything_is_made(self, monkeypatch: pytest.MonkeyPatch):
        monkeypatch.setattr(demo, "standing", lambda: pytest.fail("it was not refused"))
        with pytest.raises(TestbedError, match=r"There is no topology full_stack\. It is called one_host now\."):
            demo.up("full_stack")
        with pytest.raises(TestbedError, match=r"There is no topology no_such\. There are containers, embedded, one_host, three_hosts\."):
            demo.up("no_such")

    def test_a_run_that_takes_too_long_is_told(self):
        assert main.over_budget(main.BUDGET, {}) == "All of it took 30 of 30 minutes."
        told = main.over_budget(main.BUDGET + 60, {"a": 10, "b": 400, "c": 90, "d": 300})
        assert told == "WARNING: All of it took 31 of 30 minutes. The slowest scenarios: b 400 s, d 300 s, c 90 s. Make them faster."

    @pytest.mark.parametrize("failing", ["check", "part"])
    def test_the_scenarios_stop_if_a_check_or_the_preparation_fails(self, monkeypatch: pytest.MonkeyPatch, failing: str):
        def fail() -> None:
            raise TestbedError(f"{failing} failed")

        def run_all(names: list[str], _done: object, ready: Callable[[str], bool], others: Callable[[], int]) -> None:
            deadline = time.monotonic() + 10
            while time.monotonic() < deadline:
                assert others() in (0, main.CHECKS_INSTEAD)
                ready(names[0])

        monkeypatch.setattr(main, "check", fail if failing == "check" else lambda: None)
        monkeypatch.setattr(preparation, "start", lambda parts: {part: _future(fail if failing == "part" else lambda: None) for part in parts})
        monkeypatch.setattr(scenarios, "run_all", run_all)
        with pytest.raises(TestbedError, match=f"{failing} failed"):
            main.test([], "")

    def test_takes_the_bundle_that_the_environment_names(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
        bundle = tmp_path / "ca.pem"
        bundle.write_bytes(b"PEM")
        monkeypatch.setenv("SSL_CERT_FILE", str(bundle))
        assert images.authorities() == b"PEM"


class TestInventory:
    @pytest.mark.parametrize("topology", demo.TOPOLOGIES)
    def test_has_one_tracking_server_and_a_client_without_a_part_in_the_stack(self, topology: str):
        children = demo.inventory(topology, Path("/x/minio"))["all"]["children"]
        assert list(children["mlflow_servers"]["hosts"]) == ["mlflow"]
        assert list(children["clients"]["hosts"]) == ["client"]
        assert all("client" not in group["hosts"] for name, group in children.items() if name != "clients")

    def test_the_topologies_differ_in_where_the_stores_are(self):
        def stores(topology: str) -> dict[str, list[str]]:
            children = demo.inventory(topology, Path("/x/minio"))["all"]["children"]
            return {name: list(children[name]["hosts"]) for name in ("postgres", "minio") if name in children}

        assert stores("embedded") == {}
        assert stores("one_host") == {"postgres": ["mlflow"], "minio": ["mlflow"]}
        assert stores("three_hosts") == {"postgres": ["postgres"], "minio": ["minio"]}
        assert stores("containers") == stores("one_host")
        assert demo.inventory("containers", Path("/x/minio"))["all"]["children"]["containers"]["vars"]["atlas_mlflow_deployment"] == "container"

    def test_installs_the_cached_executable_and_names_containers_so_that_they_do_not_collide(self):
        whole = yaml.safe_load(yaml.safe_dump(demo.inventory("three_hosts", Path("/x/minio"))))["all"]
        assert whole["children"]["minio"]["vars"]["minio_file"] == "/x/minio"
        names = [host["ansible_host"] for host in whole["hosts"].values()]
        assert names == [host["testbed_container"] for host in whole["hosts"].values()]
        assert all(name.startswith("atlas-mlflow-demo-") for name in names)


class TestDiagnose:
    def test_the_lines_of_its_report_stay_whole(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]):
        playbook = tmp_path / "report.yml"
        line = "cause     " + "word " * 40 + "end"
        report = {"name": "Report", "ansible.builtin.debug": {"msg": [line]}}
        playbook.write_text(yaml.safe_dump([{"name": "Report", "hosts": "localhost", "gather_facts": False, "tasks": [report]}]))
        monkeypatch.setattr(demo, "_playbook", lambda _hosts, _playbook: [shell.BIN / "ansible-playbook", "-i", "localhost,", playbook])
        demo.diagnose("hosts.yml")
        assert line in capfd.readouterr().out


class Answers(BaseHTTPRequestHandler):
    status, body = 200, b""

    def do_POST(self) -> None:
        self.send_response(self.status)
        self.end_headers()
        self.wfile.write(self.body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server():
    handler = type("Handler", (Answers,), {})
    with HTTPServer(("127.0.0.1", 0), handler) as listening:
        Thread(target=listening.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        yield handler, f"http://127.0.0.1:{listening.server_port}"
        listening.shutdown()


class TestAnswer:
    def test_counts_the_experiments(self, server):
        server[0].body = b'{"experiments": [{}, {}]}'
        assert demo.answer(server[1]) == 2

    @pytest.mark.parametrize(("status", "body", "said"), [(403, b"Invalid Host header", "403"), (200, b"<html>", "as MLflow")])
    def test_another_answer_is_no_success(self, server, status: int, body: bytes, said: str):
        server[0].status, server[0].body = status, body
        with pytest.raises(TestbedError, match=said):
            demo.answer(server[1])

    def test_no_answer_is_no_success(self):
        with pytest.raises(TestbedError, match="does not answer"):
            demo.answer("http://127.0.0.1:1")


class TestMinio:
    @pytest.fixture
    def download(self, tmp_path: Path) -> dict[str, str]:
        archive = tmp_path / "silo.tar.gz"
        with tarfile.open(archive, "w:gz") as content:
            member = tarfile.TarInfo("silo")
            member.size = 4
            content.addfile(member, io.BytesIO(b"\x7fELF"))
        digest = hashlib.sha256(archive.read_bytes()).hexdigest()
        return {"url": archive.as_uri(), "sha256": digest, "member": "silo"}

    def test_unpacks_the_pinned_archive(self, download: dict[str, str], tmp_path: Path):
        target = tmp_path / "cache" / "silo"
        assert minio.fetch(download, target, shell.Progress("x"))
        assert target.read_bytes() == b"\x7fELF"
        assert target.stat().st_mode & 0o777 == 0o755

    def test_refuses_another_archive(self, download: dict[str, str], tmp_path: Path):
        with pytest.raises(TestbedError, match="sha256"):
            minio.fetch({**download, "sha256": "0" * 64}, tmp_path / "silo", shell.Progress("x"))
        assert not (tmp_path / "silo").exists()

    def test_goes_on_where_nothing_answers(self, tmp_path: Path):
        assert not minio.fetch({"url": "http://127.0.0.1:1/x.tar.gz", "sha256": "", "member": "x"}, tmp_path / "x", shell.Progress("x"))

    def test_the_real_pins_are_whole(self):
        pins = yaml.safe_load(minio.PINS.read_text())
        downloads = [entry for flavour in ("silo", "minio") for entry in pins[flavour]["architectures"].values()]
        assert downloads
        for entry in downloads:
            assert entry["url"].startswith("https://")
            assert len(bytes.fromhex(entry["sha256"])) == 32
            assert entry["member"]


class TestProgress:
    def test_a_long_step_says_how_far_it_is(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
        monkeypatch.setattr(shell, "HEARTBEAT", 0.01)
        with shell.step("Download") as progress:
            progress.share(12, 48, "MB")
            time.sleep(0.2)
            progress.share(7, 0, "packages")
            time.sleep(0.2)
        lines = capsys.readouterr().out.splitlines()
        assert any(line.startswith(f"    Download: [{'#' * 7}{'.' * 23}] 25 % of 48 MB, ") for line in lines)
        assert any(line.startswith("    Download: 7 packages, ") for line in lines)
        assert not any("\r" in line for line in lines)

    def test_a_terminal_shows_a_bar(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
        monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
        with shell.step("Download") as progress:
            for done in (0, 24, 24, 48):
                progress.share(done, 48, "MB")
        assert capsys.readouterr().out.count("\r    Download: [") == 3


class TestScenarios:
    def test_finds_every_folder_with_a_scenario_the_longest_first(self, tmp_path: Path):
        for name in ("short", "faults", "containers", "also"):
            (tmp_path / name).mkdir()
            (tmp_path / name / "molecule.yml").touch()
        (tmp_path / "shared").mkdir()
        (tmp_path / "default").symlink_to("short")
        assert scenarios.discover(tmp_path) == ["containers", "faults", "also", "short"]

    def test_each_scenario_that_goes_first_is_there(self):
        assert set(scenarios.LONGEST_FIRST) <= set(scenarios.discover(ROOT / "molecule"))

    def test_a_scenario_that_only_a_name_runs_is_said_to_be_left_out(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
        ran: list[list[str]] = []
        monkeypatch.setattr(main, "check", lambda: None)
        monkeypatch.setattr(preparation, "start", lambda parts: {part: _future(lambda: None) for part in parts})
        monkeypatch.setattr(scenarios, "run_all", lambda names, *_: ran.append(names))
        main.test([], "")
        assert set(ran[0]) == set(scenarios.discover(ROOT / "molecule")) - set(scenarios.BY_NAME)
        named = ", ".join(scenarios.BY_NAME)
        assert f"Not run, because only a name runs them: {named} (make test SCENARIO={scenarios.BY_NAME[0]})." in capsys.readouterr().out
        main.test(["cluster"], "")
        assert ran[1] == ["cluster"]

    def test_a_system_is_for_the_hosts_of_named_scenarios(self, monkeypatch: pytest.MonkeyPatch):
        seen: list[Any] = []
        monkeypatch.setattr(preparation, "start", lambda parts: seen.append(parts) or {})
        monkeypatch.setattr(scenarios, "run_all", lambda names: seen.append((names, os.environ["TESTBED_SYSTEM"])))
        monkeypatch.setenv("TESTBED_SYSTEM", "")
        main.test(["one_host"], "ubuntu24.04")
        assert preparation.bare("ubuntu24.04") in seen[0] and seen[1:] == [(["one_host"], "ubuntu24.04")]
        with pytest.raises(TestbedError, match="There is no system fedora40. There are debian12"):
            main.test(["one_host"], "fedora40")
        with pytest.raises(TestbedError, match="A system is for named scenarios"):
            main.test([], "ubuntu24.04")
        assert len(seen) == 2

    def test_a_topology_has_one_name_and_a_folder_of_tests_that_of_its_scenario(self):
        present = set(scenarios.discover(ROOT / "molecule"))
        assert set(demo.TOPOLOGIES) <= present & {path.parent.name for path in (ROOT / "inventories").glob("*/hosts.yml")}
        assert {path.parent.name for path in (ROOT / "tests/stack").glob("*/test_*.py")} <= present
        # What `molecule test` without a name runs.
        assert (ROOT / "molecule/default").resolve().name == "embedded"

    def test_a_host_has_the_name_of_its_scenario(self):
        for name in scenarios.discover(ROOT / "molecule"):
            platforms = yaml.safe_load((ROOT / "molecule" / name / "molecule.yml").read_text())["platforms"]
            assert all(host["name"].startswith(f"{name.replace('_', '-')}-") for host in platforms), name

    @pytest.mark.parametrize(("gibibytes", "expected"), [(1, 1), (5, 1), (6, 2), (60, 4)])
    def test_memory_bounds_how_many_run_at_once(self, gibibytes: int, expected: int):
        assert scenarios.slots(gibibytes * 1024**3) == expected

    @pytest.mark.parametrize(
        ("returncode", "passed", "timed_out", "good"),
        [(0, 3, False, True), (0, 0, False, False), (1, 3, False, False), (0, 3, True, False)],
    )
    def test_passes_only_what_ended_well_and_ran_a_test(self, returncode: int, passed: int, timed_out: bool, good: bool):
        assert scenarios.classify(returncode, passed, timed_out).startswith("passed") is good

    @pytest.mark.parametrize(
        ("report", "passed"),
        [
            ('<testsuites><testsuite tests="5" errors="1" failures="1" skipped="1"/></testsuites>', 2),
            ('<testsuites><testsuite tests="2" errors="0" failures="0" skipped="2"/></testsuites>', 0),
            ("<testsuites><testsu", 0),
            (None, 0),
        ],
    )
    def test_counts_the_tests_that_ran_and_passed(self, tmp_path: Path, report: str | None, passed: int):
        path = tmp_path / "report.xml"
        if report is not None:
            path.write_text(report)
        assert scenarios.tests_passed(path) == passed

    def test_says_what_a_scenario_is_at(self):
        log = "INFO     [s > create] Executing\nTASK [Make the hosts] ****\nINFO     [s > create] Executed: Successful\n"
        assert scenarios.current("") == "starting"
        assert scenarios.current(log) == "create, Make the hosts"
        log += "INFO     [s > converge] Executing\n"
        assert scenarios.current(log) == "converge"
        assert scenarios.current(log + "\nTASK [minio : Install] *****\nok: [h]\n") == "converge, minio : Install"

    def test_what_failed_is_repeated_at_the_end(self):
        log = (
            "TASK [minio : Wait] *****\nFAILED - RETRYING: [h]: Wait (3 retries left).\nok: [h]\n"
            "\nTASK [minio : Start it] *****\n[ERROR]: Task failed: no such unit\nfatal: [h]: FAILED! => {}\n"
            "E   AssertionError: nothing listens\nFAILED tests/stack/test_x.py::test_y\n"
        )
        assert scenarios.failures(log) == [
            "TASK [minio : Start it] *****",
            "[ERROR]: Task failed: no such unit",
            "fatal: [h]: FAILED! => {}",
            "E AssertionError: nothing listens",
            "FAILED tests/stack/test_x.py::test_y",
        ]

    def test_the_table_ends_with_the_line_that_counts(self):
        good, bad = scenarios.Scenario("good", "passed (3 tests)", 61.4), scenarios.Scenario("bad_one", "FAILED: exit code 1", 7)
        lines = scenarios.table([good, bad]).splitlines()
        assert lines[-1] == "1 passed, 1 failed"
        assert lines[1].split() == ["good", "61", "passed", "(3", "tests)"]

    def test_what_a_scenario_measured_is_shown(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
        monkeypatch.setattr(scenarios, "LOGS", tmp_path)
        item = scenarios.Scenario("good", "passed (3 tests)", 61.4)
        scenarios._tell(item)
        item.findings.write_text("fault  seconds\n")
        scenarios._tell(item)
        assert capsys.readouterr().out.splitlines()[1:3] == ["<== good: passed (3 tests), 61 s", "fault  seconds"]

    def test_a_scenario_starts_once_it_is_ready_and_only_beside_as_many_as_may_run(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
        monkeypatch.setattr(scenarios, "LOGS", tmp_path)
        monkeypatch.setattr(scenarios.time, "sleep", lambda _: None)
        monkeypatch.setattr(scenarios, "_tell", lambda _: None)
        order: list[str] = []
        looks = iter(range(100))
        running: set[str] = set()
        most: list[int] = []

        def start(name: str) -> scenarios.Scenario:
            order.append(name)
            running.add(name)
            most.append(len(running))
            return scenarios.Scenario(name, "passed (1 tests)")

        def ended(item: scenarios.Scenario) -> bool:
            # Each scenario takes some looks.
            return next(looks) % 3 == 0 and (running.discard(item.name) or True)

        monkeypatch.setattr(scenarios, "_start", lambda item: start(item.name))
        monkeypatch.setattr(scenarios, "_ended", ended)
        scenarios.run_all(list("abcd"), None, lambda name: name != "a" or len(order) >= 2, lambda: scenarios.MOST_AT_ONCE - 2)
        assert sorted(order) == list("abcd") and order[:2] == ["b", "c"] and max(most) == 2

    def test_no_scenario_at_all_is_a_failure(self):
        with pytest.raises(TestbedError, match="no scenario"):
            scenarios.run_all([])


def test_python_collects_garbage_seldom_in_scenarios_and_checks() -> None:
    ask_python = [sys.executable, "-c", "import gc; print(gc.get_threshold()[0])"]
    seen = subprocess.run(ask_python, capture_output=True, text=True, check=True, env=scenarios._settings(scenarios.Scenario("embedded"))).stdout
    assert int(seen) == 100_000
    complaint, _, _ = checks._command([sys.executable, "-c", "import gc; assert gc.get_threshold()[0] == 100_000"])
    assert complaint == ""


class TestSharedModules:
    """The runs of Ansible in a scenario share modules, and never one that was made of other files."""

    def folder_of(self, tmp_path: Path, own: Path) -> Path:
        """Return the folder that a run with a collection shares."""
        others = [tmp_path / name for name in modules_kept.OTHERS]
        for other in others:
            other.mkdir(exist_ok=True)
            (other / modules_kept.FILES).write_text("{}")
        temporary, paths = tmp_path / f"run-{time.monotonic_ns()}", {"atlas.mlflow": own, **{other.name: other for other in others}}
        temporary.mkdir()
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("MOLECULE_EPHEMERAL_DIRECTORY", str(tmp_path / "scenario"))
            patch.setattr(modules_kept.constants, "DEFAULT_LOCAL_TMP", str(temporary), raising=False)
            patch.setattr(modules_kept, "_get_collection_path", lambda name: str(paths[name]))
            modules_kept.CallbackModule()
        return (temporary / modules_kept.NAME).resolve(strict=True)

    @pytest.mark.parametrize("changed", ["plugins/modules/one.py", "plugins/module_utils/deep/two.py"])
    def test_other_files_have_another_folder(self, tmp_path: Path, changed: str):
        own = tmp_path / "own"
        for name in ("plugins/modules/one.py", "plugins/module_utils/deep/two.py", "plugins/action/three.py"):
            (own / name).parent.mkdir(parents=True, exist_ok=True)
            (own / name).write_text("1\n")
        first = self.folder_of(tmp_path, own)
        (own / "plugins/action/three.py").write_text("2\n")
        assert self.folder_of(tmp_path, own) == first and first.is_relative_to(tmp_path / "scenario")
        (own / changed).write_text("2\n")
        assert self.folder_of(tmp_path, own) != first

    def test_a_run_without_one_of_the_collections_shares_nothing(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
        def fail(name: str) -> str:
            raise ValueError(name)

        monkeypatch.setattr(modules_kept, "_get_collection_path", fail)
        monkeypatch.setattr(modules_kept.constants, "DEFAULT_LOCAL_TMP", str(tmp_path), raising=False)
        modules_kept.CallbackModule()
        assert not list(tmp_path.iterdir())

    def test_scenarios_use_it(self):
        (folder,) = [Path(value) for name, value in scenarios._settings(scenarios.Scenario("embedded")).items() if name == "ANSIBLE_CALLBACK_PLUGINS"]
        assert folder / "modules_kept.py" == Path(modules_kept.__file__)


class TestChecks:
    def test_a_build_must_have_its_parts_and_nothing_of_the_checkout(self):
        assert checks.contents([*checks.SHIPPED, "README.md"]) == ""
        assert "lacks playbooks/site.yml" in checks.contents([name for name in checks.SHIPPED if name != "playbooks/site.yml"])
        assert ".venv/bin/python" in checks.contents([*checks.SHIPPED, ".venv/bin/python"])
        assert "inventories/one_host/.secrets" in checks.contents([*checks.SHIPPED, "inventories/one_host/.secrets"])

    def test_each_unit_test_is_in_one_check(self):
        paths = [argv[4:] for name, argv in checks.commands().items() if name.startswith("unit tests")]
        tests = [path.relative_to(ROOT) for path in (ROOT / "tests/unit").rglob("test_*.py")]

        def runs(words: list[str], test: Path) -> bool:
            ignored = [word.removeprefix("--ignore=") for word in words if word.startswith("--ignore=")]
            return any(test.is_relative_to(word) for word in set(words) - {f"--ignore={word}" for word in ignored}) and not any(
                map(test.is_relative_to, ignored)
            )

        assert tests and [test for test in tests if sum(runs(words, test) for words in paths) != 1] == []

    def test_every_inventory_is_read(self):
        assert all(f"inventories/{path.name}/hosts.yml" in checks.commands()["inventories"] for path in (ROOT / "inventories").iterdir())

    @pytest.mark.parametrize(("text", "good"), [("all: {hosts: {one: {}}}", True), ("all: {hosts: [", False)])
    def test_an_inventory_that_cannot_be_read_fails(self, tmp_path: Path, text: str, good: bool):
        (tmp_path / "hosts.yml").write_text(text)
        complaint = checks._command([*checks.commands()["inventories"], "-i", str(tmp_path / "hosts.yml")])[0]
        assert (complaint == "") == good, complaint

    def test_a_check_keeps_what_python_has_compiled(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
        monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
        (tmp_path / "one.py").touch()
        assert checks._command([sys.executable, "-c", "import one"], tmp_path, {"PYTHONPATH": str(tmp_path)})[0] == ""
        assert list(tmp_path.glob("__pycache__/one.*.pyc"))

    def test_the_longest_exist(self, tmp_path: Path):
        (tmp_path / "a.tar.gz").touch()
        assert set(checks.LONGEST) <= {*checks.commands(), *checks.of_collection(tmp_path)}

    @pytest.mark.parametrize(("fails", "said"), [("", ""), ("two", "Failed: two"), ("build", "Failed: build of the collection")])
    def test_what_fails_is_named_and_what_did_not_run_is_not_said_to_be_ok(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], fails: str, said: str
    ):
        monkeypatch.setattr(checks, "_build", lambda _folder: ("broken" if fails == "build" else "", "", 0.0))
        monkeypatch.setattr(checks, "commands", lambda: {"one": ["one"], "two": ["two"]})
        monkeypatch.setattr(checks, "of_collection", lambda folder: {"three": (["three"], folder, {})})
        monkeypatch.setattr(checks, "_command", lambda argv, *_: ("wrong" if argv == [fails] else "", "", 0.0))
        with pytest.raises(TestbedError, match=said) if fails else contextlib.nullcontext():
            checks.run_all()
        shown = capsys.readouterr().out
        assert ("one: ok" in shown, "two: ok" in shown, "three: ok" in shown) == (True, fails != "two", fails != "build")
        assert ("wrong" in shown, "broken" in shown) == (fails == "two", fails == "build")


class TestShell:
    def test_ask_gives_nothing_for_what_fails_is_missing_or_hangs(self):
        assert ask([sys.executable, "-c", "print('x')"]) == "x"
        assert ask([sys.executable, "-c", "print('x'); raise SystemExit(1)"]) is None
        assert ask(["/nowhere/command"]) is None
        assert ask([sys.executable, "-c", "import time; time.sleep(20)"], timeout=0.2) is None

    def test_run_shows_what_a_failing_command_said(self):
        with pytest.raises(TestbedError, match="said this"):
            run([sys.executable, "-c", "print('said this'); raise SystemExit(3)"])

    def test_a_long_step_gives_signs_of_life_and_its_seconds(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
        monkeypatch.setattr(shell, "HEARTBEAT", 0.05)
        with shell.step("Build"):
            time.sleep(0.2)
        lines = capsys.readouterr().out.splitlines()
        assert lines[0] == "==> Build"
        assert "goes on" in lines[1]
        assert lines[-1].startswith("    Build: 0.")

    def test_a_step_that_fails_does_not_say_that_it_is_done(self, capsys: pytest.CaptureFixture[str]):
        with pytest.raises(TestbedError), shell.step("Build"):
            raise TestbedError("no")
        assert capsys.readouterr().out == "==> Build\n"


class TestDocker:
    @pytest.mark.parametrize(
        ("packages", "installed"),
        [
            ({"docker.io": {"docker", "dockerd"}}, [("docker.io", "iptables")]),
            # Debian 13.
            ({"docker.io": {"dockerd"}, "docker-cli": {"docker"}}, [("docker.io", "iptables"), ("docker-cli",)]),
        ],
        ids=["one package", "two packages"],
    )
    def test_the_client_and_the_daemon_are_installed(self, monkeypatch, packages, installed):
        commands: set[str] = set()
        done = []

        def install(*names):
            done.append(names)
            commands.update(command for name in names for command in packages.get(name, ()))

        monkeypatch.setattr(daemon, "ask", lambda command, timeout=0: None)
        monkeypatch.setattr(daemon, "which", lambda name: name if name in commands else None)
        monkeypatch.setattr(daemon, "apt_install", install)
        monkeypatch.setattr(daemon, "_start", lambda: None)
        daemon.ensure()
        assert done == installed and commands == {"docker", "dockerd"}

    @pytest.mark.parametrize("runs", [True, False], ids=["it runs", "it was just started"])
    def test_a_daemon_that_lets_this_user_not_in_is_named_as_such(self, monkeypatch, tmp_path, runs):
        client = tmp_path / "docker"
        client.write_text("#!/bin/sh\necho 'permission denied while trying to connect to the docker API' >&2\nexit 1\n")
        client.chmod(0o755)
        monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
        monkeypatch.setattr(daemon, "ask", lambda command, timeout=0: "1" if runs and command[0] == "pgrep" else None)
        monkeypatch.setattr(daemon, "which", lambda name: f"/usr/bin/{name}")
        monkeypatch.setattr(daemon, "SETTLED", -1)
        monkeypatch.setattr(daemon, "START_TIMEOUT", 2)
        monkeypatch.setattr(daemon, "run", lambda command: None)
        monkeypatch.setattr(daemon, "CACHE", tmp_path)
        monkeypatch.setattr(daemon, "as_root", lambda _command: ["sleep", "3"])
        with pytest.raises(shell.TestbedError, match="not for this user. Add the user to the group `docker` and log in again"):
            daemon.ensure()
