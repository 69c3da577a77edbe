"""The tool that raises the pins finds each, writes the newest version in its place, and takes up a release of MLflow."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from tools import locks, pins

ROOT = Path(__file__).resolve().parents[3]
RELEASES = ROOT / "roles/mlflow_server/files/releases"
VARIABLES = "roles/mlflow_server/vars/main/release.yml"


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """Return a copy of the files that have pins, with the facts of the releases."""
    for name in ("tools/pins.yml", VARIABLES, "execution-environment.yml", *(str(path.relative_to(ROOT)) for path in requirements(ROOT))):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    for facts in RELEASES.glob("*/options.json"):
        (tmp_path / facts.parent.relative_to(ROOT)).mkdir(parents=True)
        shutil.copy(facts, tmp_path / facts.relative_to(ROOT))
    return tmp_path


def requirements(root: Path) -> list[Path]:
    """Return the files with requirements, but none of an installed package."""
    return [root / name for name in ("tools/requirements.in", "tools/bench/requirements.in", "tools/docs/requirements.in", "examples/requirements.in")]


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Note the locks that are written, in place of writing them."""
    names: list[str] = []
    monkeypatch.setattr(locks, "write", lambda lock: names.append(lock.name))
    return names


def test_every_pin_of_the_checkout_is_found() -> None:
    found = pins.pins(ROOT)
    lines = [line for path in requirements(ROOT) for line in path.read_text().splitlines() if "==" in line and not line.startswith("#")]
    assert len([pin for pin in found if pin.path.name == "requirements.in"]) == len(lines) - 7
    assert {pin.name for pin in found} >= {"ruff", "uv", "patroni", "ansible-runner", "locust", "sphinx", "github.com/distribution/distribution/v3"}
    assert sorted(pin.python for pin in found if pin.name == "ansible-core") == ["3.11", "3.12", "3.12"]
    assert all(pin.path.read_text()[pin.start : pin.end] == pin.version for pin in found)
    # What follows another pin is not raised by itself.
    assert not {"mlflow", "pylint", "voluptuous"} & {pin.name for pin in found}


def test_a_raised_pin_is_in_each_of_its_places_and_its_locks_are_written(checkout: Path, written: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    before = {path: path.read_text() for path in checkout.rglob("*") if path.is_file()}
    monkeypatch.setattr(pins, "newest_packages", lambda names, python: {name.lower(): "99.1" if name == "uv" else "99.10" for name in names})
    said = pins.raise_pins(checkout, ["uv", "PyYAML"])
    assert sorted(line.partition(": ")[2].partition(" ")[0] for line in said) == ["PyYAML", "uv", "uv"]
    assert {line.rpartition(" -> ")[2] for line in said if ": uv " in line} == {"99.1"}
    assert sorted(written) == ["tools", "uv"]
    changed = {path: path.read_text() for path, text in before.items() if path.read_text() != text}
    assert {path.name for path in changed} == {"requirements.in", "pins.yml"}
    (tools,) = (text for path, text in changed.items() if path.name == "requirements.in")
    assert re.findall(r"^(?:uv|PyYAML)==.*$", tools, re.MULTILINE) == ["PyYAML==99.10", "uv==99.1"]
    assert re.sub(r"99\.1\b", locks.read_pins(ROOT)["uv"], changed[checkout / "tools/pins.yml"]) == before[checkout / "tools/pins.yml"]
    # A second time, there is nothing to raise.
    assert pins.raise_pins(checkout, ["uv"]) == [] and len(written) == 2


def test_a_module_of_go_is_raised(checkout: Path, written: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pins, "newest_module", lambda name: "v3.9.9")
    (line,) = pins.raise_pins(checkout, ["github.com/distribution/distribution/v3"])
    assert line.endswith("-> v3.9.9") and written == []
    assert locks.read_pins(checkout)["registry"]["version"] == "v3.9.9"


def test_a_name_without_a_pin_is_refused_before_anything_is_asked(checkout: Path) -> None:
    with pytest.raises(SystemExit, match=r"There is no pin of rufff\. There are PyYAML, "):
        pins.raise_pins(checkout, ["rufff"])


@pytest.mark.parametrize(("version", "place"), [("3.99.0", 0), ("3.12.0", 1)])
def test_a_release_is_added_in_its_order_and_compared_with_the_one_before(checkout: Path, monkeypatch: pytest.MonkeyPatch, version: str, place: int) -> None:
    former = list(locks.read_pins(ROOT)["mlflow"])

    def write(lock: locks.Lock) -> None:
        facts = json.loads((RELEASES / former[place] / "options.json").read_text())
        facts["options"] = [{"flags": ["--invented"]}, *facts["options"][1:]]
        lock.path.parent.mkdir(parents=True)
        (lock.path.parent / "options.json").write_text(json.dumps({**facts, "schema_revision": "abc"}))

    monkeypatch.setattr(locks, "write", write)
    said = pins.take_up(checkout, version, "2026-11-27")
    gone = json.loads((RELEASES / former[place] / "options.json").read_text())["options"][0]["flags"][0]
    assert said[:2] == ["--invented is new.", f"{gone} is gone."] and "to abc." in said[-1]
    listed = list(locks.read_pins(checkout)["mlflow"])
    assert listed == [*former[:place], version, *former[place:]]
    assert yaml.safe_load((checkout / VARIABLES).read_text())["_mlflow_server_releases"] == listed
    # Nothing else in these files has changed.
    assert (checkout / "tools/pins.yml").read_text().replace(f"  {version}: 2026-11-27\n", "") == (ROOT / "tools/pins.yml").read_text()


@pytest.mark.parametrize(("version", "said"), [("3.5.1", "3.5.1 is there already"), ("newest", "newest is no release")])
def test_a_release_that_is_there_or_is_none_is_refused(checkout: Path, version: str, said: str) -> None:
    with pytest.raises(SystemExit, match=said):
        pins.take_up(checkout, version, "2026-11-27")


def test_a_release_without_a_lock_leaves_everything_as_it_was(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def write(lock: locks.Lock) -> None:
        raise subprocess.CalledProcessError(1, ["uv", "pip", "compile"])

    monkeypatch.setattr(locks, "write", write)
    before = {path: path.read_text() for path in checkout.rglob("*") if path.is_file()}
    with pytest.raises(subprocess.CalledProcessError):
        pins.take_up(checkout, "3.99.0", "2026-11-27")
    assert {path: path.read_text() for path in checkout.rglob("*") if path.is_file()} == before


def test_each_release_runs_in_a_scenario() -> None:
    releases = yaml.safe_load((ROOT / VARIABLES).read_text())["_mlflow_server_releases"]
    steps = yaml.safe_load((ROOT / "molecule/releases/side_effect.yml").read_text())
    first = yaml.safe_load((ROOT / "molecule/releases/molecule.yml").read_text())["provisioner"]["inventory"]["group_vars"]["mlflow_servers"]
    run = {first["mlflow_server_version"]} | {step["vars"]["mlflow_server_version"] for step in steps if "mlflow_server_version" in step.get("vars", {})}
    # The scenario upgrade begins with the oldest one, which has the same options as the next.
    oldest = re.search(r'^OLD, NEW = "([\d.]+)"', (ROOT / "tests/stack/upgrade/test_upgrade.py").read_text(), re.MULTILINE)
    assert oldest and run | {oldest[1]} == set(releases)
