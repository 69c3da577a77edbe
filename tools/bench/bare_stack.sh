#!/bin/sh
# What the playbook is compared with: the same three services on a bare Debian host, without checks, certificates, confinement and verification.
# Runs on a throw-away host as root. /root has minio, requirements.txt and uv.txt. A second call changes nothing that counts.
set -eu
export DEBIAN_FRONTEND=noninteractive

apt-get update -qq
apt-get install -qq -y --no-install-recommends postgresql python3-venv >/dev/null
id mlflow >/dev/null 2>&1 || useradd --system --create-home --home-dir /var/lib/mlflow mlflow
[ -x /opt/uv/bin/uv ] || { python3 -m venv /opt/uv && /opt/uv/bin/pip install -q --require-hashes -r /root/uv.txt; }
index=$(/opt/uv/bin/pip config get global.index-url 2>/dev/null || true)
[ -x /opt/mlflow/bin/python ] || python3 -m venv /opt/mlflow
[ -z "$index" ] || export UV_DEFAULT_INDEX="$index"
UV_SYSTEM_CERTS=1 /opt/uv/bin/uv pip sync -q --compile-bytecode --require-hashes --python /opt/mlflow/bin/python /root/requirements.txt
install -m 0755 /root/minio /usr/local/bin/minio

systemctl enable -q --now postgresql
runuser -u postgres -- psql -qtc "SELECT 1 FROM pg_roles WHERE rolname = 'mlflow'" | grep -q 1 ||
  runuser -u postgres -- psql -qc "CREATE ROLE mlflow LOGIN PASSWORD 'a-throw-away-host'" -c "CREATE DATABASE mlflow OWNER mlflow"

mkdir -p /var/lib/minio/mlflow
cat >/etc/systemd/system/minio.service <<UNIT
[Service]
Environment=MINIO_ROOT_USER=mlflow MINIO_ROOT_PASSWORD=a-throw-away-host
ExecStart=/usr/local/bin/minio server --address 127.0.0.1:9000 /var/lib/minio
Restart=always
[Install]
WantedBy=multi-user.target
UNIT
cat >/etc/systemd/system/mlflow.service <<UNIT
[Unit]
After=postgresql.service minio.service
[Service]
User=mlflow
Environment=AWS_ACCESS_KEY_ID=mlflow AWS_SECRET_ACCESS_KEY=a-throw-away-host MLFLOW_S3_ENDPOINT_URL=http://127.0.0.1:9000 MLFLOW_DISABLE_TELEMETRY=true UVICORN_TIMEOUT_WORKER_HEALTHCHECK=60
ExecStart=/opt/mlflow/bin/mlflow server --host 0.0.0.0 --port 5001 --backend-store-uri postgresql://mlflow:a-throw-away-host@127.0.0.1/mlflow --artifacts-destination s3://mlflow
Restart=always
[Install]
WantedBy=multi-user.target
UNIT
systemctl daemon-reload
systemctl enable -q --now minio mlflow

for _ in $(seq 600); do
  python3 -c "import urllib.request; urllib.request.urlopen('http://127.0.0.1:5001/health')" 2>/dev/null && exit 0
  sleep 0.2
done
echo "MLflow does not answer" >&2
exit 1
