# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ask a tracking server's stores with the server's own Python, drivers and settings, without changing them.

That Python runs the text of this file and has no Ansible: the file imports only the standard library, and packages that the server itself
has (SQLAlchemy, boto3). Every outcome is a word from the tables below. A driver's message may quote a part of a password: the module that
reads the answer removes secrets from it.
"""

from __future__ import annotations

import concurrent.futures
import email.utils
import importlib.util
import json
import os
import re
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

PATIENCE = 3  # seconds for a connection to a store
KEY = "atlas-mlflow-diagnosis"  # of an upload that is started and aborted, so that nothing is stored

#: Texts in a database driver's error, by the outcome that they mean.
DATABASE_ERRORS = (
    ("wrong-password", r"authentication failed for user|SASL authentication failed|no password supplied|Access denied for user"),
    ("no-slots", r"remaining connection slots are reserved|too many (clients|connections)|Too many connections|no more connections allowed"),
    ("denied", r"permission denied for (schema|table|relation|sequence)|(INSERT|CREATE|SELECT) command denied"),
    ("refused", r"no pg_hba.conf entry|login rejected|no authentication method is found|is not allowed to connect|permission denied for database"),
    ("missing", r'database "[^"]*" does not exist|Unknown database'),
    (
        "unresolved",
        r"could not translate host name|failed to resolve host|Name or service not known|Temporary failure in name resolution|No address associated",
    ),
    (
        "down",
        r"onnection refused|timed? ?out|timeout expired|No route to host|Network is unreachable|server closed the connection|No such file or directory|"
        r"starting up|shutting down|Can't connect|server login has been failing|pgbouncer cannot connect to server|query_wait_timeout",
    ),
)
#: Error codes of S3, by the outcome that they mean.
S3_CODES = {
    "InvalidAccessKeyId": "wrong-key",
    "SignatureDoesNotMatch": "wrong-key",
    "ExpiredToken": "wrong-key",
    "InvalidToken": "wrong-key",
    "InvalidTokenId": "wrong-key",
    "NoSuchBucket": "missing",
    "AccessDenied": "denied",
    "RequestTimeTooSkewed": "clock",
    "XMinioStorageFull": "full",
    "InsufficientStorage": "full",
}


def classify_database(text: str) -> str:
    """Return the outcome that a driver's error means, C(failed) if the error is unknown."""
    return next((outcome for outcome, pattern in DATABASE_ERRORS if re.search(pattern, text)), "failed")


def first_line(error: BaseException) -> str:
    """Return the first line of an error's message, without SQL."""
    lines = str(getattr(error, "orig", None) or error).strip().splitlines() or [type(error).__name__]
    return lines[0]


def read_revisions() -> tuple[str, list[str]]:
    """Return the newest schema revision of the installed MLflow and all known ones, from its migrations: importing MLflow takes seconds."""
    spec = importlib.util.find_spec("mlflow")
    folders = [Path(place) / "store" / "db_migrations" / "versions" for place in (spec.submodule_search_locations or [])] if spec else []
    revisions: dict[str, str] = {}
    for path in (path for folder in folders for path in folder.glob("*.py")):
        text = path.read_text(encoding="utf-8", errors="replace")
        found = {name: re.search(rf"^{name}\s*(?::[^=\n]*)?=\s*[\"']([0-9a-f]+)[\"']", text, re.MULTILINE) for name in ("revision", "down_revision")}
        if found["revision"]:
            revisions[found["revision"].group(1)] = found["down_revision"].group(1) if found["down_revision"] else ""
    heads = set(revisions) - set(revisions.values())
    return (heads.pop() if len(heads) == 1 else ""), sorted(revisions)


class Denied(Exception):
    """A database in which the server's user may not create tables, or not write to them."""


def check_rights(connection: Any, made: bool) -> None:
    """Check that the user may create tables in PostgreSQL's schema, or write to the tables that exist.

    :raises Denied: If the user may not.
    """
    import sqlalchemy

    if connection.dialect.name != "postgresql":
        return
    question = "has_table_privilege('experiments', 'INSERT')" if made else "coalesce(has_schema_privilege(current_schema(), 'CREATE'), false)"
    if not connection.execute(sqlalchemy.text(f"SELECT {question}")).scalar():
        raise Denied(f"permission denied for {'table experiments' if made else 'schema public'}")


def make_engine(url: Any) -> Any:
    """Return an engine for a database's URL that keeps no connection open."""
    import sqlalchemy

    arguments = {"connect_timeout": PATIENCE} if url.drivername.startswith("postgresql") else {}
    return sqlalchemy.create_engine(url, connect_args=arguments, poolclass=sqlalchemy.pool.NullPool)


def read_schema(url: Any) -> dict[str, str]:
    """Return the schema revision of a database, and compare it with that of the installed MLflow."""
    import sqlalchemy

    engine = make_engine(url)
    with engine.connect() as connection:
        tables = sqlalchemy.inspect(connection).get_table_names()
        row = connection.execute(sqlalchemy.text("SELECT version_num FROM alembic_version")).fetchone() if "alembic_version" in tables else None
        if row is None or "experiments" in tables:
            check_rights(connection, made=row is not None)
    head, known = read_revisions()
    revision = row[0] if row else ""
    schema = "unknown" if not head else "none" if not revision else "right" if revision == head else "old" if revision in known else "new"
    return {"revision": revision, "head": head, "schema": schema}


def knows_as_written(uri: str) -> bool:
    """Return whether a database that refuses a password accepts it in the form of the URI: then a percent sign was decoded by mistake."""
    import sqlalchemy

    written = re.match(r"[^:]+://[^:/]*:([^@]*)@", uri)
    if not written or not re.search(r"%[0-9A-Fa-f]{2}", written.group(1)):
        return False
    try:
        make_engine(sqlalchemy.engine.make_url(uri).set(password=written.group(1))).connect().close()
    except Exception as error:  # an error of a later step shows that the password was accepted
        return classify_database(str(error)) in ("missing", "no-slots", "denied")
    return True


def ask_database(uri: str) -> dict[str, Any]:
    """Return how a database answers, and which schema it has."""
    try:
        import sqlalchemy

        return {"outcome": "ok", **read_schema(sqlalchemy.engine.make_url(uri))}
    except ImportError as error:
        return {"outcome": "no-driver", "detail": first_line(error)}
    except Exception as error:  # any error of a driver is an outcome
        outcome = classify_database(str(error))
        return {"outcome": outcome, "detail": first_line(error), "not_encoded": outcome == "wrong-password" and knows_as_written(uri)}


def s3_target(environment: Mapping[str, str], destination: str) -> tuple[str, str] | None:
    """Return bucket and prefix of an artifact store on S3, None if the store is not on S3."""
    match = re.match(r"(?:proxied-)?s3://([^/]+)/?(.*)", destination or environment.get("MLFLOW_ARTIFACTS_DESTINATION", ""))
    return (match.group(1), match.group(2).strip("/")) if match else None


def classify_s3(error: BaseException) -> tuple[str, str]:
    """Return the outcome that an error of botocore means, and the error's message."""
    response = getattr(error, "response", None) or {}
    code = str(response.get("Error", {}).get("Code", ""))
    text = first_line(error)
    if re.search(r"CERTIFICATE_VERIFY_FAILED|certificate verify failed|TLS CA certificate bundle|SSL validation failed .*(doesn't match|No such file)", text):
        return "untrusted", text
    if re.search(r"HTTP request to an HTTPS server|(?i:wrong.version.number)|record layer failure|packet length too long|SSL: HTTP_REQUEST", text):
        return "wrong-scheme", text
    if type(error).__name__ in ("NoCredentialsError", "PartialCredentialsError"):
        return "wrong-key", text
    if code in S3_CODES:
        return S3_CODES[code], text
    if response and response.get("ResponseMetadata", {}).get("HTTPStatusCode") == 400 and code in ("400", "BadRequest", ""):
        return "wrong-scheme", text
    if type(error).__name__ in ("EndpointConnectionError", "ConnectTimeoutError", "ReadTimeoutError", "ConnectionClosedError"):
        return "down", text
    return "failed", text


def ask_s3(environment: Mapping[str, str], bucket: str, prefix: str) -> dict[str, Any]:
    """Return how the artifact store answers: whether listing and writing work."""
    endpoint = environment.get("MLFLOW_S3_ENDPOINT_URL") or ""
    facts: dict[str, Any] = {"endpoint": endpoint, "bucket": bucket, "skew": None}
    try:
        import boto3
        import botocore.config
    except ImportError as error:
        return {**facts, "outcome": "no-driver", "detail": first_line(error)}
    config = botocore.config.Config(connect_timeout=PATIENCE, read_timeout=PATIENCE, retries={"total_max_attempts": 1})
    asked, step = time.time(), "list"
    try:
        # The same as MLflow: no check if the setting turns it off, else the CA file that boto3 finds, also in AWS_CA_BUNDLE.
        trusts_all = environment.get("MLFLOW_S3_IGNORE_TLS", "").lower() in ("true", "1")
        client = boto3.client("s3", endpoint_url=endpoint or None, config=config, verify=False if trusts_all else None)
        # The same listing as MLflow's: a policy may allow only this prefix.
        listed = client.list_objects_v2(Bucket=bucket, MaxKeys=1, **({"Prefix": f"{prefix}/"} if prefix else {}))
        date = listed["ResponseMetadata"]["HTTPHeaders"].get("date")
        facts["skew"] = round(email.utils.parsedate_to_datetime(date).timestamp() - asked) if date else None
        step, key = "write", f"{prefix}/{KEY}".lstrip("/")
        upload = client.create_multipart_upload(Bucket=bucket, Key=key)
        step = "give up"
        client.abort_multipart_upload(Bucket=bucket, Key=key, UploadId=upload["UploadId"])
    except Exception as error:  # any error of botocore is an outcome
        outcome, detail = classify_s3(error)
        if (step, outcome) == ("give up", "denied"):
            return {**facts, "outcome": "ok", "detail": "may be written to, and an upload that was begun may not be given up (s3:AbortMultipartUpload)"}
        return {**facts, "outcome": "read-only" if (step, outcome) == ("write", "denied") else outcome, "detail": detail}
    return {**facts, "outcome": "ok"}


def ask(environment: Mapping[str, str], uri: str, destination: str) -> dict[str, Any]:
    """Ask both stores at once.

    C(uri) and C(destination) are from the server's command line, and have precedence over the environment.
    """
    os.environ.update(environment)
    sys.path[:0] = [place for place in environment.get("PYTHONPATH", "").split(":") if place and place not in sys.path]
    uri = uri or environment.get("MLFLOW_BACKEND_STORE_URI", "")
    bucket = s3_target(environment, destination)
    with concurrent.futures.ThreadPoolExecutor(max_workers=2) as pool:
        database = pool.submit(ask_database, uri) if "://" in uri and not uri.startswith(("file:", "http")) else None
        s3 = pool.submit(ask_s3, environment, *bucket) if bucket else None
        return {"database": database.result() if database else None, "s3": s3.result() if s3 else None}


if __name__ == "__main__":
    given = json.loads(sys.stdin.readline())
    sys.stdout.write("\n" + json.dumps(ask(given["environment"], given["uri"], given["destination"])) + "\n")
    sys.stdout.flush()
    os._exit(0)  # do not wait for a thread that still waits for a store
