#!/bin/bash
# Makes the cluster on an empty volume, then becomes PostgreSQL.
set -euo pipefail
if [ "${1:-}" = postgres ] && [ ! -s "$PGDATA/PG_VERSION" ]; then
    read -ra arguments <<<"${POSTGRES_INITDB_ARGS:-}"
    initdb --username "${POSTGRES_USER:-postgres}" --pwfile "${POSTGRES_PASSWORD_FILE:?}" "${arguments[@]}"
    echo "host all all all scram-sha-256" >>"$PGDATA/pg_hba.conf"
fi
exec "$@"
