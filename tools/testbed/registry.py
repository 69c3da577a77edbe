"""A container registry with images of MLflow, in the user's cache. A host of the test bed mounts both, and pulls from it as from a public one."""

from __future__ import annotations

import contextlib
import re
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import yaml

from .golang import build, point_to
from .images import MLFLOW_BASE, authorities, content_hash, identity
from .shell import CACHE, ROOT, TestbedError, environment, run, say, step, wait_for_answer

#: The path from which the hosts of the test bed run it, and the folder of its images that they mount.
EXECUTABLE = CACHE / "registry"
STORAGE = CACHE / "registry-images"
RECIPE = Path(__file__).parent / "hosts" / "mlflow"
REPOSITORY = "mlflow/mlflow"
#: The images by their tags, each with its release and its packages. A release before the variant with drivers, and the default release.
IMAGES = {
    "v3.5.1": ("3.5.1", "mlflow==3.5.1"),
    "v3.17.2-full": ("3.17.2", "mlflow==3.17.2 psycopg2-binary psycopg[binary] boto3 prometheus-flask-exporter"),
}
#: Seconds in which the registry must answer on this machine.
TIMEOUT = 30


def ensure() -> None:
    """Put the executable of the pinned version and the images in their places."""
    pin = yaml.safe_load((ROOT / "tools" / "pins.yml").read_text())["registry"]
    path = CACHE / f"registry-{pin['version']}" / "registry"
    if path.exists():
        say(f"The registry is in place: {path}")
    else:
        with step(f"Registry: build {pin['version']} from source, once") as progress:
            build(pin, path, progress)
    point_to(EXECUTABLE, path)
    _ensure_images()


def constraints(release: str) -> str:
    """Return the locked packages of a release of MLflow without their hashes.

    An older release does not run with current packages, and MLflow's image of that release contains older packages.
    """
    lock = (ROOT / "roles" / "mlflow_server" / "files" / "releases" / release / "requirements.txt").read_text()
    return "".join(f"{pin}\n" for pin in re.findall(r"^[^ #\\]+==[^\\\n]+?(?= *\\?$)", lock, re.MULTILINE))


def images_hash(recipe: Path, base: str) -> str:
    """Return a hash of all inputs of the images: the recipe, the number of the base image, this machine's authorities, the packages."""
    inputs = [base, *(f"{tag} {packages}\n{constraints(release)}" for tag, (release, packages) in IMAGES.items())]
    return content_hash("\0".join(inputs), recipe, authorities())


def _ensure_images() -> None:
    """Build the images and push them to a folder of the cache, unless it exists and the inputs have not changed."""
    folder = CACHE / f"registry-images-{images_hash(RECIPE, identity(MLFLOW_BASE))[:16]}"
    if folder.exists():
        say(f"The images of MLflow are in place: {folder}")
    else:
        with step("Images of MLflow for the registry"), tempfile.TemporaryDirectory(dir=CACHE) as temporary:
            storage = Path(temporary) / "storage"
            with _serving(storage) as address:
                for tag, (release, packages) in IMAGES.items():
                    _push(f"{address}/{REPOSITORY}:{tag}", constraints(release), packages)
            storage.rename(folder)
        for former in CACHE.glob("registry-images-*"):
            if former != folder:
                shutil.rmtree(former)
    point_to(STORAGE, folder)


def _push(name: str, pins: str, packages: str) -> None:
    """Build an image, push it, and remove its local name."""
    with tempfile.TemporaryDirectory() as folder:
        shutil.copytree(RECIPE, folder, dirs_exist_ok=True)
        Path(folder, "authorities.crt").write_bytes(authorities())
        Path(folder, "constraints.txt").write_text(pins)
        arguments = ["--build-arg", f"BASE={MLFLOW_BASE}", "--build-arg", f"PACKAGES={packages}"]
        run(["docker", "build", "--network", "host", "--tag", name, *arguments, folder])
    try:
        run(["docker", "push", name])
    finally:
        run(["docker", "image", "rm", name])


@contextlib.contextmanager
def _serving(storage: Path) -> Iterator[str]:
    """Run the registry on a free port of loopback, and return its address. Docker trusts a registry on loopback without TLS.

    :raises TestbedError: If it does not answer.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    settings = {"version": 0.1, "storage": {"filesystem": {"rootdirectory": str(storage)}}, "http": {"addr": address}}
    with tempfile.NamedTemporaryFile("w", suffix=".yml") as file:
        yaml.safe_dump(settings, file)
        file.flush()
        with subprocess.Popen([EXECUTABLE, "serve", file.name], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment()) as server:
            try:
                if not wait_for_answer(url := f"http://{address}/v2/", TIMEOUT):
                    raise TestbedError(f"The registry does not answer at {url}.")
                yield address
            finally:
                server.terminate()
