"""The local cloud in a process of its own, full of jobs that wait, and a gRPC door in front of it."""

from __future__ import annotations

import http.client
import json
import os
import secrets
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import psutil
from processes import Process, free_port, own_python, stop, wait_for

from airflow_batch_gemini.batch.job_body import job_body, job_labels

BENCHMARKS = Path(__file__).resolve().parents[1]
PROJECT, LOCATION, BUCKET = "demo", "us-central1", "bench"
JOBS = f"/v1/projects/{PROJECT}/locations/{LOCATION}/batchPredictionJobs"
PATIENCE = 180.0
"""Seconds after which what was waited for is taken as it is."""
IDLE = 2.0
"""Seconds after which a connection is opened anew: the server closes idle ones."""


def paths() -> dict[str, str]:
    """Return where Python finds the package and the probes."""
    return {"PYTHONPATH": os.pathsep.join([str(BENCHMARKS.parent), str(BENCHMARKS)])}


class Cloud:
    """Calls to the local cloud, one at a time over one connection."""

    def __init__(self, port: int) -> None:
        self.port = port
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
        self._last = time.monotonic()

    def call(self, method: str, path: str, body: Any = None) -> Any:
        """Send JSON, return JSON."""
        data = None if body is None else json.dumps(body)
        if time.monotonic() - self._last > IDLE:
            self._connection.close()
        self._last = time.monotonic()
        self._connection.request(method, path, data, {"Content-Type": "application/json"})
        answer = self._connection.getresponse()
        text = answer.read()
        if answer.status != 200:
            raise RuntimeError(f"{method} {path}: {answer.status} {text[:300]!r}")
        return json.loads(text) if text else None

    def fill(self, jobs: dict[str, float], wanted: int) -> None:
        """Create jobs of one row each until there are as many as *wanted*; note when each was created."""
        while len(jobs) < wanted:
            batch_id = secrets.token_hex(16)
            labels = job_labels(
                batch_id=batch_id,
                part=0,
                epoch=1,
                nonce=secrets.token_hex(8),
                fingerprint=secrets.token_hex(16),
            )
            body = job_body(
                display_name=f"bench-{len(jobs)}",
                model="gemini-3.5-flash",
                source_uri=f"gs://{BUCKET}/in.jsonl",
                destination_uri=f"gs://{BUCKET}/out/{batch_id}",
                labels=labels,
            )
            job = self.call("POST", JOBS, body)
            jobs[job["name"]] = epoch(job["createTime"])

    def ended(self) -> dict[str, float]:
        """Return job → epoch seconds of its end, of all that have ended."""
        found, token = {}, ""
        while True:
            page = self.call("GET", f"{JOBS}?pageSize=1000&pageToken={token}")
            for job in page["batchPredictionJobs"]:
                if "endTime" in job:
                    found[job["name"]] = epoch(job["endTime"])
            if not (token := page.get("nextPageToken", "")):
                return found

    def calls(self) -> tuple[int, int]:
        """Return how many listings and gets there have been."""
        calls = self.call("GET", "/admin/stats")["calls"]
        path = "/v1/projects/{project}/locations/{location}/batchPredictionJobs"
        return calls.get(f"GET {path}", 0), calls.get(f"GET {path}/{{job}}", 0)


def epoch(stamp: str) -> float:
    """Return epoch seconds."""
    return datetime.fromisoformat(stamp).timestamp()


@contextmanager
def local_cloud(home: Path) -> Iterator[tuple[Cloud, psutil.Process, dict[str, str]]]:
    """Run a local cloud whose jobs never end by themselves; one that is cancelled succeeds, at once."""
    python, env = own_python()
    port, exports = free_port(), home / "cloud.env"
    options = [
        *("--port", str(port), "--data-dir", str(home / "cloud"), "--env", str(exports), "--bucket", BUCKET),
        *("--project", PROJECT, "--location", LOCATION, "--pace", "seconds:0", "--answers", "echo"),
        *("--knob", "stuck_pending=true", "--knob", "cancel_outcome=SUCCEEDED"),
    ]
    process = Process.start(
        "local cloud",
        [python, "-m", "airflow_batch_gemini.local", *options],
        env=env | paths(),
        log=home / "cloud.log",
    )
    try:
        wait_for(exports.exists, timeout=PATIENCE, alive=[process])
        cloud = Cloud(port)
        wait_for(lambda: answers(cloud), timeout=PATIENCE, alive=[process])
        row = {"key": "k_0", "request": {"contents": [{"role": "user", "parts": [{"text": "hi"}]}]}}
        cloud.call("POST", f"/upload/storage/v1/b/{BUCKET}/o?uploadType=media&name=in.jsonl", row)
        exported = dict(part.split("=", 1) for part in shlex.split(exports.read_text(), comments=True))
        yield cloud, psutil.Process(process.pid), exported
    finally:
        stop([process])


def answers(cloud: Cloud) -> bool:
    """Say whether the local cloud is up."""
    try:
        return bool(cloud.call("GET", "/admin/knobs"))
    except OSError:
        return False


@contextmanager
def grpc_door(home: Path, cloud: Cloud) -> Iterator[str]:
    """Run the gRPC door in front of the local cloud; yield its address."""
    command = [sys.executable, "-m", "waiting.door", f"http://127.0.0.1:{cloud.port}"]
    with (
        (home / "door.log").open("wb") as log,
        subprocess.Popen(
            command, env=os.environ | paths(), stdout=subprocess.PIPE, stderr=log, text=True
        ) as door,
    ):
        try:
            if door.stdout is None or not (port := door.stdout.readline().strip()):
                raise RuntimeError(f"The gRPC door did not open: {(home / 'door.log').read_text()[-2000:]}")
            yield f"127.0.0.1:{port}"
        finally:
            door.terminate()
