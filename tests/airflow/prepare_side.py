"""Rows to prepare, the operator that does it, and what can be seen of a batch afterwards."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

from airflow_batch_gemini import GeminiTemplate, Media
from airflow_batch_gemini.batch.layout import Workspace
from airflow_batch_gemini.batch.manifest import Identity, Manifest
from airflow_batch_gemini.batch.names import DatasetName, GcsUri, TableName
from airflow_batch_gemini.batch.ref import BatchRef
from airflow_batch_gemini.hooks.warehouse import WarehouseHook
from airflow_batch_gemini.hooks.workspace import WorkspaceHook
from airflow_batch_gemini.operators.prepare import GeminiBatchPrepareOperator

ROWS = [
    {"key": f"row-{i}", "text": f'"é😀" {i}\u2028', "file": f"gs://b/{i}.png" if i % 2 else None}
    for i in range(7)
]
JSONL = b"".join(json.dumps(row).encode() + b"\n" for row in ROWS)
SQL = (
    "SELECT CONCAT('row-', CAST(i AS STRING)) AS key, i AS number, CONCAT('t', CAST(i AS STRING)) AS text,\n"
    "  IF(MOD(i, 2) = 1, CONCAT('gs://b/', CAST(i AS STRING), '.png'), NULL) AS file\n"
    "FROM UNNEST(GENERATE_ARRAY(0, 6)) AS i -- as many;\n"
)


class Label(BaseModel):
    """An answer."""

    topic: str


IDENTITY = Identity(dag_id="dag", run_id="run", task_id="prepare")
TEMPLATE = GeminiTemplate(prompt="What is {text}?", response_schema=Label, media=[Media(column="file")])


@dataclass
class Ti:
    """As much of a task instance as the operator sees."""

    dag_id: str = "dag"
    run_id: str = "run"
    task_id: str = "prepare"
    map_index: int | None = -1
    id: str = "attempt-1"


@dataclass
class Place:
    """A bucket and a dataset, and what can be seen of a batch there."""

    bucket: str
    dataset: str
    storage: WorkspaceHook
    warehouse: WarehouseHook

    @property
    def folder(self) -> Workspace:
        return Workspace(GcsUri.parse(f"gs://{self.bucket}/gemini/dag/run/prepare"))

    def put(self, name: str, data: bytes) -> str:
        self.storage.write(GcsUri.parse(f"gs://{self.bucket}/{name}"), data)
        return f"gs://{self.bucket}/{name}"

    def operator(self, **arguments: Any) -> GeminiBatchPrepareOperator:
        return GeminiBatchPrepareOperator(
            **{
                "task_id": "prepare",
                "template": TEMPLATE,
                "model": "gemini-3.5-flash",
                "location": "us-central1",
                "work_uri": f"gs://{self.bucket}/gemini",
                **arguments,
            }
        )

    def prepare(self, **arguments: Any) -> Manifest:
        ti = Ti()
        ref = BatchRef.from_xcom(self.operator(**arguments).execute({"ti": ti}))
        manifest = self.manifest()
        assert manifest is not None
        assert ref == manifest.ref
        return manifest

    def manifest(self) -> Manifest | None:
        stored = self.storage.read(self.folder.manifest)
        return None if stored is None else Manifest.from_json(stored.data)

    def files(self) -> list[str]:
        """What lies in the workspace, beside the note who prepares it."""
        folder = self.folder.folder
        found = [info.uri.removeprefix(f"{folder}/") for info in self.storage.list(folder)]
        return [name for name in found if name != "preparing.json"]

    def lines(self, manifest: Manifest) -> list[list[dict[str, Any]]]:
        """The requests, part by part."""
        stored = [self.storage.read(GcsUri.parse(part.uri)) for part in manifest.parts]
        return [[json.loads(line) for line in one.data.splitlines()] for one in stored if one is not None]

    def tables(self) -> list[str]:
        """Names of the request tables that exist."""
        dataset = DatasetName.parse(self.dataset)
        found = self.warehouse.client(dataset.project).list_tables(self.dataset)
        return [table.table_id for table in found if table.table_id.startswith("gemini_requests_")]

    def rows(self, table: str) -> list[dict[str, Any]]:
        sql = f"SELECT * FROM {TableName.parse(table).sql} ORDER BY key"
        return list(self.warehouse.query_rows(sql, project="demo", location="us-central1"))


class KilledError(BaseException):
    """What no handler catches."""


def expected(row: dict[str, Any]) -> dict[str, Any]:
    parts: list[dict[str, Any]] = [{"text": f"What is {row['text']}?"}]
    if row["file"]:
        parts.append({"fileData": {"fileUri": row["file"], "mimeType": "image/png"}})
    return {
        "key": f"k_{row['key']}",
        "request": {
            "contents": [{"role": "user", "parts": parts}],
            "generationConfig": {
                "responseMimeType": "application/json",
                "responseSchema": TEMPLATE.vertex_schema,
            },
        },
    }
