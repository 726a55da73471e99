"""What the tests of the load share: a batch on the local cloud and the jobs that answered it."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from airflow_batch_gemini.batch.job import Counts, Job
from airflow_batch_gemini.batch.layout import BatchTables, Workspace
from airflow_batch_gemini.batch.ledger import Ledger
from airflow_batch_gemini.batch.manifest import Identity, Manifest, Medium, Part
from airflow_batch_gemini.batch.names import DatasetName, GcsUri, TableName
from airflow_batch_gemini.hooks.gemini_batch import GeminiBatchHook
from airflow_batch_gemini.hooks.warehouse import WarehouseHook
from airflow_batch_gemini.operators.load import GeminiBatchLoadOperator

if TYPE_CHECKING:
    from airflow_batch_gemini.local.server import LocalCloud

TIME = "2026-09-01T10:00:00.123+00:00"
JOB = "projects/demo/locations/us-central1/batchPredictionJobs/{}"
SCHEMA = {"type": "OBJECT", "properties": {"n": {"type": "INTEGER"}}}


def good(text: str, prompt: int = 100) -> dict[str, Any]:
    return {
        "candidates": [{"content": {"role": "model", "parts": [{"text": text}]}, "finishReason": "STOP"}],
        "usageMetadata": {
            "promptTokenCount": prompt,
            "candidatesTokenCount": 10,
            "totalTokenCount": prompt + 10,
        },
        "modelVersion": "gemini-3.5-flash-001",
    }


def request_of(key: str) -> dict[str, Any]:
    return {"contents": [{"role": "user", "parts": [{"text": f"prompt {key}"}]}]}


def answer(
    key: str, response: Any, status: str = "", time: str = TIME, *, of: str | None = None
) -> dict[str, Any]:
    """A line of *key*, with the request of row *of*, as the service writes it."""
    parts = [{"fileData": None, "text": f"prompt {of or key}"}]
    return {
        "status": status,
        "processed_time": time,
        "request": {"contents": [{"parts": parts, "role": "user"}], "labels": None},
        "response": response,
        "key": f"k_{key}",
    }


@contextmanager
def killed_before(purpose: str) -> Iterator[None]:
    """Let the worker die before it asks BigQuery for the job of that *purpose*."""
    ensure = WarehouseHook.ensure_job

    def killed(self: WarehouseHook, **kwargs: Any) -> Any:
        if kwargs["purpose"] == purpose:
            raise KeyboardInterrupt
        return ensure(self, **kwargs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(WarehouseHook, "ensure_job", killed)
        with pytest.raises(KeyboardInterrupt):
            yield


@dataclass
class World:
    """A workspace on the local cloud with a batch in it, and the jobs that answered it."""

    cloud: LocalCloud
    bucket: str
    dataset: str
    keys: list[list[str]]
    schema: dict[str, Any] | None = None
    requests: Medium = "gcs"
    predictions: Medium = "gcs"
    sent: dict[str, Any] = field(default_factory=dict)
    jobs: dict[str, Job] = field(default_factory=dict)
    attempts: int = 0
    run: str = "run"

    def __post_init__(self) -> None:
        self.identity = Identity(dag_id="shop", run_id=f"{self.run}-{self.bucket}", task_id="prepare")
        self.folder = self.identity.workspace(GcsUri.parse(f"gs://{self.bucket}/gemini"))
        self.places = Workspace(self.folder)
        self.tables = BatchTables(DatasetName.parse(self.dataset), self.identity.batch_id)
        self.prepare()

    def prepare(self) -> None:
        parts = []
        for index, keys in enumerate(self.keys):
            lines = [{"key": f"k_{key}", "request": self.sent.get(key, request_of(key))} for key in keys]
            uri = str(self.places.requests(index))
            checksum = self.put(self.places.requests(index), lines)
            if self.requests == "bigquery":
                table = self.tables.requests(index)
                self.table(table, [("key", "STRING"), ("request", "JSON")], lines)
                uri = f"bq://{table}"
            parts.append(Part(index=index, uri=uri, rows=len(keys), size=1, checksum=checksum))
        self.manifest = Manifest(
            identity=self.identity,
            workspace=str(self.folder),
            project_id="demo",
            location="us-central1",
            model="publishers/google/models/gemini-3.5-flash",
            requests=self.requests,
            predictions=self.predictions,
            predictions_dataset=self.dataset if self.predictions == "bigquery" else None,
            parts=tuple(parts),
            template_fingerprint="f",
            response_schema=self.schema,
            created_at="2026-09-01T00:00:00+00:00",
        )
        self.put_bytes(self.places.manifest, self.manifest.to_json())

    def prepared_from(self, template: str) -> Manifest:
        """Prepare the same requests anew from another template."""
        manifest = replace(self.manifest, template_fingerprint=template)
        self.put_bytes(self.places.manifest, manifest.to_json())
        return manifest

    @property
    def attempt(self) -> uuid.UUID:
        """Id of the newest attempt."""
        return uuid.UUID(int=self.attempts)

    def put(self, uri: GcsUri, lines: Sequence[dict[str, Any] | bytes]) -> str:
        raw = (line if isinstance(line, bytes) else json.dumps(line).encode() for line in lines)
        return self.put_bytes(uri, b"".join(line + b"\n" for line in raw))

    def put_bytes(self, uri: GcsUri, data: bytes) -> str:
        storage = self.cloud.parts.storage
        with storage.writer(uri.bucket, uri.name) as file:
            file.write(data)
        return str(storage.stat(uri.bucket, uri.name).crc32c)

    def table(self, table: TableName, columns: Any, rows: Sequence[dict[str, Any]]) -> None:
        from airflow_batch_gemini.local.bigquery import Column

        typed = [Column(name=name, type=kind, mode="NULLABLE") for name, kind in columns]
        flat = [{k: json.dumps(v) if isinstance(v, dict) else v for k, v in row.items()} for row in rows]
        self.cloud.parts.warehouse.write_table(table.project, table.dataset, table.table, typed, flat)

    def answered(
        self,
        part: int,
        lines: Sequence[dict[str, Any] | bytes] | None,
        *,
        state: str = "JOB_STATE_SUCCEEDED",
        epoch: int = 1,
        shards: int = 1,
        counts: Counts | None = None,
    ) -> Job:
        """Let a job answer *part* with *lines*; ``None``: without any output. Bytes are written as they are."""
        folder = self.places.predictions(part) / f"prediction-model-2026-09-01T10:00:0{epoch}.123456Z"
        output = ""
        if lines is not None and self.predictions == "bigquery":
            table = self.tables.predictions(part, epoch)
            kinds = {"key": "STRING", "status": "STRING", "processed_time": "TIMESTAMP"}
            columns = [
                (n, kinds.get(n, "JSON")) for n in ("key", "status", "processed_time", "request", "response")
            ]
            self.table(table, columns, [line for line in lines if isinstance(line, dict)])
            output = f"bq://{table}"
        elif lines is not None:
            output = str(folder)
            for shard in range(shards):
                name = f"predictions.jsonl-{shard:05d}-of-{shards:05d}" if shards > 1 else "predictions.jsonl"
                self.put(folder / name, lines[shard::shards])
            self.put(folder / "incremental_predictions.jsonl", lines[:1] * 3)
        name = JOB.format(part * 100 + epoch)
        job = Job(
            name=name,
            state=state,
            output_uri=output,
            counts=counts or Counts(),
            create_time=1000.0,
            end_time=2000.0,
        )
        self.jobs[name] = job
        self.submitted(part, name, epoch=epoch)
        return job

    def bought(self, part: int = 0) -> Job:
        """Let the local Vertex AI answer *part*, with whatever troubles its knobs say."""
        vertex, output = GeminiBatchHook(), str(self.places.predictions(part))
        if self.predictions == "bigquery":
            output = f"bq://{self.tables.predictions(part, 1)}"
        try:
            name = vertex.create(
                project_id="demo",
                location="us-central1",
                display_name="job",
                model=self.manifest.model,
                source_uri=self.manifest.parts[part].uri,
                destination_uri=output,
                labels={},
            ).name
            self.cloud.settle()
            self.submitted(part, name)
            return vertex.get(name)
        finally:
            vertex.close()

    def submitted(self, part: int, job_name: str, *, epoch: int = 1) -> None:
        """Say in the ledger which job stands for *part*."""
        ledger = Ledger(
            state="SUBMITTED",
            epoch=epoch,
            since=1,
            nonce="n",
            owner="o",
            fingerprint=self.manifest.fingerprint(part),
            input_uri="gs://demo-bucket/x",
            destination_uri=str(self.places.predictions(part)),
            job_name=job_name,
        )
        self.put_bytes(self.places.ledger(part), ledger.to_json())

    def ledger(self, part: int) -> Ledger:
        uri = self.places.ledger(part)
        with self.cloud.parts.storage.open(uri.bucket, uri.name) as file:
            return Ledger.from_json(file.read())

    def report(self) -> dict[str, Any]:
        uri = self.places.report
        with self.cloud.parts.storage.open(uri.bucket, uri.name) as file:
            return json.loads(file.read())

    def operator(self, **kwargs: Any) -> GeminiBatchLoadOperator:
        given: dict[str, Any] = {
            "results_table": f"{self.dataset}.results",
            "poll_interval": 0,
            "timeout": 60,
        }
        return GeminiBatchLoadOperator(
            task_id="load", batch=self.manifest.ref.to_dict(), **{**given, **kwargs}
        )

    def context(self, **more: Any) -> Any:
        self.attempts += 1
        ti = SimpleNamespace(id=self.attempt, try_number=self.attempts)
        return {"ti": ti, "ds": "2026-09-01", "outlet_events": {}, **more}

    def load(self, **kwargs: Any) -> dict[str, Any]:
        return self.operator(**kwargs).execute(self.context())

    def rows(self, table: str = "results") -> list[dict[str, Any]]:
        """Everything in a table, loaded_at included, in the order of the keys."""
        hook = WarehouseHook()
        try:
            sql = f"SELECT * FROM `{self.dataset}.{table}` ORDER BY batch_id, key"
            return list(hook.query_rows(sql, project="demo", location="us-central1"))
        finally:
            hook.close()

    def outcomes(self) -> dict[str, str]:
        found = {row["key"]: "succeeded" for row in self.rows()}
        errors = {row["key"]: row["outcome"] for row in self.rows("results_errors")}
        assert not found.keys() & errors.keys()
        return found | errors


def simple(world: World) -> None:
    """Four rows: two answers, one error, one silence."""
    world.answered(0, [answer("c", {}, "Internal error"), answer("a", good('{"n": 1}'))])
    world.answered(1, [answer("d", good("four", 50))])
