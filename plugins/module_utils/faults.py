# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every fault that the probes and the diagnosis can name: its layer, its cause and its fix, in one place.

A name in braces is replaced by an observed value. Other modules decide which fault applies: C(judge_sockets), C(judge_answers),
C(round_trip), C(data_loss) and C(openid) for the probes, and C(diagnosis.judge), which also uses the first two.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from ansible_collections.atlas.mlflow.plugins.module_utils.uris import ENCODED

#: The options that make a server proxy artifacts.
WITHOUT_ROOT = "remove --default-artifact-root and --no-serve-artifacts. Experiments that exist keep their old place."

#: How a socket of another process receives the server's connections.
SHARES = "both share the port (SO_REUSEPORT), and the kernel distributes connections to both"
IS_IPV6 = "a client that resolves a name to IPv6 first, as is common for localhost, reaches that process"
IS_SPECIFIC = "the more specific address takes the traffic to it"


@dataclass(frozen=True)
class Fault:
    """A fault: its layer, and one or two sentences each for the cause and for the fix."""

    id: str
    layer: str
    cause: str
    fix: str

    def noting(self, note: str) -> Fault:
        """Return the fault with one more sentence in the fix."""
        return replace(self, fix=f"{self.fix} {note}")


#: The end of a fix, for an S3 of others that is older than the checksums of its clients.
CHECKSUMS = (
    "If it names a checksum or a header x-amz-..., the S3 does not know the checksums that clients send: set AWS_REQUEST_CHECKSUM_CALCULATION and "
    "AWS_RESPONSE_CHECKSUM_VALIDATION to when_required for the server (mlflow_server_environment)."
)
#: The layers, from the process outwards.
FAULTS: dict[str, Fault] = {
    fault.id: fault
    for fault in (
        # The process of the server
        Fault(
            "server-not-found",
            "process",
            "No tracking server was found on this host: it was not installed, or has another name.",
            "Look on the host where it runs. If it has another name, set mlflow_server_container_name, or name its unit to the module (unit).",
        ),
        Fault("server-not-running", "process", "The tracking server does not run, or ends again and again.", "See what {log} says, and start it."),
        Fault(
            "server-starting",
            "process",
            "The server runs, and has not opened its port yet: it is still starting, or waits for a store.",
            "Ask again in a minute. If it stays so, see {log}.",
        ),
        Fault(
            "arguments-cut",
            "process",
            "The configured command has --host or --port, and the process was started without them: a newline or a quote cut the shell string.",
            "Pass the command as a list of arguments (exec form) and not as a shell string.",
        ),
        Fault(
            "arguments-refused",
            "process",
            "MLflow refuses the arguments that it is started with, and ends.",
            "Correct them as the line says (mlflow_server_extra_args).",
        ),
        Fault(
            "packages-do-not-fit",
            "process",
            "The server's Python packages do not fit together: one lacks what another one asks of it.",
            "Install the release of MLflow again with packages of its time (a lock file, or uv pip install --exclude-newer DATE), or a newer release.",
        ),
        Fault(
            "program-missing",
            "process",
            "The program that starts the server is not where its command says.",
            "Correct the path in the unit or the container's command, or install MLflow there.",
        ),
        Fault(
            "file-denied",
            "process",
            "The server may not read or write a file or folder that it needs.",
            "Make it its user's own (chown), mount it into the container, or open it in the unit (ReadWritePaths=).",
        ),
        Fault(
            "out-of-memory",
            "memory",
            "The memory that the server may use ran out, and the kernel killed the server or a worker of it.",
            "Raise the limit (MemoryMax= of the unit, --memory of the container, mlflow_server_container_memory), run fewer workers, "
            "or give the host more memory.",
        ),
        Fault(
            "disk-full",
            "disk",
            "A disk that the server or a store writes to is full, so nothing can be logged.",
            "Free space there, or give the folder a larger disk. Nothing was removed.",
        ),
        Fault(
            "stale-container",
            "configuration",
            "The container was started before its configuration was changed, and a restart keeps the old command line.",
            "Create it again (docker rm and run, docker compose up --force-recreate, or the playbook).",
        ),
        Fault(
            "stale-service",
            "configuration",
            "The service was started before its unit or its settings were changed.",
            "systemctl daemon-reload, then systemctl restart, or run the playbook.",
        ),
        # The sockets of the server
        Fault("sockets-unreadable", "sockets", "The module does not run as root, and root alone may look into the processes of others.", "Set become."),
        Fault(
            "port-taken",
            "sockets",
            "Another process has the port, so the server cannot open it.",
            "Stop that process, or give the server another port (mlflow_server_port).",
        ),
        Fault(
            "address-refused",
            "sockets",
            "The system does not let the server open its address: it is not one of the host's, or its port is below 1024 and the user is not root.",
            "Give --host an address of the host, or --port a number from 1024 on (mlflow_server_host, mlflow_server_port).",
        ),
        Fault(
            "ignored-environment",
            "environment",
            "The address was set in a variable that MLflow does not read, so it listens on its default 127.0.0.1:5000.",
            "Remove the variable, and pass --host and --port, or set MLFLOW_HOST and MLFLOW_PORT.",
        ),
        Fault(
            "default-port",
            "sockets",
            "The server was started without --host and --port, so it listens on MLflow's default 127.0.0.1:5000.",
            "Pass --host 0.0.0.0 and --port, or set MLFLOW_HOST and MLFLOW_PORT. "
            "If the command has them, its arguments did not arrive: a newline cut its shell string. "
            "MLflow ignores GUNICORN_CMD_ARGS and PORT.",
        ),
        Fault(
            "bound-to-loopback",
            "sockets",
            "The server listens on a loopback address, so only its own host, or its own container, reaches it.",
            "Pass --host 0.0.0.0 (mlflow_server_host), and restart the server.",
        ),
        Fault(
            "wrong-socket",
            "sockets",
            "The server listens on another address or port than the expected one, because of --host, --port, MLFLOW_HOST or MLFLOW_PORT, or of "
            "their values when it was started.",
            "Make --host and --port agree with what clients use (mlflow_server_host, mlflow_server_port), and restart the server.",
        ),
        Fault(
            "bind-in-gunicorn-opts",
            "sockets",
            "A --bind in the options for gunicorn or uvicorn opens a second socket beside the right one.",
            "Remove it from --gunicorn-opts or --uvicorn-opts. --host and --port say all.",
        ),
        Fault(
            "extra-socket",
            "sockets",
            "The server has a socket beside the right one: a process that the service started serves something of its own, or a second server runs in it.",
            "Take that process out of the unit (ExecStartPost=, drop-ins) or out of the container's command.",
        ),
        Fault(
            "shadowing-listener",
            "sockets",
            "Another process takes connections to the server's port: {how}.",
            "Stop that process, or give one of the two another port.",
        ),
        Fault(
            "port-not-published",
            "published port",
            "The container's port is not published at the expected address, so nothing outside its network reaches it.",
            "Publish it: -p {place}:PORT, where PORT is the one that the server listens on in the container.",
        ),
        # The backend store
        Fault(
            "wrong-network",
            "network",
            "The container is not on the Docker network on which its store's container has a name.",
            "Put both on one network (docker network connect, or networks: in the compose file).",
        ),
        Fault(
            "database-driver-missing",
            "database",
            "The server's Python has no driver for its database.",
            "Install it (psycopg2-binary for postgresql+psycopg2://), or use an image that has it, and name the driver in the URI.",
        ),
        Fault(
            "database-password-not-encoded",
            "database",
            "The password in the backend store's URI is not percent-encoded, so a part of it is read as host, port or path, or the URI is refused.",
            f"In the URI, {ENCODED}. Then restart the server.",
        ),
        Fault(
            "database-name-unresolved",
            "database",
            "The database's host name does not resolve where the server runs.",
            "If it is the name of a container, start the container, which has no name while it does not run (with Docker docker start atlas-postgres, "
            "with Podman systemctl start atlas-postgres). Otherwise, correct the name in the backend store's URI, or the name service.",
        ),
        Fault(
            "database-down",
            "database",
            "The database does not answer.",
            "Start it (PostgreSQL of this collection: systemctl start postgresql, in a cluster systemctl start patroni, with Docker "
            "docker start atlas-postgres, with Podman systemctl start atlas-postgres), or correct host and port in the backend store's URI.",
        ),
        Fault(
            "database-wrong-password",
            "database",
            "The database refuses the server's user or password.",
            "Set the password that the database knows in the backend store's URI, and restart the server. For PostgreSQL of this collection, site.yml sets "
            "both.",
        ),
        Fault(
            "database-access-refused",
            "database",
            "The database server's access rules have no entry for this user, database and address.",
            "Correct user and database in the backend store's URI, or add an entry to pg_hba.conf (postgres_clients).",
        ),
        Fault(
            "database-connections-exhausted",
            "database",
            "The database has no connection left for the server: each worker of each server opens a pool to each of its stores.",
            "Raise max_connections (postgres_settings) or the user's limit, or run fewer workers (mlflow_server_workers), or set smaller pools "
            "(MLFLOW_SQLALCHEMYSTORE_POOL_SIZE and MLFLOW_SQLALCHEMYSTORE_MAX_OVERFLOW).",
        ),
        Fault(
            "database-permission-denied",
            "database",
            "The server's user may not make tables in its database, or not write to those that another user made. Since PostgreSQL 15, "
            "GRANT ALL ON DATABASE gives no right to the schema public.",
            "In that database: ALTER DATABASE name OWNER TO user, or GRANT ALL ON SCHEMA public TO user; for tables of another user, "
            "GRANT ALL ON ALL TABLES IN SCHEMA public TO user.",
        ),
        Fault(
            "database-missing",
            "database",
            "The database server answers and has no database of this name.",
            "Create it, or correct the name in the backend store's URI.",
        ),
        Fault(
            "database-schema-old",
            "schema",
            "The database's schema is older than the release of MLflow needs.",
            "Back up, stop every server on it, and upgrade the schema (mlflow_server_backend_store_upgrade: true for one run, or mlflow db upgrade).",
        ),
        Fault(
            "database-schema-new",
            "schema",
            "The database's schema was made by a newer release of MLflow than this one.",
            "Install that release again (mlflow_server_version), or restore a backup from before.",
        ),
        Fault("database-failed", "database", "The database answers with an error.", "See what it says. The server's log has the whole of it."),
        Fault(
            "backend-store-fails",
            "database",
            "The server runs (its /health says 200, and never asks a store), but its backend store does not answer.",
            "See that the database is up, reachable and migrated.",
        ),
        Fault(
            "values-changed",
            "database",
            "The backend store does not return what was written.",
            "Look for a database with another encoding than UTF-8, a replica of it that lags behind, and replicas of the server with different databases.",
        ),
        Fault(
            "data-gone",
            "database",
            "The server uses another database than then, or its data are gone.",
            "Compare the stores in its settings with those of then, restore a backup, "
            "or set mlflow_server_allow_store_change to true for one run if the present "
            "database is the right one.",
        ),
        Fault(
            "webhooks-not-decrypted",
            "database",
            "MLflow answers 500 to the question for its webhooks. Most likely one of them has a secret that was encrypted by a key which "
            "this server does not have, as after a restore without the keys from then.",
            "The log of the service names the webhook. Add that key to mlflow_server_former_webhook_keys, "
            "or remove the webhook from the database as the log says.",
        ),
        # The artifact store
        Fault(
            "clock-skew",
            "clock",
            "Clocks differ by more than five minutes, so S3 refuses the server's signed requests, and links expire at once.",
            "Set the clocks by NTP (timedatectl, chrony) on all hosts.",
        ),
        Fault(
            "s3-untrusted-certificate",
            "artifact store",
            "The S3 endpoint speaks TLS with a certificate that the server does not trust, or that is for another name or has expired.",
            "Give the server the certificate's authority (AWS_CA_BUNDLE; of this collection atlas_mlflow_tls_authority for your own certificates in the group "
            "minio, and atlas_mlflow_ca_certificate for any other endpoint), and name the endpoint as the certificate does.",
        ),
        Fault(
            "s3-wrong-scheme",
            "artifact store",
            "The S3 endpoint's scheme is wrong: one side speaks TLS and the other does not.",
            "Change http:// to https://, or the other way round, in MLFLOW_S3_ENDPOINT_URL.",
        ),
        Fault(
            "s3-down",
            "artifact store",
            "The S3 endpoint does not answer where the server runs.",
            "Start it (MinIO of this collection: systemctl start minio, with Docker docker start atlas-minio, with Podman systemctl start atlas-minio), or "
            "correct MLFLOW_S3_ENDPOINT_URL.",
        ),
        Fault(
            "s3-wrong-key",
            "artifact store",
            "The artifact store does not know the server's key, or its secret is another one.",
            "Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY to an account that it knows (mlflow_server_s3_access_key_id and "
            "mlflow_server_s3_secret_access_key), and restart the server. For MinIO of this collection, site.yml sets both.",
        ),
        Fault("s3-bucket-missing", "artifact store", "The bucket is not there.", "Create it, or correct the artifact destination."),
        Fault(
            "s3-read-only",
            "artifact store",
            "The account may read the bucket and may not write to it.",
            "Give its policy s3:PutObject and s3:AbortMultipartUpload on the bucket.",
        ),
        Fault(
            "s3-denied",
            "artifact store",
            "The account may not list the bucket, or the prefix in it that the artifact destination names.",
            "Give its policy s3:ListBucket, s3:GetObject and s3:PutObject on the bucket. If it is for a prefix alone, "
            "add the prefix to the artifact destination (mlflow_server_artifacts_destination: s3://BUCKET/PREFIX).",
        ),
        Fault(
            "s3-failed",
            "artifact store",
            "The artifact store answers with an error.",
            f"See its answer, which the server's log has as a whole. {CHECKSUMS}",
        ),
        Fault(
            "artifact-store-fails",
            "artifact store",
            "The server can't use its artifact store: the S3 endpoint is down or not reachable from the server, its keys or bucket "
            "are wrong, or the disk is full or not writable.",
            f"See the server's log, and correct MLFLOW_S3_ENDPOINT_URL, the keys, the bucket or the disk. {CHECKSUMS}",
        ),
        Fault(
            "artifact-store-silent",
            "artifact store",
            "The server waits for its artifact store.",
            "See that the S3 endpoint (MLFLOW_S3_ENDPOINT_URL) is up and reachable from the server.",
        ),
        Fault(
            "artifact-changed",
            "artifact store",
            "An artifact does not come back as it was sent: something between client and artifact store cuts, caches or changes it, "
            "or replicas of the server have different artifact stores.",
            "Remove what does so (a proxy's cache or its limit), and give all replicas one artifact destination.",
        ),
        Fault(
            "artifacts-not-served",
            "artifact store",
            "The server runs with --no-serve-artifacts, so clients would need the artifact store's own address and keys.",
            "Start it without that option.",
        ),
        Fault(
            "artifact-root-not-served",
            "artifact store",
            "The server sends clients to its artifact store itself (--default-artifact-root), so each client needs a way to it, and keys of its own.",
            f"Name the store by --artifacts-destination, and {WITHOUT_ROOT}",
        ),
        Fault(
            "artifact-root-on-clients",
            "artifact store",
            "The server tells clients to write artifacts to a folder (--default-artifact-root, or --no-serve-artifacts), and each takes it for one of "
            "its own disk.",
            f"Name the folder by --artifacts-destination, and {WITHOUT_ROOT}",
        ),
        Fault(
            "links-advertised",
            "artifact store",
            "MLflow advertises links by itself for an S3 destination, and clients then fetch artifacts from the S3 endpoint as the server knows it.",
            "Answer server-info without multipart_downloads_enabled (mlflow_server_artifact_mode: proxied), "
            "or make the endpoint one that clients reach, and choose the mode direct.",
        ),
        Fault(
            "links-not-advertised",
            "artifact store",
            "The release is too old for links to the S3 endpoint, the artifact destination is no S3 bucket, or something in front of the "
            "server answers server-info.",
            "Choose the artifact mode proxied, or name an S3 bucket as the artifact destination of a newer release.",
        ),
        Fault(
            "s3-unreachable-for-clients",
            "artifact store",
            "The server sends clients to {endpoint}, its own name for its S3 endpoint (MLFLOW_S3_ENDPOINT_URL), and the client cannot reach it: {why}",
            "Choose an endpoint that server and clients both reach, or mlflow_server_artifact_mode: proxied.",
        ),
        Fault(
            "link-signature-changed",
            "artifact store",
            "A proxy in front of the S3 endpoint changes the Host header or the path, which are signed.",
            "Pass both on as they are (nginx: proxy_set_header Host $http_host, and proxy_pass without a path).",
        ),
        Fault(
            "link-denied",
            "artifact store",
            "The link to the S3 endpoint has expired already because clocks differ, or the server's key may not read objects.",
            "Set the clocks by NTP on all hosts, or give the key's policy s3:GetObject on the bucket.",
        ),
        Fault(
            "link-elsewhere",
            "artifact store",
            "What answers at the S3 endpoint is not the artifact store that the server uses.",
            "Make the endpoint's name mean the same for server and clients (MLFLOW_S3_ENDPOINT_URL).",
        ),
        # A proxy in front of the server
        Fault(
            "proxy-upstream",
            "proxy",
            "A proxy answers in front of the server, and does not reach a working server.",
            "Correct the address to which the proxy passes requests on: that on which the server listens. If it is right, see the server's log.",
        ),
        Fault(
            "proxy-host-header",
            "proxy",
            "The proxy in front of the server does not pass the Host header on, and the server refuses the name that it gets.",
            "Pass it on with its port (nginx: proxy_set_header Host $http_host), and add the names to --allowed-hosts (mlflow_server_names).",
        ),
        Fault(
            "proxy-path",
            "proxy",
            "The proxy in front of the server changes the path, or passes on no path but another: the server itself answers.",
            "Pass the path on as it is, with the server's --static-prefix before it if there is one (nginx: proxy_pass without a path).",
        ),
        Fault(
            "proxy-body-limit",
            "proxy",
            "The proxy in front of the server limits the size of a request, so larger artifacts end in 413.",
            "Lift the limit (nginx: client_max_body_size 0).",
        ),
        Fault("redirected", "proxy", "A proxy sends clients on to {target}.", "Give the URL at which the server really answers."),
        # Names and logins
        Fault(
            "host-header-refused",
            "Host header",
            "The server answers 403 to {hosts}, which is not among its allowed hosts: a name counts there with its port. /health is exempt, and says 200.",
            "Add {names} to mlflow_server_allowed_hosts (--allowed-hosts), or the name to mlflow_server_names.",
        ),
        Fault(
            "host-check-missing",
            "Host header",
            "Release {version} has no check of the Host header. Releases from 3.5 on have it.",
            "Upgrade, or set foreign_host_refused to false.",
        ),
        Fault(
            "host-check-open",
            "Host header",
            "The server answers to any name: mlflow_server_allowed_hosts holds a wildcard that matches any, the check is switched off, or a proxy "
            "rewrites the Host header.",
            "Name the server's own names alone there, and let the proxy pass the Host header on.",
        ),
        Fault(
            "login-refused",
            "login",
            "The server refuses the login of {user}: its password is another, or there is no such user.",
            "Run site.yml, which gives the administrator the configured password again (mlflow_server_admin_password), or set the password of that user.",
        ),
        Fault("login-missing", "login", "The server asks for a login.", "Set username and password to those of a user."),
        Fault(
            "login-not-asked-for",
            "login",
            "The server runs without --app-name, or something in front of it logs in for its clients: everybody who reaches it may use it.",
            "Run site.yml, which starts it with --app-name, and let nothing in front of it add a login.",
        ),
        Fault("default-login", "login", "The administrator has the password that old releases of MLflow came with, and everybody knows.", "Change it."),
        Fault(
            "request-refused",
            "login",
            "A proxy in front of the server refuses the request, or the user may not do this.",
            "Let the proxy pass it on, or give the user the permission.",
        ),
        Fault(
            "static-prefix",
            "static prefix",
            "The server answers below another path than the expected one.",
            "Make --static-prefix, the proxy's path and the URL that clients use agree (mlflow_server_static_prefix).",
        ),
        Fault(
            "path-unknown",
            "static prefix",
            "The URL lacks the server's static prefix, or another program answers on this port.",
            "Correct the URL's path (mlflow_server_static_prefix) or its port.",
        ),
        # The answers of the server
        Fault(
            "api-fails",
            "API",
            "The server has its port, and does not answer as it should, for a reason that no other layer shows.",
            "See the server's log. If it was started a moment ago, ask again.",
        ),
        Fault(
            "not-mlflow",
            "API",
            "Another program answers in the server's place, or a proxy changes the answer.",
            "Stop that program, or give one of the two another port, and let the proxy pass answers on as they are.",
        ),
        Fault("page-missing", "page", "This MLflow was built without its page.", "Install a released package, not a checkout."),
        Fault(
            "probes-collide",
            "API",
            "Probes of two machines use the experiment {experiment} at once, or somebody else changed it.",
            "Give each its own prober name.",
        ),
        # The connection to the server
        Fault(
            "name-does-not-resolve",
            "name resolution",
            "The client cannot resolve the name: neither its DNS nor its /etc/hosts has it.",
            "Add the name to one of them, or use a name that resolves.",
        ),
        Fault(
            "connection-refused",
            "network",
            "Nothing listens there: the server is down, still starting, or bound to another address or port.",
            "Start it, wait, or correct the address.",
        ),
        Fault(
            "address-unreachable",
            "network",
            "The client has no route to the address, or a firewall rejects the connection.",
            "Correct the address or the routes, or open the port in the firewall.",
        ),
        Fault(
            "connection-timeout",
            "network",
            "A firewall drops the packets, or the address belongs to no machine.",
            "Open the port in the firewall of the server's host, or correct the address.",
        ),
        Fault(
            "answer-late",
            "network",
            "Something accepts the connection but does not answer in time: the server is still starting, all its workers are busy, or it waits for a store.",
            "Wait, run more workers (mlflow_server_workers), or see that its stores answer.",
        ),
        Fault(
            "connection-dropped",
            "network",
            "Something accepts the connection and drops it: a published port behind which nothing listens, as when the server in a container is "
            "bound to 127.0.0.1 or to another port, or a proxy that refuses this name.",
            "Bind the server in the container to 0.0.0.0 and to the port that is published, or let the proxy know the name.",
        ),
        Fault(
            "tls-fails",
            "network",
            "The certificate is not trusted or not for this name, or the port speaks plain HTTP.",
            "Name the certificate's authority (ca_path) and the server as the certificate does, or ask by http://.",
        ),
        Fault(
            "not-http",
            "network",
            "What answers there is no HTTP server: another program has the port, or it wants TLS.",
            "Correct the port, or ask by https://.",
        ),
        Fault("connection-broken", "network", "The connection broke for the reason given.", "Ask again. If it stays so, look at what is between the two."),
        Fault(
            "firewall-drop",
            "firewall",
            "The server answers on its own host, and packets from the client are dropped or rejected on the way.",
            "Open the port in the firewall of the server's host, or of the network between.",
        ),
        Fault(
            "client-cannot-connect",
            "network",
            "The server answers on its own host, and the client cannot connect.",
            "Look at what is between the two: routes, proxies, published addresses.",
        ),
        # What several hosts share: a cluster of PostgreSQL, a pool of MinIO, the address of the proxies
        Fault(
            "host-unreachable",
            "hosts",
            "A host of the stack does not answer Ansible: the host is down, or its network, its SSH or its Python is.",
            "Start the host, or repair its network. If the other hosts still reach it, correct ansible_host, or what the message says.",
        ),
        Fault(
            "etcd-without-quorum",
            "etcd",
            "Too few members of etcd run or reach each other for a majority. Patroni cannot agree on a primary: nobody replaces a lost one, and a primary that "
            "does not reach all other members gives up its role.",
            "Start etcd on more members (systemctl start etcd), and see journalctl -u etcd there. If they run, repair the network between them "
            "(etcd_client_port, etcd_peer_port).",
        ),
        Fault(
            "etcd-member-missing",
            "etcd",
            "A member of etcd does not run or does not reach the others. A majority still agrees, and the loss of more members may end that.",
            "Start it (systemctl start etcd), or see {log} on its host. etcd keeps its state in /var/lib/etcd: do not remove it.",
        ),
        Fault(
            "cluster-without-primary",
            "cluster",
            "No member of the cluster is the primary, so the database accepts no writes, and the tracking servers cannot log in.",
            "Wait half a minute, in which Patroni makes a replica the primary. If it does not, start patroni on all members, so that the one with the last "
            "writes is among them, and see journalctl -u patroni and patronictl list there. If the former primary was lost some seconds after it became the "
            "primary, no replica takes over by itself: start that host. Only if it is lost for good, let patronictl failover make the replica with the highest "
            "Receive LSN in patronictl list the primary. It lacks writes, and the data of the lost host must not join it: patronictl reinit.",
        ),
        Fault(
            "cluster-two-primaries",
            "cluster",
            "Two members accept writes (split brain): one of them lost its role, and its PostgreSQL runs on without Patroni, or was started by hand. Writes go "
            "to either of them, and those of one will be lost.",
            "Stop PostgreSQL at once on the member that patronictl list does not name as the leader, and keep its data folder until you have compared the "
            "writes. Then start patroni there, which makes it a replica and rewinds it.",
        ),
        Fault(
            "cluster-member-missing",
            "cluster",
            "A member of the cluster does not run, so fewer members are left to replace the primary, and perhaps no replica acknowledges writes.",
            "Start it (systemctl start patroni), or see {log} on its host.",
        ),
        Fault(
            "replica-not-streaming",
            "cluster",
            "A replica runs, and does not receive what the primary writes: it cannot log in to the primary or does not reach it, or it needs files that the "
            "primary no longer has.",
            "See PostgreSQL's log on its host. If it needs removed files, copy the data again: patronictl reinit atlas-mlflow NAME.",
        ),
        Fault(
            "replica-lags",
            "cluster",
            "A replica is so far behind the primary that Patroni does not make it the primary if that one is lost.",
            "See whether its disk or its network is slower than those of the others, or a long query or pg_wal_replay_pause() holds it up.",
        ),
        Fault(
            "pool-without-write-quorum",
            "pool",
            "Too many drives or hosts of the pool of MinIO are missing: no artifact can be written. Data that are on the drives are kept.",
            "Start MinIO on the missing hosts and mount their drives (see the other findings), and see journalctl -u minio there.",
        ),
        Fault(
            "pool-host-missing",
            "pool",
            "MinIO of a host of the pool does not run, or does not reach enough others. The pool survives only as many losses as site.yml prints.",
            "Start it (systemctl start minio), or see {log} on its host. When it is back, MinIO heals what it has missed.",
        ),
        Fault(
            "pool-drive-missing",
            "pool",
            "A drive of the pool is not there, so its part of each object is missing.",
            "Mount the drive, and restart MinIO on its host. Replace a broken drive by an empty one at the same folder: MinIO heals it.",
        ),
        Fault(
            "keepalived-not-running",
            "virtual address",
            "A proxy runs without keepalived, so it does not take the shared address when another proxy is lost.",
            "Start it (systemctl start keepalived), or see {log} on its host.",
        ),
        Fault(
            "virtual-address-missing",
            "virtual address",
            "No proxy has the shared address (haproxy_virtual_address), so nobody reaches the tracking servers by it.",
            "See that HAProxy and keepalived run on a proxy (systemctl status haproxy keepalived), and journalctl -u keepalived. A host without "
            "free processor time lets keepalived's checks time out (VRRP_Script timed_out). In a cloud, the network may not let a host take another address.",
        ),
        Fault(
            "virtual-address-twice",
            "virtual address",
            "Several proxies have the shared address: they do not hear each other's announcements (VRRP, IP protocol 112), or keepalived was killed and left "
            "the address behind. Each client reaches whichever proxy its network saw last.",
            "Let the proxies' firewalls and networks pass VRRP between them. Where keepalived does not run, start it: it removes the address if another proxy "
            "has it.",
        ),
        Fault(
            "proxy-without-primary",
            "cluster",
            "A proxy passes connections to PostgreSQL (mlflow_server_postgres_route: haproxy), and no member tells it that it is the primary. If another proxy "
            "finds it, the shared address moves there after 40 seconds. Until then, or if there is none, tracking servers have no database.",
            "See why HAProxy finds each member down (journalctl -u haproxy on the proxy): it asks Patroni's API at postgres_patroni_port with TLS. Open this "
            "port to the proxies, and run site.yml, which renews certificates and settings.",
        ),
        Fault(
            "pgbouncer-not-running",
            "PgBouncer",
            "PgBouncer does not run on a host of PostgreSQL, and tracking servers reach PostgreSQL through it (postgres_pgbouncer). If the host is the only "
            "one, or has the primary of a cluster, they have no database.",
            "See {log} on its host. Start it (systemctl start atlas-mlflow-pgbouncer), or run site.yml, which writes its settings again.",
        ),
        # The OpenID provider of the server
        Fault(
            "provider-untrusted",
            "OpenID",
            "This host does not trust the provider's certificate.",
            "Set atlas_mlflow_ca_certificate to the authority that signed it.",
        ),
        Fault(
            "provider-not-there",
            "OpenID",
            "mlflow_server_oidc_discovery_url is not the provider's.",
            "Correct it: it ends with /.well-known/openid-configuration.",
        ),
        Fault(
            "provider-without-challenge",
            "OpenID",
            "The provider cannot bind a code to a login.",
            "Set OIDC_CODE_CHALLENGE to none in mlflow_server_environment.",
        ),
        Fault("provider-refuses-flow", "OpenID", "The provider does not let this client log people in.", "Allow it the authorization code flow there."),
        Fault(
            "provider-refuses-scope",
            "OpenID",
            "The provider does not know a scope for which the server asks: {scopes}.",
            "Set mlflow_server_oidc_scopes to those that it knows, such as [openid, profile, email], and let it add people's groups to the claim in "
            "mlflow_server_oidc_groups_claim. In Keycloak, make a client scope groups with a mapper for the membership in groups, and add it to the client.",
        ),
        Fault(
            "provider-refuses-client",
            "OpenID",
            "mlflow_server_oidc_client_id or mlflow_server_oidc_client_secret is not what the provider has.",
            "Set both to what the provider has.",
        ),
        Fault("provider-broken", "OpenID", "This is no token endpoint of a provider, or the provider is broken.", "See its log, or correct the discovery URL."),
        Fault("provider-unknown-to-server", "OpenID", "The server runs with other settings, or does not reach its provider.", "See its log, and restart it."),
        Fault(
            "client-not-registered",
            "OpenID",
            "The provider does not know the client {client}, or not {redirect} as a place to send people back to.",
            "Enter it there.",
        ),
    )
}


def fault(identity: str, **seen: str) -> Fault:
    """Return a fault of the catalogue, with the observed values filled in.

    :raises KeyError: If there is no such fault, or a value for its text is missing.
    """
    plain = FAULTS[identity]
    return replace(plain, cause=plain.cause.format(**seen), fix=plain.fix.format(**seen))
