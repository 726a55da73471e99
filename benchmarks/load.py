"""What loading costs the worker: memory over idle, bytes received and seconds, for ever more rows of 1 to 5 kB.

The local cloud runs in a process of its own, and each load in another; the predictions never pass through the latter.
Beside it a third process reads the same predictions with pandas, as Google's notebooks do: it has the answers in its
memory then, and no table yet.

    python benchmarks/load.py [ROWS ...]
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import tempfile
import time
import urllib.request
import uuid
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from beside import count_received, peak, read_with_pandas

from airflow_batch_gemini.batch.layout import Workspace
from airflow_batch_gemini.batch.ledger import Ledger
from airflow_batch_gemini.batch.manifest import Identity, Manifest, Part
from airflow_batch_gemini.batch.names import GcsUri

if TYPE_CHECKING:
    from airflow_batch_gemini.local.server import LocalCloud

ROWS = (2_000, 20_000, 200_000)
BUCKET, DATASET, MODEL = "bench-bucket", "bench", "gemini-3.5-flash"
WORDS = ["the", "quick", "brown", "fox", "jumps", "over", "a", "dog", "žluťoučký", "kůň", "pěl", "ďábelské"]
MEGA = 1_000_000


# ------------------------------------------------------------------------------------ the process of the local cloud


def serve(data_dir: str) -> None:
    """Start a local cloud; for every number of rows on stdin lay out an answered batch, and say so on stdout."""
    from airflow_batch_gemini.local.server import LocalCloud
    from airflow_batch_gemini.local.settings import Settings

    settings = Settings(
        data_dir=Path(data_dir), bucket=BUCKET, dataset=DATASET, pace="immediate", project="demo"
    )
    with LocalCloud(settings) as cloud:
        print(json.dumps(cloud.environment()), flush=True)
        for asked in sys.stdin:
            print(json.dumps(lay_out(cloud, int(asked))), flush=True)


def lay_out(cloud: LocalCloud, rows: int) -> dict[str, Any]:
    """Make a batch of *rows* requests whose one job has ended, with an answer of 1 to 5 kB each."""
    identity = Identity(dag_id="bench", run_id=f"rows-{rows}", task_id="prepare")
    places = Workspace(identity.workspace(GcsUri.parse(f"gs://{BUCKET}/gemini")))
    storage, chance = cloud.parts.storage, random.Random(rows)
    requests = places.requests(0)
    request = {"contents": [{"role": "user", "parts": [{"text": " ".join(chance.choices(WORDS, k=60))}]}]}
    with storage.writer(requests.bucket, requests.name) as file:
        for row in range(rows):
            file.write(json.dumps({"key": f"k_{row:07d}", "request": request}).encode() + b"\n")
    stored = storage.stat(requests.bucket, requests.name)
    job_name, folder = tiny_job(cloud, places)
    predictions = GcsUri.parse(folder) / "predictions.jsonl"
    with storage.writer(predictions.bucket, predictions.name) as file:
        for row in chance.sample(range(rows), rows):
            file.write(answer(f"k_{row:07d}", request, chance))
    manifest = Manifest(
        identity=identity,
        workspace=str(places.folder),
        project_id="demo",
        location="us-central1",
        model=f"publishers/google/models/{MODEL}",
        requests="gcs",
        predictions="gcs",
        predictions_dataset=None,
        parts=(Part(index=0, uri=str(requests), rows=rows, size=stored.size, checksum=stored.crc32c),),
        template_fingerprint="bench",
        response_schema={"type": "OBJECT"},
        created_at="2026-01-01T00:00:00+00:00",
    )
    ledger = Ledger(
        state="SUBMITTED",
        epoch=1,
        since=1,
        nonce="bench",
        owner="bench",
        fingerprint=manifest.fingerprint(0),
        input_uri=str(requests),
        destination_uri=str(places.predictions(0)),
        job_name=job_name,
    )
    for uri, data in ((places.manifest, manifest.to_json()), (places.ledger(0), ledger.to_json())):
        with storage.writer(uri.bucket, uri.name) as file:
            file.write(data)
    size = storage.stat(predictions.bucket, predictions.name).size
    return {"batch": manifest.ref.to_dict(), "size": size, "folder": folder}


def tiny_job(cloud: LocalCloud, places: Workspace) -> tuple[str, str]:
    """Run a job of one row, whose output is then replaced; return its name and output folder."""
    one = places.folder / "one.jsonl"
    with cloud.parts.storage.writer(one.bucket, one.name) as file:
        line = {"key": "k_0", "request": {"contents": [{"role": "user", "parts": [{"text": "hi"}]}]}}
        file.write(json.dumps(line).encode() + b"\n")
    body = {
        "displayName": "bench",
        "model": f"publishers/google/models/{MODEL}",
        "inputConfig": {"instancesFormat": "jsonl", "gcsSource": {"uris": [str(one)]}},
        "outputConfig": {
            "predictionsFormat": "jsonl",
            "gcsDestination": {"outputUriPrefix": str(places.predictions(0))},
        },
    }
    base = f"{cloud.url}/v1"
    job = call(f"{base}/projects/demo/locations/us-central1/batchPredictionJobs", body)
    while job["state"] not in {"JOB_STATE_SUCCEEDED", "JOB_STATE_FAILED"}:
        cloud.settle()
        job = call(f"{base}/{job['name']}")
    return job["name"], job["outputInfo"]["gcsOutputDirectory"]


def call(url: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
    """GET *url*, or POST *body* to it."""
    data = None if body is None else json.dumps(body).encode()
    with urllib.request.urlopen(
        urllib.request.Request(url, data, {"Content-Type": "application/json"})
    ) as got:
        found: dict[str, Any] = json.load(got)
    return found


def answer(key: str, request: dict[str, Any], chance: random.Random) -> bytes:
    """Return one output line."""
    text = json.dumps(
        {"summary": " ".join(chance.choices(WORDS, k=chance.randint(150, 800)))}, ensure_ascii=False
    )
    response = {
        "candidates": [{"content": {"role": "model", "parts": [{"text": text}]}, "finishReason": "STOP"}],
        "usageMetadata": {"promptTokenCount": 90, "candidatesTokenCount": 400, "totalTokenCount": 490},
        "modelVersion": MODEL,
    }
    line = {"status": "", "processed_time": "2026-09-01T10:00:00.123+00:00", "request": request}
    return json.dumps({**line, "response": response, "key": key}, ensure_ascii=False).encode() + b"\n"


# --------------------------------------------------------------------------------------------- the process of the load


def load(batch: str) -> None:
    """Load one batch and print what it took."""
    from airflow_batch_gemini.operators.load import GeminiBatchLoadOperator

    received = count_received()
    operator = GeminiBatchLoadOperator(
        task_id="load", batch=json.loads(batch), results_table=f"demo.{DATASET}.results", poll_interval=1
    )
    idle = peak()
    began = time.monotonic()
    context: Any = {"ti": SimpleNamespace(id=uuid.uuid4()), "ds": "2026-09-01", "outlet_events": {}}
    report = operator.execute(context)
    took = time.monotonic() - began
    found = {
        "seconds": took,
        "over_idle": peak() - idle,
        "received": received[0],
        "outcomes": report["outcomes"],
    }
    print(json.dumps(found))


# ---------------------------------------------------------------------------------------------------- the table


def main(sizes: list[int]) -> None:
    """Print one line a size."""
    with tempfile.TemporaryDirectory(prefix="load-bench-") as folder:
        command = [sys.executable, __file__, "--serve", f"{folder}/cloud"]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as cloud:
            if cloud.stdin is None or cloud.stdout is None:
                raise RuntimeError("the local cloud has no pipes")
            environment = {**os.environ, **json.loads(cloud.stdout.readline()), "AIRFLOW_HOME": folder}
            print(
                f"{'rows':>9} {'predictions':>12} {'by':>7} {'seconds':>8} {'memory over idle':>17} {'received':>12}"
            )
            for rows in sizes:
                print(rows, file=cloud.stdin, flush=True)
                laid = json.loads(cloud.stdout.readline())
                found = child(environment, "--load", json.dumps(laid["batch"]))
                if found["outcomes"]["succeeded"] != rows:
                    raise RuntimeError(f"{rows} rows were to succeed: {found['outcomes']}")
                report(rows, laid["size"], "load", found)
                beside = child(environment, "--pandas", laid["folder"])
                if beside["rows"] not in (rows, None):
                    raise RuntimeError(f"pandas was to read {rows} rows, not {beside['rows']}")
                report(rows, laid["size"], "pandas", beside)
            cloud.stdin.close()


def report(rows: int, size: int, by: str, found: dict[str, Any]) -> None:
    """Print one line; more than the machine has is said to be more."""
    more = "" if found.get("rows", rows) is not None else "  and then had no memory left"
    print(
        f"{rows:>9,} {size / MEGA:>9.0f} MB {by:>7} {found['seconds']:>8.1f} "
        f"{found['over_idle'] / MEGA:>14,.0f} MB {found['received'] / MEGA:>9,.1f} MB{more}",
        flush=True,
    )


def child(environment: dict[str, str], *arguments: str) -> dict[str, Any]:
    """Run this file again and return what its last line says."""
    command = [sys.executable, __file__, *arguments]
    done = subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE, text=True)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["--serve", data_dir]:
            serve(data_dir)
        case ["--load", batch]:
            load(batch)
        case ["--pandas", folder]:
            print(json.dumps(read_with_pandas(folder)))
        case sizes:
            main([int(size.replace("_", "")) for size in sizes] or list(ROWS))
