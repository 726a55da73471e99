"""Writing what a job has answered to where its creator wanted it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

import orjson

from airflow_batch_gemini.local.bigquery import Column, Warehouse
from airflow_batch_gemini.local.storage.store import Storage
from airflow_batch_gemini.local.vertex.bodies import split_gcs, split_table
from airflow_batch_gemini.local.vertex.intake import Intake
from airflow_batch_gemini.local.vertex.places import JobFailedError, require_bucket, require_dataset
from airflow_batch_gemini.local.vertex.records import Job
from airflow_batch_gemini.local.vertex.spoiling import Spoiler

_CONTENT_TYPE = "application/jsonl"
_OWN_COLUMNS = (
    Column(name="request", type="JSON", mode="NULLABLE"),
    Column(name="response", type="JSON", mode="NULLABLE"),
    Column(name="status", type="STRING", mode="NULLABLE"),
    Column(name="processed_time", type="TIMESTAMP", mode="NULLABLE"),
)


def choose_output(job: Job, *, now: float, storage: Storage, warehouse: Warehouse) -> str:
    """Return where the output of a job will be: a new directory, or one table.

    :raises JobFailedError: the bucket or dataset is missing or elsewhere, or the table exists already.
    """
    uri = job.destination.uris[0]
    stamp = datetime.fromtimestamp(now, UTC)
    if job.destination.kind == "gcs":
        require_bucket(storage, uri)
        return f"{uri.rstrip('/')}/prediction-model-{stamp:%Y-%m-%dT%H:%M:%S.%fZ}"
    table = split_table(uri)
    require_dataset(warehouse, table, job.location)
    name = table.table or f"predictions_{stamp:%Y_%m_%dT%H_%M_%S_%f}Z"
    if warehouse.table_exists(table.project, table.dataset, name):
        raise JobFailedError(6, f"Already Exists: Table {table.project}:{table.dataset}.{name}")
    return f"bq://{table.project}.{table.dataset}.{name}"


def export(
    job: Job,
    spool: Path,
    intake: Intake,
    *,
    storage: Storage,
    warehouse: Warehouse,
    shards: int,
    spoiler: Spoiler,
) -> None:
    """Write the answers so far to the output of the job; doing it again writes the same again."""
    if job.destination.kind == "bigquery":
        table = split_table(str(job.output))
        columns = [*_OWN_COLUMNS, *_passed_on(intake)]
        rows = _table_rows(spool, columns, from_table=intake.columns is not None, spoiler=spoiler)
        warehouse.write_table(table.project, table.dataset, str(table.table), columns, rows)
        return
    bucket, folder = split_gcs(str(job.output))
    written = spoiler.files(shards)
    for shard in written:
        suffix = f"-{shard:05d}-of-{shards:05d}" if shards > 1 else ""
        with (
            spool.open("rb") as source,
            _writer(storage, bucket, f"{folder}/predictions.jsonl{suffix}") as target,
        ):
            lines = islice(spoiler.lines(source), shard, None, shards)
            target.writelines(spoiler.cut(lines) if shard == written[-1] else lines)


def export_increment(job: Job, spool: Path, *, storage: Storage) -> None:
    """Write the lines answered since the last increment to a file of their own, as the service does meanwhile."""
    progress = job.progress
    bucket, folder = split_gcs(str(job.output))
    name = f"{folder}/incremental_predictions-{progress.exports:05d}.jsonl"
    with spool.open("rb") as source, _writer(storage, bucket, name) as target:
        source.seek(progress.exported)
        target.write(source.read(progress.spooled - progress.exported))


def _writer(storage: Storage, bucket: str, name: str) -> AbstractContextManager[BinaryIO]:
    return storage.writer(bucket, name, content_type=_CONTENT_TYPE)


def _passed_on(intake: Intake) -> list[Column]:
    """Return the columns beside the job's own: those of the source table, or the siblings of the source lines."""
    own = {column.name for column in _OWN_COLUMNS}
    if intake.columns is not None:
        return [column for column in intake.columns if column.name not in own]
    siblings = intake.siblings.items()
    return [Column(name=name, type=kind, mode="NULLABLE") for name, kind in siblings if name not in own]


def _table_rows(
    spool: Path, columns: list[Column], *, from_table: bool, spoiler: Spoiler
) -> Iterator[dict[str, Any]]:
    """Yield the answered lines as table rows; JSON columns as the text of their JSON."""
    json_columns = {column.name for column in columns if column.type.upper() == "JSON"}
    # What came out of a JSON column is such a text already.
    rendered = json_columns - {column.name for column in _OWN_COLUMNS} if from_table else set()
    with spool.open("rb") as file:
        for line in spoiler.lines(file, as_text=False):
            row = orjson.loads(line)
            for name in json_columns - rendered:
                if row.get(name) is not None:
                    row[name] = orjson.dumps(row[name]).decode()
            yield {column.name: row.get(column.name) for column in columns}
