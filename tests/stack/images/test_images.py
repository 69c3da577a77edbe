"""A server that has gone from one source of its image to another, on the same data."""

from __future__ import annotations

from stack.support import assert_kept_run
from testinfra.host import Host


def test_a_custom_image_runs_by_its_digest_and_the_older_one_was_built(server: Host) -> None:
    assert "@sha256:" in server.check_output("docker inspect --format '{{.Config.Image}}' atlas-mlflow-server")
    built = server.check_output("docker image ls --format '{{.Repository}}:{{.Tag}}' atlas-mlflow/mlflow").split()
    assert [name.rpartition("-")[0] for name in built] == ["atlas-mlflow/mlflow:3.5.1"]


def test_the_drivers_were_added_to_the_image_that_had_none(server: Host) -> None:
    images = {"127.0.0.1:5000/mlflow/mlflow:v3.5.1": 1, server.check_output("docker image ls --format '{{.Repository}}:{{.Tag}}' atlas-mlflow/mlflow"): 0}
    for image, code in images.items():
        assert server.run("docker run --rm --entrypoint python %s -c 'import psycopg2, psycopg, boto3'", image).rc == code, image


def test_a_run_of_the_first_image_is_kept(server: Host) -> None:
    assert_kept_run(server)
