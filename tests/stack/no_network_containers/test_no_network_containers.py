"""Containers on a host that reaches no other network: their images came from the bundle, and its archives are gone."""

from __future__ import annotations

import re

from stack.support import engine_of
from testinfra.host import Host


def test_the_host_runs_the_images_of_the_bundle(server: Host) -> None:
    running = server.check_output(f"{engine_of(server, 'atlas-mlflow-server')} ps --format '{{{{.Image}}}}'").split()
    # Podman gives an image that is built on a host the registry localhost. PostgreSQL's image has the name of the role's default.
    named = {image.partition(":")[0].removeprefix("localhost/").removeprefix("docker.io/library/") for image in running}
    assert named == {"atlas-mlflow/mlflow", "postgres", "atlas-mlflow/minio"}, running


def test_only_the_checksums_of_the_loaded_images_are_left(server: Host) -> None:
    left = server.check_output("find / -xdev '(' -name 'atlas-mlflow-bundle-*' -o -name '*.deb' ')' -not -path '/proc/*'")
    assert left == ""
    notes = server.check_output("ls /var/lib/atlas-mlflow-images").split()
    assert len(notes) == 2 and all(name.endswith(".sha256") for name in notes), notes
    for name in notes:
        assert re.fullmatch(r"[0-9a-f]{64}", server.check_output("cat %s", f"/var/lib/atlas-mlflow-images/{name}"))
