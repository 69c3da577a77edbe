"""A container registry's executable in the user's cache, built from source once. The hosts of the test bed pull from it as from any registry."""

from __future__ import annotations

import yaml

from .golang import build, point_to
from .shell import CACHE, ROOT, say, step

#: The path from which the hosts of the test bed copy it.
EXECUTABLE = CACHE / "registry"


def ensure() -> None:
    """Put the executable of the pinned version in its place."""
    pin = yaml.safe_load((ROOT / "tools" / "pins.yml").read_text())["registry"]
    path = CACHE / f"registry-{pin['version']}" / "registry"
    if path.exists():
        say(f"The registry is in place: {path}")
    else:
        with step(f"Registry: build {pin['version']} from source, once"):
            build(pin, path)
    point_to(EXECUTABLE, path)
