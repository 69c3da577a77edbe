# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every fault that the diagnosis can name: its layer, its cause, its fix, and what it explains, so that one cause is reported once."""

from __future__ import annotations

from dataclasses import dataclass

from ansible_collections.atlas.mlflow.plugins.module_utils.uris import ENCODED


#: What makes a server take artifacts itself.
WITHOUT_ROOT = "remove --default-artifact-root and --no-serve-artifacts. Experiments that exist keep their old place."


@dataclass(frozen=True)
class Fault:
    """A fault: the layer it is in, and a sentence each for the cause and for the way out."""

    id: str
    layer: str
    cause: str
    fix: str


#: From the process outwards: where two faults are seen, the first one explains the second.
FAULTS: dict[str, Fault] = {
    fault.id: fault
    for fault in (
        Fault("server-not-found", "process", "There is no unit, no container and no process of a tracking server on this host.",
              "Look on the host where it runs, or set mlflow_server_container_name or the unit's name to what it is called here."),
        Fault("disk-full", "disk", "A disk that the server or a store writes to is full, so nothing can be logged.",
              "Free space there, or give the folder a larger disk; nothing was removed."),
        Fault("port-taken", "sockets", "Another process has the port, so the server cannot open it.",
              "Stop that process, or give the server another port (mlflow_server_port)."),
        Fault("arguments-cut", "process", "The configured command has --host or --port, and the process was started without them: a newline or a quote cut the shell string.",
              "Pass the command as a list of arguments (exec form) and not as a shell string."),
        Fault("arguments-refused", "process", "MLflow refuses the arguments that it is started with, and ends.",
              "Correct them as the line says (mlflow_server_extra_args)."),
        Fault("packages-do-not-fit", "process", "The server's Python packages do not fit together: one lacks what another one asks of it.",
              "Install the release of MLflow again with packages of its time (a lock file, or uv pip install --exclude-newer DATE), or a newer release."),
        Fault("program-missing", "process", "The program that starts the server is not where its command says.",
              "Correct the path in the unit or the container's command, or install MLflow there."),
        Fault("address-refused", "sockets", "The system does not let the server open its address: it is not one of the host's, or its port is below 1024 and the user is not root.",
              "Give --host an address of the host, or --port a number from 1024 on (mlflow_server_host, mlflow_server_port)."),
        Fault("file-denied", "process", "The server may not read or write a file or folder that it needs.",
              "Make it its user's own (chown), mount it into the container, or open it in the unit (ReadWritePaths=)."),
        Fault("out-of-memory", "memory", "The memory that the server may use ran out, and the kernel killed the server or a worker of it.",
              "Raise the limit (MemoryMax= of the unit, --memory of the container, mlflow_server_container_memory), run fewer workers, or give the host more memory."),
        Fault("ignored-environment", "environment", "The address was set in a variable that MLflow does not read, so it listens on its default 127.0.0.1:5000.",
              "Remove the variable, and pass --host and --port, or set MLFLOW_HOST and MLFLOW_PORT."),
        Fault("stale-container", "configuration", "The container was started before its configuration was changed, and a restart keeps the old command line.",
              "Create it anew (docker rm and run, docker compose up --force-recreate, or the playbook)."),
        Fault("stale-service", "configuration", "The service was started before its unit or its settings were changed.",
              "systemctl daemon-reload, then systemctl restart, or run the playbook."),
        Fault("default-port", "sockets", "The server was started without --host and --port, so it listens on MLflow's default 127.0.0.1:5000.",
              "Pass --host 0.0.0.0 and --port, or set MLFLOW_HOST and MLFLOW_PORT."),
        Fault("bound-to-loopback", "sockets", "The server listens on a loopback address, so only its own host, or its own container, reaches it.",
              "Pass --host 0.0.0.0 (mlflow_server_host)."),
        Fault("wrong-socket", "sockets", "The server listens on another address or port than the expected one.",
              "Make --host and --port agree with what clients use (mlflow_server_host, mlflow_server_port)."),
        Fault("bind-in-gunicorn-opts", "sockets", "A --bind in the options for gunicorn or uvicorn opens a second socket beside the right one.",
              "Remove it from --gunicorn-opts or --uvicorn-opts; --host and --port say all."),
        Fault("shadowing-listener", "sockets", "Another process listens on a more specific address of the same port and takes the traffic to it.",
              "Stop that process, or give one of the two another port."),
        Fault("port-not-published", "published port", "The container's port is not published at the expected address, so nothing outside its network reaches it.",
              "Publish it: -p ADDRESS:PORT:PORT, with the port that the server listens on in the container."),
        Fault("wrong-network", "network", "The container is not on the Docker network on which its store's container has a name.",
              "Put both on one network (docker network connect, or networks: in the compose file)."),
        Fault("database-driver-missing", "database", "The server's Python has no driver for its database.",
              "Install it (psycopg2-binary for postgresql+psycopg2://), or use an image that has it; name the driver in the URI."),
        Fault("database-password-not-encoded", "database",
              "The password in the backend store's URI is not percent-encoded, so a part of it is read as host, port or path, or the URI is refused.",
              f"In the URI, {ENCODED}; then restart the server."),
        Fault("database-name-unresolved", "database", "The database's host name does not resolve where the server runs.",
              "Correct the name in the backend store's URI, or the name service."),
        Fault("database-down", "database", "The database does not answer.", "Start it, or correct host and port in the backend store's URI."),
        Fault("database-wrong-password", "database", "The database refuses the server's user or password.",
              "Set the password that the database knows in the backend store's URI, and restart the server."),
        Fault("database-access-refused", "database", "The database server's access rules have no entry for this user, database and address.",
              "Correct user and database in the backend store's URI, or add an entry to pg_hba.conf (postgres_clients)."),
        Fault("database-connections-exhausted", "database",
              "The database has no connection left for the server: each worker of each server opens a pool to each of its stores.",
              "Raise max_connections (postgres_settings) or the user's limit, or run fewer workers (mlflow_server_workers), or set smaller pools "
              "(MLFLOW_SQLALCHEMYSTORE_POOL_SIZE and MLFLOW_SQLALCHEMYSTORE_MAX_OVERFLOW)."),
        Fault("database-permission-denied", "database",
              "The server's user may not make tables in its database, or not write to those that another user made. Since PostgreSQL 15, "
              "GRANT ALL ON DATABASE gives no right to the schema public.",
              "In that database: ALTER DATABASE name OWNER TO user, or GRANT ALL ON SCHEMA public TO user; for tables of another user, "
              "GRANT ALL ON ALL TABLES IN SCHEMA public TO user."),
        Fault("database-missing", "database", "The database server answers and has no database of this name.",
              "Create it, or correct the name in the backend store's URI."),
        Fault("database-schema-old", "schema", "The database's schema is older than the release of MLflow needs.",
              "Back up, stop every server on it, and upgrade the schema (mlflow_server_backend_store_upgrade: true, or mlflow db upgrade)."),
        Fault("database-schema-new", "schema", "The database's schema was made by a newer release of MLflow than this one.",
              "Install that release again (mlflow_server_version), or restore a backup from before."),
        Fault("database-failed", "database", "The database answers with an error.", "See what it says; the server's log has the whole of it."),
        Fault("clock-skew", "clock", "Clocks differ by more than five minutes, so S3 refuses the server's signed requests, and links expire at once.",
              "Set the clocks by NTP (timedatectl, chrony) on all hosts."),
        Fault("s3-untrusted-certificate", "artifact store",
              "The S3 endpoint speaks TLS with a certificate that the server does not trust, or that is for another name or has expired.",
              "Give the server the certificate's authority (AWS_CA_BUNDLE, mlflow_server_tls_authority), and name the endpoint as the certificate does."),
        Fault("s3-wrong-scheme", "artifact store", "The S3 endpoint's scheme is wrong: one side speaks TLS and the other does not.",
              "Change http:// to https://, or the other way round, in MLFLOW_S3_ENDPOINT_URL."),
        Fault("s3-down", "artifact store", "The S3 endpoint does not answer where the server runs.", "Start it, or correct MLFLOW_S3_ENDPOINT_URL."),
        Fault("s3-wrong-key", "artifact store", "The artifact store does not know the server's key, or its secret is another one.",
              "Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY to an account that it knows, and restart the server."),
        Fault("s3-bucket-missing", "artifact store", "The bucket is not there.", "Create it, or correct the artifact destination."),
        Fault("s3-read-only", "artifact store", "The account may read the bucket and may not write to it.",
              "Give its policy s3:PutObject and s3:AbortMultipartUpload on the bucket."),
        Fault("s3-denied", "artifact store", "The account may not list the bucket, or the prefix in it that the artifact destination names.",
              "Give its policy s3:ListBucket, s3:GetObject and s3:PutObject on the bucket; if it is for a prefix alone, "
              "add the prefix to the artifact destination (mlflow_server_artifacts_destination: s3://BUCKET/PREFIX)."),
        Fault("s3-failed", "artifact store", "The artifact store answers with an error.", "See what it says; the server's log has the whole of it."),
        Fault("server-not-running", "process", "The tracking server does not run, or ends again and again.",
              "See what its log says, and start it."),
        Fault("server-starting", "process", "The server runs, and has not opened its port yet: it still starts, or waits for something.",
              "Ask again in a minute; if it stays so, see its log."),
        Fault("proxy-upstream", "proxy", "The proxy in front of the server does not reach it: the server itself answers.",
              "Correct the address to which the proxy passes requests on: that on which the server listens."),
        Fault("proxy-host-header", "proxy", "The proxy in front of the server does not pass the Host header on, and the server refuses the name that it gets.",
              "Pass it on with its port (nginx: proxy_set_header Host $http_host), and add the names to --allowed-hosts (mlflow_server_names)."),
        Fault("proxy-path", "proxy", "The proxy in front of the server changes the path, or passes on no path but another: the server itself answers.",
              "Pass the path on as it is, with the server's --static-prefix before it if there is one (nginx: proxy_pass without a path)."),
        Fault("proxy-body-limit", "proxy", "The proxy in front of the server limits the size of a request, so larger artifacts end in 413.",
              "Lift the limit (nginx: client_max_body_size 0)."),
        Fault("host-header-refused", "Host header", "The server refuses a name that people use with 403, while /health, which is exempt, says 200.",
              "Add the name with and without the port to --allowed-hosts (mlflow_server_names)."),
        Fault("login-refused", "login", "The server refuses the name and password that are configured for its administrator.",
              "Run site.yml, which gives the administrator the configured password again (mlflow_server_admin_password)."),
        Fault("static-prefix", "static prefix", "The server answers below another path than the expected one.",
              "Make --static-prefix, the proxy's path and the URL that clients use agree (mlflow_server_static_prefix)."),
        Fault("name-does-not-resolve", "name resolution", "The client cannot resolve the server's name.",
              "Add the name to DNS or to the client's /etc/hosts, or use a name that resolves."),
        Fault("firewall-drop", "firewall", "The server answers on its own host, and packets from the client are dropped or rejected on the way.",
              "Open the port in the firewall of the server's host, or of the network between."),
        Fault("s3-unreachable-for-clients", "artifact store", "The server sends clients to its S3 endpoint by links, and the client cannot reach it.",
              "Choose an endpoint that server and clients both reach, or mlflow_server_artifact_mode: proxied."),
        Fault("artifact-root-not-served", "artifact store",
              "The server sends clients to its artifact store itself (--default-artifact-root), at an endpoint that the client does not reach, "
              "and each client would need keys of its own.",
              f"Name the store by --artifacts-destination, and {WITHOUT_ROOT}"),
        Fault("artifact-root-on-clients", "artifact store",
              "The server tells clients to write artifacts to a folder (--default-artifact-root, or --no-serve-artifacts), and each takes it for one of "
              "its own disk.",
              f"Name the folder by --artifacts-destination, and {WITHOUT_ROOT}"),
        Fault("api-fails", "API", "The server has its port, and its API does not answer as it should, for a reason that no other layer shows.",
              "See the server's log. If it was started a moment ago, ask again."),
        Fault("client-cannot-connect", "network", "The server answers on its own host, and the client cannot connect.",
              "Look at what is between the two: routes, proxies, published addresses."),
    )
}
