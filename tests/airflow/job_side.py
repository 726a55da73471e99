"""What the tests of submit, sensor, trigger and cancel share: a prepared batch and a context."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any
from uuid import UUID

import google_crc32c

from airflow_batch_gemini.batch.layout import BatchTables, Workspace
from airflow_batch_gemini.batch.ledger import Ledger
from airflow_batch_gemini.batch.manifest import Identity, Manifest, Part
from airflow_batch_gemini.batch.names import DatasetName, GcsUri
from airflow_batch_gemini.hooks.gemini_batch import GeminiBatchHook
from airflow_batch_gemini.hooks.workspace import WorkspaceHook
from airflow_batch_gemini.local.bigquery import Column

if TYPE_CHECKING:
    from airflow_batch_gemini.batch.job import Job
    from airflow_batch_gemini.batch.ref import BatchRef
    from airflow_batch_gemini.local.server import LocalCloud

LINE = {"key": "k_1", "request": {"contents": [{"role": "user", "parts": [{"text": "Say hello."}]}]}}


@dataclass
class Ti:
    """As much of a task instance as an operator sees."""

    number: int = 1
    pushed: dict[str, Any] = field(default_factory=dict)

    @property
    def id(self) -> UUID:
        """Later numbers are later attempts."""
        return UUID(int=(self.number << 80) | (7 << 76) | (2 << 62))

    def xcom_push(self, key: str, value: Any) -> None:
        self.pushed[key] = value


def context(number: int = 1, **more: Any) -> Any:
    """The context of attempt *number*."""
    return {"ti": Ti(number), **more}


@dataclass
class Prepared:
    """A batch as prepare leaves it."""

    manifest: Manifest
    storage: WorkspaceHook
    vertex: GeminiBatchHook

    @property
    def ref(self) -> BatchRef:
        return self.manifest.ref

    @property
    def folder(self) -> Workspace:
        return Workspace(GcsUri.parse(self.manifest.workspace))

    def ledger(self, part: int = 0) -> Ledger:
        stored = self.storage.read(self.folder.ledger(part))
        assert stored is not None
        return Ledger.from_json(stored.data)

    def write_ledger(self, ledger: Ledger, part: int = 0) -> None:
        self.storage.write(self.folder.ledger(part), ledger.to_json())

    def inputs(self) -> list[str]:
        return [info.uri for info in self.storage.list(self.folder.folder / "input")]

    def jobs(self) -> tuple[Job, ...]:
        return self.vertex.list(
            project_id="demo",
            location="us-central1",
            filter=f"labels.gemini_batch=b{self.manifest.batch_id}",
        )

    def create(self, **labels: str) -> Job:
        """A job over the batch's first part that no ledger knows."""
        return self.vertex.create(
            project_id="demo",
            location="us-central1",
            display_name="a job",
            model=self.manifest.model,
            source_uri=self.manifest.parts[0].uri,
            destination_uri=f"gs://{self.folder.folder.bucket}/out",
            labels=labels,
        )

    def changed(self) -> Prepared:
        """The same batch prepared anew from another template."""
        other = replace(self, manifest=replace(self.manifest, template_fingerprint="changed"))
        other.storage.write(other.folder.manifest, other.manifest.to_json())
        return other

    def close(self) -> None:
        self.storage.close()
        self.vertex.close()


def prepare(bucket: str, *, parts: int = 1) -> Prepared:
    """Write requests and manifest."""
    storage, identity = WorkspaceHook(), Identity(dag_id="dag", run_id=f"run-{bucket}", task_id="prepare")
    folder = Workspace(identity.workspace(GcsUri.parse(f"gs://{bucket}/gemini")))
    line = json.dumps(LINE).encode() + b"\n"
    checksum = base64.b64encode(google_crc32c.Checksum(line).digest()).decode()
    for part in range(parts):
        storage.write(folder.requests(part), line)
    manifest = Manifest(
        identity=identity,
        workspace=str(folder.folder),
        project_id="demo",
        location="us-central1",
        model="publishers/google/models/gemini-2.5-flash",
        requests="gcs",
        predictions="gcs",
        predictions_dataset=None,
        parts=tuple(
            Part(index=n, uri=str(folder.requests(n)), rows=1, size=len(line), checksum=checksum)
            for n in range(parts)
        ),
        template_fingerprint="template",
        response_schema=None,
        created_at="2026-01-01T00:00:00Z",
    )
    storage.write(folder.manifest, manifest.to_json())
    return Prepared(manifest=manifest, storage=storage, vertex=GeminiBatchHook())


def in_tables(batch: Prepared, dataset: str, cloud: LocalCloud) -> Prepared:
    """The same batch with requests and predictions in BigQuery."""
    names = BatchTables(DatasetName.parse(dataset), batch.manifest.batch_id)
    columns = [
        Column(name=name, type=kind, mode="NULLABLE")
        for name, kind in [("key", "STRING"), ("request", "JSON")]
    ]
    row = {"key": "k_1", "request": json.dumps(LINE["request"])}
    source = names.requests(0)
    cloud.parts.warehouse.write_table(source.project, source.dataset, source.table, columns, [row])
    part = replace(batch.manifest.parts[0], uri=source.uri)
    manifest = replace(
        batch.manifest,
        requests="bigquery",
        predictions="bigquery",
        predictions_dataset=dataset,
        parts=(part,),
    )
    batch.storage.write(batch.folder.manifest, manifest.to_json())
    return replace(batch, manifest=manifest)
