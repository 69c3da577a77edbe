"""The images of the test hosts: Debian or Ubuntu with systemd as init, with this machine's certificate authorities."""

from __future__ import annotations

import hashlib
import json
import os
import re
import selectors
import shutil
import ssl
import subprocess
import tempfile
import urllib.request
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import yaml
from jinja2 import Template

from .shell import BIN, CACHE, ROOT, TestbedError, apt_install, as_root, ask, check_sha256, environment, run, say, step, which


@dataclass(frozen=True)
class System:
    """A system of the test hosts: the name of its official image, its release, the release of PostgreSQL in it, and what debootstrap needs to make it.

    ``source`` is the mirror and the script of debootstrap. They are empty for Debian, and debootstrap of Debian may not know a newer Ubuntu by its name.
    """

    official: str
    codename: str
    postgresql: str
    components: str = "main"
    source: tuple[str, ...] = ()

    @classmethod
    def ubuntu(cls, version: str, codename: str, postgresql: str) -> System:
        """Return a release of Ubuntu, whose packages are in two components."""
        return cls(f"ubuntu:{version}", codename, postgresql, "main,universe", ("http://archive.ubuntu.com/ubuntu", "/usr/share/debootstrap/scripts/gutsy"))


#: The systems of the test hosts, by the tag of their images.
SYSTEMS = {
    "debian12": System("debian:bookworm", "bookworm", "15"),
    "debian13": System("debian:trixie", "trixie", "17"),
    "ubuntu22.04": System.ubuntu("22.04", "jammy", "14"),
    "ubuntu24.04": System.ubuntu("24.04", "noble", "16"),
}
RECIPE = Path(__file__).parent / "hosts" / "image"
#: Base images of the container deployment, each with the role and the variable whose default is its name: those of the registry or, if it does not answer,
#: similar ones made from Debian's packages.
CONTAINER_IMAGES = {"python": ("mlflow_server", "mlflow_server_image_base"), "postgres": ("postgres", "postgres_image")}
CONTAINER_SYSTEM = "debian13"
#: The base of the images of MLflow in the test bed's registry.
MLFLOW_BASE = "atlas-mlflow/python"
#: The main inputs of a prepared host. If something else has changed since, the roles install it as on any host.
PREPARED_FROM = (
    "tools/testbed/hosts/prepare_image.yml",
    "examples/requirements.txt",
    "roles/common/files/uv.txt",
    "roles/minio/files/admin.txt",
    "roles/mlflow_server/files/releases",
)
ARCHIVES = CACHE / "images"
LABEL = "atlas.mlflow.inputs"
#: Seconds in which a container registry must start to answer.
REGISTRY_TIMEOUT = 8


def host_image(system: str) -> str:
    """Return the name of the test host's image for a system, such as "debian12"."""
    return f"atlas-mlflow/host:{system}"


def prepared_image(system: str) -> str:
    """Return the name of the image of a test host that already has MLflow, the demo's client and packages."""
    return f"atlas-mlflow/prepared:{system}"


def named_in(text: str) -> tuple[list[str], list[str]]:
    """Return the systems of the bare and of the prepared hosts in the text of a scenario."""
    found = {kind: set(re.findall(rf"atlas-mlflow/{kind}:({'|'.join(map(re.escape, SYSTEMS))})", text)) for kind in ("host", "prepared")}
    return sorted(found["host"] | found["prepared"]), sorted(found["prepared"])


def authorities() -> bytes:
    """Return this machine's CA file as PEM, empty if it has none.

    It includes a company's own authority. A host that installs packages through the company's mirror must trust this authority.
    """
    named = (os.environ.get("SSL_CERT_FILE"), ssl.get_default_verify_paths().cafile, "/etc/ssl/certs/ca-certificates.crt")
    return next((Path(path).read_bytes() for path in named if path and Path(path).is_file()), b"")


def content_hash(system: str, recipe: Path, bundle: bytes) -> str:
    """Return a hash of all inputs of an image: the system, the files of the recipe, the authorities."""
    return _hash_of(system.encode() + b"\0" + hashlib.sha256(bundle).digest(), recipe, [recipe])


def _hash_of(start: bytes, root: Path, places: Iterable[Path]) -> str:
    """Return a hash of some bytes, and of files and the files in folders, by their paths below a root."""
    total = hashlib.sha256(start)
    files = {path for place in places for path in [place, *place.rglob("*")] if path.is_file() and "__pycache__" not in path.parts}
    for path in sorted(files):
        total.update(path.relative_to(root).as_posix().encode() + b"\0" + hashlib.sha256(path.read_bytes()).digest())
    return total.hexdigest()


def ensure(system: str) -> None:
    """Build the image of a system, unless it exists and its inputs have not changed."""
    _build(host_image(system), system, RECIPE)


def _build(name: str, system: str, recipe: Path) -> None:
    """Build an image on a system with a recipe, unless it exists and its inputs have not changed."""
    bundle = authorities()
    inputs = content_hash(system, recipe, bundle)
    if _read(name, f'{{{{index .Config.Labels "{LABEL}"}}}}') == inputs:
        say(f"Image {name} is in place")
        return
    with step(f"Image {name}"), tempfile.TemporaryDirectory() as folder:
        base = _base(system)
        context = Path(folder)
        shutil.copytree(recipe, context, dirs_exist_ok=True)
        (context / "authorities.crt").write_bytes(bundle)
        build = ["docker", "build", "--tag", name, "--label", f"{LABEL}={inputs}", "--build-arg", f"BASE={base}"]
        run([*build, context])


def ensure_prepared(system: str) -> None:
    """Make the image of a prepared host from a bare host with the roles, unless it exists and its inputs have not changed."""
    name, bare = prepared_image(system), host_image(system)
    inputs = _hash_of(identity(bare).encode(), ROOT, [ROOT / place for place in PREPARED_FROM])
    if _read(name, f'{{{{index .Config.Labels "{LABEL}"}}}}') == inputs:
        say(f"Image {name} is in place")
        return
    host = f"atlas-mlflow-prepare-{system}"
    settings = {
        "testbed_image": bare,
        "testbed_network": host,
        "testbed_owner": host,
        "postgresql": SYSTEMS[system].postgresql,
    }
    with step(f"Image {name}"):
        run(["docker", "rm", "--force", host])
        try:
            for playbook in ("tools/testbed/hosts/create.yml", "tools/testbed/hosts/prepare_image.yml"):
                reached = ["--inventory", f"{host},", "--connection", "community.docker.docker"]
                run([BIN / "ansible-playbook", *reached, "--extra-vars", json.dumps(settings), playbook])
            # Each host generates its own identity at its first start.
            run(["docker", "exec", host, "truncate", "--size", "0", "/etc/machine-id"])
            run(["docker", "exec", host, "rm", "--recursive", "--force", "/var/log/journal"])
            run(["docker", "stop", host])
            run(["docker", "commit", "--change", f"LABEL {LABEL}={inputs}", host, name])
        finally:
            run(["docker", "rm", "--force", host])
            ask(["docker", "network", "rm", host])


def identity(image: str) -> str:
    """Return the number of a local image, empty if there is none."""
    return _read(image, "{{.Id}}") or ""


def _read(image: str, template: str) -> str | None:
    """Return Docker's information about an image, with a template; None if there is no such image."""
    return ask(["docker", "image", "inspect", "--format", template, image])


def default_image(role: str, variable: str) -> str:
    """Return the name of the image that a role runs or builds on by default."""
    defaults = yaml.safe_load((ROOT / "roles" / role / "defaults" / "main.yml").read_text())
    return str(Template(defaults[variable]).render(defaults))


def ensure_archives() -> None:
    """Save the base images of the container deployment to archives, from which hosts load them: their own Docker has no registry here.

    An image in an archive has the name that its role has by default, so that the hosts run with the settings of a user.
    """
    for kind, default in CONTAINER_IMAGES.items():
        own, name = f"atlas-mlflow/{kind}", default_image(*default)
        official = bool(_read(name, "{{.Id}}")) or pull(name)
        if official:
            run(["docker", "tag", name, own])
        else:
            _build(own, CONTAINER_SYSTEM, RECIPE.parent / kind)
        _archive(own, name, ARCHIVES / f"{kind}.tar", official)


def _archive(image: str, name: str, path: Path, official: bool) -> None:
    """Save an image to a file by another name, unless the stamp next to the file shows the same image with this name.

    :param official: Whether this name is the image's own. If it is not, it is removed, because on this machine it must not stand for another image.
    """
    present = f"{name} {identity(image)}"
    stamp = path.with_suffix(".id")
    if path.is_file() and stamp.is_file() and stamp.read_text() == present:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with step(f"Archive {path.name}"):
        run(["docker", "tag", image, name])
        try:
            run(["docker", "save", "--output", path, name])
        finally:
            if not official:
                run(["docker", "image", "rm", name])
    stamp.write_text(present)


def _base(system: str) -> str:
    """Return the name of a plain image of a system: a local one, one from the registry, or one made by debootstrap."""
    official, own = SYSTEMS[system].official, f"atlas-mlflow/base:{system}"
    for name in (official, own):
        if _read(name, "{{.Id}}"):
            return name
    if pull(official):
        return official
    with step(f"No container registry answers: {own} by debootstrap"):
        _debootstrap(SYSTEMS[system], own)
    return own


def pull(image: str) -> bool:
    """Pull an image, and return whether that worked.

    The client prints nothing until the registry answers, so its first line shows whether to wait.
    """
    client = subprocess.Popen(["docker", "pull", image], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL, env=environment())
    with client, selectors.DefaultSelector() as selector:
        selector.register(client.stdout, selectors.EVENT_READ)  # type: ignore[arg-type]
        if not selector.select(REGISTRY_TIMEOUT):
            client.kill()
            return False
        client.communicate()
    return client.returncode == 0


def _debootstrap(system: System, name: str) -> None:
    """Make a plain image from the packages of a distribution.

    :raises TestbedError: If that fails.
    """
    if not which("debootstrap"):
        apt_install("debootstrap", "debian-archive-keyring")
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder) / "root"
        try:
            options = [f"--components={system.components}", *([f"--keyring={_ubuntu_keyring(Path(folder))}"] if system.source else [])]
            run(as_root(["debootstrap", "--variant=minbase", *options, system.codename, tree, *system.source]))
            pack = subprocess.Popen(as_root(["tar", "-C", tree, "-c", "."]), stdout=subprocess.PIPE, env=environment())
            unpack = subprocess.run(["docker", "import", "-", name], stdin=pack.stdout, capture_output=True, text=True, check=False, env=environment())
            if pack.wait() or unpack.returncode:
                raise TestbedError(f"`docker import` of {system.codename} failed: {unpack.stderr}")
        finally:
            run(as_root(["rm", "-rf", "--one-file-system", tree]))


def _ubuntu_keyring(folder: Path) -> Path:
    """Unpack the keys by which Ubuntu signs its packages, and return their file. Debian has no package with these keys.

    :raises TestbedError: If the package is not the pinned one.
    """
    pin = yaml.safe_load((ROOT / "tools" / "pins.yml").read_text())["ubuntu_keyring"]
    package = folder / "keyring.deb"
    with urllib.request.urlopen(pin["url"], timeout=REGISTRY_TIMEOUT) as answer:
        package.write_bytes(answer.read())
    check_sha256(package, pin, "tools/pins.yml")
    run(["dpkg-deb", "--extract", package, folder / "keyring"])
    return folder / "keyring" / "usr/share/keyrings/ubuntu-archive-keyring.gpg"
