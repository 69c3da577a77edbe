# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Find the last error in a server's log, and the fault that it means."""

from __future__ import annotations

import re

from ansible_collections.atlas.mlflow.plugins.module_utils import redaction

LENGTH = 300  # characters of a line that are quoted
#: Texts in a log, by the fault that they mean.
LOG_FAULTS = (
    ("database-driver-missing", r"No module named '(psycopg2?|pg8000|pymysql|MySQLdb|pyodbc)|driver is not installed"),
    ("database-connections-exhausted", r"remaining connection slots are reserved|too many (clients already|connections for)"),
    ("database-permission-denied", r"permission denied for (schema|table|relation|sequence)|may not make tables in"),
    ("database-password-not-encoded", r"password in a store's URI is not percent-encoded"),
    ("s3-untrusted-certificate", r"SSL validation failed for .*certificate verify failed"),
    (
        "database-wrong-password",
        r"(password|Peer|Ident|GSSAPI|PAM|LDAP|RADIUS|certificate|SASL) authentication failed|no password supplied|Access denied for user",
    ),
    # A driver says that the connection failed before it says why, and our server says that a store did not answer.
    ("database-access-refused", r"no pg_hba\.conf entry|FATAL:\s+login rejected|no authentication method is found|permission denied for database"),
    ("database-missing", r'database "[^"]*" does not exist|Unknown database'),
    (
        "database-name-unresolved",
        r"could not translate host name|failed to resolve host|(backend store|store of users).*(service not known|failure in name resolution)",
    ),
    ("database-schema-new", r"Can't locate revision|which this release does not know"),
    ("database-schema-old", r"out-of-date database schema|and this release needs"),
    ("s3-bucket-missing", r"there is no such bucket|NoSuchBucket"),
    ("s3-wrong-key", r"key or its policy does not let|InvalidAccessKeyId|SignatureDoesNotMatch|Unable to locate credentials|Partial credentials found"),
    ("database-down", r"(backend store|store of users).* did not answer|could not connect to server|connection to server at .* failed"),
    ("s3-down", r"artifact store, .* did not answer|Could not connect to the endpoint"),
    ("port-taken", r"[Aa]ddress already in use|port is already allocated|Connection in use: \("),
    (
        "address-refused",
        r"bind on address .*(permission denied|assign requested address)|Invalid address: \(|"
        r"connection to \(.* failed: \[Errno (13|99)\]|\[Errno 99\]",
    ),
    ("disk-full", r"No space left on device"),
    ("out-of-memory", r"^MemoryError\b|Cannot allocate memory"),
    (
        "arguments-refused",
        r"^Error: (No such (option|command)|Invalid value|Missing (option|argument|parameter)|Got unexpected|Option .* requires|"
        r".*(only supported|cannot be used))|^\S+: error: (unrecognized arguments|argument |ambiguous option|the following arguments)",
    ),
    (
        "program-missing",
        r"executable file .*not found|Failed to (locate|execute) |(exec|env|sh|bash)\b.*: (command )?not found|"
        r"^(env|exec|/\S+): .*No such file or directory|exec \S+: no such file or directory|No module named '?mlflow'?$|"
        r"can't open file '\S+': \[Errno 2\]",
    ),
    (
        "packages-do-not-fit",
        r"cannot import name '|No module named '|undefined symbol|cannot open shared object file|PackageNotFoundError|"
        r"(Version|Distribution)(Conflict|NotFound)|multiarray failed to import|compiled using NumPy|"
        r"^(AttributeError: (partially initialized )?module '|TypeError: .*unexpected keyword argument)|numpy\.dtype size changed",
    ),
    ("file-denied", r"\bPermissionError\b|Read-only file system|unable to open database file|[Pp]ermission denied: ['\"]?/"),
)
#: A line that only says that something failed before.
EMPTY = re.compile(
    # Lines that Podman writes into the journal of its unit.
    r'^[0-9a-f]{64}$|^time="[^"]*" level=(debug|info|warning) |'
    r"^\S+ \S+ \S+ \S+ m=\+\S+ (container|image|pod|network|volume|system) |"
    r"^(Starting|Started|Stopping|Stopped) |Deactivated successfully|Consumed .* CPU time|"
    r"Failed with result|(Main|Control) process exited|Scheduled restart job|Failed to start |Start request repeated|Dependency failed|"
    r"Worker failed to boot|HaltServer|[Ss]ee the logs above|Child process \[\d+\] died|Non-zero exit ?code|ShellCommandException|"
    r"Can't connect to \(|was sent SIG(TERM|INT|QUIT)|CancelledError|KeyboardInterrupt|SystemExit|ERROR mlflow\.cli: Error initializing"
)
#: A line that reports an error.
ERROR = re.compile(
    r"^\s*(?:[\w.]+\.)?[A-Z]\w*(?:Error|Exception|Conflict|NotFound)\b(?:: |$)|\b(?:ERROR|CRITICAL|FATAL|PANIC)\b|^(?:[\w./-]+: )?(?:[Ee]rror|fatal|panic)\b|"
    r"\bNo such file\b|[Pp]ermission denied|\bnot found\b|\bFailed to \b|^Killed\b|Segmentation fault|Illegal instruction|core dumped|already in use"
)


def quote(line: str) -> str:
    """Return a line of a log in a form that may be shown: on one line, cut, and without credentials."""
    return redaction.hide_by_shape(" ".join(line.split()))[:LENGTH]


def was_stopped(state: str, result: str) -> bool:
    """Return whether a server was stopped or killed, and did not end by itself. Errors in its log are then not the reason.

    :param result: The result of a unit in systemd's words, or a container's exit code.
    """
    return (state, result) in {("inactive", "success"), ("failed", "signal"), ("exited", "0"), ("exited", "137"), ("exited", "143")}


def log_fault(text: str) -> dict[str, str] | None:
    """Return the fault that the last informative line of a log means, None if there is none."""
    for line in reversed(text.splitlines()):
        for fault, pattern in LOG_FAULTS:
            if re.search(pattern, line):
                return {"fault": fault, "line": quote(line)}
    return None


def last_words(text: str) -> str:
    """Return the last error of a log, or its last line if it has no error; empty if the log is empty."""
    lines = [line for line in text.splitlines() if line.strip()]
    telling = [line for line in lines if not EMPTY.search(line)]
    said = next((line for line in reversed(telling) if ERROR.search(line)), (telling or lines or [""])[-1])
    return quote(said)
