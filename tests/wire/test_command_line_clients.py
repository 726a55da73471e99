"""Google's command-line clients and curl against the local cloud: the bodies and loops of Google's own pages."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from cloud_side import SAMPLE_REQUEST

from airflow_batch_gemini.local.server import LocalCloud

SAMPLE = {
    "request": {
        **SAMPLE_REQUEST,
        "generationConfig": {"temperature": 0.9, "topP": 1, "maxOutputTokens": 256},
    }
}
TESTER = {"request": {"contents": [{"role": "tester", "parts": [{"text": "hello"}]}]}}
REFUSAL = (
    'Bad Request: {"error": {"code": 400, "message": "Please use a valid role: user, model.", '
    '"status": "INVALID_ARGUMENT"}}'
)


def needs(program: str) -> pytest.MarkDecorator:
    """Skip where Google's command-line client is not installed: it is on no package index."""
    return pytest.mark.skipif(shutil.which(program) is None, reason=f"{program} is not on this machine")


def run(*command: str, stdin: str | None = None, **environment: str) -> str:
    """Run a command and return what it prints; its errors are shown when it fails."""
    done = subprocess.run(
        command,
        input=stdin,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env={**os.environ, **environment},
    )
    assert done.returncode == 0, done.stderr + done.stdout
    return done.stdout


def curl(method: str, url: str, body: Any = None) -> Any:
    """Send JSON as Google's pages do, and return the JSON that comes back."""
    options = ["-sS", "--fail-with-body", "-X", method, "-H", "Authorization: Bearer local"]
    if body is not None:
        options += ["-H", "Content-Type: application/json; charset=utf-8", "-d", "@-"]
    return json.loads(run("curl", *options, url, stdin=None if body is None else json.dumps(body)))


def gcloud_storage(cloud: LocalCloud, home: Path, *arguments: str) -> str:
    """Run ``gcloud storage`` against the local cloud."""
    return run(
        "gcloud",
        "storage",
        *arguments,
        CLOUDSDK_CONFIG=str(home),
        CLOUDSDK_API_ENDPOINT_OVERRIDES_STORAGE=f"{cloud.url}/storage/v1/",
        CLOUDSDK_AUTH_DISABLE_CREDENTIALS="true",
        CLOUDSDK_CORE_PROJECT="demo",
        CLOUDSDK_CORE_DISABLE_PROMPTS="1",
    )


def bq(cloud: LocalCloud, home: Path, *arguments: str) -> str:
    """Run ``bq`` against the local cloud."""
    return run(
        "bq",
        "--oauth_access_token=local",
        f"--api={cloud.url}",
        "--project_id=demo",
        "--location=us-central1",
        "--format=json",
        *arguments,
        CLOUDSDK_CONFIG=str(home),
        HOME=str(home),
    )


@needs("curl")
def test_googles_page_on_cloud_storage_input_works_with_curl(cloud: LocalCloud, bucket: str) -> None:
    """The sample line, `uris` as one bare string, and the polling loop; a bad role fails alone."""
    cloud.knobs(pace="looks:1")
    lines = "".join(json.dumps(line) + "\n" for line in [SAMPLE, TESTER])
    upload = f"{cloud.url}/upload/storage/v1/b/{bucket}/o?uploadType=media&name=in.jsonl"
    run("curl", "-sS", "--fail-with-body", "-X", "POST", "--data-binary", "@-", upload, stdin=lines)
    body = {
        "displayName": "my-cloud-storage-batch-inference-job",
        "model": "publishers/google/models/gemini-2.5-flash",
        "inputConfig": {
            "instancesFormat": "jsonl",
            "gcsSource": {"uris": f"gs://{bucket}/in.jsonl"},
        },
        "outputConfig": {
            "predictionsFormat": "jsonl",
            "gcsDestination": {"outputUriPrefix": f"gs://{bucket}/out"},
        },
    }
    jobs = f"{cloud.url}/v1/projects/demo/locations/us-central1/batchPredictionJobs"
    job = curl("POST", jobs, body)
    assert job["state"] == "JOB_STATE_PENDING"
    for _ in range(1000):
        job = curl("GET", f"{cloud.url}/v1/{job['name']}")
        if job["state"] not in {"JOB_STATE_PENDING", "JOB_STATE_RUNNING"}:
            break
    assert job["state"] == "JOB_STATE_SUCCEEDED"
    assert job["completionStats"] == {"successfulCount": "1", "failedCount": "1"}
    folder = job["outputInfo"]["gcsOutputDirectory"].removeprefix(f"gs://{bucket}/")
    name = f"{folder}/predictions.jsonl".replace("/", "%2F").replace(":", "%3A")
    output = run("curl", "-sS", "--fail-with-body", f"{cloud.url}/storage/v1/b/{bucket}/o/{name}?alt=media")
    answers = {line["status"]: line["response"] for line in map(json.loads, output.splitlines())}
    assert answers[REFUSAL] == {}
    assert answers[""]["candidates"][0]["finishReason"] == "STOP"


@needs("gcloud")
def test_gcloud_storage_copies_lists_and_removes(cloud: LocalCloud, bucket: str, tmp_path: Path) -> None:
    """What goes up comes down, byte for byte."""
    sent, received = tmp_path / "sent.jsonl", tmp_path / "received.jsonl"
    sent.write_bytes(json.dumps(SAMPLE).encode() + b"\n==0==\n")
    uri = f"gs://{bucket}/folder/in.jsonl"
    gcloud_storage(cloud, tmp_path, "cp", str(sent), uri)
    assert uri in gcloud_storage(cloud, tmp_path, "ls", "-r", f"gs://{bucket}")
    gcloud_storage(cloud, tmp_path, "cp", uri, str(received))
    assert received.read_bytes() == sent.read_bytes()
    assert "==0==" in gcloud_storage(cloud, tmp_path, "cat", uri)
    gcloud_storage(cloud, tmp_path, "rm", uri)
    assert uri not in gcloud_storage(cloud, tmp_path, "ls", "-r", f"gs://{bucket}")


@needs("bq")
@needs("curl")
def test_googles_page_on_bigquery_input_works_with_bq_and_curl(
    cloud: LocalCloud, dataset: str, tmp_path: Path
) -> None:
    """A table of requests in, a table of responses out, read with bq."""
    name = dataset.removeprefix("demo.")
    rows = tmp_path / "rows.jsonl"
    rows.write_text("".join(json.dumps(line) + "\n" for line in [SAMPLE, TESTER]))
    load = ["--source_format=NEWLINE_DELIMITED_JSON", f"{name}.in", str(rows), "request:JSON"]
    bq(cloud, tmp_path, "load", *load)
    counted = bq(
        cloud, tmp_path, "query", "--use_legacy_sql=false", f"SELECT COUNT(*) AS n FROM `{dataset}.in`"
    )
    assert json.loads(counted) == [{"n": "2"}]
    body = {
        "displayName": "my-bigquery-batch-inference-job",
        "model": "publishers/google/models/gemini-2.5-flash",
        "inputConfig": {
            "instancesFormat": "bigquery",
            "bigquerySource": {"inputUri": f"bq://{dataset}.in"},
        },
        "outputConfig": {
            "predictionsFormat": "bigquery",
            "bigqueryDestination": {"outputUri": f"bq://{dataset}.out"},
        },
    }
    job = curl("POST", f"{cloud.url}/v1/projects/demo/locations/us-central1/batchPredictionJobs", body)
    for _ in range(1000):
        if job["state"] in {"JOB_STATE_SUCCEEDED", "JOB_STATE_FAILED"}:
            break
        job = curl("GET", f"{cloud.url}/v1/{job['name']}")
    assert job["state"] == "JOB_STATE_SUCCEEDED", job
    listed = {table["tableReference"]["tableId"] for table in json.loads(bq(cloud, tmp_path, "ls", name))}
    assert listed == {"in", "out"}
    shown = bq(cloud, tmp_path, "query", "--use_legacy_sql=false", f"SELECT status FROM `{dataset}.out`")
    assert sorted(row["status"] for row in json.loads(shown)) == ["", REFUSAL]
