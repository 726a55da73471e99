"""The local cloud as a process of its own, and what the judge asks it."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Self
from urllib.parse import quote

from warm import ROOT

BUCKET = DATASET = "kills"
START_SECONDS = 60.0
STOP_SECONDS = 10.0
_ENDS = {"JOB_STATE_SUCCEEDED", "JOB_STATE_FAILED", "JOB_STATE_CANCELLED", "JOB_STATE_EXPIRED", "DELETED"}


class Cloud:
    """``with Cloud(folder) as cloud``: everything is below *folder*."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True)

    def __enter__(self) -> Self:
        exports, log = self.folder / "cloud.env", self.folder / "cloud.log"
        options = ["--port", "0", "--data-dir", str(self.folder / "data"), "--env", str(exports)]
        options += ["--bucket", BUCKET, "--dataset", DATASET, "--answers", "echo", "--pace", "immediate"]
        with log.open("wb") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "airflow_batch_gemini.local", *options],
                cwd=ROOT,
                stdout=output,
                stderr=output,
            )
        try:
            deadline = time.monotonic() + START_SECONDS
            while not self._answers(exports):
                if self._process.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError(f"The local cloud did not start:\n{log.read_text()}")
                time.sleep(0.05)
        except BaseException:
            self.__exit__()
            raise
        # Signing a token takes longer than a whole attempt does, and the local cloud asks nobody for one.
        connection = {
            "conn_type": "google_cloud_platform",
            "extra": {"is_anonymous": True, "project": "demo"},
        }
        os.environ["AIRFLOW_CONN_GOOGLE_CLOUD_DEFAULT"] = json.dumps(connection)
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _answers(self, exports: Path) -> bool:
        if not exports.exists():
            return False
        for word in shlex.split(exports.read_text(), comments=True):
            name, _, value = word.partition("=")
            os.environ[name] = value
        self.url = os.environ["STORAGE_EMULATOR_HOST"]
        with suppress(OSError):
            self._first_knobs = self._call("GET", "/admin/knobs")
            return True
        return False

    def turn(self, knobs: Mapping[str, object]) -> None:
        """Turn these knobs, and all others back."""
        self._call("PUT", "/admin/knobs", {**self._first_knobs, **knobs})

    def put_rows(self, uri: str, rows: Mapping[str, str]) -> None:
        """Write rows as JSONL."""
        bucket, _, name = uri.removeprefix("gs://").partition("/")
        lines = "".join(json.dumps({"key": key, "text": text}) + "\n" for key, text in rows.items())
        path = f"/upload/storage/v1/b/{bucket}/o?uploadType=media&name={quote(name, safe='')}"
        self._call("POST", path, lines.encode())

    def read(self, uri: str) -> Any:
        """Return a JSON object."""
        bucket, _, name = uri.removeprefix("gs://").partition("/")
        return self._call("GET", f"/storage/v1/b/{bucket}/o/{quote(name, safe='')}?alt=media")

    def names(self, uri: str) -> list[str]:
        """Return the objects whose names start as *uri* does."""
        bucket, _, prefix = uri.removeprefix("gs://").partition("/")
        path = f"/storage/v1/b/{bucket}/o?prefix={quote(prefix, safe='')}&fields=items(name)"
        return [item["name"] for item in self._call("GET", path).get("items", [])]

    def tables(self) -> list[str]:
        """Return all tables."""
        path = f"/bigquery/v2/projects/demo/datasets/{DATASET}/tables?maxResults=100000"
        return [table["tableReference"]["tableId"] for table in self._call("GET", path).get("tables", [])]

    def drop_view(self, name: str) -> None:
        """Delete a view, if it is there."""
        table = name.rpartition(".")[2]
        try:
            self._call("DELETE", f"/bigquery/v2/projects/demo/datasets/{DATASET}/tables/{table}")
        except urllib.error.HTTPError as error:
            if error.code != 404:
                raise

    def rows(self, sql: str) -> Iterator[dict[str, Any]]:
        """Run a query."""
        asked = {"query": sql, "useLegacySql": False, "location": "us-central1", "maxResults": 1_000_000}
        answer = self._call("POST", "/bigquery/v2/projects/demo/queries", {**asked, "timeoutMs": 60000})
        names = [column["name"] for column in answer["schema"]["fields"]]
        for row in answer.get("rows", []):
            yield dict(zip(names, (cell["v"] for cell in row["f"]), strict=True))

    def job_state(self, name: str) -> str:
        """Return the state of a Vertex AI job."""
        while True:
            try:
                return str(self._call("GET", f"/v1/{name}")["state"])
            except urllib.error.HTTPError as error:
                if error.code not in {429, 503}:
                    raise

    def jobs(self) -> dict[str, list[dict[str, Any]]]:
        """Return run → its jobs as the local cloud's own books have them: ``name``, ``state``, ``billed_rows``."""
        found = defaultdict(list)
        for name, job in self._call("GET", "/admin/stats")["jobs"].items():
            found[job["display_name"].rpartition(" ")[2]].append({"name": name, **job})
        return found

    def jobs_at_rest(self) -> dict[str, list[dict[str, Any]]]:
        """Return what :meth:`jobs` does once no job goes on: the post of a zombie may have come just now."""
        deadline = time.monotonic() + STOP_SECONDS
        while True:
            found = self.jobs()
            moving = [job for jobs in found.values() for job in jobs if job["state"] not in _ENDS]
            if not moving:
                return found
            if time.monotonic() > deadline:
                raise TimeoutError(f"jobs still go on: {moving}")
            time.sleep(0.05)

    def _call(self, method: str, path: str, body: object = None) -> Any:
        data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        headers = {"Content-Type": "application/json"}
        request = urllib.request.Request(self.url + path, data, headers, method=method)
        with urllib.request.urlopen(request, timeout=120) as answer:
            return json.loads(answer.read() or b"null")
