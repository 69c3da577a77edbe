"""Give the artifact store's account a policy that reads and does not write, or take it back: policy.py SETTINGS ENDPOINT read|write."""

import sys
from pathlib import Path

from minio.credentials import StaticProvider
from minio.minioadmin import MinioAdmin

settings, endpoint, what = sys.argv[1:]
given = dict(line.split("=", 1) for line in Path(settings).read_text().splitlines() if "=" in line)
root = StaticProvider(given["MINIO_ROOT_USER"].strip('"'), given["MINIO_ROOT_PASSWORD"].strip('"'))
reads, writes = ["s3:GetObject"], ["s3:GetObject", "s3:PutObject", "s3:DeleteObject", "s3:AbortMultipartUpload", "s3:ListMultipartUploadParts"]
policy = {
    "Version": "2012-10-17",
    "Statement": [
        {"Effect": "Allow", "Action": ["s3:GetBucketLocation", "s3:ListBucket", "s3:ListBucketMultipartUploads"], "Resource": ["arn:aws:s3:::mlflow"]},
        {"Effect": "Allow", "Action": reads if what == "read" else writes, "Resource": ["arn:aws:s3:::mlflow/*"]},
    ],
}
MinioAdmin(endpoint=endpoint, credentials=root, secure=False).update_service_account(access_key="mlflow", policy=policy)
